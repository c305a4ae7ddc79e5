#include "core/cluster.h"

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
