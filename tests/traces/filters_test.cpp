#include <cmath>

#include "tests/traces/trace_testing.h"
#include "traces/trace_filters.h"

namespace kvhaul::test {
namespace {

/// Rows of "arrival_s,input,output,prefix ids" in blocks of 16 tokens.
TraceReaderPtr trace_of(const std::string& rows, const std::string& block = "16") {
  Result<TraceReaderPtr> reader = read_trace(
      std::make_unique<std::istringstream>("# kvhaul trace 1, block " + block +
                                           " tokens\n"
                                           "arrival_s,input_tokens,output_tokens,prefix_blocks\n" +
                                           rows),
      "t", TraceFormat::kvhaul);
  EXPECT_TRUE(reader) << reader.error().message;
  return std::move(*reader);
}

const std::string four = "0,10,1,\n1,20,2,\n2,30,3,\n4,40,4,\n";

TEST(Limit, StopsAfterSoMany) {
  const WholeTrace whole = read_whole(limit_requests(trace_of(four), 2));
  EXPECT_EQ(text_of(whole), "0 10 1\n1000000000 20 2\n");
  EXPECT_EQ(whole.counts.rows, 2u);
}

TEST(Limit, OfZeroAndOfMoreThanThereAre) {
  EXPECT_EQ(read_whole(limit_requests(trace_of(four), 0)).requests.size(), 0u);
  EXPECT_EQ(read_whole(limit_requests(trace_of(four), 9)).requests.size(), 4u);
}

TEST(SpeedUp, DividesTimes) {
  EXPECT_EQ(text_of(read_whole(speed_up(trace_of("0,1,1,\n1,1,1,\n4.5,1,1,\n"), 2))),
            "0 1 1\n500000000 1 1\n2250000000 1 1\n");
  EXPECT_EQ(text_of(read_whole(speed_up(trace_of("0,1,1,\n1,1,1,\n"), 0.01))),
            "0 1 1\n100000000000 1 1\n");
}

TEST(SpeedUp, RefusesNonsense) {
  for (const double factor : {0.0, -1.0, std::nan(""), HUGE_VAL})
    EXPECT_FALSE(speed_up(trace_of(four), factor));
  EXPECT_NE(read_whole(speed_up(trace_of(four), 1e-300)).error, "");
}

TEST(SpeedUp, SaysWhatWouldFit) {
  // 2^61 ns = 2305843009.2 s: 4 s x 1e9 do not fit, and 4.004 / 2305843009.2 = 1.7364e-9 would.
  const std::string error = read_whole(speed_up(trace_of("0,1,1,\n4,1,1,\n"), 1e-9)).error;
  EXPECT_EQ(
      error,
      "a speed-up of 0.000000001 puts line 4 of the trace more than 73 years after its start; "
      "expected one of at least 0.000000002, or fewer requests");
}

TEST(Cut, KeepsAHalfOpenRangeAndStartsAtZero) {
  const WholeTrace whole = read_whole(cut_time(trace_of(four), 1 * s_ns, 4 * s_ns));
  EXPECT_EQ(text_of(whole), "0 20 2\n1000000000 30 3\n");
  EXPECT_EQ(describe_counts(whole.counts),
            "4 rows, 2 requests; 2 left out: outside the cut, or of unknown length");
}

TEST(Cut, KeepsTheSilenceAtItsStart) {
  EXPECT_EQ(text_of(read_whole(cut_time(trace_of(four), 500 * ms_ns, 2 * s_ns))),
            "500000000 20 2\n");
}

TEST(Cut, RefusesNonsense) {
  EXPECT_FALSE(cut_time(trace_of(four), -1, 5));
  EXPECT_FALSE(cut_time(trace_of(four), 5, 5));
}

TEST(SpreadBatches, OverTheGapThatFollows) {
  // Three at 0 with 3 s to the next: 0, 1 and 2 s. Two at 3 s with 1 s to go: 3 and 3.5 s. The last
  // two, with nothing after them, take the gap before: 4 and 4.5 s.
  const WholeTrace whole = read_whole(
      spread_batches(trace_of("0,1,1,\n0,2,1,\n0,3,1,\n3,4,1,\n3,5,1,\n4,6,1,\n4,7,1,\n")));
  EXPECT_EQ(text_of(whole),
            "0 1 1\n1000000000 2 1\n2000000000 3 1\n3000000000 4 1\n3500000000 5 1\n"
            "4000000000 6 1\n4500000000 7 1\n");
  EXPECT_EQ(whole.counts.spread, 4u);
  EXPECT_NE(describe_counts(whole.counts).find("4 spread from their batch"), std::string::npos);
}

TEST(SpreadBatches, LeavesSmoothTracesAlone) {
  const WholeTrace whole = read_whole(spread_batches(trace_of(four)));
  EXPECT_EQ(text_of(whole), text_of(read_whole(*trace_of(four))));
  EXPECT_EQ(whole.counts.spread, 0u);
}

TEST(SpreadBatches, PassesATraceWithoutTimes) {
  Result<TraceReaderPtr> lengths = open_trace(sample("vidur-lengths.csv"), std::nullopt);
  EXPECT_EQ(read_whole(spread_batches(std::move(*lengths))).requests.size(), 10u);
}

TEST(SpreadBatches, RefusesABatchThatNeverEnds) {
  std::string rows;
  for (int i = 0; i < 70'000; ++i) rows += "0,1,1,\n";
  EXPECT_EQ(read_whole(spread_batches(trace_of(rows))).error,
            "more than 65536 requests arrive at one time: cannot spread them");
}

TEST(SpreadBatches, HandsOnTheErrorBehindTheBatch) {
  const WholeTrace whole = read_whole(spread_batches(trace_of("0,1,1,\nx,1,1,\n")));
  EXPECT_NE(whole.error.find("t:4: expected seconds"), std::string::npos) << whole.error;
}

TEST(ClipContext, ClipsTheInputAndThenTheOutput) {
  const WholeTrace whole = read_whole(clip_context(
      trace_of("0,60,4,1 2 3 4\n0,60,40,1 2 3 4\n0,100,5,1 2 3 4 5 6 7\n0,64,0,\n0,65,0,\n"), 64));
  EXPECT_EQ(text_of(whole),
            "0 60 4 1 2 3 4\n"  // just fits
            "0 60 4 1 2 3 4\n"  // output cut
            "0 63 1 1 2 3 4\n"  // input cut to leave one output token; 63 tokens are 4 blocks
            "0 64 0\n"          // just fits
            "0 64 0\n");        // no output wanted, so none kept
  EXPECT_EQ(whole.counts.clipped, 3u);
  EXPECT_FALSE(clip_context(trace_of(four), 1));
}

TEST(Merge, ByTimeAndKeepsPrefixesApart) {
  std::vector<TraceReaderPtr> readers;
  readers.push_back(trace_of("0,20,1,7\n2,20,1,7\n"));
  readers.push_back(trace_of("1,20,2,7\n2,20,2,7\n3,20,2,\n"));
  readers.push_back(trace_of("0.5,20,3,\n", "0"));
  const WholeTrace whole = read_whole(merge_traces(std::move(readers)));
  std::string outputs;
  for (const TraceRequest& request : whole.requests)
    outputs += std::to_string(request.output_tokens);
  EXPECT_EQ(outputs, "132122");
  EXPECT_EQ(whole.info.block_tokens, 16u);
  EXPECT_EQ(whole.counts.requests, 6u);
  EXPECT_EQ(whole.requests[0].prefix_blocks, whole.requests[3].prefix_blocks);
  EXPECT_NE(whole.requests[0].prefix_blocks, whole.requests[2].prefix_blocks);
}

TEST(Merge, RefusesDifferentBlocksAndTracesWithoutTimes) {
  std::vector<TraceReaderPtr> blocks;
  blocks.push_back(trace_of(four, "16"));
  blocks.push_back(trace_of(four, "512"));
  EXPECT_FALSE(merge_traces(std::move(blocks)));
  std::vector<TraceReaderPtr> lengths;
  lengths.push_back(std::move(*open_trace(sample("vidur-lengths.csv"), std::nullopt)));
  EXPECT_FALSE(merge_traces(std::move(lengths)));
}

TEST(Merge, OfNothingIsEmpty) { EXPECT_TRUE(read_whole(merge_traces({})).requests.empty()); }

TEST(Filters, Compose) {
  TraceReaderPtr reader = spread_batches(trace_of("0,1,1,\n0,2,1,\n2,300,1,\n2,4,1,\n4,5,1,\n"));
  reader = std::move(*speed_up(std::move(reader), 2));
  reader = std::move(*cut_time(std::move(reader), 500 * ms_ns, 10 * s_ns));
  reader = std::move(*clip_context(std::move(reader), 100));
  reader = limit_requests(std::move(reader), 2);
  const WholeTrace whole = read_whole(*reader);
  EXPECT_EQ(text_of(whole), "0 2 1\n500000000 99 1\n");
  EXPECT_EQ(whole.counts.left_out, 1u);
  EXPECT_EQ(whole.counts.clipped, 1u);
}

}  // namespace
}  // namespace kvhaul::test
