#include "core/route.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "core/random.h"
#include "core/unit_text.h"

namespace kvhaul {
namespace {

constexpr std::array<std::string_view, route_kind_count> kind_names = {
    "pcie_staged", "pcie_p2p", "nvlink_copy", "nvlink_load_store",
    "handoff",     "rdma",     "rdma_staged"};

/// How far apart two devices of a node are, in nvidia-smi's words.
enum class Distance : std::uint32_t { same_switch = 0, same_host = 1, across_sockets = 2 };

std::string_view distance_text(Distance distance) {
  switch (distance) {
    case Distance::same_switch:
      return "under the same PCIe switch";
    case Distance::same_host:
      return "on the same NUMA host";
    case Distance::across_sockets:
      return "across the socket link";
  }
  return "?";
}

/// Where a device hangs in its node's PCIe tree. Host memory is the root itself.
struct TreeSpot {
  std::uint32_t host;
  std::optional<std::uint32_t> pcie_switch;
  LinkId out = no_id, in = no_id;  // no_id for host memory
  LinkId both = no_id;             // of the two directions together; no_id: no such limit
};

class Finder {
 public:
  Finder(const Cluster& cluster, PlaceId source, PlaceId target, PathChoice choice)
      : cluster_(cluster), source_(source), target_(target), choice_(choice) {}

  std::vector<Route> find() {
    const Place& from = cluster_.places[source_];
    const Place& to = cluster_.places[target_];
    const bool both_gpus = from.kind == PlaceKind::gpu && to.kind == PlaceKind::gpu;
    if (source_ == target_) {
      add_handoff(true);
      if (both_gpus) add_staged();
    } else if (from.node == to.node) {
      if (both_gpus) {
        add_nvlink();
        add_p2p();
      }
      if (from.kind == PlaceKind::gpu || to.kind == PlaceKind::gpu) add_staged();
    } else {
      if (both_gpus) add_nvlink();
      add_rdma();
    }
    for (Route& route : routes_) measure(route);
    std::stable_sort(routes_.begin(), routes_.end(), [](const Route& a, const Route& b) {
      const auto order = [](const Route& route) {
        return std::tuple(!route.usable, rank(route.kind), route.distance, -route.bytes_per_s);
      };
      return order(a) < order(b);
    });
    return std::move(routes_);
  }

 private:
  /// The order in which roads are preferred where several kinds exist: fewer copies, less CPU.
  static std::ptrdiff_t rank(RouteKind kind) {
    using enum RouteKind;
    static constexpr std::array order = {handoff, nvlink_copy, nvlink_load_store, pcie_p2p,
                                         rdma,    pcie_staged, rdma_staged};
    static_assert(order.size() == route_kind_count);
    return std::find(order.begin(), order.end(), kind) - order.begin();
  }

  Route& add(RouteKind kind, std::string detail, std::vector<LinkId> hops) {
    Route route;
    route.kind = kind;
    route.source = source_;
    route.target = target_;
    route.name = std::string(route_kind_name(kind));
    if (!detail.empty()) route.name += " " + detail;
    route.hops = std::move(hops);
    routes_.push_back(std::move(route));
    return routes_.back();
  }

  static void refuse(Route& route, std::string reason) {
    route.usable = false;
    route.reason = std::move(reason);
  }

  const Node& node_of(PlaceId place) const { return cluster_.nodes[cluster_.places[place].node]; }

  TreeSpot spot(PlaceId id) const {
    const Place& place = cluster_.places[id];
    if (place.kind == PlaceKind::host) return {place.index, std::nullopt};
    const Gpu& gpu = cluster_.gpu(id);
    return {gpu.host, gpu.pcie_switch, gpu.host_out, gpu.host_in, gpu.host_both};
  }
  static TreeSpot spot(const Nic& nic) {
    return {nic.host, nic.pcie_switch, nic.pcie_out, nic.pcie_in};
  }

  static Distance distance(const TreeSpot& a, const TreeSpot& b) {
    if (a.pcie_switch && a.pcie_switch == b.pcie_switch) return Distance::same_switch;
    return a.host == b.host ? Distance::same_host : Distance::across_sockets;
  }

  static void leave(const TreeSpot& from, std::vector<LinkId>& hops) {
    for (const LinkId link : {from.out, from.both})
      if (link != no_id) hops.push_back(link);
  }
  static void enter(const TreeSpot& to, std::vector<LinkId>& hops) {
    for (const LinkId link : {to.both, to.in})
      if (link != no_id) hops.push_back(link);
  }
  /// Links from a device up to the root complex of its host.
  static void climb(const Node& node, const TreeSpot& from, std::vector<LinkId>& hops) {
    leave(from, hops);
    if (from.pcie_switch) hops.push_back(node.pcie_switches[*from.pcie_switch].out);
  }
  static void descend(const Node& node, const TreeSpot& to, std::vector<LinkId>& hops) {
    if (to.pcie_switch) hops.push_back(node.pcie_switches[*to.pcie_switch].in);
    enter(to, hops);
  }
  static void cross(const Node& node, std::uint32_t from, std::uint32_t to,
                    std::vector<LinkId>& hops) {
    if (from != to) hops.push_back(node.socket[from][to]);
  }

  /// Device to device inside a node without touching DRAM.
  static void direct(const Node& node, const TreeSpot& from, const TreeSpot& to,
                     std::vector<LinkId>& hops) {
    if (distance(from, to) == Distance::same_switch) {
      leave(from, hops);
      enter(to, hops);
      return;
    }
    climb(node, from, hops);
    cross(node, from.host, to.host, hops);
    descend(node, to, hops);
  }

  void add_handoff(bool same_place) {
    Route& route = add(RouteKind::handoff, "", {});
    if (same_place)
      route.reason = "prefill and decode share this memory: only the block table moves";
    else if (choice_.read_in_place)
      route.reason = "only the block table moves; the decoder reads every step over NVLink";
    else
      refuse(route, "the decoder would have to read every step over NVLink; it reads its own copy");
  }

  void add_nvlink() {
    const Node& from = node_of(source_);
    const Node& to = node_of(target_);
    const Gpu& a = cluster_.gpu(source_);
    const Gpu& b = cluster_.gpu(target_);
    const bool wired = a.nvlink_out != no_id && b.nvlink_in != no_id;
    const bool joined = wired && from.nvlink_domain == to.nvlink_domain;
    std::vector<LinkId> hops;
    if (joined) hops = {a.nvlink_out, b.nvlink_in};
    Route& copy = add(RouteKind::nvlink_copy, "", hops);
    if (joined)
      copy.reason = "one NVLink domain; copy engines move it, no SM and no CPU in the way";
    else
      refuse(copy, wired ? "different NVLink domains" : "no NVLink between them");
    if (!joined) return;
    Route& load_store = add(RouteKind::nvlink_load_store, "", hops);
    load_store.reason = "one NVLink domain; costs SMs, saves the copy engine's cost per piece";
    add_handoff(false);
  }

  void add_p2p() {
    const Node& node = node_of(source_);
    const TreeSpot from = spot(source_);
    const TreeSpot to = spot(target_);
    const Distance apart = distance(from, to);
    std::vector<LinkId> hops;
    direct(node, from, to, hops);
    Route& route = add(RouteKind::pcie_p2p, "", std::move(hops));
    if (!node.peer_to_peer)
      refuse(route, "this node does not allow PCIe peer-to-peer");
    else if (apart == Distance::across_sockets)
      refuse(route, "the GPUs are across the socket link, where drivers stage through host memory");
    else
      route.reason = "PCIe peer-to-peer, " + std::string(distance_text(apart));
  }

  static void read_dram(const Node& node, std::uint32_t host, std::vector<LinkId>& hops) {
    hops.push_back(node.dram[host]);
  }
  /// Memory takes writes slower than it gives reads, where the cluster says so.
  static void write_dram(const Node& node, std::uint32_t host, std::vector<LinkId>& hops) {
    if (node.dram_write[host] != no_id) hops.push_back(node.dram_write[host]);
    hops.push_back(node.dram[host]);
  }

  /// Through host memory: DRAM is written by one device and read by the other, so it counts twice;
  /// with host memory as one end only one crossing is left.
  void add_staged() {
    const Node& node = node_of(source_);
    const TreeSpot from = spot(source_);
    const TreeSpot to = spot(target_);
    const bool from_host = cluster_.places[source_].kind == PlaceKind::host;
    const bool to_host = cluster_.places[target_].kind == PlaceKind::host;
    const std::uint32_t staging = to_host ? to.host : from.host;
    std::vector<LinkId> hops;
    climb(node, from, hops);
    cross(node, from.host, staging, hops);
    if (!from_host) write_dram(node, staging, hops);
    if (!to_host) read_dram(node, staging, hops);
    cross(node, staging, to.host, hops);
    descend(node, to, hops);
    const std::uint32_t stages = from_host || to_host ? 1 : 2;
    Route& route =
        add(RouteKind::pcie_staged, "via " + cluster_.places[node.hosts[staging]].name, hops);
    route.stages = stages;
    route.reason = stages == 1 ? "one DMA between GPU and host memory"
                               : "always works: down to pinned host memory and up again";
  }

  void add_rdma() {
    const Node& from_node = node_of(source_);
    const Node& to_node = node_of(target_);
    for (const std::uint32_t a : from_node.nics)
      for (const std::uint32_t b : to_node.nics) add_rdma_pair(a, b);
    if (from_node.nics.empty() || to_node.nics.empty())
      refuse(add(RouteKind::rdma, "", {}),
             "no NIC in " + (from_node.nics.empty() ? from_node.name : to_node.name));
  }

  void add_rdma_pair(std::uint32_t a, std::uint32_t b) {
    const Nic& nic_a = cluster_.nics[a];
    const Nic& nic_b = cluster_.nics[b];
    std::vector<LinkId> wire{nic_a.tx};
    TimeNs switch_ns = cluster_.leaf_latency_ns;
    bool joined = true;
    std::string via;
    if (nic_a.leaf != nic_b.leaf) {
      joined = cluster_.spines > 0;
      if (joined) {
        switch_ns += cluster_.leaf_latency_ns + cluster_.spine_latency_ns;
        via = pick_spine(a, b, wire);
      }
    }
    wire.push_back(nic_b.rx);
    const std::string pair = nic_a.name + " " + nic_b.name + via;
    if (!joined) {
      // One line for the whole cross-rail square would hide which pair was meant; users filter.
      refuse(add(RouteKind::rdma, pair, {}), cluster_.leaves[nic_a.leaf].name + " and " +
                                                 cluster_.leaves[nic_b.leaf].name +
                                                 " are not joined by a spine");
      return;
    }
    add_rdma_direct(nic_a, nic_b, wire, switch_ns, pair);
    add_rdma_staged(nic_a, nic_b, wire, switch_ns, pair);
  }

  /// Adds the link up to a spine and the link down from it, and says which: " via spine2/0", the
  /// number of the parallel link up behind the stroke. Nothing to say where all are used.
  std::string pick_spine(std::uint32_t a, std::uint32_t b, std::vector<LinkId>& wire) const {
    const Leaf& from = cluster_.leaves[cluster_.nics[a].leaf];
    const Leaf& to = cluster_.leaves[cluster_.nics[b].leaf];
    if (cluster_.routing == FabricRouting::adaptive) {
      wire.push_back(from.up[0][0]);
      wire.push_back(to.down[0][0]);
      return "";
    }
    const std::size_t parallel = from.up[0].size();
    const SpinePath path = cluster_.routing == FabricRouting::ecmp ? hashed_path(a, b, parallel)
                                                                   : numbered_path(b, parallel);
    wire.push_back(from.up[path.spine][path.up]);
    wire.push_back(to.down[path.spine][path.down]);
    return " via spine" + std::to_string(path.spine) + "/" + std::to_string(path.up);
  }

  /// The spine, and which of the parallel links to it and from it.
  struct SpinePath {
    std::size_t spine, up, down;
  };
  SpinePath hashed_path(std::uint32_t a, std::uint32_t b, std::size_t parallel) const {
    std::uint64_t hash = mix64(choice_.seed ^ mix64((std::uint64_t{a} << 32) | b));
    if (choice_.flow != 0) hash = mix64(hash ^ choice_.flow);
    return {hash % cluster_.spines, (hash >> 20) % parallel, (hash >> 40) % parallel};
  }
  SpinePath numbered_path(std::uint32_t b, std::size_t parallel) const {
    const std::size_t uplink = cluster_.nics[b].number % (cluster_.spines * parallel);
    return {uplink / parallel, uplink % parallel, uplink % parallel};
  }

  /// From the source's own memory to a NIC, and from a NIC into the target's.
  void leave_direct(const Nic& nic, std::vector<LinkId>& hops) const {
    const Node& node = node_of(source_);
    if (is_host(source_)) read_dram(node, cluster_.places[source_].index, hops);
    direct(node, spot(source_), spot(nic), hops);
  }
  void enter_direct(const Nic& nic, std::vector<LinkId>& hops) const {
    const Node& node = node_of(target_);
    direct(node, spot(nic), spot(target_), hops);
    if (is_host(target_)) write_dram(node, cluster_.places[target_].index, hops);
  }

  void add_rdma_direct(const Nic& nic_a, const Nic& nic_b, const std::vector<LinkId>& wire,
                       TimeNs switch_ns, const std::string& pair) {
    const TreeSpot from = spot(source_);
    const TreeSpot to = spot(target_);
    const Distance near_a = distance(from, spot(nic_a));
    const Distance near_b = distance(to, spot(nic_b));
    std::vector<LinkId> hops;
    leave_direct(nic_a, hops);
    hops.insert(hops.end(), wire.begin(), wire.end());
    enter_direct(nic_b, hops);
    Route& route = add(RouteKind::rdma, pair, std::move(hops));
    route.latency_ns = switch_ns;
    route.distance = static_cast<std::uint32_t>(near_a) + static_cast<std::uint32_t>(near_b);
    std::string without;
    for (const PlaceId end : {source_, target_})
      if (must_stage(end)) without += (without.empty() ? "" : " and ") + node_of(end).name;
    if (!without.empty())
      refuse(route, "no GPUDirect RDMA in " + without);
    else
      route.reason = "NICs read and write GPU memory, CPU bypassed; sender's NIC " +
                     std::string(distance_text(near_a)) + ", receiver's " +
                     std::string(distance_text(near_b));
  }

  bool is_host(PlaceId place) const { return cluster_.places[place].kind == PlaceKind::host; }
  /// NICs of its node cannot reach it.
  bool must_stage(PlaceId place) const { return !is_host(place) && !node_of(place).gpudirect; }

  /// Through host memory at the ends that NICs cannot reach; where they reach all, at every GPU: a
  /// road of its own, should GPUDirect be slow or broken.
  void add_rdma_staged(const Nic& nic_a, const Nic& nic_b, const std::vector<LinkId>& wire,
                       TimeNs switch_ns, const std::string& pair) {
    const bool by_choice = !must_stage(source_) && !must_stage(target_);
    const bool at_source = must_stage(source_) || (by_choice && !is_host(source_));
    const bool at_target = must_stage(target_) || (by_choice && !is_host(target_));
    if (!at_source && !at_target) return;
    const Node& from_node = node_of(source_);
    const Node& to_node = node_of(target_);
    const TreeSpot from = spot(source_);
    const TreeSpot to = spot(target_);
    // The bounce buffer lies on the NIC's host, so that the NIC's own crossing is short.
    std::vector<LinkId> hops;
    if (at_source) {
      climb(from_node, from, hops);
      cross(from_node, from.host, nic_a.host, hops);
      write_dram(from_node, nic_a.host, hops);
      read_dram(from_node, nic_a.host, hops);
      descend(from_node, spot(nic_a), hops);
    } else {
      leave_direct(nic_a, hops);
    }
    hops.insert(hops.end(), wire.begin(), wire.end());
    if (at_target) {
      climb(to_node, spot(nic_b), hops);
      write_dram(to_node, nic_b.host, hops);
      read_dram(to_node, nic_b.host, hops);
      cross(to_node, nic_b.host, to.host, hops);
      descend(to_node, to, hops);
    } else {
      enter_direct(nic_b, hops);
    }
    Route& route = add(RouteKind::rdma_staged, pair, std::move(hops));
    route.staged_source = at_source;
    route.staged_target = at_target;
    route.stages = 1u + at_source + at_target;
    route.latency_ns = switch_ns;
    route.distance = static_cast<std::uint32_t>(distance(from, spot(nic_a))) +
                     static_cast<std::uint32_t>(distance(to, spot(nic_b)));
    if (at_source && at_target) {
      route.reason = "bounced through host memory at both ends";
    } else {
      route.reason = "bounced through host memory at the " +
                     std::string(at_source ? "sender" : "receiver") + ", " +
                     node_of(at_source ? source_ : target_).name + "; the " +
                     std::string(at_source ? "receiver's" : "sender's") + " NIC " +
                     (at_source ? "writes " : "reads ") +
                     (is_host(at_source ? target_ : source_) ? "host" : "GPU") + " memory directly";
    }
  }

  void measure(Route& route) const {
    std::map<LinkId, int> crossings;
    for (const LinkId link : route.hops) {
      ++crossings[link];
      route.latency_ns += cluster_.links[link].latency_ns;
    }
    for (const LinkId link : route.hops) {
      const double rate = cluster_.links[link].bytes_per_s / crossings[link];
      if (route.bottleneck == no_id || rate < route.bytes_per_s) {
        route.bytes_per_s = rate;
        route.bottleneck = link;
      }
    }
  }

  const Cluster& cluster_;
  const PlaceId source_;
  const PlaceId target_;
  const PathChoice choice_;
  std::vector<Route> routes_;
};

}  // namespace

std::string_view route_kind_name(RouteKind kind) {
  return kind_names[static_cast<std::size_t>(kind)];
}

std::optional<RouteKind> find_route_kind(std::string_view name) {
  for (std::size_t i = 0; i < kind_names.size(); ++i)
    if (kind_names[i] == name) return static_cast<RouteKind>(i);
  return std::nullopt;
}

std::vector<Route> find_routes(const Cluster& cluster, PlaceId source, PlaceId target,
                               PathChoice choice) {
  return Finder(cluster, source, target, choice).find();
}

TimeNs unloaded_ns(const Route& route, const RouteCosts& costs, Bytes bytes) {
  const TimeNs before_wire = route.latency_ns + costs.fixed_ns + costs.post_ns;
  if (route.hops.empty()) return before_wire;
  const TimeNs stage =
      ByteCost::from_rate(route.bytes_per_s).of(bytes + costs.half_bandwidth_bytes);
  return before_wire + route.stages * stage;
}

}  // namespace kvhaul
