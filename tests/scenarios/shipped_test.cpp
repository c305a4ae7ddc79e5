// Each scenario that ships with the tool says what it claims.
#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <span>

#include <gtest/gtest.h>

#include "core/channel_plan.h"
#include "core/planner.h"
#include "core/unit_text.h"
#include "scenarios/scenario.h"

namespace kvhaul::test {
namespace {

Scenario shipped(const std::string& name) {
  auto scenario = load_scenario(name);
  EXPECT_TRUE(scenario) << scenario.error().message;
  return scenario ? std::move(*scenario) : Scenario{};
}

std::vector<Route> routes_of(const Scenario& scenario, const char* from, const char* to) {
  const Cluster& cluster = scenario.cluster;
  return find_routes(cluster, *cluster.find_place(from), *cluster.find_place(to),
                     scenario.routes.paths);
}

std::vector<Route> usable(std::vector<Route> routes, RouteKind kind) {
  std::erase_if(routes, [&](const Route& r) { return !r.usable || r.kind != kind; });
  return routes;
}

std::size_t gpus(const Scenario& scenario) {
  return static_cast<std::size_t>(
      std::count_if(scenario.cluster.places.begin(), scenario.cluster.places.end(),
                    [](const Place& place) { return place.kind == PlaceKind::gpu; }));
}

TEST(Shipped, AllInAlphabeticalOrderEachWithItsSummary) {
  std::vector<std::string_view> names;
  for (const BuiltinScenario& builtin : builtin_scenarios()) {
    names.push_back(builtin.name);
    EXPECT_EQ(shipped(std::string(builtin.name)).name, builtin.name);
    EXPECT_GT(scenario_summary(builtin.text).size(), 20u) << builtin.name;
    EXPECT_LE(scenario_summary(builtin.text).size(), 105u) << builtin.name;
    for (const char* part : {"# What it is:", "# What to expect"})
      EXPECT_NE(builtin.text.find(part), std::string_view::npos) << builtin.name << ": " << part;
    const bool sourced = builtin.text.find("# Sources") != std::string_view::npos;
    EXPECT_TRUE(sourced || builtin.name == "laptop") << builtin.name;
  }
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  for (const char* name : {"burst-200x4k",     "dgx-b200",
                           "dgx-gh200",        "dgx-h100-pair",
                           "dgx-h100-su",      "fat-tree-adaptive",
                           "fat-tree-ecmp",    "gb200-descriptors",
                           "gb200-nvl72",      "gb200-nvl72-two-racks",
                           "gh200-nodes",      "hgx-a100-hdr",
                           "hgx-h100",         "hgx-h800",
                           "hgx-h800-roce200", "incast-8to1",
                           "laptop",           "pcie-no-gpudirect",
                           "pcie-pair",        "rate-collapse",
                           "roce-400-ecmp"})
    EXPECT_NE(std::find(names.begin(), names.end(), name), names.end()) << name;
}

/// A NIC is the same NIC in every scenario. What disagreed once (60 KB and 500 B of half-bandwidth
/// on one 400 Gb/s NIC) was 29 times in a result.
TEST(Shipped, NumbersOfOnePartAreTheSameEverywhere) {
  struct Numbers {
    double tx = 0, rx = 0;
    TimeNs fixed_ns = 0, post_ns = 0;
    Bytes half_bandwidth = 0;
    auto text() const {
      return rate_text(tx) + " out, " + rate_text(rx) + " in, " + duration_text(fixed_ns) + ", " +
             duration_text(post_ns) + " to post, " + std::to_string(half_bandwidth) + " B";
    }
  };
  std::map<std::string, std::map<std::string, Numbers>> by_part;  // and by scenario
  for (const BuiltinScenario& builtin : builtin_scenarios()) {
    const Scenario s = shipped(std::string(builtin.name));
    const RouteCosts& rdma = s.routes.costs[static_cast<std::size_t>(RouteKind::rdma)];
    for (const Nic& nic : s.cluster.nics) {
      ASSERT_NE(nic.part, "") << builtin.name << " does not say what part its NICs are";
      by_part[nic.part][s.name] = {s.cluster.links[nic.tx].bytes_per_s,
                                   s.cluster.links[nic.rx].bytes_per_s, rdma.fixed_ns, rdma.post_ns,
                                   rdma.half_bandwidth_bytes};
    }
  }
  for (const auto& [part, scenarios] : by_part)
    for (const auto& [name, numbers] : scenarios)
      EXPECT_EQ(numbers.text(), scenarios.begin()->second.text())
          << part << " has other numbers in " << name << " than in " << scenarios.begin()->first;
  EXPECT_EQ(by_part["connectx-7"].size(), 12u);
  EXPECT_EQ(by_part["connectx-6"].size(), 2u);
}

TEST(Shipped, DgxPairHasEightRailsAndReachesEachFromEveryGpu) {
  const Scenario s = shipped("dgx-h100-pair");
  EXPECT_EQ(s.cluster.nodes.size(), 2u);
  EXPECT_EQ(gpus(s), 16u);
  EXPECT_EQ(s.cluster.nics.size(), 16u);
  EXPECT_EQ(s.cluster.nodes[0].pcie_switches.size(), 8u);
  EXPECT_EQ(s.serving.prefill.instances.size(), 1u);
  EXPECT_EQ(s.serving.prefill.instances[0].size(), 8u);

  // Eight rails that no spine joins: one route per rail. GPU 0 shares its switch with NIC 0, whose
  // wire is the narrowest (48.9 GB/s); NICs 4 to 7 lie across the socket link (22 GB/s).
  const auto rails = usable(routes_of(s, "node0/gpu0", "node1/gpu0"), RouteKind::rdma);
  ASSERT_EQ(rails.size(), 8u);
  EXPECT_EQ(rails[0].name, "rdma node0/nic0 node1/nic0");
  for (std::size_t i = 0; i < rails.size(); ++i)
    EXPECT_DOUBLE_EQ(rails[i].bytes_per_s, i < 4 ? 48.9e9 : 22e9) << rails[i].name;
  // For GPU 5 it is NIC 5.
  EXPECT_EQ(usable(routes_of(s, "node0/gpu5", "node1/gpu5"), RouteKind::rdma)[0].name,
            "rdma node0/nic5 node1/nic5");
}

// One GPU's own memory at both ends, through its port twice: 51.2 GB/s are half of what both
// directions carry. Many pieces are packed; of two or three large ones that would not be worth its
// kernels.
TEST(Shipped, OneH200IsStagedAndItsPlannerChoosesByNumbers) {
  for (const char* name : {"h200-one-gpu", "h200-scattered"}) {
    const Scenario s = shipped(name);
    const auto routes = usable(routes_of(s, "node0/gpu0", "node0/gpu0"), RouteKind::pcie_staged);
    ASSERT_EQ(routes.size(), 1u);
    EXPECT_DOUBLE_EQ(routes[0].bytes_per_s, 51.2e9);
    EXPECT_EQ(routes[0].stages, 2u);
    const ChannelNumbers numbers =
        numbers_of(routes[0], s.routes.costs[static_cast<std::size_t>(RouteKind::pcie_staged)]);
    EXPECT_EQ(cheapest_gather(numbers, 4 * MiB, 1024, 4 * MiB), Gather::pack);
    EXPECT_EQ(cheapest_gather(numbers, 32 * KiB, 2, 4 * MiB), Gather::batch);
    EXPECT_EQ(cheapest_gather(numbers, 4 * MiB, 1, 4 * MiB), Gather::each);
  }
}

TEST(Shipped, HgxGoesOverNvlinkAndFallsBackToHostMemory) {
  const Scenario s = shipped("hgx-h100");
  EXPECT_EQ(s.cluster.nodes.size(), 1u);
  EXPECT_EQ(gpus(s), 8u);
  EXPECT_TRUE(s.cluster.nics.empty());
  const auto routes = routes_of(s, "node0/gpu0", "node0/gpu4");
  ASSERT_EQ(usable(routes, RouteKind::nvlink_copy).size(), 1u);
  EXPECT_DOUBLE_EQ(usable(routes, RouteKind::nvlink_copy)[0].bytes_per_s, 393e9);
  // GPU 4 hangs on the other host: down, across the socket link, up.
  ASSERT_EQ(usable(routes, RouteKind::pcie_staged).size(), 1u);
  EXPECT_DOUBLE_EQ(usable(routes, RouteKind::pcie_staged)[0].bytes_per_s, 22e9);
}

TEST(Shipped, PciePairHasNothingButHostMemory) {
  const Scenario s = shipped("pcie-pair");
  EXPECT_EQ(gpus(s), 2u);
  const auto routes = routes_of(s, "node0/gpu0", "node0/gpu1");
  EXPECT_EQ(usable(routes, RouteKind::pcie_p2p).size(), 0u);
  EXPECT_EQ(usable(routes, RouteKind::nvlink_copy).size(), 0u);
  ASSERT_EQ(usable(routes, RouteKind::pcie_staged).size(), 1u);
  EXPECT_DOUBLE_EQ(usable(routes, RouteKind::pcie_staged)[0].bytes_per_s, 55.1e9);
}

TEST(Shipped, LaptopMovesRealBytesInRealTime) {
  const Scenario s = shipped("laptop");
  EXPECT_EQ(gpus(s), 2u);
  EXPECT_TRUE(s.real_time);
  EXPECT_TRUE(s.payload);
  EXPECT_FALSE(s.throttle);
  EXPECT_EQ(usable(routes_of(s, "node0/gpu0", "node0/gpu1"), RouteKind::pcie_p2p).size(), 1u);
}

/// The route that a run uses first, its kind and its rate.
void expect_first(const char* scenario, const char* from, const char* to, RouteKind kind,
                  double bytes_per_s) {
  const Scenario s = shipped(scenario);
  const auto pair = std::pair{*s.cluster.find_place(from), *s.cluster.find_place(to)};
  const auto plan = plan_channels(s.cluster, std::span(&pair, 1), s.routes);
  ASSERT_TRUE(plan) << scenario << ": " << plan.error().message;
  EXPECT_EQ(plan->requests[0].route.kind, kind) << scenario;
  EXPECT_DOUBLE_EQ(plan->requests[0].route.bytes_per_s, bytes_per_s) << scenario;
}

TEST(Shipped, TheFirstRouteIsTheOneThatTheScenarioIsAbout) {
  expect_first("hgx-a100-hdr", "node0/gpu0", "node1/gpu0", RouteKind::rdma, 24.5e9);
  expect_first("hgx-h800", "node0/gpu7", "node1/gpu7", RouteKind::rdma, 48.9e9);
  expect_first("dgx-b200", "node0/gpu7", "node1/gpu7", RouteKind::rdma, 48.9e9);
  expect_first("gh200-nodes", "node0/gpu0", "node4/gpu0", RouteKind::rdma, 48.9e9);
  expect_first("dgx-gh200", "node0/gpu0", "node31/gpu0", RouteKind::nvlink_copy, 393e9);
  expect_first("gb200-nvl72", "node0/gpu0", "node17/gpu3", RouteKind::nvlink_copy, 770e9);
  expect_first("gb200-nvl72-two-racks", "node0/gpu3", "node35/gpu3", RouteKind::rdma, 48.9e9);
  // No GPUDirect: 230 GB/s of memory crossed twice, so the wire it is.
  expect_first("pcie-no-gpudirect", "node0/gpu0", "node1/gpu1", RouteKind::rdma_staged, 24.5e9);
}

TEST(Shipped, A100GpusHaveTwoNicsUnderTheirSwitch) {
  const Scenario s = shipped("hgx-a100-hdr");
  const auto rdma = usable(routes_of(s, "node0/gpu5", "node1/gpu5"), RouteKind::rdma);
  ASSERT_EQ(rdma.size(), 8u);
  EXPECT_EQ(rdma[0].name, "rdma node0/nic4 node1/nic4");
  EXPECT_EQ(rdma[1].name, "rdma node0/nic5 node1/nic5");
  EXPECT_EQ(rdma[1].distance, 0u);
  EXPECT_GT(rdma[2].distance, 0u);
}

// 8 leaves of a rail each; 4 spines x 8 links x 50 GB/s = 1,600 GB/s up from each.
TEST(Shipped, ScalableUnitJoinsItsRailsThroughSpines) {
  const Scenario s = shipped("dgx-h100-su");
  EXPECT_EQ(s.cluster.nodes.size(), 32u);
  EXPECT_EQ(gpus(s), 256u);
  ASSERT_EQ(s.cluster.leaves.size(), 8u);
  EXPECT_DOUBLE_EQ(s.cluster.links[s.cluster.leaves[0].up[0][0]].bytes_per_s, 1600e9);
  const auto hops = [&](const char* to) {
    return usable(routes_of(s, "node0/gpu1", to), RouteKind::rdma)[0].hops.size();
  };
  // GPU, NIC, wire, wire, NIC, GPU; another rail goes up and down as well.
  EXPECT_EQ(hops("node16/gpu1"), 6u);
  EXPECT_EQ(hops("node16/gpu0"), 8u);
}

TEST(Shipped, FatTreesHaveFullBisection) {
  for (const char* name : {"fat-tree-ecmp", "fat-tree-adaptive"}) {
    const Scenario s = shipped(name);
    EXPECT_EQ(s.cluster.nodes.size(), 128u);
    ASSERT_EQ(s.cluster.leaves.size(), 8u);
    for (const Leaf& leaf : s.cluster.leaves) {
      double up = 0;
      for (const auto& spine : leaf.up)
        for (const LinkId link : spine) up += s.cluster.links[link].bytes_per_s;
      EXPECT_DOUBLE_EQ(up, 16 * 50e9);
    }
  }
}

TEST(Shipped, RocePathsAreDrawnPerQueuePair) {
  const Scenario s = shipped("roce-400-ecmp");
  const auto pair =
      std::pair{*s.cluster.find_place("node0/gpu0"), *s.cluster.find_place("node4/gpu0")};
  const auto plan = plan_channels(s.cluster, std::span(&pair, 1), s.routes);
  ASSERT_EQ(plan->requests.size(), 4u);
  std::set<std::vector<LinkId>> paths;
  for (const ChannelRequest& request : plan->requests) paths.insert(request.route.hops);
  EXPECT_GT(paths.size(), 1u);
}

TEST(Shipped, H800KeepsWhatWasMeasuredOfItsMemoryAndIncast) {
  const Scenario s = shipped("hgx-h800");
  const Node& node = s.cluster.nodes[1];
  EXPECT_DOUBLE_EQ(s.cluster.links[node.dram[1]].bytes_per_s, 225e9);
  EXPECT_DOUBLE_EQ(s.cluster.links[node.dram_write[1]].bytes_per_s, 180e9);
  EXPECT_DOUBLE_EQ(s.cluster.links[node.gpus[3].nvlink_in].read_incast, 0.82);
}

TEST(Shipped, TheFileAndTheBuiltInTextAreTheSame) {
  for (const BuiltinScenario& builtin : builtin_scenarios()) {
    std::ifstream file(std::string(KVHAUL_SOURCE_DIR "/scenarios/") + std::string(builtin.name) +
                       ".yaml");
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    EXPECT_EQ(text, builtin.text);
  }
}

}  // namespace
}  // namespace kvhaul::test
