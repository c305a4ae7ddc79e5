// Each scenario that ships with the tool says what it claims.
#include <algorithm>
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>

#include "core/channel_plan.h"
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

TEST(Shipped, FourInAlphabeticalOrderEachWithItsSummary) {
  std::vector<std::string_view> names;
  for (const BuiltinScenario& builtin : builtin_scenarios()) {
    names.push_back(builtin.name);
    EXPECT_EQ(shipped(std::string(builtin.name)).name, builtin.name);
    EXPECT_GT(scenario_summary(builtin.text).size(), 20u) << builtin.name;
  }
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  for (const char* name : {"dgx-h100-pair", "hgx-h100", "laptop", "pcie-pair"})
    EXPECT_NE(std::find(names.begin(), names.end(), name), names.end()) << name;
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
  // wire is the narrowest (47 GB/s); NICs 4 to 7 lie across the socket link (22 GB/s).
  const auto rails = usable(routes_of(s, "node0/gpu0", "node1/gpu0"), RouteKind::rdma);
  ASSERT_EQ(rails.size(), 8u);
  EXPECT_EQ(rails[0].name, "rdma node0/nic0 node1/nic0");
  for (std::size_t i = 0; i < rails.size(); ++i)
    EXPECT_DOUBLE_EQ(rails[i].bytes_per_s, i < 4 ? 47e9 : 22e9) << rails[i].name;
  // For GPU 5 it is NIC 5.
  EXPECT_EQ(usable(routes_of(s, "node0/gpu5", "node1/gpu5"), RouteKind::rdma)[0].name,
            "rdma node0/nic5 node1/nic5");
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
