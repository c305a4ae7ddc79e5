#include <cmath>

#include "tests/traces/trace_testing.h"
#include "traces/trace_stats.h"

namespace kvhaul::test {
namespace {

TraceStats stats_of(const std::string& rows) {
  const auto reader = read_trace(
      std::make_unique<std::istringstream>("# kvhaul trace 1, block 16 tokens\n"
                                           "arrival_s,input_tokens,output_tokens,prefix_blocks\n" +
                                           rows),
      "t", TraceFormat::kvhaul);
  return *measure_trace(**reader);
}

TEST(Stats, PercentilesLieBetweenNeighbours) {
  // Sorted 10 20 30 40: p50 at rank 1.5 is 25, p90 at rank 2.7 is 37, p99 at rank 2.97 is 39.7.
  const TraceStats stats = stats_of("0,40,1,\n1,10,1,\n2,30,1,\n3,20,1,\n");
  EXPECT_DOUBLE_EQ(stats.input.mean, 25);
  EXPECT_DOUBLE_EQ(stats.input.p50, 25);
  EXPECT_NEAR(stats.input.p90, 37, 1e-9);
  EXPECT_NEAR(stats.input.p99, 39.7, 1e-9);
  EXPECT_EQ(stats.input.min, 10u);
  EXPECT_EQ(stats.input.max, 40u);
  EXPECT_EQ(stats.output.p99, 1);
}

TEST(Stats, PercentilesCountRepeatedLengths) {
  // 5 5 5 9: rank 2.7 lies 0.7 of the way from 5 to 9.
  EXPECT_NEAR(stats_of("0,5,1,\n1,9,1,\n2,5,1,\n3,5,1,\n").input.p90, 7.8, 1e-9);
}

TEST(Stats, Arrivals) {
  // Gaps 0, 0.5, 9.5: mean 10/3, squares 90.5/3, variance 30.167 - 11.111 = 19.056.
  const TraceStats stats = stats_of("5,1,1,\n5,1,1,\n5.5,1,1,\n15,1,1,\n");
  EXPECT_EQ(stats.span_ns, 10 * s_ns);
  EXPECT_DOUBLE_EQ(stats.requests_per_s, 0.3);
  EXPECT_NEAR(stats.gap_cv, std::sqrt(19.0556) / 3.3333, 1e-4);
  EXPECT_EQ(stats.peak_1s, 3u);
  EXPECT_EQ(stats.peak_10s, 3u);  // the last one opens the second ten seconds
  EXPECT_EQ(stats.duplicate_arrivals, 1u);
}

TEST(Stats, PrefixHits) {
  // 3 + 2 + 2 blocks. The second has 1 of its blocks already, and all its 20 tokens but 4; the
  // third has both, and with 17 tokens not more than 17.
  const TraceStats stats = stats_of("0,48,1,1 2 3\n1,20,1,1 9\n2,17,1,1 2\n");
  EXPECT_DOUBLE_EQ(stats.prefix->block_hits, 3.0 / 7);
  EXPECT_DOUBLE_EQ(stats.prefix->token_hits, (16.0 + 17) / 85);
  EXPECT_EQ(stats.prefix->distinct_blocks, 4u);
}

TEST(Stats, OneRequest) {
  const TraceStats stats = stats_of("7,48,3,\n");
  EXPECT_EQ(stats.requests, 1u);
  EXPECT_EQ(stats.requests_per_s, 0);
  EXPECT_EQ(stats.peak_1s, 1u);
  EXPECT_EQ(stats.input.p99, 48);
}

TEST(Stats, NoTimesAndNoPrefixes) {
  const auto reader = open_trace(sample("vidur-lengths.csv"), std::nullopt);
  const Result<TraceStats> stats = measure_trace(**reader);
  EXPECT_EQ(stats->requests, 10u);
  EXPECT_EQ(stats->peak_1s, 0u);
  EXPECT_EQ(stats->duplicate_arrivals, 0u);
  EXPECT_FALSE(stats->prefix);
}

TEST(Stats, HandOnErrors) {
  const auto reader =
      read_trace(std::make_unique<std::istringstream>(
                     "arrived_at,num_prefill_tokens,num_decode_tokens\n0,1,1\n1,x,1\n"),
                 "t", std::nullopt);
  EXPECT_FALSE(measure_trace(**reader));
}

}  // namespace
}  // namespace kvhaul::test
