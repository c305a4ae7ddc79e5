// Simulated chunks per second: the SimGrid backend's wire beside a plain S4U program (an actor per
// channel, a flow per chunk) that moves the same chunks over the same links. Both run in a child
// process of their own; building the platform is not counted.
//
//   Arguments   scenario (index below), channels that are busy together, gap
//   gap 0       every channel has a backlog: chunks follow each other
//   gap 1       chunks come one by one, each after a pause: every chunk is a flow of its own
//
//   items_per_second   chunks
#include <algorithm>
#include <array>
#include <stdexcept>

#include <benchmark/benchmark.h>

#include "backends/modelled/channel_queues.h"
#include "core/random.h"
#include "scenarios/scenario.h"
#include "tests/sim/plain_s4u.h"

namespace kvhaul {
namespace {

constexpr std::array<const char*, 2> scenarios = {"dgx-h100-pair", "dgx-h100-su"};
constexpr std::size_t chunks_all = 40'000;
constexpr Bytes chunk_bytes = 2 * MiB;

struct Load {
  Scenario scenario;
  std::vector<ChannelRequest> requests;
  std::vector<test::Job> jobs;
};

/// The same for both programs: chunks of 1.5 to 2.5 MiB on channels drawn without repetition.
Load make_load(std::size_t which, std::size_t busy, bool gaps) {
  auto scenario = load_scenario(scenarios[which]);
  if (!scenario) throw std::runtime_error(scenario.error().message);
  auto plan = plan_channels(scenario->cluster, place_pairs(scenario->serving), scenario->routes);
  if (!plan) throw std::runtime_error(plan.error().message);
  Load load{std::move(*scenario), std::move(plan->requests), {}};
  Random random(1);
  std::vector<ChannelId> channels(load.requests.size());
  for (ChannelId id = 0; id < channels.size(); ++id) channels[id] = id;
  for (std::size_t i = 0; i < std::min(busy, channels.size()); ++i)
    std::swap(channels[i], channels[i + random.below(channels.size() - i)]);
  channels.resize(std::min(busy, channels.size()));
  const std::size_t each = std::max<std::size_t>(2, chunks_all / channels.size());
  for (std::size_t n = 0; n < each; ++n)
    for (const ChannelId id : channels) {
      const Bytes bytes = chunk_bytes * 3 / 4 + random.below(chunk_bytes / 2);
      const auto cost = modelled::ps_per_byte_q32(load.requests[id].route.bytes_per_s);
      const modelled::TimePs alone = modelled::cost_ps(cost, bytes);
      // With gaps each comes within twice the time that a chunk takes alone.
      const modelled::TimePs ready =
          gaps ? static_cast<modelled::TimePs>(n * 2) * alone +
                     static_cast<modelled::TimePs>(random.below(static_cast<std::uint64_t>(alone)))
               : 0;
      load.jobs.push_back({id, ready, alone, bytes});
    }
  return load;
}

using Run = test::PlainRun (*)(const Cluster&, std::span<const ChannelRequest>,
                               std::span<const test::Job>);

void simulate(benchmark::State& state, Run run) {
  const Load load = make_load(static_cast<std::size_t>(state.range(0)),
                              static_cast<std::size_t>(state.range(1)), state.range(2) != 0);
  for ([[maybe_unused]] const auto& iteration : state) {
    const test::PlainRun result = run(load.scenario.cluster, load.requests, load.jobs);
    if (result.done_s.empty()) return state.SkipWithError("the child did not finish");
    state.SetIterationTime(result.wall_s);
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(load.jobs.size()) * state.iterations());
}

void arguments(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"scenario", "busy", "gaps"})->UseManualTime()->Unit(benchmark::kMillisecond);
  for (const int gaps : {0, 1}) {
    for (const int busy : {8, 64}) bench->Args({0, busy, gaps});
    for (const int busy : {16, 64, 256, 1024, 2048}) bench->Args({1, busy, gaps});
  }
}

void kvhaul_wire(benchmark::State& state) { simulate(state, test::run_backend_wire); }
void plain_s4u(benchmark::State& state) { simulate(state, test::run_plain_s4u); }
BENCHMARK(kvhaul_wire)->Apply(arguments);
BENCHMARK(plain_s4u)->Apply(arguments);

}  // namespace
}  // namespace kvhaul

BENCHMARK_MAIN();
