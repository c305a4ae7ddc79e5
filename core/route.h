// All roads between two places of a cluster, each with the reason it is or is not usable.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/cluster.h"
#include "core/units.h"

namespace kvhaul {

enum class RouteKind : std::uint8_t {
  pcie_staged,        // GPU to GPU through pinned host memory, or between a GPU and host memory
  pcie_p2p,           // one GPU reads the other over PCIe
  nvlink_copy,        // peer copy by a copy engine
  nvlink_load_store,  // a kernel loads and stores the other GPU's memory
  handoff,            // no copy: the block table changes hands
  rdma,         // NIC to NIC, GPU memory read and written by the NICs (GPUDirect) or host memory
  rdma_staged,  // the same through host memory, at the ends that Route::staged_* names
};
inline constexpr std::size_t route_kind_count = 7;
std::string_view route_kind_name(RouteKind kind);
std::optional<RouteKind> find_route_kind(std::string_view name);

/// How the pieces of one chunk get onto a channel.
enum class Gather : std::uint8_t {
  each,     // one write per piece
  batch,    // one call that takes all pieces
  pack,     // into one staging buffer, moved as one, and out again
  through,  // a kernel reads the pieces and writes them into the route, another one scatters them
};
inline constexpr std::size_t gather_count = 4;
std::string_view gather_name(Gather gather);

/// What a chunk of several pieces costs with a method. Of n pieces and S bytes in all:
///
///   occupies the route for     S (1 + extra/1000) + half_bandwidth + n piece_half_bandwidth bytes
///   the posting CPU thread     post + n piece_post
///   and lands later by         2 (fixed + S / bytes_per_s)
struct GatherCosts {
  TimeNs fixed_ns = 0;                   // on each side, beyond the wire: a kernel launch
  TimeNs post_ns = 0;                    // of the posting CPU thread, per chunk
  TimeNs piece_post_ns = 0;              // and per piece
  Bytes half_bandwidth_bytes = 0;        // what a chunk occupies the route for beyond its bytes
  Bytes piece_half_bandwidth_bytes = 0;  // and each piece
  std::uint32_t extra_permille = 0;      // and each byte: a kernel that is slower than the link
  double bytes_per_s = 0;  // of a pass over the bytes on each side (pack); 0: there is none

  Bytes charged_bytes(Bytes bytes, std::uint64_t pieces) const {
    return bytes + bytes * extra_permille / 1000 + half_bandwidth_bytes +
           pieces * piece_half_bandwidth_bytes;
  }
  TimeNs posting_ns(std::uint64_t pieces) const {
    return post_ns + static_cast<TimeNs>(pieces) * piece_post_ns;
  }

  friend bool operator==(const GatherCosts&, const GatherCosts&) = default;
};
/// By Gather. [each] stays empty: it costs RouteCosts' post_ns and half_bandwidth_bytes per piece.
using GatherTable = std::array<std::optional<GatherCosts>, gather_count>;

/// What a rest costs: links go to sleep, and a thread that posts seldom runs on cold caches.
struct IdleCost {
  TimeNs idle_ns = 0;  // a link of the route has carried nothing for so long, or longer
  TimeNs cost_ns = 0;  // then the next chunk gets onto the route's links later by this

  friend bool operator==(const IdleCost&, const IdleCost&) = default;
};

/// What an operation on a kind of route costs beyond the wire. From a calibration or a published
/// measurement; scenario files name the source.
///
///   one chunk of S bytes alone on a route of rate B and k stages (store and forward):
///
///       fixed + post + k (S + half_bandwidth) / B
///
/// `fixed_ns` is latency: chunks that follow each other on a channel overlap it. `post_ns` is time
/// of the posting CPU thread, paid per piece. `half_bandwidth_bytes` is what a piece occupies the
/// route for beyond its own bytes: a stream of pieces of that size reaches half of B.
struct RouteCosts {
  TimeNs fixed_ns = 0;
  TimeNs post_ns = 0;
  Bytes half_bandwidth_bytes = 0;
  std::uint32_t queues = 1;           // channels opened on each route: queue pairs, streams
  std::uint32_t max_in_flight = 128;  // chunks a channel takes at a time
  Bytes max_chunk_bytes = GiB;
  std::uint32_t max_pieces = 256;         // in one chunk
  GatherTable gather = {};                // what it can do besides writing each piece
  std::vector<IdleCost> after_idle = {};  // by growing idle_ns; empty: resting costs nothing
};
using RouteCostTable = std::array<RouteCosts, route_kind_count>;  // by RouteKind

struct Route {
  RouteKind kind = RouteKind::rdma;
  PlaceId source = no_id;
  PlaceId target = no_id;
  /// Unique between the two places: "rdma node0/nic2 node1/nic2". Where it takes one of several
  /// spines that follows, with which of the links to it: "... via spine3/0".
  std::string name;
  std::vector<LinkId> hops;  // in order; a link crossed twice (DRAM, in and out) is listed twice
  std::uint32_t stages = 1;  // store-and-forward steps that a chunk goes through
  TimeNs latency_ns = 0;     // of the links and switches on the way, without RouteCosts::fixed_ns
  double bytes_per_s = 0;    // of the narrowest hop, counting repeated crossings
  LinkId bottleneck = no_id;
  std::uint32_t distance = 0;  // how far the NICs are from their GPUs; 0 is nearest
  /// Of rdma_staged: which ends bounce through host memory. The ends that have to, without
  /// GPUDirect; where none has to, every GPU.
  bool staged_source = false, staged_target = false;
  bool usable = true;
  std::string reason;  // why it is usable, or why it is not
};

/// What a cluster leaves open. Which path is taken where a fabric with ECMP offers several equal
/// ones between two leaves: one seeded hash of the pair of NICs and the flow.
struct PathChoice {
  std::uint64_t seed = 0;
  std::uint32_t flow = 0;  // which queue pair of the route
  /// A decoder may read the KV over NVLink at every step instead of having its own copy: a hand-off
  /// between two GPUs is a route. What the reading takes of the steps and the links is not counted.
  bool read_in_place = false;
};

/// Every route between two places, usable ones first, nearest and fastest first among those, then
/// the ones that cannot be used. Deterministic. Empty only when nothing could ever join the two.
std::vector<Route> find_routes(const Cluster& cluster, PlaceId source, PlaceId target,
                               PathChoice choice = {});

/// The time one chunk of that many bytes needs on the idle route (the formula of RouteCosts).
TimeNs unloaded_ns(const Route& route, const RouteCosts& costs, Bytes bytes);

}  // namespace kvhaul
