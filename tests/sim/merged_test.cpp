// The wire keeps one flow per channel and asks SimGrid only where channels meet. Held against a
// plain S4U program that makes every chunk a flow of its own and lets SimGrid keep the time.
#include <cmath>

#include <gtest/gtest.h>

#include "backends/modelled/channel_queues.h"
#include "core/random.h"
#include "scenarios/scenario.h"
#include "tests/sim/plain_s4u.h"

namespace kvhaul::test {
namespace {

/// Bursts of chunks of 64 KiB to 4 MiB on drawn channels.
std::vector<Job> draw_jobs(const std::vector<ChannelRequest>& requests, std::size_t count,
                           std::uint64_t seed) {
  Random random(seed);
  std::vector<Job> jobs;
  modelled::TimePs at = 0;
  while (jobs.size() < count) {
    at += static_cast<modelled::TimePs>(random.below(200'000'000));  // up to 200 us
    const auto channel = static_cast<ChannelId>(random.below(requests.size()));
    const std::size_t burst = 1 + random.below(6);
    for (std::size_t i = 0; i < burst; ++i) {
      const Bytes bytes = 64 * KiB + random.below(4 * MiB);
      const auto cost = modelled::ps_per_byte_q32(requests[channel].route.bytes_per_s);
      jobs.push_back({channel, at, modelled::cost_ps(cost, bytes), bytes});
    }
  }
  return jobs;
}

class Merged : public ::testing::TestWithParam<const char*> {};

TEST_P(Merged, GivesTheTimesOfAFlowPerChunk) {
  const auto scenario = load_scenario(GetParam());
  ASSERT_TRUE(scenario) << scenario.error().message;
  const auto plan =
      plan_channels(scenario->cluster, place_pairs(scenario->serving), scenario->routes);
  ASSERT_TRUE(plan);
  const std::vector<Job> jobs = draw_jobs(plan->requests, 3000, 7);
  const PlainRun plain = run_plain_s4u(scenario->cluster, plan->requests, jobs);
  ASSERT_EQ(plain.done_s.size(), jobs.size()) << "the plain program did not finish";
  const PlainRun merged = run_backend_wire(scenario->cluster, plan->requests, jobs);
  ASSERT_EQ(merged.done_s.size(), jobs.size());
  double shared = 0;  // how many were slowed down: else the test says little
  for (std::size_t j = 0; j < jobs.size(); ++j) {
    const double since_ready = plain.done_s[j] - static_cast<double>(jobs[j].ready_ps) * 1e-12;
    EXPECT_NEAR(merged.done_s[j], plain.done_s[j], 1e-3 * since_ready) << "job " << j;
    if (since_ready > 1.05e-12 * static_cast<double>(jobs[j].alone_ps)) ++shared;
  }
  EXPECT_GT(shared, 500);
}

INSTANTIATE_TEST_SUITE_P(Scenarios, Merged,
                         ::testing::Values("dgx-h100-pair", "hgx-h100", "pcie-pair"));

}  // namespace
}  // namespace kvhaul::test
