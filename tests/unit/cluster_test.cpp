#include "core/cluster.h"

#include <functional>
#include <limits>
#include <sstream>

#include <gtest/gtest.h>

#include "tests/support/setups.h"

namespace kvhaul {
namespace {

using test::rail_cluster;
using test::rail_node;

TEST(Cluster, NamesPlacesAndLinksAfterWhereTheyAre) {
  const Cluster cluster = rail_cluster(2, 2);
  ASSERT_TRUE(cluster.find_place("node1/gpu1"));
  EXPECT_TRUE(cluster.find_place("node0/host1"));
  EXPECT_EQ(cluster.find_place("node0/host0"), PlaceId{0});
  EXPECT_FALSE(cluster.find_place("node2/gpu0"));
  const Gpu& gpu = cluster.gpu(*cluster.find_place("node1/gpu1"));
  EXPECT_EQ(cluster.links[gpu.host_out].name, "node1/gpu1/pcie/out");
  EXPECT_EQ(cluster.nics[3].name, "node1/nic1");
}

TEST(Cluster, EveryRailHasItsOwnLeaf) {
  const Cluster cluster = rail_cluster(3, 4);
  ASSERT_EQ(cluster.leaves.size(), 4u);
  EXPECT_EQ(cluster.nics[1].leaf, cluster.nics[5].leaf);
  EXPECT_NE(cluster.nics[0].leaf, cluster.nics[1].leaf);
  EXPECT_EQ(cluster.leaves[0].name, "leaf0-rail0");
  EXPECT_EQ(cluster.leaves[3].name, "leaf0-rail3");
}

TEST(Cluster, LeavesGroupNodesAndJoinThroughSpines) {
  ClusterSpec spec;
  for (int n = 0; n < 4; ++n) spec.nodes.push_back({rail_node(2), 0, false});
  spec.fabric.nodes_per_leaf = 2;
  spec.fabric.spines = 2;
  spec.fabric.links_per_spine = 3;
  spec.fabric.spine_bytes_per_s = 50e9;
  const auto cluster = build_cluster(spec);
  ASSERT_TRUE(cluster);
  EXPECT_EQ(cluster->leaves.size(), 4u);  // 2 groups x 2 rails
  EXPECT_EQ(cluster->leaves[0].up.size(), 2u);
  EXPECT_EQ(cluster->leaves[0].up[1].size(), 3u);
}

TEST(Cluster, AdaptiveRoutingJoinsTheUplinksOfALeaf) {
  ClusterSpec spec;
  for (int n = 0; n < 4; ++n) spec.nodes.push_back({rail_node(2), 0, false});
  spec.fabric.nodes_per_leaf = 2;
  spec.fabric.spines = 2;
  spec.fabric.links_per_spine = 3;
  spec.fabric.spine_bytes_per_s = 50e9;
  spec.fabric.routing = FabricRouting::adaptive;
  const Cluster cluster = *build_cluster(spec);
  ASSERT_EQ(cluster.leaves.size(), 4u);
  const Leaf& leaf = cluster.leaves[3];
  ASSERT_EQ(leaf.up.size(), 1u);
  ASSERT_EQ(leaf.up[0].size(), 1u);
  const Link& up = cluster.links[leaf.up[0][0]];
  EXPECT_EQ(up.name, "leaf1-rail1/up");
  EXPECT_EQ(cluster.links[leaf.down[0][0]].name, "leaf1-rail1/down");
  EXPECT_DOUBLE_EQ(up.bytes_per_s, 2 * 3 * 50e9);  // spines x links to each
  EXPECT_EQ(up.latency_ns, 0);
  EXPECT_EQ(cluster.links[leaf.down[0][0]].latency_ns, 0);
  spec.fabric.spines = 1;
  const Cluster one = *build_cluster(spec);
  EXPECT_EQ(one.links[one.leaves[0].up.at(0).at(0)].name, "leaf0-rail0/up");
  EXPECT_DOUBLE_EQ(one.links[one.leaves[0].up[0][0]].bytes_per_s, 3 * 50e9);
}

TEST(Cluster, NicsAreNumberedWithinTheirRail) {
  const Cluster cluster = rail_cluster(3, 2);
  // node2/nic1 is the sixth of the cluster and the third of rail 1.
  EXPECT_EQ(cluster.nics[5].name, "node2/nic1");
  EXPECT_EQ(cluster.nics[5].number, 2u);
  ClusterSpec spec;
  for (int n = 0; n < 3; ++n) spec.nodes.push_back({rail_node(2), 0, false});
  spec.fabric.rails = false;
  EXPECT_EQ(build_cluster(spec)->nics[5].number, 5u);
}

TEST(Cluster, ReadIncastIsOfTheWayIntoAnNvlinkPort) {
  ClusterSpec spec;
  spec.nodes.push_back({rail_node(1), 0, false});
  spec.nodes[0].spec.gpus[0].nvlink_read_incast = 0.83;
  const Cluster cluster = *build_cluster(spec);
  const Gpu& gpu = cluster.nodes[0].gpus[0];
  EXPECT_DOUBLE_EQ(cluster.links[gpu.nvlink_in].read_incast, 0.83);
  EXPECT_DOUBLE_EQ(cluster.links[gpu.nvlink_out].read_incast, 1);
  EXPECT_DOUBLE_EQ(cluster.links[gpu.host_in].read_incast, 1);
}

TEST(Cluster, AWriteSideOfMemoryIsALinkOfItsOwn) {
  ClusterSpec spec;
  spec.nodes.push_back({rail_node(1), 0, false});
  EXPECT_EQ(build_cluster(spec)->nodes[0].dram_write, (std::vector<LinkId>{no_id, no_id}));
  spec.nodes[0].spec.hosts[1].memory_write_bytes_per_s = 180e9;
  const Cluster cluster = *build_cluster(spec);
  EXPECT_EQ(cluster.nodes[0].dram_write[0], no_id);
  const Link& write = cluster.links[cluster.nodes[0].dram_write[1]];
  EXPECT_EQ(write.name, "node0/host1/dram/write");
  EXPECT_EQ(write.kind, LinkKind::dram);
  EXPECT_DOUBLE_EQ(write.bytes_per_s, 180e9);
}

/// A node in which every number is another one.
NodeSpec distinct_node() {
  NodeSpec node;
  node.type = "odd one";
  node.hosts = {{201e9, 1 * GiB, 31e9}, {202e9, 2 * GiB}};
  node.socket_bytes_per_s = 21e9;
  node.socket_latency_ns = 11;
  node.pcie_switches = {{1, {51e9, 52e9, 12}}};
  node.gpus.resize(2);
  node.gpus[0] = {.memory_bytes = 3 * GiB,
                  .host = 1,
                  .pcie_switch = 0,
                  .host_link_kind = LinkKind::pcie,
                  .host_link = {53e9, 54e9, 13, 90e9},
                  .nvlink = PortRates{401e9, 402e9, 14},
                  .nvlink_read_incast = 0.5};
  node.gpus[1] = {.memory_bytes = 4 * GiB,
                  .pcie_switch = {},
                  .host_link_kind = LinkKind::c2c,
                  .host_link = {55e9, 56e9, 15},
                  .nvlink = {}};
  node.nics = {{1, 0, {57e9, 58e9, 16}, {41e9, 42e9, 17}, 3, "connectx-9"}};
  node.gpudirect = false;
  node.peer_to_peer = false;
  node.registration_bytes_per_s = 8e9;
  return node;
}

TEST(Cluster, EveryNumberOfASpecificationStandsAtItsLink) {
  ClusterSpec spec;
  spec.nodes = {{distinct_node(), 5, true}};
  spec.fabric = {true, 1, 1, 2, 61e9, 18, 19, FabricRouting::modulo};
  const auto made = build_cluster(spec);
  ASSERT_TRUE(made) << made.error().message;
  std::vector<std::string> links;
  for (const Link& link : made->links) {
    std::ostringstream text;
    text << link.name << ' ' << link_kind_name(link.kind) << ' ' << link.bytes_per_s / 1e9 << ' '
         << link.latency_ns;
    if (link.read_incast != 1) text << " incast " << link.read_incast;
    links.push_back(text.str());
  }
  EXPECT_EQ(links, (std::vector<std::string>{
                       "node0/host0/dram dram 201 0",
                       "node0/host0/dram/write dram 31 0",
                       "node0/host1/dram dram 202 0",
                       "node0/socket0-1 socket 21 11",
                       "node0/socket1-0 socket 21 11",
                       "node0/pcie-switch0/uplink/out pcie 51 12",
                       "node0/pcie-switch0/uplink/in pcie 52 12",
                       "node0/gpu0/pcie/out pcie 53 13",
                       "node0/gpu0/pcie/in pcie 54 13",
                       "node0/gpu0/pcie/both pcie 90 0",
                       "node0/gpu0/nvlink/out nvlink 401 14",
                       "node0/gpu0/nvlink/in nvlink 402 14 incast 0.5",
                       "node0/gpu1/c2c/out c2c 55 15",
                       "node0/gpu1/c2c/in c2c 56 15",
                       "node0/nic0/pcie/out pcie 57 16",
                       "node0/nic0/pcie/in pcie 58 16",
                       "node0/nic0/tx nic 41 17",
                       "node0/nic0/rx nic 42 0",
                       "leaf0-rail3/spine0/0/up fabric 61 0",
                       "leaf0-rail3/spine0/0/down fabric 61 0",
                       "leaf0-rail3/spine0/1/up fabric 61 0",
                       "leaf0-rail3/spine0/1/down fabric 61 0",
                   }));
  const auto name = [&](LinkId link) { return link == no_id ? "-" : made->links[link].name; };

  std::vector<std::string> places;
  for (const Place& place : made->places)
    places.push_back(place.name + (place.kind == PlaceKind::gpu ? " gpu " : " host ") +
                     std::to_string(place.node) + ' ' + std::to_string(place.index) + ' ' +
                     std::to_string(place.memory_bytes / GiB));
  EXPECT_EQ(places, (std::vector<std::string>{"node0/host0 host 0 0 1", "node0/host1 host 0 1 2",
                                              "node0/gpu0 gpu 0 0 3", "node0/gpu1 gpu 0 1 4"}));

  const Node& node = made->nodes[0];
  EXPECT_EQ(node.name, "node0");
  EXPECT_EQ(node.type, "odd one");
  EXPECT_EQ(node.nvlink_domain, 5u);
  EXPECT_FALSE(node.gpudirect);
  EXPECT_FALSE(node.peer_to_peer);
  EXPECT_EQ(node.registration_bytes_per_s, 8e9);
  EXPECT_EQ(node.hosts, (std::vector<PlaceId>{0, 1}));
  EXPECT_EQ(name(node.dram[1]), "node0/host1/dram");
  EXPECT_EQ(name(node.dram_write[0]), "node0/host0/dram/write");
  EXPECT_EQ(name(node.socket[0][0]) + ' ' + name(node.socket[0][1]) + ' ' +
                name(node.socket[1][0]) + ' ' + name(node.socket[1][1]),
            "- node0/socket0-1 node0/socket1-0 -");
  const PcieSwitch& root = node.pcie_switches[0];
  EXPECT_EQ(root.name, "node0/pcie-switch0");
  EXPECT_EQ(root.host, 1u);
  EXPECT_EQ(name(root.out), "node0/pcie-switch0/uplink/out");
  EXPECT_EQ(name(root.in), "node0/pcie-switch0/uplink/in");
  const Gpu& gpu = node.gpus[0];
  EXPECT_EQ(gpu.place, 2u);
  EXPECT_EQ(gpu.host, 1u);
  EXPECT_EQ(gpu.pcie_switch, 0u);
  EXPECT_EQ(name(gpu.host_out), "node0/gpu0/pcie/out");
  EXPECT_EQ(name(gpu.host_in), "node0/gpu0/pcie/in");
  EXPECT_EQ(name(gpu.host_both), "node0/gpu0/pcie/both");
  EXPECT_EQ(name(gpu.nvlink_out), "node0/gpu0/nvlink/out");
  EXPECT_EQ(name(gpu.nvlink_in), "node0/gpu0/nvlink/in");
  EXPECT_EQ(node.gpus[1].pcie_switch, std::nullopt);
  EXPECT_EQ(name(node.gpus[1].nvlink_out) + name(node.gpus[1].nvlink_in), "--");
  const Nic& nic = made->nics[node.nics[0]];
  EXPECT_EQ(nic.name, "node0/nic0");
  EXPECT_EQ(nic.node, 0u);
  EXPECT_EQ(nic.host, 1u);
  EXPECT_EQ(nic.pcie_switch, 0u);
  EXPECT_EQ(name(nic.pcie_out), "node0/nic0/pcie/out");
  EXPECT_EQ(name(nic.pcie_in), "node0/nic0/pcie/in");
  EXPECT_EQ(name(nic.tx), "node0/nic0/tx");
  EXPECT_EQ(name(nic.rx), "node0/nic0/rx");
  EXPECT_EQ(nic.part, "connectx-9");
  EXPECT_EQ(nic.rail, 3u);
  EXPECT_EQ(nic.leaf, 0u);
  EXPECT_EQ(nic.number, 0u);
  EXPECT_EQ(made->spines, 1u);
  EXPECT_EQ(made->routing, FabricRouting::modulo);
  EXPECT_EQ(made->leaf_latency_ns, 18);
  EXPECT_EQ(made->spine_latency_ns, 19);
  EXPECT_EQ(name(made->leaves[0].up[0][1]), "leaf0-rail3/spine0/1/up");
  EXPECT_EQ(name(made->leaves[0].down[0][1]), "leaf0-rail3/spine0/1/down");
}

TEST(Cluster, NodesShareAnNvlinkDomainOnlyWhereTheySaySo) {
  ClusterSpec spec;
  spec.nodes = {{rail_node(1), 0, true},
                {rail_node(1), 0, true},
                {rail_node(1), 0, false},
                {rail_node(1), 0, false}};
  // Whatever number they share, it is none of those of nodes by themselves.
  for (const std::uint32_t number : {2u, 0x40000002u, 0x7fffffffu})
    spec.nodes.push_back({rail_node(1), number, true});
  const Cluster cluster = *build_cluster(spec);
  for (std::size_t shared = 4; shared < 7; ++shared)
    EXPECT_NE(cluster.nodes[shared].nvlink_domain, cluster.nodes[2].nvlink_domain);
  EXPECT_EQ(cluster.nodes[0].nvlink_domain, cluster.nodes[1].nvlink_domain);
  EXPECT_NE(cluster.nodes[0].nvlink_domain, cluster.nodes[2].nvlink_domain);
  EXPECT_NE(cluster.nodes[2].nvlink_domain, cluster.nodes[3].nvlink_domain);
}

TEST(Cluster, WithoutRailsLeavesAreNamedAfterTheirGroup) {
  ClusterSpec spec;
  for (int n = 0; n < 3; ++n) spec.nodes.push_back({rail_node(2), 0, false});
  spec.fabric.rails = false;
  spec.fabric.nodes_per_leaf = 2;
  const Cluster cluster = *build_cluster(spec);
  ASSERT_EQ(cluster.leaves.size(), 2u);
  EXPECT_EQ(cluster.leaves[0].name, "leaf0");
  EXPECT_EQ(cluster.leaves[1].name, "leaf1");
  EXPECT_EQ(cluster.nics[3].leaf, 0u);
  EXPECT_EQ(cluster.nics[4].leaf, 1u);
  EXPECT_TRUE(cluster.leaves[0].up.empty());
  // Adaptive routing without a spine joins nothing either.
  spec.fabric.routing = FabricRouting::adaptive;
  EXPECT_TRUE(build_cluster(spec)->leaves[0].up.empty());
}

TEST(Cluster, KindsOfLinksHaveTheirNames) {
  using enum LinkKind;
  std::vector<std::string_view> names;
  for (const LinkKind kind : {pcie, c2c, dram, socket, nvlink, nic, fabric})
    names.push_back(link_kind_name(kind));
  EXPECT_EQ(names, (std::vector<std::string_view>{"pcie", "c2c", "dram", "socket", "nvlink", "nic",
                                                  "fabric"}));
}

/// The slowest rate that a scenario can name.
TEST(Cluster, OneByteASecondIsARate) {
  ClusterSpec spec;
  NodeSpec node = distinct_node();
  node.hosts = {{1, GiB, 1}, {1, GiB, 1}};
  node.socket_bytes_per_s = 1;
  node.pcie_switches[0].uplink = {1, 1, 0};
  for (NodeSpec::Gpu& gpu : node.gpus) gpu.host_link = {1, 1, 0, 1};
  node.gpus[0].nvlink = PortRates{1, 1, 0};
  node.gpus[0].nvlink_read_incast = 1;
  node.nics[0].pcie = node.nics[0].wire = {1, 1, 0};
  spec.nodes = {{node, 0, false}};
  spec.fabric.spines = 1;
  spec.fabric.spine_bytes_per_s = 1;
  const auto cluster = build_cluster(spec);
  ASSERT_TRUE(cluster) << cluster.error().message;
  for (const Link& link : cluster->links) EXPECT_EQ(link.bytes_per_s, 1) << link.name;
  EXPECT_NE(cluster->nodes[0].dram_write[1], no_id);
  EXPECT_NE(cluster->nodes[0].gpus[1].host_both, no_id);
}

TEST(Cluster, RefusesEveryNumberThatCannotBe) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::string rate = ": expected a rate above zero in both directions";
  const std::string both = ": only a GPU's host link may have a limit of both directions";
  const std::string fabric = "fabric: expected a spine rate and links per spine above zero";
  struct Case {
    std::string message;
    std::function<void(NodeSpec&, FabricSpec&)> change;
  };
  std::vector<Case> cases = {
      {"node0: expected at least one host", [](auto& n, auto&) { n.hosts.clear(); }},
      {"node0/host1: expected a memory rate above zero",
       [](auto& n, auto&) { n.hosts[1].memory_bytes_per_s = 0; }},
      {"node0/host0: expected a memory rate above zero",
       [](auto& n, auto&) { n.hosts[0].memory_bytes_per_s = -1; }},
      {"node0/host1: expected a memory write rate above zero",
       [](auto& n, auto&) { n.hosts[1].memory_write_bytes_per_s = -1; }},
      {"node0: expected a socket link rate, because it has 2 hosts",
       [](auto& n, auto&) { n.socket_bytes_per_s = 0; }},
      {"node0: expected a socket link rate, because it has 2 hosts",
       [](auto& n, auto&) { n.socket_bytes_per_s = -1; }},
      {"node0/pcie-switch0: expected a host below 2, found 2",
       [](auto& n, auto&) { n.pcie_switches[0].host = 2; }},
      {"node0/gpu0: expected a host below 2, found 2", [](auto& n, auto&) { n.gpus[0].host = 2; }},
      {"node0/gpu1: expected a PCIe switch below 1, found 1",
       [](auto& n, auto&) { n.gpus[1].pcie_switch = 1; }},
      {"node0/nic0: expected a host below 2, found 2", [](auto& n, auto&) { n.nics[0].host = 2; }},
      {"node0/nic0: expected a PCIe switch below 1, found 1",
       [](auto& n, auto&) { n.nics[0].pcie_switch = 1; }},
      {"node0/gpu0 host link: expected a rate of both directions together that is no smaller than "
       "that of one",
       [](auto& n, auto&) { n.gpus[0].host_link.both_bytes_per_s = 53.5e9; }},
      {"node0/gpu0 host link: expected a rate of both directions together that is no smaller than "
       "that of one",
       [nan](auto& n, auto&) { n.gpus[0].host_link.both_bytes_per_s = nan; }},
      {"node0/gpu0 NVLink: expected a read incast share above 0, at most 1",
       [nan](auto& n, auto&) { n.gpus[0].nvlink_read_incast = nan; }},
      {fabric, [](auto&, FabricSpec& f) { f.spine_bytes_per_s = 0; }},
      {fabric, [](auto&, FabricSpec& f) { f.spine_bytes_per_s = -1; }},
      {fabric, [](auto&, FabricSpec& f) { f.links_per_spine = 0; }},
  };
  const std::vector<std::pair<std::string, std::function<PortRates&(NodeSpec&)>>> ports = {
      {"node0/pcie-switch0 uplink",
       [](NodeSpec& n) -> PortRates& { return n.pcie_switches[0].uplink; }},
      {"node0/gpu1 host link", [](NodeSpec& n) -> PortRates& { return n.gpus[1].host_link; }},
      {"node0/gpu0 NVLink", [](NodeSpec& n) -> PortRates& { return *n.gpus[0].nvlink; }},
      {"node0/nic0 PCIe", [](NodeSpec& n) -> PortRates& { return n.nics[0].pcie; }},
      {"node0/nic0 wire", [](NodeSpec& n) -> PortRates& { return n.nics[0].wire; }},
  };
  for (const auto& [what, port] : ports) {
    for (const double wrong : {0.0, -1.0, nan}) {
      cases.push_back({what + rate, [=](NodeSpec& n, auto&) { port(n).out_bytes_per_s = wrong; }});
      cases.push_back({what + rate, [=](NodeSpec& n, auto&) { port(n).in_bytes_per_s = wrong; }});
    }
    if (what != "node0/gpu1 host link")
      cases.push_back({what + both, [=](NodeSpec& n, auto&) { port(n).both_bytes_per_s = 900e9; }});
  }
  for (const Case& c : cases) {
    ClusterSpec spec;
    spec.nodes = {{distinct_node(), 0, false}};
    spec.fabric = {true, 1, 1, 2, 61e9, 18, 19, FabricRouting::ecmp};
    ASSERT_TRUE(build_cluster(spec));
    c.change(spec.nodes[0].spec, spec.fabric);
    const auto cluster = build_cluster(spec);
    ASSERT_FALSE(cluster) << c.message;
    EXPECT_EQ(cluster.error().kind, ErrorKind::bad_input);
    EXPECT_EQ(cluster.error().message, c.message);
  }
  // The second node is looked at, too. And one host needs no socket link.
  ClusterSpec spec;
  spec.nodes = {{rail_node(1), 0, false}, {rail_node(1), 0, false}};
  spec.nodes[1].spec.gpus[0].host = 2;
  EXPECT_EQ(build_cluster(spec).error().message, "node1/gpu0: expected a host below 2, found 2");
  spec.nodes[1].spec = rail_node(1);
  spec.nodes[1].spec.hosts.resize(1);
  spec.nodes[1].spec.socket_bytes_per_s = 0;
  EXPECT_TRUE(build_cluster(spec));
}

/// What is left out of a specification is what the header says.
TEST(Cluster, DefaultsAreWhatTheHeaderSays) {
  const PortRates port;
  EXPECT_EQ(port.out_bytes_per_s, 0);
  EXPECT_EQ(port.in_bytes_per_s, 0);
  EXPECT_EQ(port.latency_ns, 0);
  EXPECT_EQ(port.both_bytes_per_s, 0);
  const Link link;
  EXPECT_EQ(link.bytes_per_s, 0);
  EXPECT_EQ(link.latency_ns, 0);
  EXPECT_EQ(link.read_incast, 1);
  const NodeSpec node;
  EXPECT_EQ(node.socket_bytes_per_s, 0);
  EXPECT_EQ(node.socket_latency_ns, 0);
  EXPECT_TRUE(node.gpudirect);
  EXPECT_TRUE(node.peer_to_peer);
  EXPECT_EQ(node.registration_bytes_per_s, 0);
  const NodeSpec::Host host;
  EXPECT_EQ(host.memory_bytes_per_s, 0);
  EXPECT_EQ(host.memory_bytes, 0u);
  EXPECT_EQ(host.memory_write_bytes_per_s, 0);
  EXPECT_EQ(NodeSpec::PcieSwitch{}.host, 0u);
  const NodeSpec::Gpu gpu;
  EXPECT_EQ(gpu.memory_bytes, 0u);
  EXPECT_EQ(gpu.host, 0u);
  EXPECT_EQ(gpu.nvlink_read_incast, 1);
  EXPECT_EQ(NodeSpec::Nic{}.host, 0u);
  EXPECT_EQ(NodeSpec::Nic{}.rail, 0u);
  const FabricSpec fabric;
  EXPECT_TRUE(fabric.rails);
  EXPECT_EQ(fabric.nodes_per_leaf, 0u);
  EXPECT_EQ(fabric.spines, 0u);
  EXPECT_EQ(fabric.links_per_spine, 1u);
  EXPECT_EQ(fabric.spine_bytes_per_s, 0);
  EXPECT_EQ(fabric.leaf_latency_ns, 0);
  EXPECT_EQ(fabric.spine_latency_ns, 0);
  EXPECT_EQ(ClusterSpec::NodeEntry{}.nvlink_domain, 0u);
  EXPECT_FALSE(ClusterSpec::NodeEntry{}.shares_nvlink);
  EXPECT_EQ(PcieSwitch{}.host, 0u);
  EXPECT_EQ(Gpu{}.host, 0u);
  EXPECT_EQ(Place{}.node + Place{}.index + Place{}.memory_bytes, 0u);
  EXPECT_EQ(Nic{}.node + Nic{}.host + Nic{}.rail + Nic{}.number, 0u);
  EXPECT_EQ(Node{}.nvlink_domain, 0u);
  EXPECT_TRUE(Node{}.gpudirect);
  EXPECT_TRUE(Node{}.peer_to_peer);
  EXPECT_EQ(Node{}.registration_bytes_per_s, 0);
  EXPECT_EQ(Cluster{}.spines, 0u);
  EXPECT_EQ(Cluster{}.leaf_latency_ns, 0);
  EXPECT_EQ(Cluster{}.spine_latency_ns, 0);
}

void expect_refused(const ClusterSpec& spec, const std::string& words) {
  const auto cluster = build_cluster(spec);
  ASSERT_FALSE(cluster);
  EXPECT_EQ(cluster.error().kind, ErrorKind::bad_input);
  EXPECT_NE(cluster.error().message.find(words), std::string::npos) << cluster.error().message;
}

TEST(Cluster, RefusesPartsThatHangNowhere) {
  ClusterSpec spec;
  spec.nodes.push_back({rail_node(2), 0, false});
  spec.nodes[0].spec.gpus[1].host = 7;
  expect_refused(spec, "node0/gpu1: expected a host below 2, found 7");
  spec.nodes[0].spec = rail_node(2);
  spec.nodes[0].spec.nics[0].pcie_switch = 9;
  expect_refused(spec, "node0/nic0: expected a PCIe switch below 2, found 9");
}

TEST(Cluster, RefusesSharesThatAreNone) {
  ClusterSpec spec;
  spec.nodes.push_back({rail_node(1), 0, false});
  for (const double share : {0.0, -1.0, 1.01}) {
    spec.nodes[0].spec.gpus[0].nvlink_read_incast = share;
    expect_refused(spec, "node0/gpu0 NVLink: expected a read incast share above 0, at most 1");
  }
}

TEST(Cluster, ALimitOfBothDirectionsIsALinkOfItsOwn) {
  ClusterSpec spec;
  spec.nodes.push_back({rail_node(2), 0, false});
  spec.nodes[0].spec.gpus[1].host_link.both_bytes_per_s = 80e9;
  const Cluster cluster = *build_cluster(spec);
  EXPECT_EQ(cluster.nodes[0].gpus[0].host_both, no_id);
  const Link& both = cluster.links[cluster.nodes[0].gpus[1].host_both];
  EXPECT_EQ(both.name, "node0/gpu1/pcie/both");
  EXPECT_EQ(both.kind, LinkKind::pcie);
  EXPECT_DOUBLE_EQ(both.bytes_per_s, 80e9);

  spec.nodes[0].spec.gpus[1].host_link.both_bytes_per_s = 49e9;  // one direction has 50
  expect_refused(spec, "node0/gpu1 host link: expected a rate of both directions together");
  spec.nodes[0].spec = rail_node(2);
  spec.nodes[0].spec.nics[1].pcie.both_bytes_per_s = 80e9;
  expect_refused(spec, "node0/nic1 PCIe: only a GPU's host link may have a limit of both");
}

TEST(Cluster, RefusesRatesOfZero) {
  ClusterSpec spec;
  spec.nodes.push_back({rail_node(2), 0, false});
  spec.nodes[0].spec.gpus[0].host_link.in_bytes_per_s = 0;
  expect_refused(spec, "node0/gpu0 host link: expected a rate above zero");
  spec.nodes[0].spec = rail_node(2);
  spec.nodes[0].spec.socket_bytes_per_s = 0;
  expect_refused(spec, "node0: expected a socket link rate");
  spec.nodes[0].spec = rail_node(2);
  spec.nodes[0].spec.hosts.clear();
  expect_refused(spec, "node0: expected at least one host");
}

}  // namespace
}  // namespace kvhaul
