// A backend over modelled links must show the numbers that its links were given.
#include "calibration/calibration.h"

#include <gtest/gtest.h>

#include "backends/emulated/emulated.h"
#include "backends/faults/faulty_backend.h"
#include "core/cluster.h"
#include "tests/support/setups.h"
#ifdef KVHAUL_HAS_SIMGRID
#include "sim/simgrid.h"
#endif

namespace kvhaul::calibration {
namespace {

using Pairs = std::vector<std::pair<PlaceId, PlaceId>>;

struct Maker {
  std::string name;
  std::unique_ptr<Backend> (*make)();
};
void PrintTo(const Maker& maker, std::ostream* out) { *out << maker.name; }

std::vector<Maker> makers() {
  std::vector<Maker> all = {
      {"Emulated", [] { return emulated::make_backend({.payload = false}); }}};
#ifdef KVHAUL_HAS_SIMGRID
  all.push_back({"Simgrid", [] { return sim::make_simgrid_backend(); }});
#endif
  return all;
}

Settings quick() {
  Settings settings;
  settings.repeats = 3;
  return settings;
}

/// One GPU; what its host link carries one way, the other way, and together.
Cluster one_gpu(double out, double in, double both) {
  NodeSpec node;
  node.hosts = {{400e9, 64 * GiB}};
  NodeSpec::Gpu gpu;
  gpu.memory_bytes = 64 * GiB;
  gpu.host_link = {out, in, 300, both};
  node.gpus = {gpu, gpu};
  ClusterSpec spec;
  spec.nodes.push_back({node, 0, false});
  return *build_cluster(spec);
}

RoutePlan only(RouteKind kind, const RouteCosts& costs) {
  RoutePlan plan;
  plan.order = {kind};
  plan.costs[static_cast<std::size_t>(kind)] = costs;
  return plan;
}

constexpr GatherCosts a_batch{.post_ns = 2500,
                              .piece_post_ns = 60,
                              .half_bandwidth_bytes = 150'000,
                              .piece_half_bandwidth_bytes = 7'000};
constexpr GatherCosts a_pack{
    .fixed_ns = 4400, .post_ns = 9000, .half_bandwidth_bytes = 121'000, .bytes_per_s = 1000e9};

RouteCosts staged_costs() {
  RouteCosts costs;
  costs.fixed_ns = 3800;
  costs.post_ns = 2000;
  costs.half_bandwidth_bytes = 121'000;
  costs.gather[static_cast<std::size_t>(Gather::batch)] = a_batch;
  costs.gather[static_cast<std::size_t>(Gather::pack)] = a_pack;
  return costs;
}

/// To a permille of the value, or to a nanosecond or a few bytes where there is next to nothing.
void expect_all(const Spread& spread, double value, double slack) {
  for (const double measured : {spread.median, spread.least, spread.most})
    EXPECT_NEAR(measured, value, std::max(slack, value * 1e-3));
}

void expect_gather(const GatherFigures& figures, Gather method, const GatherCosts& costs) {
  EXPECT_EQ(figures.method, method);
  expect_all(figures.fixed_ns, static_cast<double>(costs.fixed_ns), 20);
  expect_all(figures.post_ns, static_cast<double>(costs.post_ns), 1);
  expect_all(figures.piece_post_ns, static_cast<double>(costs.piece_post_ns), 0.1);
  ASSERT_TRUE(figures.half_bandwidth_bytes && figures.piece_half_bandwidth_bytes);
  expect_all(*figures.half_bandwidth_bytes, static_cast<double>(costs.half_bandwidth_bytes), 100);
  expect_all(*figures.piece_half_bandwidth_bytes,
             static_cast<double>(costs.piece_half_bandwidth_bytes), 10);
  ASSERT_EQ(figures.bytes_per_s.has_value(), costs.bytes_per_s > 0);
  if (figures.bytes_per_s) expect_all(*figures.bytes_per_s, costs.bytes_per_s, 0);
}

class ModelledLinks : public ::testing::TestWithParam<Maker> {
 protected:
  Calibration measure(const Cluster& cluster, const Pairs& pairs, const RoutePlan& plan,
                      const Settings& settings = quick()) {
    const auto backend = GetParam().make();
    auto result = calibrate(*backend, cluster, pairs, plan, settings);
    EXPECT_TRUE(result) << result.error().message;
    EXPECT_FALSE(result->real_time);
    return *result;
  }
};

TEST_P(ModelledLinks, StagedFromAGpuToItself) {
  const Cluster cluster = one_gpu(55e9, 54e9, 85e9);
  const PlaceId gpu = *cluster.find_place("node0/gpu0");
  const Calibration found =
      measure(cluster, {{gpu, gpu}}, only(RouteKind::pcie_staged, staged_costs()));
  ASSERT_EQ(found.routes.size(), 1u);
  const RouteFigures& route = found.routes[0];
  EXPECT_EQ(route.route.stages, 2u);
  expect_all(route.bytes_per_s, 42.5e9, 0);  // both ways at once: half of 85
  expect_all(route.half_bandwidth_bytes, 121'000, 0);
  expect_all(route.fixed_ns, 3800, 2);
  expect_all(route.post_ns, 2000, 1);
  EXPECT_LT(route.worst, 1e-3);
  ASSERT_EQ(route.gathers.size(), 2u);
  expect_gather(route.gathers[0], Gather::batch, a_batch);
  expect_gather(route.gathers[1], Gather::pack, a_pack);
  ASSERT_TRUE(found.host_link);
  expect_all(found.host_link->out_bytes_per_s, 55e9, 0);
  expect_all(found.host_link->in_bytes_per_s, 54e9, 0);
  expect_all(found.host_link->together_bytes_per_s, 85e9, 0);
  ASSERT_TRUE(found.host_link->both_bytes_per_s);
  expect_all(*found.host_link->both_bytes_per_s, 85e9, 0);
  EXPECT_TRUE(found.links.empty());
}

TEST_P(ModelledLinks, StagedBetweenTwoGpusThatShareNothing) {
  const Cluster cluster = one_gpu(55e9, 54e9, 0);
  const Calibration found =
      measure(cluster, {{*cluster.find_place("node0/gpu0"), *cluster.find_place("node0/gpu1")}},
              only(RouteKind::pcie_staged, staged_costs()));
  expect_all(found.routes[0].bytes_per_s, 54e9, 0);
  expect_all(found.host_link->out_bytes_per_s, 55e9, 0);
  expect_all(found.host_link->in_bytes_per_s, 54e9, 0);
  expect_all(found.host_link->together_bytes_per_s, 109e9, 0);
  EXPECT_FALSE(found.host_link->both_bytes_per_s);
}

TEST_P(ModelledLinks, RdmaAndEveryMethod) {
  const Cluster cluster = test::rail_cluster(2, 2);
  RouteCosts costs;
  costs.fixed_ns = 1200;
  costs.post_ns = 200;
  costs.half_bandwidth_bytes = 60'000;
  costs.queues = 4;
  costs.gather[static_cast<std::size_t>(Gather::batch)] = a_batch;
  Settings settings = quick();
  settings.all_gathers = true;
  const Pairs pairs = {{*cluster.find_place("node0/gpu0"), *cluster.find_place("node1/gpu0")},
                       {*cluster.find_place("node0/gpu1"), *cluster.find_place("node1/gpu1")}};
  const Calibration found = measure(cluster, pairs, only(RouteKind::rdma, costs), settings);
  ASSERT_EQ(found.routes.size(), 1u);
  const RouteFigures& route = found.routes[0];
  EXPECT_EQ(route.route.name, "rdma node0/nic0 node1/nic0");
  expect_all(route.bytes_per_s, 40e9, 0);
  expect_all(route.half_bandwidth_bytes, 60'000, 0);
  expect_all(route.fixed_ns, 1200, 2);
  expect_all(route.post_ns, 200, 1);
  ASSERT_EQ(route.gathers.size(), 3u);
  expect_gather(route.gathers[0], Gather::batch, a_batch);
  // What the plan does not list costs nothing in a model.
  expect_all(route.gathers[2].post_ns, 0, 1);
  EXPECT_FALSE(found.host_link);
  // The wire is the narrowest, out of one NIC and into the other.
  ASSERT_EQ(found.links.size(), 2u);
  EXPECT_EQ(cluster.links[found.links[0].link].name, "node0/nic0/tx");
  EXPECT_EQ(cluster.links[found.links[1].link].name, "node1/nic0/rx");
  expect_all(found.links[0].bytes_per_s, 40e9, 0);
}

TEST_P(ModelledLinks, WhatARestCosts) {
  const Cluster cluster = test::rail_cluster(1, 2);
  RouteCosts costs;
  costs.fixed_ns = 5000;
  costs.after_idle = {{300 * us_ns, 4000}, {20 * ms_ns, 4300}, {50 * ms_ns, 180'000}};
  const Calibration found =
      measure(cluster, {{*cluster.find_place("node0/gpu0"), *cluster.find_place("node0/gpu1")}},
              only(RouteKind::nvlink_copy, costs));
  const std::vector<IdleFigure> rests = idle_costs(found.routes.at(0).after_idle);
  // Of the times that are measured, the first ones at or above those; 300 ns more do not count.
  ASSERT_EQ(rests.size(), 2u);
  EXPECT_EQ(rests[0].idle_ns, 1 * ms_ns);
  expect_all(rests[0].cost_ns, 4000, 1);
  EXPECT_EQ(rests[1].idle_ns, 50 * ms_ns);
  expect_all(rests[1].cost_ns, 180'000, 1);
}

TEST_P(ModelledLinks, AKernelThatIsSlowerThanItsLink) {
  const Cluster cluster = test::rail_cluster(1, 2);
  RouteCosts costs;
  costs.post_ns = 100;
  costs.half_bandwidth_bytes = 60'000;
  costs.gather[static_cast<std::size_t>(Gather::through)] = {.post_ns = 100,
                                                             .half_bandwidth_bytes = 150'000,
                                                             .piece_half_bandwidth_bytes = 2'000,
                                                             .extra_permille = 143};
  const Calibration found =
      measure(cluster, {{*cluster.find_place("node0/gpu0"), *cluster.find_place("node0/gpu1")}},
              only(RouteKind::nvlink_copy, costs));
  const GatherFigures& through = found.routes.at(0).gathers.at(0);
  ASSERT_TRUE(through.stretch);
  expect_all(*through.stretch, 1.143, 0);
  expect_all(*through.half_bandwidth_bytes, 150'000, 500);
  expect_all(*through.piece_half_bandwidth_bytes, 2'000, 20);
}

INSTANTIATE_TEST_SUITE_P(All, ModelledLinks, ::testing::ValuesIn(makers()),
                         [](const auto& info) { return info.param.name; });

TEST(SharedLimit, IsOneWhenTheSumFallsShort) {
  EXPECT_EQ(shared_limit(55e9, 54e9, 109e9, {}), 0);
  EXPECT_EQ(shared_limit(55e9, 54e9, 107e9, {}), 0);  // less than 3% below
  EXPECT_EQ(shared_limit(55e9, 54e9, 85e9, {}), 85e9);
  // What a route through it in both directions gets is what will be scheduled.
  EXPECT_EQ(shared_limit(55e9, 54e9, 85e9, 41e9), 82e9);
  // Never below one direction alone.
  EXPECT_EQ(shared_limit(55e9, 54e9, 85e9, 20e9), 55e9);
  // The route is slow for another reason.
  EXPECT_EQ(shared_limit(55e9, 54e9, 109e9, 20e9), 0);
}

TEST(Calibration, EveryKindOfRouteInUseIsMeasuredOnce) {
  const Cluster cluster = test::rail_cluster(1, 4);
  RoutePlan plan;  // gpu0 and gpu1 are under one host, gpu2 is not
  const Pairs pairs = {{*cluster.find_place("node0/gpu0"), *cluster.find_place("node0/gpu1")},
                       {*cluster.find_place("node0/gpu0"), *cluster.find_place("node0/gpu2")}};
  const auto backend = emulated::make_backend({.payload = false});
  const auto found = calibrate(*backend, cluster, pairs, plan, quick());
  ASSERT_TRUE(found) << found.error().message;
  std::vector<RouteKind> kinds;
  for (const RouteFigures& route : found->routes) kinds.push_back(route.route.kind);
  EXPECT_EQ(kinds,
            (std::vector{RouteKind::nvlink_copy, RouteKind::pcie_p2p, RouteKind::pcie_staged}));
}

TEST(Calibration, ChunksThatFailAreAnError) {
  const Cluster cluster = one_gpu(55e9, 54e9, 0);
  const PlaceId gpu = *cluster.find_place("node0/gpu0");
  for (const auto& [kind, words] :
       {std::pair{faults::FaultKind::corrupt, "ended as corrupted"},
        std::pair{faults::FaultKind::lose, "no chunk landed for ten seconds"}}) {
    faults::Fault fault;
    fault.kind = kind;
    fault.until_ns = never_ns;
    fault.probability = 1;
    const auto backend =
        faults::make_faulty_backend(emulated::make_backend({.payload = false}), {1, {fault}});
    const auto found = calibrate(*backend, cluster, Pairs{{gpu, gpu}},
                                 only(RouteKind::pcie_staged, staged_costs()), quick());
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().kind, ErrorKind::failed);
    EXPECT_NE(found.error().message.find(words), std::string::npos) << found.error().message;
  }
}

/// A rail of 7.35 MB/s: 16 MiB would take two seconds, a quarter of a GiB half a minute.
TEST(Calibration, ASlowRouteIsMeasuredWithSmallChunks) {
  Cluster cluster = test::rail_cluster(2, 1);
  for (Link& link : cluster.links)
    if (link.kind == LinkKind::nic) link.bytes_per_s = 7.35e6;
  RouteCosts costs;
  costs.fixed_ns = 20'000;
  costs.half_bandwidth_bytes = 500;
  const auto backend = emulated::make_backend({.payload = false});
  Settings settings = quick();
  settings.repeats = 1;
  const auto found =
      calibrate(*backend, cluster,
                Pairs{{*cluster.find_place("node0/gpu0"), *cluster.find_place("node1/gpu0")}},
                only(RouteKind::rdma, costs), settings);
  ASSERT_TRUE(found) << found.error().message;
  expect_all(found->routes[0].bytes_per_s, 7.35e6, 0);
  expect_all(found->routes[0].half_bandwidth_bytes, 500, 1);
  expect_all(found->routes[0].fixed_ns, 20'000, 100);
  EXPECT_EQ(found->routes[0].streams.back().chunk_bytes, 512 * KiB);
  EXPECT_LT(backend->now(), 30 * s_ns);
}

/// Real bytes, real time: that it comes to an end, and that what it says can be.
TEST(Calibration, OfThisComputersMemory) {
  const Cluster cluster = one_gpu(55e9, 54e9, 0);
  const PlaceId gpu = *cluster.find_place("node0/gpu0");
  Settings settings;
  settings.repeats = 1;
  settings.segment_bytes = 2 * MiB;  // sizes up to 512 KiB
  const auto backend = emulated::make_backend({.real_time = true, .workers = 1});
  const auto found = calibrate(*backend, cluster, Pairs{{gpu, gpu}},
                               only(RouteKind::pcie_staged, staged_costs()), settings);
  // A busy machine may give times that no line fits; it has to say so.
  if (!found) {
    EXPECT_EQ(found.error().kind, ErrorKind::failed);
    return;
  }
  EXPECT_TRUE(found->real_time);
  EXPECT_GT(found->routes[0].bytes_per_s.median, 0);
  EXPECT_GT(found->routes[0].post_ns.median, 0);
  EXPECT_GE(found->routes[0].fixed_ns.median, 0);
}

}  // namespace
}  // namespace kvhaul::calibration
