// What an outage costs: a time to be noticed, a time to connect again, and the same once more.
#include "tests/serving/replay_testing.h"

namespace kvhaul::test {
namespace {

/// One every five milliseconds, in streams of layers, so that chunks are posted all the time.
std::string steady() {
  std::string rows;
  for (int i = 0; i < 100; ++i) rows += std::to_string(0.005 * i) + ",150,3,\n";
  return trace_text(rows);
}

std::unique_ptr<Replayed> with(const std::string& fault) {
  Setting s;
  s.more_serving = "  failover: {retries: 0}\n";
  s.scheduler = "scheduler: {stall_timeout: 1 s, timeout_cold: 500 ms, timeout_floor: 400 ms}\n";
  s.faults = "  - {" + fault + ", where: node0/gpu4}\n";
  return replay(s, steady());
}

/// How many users' chunks ended so in [from, until).
std::uint64_t count(const Replayed& run, Outcome outcome, TimeNs from_ns, TimeNs until_ns) {
  return static_cast<std::uint64_t>(std::ranges::count_if(run.chunks, [&](const Completion& chunk) {
    return chunk.outcome == outcome && from_ns <= chunk.done_ns && chunk.done_ns < until_ns;
  }));
}

TEST(Outages, AreNoticedAndConnectedAgainInTheirTime) {
  const auto run =
      with("kind: down, from: 50 ms, until: 100 ms, noticed_after: 8 ms, reconnect: 30 ms");
  ASSERT_EQ(run->error, "");
  EXPECT_EQ(run->counters.completed, 100u);
  EXPECT_GT(count(*run, Outcome::ok, 40 * ms_ns, 50 * ms_ns), 0u);
  EXPECT_EQ(count(*run, Outcome::ok, 50 * ms_ns, 130 * ms_ns), 0u);
  EXPECT_GT(count(*run, Outcome::ok, 130 * ms_ns, 140 * ms_ns), 0u);
  // What was posted meanwhile hangs, and is told of together.
  EXPECT_GT(count(*run, Outcome::path_failed, 58 * ms_ns, 58 * ms_ns + 1), 0u);
  EXPECT_EQ(count(*run, Outcome::path_failed, 0, 58 * ms_ns), 0u);
  EXPECT_EQ(count(*run, Outcome::path_failed, 58 * ms_ns + 1, never_ns), 0u);
}

TEST(Outages, ThatAreOverBeforeAnyoneNoticesMakeThingsLate) {
  const auto run = with("kind: down, from: 50 ms, until: 70 ms, noticed_after: 21 ms");
  ASSERT_EQ(run->error, "");
  EXPECT_EQ(run->counters.completed, 100u);
  EXPECT_EQ(count(*run, Outcome::path_failed, 0, never_ns), 0u);
  EXPECT_EQ(count(*run, Outcome::ok, 50 * ms_ns, 70 * ms_ns), 0u);
  EXPECT_GT(count(*run, Outcome::ok, 70 * ms_ns, 75 * ms_ns), 0u);
  for (const TransferEnd& end : run->ends) EXPECT_EQ(end.resent_chunks, 0u);
}

TEST(Outages, ComeAgain) {
  const auto run = with(
      "kind: down, from: 50 ms, until: 60 ms, noticed_after: 0 s, reconnect: 0 s, every: 100 "
      "ms");
  ASSERT_EQ(run->error, "");
  EXPECT_EQ(run->counters.completed, 100u);
  for (TimeNs at = 50 * ms_ns; at < 450 * ms_ns; at += 100 * ms_ns) {
    EXPECT_EQ(count(*run, Outcome::ok, at, at + 10 * ms_ns), 0u) << at;
    EXPECT_GT(count(*run, Outcome::ok, at + 10 * ms_ns, at + 100 * ms_ns), 0u) << at;
  }
}

TEST(Outages, RatesComeAndGo) {
  const auto run = with("kind: degrade, factor: 0.01, from: 50 ms, until: 60 ms, every: 100 ms");
  ASSERT_EQ(run->error, "");
  std::map<bool, std::vector<TimeNs>> times;  // by whether the chunk was posted while it held
  for (const Completion& chunk : run->chunks) {
    const TimeNs phase = chunk.posted_ns % (100 * ms_ns);
    times[50 * ms_ns <= phase && phase < 60 * ms_ns].push_back(chunk.done_ns - chunk.started_ns);
  }
  std::ranges::sort(times[true]);
  std::ranges::sort(times[false]);
  ASSERT_GT(times[true].size(), 20u);
  EXPECT_GT(times[true][times[true].size() / 2], 5 * times[false][times[false].size() / 2]);
}

// The scenario says what its routes take; a fault file can say otherwise.
TEST(Outages, TakeTheTimesOfTheRoute) {
  Setting s;
  s.more_serving = "  failover: {retries: 0}\n";
  auto scenario = parse_scenario(scenario_text(s), "test.yaml");
  ASSERT_TRUE(scenario);
  faults::OutageTimes& times = scenario->outages[static_cast<std::size_t>(RouteKind::pcie_p2p)];
  EXPECT_EQ(times.noticed_ns, 0);
  EXPECT_EQ(times.reconnect_ns, 0);
  EXPECT_EQ(scenario->outages[static_cast<std::size_t>(RouteKind::rdma)].noticed_ns, 536'870'912);
  times = {7 * ms_ns, 11 * ms_ns};
  const auto run = replay(std::move(*scenario), steady(), true,
                          "  - {kind: down, from: 50 ms, until: 100 ms, where: node0/gpu4}\n");
  ASSERT_EQ(run->error, "");
  EXPECT_GT(count(*run, Outcome::path_failed, 57 * ms_ns, 57 * ms_ns + 1), 0u);
  EXPECT_EQ(count(*run, Outcome::ok, 50 * ms_ns, 111 * ms_ns), 0u);
  EXPECT_GT(count(*run, Outcome::ok, 111 * ms_ns, 115 * ms_ns), 0u);
}

}  // namespace
}  // namespace kvhaul::test
