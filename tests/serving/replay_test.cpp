// Whole replays on the emulated backend in virtual time, with real bytes. The scenario and its tiny
// model (4 layers, 4 KV heads, 128 B per token and layer) are in replay_testing.h.
#include "serving/replay.h"

#include <map>

#include "tests/serving/replay_testing.h"

namespace kvhaul::test {
namespace {

// 150 tokens: 10 pages of 16 tokens, 2 KiB a layer, 4 layers: 80 KiB.
constexpr Bytes page_layer = 2 * KiB;
constexpr Bytes kv_150 = 10 * 4 * page_layer;
const std::string one_request = trace_text("0.5,150,10,\n");

struct Mode {
  const char* streaming;
  std::uint64_t transfers;  // of 150 tokens in prefill chunks of 64: 64, 64 and 22
};
const Mode modes[] = {
    {"request", 1},       // everything at the end
    {"chunk", 3},         // one per prefill chunk
    {"layer", 4},         // one per layer
    {"chunk_layer", 12},  // 3 x 4
};

class Streamed : public ::testing::TestWithParam<std::tuple<Mode, const char*>> {
 protected:
  Setting setting() const {
    Setting s;
    s.streaming = std::get<0>(GetParam()).streaming;
    s.direction = std::get<1>(GetParam());
    return s;
  }
  std::uint64_t transfers() const { return std::get<0>(GetParam()).transfers; }
};

TEST_P(Streamed, TransfersAndBytes) {
  const auto run = replay(setting(), one_request);
  ASSERT_EQ(run->error, "");
  ASSERT_EQ(run->requests.size(), 1u);
  EXPECT_EQ(run->requests[0].outcome, RequestOutcome::completed);
  EXPECT_EQ(run->ends.size(), transfers());
  EXPECT_EQ(run->requests[0].bytes, kv_150);
  EXPECT_EQ(run->counters.checked_transfers, transfers());
  EXPECT_EQ(run->counters.damaged_transfers, 0u);
  Bytes in_rows = 0;
  std::uint64_t transfers_in_rows = 0;
  for (const TransferRow& row : run->rows) {
    in_rows += row.bytes;
    transfers_in_rows += row.transfers;
  }
  EXPECT_EQ(in_rows, kv_150);
  EXPECT_EQ(transfers_in_rows, transfers());
}

// Prefill chunks of 50 tokens end inside of pages; such a page goes once, with the chunk that fills
// it. 50, 50, 50: three chunks as above.
TEST_P(Streamed, ChunksThatEndInsideAPage) {
  Setting s = setting();
  s.chunk_tokens = 50;
  const auto run = replay(s, one_request);
  ASSERT_EQ(run->error, "");
  EXPECT_EQ(run->ends.size(), transfers());
  EXPECT_EQ(run->requests[0].bytes, kv_150);
}

// Chunks of 8 tokens: 19 of them. Every second one ends in the middle of a page and fills none, so
// it moves nothing: 10 pages, 10 units with bytes.
TEST_P(Streamed, ChunksShorterThanAPage) {
  Setting s = setting();
  s.chunk_tokens = 8;
  const auto run = replay(s, one_request);
  ASSERT_EQ(run->error, "");
  const bool by_chunk = s.streaming.starts_with("chunk");
  const std::uint64_t units = by_chunk ? 10 : 1;
  EXPECT_EQ(run->ends.size(), units * (s.streaming.ends_with("layer") ? 4 : 1));
  EXPECT_EQ(run->requests[0].bytes, kv_150);
}

TEST_P(Streamed, OneTokenInAndOut) {
  const auto run = replay(setting(), trace_text("0,1,1,\n"));
  ASSERT_EQ(run->error, "");
  ASSERT_EQ(run->count(RequestOutcome::completed), 1u);
  EXPECT_EQ(run->requests[0].bytes, 4 * page_layer);
  EXPECT_EQ(run->requests[0].finished_ns, run->requests[0].landed_ns);
}

// Prefill of 64, 64 and 22 tokens on one H100 (MFU .5), a start of 1 ms each; the tiny model has
// 2 x 1e9 operations a token, and 4 x 4 x 4 x 8 = 512 per pair of tokens:
//   2e9 x 150 + 512 x 150^2 / 2 = 3.0000576e11 over 4.945e14/s = 606,685.06 ns, and 3 ms.
// The parts of a chunk are rounded to nanoseconds. Decode: 9 steps of 1 ms and
// (2e9 + KV) / (3.35e12 x .65) = 0.918 ms.
TEST_P(Streamed, TimesOfALoneRequest) {
  const auto run = replay(setting(), one_request);
  ASSERT_EQ(run->error, "");
  const RequestResult& r = run->requests[0];
  EXPECT_EQ(r.arrival_ns, 500 * ms_ns);
  EXPECT_EQ(r.prefill_start_ns, r.arrival_ns);  // nothing to wait for
  EXPECT_NEAR(static_cast<double>(r.prefill_end_ns - r.prefill_start_ns), 3'606'685, 2);
  EXPECT_GT(r.landed_ns, r.prefill_end_ns);
  EXPECT_LT(r.landed_ns, r.prefill_end_ns + ms_ns);
  EXPECT_NEAR(static_cast<double>(r.finished_ns - r.landed_ns), 9 * 1'918'500.0, 9 * 200.0);
}

// 4 requests at once through one prefill instance: first in, first out.
TEST_P(Streamed, PrefillIsAQueue) {
  const auto run = replay(setting(), trace_text("0,150,2,\n0,150,2,\n0,150,2,\n0,150,2,\n"));
  ASSERT_EQ(run->error, "");
  ASSERT_EQ(run->count(RequestOutcome::completed), 4u);
  for (std::size_t i = 1; i < 4; ++i)
    EXPECT_EQ(run->requests[i].prefill_start_ns, run->requests[i - 1].prefill_end_ns);
}

/// When each transfer was submitted, by request, unit and lane.
std::map<std::uint64_t, TimeNs> submitted(const Replayed& run) {
  std::map<std::uint64_t, TimeNs> times;
  for (const TransferEnd& end : run.ends) times[end.tag] = end.submitted_ns;
  return times;
}

// What a unit waits for is the same with and without: every transfer is submitted 2 ms later, and
// none of them waits for another one's 2 ms. Three requests at once on three prefill instances.
TEST_P(Streamed, TheEngineTakesItsTimeForEveryUnit) {
  Setting s = setting();
  s.prefill = "{gpus: [node0/gpu0, node0/gpu1, node0/gpu2], kv_memory: 4 MiB, %}";
  const std::string trace = trace_text("0.5,150,10,\n0.5,150,10,\n0.5,150,10,\n");
  const auto without = replay(s, trace);
  s.more_serving = "  engine: {per_unit: 2 ms}\n";
  const auto with = replay(s, trace);
  ASSERT_EQ(without->error + with->error, "");
  ASSERT_EQ(with->count(RequestOutcome::completed), 3u);
  EXPECT_EQ(with->bytes(), 3 * kv_150);
  const auto before = submitted(*without), after = submitted(*with);
  ASSERT_EQ(after.size(), 3 * transfers());
  ASSERT_EQ(before.size(), after.size());
  for (const auto& [tag, at] : before) EXPECT_EQ(after.at(tag), at + 2 * ms_ns) << tag;
  for (const RequestResult& r : with->requests)
    EXPECT_GT(r.landed_ns, r.prefill_end_ns + 2 * ms_ns);
}

// What goes out before 506 ms fails. The first request gives up, by 503.6 ms where units leave
// while it is computed, and the engine still has its last ones until 505.6 ms. The second comes at
// 504 ms and may get its slot; its own first unit is readable after 505 and leaves after 507 ms.
// Were it mistaken for the first one, units of it would leave early, and fail.
TEST_P(Streamed, TheEngineForgetsARequestThatFailed) {
  Setting s = setting();
  s.more_serving = "  engine: {per_unit: 2 ms}\n  failover: {retries: 0}\n";
  s.scheduler = "scheduler: {max_attempts: 1}\n";
  s.faults = "  - {from: 0 s, until: 506 ms, kind: fail}\n";
  const auto run = replay(s, trace_text("0.5,150,10,\n0.504,150,10,\n"));
  ASSERT_EQ(run->error, "");
  ASSERT_EQ(run->requests.size(), 2u);
  EXPECT_EQ(run->requests[0].outcome, RequestOutcome::transfer_failed);
  EXPECT_EQ(run->requests[1].outcome, RequestOutcome::completed);
  EXPECT_EQ(run->requests[1].bytes, kv_150);
}

INSTANTIATE_TEST_SUITE_P(Replay, Streamed,
                         ::testing::Combine(::testing::ValuesIn(modes),
                                            ::testing::Values("push", "pull")),
                         [](const auto& param) {
                           return std::string(std::get<0>(param.param).streaming) + "_" +
                                  std::get<1>(param.param);
                         });

TEST(Replay, StreamingHidesTheTransfer) {
  Setting s;
  s.model =
      "{name: big, layers: 16, query_heads: 32, kv_heads: 32, head_dim: 128, active_parameters: "
      "1e9}";
  s.prefill = "{gpus: [node0/gpu0], kv_memory: 512 MiB, %}";
  s.decode = "{gpus: [node0/gpu4], kv_memory: 512 MiB, %}";
  s.chunk_tokens = 256;
  s.payload = false;
  const auto exposed = [&](const char* streaming) {
    s.streaming = streaming;
    const auto run = replay(s, trace_text("0,1024,2,\n"));
    EXPECT_EQ(run->error, "");
    return run->requests.at(0).landed_ns - run->requests.at(0).prefill_end_ns;
  };
  // 1,024 tokens x 16 KiB x 16 layers = 256 MiB at 10 GB/s: 26.8 ms when nothing is hidden.
  EXPECT_GT(exposed("request"), 268'435'456 / 10);
  EXPECT_LT(exposed("chunk"), exposed("request"));
  EXPECT_LT(exposed("chunk_layer"), exposed("chunk"));
}

struct Parallelism {
  std::uint32_t prefill_tp, decode_tp;
  std::uint64_t lanes;  // pairs of ranks that share heads; 4 heads in all
  Bytes bytes;          // 150 tokens, or 10 whole pages where all heads of a rank go
};
// Where heads are split or joined, tokens go one by one: 150 x 128 x 4 = 76,800 B. Above 4 ranks
// heads are replicated: 8 ranks hold everything twice.
const Parallelism parallelisms[] = {
    {1, 1, 1, kv_150},      // the same
    {4, 4, 4, kv_150},      // rank to rank
    {4, 1, 4, 76'800},      // four into one
    {1, 4, 4, 76'800},      // one into four
    {2, 4, 4, 76'800},      // one into two, twice
    {4, 2, 4, 76'800},      // two into one, twice
    {2, 8, 8, 2 * 76'800},  // and every head twice
    {8, 2, 4, 76'800},      // of two equal sources one sends
    {8, 8, 8, 2 * kv_150},
};

TEST(Replay, TensorParallelismOfTheTwoSides) {
  for (const Parallelism& p : parallelisms)
    for (const char* direction : {"push", "pull"})
      for (const char* regions : {"joined", "split"}) {
        SCOPED_TRACE(std::to_string(p.prefill_tp) + " to " + std::to_string(p.decode_tp) + ", " +
                     direction + ", " + regions);
        Setting s;
        s.direction = direction;
        s.more_serving = std::string("  kv_regions: ") + regions + "\n";
        const auto gpus = [](std::uint32_t first, std::uint32_t tp) {
          std::string list;
          for (std::uint32_t i = first; i < first + tp; ++i)
            list += (i == first ? "node0/gpu" : ", node0/gpu") + std::to_string(i);
          return "{gpus: [" + list + "], tp: " + std::to_string(tp) +
                 ", kv_memory: 4 MiB, page_order: heads_first, %}";
        };
        s.prefill = gpus(0, p.prefill_tp);
        s.decode = gpus(8, p.decode_tp);
        const auto run = replay(s, one_request);
        ASSERT_EQ(run->error, "");
        ASSERT_EQ(run->count(RequestOutcome::completed), 1u);
        EXPECT_EQ(run->ends.size(), 12 * p.lanes);
        EXPECT_EQ(run->requests[0].bytes, p.bytes);
        EXPECT_EQ(run->counters.checked_transfers, 12 * p.lanes);
        EXPECT_EQ(run->counters.damaged_transfers, 0u);
      }
}

// Pages of 16 tokens into pages of 32: 150 tokens fill 5 of those, but only what was computed goes.
TEST(Replay, PageSizesOfTheTwoSides) {
  Setting s;
  s.decode = "{gpus: [node0/gpu4], page_tokens: 32, kv_memory: 4 MiB, %}";
  const auto run = replay(s, one_request);
  ASSERT_EQ(run->error, "");
  EXPECT_EQ(run->count(RequestOutcome::completed), 1u);
  EXPECT_EQ(run->requests[0].bytes, 76'800u);
  EXPECT_EQ(run->counters.damaged_transfers, 0u);
}

// Layers 0 and 2 keep the last 32 tokens. Of 150 tokens those from 118 on, from page 7 on: 3 pages;
// layers 1 and 3 all 10.
TEST(Replay, WindowedLayersSendTheirWindow) {
  Setting s;
  s.model =
      "{name: tiny, layers: 4, query_heads: 4, kv_heads: 4, head_dim: 8, active_parameters: 1e9,"
      " window_tokens: 32, global_every: 2}";
  for (const Mode& mode : modes) {
    s.streaming = mode.streaming;
    const auto run = replay(s, one_request);
    ASSERT_EQ(run->error, "");
    EXPECT_EQ(run->requests[0].bytes, 2 * 10 * page_layer + 2 * 3 * page_layer) << mode.streaming;
  }
}

// Room for one request of 150 + 10 tokens on either side: 10 pages, 80 KiB. The others wait.
TEST(Replay, RequestsWaitForMemory) {
  std::string rows;
  for (int i = 0; i < 12; ++i) rows += "0,150,10,\n";
  for (const Mode& mode : modes)
    for (const char* direction : {"push", "pull"})
      for (const auto& [prefill, decode] :
           {std::pair("80 KiB", "80 KiB"), {"4 MiB", "80 KiB"}, {"80 KiB", "4 MiB"}}) {
        SCOPED_TRACE(std::string(mode.streaming) + " " + direction + " " + prefill + " " + decode);
        Setting s;
        s.streaming = mode.streaming;
        s.direction = direction;
        s.prefill = std::string("{gpus: [node0/gpu0], kv_memory: ") + prefill + ", %}";
        s.decode = std::string("{gpus: [node0/gpu4], kv_memory: ") + decode + ", %}";
        const auto run = replay(s, trace_text(rows));
        ASSERT_EQ(run->error, "");
        EXPECT_EQ(run->count(RequestOutcome::completed), 12u);
        EXPECT_EQ(run->bytes(), 12 * kv_150);
        EXPECT_EQ(run->counters.damaged_transfers, 0u);
        // Where decode holds one request, the next one lands only after that is finished.
        for (std::size_t i = 1; i < run->requests.size(); ++i) {
          if (std::string(decode) == "80 KiB") {
            EXPECT_GT(run->requests[i].landed_ns, run->requests[i - 1].finished_ns);
          }
        }
      }
}

// The first token is prefill's: nothing is left to decode, and yet the pages come back.
TEST(Replay, OneTokenAnswersGiveTheirPagesBack) {
  for (const char* direction : {"push", "pull"}) {
    Setting s;
    s.direction = direction;
    s.decode = "{gpus: [node0/gpu4], kv_memory: 80 KiB, %}";  // one request of 150 tokens
    const auto run = replay(s, trace_text("0,150,1,\n0,150,1,\n0,150,1,\n"));
    ASSERT_EQ(run->error, "");
    EXPECT_EQ(run->count(RequestOutcome::completed), 3u);
  }
}

// 4 MiB hold 512 pages, 8,192 tokens. A prompt of 8,193 does not fit, nor one of 8,000 with 200
// tokens to come.
TEST(Replay, WhatCannotFitIsReported) {
  const auto run = replay(Setting(), trace_text("0,8193,1,\n"
                                                "0,8000,200,\n"
                                                "0,8000,192,\n"
                                                "0,100,0,\n"
                                                "0,100,5,\n"));
  ASSERT_EQ(run->error, "");
  ASSERT_EQ(run->requests.size(), 5u);
  const RequestOutcome expected[] = {RequestOutcome::too_large, RequestOutcome::too_large,
                                     RequestOutcome::completed, RequestOutcome::failed_in_trace,
                                     RequestOutcome::completed};
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(run->requests[i].outcome, expected[i]) << i;
    EXPECT_EQ(run->requests[i].bytes != 0, expected[i] == RequestOutcome::completed) << i;
    EXPECT_EQ(run->requests[i].line, i + 3);
  }
  EXPECT_EQ(run->counters.requests, 5u);
  EXPECT_EQ(run->counters.too_large, 2u);
  EXPECT_EQ(run->counters.failed_in_trace, 1u);
  EXPECT_EQ(run->counters.completed, 2u);
}

// Blocks of 32 tokens. The second prompt shares two with the first: 64 of its 150 tokens are not
// computed again, but decode has none of them, so all 10 pages move.
TEST(Replay, PrefixHitsSaveComputeNotBytes) {
  for (const Mode& mode : modes)
    for (const char* direction : {"push", "pull"}) {
      SCOPED_TRACE(std::string(mode.streaming) + " " + direction);
      Setting s;
      s.streaming = mode.streaming;
      s.direction = direction;
      const auto run = replay(s, trace_text("0,150,2,1 2 3 4\n1,150,2,1 2 8 9\n", 32));
      ASSERT_EQ(run->error, "");
      ASSERT_EQ(run->count(RequestOutcome::completed), 2u);
      const RequestResult &first = run->requests[0], &second = run->requests[1];
      EXPECT_EQ(first.cached_tokens, 0u);
      EXPECT_EQ(second.cached_tokens, 64u);
      EXPECT_EQ(first.bytes, kv_150);
      EXPECT_EQ(second.bytes, kv_150);
      // 86 tokens are computed, in chunks of 64 and 22: two starts of 1 ms instead of three.
      EXPECT_NEAR(static_cast<double>(first.prefill_end_ns - first.prefill_start_ns), 3'606'685, 2);
      EXPECT_NEAR(static_cast<double>(second.prefill_end_ns - second.prefill_start_ns),
                  2e6 + (2e9 * 86 + 512 * (150 * 150 - 64 * 64) / 2.0) / 4.945e14 * 1e9, 2);
      EXPECT_EQ(run->counters.damaged_transfers, 0u);
    }
}

// All 128 tokens are known; the last one is computed all the same, and with it its page.
TEST(Replay, AWholeHitComputesTheLastPage) {
  const auto run = replay(Setting(), trace_text("0,128,2,1 2 3 4\n1,128,2,1 2 3 4\n", 32));
  ASSERT_EQ(run->error, "");
  EXPECT_EQ(run->requests[1].cached_tokens, 112u);
  EXPECT_EQ(run->requests[1].bytes, 8 * 4 * page_layer);
}

// The pool has 8 pages, as many as the prompt. The second time all are cached, and there is no
// ninth page for the last token: a block has to go and is computed again.
TEST(Replay, AWholeHitInAFullPool) {
  Setting s;
  s.prefill = "{gpus: [node0/gpu0], kv_memory: 64 KiB, %}";
  const auto run = replay(s, trace_text("0,128,2,1 2 3 4\n1,128,2,1 2 3 4\n", 32));
  ASSERT_EQ(run->error, "");
  EXPECT_EQ(run->count(RequestOutcome::completed), 2u);
  EXPECT_EQ(run->requests[1].cached_tokens, 96u);
  EXPECT_EQ(run->requests[1].bytes, 8 * 4 * page_layer);
}

// A pool of 8 pages, blocks of 2. Blocks 1, 2 and, after hitting those, 3 are cached; 8 and 9 need
// one of the three to leave. It has to be the last one: 2 and 1 are still hits.
TEST(Replay, TheCacheLosesTheEndOfAPromptFirst) {
  Setting s;
  s.prefill = "{gpus: [node0/gpu0], kv_memory: 64 KiB, %}";
  const auto run =
      replay(s, trace_text("0,64,2,1 2\n1,96,2,1 2 3\n2,64,2,8 9\n3,128,2,1 2 3 4\n", 32));
  ASSERT_EQ(run->error, "");
  EXPECT_EQ(run->requests[1].cached_tokens, 64u);
  EXPECT_EQ(run->requests[2].cached_tokens, 0u);
  EXPECT_EQ(run->requests[3].cached_tokens, 64u);
}

TEST(Replay, NoPrefixCache) {
  Setting s;
  s.more_serving = "  prefix_cache: false\n";
  const auto run = replay(s, trace_text("0,150,2,1 2 3 4\n1,150,2,1 2 8 9\n", 32));
  ASSERT_EQ(run->error, "");
  EXPECT_EQ(run->requests[1].cached_tokens, 0u);
}

// ---- Faults ---------------------------------------------------------------------------------

std::string many_requests() {
  std::string rows;
  for (int i = 0; i < 20; ++i) rows += std::to_string(i) + "e-2,150,10,\n";
  return trace_text(rows);
}

/// Whatever happens: each request is reported once, and what counts as completed got all its bytes.
void expect_sound(const Replayed& run, std::uint64_t requests) {
  EXPECT_EQ(run.error, "");
  ASSERT_EQ(run.requests.size(), requests);
  for (std::uint64_t i = 0; i < requests; ++i) {
    EXPECT_EQ(run.requests[i].request, i);
    if (run.requests[i].outcome == RequestOutcome::completed) {
      EXPECT_GE(run.requests[i].bytes, kv_150);
    }
  }
  EXPECT_EQ(run.counters.completed, run.count(RequestOutcome::completed));
  EXPECT_EQ(run.counters.transfer_failed, run.count(RequestOutcome::transfer_failed));
}

std::uint64_t resent(const Replayed& run) {
  std::uint64_t chunks = 0;
  for (const TransferEnd& end : run.ends) chunks += end.resent_chunks;
  return chunks;
}

class WithFaults : public ::testing::TestWithParam<const char*> {
 protected:
  Setting setting(const std::string& faults) const {
    Setting s;
    s.direction = GetParam();
    s.faults = faults;
    s.scheduler = "scheduler: {timeout_floor: 1 ms}\n";
    return s;
  }
};
INSTANTIATE_TEST_SUITE_P(Replay, WithFaults, ::testing::Values("push", "pull"),
                         [](const auto& param) { return param.param; });

TEST_P(WithFaults, FailedChunksAreSentAgain) {
  const auto run = replay(setting("  - {kind: fail, probability: 0.2}\n"), many_requests());
  expect_sound(*run, 20);
  EXPECT_EQ(run->counters.completed, 20u);
  EXPECT_GT(resent(*run), 10u);
}

TEST_P(WithFaults, NothingGetsThrough) {
  const auto run = replay(setting("  - {kind: fail}\n"), many_requests());
  expect_sound(*run, 20);
  EXPECT_EQ(run->counters.transfer_failed, 20u);
  EXPECT_EQ(run->bytes(), 0u);
  for (const TransferRow& row : run->rows)  // nothing landed, so there are no times to tell
    EXPECT_EQ(row.wait_ns + row.post_ns + row.wire_ns + row.detect_ns, 0);
}

TEST_P(WithFaults, LostCompletionsTimeOut) {
  const auto run = replay(setting("  - {kind: lose, probability: 0.1}\n"), many_requests());
  expect_sound(*run, 20);
  EXPECT_EQ(run->counters.completed, 20u);
  EXPECT_GT(resent(*run), 5u);
}

// Bytes change on the way and nobody says so: the checksums find it, and the transfer is made
// again.
TEST_P(WithFaults, DamageIsFoundAndRepaired) {
  const auto run = replay(setting("  - {kind: corrupt, probability: 0.1}\n"), many_requests());
  expect_sound(*run, 20);
  EXPECT_EQ(run->counters.completed, 20u);
  EXPECT_GT(run->counters.damaged_transfers, 5u);
  EXPECT_EQ(run->counters.checked_transfers, 20 * 12 + run->counters.damaged_transfers);
}

TEST_P(WithFaults, DamageThatCannotBeRepaired) {
  const auto run = replay(setting("  - {kind: corrupt}\n"), many_requests());
  expect_sound(*run, 20);
  EXPECT_EQ(run->counters.transfer_failed, 20u);
}

// Without bytes the outcome of a chunk says that it was damaged.
TEST_P(WithFaults, DamageWithoutPayload) {
  Setting s = setting("  - {kind: corrupt, probability: 0.1}\n");
  s.payload = false;
  const auto run = replay(s, many_requests());
  expect_sound(*run, 20);
  EXPECT_EQ(run->counters.completed, 20u);
  EXPECT_GT(resent(*run), 5u);
}

// The link is down for 50 ms in the middle.
TEST_P(WithFaults, DownForAWhile) {
  const auto run =
      replay(setting("  - {kind: down, where: node0/gpu4, from: 50 ms, until: 100 ms}\n"),
             many_requests());
  expect_sound(*run, 20);
  EXPECT_EQ(run->counters.completed, 20u);
}

TEST_P(WithFaults, DownForGood) {
  const auto run =
      replay(setting("  - {kind: down, where: node0/gpu4, from: 50 ms}\n"), many_requests());
  expect_sound(*run, 20);
  EXPECT_GT(run->counters.completed, 0u);
  EXPECT_GT(run->counters.transfer_failed, 0u);
}

// Little memory, and every request fails: their pages come back all the same.
TEST_P(WithFaults, FailedRequestsGiveTheirPagesBack) {
  Setting s = setting("  - {kind: fail, until: 100 ms}\n");
  s.prefill = "{gpus: [node0/gpu0], kv_memory: 80 KiB, %}";
  s.decode = "{gpus: [node0/gpu4], kv_memory: 80 KiB, %}";
  s.scheduler = "scheduler: {timeout_floor: 1 ms, stall_timeout: 10 ms, quarantine: 5 ms}\n";
  s.more_serving = "  failover: {retries: 0}\n";
  const auto run = replay(s, many_requests());
  expect_sound(*run, 20);
  EXPECT_GT(run->counters.completed, 0u);
  EXPECT_GT(run->counters.transfer_failed, 0u);
}

// ---- What does not work ---------------------------------------------------------------------

TEST(Replay, UnitsThatCannotBeNumbered) {
  Setting s;
  s.chunk_tokens = 1;
  s.model =
      "{name: tiny, layers: 1000, query_heads: 1, kv_heads: 1, head_dim: 1, element_bytes: 1,"
      " active_parameters: 1e9}";
  s.prefill = "{gpus: [node0/gpu0], kv_memory: 40 MiB, %}";  // 20,971 tokens of 2,000 B
  const auto run = replay(s, one_request);
  EXPECT_EQ(
      run->error,
      "prefill chunks of 1 tokens cut the longest prompt into more than 16777216 units, one per "
      "layer and chunk; expected longer prefill chunks");
}

/// Three years for everything.
class SlowTiming final : public Timing {
 public:
  TimeNs prefill_ns(std::uint32_t, std::uint32_t) const override { return three_years; }
  TimeNs prefill_start_ns() const override { return 0; }
  TimeNs step_ns(std::uint32_t, double, double) const override { return three_years; }

 private:
  static constexpr TimeNs three_years = 3 * 365 * 86400 * s_ns;
};

TEST(Replay, IsGivenUpBeforeTimeOverflows) {
  auto scenario = parse_scenario(scenario_text(Setting()), "test.yaml");
  ASSERT_TRUE(scenario);
  scenario->serving.prefill.timing = scenario->serving.decode.timing =
      std::make_shared<SlowTiming>();
  // 3 years of prefill, then 20 or 40 steps of 3 years: 63 or 123.
  EXPECT_EQ(replay(*scenario, trace_text("0,150,21,\n"))->error, "");
  const auto run = replay(*scenario, trace_text("0,150,41,\n"));
  EXPECT_TRUE(run->error.starts_with("the replay has passed 91 years")) << run->error;
}

TEST(Replay, AnErrorInTheTraceStopsIt) {
  const auto run = replay(Setting(), trace_text("0,150,2,\n1,x,2,\n"));
  EXPECT_EQ(run->error.substr(0, 8), "trace:4:") << run->error;
}

// ---- Pipeline stages --------------------------------------------------------------------------

Setting pipelined(std::uint32_t stages) {
  Setting s;
  s.model =
      "{name: tiny, layers: 4, query_heads: 4, kv_heads: 4, head_dim: 8, "
      "active_parameters: 1e9}";
  if (stages == 2) s.prefill = "{gpus: [node0/gpu0, node0/gpu1], pp: 2, kv_memory: 4 MiB, %}";
  return s;
}

TEST(Pipeline, ALonePromptIsNoFaster) {
  const std::string short_prompt = trace_text("0.5,64,10,\n");
  const auto one = replay(pipelined(1), short_prompt);
  const auto two = replay(pipelined(2), short_prompt);
  ASSERT_EQ(one->error + two->error, "");
  EXPECT_EQ(two->requests[0].prefill_end_ns, one->requests[0].prefill_end_ns);
}

/// What each chunk of 64 tokens takes in one of two equal stages, without t0.
TimeNs half(const Replayed& run, std::uint32_t before) {
  const Timing& timing = *run.scenario.serving.prefill.timing;
  return (timing.prefill_ns(64, before) - timing.prefill_start_ns()) / 2;
}

// Chunks a, b, c of a prompt, each growing; t0 = 1 ms is paid in the first stage.
//   stage 0   a: 0 to t0 + a/2    b: to 2 t0 + a/2 + b/2    c: to 3 t0 + (a + b + c)/2
//   stage 1   each as long again, after stage 0 and after the chunk before
// t0 is longer than what chunks grow by, so stage 1 always waits for stage 0.
TEST(Pipeline, ChunksOfAPromptOverlap) {
  const auto run = replay(pipelined(2), trace_text("0,192,2,\n"));
  ASSERT_EQ(run->error, "");
  const TimeNs t0 = run->scenario.serving.prefill.timing->prefill_start_ns();
  const TimeNs sum = half(*run, 0) + half(*run, 64) + half(*run, 128);
  EXPECT_NEAR(static_cast<double>(run->requests[0].prefill_end_ns),
              static_cast<double>(3 * t0 + sum + half(*run, 128)), 4);
}

// The second prompt enters when the first has left stage 0: one ends every t0 + a/2.
TEST(Pipeline, PromptsFollowEachOtherAStageApart) {
  const auto run = replay(pipelined(2), trace_text("0,64,2,\n0,64,2,\n0,64,2,\n"));
  ASSERT_EQ(run->error, "");
  const TimeNs t0 = run->scenario.serving.prefill.timing->prefill_start_ns();
  const TimeNs stage = t0 + half(*run, 0);
  for (std::size_t i = 0; i < 3; ++i) {
    const RequestResult& r = run->requests[i];
    const TimeNs enters = static_cast<TimeNs>(i) * stage;
    EXPECT_NEAR(static_cast<double>(r.prefill_start_ns), static_cast<double>(enters), 4);
    EXPECT_NEAR(static_cast<double>(r.prefill_end_ns),
                static_cast<double>(enters + stage + half(*run, 0)), 4);
  }
}

// A layer is readable when its own stage has computed it, whatever other stages are at: layer 0 of
// chunk 1 while layer 2 of chunk 0 is computed beside it.
TEST(Pipeline, EveryStageGivesItsLayersAsItComputesThem) {
  for (const char* direction : {"push", "pull"}) {
    Setting s = pipelined(2);
    s.direction = direction;
    const auto run = replay(s, trace_text("0,192,2,\n"));
    ASSERT_EQ(run->error, "");
    const Timing& timing = *run->scenario.serving.prefill.timing;
    const TimeNs t0 = timing.prefill_start_ns();
    ASSERT_EQ(run->ends.size(), 12u);  // 3 chunks x 4 layers
    EXPECT_EQ(run->counters.damaged_transfers, 0u);
    EXPECT_EQ(run->requests[0].bytes, 12 * 4 * page_layer);  // 12 pages
    TimeNs enters[2] = {0, 0};
    for (std::uint32_t chunk = 0; chunk < 3; ++chunk) {
      const TimeNs layers = timing.prefill_ns(64, 64 * chunk) - t0;
      for (std::uint32_t layer = 0; layer < 4; ++layer) {
        const std::uint32_t stage = layer / 2;
        if (layer == 2) enters[1] = std::max(enters[1], enters[0]);
        const TimeNs readable =
            enters[stage] + (stage == 0 ? t0 : 0) + layers * (layer % 2 + 1) / 4;
        if (layer % 2 == 1) enters[stage] = readable;
        const auto found = std::ranges::find_if(run->ends, [&](const TransferEnd& end) {
          return (end.tag >> 16 & 0xffffff) == chunk * 4 + layer;
        });
        ASSERT_NE(found, run->ends.end());
        // In pull the word that it is readable travels first.
        const double later = static_cast<double>(found->submitted_ns - readable);
        EXPECT_GE(later, -4) << direction << " chunk " << chunk << " layer " << layer;
        EXPECT_LE(later, direction == std::string("push") ? 4 : 20'000)
            << direction << " chunk " << chunk << " layer " << layer;
      }
    }
  }
}

// The other modes, cached prefixes, unequal stages and stages that decode cuts in another way: all
// bytes arrive as they were.
TEST(Pipeline, AllBytesArriveInEveryMode) {
  const std::string trace = trace_text("0,150,10,1 2 3 4 5\n0,150,10,1 2 3 9\n0.1,150,1,1 2\n");
  for (const char* streaming : {"request", "chunk", "layer", "chunk_layer"})
    for (const char* direction : {"push", "pull"})
      for (const bool engine : {false, true}) {
        Setting s = pipelined(1);
        s.streaming = streaming;
        s.direction = direction;
        if (engine) s.more_serving = "  engine: {per_unit: 100 us}\n";
        s.prefill = "{gpus: [node0/gpu0, node0/gpu1, node0/gpu2], pp: 3, kv_memory: 4 MiB, %}";
        s.decode = "{gpus: [node0/gpu4, node0/gpu5], pp: 2, kv_memory: 4 MiB, %}";
        const auto run = replay(s, trace);
        ASSERT_EQ(run->error, "") << streaming << " " << direction;
        EXPECT_EQ(run->count(RequestOutcome::completed), 3u) << streaming << " " << direction;
        EXPECT_EQ(run->bytes(), 3 * kv_150) << streaming << " " << direction;
        EXPECT_EQ(run->counters.damaged_transfers, 0u);
        EXPECT_GT(run->counters.cached_tokens, 0u);
      }
}

}  // namespace
}  // namespace kvhaul::test
