#include "core/route.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "core/channel_plan.h"
#include "tests/support/setups.h"

namespace kvhaul {
namespace {

using test::rail_cluster;
using test::rail_node;

std::vector<Route> routes(const Cluster& cluster, const char* from, const char* to) {
  return find_routes(cluster, *cluster.find_place(from), *cluster.find_place(to));
}

const Route* find(const std::vector<Route>& all, const std::string& name) {
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Route& r) { return r.name == name; });
  return found == all.end() ? nullptr : &*found;
}

std::vector<std::string> hop_names(const Cluster& cluster, const Route& route) {
  std::vector<std::string> names;
  for (const LinkId link : route.hops) names.push_back(cluster.links[link].name);
  return names;
}

TEST(Routes, TheNearestNicComesFirst) {
  const Cluster cluster = rail_cluster(2, 4);
  const auto all = routes(cluster, "node0/gpu2", "node1/gpu2");
  EXPECT_EQ(all[0].name, "rdma node0/nic2 node1/nic2");
  EXPECT_EQ(
      hop_names(cluster, all[0]),
      (std::vector<std::string>{"node0/gpu2/pcie/out", "node0/nic2/pcie/in", "node0/nic2/tx",
                                "node1/nic2/rx", "node1/nic2/pcie/out", "node1/gpu2/pcie/in"}));
  // 40 GB/s is the wire, the narrowest of 50, 50, 40, 40, 50, 50.
  EXPECT_DOUBLE_EQ(all[0].bytes_per_s, 40e9);
  EXPECT_EQ(cluster.links[all[0].bottleneck].name, "node0/nic2/tx");
}

TEST(Routes, ANicOfTheOtherSocketIsReachedAcrossTheSocketLink) {
  const Cluster cluster = rail_cluster(2, 4);
  const auto all = routes(cluster, "node0/gpu0", "node1/gpu0");
  const Route* far = find(all, "rdma node0/nic3 node1/nic3");
  ASSERT_NE(far, nullptr);
  EXPECT_TRUE(far->usable);
  EXPECT_DOUBLE_EQ(far->bytes_per_s, 20e9);  // the socket link
  EXPECT_NE(far->reason.find("across the socket link"), std::string::npos);
}

TEST(Routes, RailsWithoutASpineAreListedWithTheReason) {
  const Cluster cluster = rail_cluster(2, 2);
  const auto all = routes(cluster, "node0/gpu0", "node1/gpu0");
  const Route* cross = find(all, "rdma node0/nic0 node1/nic1");
  ASSERT_NE(cross, nullptr);
  EXPECT_FALSE(cross->usable);
  EXPECT_EQ(cross->reason, "rails 0 and 1 are not joined by a spine");
  // Usable ones stand before the others.
  EXPECT_TRUE(std::is_partitioned(all.begin(), all.end(), [](const Route& r) { return r.usable; }));
}

TEST(Routes, WithoutGpuDirectOnlyTheStagedOneIsUsable) {
  ClusterSpec spec;
  spec.nodes.push_back({rail_node(1), 0, false});
  spec.nodes.push_back({rail_node(1), 0, false});
  spec.nodes[1].spec.gpudirect = false;
  const Cluster cluster = *build_cluster(spec);
  const auto all = routes(cluster, "node0/gpu0", "node1/gpu0");
  EXPECT_EQ(all[0].kind, RouteKind::rdma_staged);
  const Route* direct = find(all, "rdma node0/nic0 node1/nic0");
  ASSERT_NE(direct, nullptr);
  EXPECT_EQ(direct->reason, "no GPUDirect RDMA in node1");
}

TEST(Routes, StagedCopiesCrossDramTwiceASide) {
  const Cluster cluster = rail_cluster(2, 2);
  const auto all = routes(cluster, "node0/gpu0", "node1/gpu0");
  const Route* staged = find(all, "rdma_staged node0/nic0 node1/nic0");
  ASSERT_NE(staged, nullptr);
  const auto names = hop_names(cluster, *staged);
  EXPECT_EQ(std::count(names.begin(), names.end(), "node0/host0/dram"), 2);
  EXPECT_EQ(std::count(names.begin(), names.end(), "node1/host0/dram"), 2);
}

TEST(Routes, ALinkCrossedTwiceCountsTwice) {
  ClusterSpec spec;
  spec.nodes.push_back({rail_node(2), 0, false});
  for (auto& host : spec.nodes[0].spec.hosts) host.memory_bytes_per_s = 60e9;
  const Cluster cluster = *build_cluster(spec);
  const auto all = routes(cluster, "node0/gpu0", "node0/gpu1");
  const auto staged = std::find_if(all.begin(), all.end(),
                                   [](const Route& r) { return r.kind == RouteKind::pcie_staged; });
  ASSERT_NE(staged, all.end());
  // DRAM of 60 GB/s written and read: 30; PCIe 50; socket link 20 is the narrowest here.
  EXPECT_DOUBLE_EQ(staged->bytes_per_s, 20e9);
  const auto host = routes(cluster, "node0/gpu0", "node0/host0");
  ASSERT_FALSE(host.empty());
  EXPECT_DOUBLE_EQ(host[0].bytes_per_s, 50e9);  // one crossing of DRAM only
}

TEST(Routes, InsideANodeNvlinkIsFirst) {
  const Cluster cluster = rail_cluster(1, 4);
  const auto all = routes(cluster, "node0/gpu0", "node0/gpu1");
  EXPECT_EQ(all[0].kind, RouteKind::nvlink_copy);
  EXPECT_EQ(all[1].kind, RouteKind::nvlink_load_store);
  EXPECT_EQ(all[2].kind, RouteKind::pcie_p2p);
  EXPECT_EQ(all[3].kind, RouteKind::pcie_staged);
  EXPECT_EQ(all[4].kind, RouteKind::handoff);
  EXPECT_FALSE(all[4].usable);
  const auto across = routes(cluster, "node0/gpu0", "node0/gpu3");
  const auto p2p = std::find_if(across.begin(), across.end(),
                                [](const Route& r) { return r.kind == RouteKind::pcie_p2p; });
  EXPECT_FALSE(p2p->usable);
}

TEST(Routes, OnePlaceHandsOver) {
  const Cluster cluster = rail_cluster(1, 2);
  const auto all = routes(cluster, "node0/gpu0", "node0/gpu0");
  EXPECT_EQ(all[0].kind, RouteKind::handoff);
  EXPECT_TRUE(all[0].hops.empty());
}

TEST(Routes, ASharedNvlinkDomainJoinsNodes) {
  ClusterSpec spec;
  spec.nodes.push_back({rail_node(1), 3, true});
  spec.nodes.push_back({rail_node(1), 3, true});
  spec.nodes.push_back({rail_node(1), 4, true});
  const Cluster cluster = *build_cluster(spec);
  EXPECT_EQ(routes(cluster, "node0/gpu0", "node1/gpu0")[0].kind, RouteKind::nvlink_copy);
  EXPECT_EQ(routes(cluster, "node0/gpu0", "node2/gpu0")[0].kind, RouteKind::rdma);
}

TEST(Routes, EcmpPicksOneSpineForAPairOfNicsAndKeepsIt) {
  ClusterSpec spec;
  for (int n = 0; n < 4; ++n) spec.nodes.push_back({rail_node(1), 0, false});
  spec.fabric = {true, 2, 4, 2, 50e9, 0, 100};
  const Cluster cluster = *build_cluster(spec);
  const PlaceId a = *cluster.find_place("node0/gpu0"), b = *cluster.find_place("node2/gpu0");
  const auto first = find_routes(cluster, a, b, {1});
  EXPECT_EQ(first[0].hops, find_routes(cluster, a, b, {1})[0].hops);
  EXPECT_EQ(first[0].hops.size(), 8u);
  EXPECT_EQ(first[0].latency_ns, 100);
  bool differs = false;
  for (std::uint64_t seed = 2; seed < 20; ++seed)
    differs = differs || find_routes(cluster, a, b, {seed})[0].hops != first[0].hops;
  EXPECT_TRUE(differs);
}

TEST(UnloadedTime, FollowsTheFormula) {
  const Cluster cluster = rail_cluster(2, 1);
  const Route rdma = routes(cluster, "node0/gpu0", "node1/gpu0")[0];
  RouteCosts costs;
  costs.fixed_ns = 1200;
  costs.post_ns = 200;
  costs.half_bandwidth_bytes = 40'000;
  // 1200 + 200 + (4,000,000 + 40,000) B / 40 B/ns = 1400 + 101,000
  EXPECT_NEAR(static_cast<double>(unloaded_ns(rdma, costs, 4'000'000)), 102'400, 1);
}

TEST(ChannelPlan, FallbacksGetTheNextTier) {
  const Cluster cluster = rail_cluster(2, 2);
  const std::vector<std::pair<PlaceId, PlaceId>> pairs = {
      {*cluster.find_place("node0/gpu0"), *cluster.find_place("node1/gpu0")}};
  const auto plan = plan_channels(cluster, pairs, {});
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->requests.size(), 4u);  // two rails direct, two rails staged
  EXPECT_EQ(plan->tiers, (std::vector<std::uint32_t>{0, 0, 1, 1}));
  EXPECT_EQ(plan->requests[0].owner, 0u);
}

TEST(ChannelPlan, SaysWhatIsWrongWhenNothingIsUsable) {
  ClusterSpec spec;
  spec.nodes.push_back({rail_node(1), 0, false});
  spec.nodes.push_back({rail_node(1), 0, false});
  spec.nodes[0].spec.nics.clear();
  const Cluster cluster = *build_cluster(spec);
  const std::vector<std::pair<PlaceId, PlaceId>> pairs = {
      {*cluster.find_place("node0/gpu0"), *cluster.find_place("node1/gpu0")}};
  const auto plan = plan_channels(cluster, pairs, {});
  ASSERT_FALSE(plan);
  EXPECT_NE(plan.error().message.find("no NIC in node0"), std::string::npos)
      << plan.error().message;
}

}  // namespace
}  // namespace kvhaul
