#include "core/channel_plan.h"

#include <algorithm>

namespace kvhaul {
namespace {

Error no_route(const Cluster& cluster, PlaceId source, PlaceId target,
               const std::vector<Route>& routes, const RoutePlan& plan) {
  std::string message =
      "no usable route from " + cluster.places[source].name + " to " + cluster.places[target].name;
  if (routes.empty()) return Error::bad_input(message + ": nothing joins the two");
  constexpr std::size_t most = 4;
  for (std::size_t i = 0; i < routes.size() && i < most; ++i) {
    const Route& route = routes[i];
    const bool wanted =
        std::find(plan.order.begin(), plan.order.end(), route.kind) != plan.order.end();
    message += (i == 0 ? ": " : "; ") + route.name + ": " +
               (wanted || !route.usable ? route.reason : "not in the scenario's route order");
  }
  if (routes.size() > most) message += "; and " + std::to_string(routes.size() - most) + " more";
  return Error::bad_input(std::move(message));
}

/// How many queues of a route may differ in their path: all of them where ECMP hashes each.
std::uint32_t flow_count(const Cluster& cluster, const RoutePlan& plan) {
  std::uint32_t flows = 1;
  if (cluster.spines == 0 || cluster.routing != FabricRouting::ecmp) return flows;
  for (const RouteKind kind : plan.order)
    if (kind == RouteKind::rdma || kind == RouteKind::rdma_staged)
      flows = std::max(flows, plan.costs[static_cast<std::size_t>(kind)].queues);
  return flows;
}

}  // namespace

Result<ChannelPlan> plan_channels(const Cluster& cluster,
                                  std::span<const std::pair<PlaceId, PlaceId>> pairs,
                                  const RoutePlan& plan) {
  ChannelPlan out;
  const std::uint32_t flows = flow_count(cluster, plan);
  for (const auto& [source, target] : pairs) {
    const std::vector<Route> routes = find_routes(cluster, source, target, plan.paths);
    // The same routes in the same order, each on the path that a later queue of it draws.
    std::vector<std::vector<Route>> redrawn;
    for (std::uint32_t flow = 1; flow < flows; ++flow) {
      PathChoice paths = plan.paths;
      paths.flow += flow;
      redrawn.push_back(find_routes(cluster, source, target, paths));
    }
    std::uint32_t tier = 0;
    for (const RouteKind kind : plan.order) {
      std::uint32_t taken = 0;
      for (std::size_t r = 0; r < routes.size(); ++r) {
        const Route& route = routes[r];
        if (route.kind != kind || !route.usable) continue;
        if (plan.rails != 0 && taken == plan.rails) break;
        ++taken;
        const RouteCosts& costs = plan.costs[static_cast<std::size_t>(kind)];
        const PlaceId owner_end = plan.pull ? target : source;
        for (std::uint32_t queue = 0; queue < std::max(1u, costs.queues); ++queue) {
          const bool again = queue != 0 && queue < flows;
          out.requests.push_back({again ? redrawn[queue - 1][r] : route, costs,
                                  cluster.places[owner_end].node, plan.pull});
          out.tiers.push_back(tier);
        }
      }
      if (taken != 0) ++tier;
    }
    if (tier == 0) return no_route(cluster, source, target, routes, plan);
  }
  return out;
}

std::map<LinkId, std::map<ChannelId, std::uint32_t>> link_crossings(
    std::span<const ChannelRequest> requests) {
  std::map<LinkId, std::map<ChannelId, std::uint32_t>> crossings;
  for (ChannelId id = 0; id < requests.size(); ++id)
    for (const LinkId link : requests[id].route.hops) ++crossings[link][id];
  return crossings;
}

ChannelNumbers numbers_of(const Route& route, const RouteCosts& costs) {
  ChannelNumbers numbers;
  numbers.fixed_ns = route.latency_ns + costs.fixed_ns;
  numbers.post_ns = costs.post_ns;
  numbers.bytes_per_s = route.bytes_per_s;
  numbers.half_bandwidth_bytes = costs.half_bandwidth_bytes;
  numbers.max_in_flight = costs.max_in_flight;
  numbers.max_chunk_bytes = costs.max_chunk_bytes;
  numbers.max_pieces = costs.max_pieces;
  numbers.stages = route.stages;
  numbers.distance = route.distance;
  numbers.gather = costs.gather;
  return numbers;
}

}  // namespace kvhaul
