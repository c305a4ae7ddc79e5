// Instances that are gone, and requests whose KV was lost: they are given to others, or wait.
#include <set>

#include "tests/serving/replay_testing.h"

namespace kvhaul::test {
namespace {

constexpr Bytes kv_150 = 10 * 4 * 2048;  // ten pages of the tiny model

/// One every ten milliseconds.
std::string requests_of(int count) {
  std::string rows;
  for (int i = 0; i < count; ++i) rows += std::to_string(i) + "e-2,150,5,\n";
  return trace_text(rows);
}

class Failover : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {
 protected:
  /// Two instances on each side: node0/gpu0 and gpu1 prefill, gpu4 and gpu5 decode.
  static Setting setting(const std::string& faults) {
    Setting s;
    s.direction = std::get<0>(GetParam());
    s.streaming = std::get<1>(GetParam());
    s.prefill = "{gpus: [node0/gpu0, node0/gpu1], kv_memory: 4 MiB, %}";
    s.decode = "{gpus: [node0/gpu4, node0/gpu5], kv_memory: 4 MiB, %}";
    s.more_serving =
        "  failover: {probe_after: 60 ms}\n  routing: {prefill: round_robin, decode: "
        "round_robin}\n";
    s.scheduler = "scheduler: {timeout_floor: 1 ms, timeout_cold: 5 ms, stall_timeout: 20 ms}\n";
    s.faults = faults;
    return s;
  }

  /// Each request is told of once; what counts as completed has all its bytes.
  static void expect_sound(const Replayed& run, std::uint64_t requests) {
    ASSERT_EQ(run.error, "");
    ASSERT_EQ(run.requests.size(), requests);
    std::uint64_t retried = 0, retries = 0;
    for (std::uint64_t i = 0; i < requests; ++i) {
      const RequestResult& r = run.requests[i];
      EXPECT_EQ(r.request, i);
      EXPECT_LE(r.arrival_ns, r.prefill_start_ns);
      EXPECT_LE(r.prefill_start_ns, r.prefill_end_ns);
      EXPECT_LE(r.prefill_end_ns, r.landed_ns);
      EXPECT_LE(r.landed_ns, r.finished_ns);
      retried += r.retries > 0 ? 1 : 0;
      retries += r.retries;
      if (r.outcome == RequestOutcome::completed) {
        EXPECT_EQ(r.bytes, kv_150) << i;
      }
    }
    EXPECT_EQ(run.counters.retried, retried);
    EXPECT_EQ(run.counters.retries, retries);
    EXPECT_EQ(run.counters.completed, run.count(RequestOutcome::completed));
    EXPECT_EQ(run.counters.transfer_failed, run.count(RequestOutcome::transfer_failed));
    EXPECT_EQ(run.counters.damaged_transfers, 0u);
    std::uint32_t transfers = 0;  // of all attempts
    for (const TransferRow& row : run.rows) {
      transfers += row.transfers;
      EXPECT_LE(row.retry, run.requests[row.request].retries);
    }
    EXPECT_EQ(transfers, run.ends.size());
  }

  static std::uint64_t given_to(const Replayed& run, std::uint32_t RequestResult::*side,
                                std::uint32_t instance, TimeNs from_ns) {
    return static_cast<std::uint64_t>(std::ranges::count_if(run.requests, [&](const auto& r) {
      return r.arrival_ns >= from_ns && r.*side == instance;
    }));
  }
};
INSTANTIATE_TEST_SUITE_P(Replay, Failover,
                         ::testing::Combine(::testing::Values("push", "pull"),
                                            ::testing::Values("request", "chunk_layer")),
                         [](const auto& param) {
                           return std::string(std::get<0>(param.param)) + "_" +
                                  std::get<1>(param.param);
                         });

TEST_P(Failover, AHealthyRunKnowsNothingOfIt) {
  const auto run = replay(setting(""), requests_of(40));
  expect_sound(*run, 40);
  EXPECT_EQ(run->counters.completed, 40u);
  EXPECT_EQ(run->counters.retries, 0u);
}

// Either side, told of or not: nothing is lost in the end, and nothing is given to the dead one
// once that is known.
TEST_P(Failover, AnInstanceThatIsGone) {
  for (const char* gone : {"gpu0", "gpu4"})
    for (const char* silent : {"false", "true"}) {
      SCOPED_TRACE(std::string(gone) + ", silent " + silent);
      const auto run =
          replay(setting("  - {kind: down, from: 95 ms, silent: " + std::string(silent) +
                         ", where: node0/" + gone + "}\n"),
                 requests_of(60));
      expect_sound(*run, 60);
      EXPECT_EQ(run->counters.completed, 60u);
      EXPECT_GT(run->counters.retried, 0u);
      EXPECT_LT(run->counters.retried, 15u);
      const auto side = gone == std::string("gpu0") ? &RequestResult::prefill_instance
                                                    : &RequestResult::decode_instance;
      EXPECT_EQ(given_to(*run, side, 0, 95 * ms_ns), 0u);
    }
}

TEST_P(Failover, AnInstanceThatComesBackIsUsedAgain) {
  for (const char* gone : {"gpu0", "gpu4"}) {
    SCOPED_TRACE(gone);
    const auto run = replay(setting("  - {kind: down, from: 95 ms, until: 250 ms, where: node0/" +
                                    std::string(gone) + "}\n"),
                            requests_of(60));
    expect_sound(*run, 60);
    EXPECT_EQ(run->counters.completed, 60u);
    const auto side = gone == std::string("gpu0") ? &RequestResult::prefill_instance
                                                  : &RequestResult::decode_instance;
    EXPECT_GT(given_to(*run, side, 0, 400 * ms_ns), 5u);
  }
}

// Chunks fail, but the channels come back every time: only what becomes of requests tells.
TEST_P(Failover, AnInstanceThatLosesEverything) {
  const auto run =
      replay(setting("  - {kind: fail, from: 95 ms, where: node0/gpu4}\n"), requests_of(60));
  expect_sound(*run, 60);
  EXPECT_EQ(run->counters.completed, 60u);
  EXPECT_GT(run->counters.retried, 0u);
}

TEST_P(Failover, RequestsWaitWhereNothingElseIsLeft) {
  const auto run =
      replay(setting("  - {kind: down, from: 95 ms, until: 180 ms}\n"), requests_of(60));
  expect_sound(*run, 60);
  EXPECT_EQ(run->counters.completed, 60u);
  EXPECT_GT(run->counters.retried, 0u);
}

// Nothing gets through, or nothing as it was.
TEST_P(Failover, RetriesHaveABound) {
  for (const std::string kind : {"fail", "down", "corrupt"}) {
    SCOPED_TRACE(kind);
    const auto run = replay(setting("  - {kind: " + kind + "}\n"), requests_of(60));
    ASSERT_EQ(run->error, "");
    ASSERT_EQ(run->requests.size(), 60u);
    EXPECT_EQ(run->counters.transfer_failed, 60u);
    if (kind == "corrupt") {
      EXPECT_GT(run->counters.retries, 0u);
    }
    TimeNs last = 0;
    for (const RequestResult& r : run->requests) {
      EXPECT_LE(r.retries, 2u);
      last = std::max(last, r.finished_ns);
    }
    // Arrivals, and three attempts that wait twice the 60 ms each and fail.
    EXPECT_LT(last, 600 * ms_ns + 3 * 220 * ms_ns);
  }
}

TEST_P(Failover, WithoutRetriesEveryInstanceGetsRequests) {
  Setting s = setting("  - {kind: down, from: 95 ms, where: node0/gpu4}\n");
  s.more_serving = "  failover: {retries: 0}\n  routing: {decode: round_robin}\n";
  const auto run = replay(s, requests_of(60));
  expect_sound(*run, 60);
  EXPECT_EQ(run->counters.retries, 0u);
  EXPECT_NEAR(static_cast<double>(run->counters.transfer_failed), 25, 3);
}

// Hardly more memory than two requests need: what an attempt had is there for the next.
TEST_P(Failover, PagesOfLostAttemptsComeBack) {
  Setting s = setting("  - {kind: fail, from: 95 ms, until: 400 ms, where: node0/gpu4}\n");
  s.prefill = "{gpus: [node0/gpu0, node0/gpu1], kv_memory: 176 KiB, %}";
  s.decode = "{gpus: [node0/gpu4, node0/gpu5], kv_memory: 176 KiB, %}";
  const auto run = replay(s, requests_of(80));
  expect_sound(*run, 80);
  EXPECT_EQ(run->counters.completed, 80u);
  EXPECT_GT(run->counters.retried, 0u);
}

// Units that the engine still has in hand belong to the attempt that failed.
TEST_P(Failover, TheEngineForgetsAnAttemptThatFailed) {
  Setting s = setting("  - {kind: fail, from: 95 ms, where: node0/gpu4}\n");
  s.more_serving += "  engine: {per_unit: 9 ms}\n";
  const auto run = replay(s, requests_of(60));
  expect_sound(*run, 60);
  EXPECT_EQ(run->counters.completed, 60u);
  EXPECT_GT(run->counters.retried, 0u);
}

// What is on its way to the dead one, or waits at it, does not wait for the ten seconds of the
// default stall_timeout. A pair gets a request every 20 ms, so the next one finds out within 20 ms
// that there is no channel, and 100 ms later it is gone. Prefill of 150 tokens takes 2 ms, of which
// seven at most are waiting: 150 ms from arrival to the last byte, and half as much again.
TEST_P(Failover, WhatADeadInstanceHasIsTakenAway) {
  for (const char* gone : {"gpu0", "gpu4"})
    for (const char* decode_memory : {"4 MiB", "176 KiB"}) {  // pages of all, or of two requests
      SCOPED_TRACE(std::string(gone) + ", " + decode_memory);
      Setting s =
          setting("  - {kind: down, from: 95 ms, where: node0/" + std::string(gone) + "}\n");
      s.scheduler.clear();
      s.decode =
          "{gpus: [node0/gpu4, node0/gpu5], kv_memory: " + std::string(decode_memory) + ", %}";
      const auto run = replay(s, requests_of(60));
      expect_sound(*run, 60);
      EXPECT_EQ(run->counters.completed, 60u);
      EXPECT_GT(run->counters.retried, 0u);
      for (const RequestResult& r : run->requests) {
        EXPECT_LT(r.landed_ns - r.arrival_ns, 225 * ms_ns) << r.request;
        EXPECT_LE(r.retries, 1u);
      }
    }
}

// Forty requests at once, of which each prefill instance gets twenty. One of 2000 tokens is
// prefilled in 32 chunks of 1 ms and 64 x 4 us: two or three have begun on the dead side when it is
// gone. Forty are through in 1.7 s, while the first would wait for ten seconds, and those behind it
// longer.
TEST_P(Failover, WhatHasNotBegunIsTakenFromTheQueue) {
  Setting s = setting("  - {kind: down, from: 1 ms, where: node0/gpu0}\n");
  s.scheduler.clear();
  std::string rows;
  for (int i = 0; i < 40; ++i) rows += "0,2000,1,\n";
  const auto run = replay(s, trace_text(rows));
  ASSERT_EQ(run->error, "");
  EXPECT_EQ(run->counters.completed, 40u);
  EXPECT_EQ(run->counters.retried, 20u);
  EXPECT_EQ(run->counters.retries, 20u);
  for (const RequestResult& r : run->requests) EXPECT_LT(r.finished_ns, 2500 * ms_ns) << r.request;
}

// Of the first four requests the first and the last go to gpu4, from either prefill instance. Their
// 1 MB would take 100 ms each at 10 MB/s, so that both are on their way when it dies, and of the
// later ones only the first prefill instance sends to it: it finds both ways lost. The last request
// is prefilled at 240 ms, 100 ms until it is gone and 100 ms more for the other way, and once more
// 40 ms for each.
TEST_P(Failover, WhoHasNothingMoreToSendIsNotForgotten) {
  Setting s = setting(
      "  - {kind: degrade, factor: 0.001, where: node0/gpu4}\n"
      "  - {kind: down, from: 100 ms, where: node0/gpu4}\n");
  s.scheduler.clear();
  s.decode = "{gpus: [node0/gpu4, node0/gpu5, node0/gpu6], kv_memory: 4 MiB, %}";
  std::string rows;
  for (int i = 0; i < 4; ++i) rows += "0,2000,1,\n";
  for (int i = 0; i < 3; ++i) rows += "0.2,2000,1,\n";
  const auto run = replay(s, trace_text(rows));
  ASSERT_EQ(run->error, "");
  EXPECT_EQ(run->counters.completed, 7u);
  EXPECT_EQ(run->counters.retried, 3u);
  for (const RequestResult& r : run->requests) EXPECT_LT(r.finished_ns, 1 * s_ns) << r.request;
}

// gpu4 has pages for two requests of 20 steps, and gets one every 8 ms, so that others wait for
// them when it goes. They go elsewhere, and none of its pages with them: it works on when it is
// back.
TEST_P(Failover, WhatWaitsForPagesGoesWithoutThem) {
  Setting s = setting("  - {kind: down, from: 95 ms, until: 400 ms, where: node0/gpu4}\n");
  s.scheduler.clear();
  s.decode = "{gpus: [node0/gpu4, node0/gpu5], kv_memory: 176 KiB, %}";
  std::string rows;
  for (int i = 0; i < 200; ++i) rows += std::to_string(4 * i) + "e-3,150,20,\n";
  const auto run = replay(s, trace_text(rows));
  expect_sound(*run, 200);
  EXPECT_EQ(run->counters.completed, 200u);
  EXPECT_GT(run->counters.retried, 2u);
  EXPECT_GT(given_to(*run, &RequestResult::decode_instance, 0, 600 * ms_ns), 10u);
}

// A dead decode instance is no reason to spare a prefill instance: it gets every second request.
// One comes every 7 ms and has landed 3 ms later, so that at 100 ms after the one that finds out
// none is under way whose success would clear whom it blames.
TEST_P(Failover, WhatIsTakenAwayBlamesNobodyElse) {
  Setting s = setting("  - {kind: down, from: 95 ms, where: node0/gpu4}\n");
  s.scheduler.clear();
  s.more_serving = "  routing: {prefill: round_robin, decode: round_robin}\n";
  std::string rows;
  for (int i = 0; i < 80; ++i) rows += std::to_string(7 * i) + "e-3,150,5,\n";
  const auto run = replay(s, trace_text(rows));
  expect_sound(*run, 80);
  EXPECT_GT(run->counters.retried, 0u);
  // Of 44 from 252 ms on; what is given out again takes a turn, too.
  EXPECT_NEAR(static_cast<double>(given_to(*run, &RequestResult::prefill_instance, 0, 252 * ms_ns)),
              22, 1);
}

// Where there is nothing else to go to, it stays, and is moved when the way is back.
TEST_P(Failover, WhatHasNowhereElseToGoWaits) {
  Setting s = setting("  - {kind: down, from: 95 ms, until: 495 ms, where: node0/gpu4}\n");
  s.scheduler.clear();
  s.more_serving = "  failover: {probe_after: 1 s}\n";  // and what comes meanwhile waits, too
  s.decode = "{gpus: [node0/gpu4], kv_memory: 4 MiB, %}";
  const auto run = replay(s, requests_of(60));
  expect_sound(*run, 60);
  EXPECT_EQ(run->counters.completed, 60u);
  EXPECT_EQ(run->counters.retries, 0u);
}

// An outage of less than the 100 ms for which a way is only lost takes nothing away, either.
TEST_P(Failover, AMomentIsWaitedFor) {
  Setting s = setting("  - {kind: down, from: 95 ms, until: 175 ms, where: node0/gpu4}\n");
  s.scheduler.clear();
  const auto run = replay(s, requests_of(60));
  expect_sound(*run, 60);
  EXPECT_EQ(run->counters.completed, 60u);
  EXPECT_EQ(run->counters.retries, 0u);
}

// With one retry: from gpu4, which is gone, to gpu5, which goes just then and comes back after a
// second. To take it away once more, to gpu6, would be to lose it.
TEST_P(Failover, TheLastAttemptIsLeftWhereItIs) {
  bool any_waited = false;
  for (int from_ms = 190; from_ms < 250; from_ms += 3) {  // one of them meets an attempt
    Setting s = setting("  - {kind: down, from: 95 ms, where: node0/gpu4}\n" +
                        ("  - {kind: down, from: " + std::to_string(from_ms)) +
                        " ms, until: 1200 ms, where: node0/gpu5}\n");
    s.scheduler.clear();
    s.more_serving = "  failover: {retries: 1}\n  routing: {decode: round_robin}\n";
    s.decode = "{gpus: [node0/gpu4, node0/gpu5, node0/gpu6], kv_memory: 4 MiB, %}";
    const auto run = replay(s, requests_of(60));
    expect_sound(*run, 60);
    EXPECT_EQ(run->counters.completed, 60u);
    for (const RequestResult& r : run->requests)
      any_waited = any_waited || (r.retries == 1 && r.landed_ns > 1200 * ms_ns);
  }
  EXPECT_TRUE(any_waited);
}

}  // namespace
}  // namespace kvhaul::test
