// Which channels a run opens: the usable routes between the places that will exchange bytes.
#pragma once

#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/backend.h"
#include "core/cluster.h"
#include "core/route.h"

namespace kvhaul {

struct RoutePlan {
  /// Kinds in order of preference. The first one with a usable route is tier 0 of a pair, the next
  /// ones are fallbacks, used only while no better tier works, and named in the result.
  std::vector<RouteKind> order = {RouteKind::handoff,     RouteKind::nvlink_copy,
                                  RouteKind::pcie_p2p,    RouteKind::rdma,
                                  RouteKind::pcie_staged, RouteKind::rdma_staged};
  /// At most so many routes of one kind for a pair, nearest first; 0: all (every rail).
  std::uint32_t rails = 0;
  /// With all: of the routes over NICs only the nearest are used at once, as many classes of equal
  /// distance and rate as carry four fifths of what all would carry for this pair. A further rail
  /// could add a quarter at most, and for that it would cross other GPUs' PCIe switches, or the
  /// socket link, and meet what those send. Behind them, as a tier of their own, stand routes over
  /// the other NICs, each NIC at either end once.
  bool near_first = false;
  bool pull = false;  // the target's node owns the channels and reads
  RouteCostTable costs;
  PathChoice paths;
};

struct ChannelPlan {
  std::vector<ChannelRequest> requests;
  std::vector<std::uint32_t> tiers;  // by request
};

/// Fails with bad_input when a pair of places has no usable route, listing the ones that were
/// looked at and what is wrong with each.
Result<ChannelPlan> plan_channels(const Cluster& cluster,
                                  std::span<const std::pair<PlaceId, PlaceId>> pairs,
                                  const RoutePlan& plan);

/// How often each channel crosses each link, for the links that any crosses.
std::map<LinkId, std::map<ChannelId, std::uint32_t>> link_crossings(
    std::span<const ChannelRequest> requests);

/// What a route advertises when nothing better is known than its links and its kind's costs.
ChannelNumbers numbers_of(const Route& route, const RouteCosts& costs);

}  // namespace kvhaul
