#include "core/cluster.h"

#include <algorithm>
#include <map>

namespace kvhaul {
namespace {

class Builder {
 public:
  explicit Builder(const ClusterSpec& spec) : spec_(spec) {}

  Result<Cluster> build() {
    cluster_.leaf_latency_ns = spec_.fabric.leaf_latency_ns;
    cluster_.spine_latency_ns = spec_.fabric.spine_latency_ns;
    cluster_.spines = spec_.fabric.spines;
    cluster_.routing = spec_.fabric.routing;
    for (std::size_t n = 0; n < spec_.nodes.size(); ++n) {
      if (auto done = add_node(n); !done) return done.error();
    }
    if (auto done = add_fabric(); !done) return done.error();
    return std::move(cluster_);
  }

 private:
  LinkId add_link(std::string name, LinkKind kind, double bytes_per_s, TimeNs latency_ns) {
    cluster_.links.push_back({std::move(name), kind, bytes_per_s, latency_ns});
    return static_cast<LinkId>(cluster_.links.size() - 1);
  }

  static Result<void> check_port(const std::string& what, const PortRates& rates) {
    if (!(rates.out_bytes_per_s > 0 && rates.in_bytes_per_s > 0))
      return Error::bad_input(what + ": expected a rate above zero in both directions");
    if (rates.both_bytes_per_s != 0)
      return Error::bad_input(what +
                              ": only a GPU's host link may have a limit of both directions");
    return {};
  }

  /// A limit below one of the rates would make that rate a wrong number.
  static Result<void> check_host_link(const std::string& what, PortRates rates) {
    const double both = rates.both_bytes_per_s;
    if (both != 0 && !(both >= std::max(rates.out_bytes_per_s, rates.in_bytes_per_s)))
      return Error::bad_input(what +
                              ": expected a rate of both directions together that is no smaller "
                              "than that of one");
    rates.both_bytes_per_s = 0;
    return check_port(what, rates);
  }

  Result<void> add_node(std::size_t n) {
    const ClusterSpec::NodeEntry& entry = spec_.nodes[n];
    const NodeSpec& spec = entry.spec;
    const auto node_id = static_cast<NodeId>(n);
    Node node;
    node.name = "node" + std::to_string(n);
    node.type = spec.type;
    node.gpudirect = spec.gpudirect;
    node.peer_to_peer = spec.peer_to_peer;
    node.registration_bytes_per_s = spec.registration_bytes_per_s;
    // Domains of its own are numbered after the shared ones, so that the two never meet.
    node.nvlink_domain =
        entry.shares_nvlink ? entry.nvlink_domain : static_cast<std::uint32_t>(0x80000000u + n);

    if (spec.hosts.empty()) return Error::bad_input(node.name + ": expected at least one host");
    for (std::size_t h = 0; h < spec.hosts.size(); ++h) {
      const std::string name = node.name + "/host" + std::to_string(h);
      if (spec.hosts[h].memory_bytes_per_s <= 0)
        return Error::bad_input(name + ": expected a memory rate above zero");
      node.hosts.push_back(static_cast<PlaceId>(cluster_.places.size()));
      cluster_.places.push_back({name, PlaceKind::host, node_id, static_cast<std::uint32_t>(h),
                                 spec.hosts[h].memory_bytes});
      node.dram.push_back(
          add_link(name + "/dram", LinkKind::dram, spec.hosts[h].memory_bytes_per_s, 0));
      const double write = spec.hosts[h].memory_write_bytes_per_s;
      if (write < 0) return Error::bad_input(name + ": expected a memory write rate above zero");
      node.dram_write.push_back(write > 0 ? add_link(name + "/dram/write", LinkKind::dram, write, 0)
                                          : no_id);
    }
    if (auto done = add_sockets(spec, node); !done) return done;
    for (std::size_t i = 0; i < spec.pcie_switches.size(); ++i) {
      const NodeSpec::PcieSwitch& from = spec.pcie_switches[i];
      const std::string name = node.name + "/pcie-switch" + std::to_string(i);
      if (auto ok = check_host(name, from.host, spec); !ok) return ok;
      if (auto ok = check_port(name + " uplink", from.uplink); !ok) return ok;
      PcieSwitch pcie_switch{name, from.host};
      pcie_switch.out = add_link(name + "/uplink/out", LinkKind::pcie, from.uplink.out_bytes_per_s,
                                 from.uplink.latency_ns);
      pcie_switch.in = add_link(name + "/uplink/in", LinkKind::pcie, from.uplink.in_bytes_per_s,
                                from.uplink.latency_ns);
      node.pcie_switches.push_back(std::move(pcie_switch));
    }
    for (std::size_t i = 0; i < spec.gpus.size(); ++i)
      if (auto done = add_gpu(spec, i, node_id, node); !done) return done;
    for (std::size_t i = 0; i < spec.nics.size(); ++i)
      if (auto done = add_nic(spec, i, node_id, node); !done) return done;
    cluster_.nodes.push_back(std::move(node));
    return {};
  }

  static Result<void> check_host(const std::string& what, std::uint32_t host,
                                 const NodeSpec& spec) {
    if (host < spec.hosts.size()) return {};
    return Error::bad_input(what + ": expected a host below " + std::to_string(spec.hosts.size()) +
                            ", found " + std::to_string(host));
  }

  static Result<void> check_switch(const std::string& what,
                                   const std::optional<std::uint32_t>& pcie_switch,
                                   const NodeSpec& spec) {
    if (!pcie_switch || *pcie_switch < spec.pcie_switches.size()) return {};
    return Error::bad_input(what + ": expected a PCIe switch below " +
                            std::to_string(spec.pcie_switches.size()) + ", found " +
                            std::to_string(*pcie_switch));
  }

  Result<void> add_sockets(const NodeSpec& spec, Node& node) {
    const std::size_t hosts = spec.hosts.size();
    if (hosts > 1 && spec.socket_bytes_per_s <= 0)
      return Error::bad_input(node.name + ": expected a socket link rate, because it has " +
                              std::to_string(hosts) + " hosts");
    node.socket.assign(hosts, std::vector<LinkId>(hosts, no_id));
    for (std::size_t from = 0; from < hosts; ++from)
      for (std::size_t to = 0; to < hosts; ++to)
        if (from != to)
          node.socket[from][to] =
              add_link(node.name + "/socket" + std::to_string(from) + "-" + std::to_string(to),
                       LinkKind::socket, spec.socket_bytes_per_s, spec.socket_latency_ns);
    return {};
  }

  Result<void> add_gpu(const NodeSpec& spec, std::size_t i, NodeId node_id, Node& node) {
    const NodeSpec::Gpu& from = spec.gpus[i];
    const std::string name = node.name + "/gpu" + std::to_string(i);
    if (auto ok = check_host(name, from.host, spec); !ok) return ok;
    if (auto ok = check_switch(name, from.pcie_switch, spec); !ok) return ok;
    if (auto ok = check_host_link(name + " host link", from.host_link); !ok) return ok;
    Gpu gpu;
    gpu.place = static_cast<PlaceId>(cluster_.places.size());
    cluster_.places.push_back(
        {name, PlaceKind::gpu, node_id, static_cast<std::uint32_t>(i), from.memory_bytes});
    gpu.host = from.host;
    gpu.pcie_switch = from.pcie_switch;
    const std::string road = from.host_link_kind == LinkKind::c2c ? "/c2c" : "/pcie";
    gpu.host_out = add_link(name + road + "/out", from.host_link_kind,
                            from.host_link.out_bytes_per_s, from.host_link.latency_ns);
    gpu.host_in = add_link(name + road + "/in", from.host_link_kind, from.host_link.in_bytes_per_s,
                           from.host_link.latency_ns);
    if (from.host_link.both_bytes_per_s > 0)
      gpu.host_both =
          add_link(name + road + "/both", from.host_link_kind, from.host_link.both_bytes_per_s, 0);
    if (from.nvlink) {
      if (auto ok = check_port(name + " NVLink", *from.nvlink); !ok) return ok;
      gpu.nvlink_out = add_link(name + "/nvlink/out", LinkKind::nvlink,
                                from.nvlink->out_bytes_per_s, from.nvlink->latency_ns);
      gpu.nvlink_in = add_link(name + "/nvlink/in", LinkKind::nvlink, from.nvlink->in_bytes_per_s,
                               from.nvlink->latency_ns);
      if (!(from.nvlink_read_incast > 0 && from.nvlink_read_incast <= 1))
        return Error::bad_input(name + " NVLink: expected a read incast share above 0, at most 1");
      cluster_.links[gpu.nvlink_in].read_incast = from.nvlink_read_incast;
    }
    node.gpus.push_back(gpu);
    return {};
  }

  Result<void> add_nic(const NodeSpec& spec, std::size_t i, NodeId node_id, Node& node) {
    const NodeSpec::Nic& from = spec.nics[i];
    Nic nic;
    nic.name = node.name + "/nic" + std::to_string(i);
    if (auto ok = check_host(nic.name, from.host, spec); !ok) return ok;
    if (auto ok = check_switch(nic.name, from.pcie_switch, spec); !ok) return ok;
    if (auto ok = check_port(nic.name + " PCIe", from.pcie); !ok) return ok;
    if (auto ok = check_port(nic.name + " wire", from.wire); !ok) return ok;
    nic.node = node_id;
    nic.host = from.host;
    nic.pcie_switch = from.pcie_switch;
    nic.rail = from.rail;
    nic.part = from.part;
    nic.pcie_out = add_link(nic.name + "/pcie/out", LinkKind::pcie, from.pcie.out_bytes_per_s,
                            from.pcie.latency_ns);
    nic.pcie_in = add_link(nic.name + "/pcie/in", LinkKind::pcie, from.pcie.in_bytes_per_s,
                           from.pcie.latency_ns);
    nic.tx =
        add_link(nic.name + "/tx", LinkKind::nic, from.wire.out_bytes_per_s, from.wire.latency_ns);
    nic.rx = add_link(nic.name + "/rx", LinkKind::nic, from.wire.in_bytes_per_s, 0);
    node.nics.push_back(static_cast<std::uint32_t>(cluster_.nics.size()));
    cluster_.nics.push_back(std::move(nic));
    return {};
  }

  Result<void> add_fabric() {
    const FabricSpec& fabric = spec_.fabric;
    if (fabric.spines > 0 && (fabric.spine_bytes_per_s <= 0 || fabric.links_per_spine == 0))
      return Error::bad_input("fabric: expected a spine rate and links per spine above zero");
    std::map<std::uint32_t, std::uint32_t> nics_of_rail;
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t> leaf_of;  // (group, rail)
    for (Nic& nic : cluster_.nics) {
      const std::uint32_t group = fabric.nodes_per_leaf ? nic.node / fabric.nodes_per_leaf : 0;
      const std::uint32_t rail = fabric.rails ? nic.rail : 0;
      const auto [entry, is_new] =
          leaf_of.try_emplace({group, rail}, static_cast<std::uint32_t>(cluster_.leaves.size()));
      if (is_new) add_leaf(group, rail);
      nic.leaf = entry->second;
      nic.number = nics_of_rail[rail]++;
    }
    return {};
  }

  void add_leaf(std::uint32_t group, std::uint32_t rail) {
    const FabricSpec& fabric = spec_.fabric;
    Leaf leaf;
    leaf.name = "leaf" + std::to_string(group);
    if (fabric.rails) leaf.name += "-rail" + std::to_string(rail);
    if (fabric.routing == FabricRouting::adaptive && fabric.spines > 0) {
      const double all = fabric.spine_bytes_per_s * fabric.spines * fabric.links_per_spine;
      leaf.up = {{add_link(leaf.name + "/up", LinkKind::fabric, all, 0)}};
      leaf.down = {{add_link(leaf.name + "/down", LinkKind::fabric, all, 0)}};
      cluster_.leaves.push_back(std::move(leaf));
      return;
    }
    for (std::uint32_t s = 0; s < fabric.spines; ++s) {
      leaf.up.emplace_back();
      leaf.down.emplace_back();
      for (std::uint32_t k = 0; k < fabric.links_per_spine; ++k) {
        const std::string name = leaf.name + "/spine" + std::to_string(s) + "/" + std::to_string(k);
        leaf.up.back().push_back(
            add_link(name + "/up", LinkKind::fabric, fabric.spine_bytes_per_s, 0));
        leaf.down.back().push_back(
            add_link(name + "/down", LinkKind::fabric, fabric.spine_bytes_per_s, 0));
      }
    }
    cluster_.leaves.push_back(std::move(leaf));
  }

  const ClusterSpec& spec_;
  Cluster cluster_;
};

}  // namespace

std::string_view link_kind_name(LinkKind kind) {
  switch (kind) {
    case LinkKind::pcie:
      return "pcie";
    case LinkKind::c2c:
      return "c2c";
    case LinkKind::dram:
      return "dram";
    case LinkKind::socket:
      return "socket";
    case LinkKind::nvlink:
      return "nvlink";
    case LinkKind::nic:
      return "nic";
    case LinkKind::fabric:
      return "fabric";
  }
  return "?";
}

std::optional<PlaceId> Cluster::find_place(std::string_view name) const {
  for (PlaceId id = 0; id < places.size(); ++id)
    if (places[id].name == name) return id;
  return std::nullopt;
}

Result<Cluster> build_cluster(const ClusterSpec& spec) { return Builder(spec).build(); }

}  // namespace kvhaul
