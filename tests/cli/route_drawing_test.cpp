// The road hop by hop: every link in its order with its rate and time, and whom it passes by.
#include "cli/route_drawing.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "core/unit_text.h"
#include "report/cluster_picture.h"
#include "scenarios/scenario.h"

namespace kvhaul::cli {
namespace {

struct Road {
  Scenario scenario;
  Route route;
};

/// The first usable route of a kind between GPU 0 of both nodes.
Road road(const std::string& scenario_name, RouteKind kind) {
  auto scenario = load_scenario(scenario_name);
  EXPECT_TRUE(scenario);
  const Cluster& cluster = scenario->cluster;
  const auto routes =
      find_routes(cluster, *cluster.find_place("node0/gpu0"), *cluster.find_place("node1/gpu0"));
  for (const Route& route : routes)
    if (route.kind == kind && route.usable) return {std::move(*scenario), route};
  ADD_FAILURE() << "no such route";
  return {std::move(*scenario), {}};
}

std::string text_of(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& line : lines) out += line + "\n";
  return out;
}

// 1 GB at 48.9 GB/s is 20.4 ms, at 55.1 GB/s 18.1 ms; 18 columns for the longest, 18.1 / 20.4 of
// them are 16.
TEST(RouteDrawing, EveryHopWithItsTime) {
  const Road r = road("dgx-h100-pair", RouteKind::rdma);
  const std::string text = text_of(draw_route(r.scenario.cluster, r.route, 1'000'000'000));
  EXPECT_EQ(text,
            "[node0/gpu0]\n"
            "  |  node0/gpu0/pcie/out  55.1 GB/s  18.1 ms  ################\n"
            "  |  node0/nic0/pcie/in   55.1 GB/s  18.1 ms  ################\n"
            "[node0/nic0] connectx-7\n"
            "  |  node0/nic0/tx        48.9 GB/s  20.4 ms  ################## narrowest\n"
            "  |  node1/nic0/rx        48.9 GB/s  20.4 ms  ##################\n"
            "[node1/nic0] connectx-7\n"
            "  |  node1/nic0/pcie/out  55.1 GB/s  18.1 ms  ################\n"
            "  |  node1/gpu0/pcie/in   55.3 GB/s  18.1 ms  ################\n"
            "[node1/gpu0]\n");
  EXPECT_EQ(cpu_text(r.scenario.cluster, r.route), "CPU and host memory bypassed");
}

// 230 GB/s of DRAM, crossed in and out: 2 x 4.35 ms.
TEST(RouteDrawing, MemoryIsCrossedInAndOut) {
  const Road r = road("pcie-no-gpudirect", RouteKind::rdma_staged);
  const std::string text = text_of(draw_route(r.scenario.cluster, r.route, 1'000'000'000));
  EXPECT_NE(text.find("node0/host0/dram      230 GB/s   8.7 ms  #### x2\n"), std::string::npos)
      << text;
  EXPECT_EQ(cpu_text(r.scenario.cluster, r.route),
            "through the memory of node0/host0 and node1/host0");
}

TEST(RouteDrawing, FitsTheTerminal) {
  for (const BuiltinScenario& builtin : builtin_scenarios()) {
    const auto scenario = load_scenario(std::string(builtin.name));
    ASSERT_TRUE(scenario);
    const Cluster& cluster = scenario->cluster;
    const auto last = static_cast<PlaceId>(cluster.places.size() - 1);
    for (const Route& route : find_routes(cluster, 0, last)) {
      if (!route.usable || route.hops.empty()) continue;
      for (const std::string& line : draw_route(cluster, route, GiB))
        EXPECT_LE(line.size() + 4, 80u) << builtin.name << ": " << line;
    }
  }
}

TEST(RoutePicture, HighlightsTheLinksOfTheRoute) {
  const Road r = road("dgx-h100-pair", RouteKind::rdma);
  const std::string svg = report::route_picture(r.scenario.cluster, r.route, "a road", {});
  for (const Link& link : r.scenario.cluster.links) {
    const std::string on = "class=\"link on\" data-link=\"" + link.name + "\"";
    const LinkId id = static_cast<LinkId>(&link - r.scenario.cluster.links.data());
    const bool crossed =
        std::find(r.route.hops.begin(), r.route.hops.end(), id) != r.route.hops.end();
    EXPECT_EQ(svg.find(on) != std::string::npos, crossed) << link.name;
  }
  EXPECT_TRUE(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
}

}  // namespace
}  // namespace kvhaul::cli
