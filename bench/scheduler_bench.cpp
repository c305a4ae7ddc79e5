// The scheduler alone: submit to finish on a null backend, which completes every chunk in posting
// order a fixed number of chunks later. Everything is on: policy, windows, learned rates, priority
// classes, deadlines, ageing, credits, timeouts. One core, one thread.
//
//   items_per_second   chunks from submission to completion
//   allocations        calls of operator new per chunk in steady state
//
// dead_peer: transfers that are all open at once towards a peer from which nothing comes back, from
// their submission to the end of the last one; what is given up is cancelled at once. Eight rails.
//
//   items_per_second   transfers
//   timers             calls of timer() in all
//   dead_peer_BigO     the time as a function of their number
#include <algorithm>
#include <vector>

#include <benchmark/benchmark.h>

#include "bench/allocation_counter.h"
#include "core/scheduler.h"

namespace kvhaul {
namespace {

constexpr double bytes_per_s = 47e9;
constexpr TimeNs fixed_ns = 1200;
constexpr Bytes half_bandwidth_bytes = 60'000;
constexpr std::uint32_t open_per_pair = 64;  // a backlog that keeps every window full

/// `pairs` pairs of places with `rails` channels each; channel r of every pair shares link r, as
/// GPUs share the NICs of a node.
SchedulerSetup make_setup(const std::string& policy, std::uint32_t pairs, std::uint32_t rails) {
  SchedulerSetup setup;
  setup.config.policy = policy;
  ChannelNumbers numbers;
  numbers.fixed_ns = fixed_ns;
  numbers.post_ns = 200;
  numbers.bytes_per_s = bytes_per_s;
  numbers.half_bandwidth_bytes = half_bandwidth_bytes;
  numbers.max_in_flight = 128;
  numbers.max_chunk_bytes = GiB;
  for (std::uint32_t p = 0; p < pairs; ++p) {
    setup.pairs.push_back({p, 1000 + p, p});
    setup.accounts.push_back({1000 + p, 1, Bytes{1} << 60, Bytes{1} << 60, false});
    for (std::uint32_t r = 0; r < rails; ++r) {
      SetupChannel channel{p * rails + r, p, 0, numbers, {}};
      channel.numbers.distance = r == p % rails ? 0 : 1;
      if (pairs > 1) channel.links.push_back(r);
      if (rails > 1) channel.links.push_back(rails + p);
      setup.channels.push_back(channel);
    }
  }
  for (std::uint32_t r = 0; r < rails + pairs; ++r)
    setup.links.push_back({r < rails ? bytes_per_s : 55e9});
  return setup;
}

/// Chunks in flight, oldest first, in a ring. What lands shows the rate that its channel
/// advertises.
class NullBackend {
 public:
  void post(Actions& actions) {
    for (const PostAction& action : actions.posts)
      ring_[tail_++ % slots] = {action.post.chunk, action.post.bytes, action.channel};
    actions.clear();
  }
  std::size_t in_flight() const { return tail_ - head_; }
  Completion pop(TimeNs now) {
    const InFlight& oldest = ring_[head_++ % slots];
    const TimeNs started = now - fixed_ns - cost_.of(oldest.bytes + half_bandwidth_bytes);
    return {.channel = oldest.channel,
            .chunk = oldest.chunk,
            .posted_ns = started,
            .started_ns = started,
            .done_ns = now,
            .bytes = oldest.bytes};
  }

 private:
  static constexpr std::size_t slots = 1 << 12;  // more than the windows let through
  struct InFlight {
    ChunkId chunk = 0;
    Bytes bytes = 0;
    ChannelId channel = 0;
  };
  ByteCost cost_ = ByteCost::from_rate(bytes_per_s);
  std::vector<InFlight> ring_ = std::vector<InFlight>(slots);
  std::size_t head_ = 0, tail_ = 0;
};

void run(benchmark::State& state, const std::string& policy) {
  const auto pairs = static_cast<std::uint32_t>(state.range(0));
  const auto rails = static_cast<std::uint32_t>(state.range(1));
  const auto chunks_per_transfer = static_cast<std::uint64_t>(state.range(2));
  SchedulerSetup setup = make_setup(policy, pairs, rails);
  if (chunks_per_transfer > 1) setup.config.chunk_bytes = 512 * KiB;
  Scheduler scheduler(setup);
  NullBackend backend;
  TimeNs now = s_ns;
  std::uint64_t submitted = 0;
  const Bytes bytes = chunks_per_transfer > 1 ? chunks_per_transfer * 512 * KiB : 591 * KiB;
  const Descriptor piece{0, 0, bytes};

  const auto submit = [&] {
    TransferRequest request;
    request.pair = static_cast<std::uint32_t>(submitted % pairs);
    request.priority = static_cast<Priority>(submitted / pairs % 3);
    request.deadline_ns = now + 1000 * static_cast<TimeNs>(submitted % 64);
    request.descriptors = {&piece, 1};
    scheduler.submit(now, request);
    ++submitted;
    backend.post(scheduler.actions());
  };
  const auto complete_one = [&] {
    now += 500;
    scheduler.complete(now, backend.pop(now));
    backend.post(scheduler.actions());
  };

  for (int i = 0; i < 20'000; ++i) {  // warm-up: every table reaches its size
    while (scheduler.open_transfers() < open_per_pair * pairs) submit();
    complete_one();
  }
  const std::uint64_t before = scheduler.counters().chunks_posted;
  const std::uint64_t allocations_before = bench::allocations();
  for (auto _ : state) {
    while (scheduler.open_transfers() < open_per_pair * pairs) submit();
    complete_one();
  }
  const auto chunks = static_cast<double>(scheduler.counters().chunks_posted - before);
  const auto allocations = static_cast<double>(bench::allocations() - allocations_before);
  state.SetItemsProcessed(static_cast<std::int64_t>(chunks));
  state.counters["allocations"] = allocations / chunks;
  state.counters["in_flight"] = static_cast<double>(backend.in_flight());
}

void dead_peer(benchmark::State& state) {
  const auto transfers = static_cast<std::size_t>(state.range(0));
  const Descriptor piece{0, 0, 591 * KiB};
  std::uint64_t timers = 0;
  for (auto _ : state) {
    Scheduler scheduler(make_setup("least_finish", 1, 8));
    TimeNs now = s_ns, timer_ns = never_ns;
    std::size_t ended = 0;
    std::vector<CancelAction> cancels;  // to be carried out
    const auto carry_out = [&] {
      Actions& actions = scheduler.actions();
      timer_ns = std::min(timer_ns, actions.timer_ns);
      ended += actions.ends.size();
      cancels.insert(cancels.end(), actions.cancels.begin(), actions.cancels.end());
      actions.clear();
    };
    for (std::size_t i = 0; i < transfers; ++i) {
      TransferRequest request;
      request.pair = 0;
      request.descriptors = {&piece, 1};
      scheduler.submit(now, request);
      carry_out();
    }
    while (ended < transfers) {
      now = std::max(now, timer_ns);
      timer_ns = never_ns;
      ++timers;
      scheduler.timer(now);
      carry_out();
      while (!cancels.empty()) {
        Completion given_up{.channel = cancels.back().channel, .chunk = cancels.back().chunk};
        given_up.outcome = Outcome::cancelled;
        given_up.posted_ns = given_up.started_ns = given_up.done_ns = now;
        cancels.pop_back();
        scheduler.complete(now, given_up);
        carry_out();
      }
    }
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * state.range(0));
  state.SetComplexityN(static_cast<std::int64_t>(transfers));
  state.counters["timers"] = static_cast<double>(timers) / static_cast<double>(state.iterations());
}
BENCHMARK(dead_peer)->RangeMultiplier(10)->Range(10, 10'000)->Complexity();

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"pairs", "rails", "chunks"});
  b->Args({1, 1, 1});
  b->Args({1, 4, 1});
  b->Args({8, 8, 1});
  b->Args({8, 8, 16});
}

BENCHMARK_CAPTURE(run, least_finish, "least_finish")->Apply(shapes);
BENCHMARK_CAPTURE(run, round_robin, "round_robin")->Apply(shapes);
BENCHMARK_CAPTURE(run, near_random, "near_random")->Apply(shapes);
BENCHMARK_CAPTURE(run, one_shot, "one_shot")->Apply(shapes);

}  // namespace
}  // namespace kvhaul

BENCHMARK_MAIN();
