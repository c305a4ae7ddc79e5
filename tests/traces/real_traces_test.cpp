// Against the published traces themselves, which are not part of the repository: their README lists
// the numbers expected here.
#include <cmath>

#include "tests/traces/trace_testing.h"
#include "traces/servegen.h"
#include "traces/trace_filters.h"
#include "traces/trace_stats.h"
#include "traces/trace_writer.h"

namespace kvhaul::test {
namespace {

struct Published {
  TraceFormat format;
  const char* file;
  std::uint64_t rows;
  double span_s, rate;
  double in_mean, in_p50, in_p90, in_p99, in_min, in_max;
  double out_mean, out_p50, out_p90, out_p99, out_min, out_max;
  double gap_cv;
  std::uint64_t peak_1s, peak_10s, duplicates;
};
const Published published[] = {
    // clang-format off
    {TraceFormat::azure, "azure-2023/AzureLLMInferenceTrace_code.csv",
     8819, 3435.948, 2.5664, 2048, 1469, 5188, 7436, 3, 7437,
      28, 13, 55, 251, 6, 1899, 13.151, 67, 327, 0},
    {TraceFormat::azure, "azure-2023/AzureLLMInferenceTrace_conv.csv",
     19366, 3501.722, 5.5301, 1155, 1020, 2734, 4142, 2, 14050,
      211, 129, 424, 601, 7, 1000, 1.094, 16, 98, 0},
    {TraceFormat::mooncake, "mooncake-fast25/conversation_trace.jsonl",
     12031, 3536.999, 3.4012, 12035, 6909, 27367, 85400, 891, 126195,
      343, 350, 597, 1119, 1, 2000, 3.034, 28, 67, 10851},
    {TraceFormat::mooncake, "mooncake-arxiv/mooncake_trace.slice93.jsonl",
     93, 12.215, 7.5317, 7695, 6182, 16603, 30325, 893, 32385,
      200, 35, 552, 787, 3, 1048, 4.69, 26, 74, 88},
    {TraceFormat::vidur, "vidur/splitwise_code.csv",
     8819, 3435.948, 2.5664, 2048, 1469, 5188, 7436, 3, 7437,
      28, 13, 55, 251, 6, 1899, 13.151, 67, 327, 0},
    {TraceFormat::vidur, "vidur/splitwise_conv.csv",
     19366, 3501.722, 5.5301, 1155, 1020, 2734, 4142, 2, 14050,
      211, 129, 424, 601, 7, 1000, 1.094, 16, 98, 0},
    {TraceFormat::vidur, "vidur/arxiv_summarization_stats_llama2_tokenizer_filtered_v2.csv",
     28257, 0, 0, 2588, 2730, 3702, 3933, 1, 4054,
      291, 167, 372, 3271, 5, 4056, 0, 0, 0, 0},
    {TraceFormat::llmservingsim, "llmservingsim/vllm_requests.RTXPRO6000.Llama-3.1-8B.jsonl",
     300, 29.121, 10.2674, 858, 732, 1460, 2765, 262, 3998,
      652, 632, 770, 784, 512, 1021, 0.94, 17, 112, 0},
    // clang-format on
};

void PrintTo(const Published& trace, std::ostream* out) { *out << trace.file; }

class PublishedTrace : public ::testing::TestWithParam<Published> {};

TEST_P(PublishedTrace, HasThePublishedDistribution) {
  const Published& expected = GetParam();
  REAL_TRACE_OR_SKIP(path, expected.file);
  const auto reader = open_trace(path, expected.format);
  ASSERT_TRUE(reader) << reader.error().message;
  const Result<TraceStats> measured = measure_trace(**reader);
  ASSERT_TRUE(measured) << measured.error().message;
  const TraceStats& stats = *measured;
  EXPECT_EQ(describe_counts((*reader)->counts()), std::to_string(expected.rows) + " rows, " +
                                                      std::to_string(expected.rows) + " requests");
  EXPECT_EQ(stats.requests, expected.rows);
  EXPECT_NEAR(static_cast<double>(stats.span_ns) * 1e-9, expected.span_s, 0.0005);
  EXPECT_NEAR(stats.requests_per_s, expected.rate, 0.00005);
  // Printed there without decimals, one mean rounded up from .46.
  EXPECT_NEAR(stats.input.mean, expected.in_mean, 0.6);
  EXPECT_NEAR(stats.input.p50, expected.in_p50, 0.51);
  EXPECT_NEAR(stats.input.p90, expected.in_p90, 0.51);
  EXPECT_NEAR(stats.input.p99, expected.in_p99, 0.51);
  EXPECT_EQ(stats.input.min, expected.in_min);
  EXPECT_EQ(stats.input.max, expected.in_max);
  EXPECT_NEAR(stats.output.mean, expected.out_mean, 0.6);
  EXPECT_NEAR(stats.output.p50, expected.out_p50, 0.51);
  EXPECT_NEAR(stats.output.p90, expected.out_p90, 0.51);
  EXPECT_NEAR(stats.output.p99, expected.out_p99, 0.51);
  EXPECT_EQ(stats.output.min, expected.out_min);
  EXPECT_EQ(stats.output.max, expected.out_max);
  EXPECT_NEAR(stats.gap_cv, expected.gap_cv, 0.0005);
  EXPECT_EQ(stats.peak_1s, expected.peak_1s);
  EXPECT_EQ(stats.peak_10s, expected.peak_10s);
  EXPECT_EQ(stats.duplicate_arrivals, expected.duplicates);
}

INSTANTIATE_TEST_SUITE_P(Real, PublishedTrace, ::testing::ValuesIn(published));

TEST(RealTraces, VidurEqualsAzureRowByRow) {
  for (const char* kind : {"code", "conv"}) {
    REAL_TRACE_OR_SKIP(azure_path,
                       std::string("azure-2023/AzureLLMInferenceTrace_") + kind + ".csv");
    REAL_TRACE_OR_SKIP(vidur_path, std::string("vidur/splitwise_") + kind + ".csv");
    const WholeTrace azure = read_whole(open_trace(azure_path, std::nullopt));
    const WholeTrace vidur = read_whole(open_trace(vidur_path, std::nullopt));
    ASSERT_EQ(azure.requests.size(), vidur.requests.size());
    for (std::size_t i = 0; i < azure.requests.size(); ++i) {
      ASSERT_LE(std::abs(azure.requests[i].arrival_ns - vidur.requests[i].arrival_ns), 10'000) << i;
      ASSERT_EQ(azure.requests[i].input_tokens, vidur.requests[i].input_tokens) << i;
      ASSERT_EQ(azure.requests[i].output_tokens, vidur.requests[i].output_tokens) << i;
    }
  }
}

TEST(RealTraces, Azure2024HasBothSpellingsOfItsTimes) {
  REAL_TRACE_OR_SKIP(path, "azure-2024/AzureLLMInferenceTrace_conv_1week.head5tail5.csv");
  const WholeTrace whole = read_whole(open_trace(path, std::nullopt));
  EXPECT_EQ(whole.error, "");
  EXPECT_EQ(whole.requests.size(), 10u);
}

TEST(RealTraces, MooncakeReuse) {
  REAL_TRACE_OR_SKIP(path, "mooncake-fast25/conversation_trace.jsonl");
  const auto reader = open_trace(path, TraceFormat::mooncake);
  const TraceStats stats = *measure_trace(**reader);
  EXPECT_NEAR(stats.prefix->block_hits, 0.366, 0.0005);
  EXPECT_NEAR(stats.prefix->token_hits, 0.374, 0.0005);
}

TEST(RealTraces, MooncakeSpreadIsSmooth) {
  REAL_TRACE_OR_SKIP(path, "mooncake-fast25/conversation_trace.jsonl");
  const auto reader = spread_batches(std::move(*open_trace(path, TraceFormat::mooncake)));
  const TraceStats stats = *measure_trace(*reader);
  EXPECT_EQ(stats.duplicate_arrivals, 0u);
  EXPECT_LT(stats.gap_cv, 0.6);
  EXPECT_LE(stats.peak_1s, 11u);  // 28 in 3 s are 9.3 a second
  EXPECT_EQ(reader->counts().spread, 10851u);
}

TEST(RealTraces, MooncakeIsRecognised) {
  for (const char* file : {"mooncake-fast25/conversation_trace.jsonl",
                           "mooncake-arxiv/mooncake_trace.slice93.jsonl"}) {
    REAL_TRACE_OR_SKIP(path, file);
    const auto reader = open_trace(path, std::nullopt);
    ASSERT_TRUE(reader) << reader.error().message;
    EXPECT_EQ((*reader)->info().format, TraceFormat::mooncake);
    EXPECT_EQ((*reader)->info().block_tokens, 512u);
  }
}

TEST(RealTraces, SplitwiseSim) {
  REAL_TRACE_OR_SKIP(path, "splitwise-sim/test_trace.csv");
  EXPECT_EQ(text_of(read_whole(open_trace(path, std::nullopt))),
            "0 4096 32\n2000000000 2048 8\n3000000000 2048 16\n");
}

TEST(RealTraces, RoundTripThroughOurFormat) {
  REAL_TRACE_OR_SKIP(path, "mooncake-fast25/conversation_trace.jsonl");
  const TempPath copy("copy.csv");
  ASSERT_TRUE(write_trace(**open_trace(path, TraceFormat::mooncake), copy.string()));
  EXPECT_EQ(text_of(read_whole(open_trace(copy.string(), std::nullopt))),
            text_of(read_whole(open_trace(path, TraceFormat::mooncake))));
}

class RealClient : public ::testing::TestWithParam<const char*> {};

TEST_P(RealClient, IsReadAndGivesItsRate) {
  const std::string stem = std::string("servegen/") + GetParam();
  REAL_TRACE_OR_SKIP(trace_path, stem + "-trace.csv");
  REAL_TRACE_OR_SKIP(dataset_path, stem + "-dataset.json");
  auto client = load_servegen_client(trace_path, dataset_path);
  ASSERT_TRUE(client) << client.error().message;
  // Rates are counts over 600 s, so the number of requests is exact.
  const TimeNs to_ns = 36 * 3600 * s_ns;
  double expected = 0;
  for (const ServegenWindow& window : client->windows)
    if (window.start_ns < to_ns) expected += std::round(window.requests_per_s * 600);
  const auto reader = generate_servegen(std::move(*client), {.to_ns = to_ns});
  const Result<TraceStats> stats = measure_trace(**reader);
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(static_cast<double>((*reader)->counts().rows), expected);
  EXPECT_EQ(static_cast<double>(stats->requests), expected);
}

INSTANTIATE_TEST_SUITE_P(Real, RealClient,
                         ::testing::Values("reason/deepseek-r1/chunk-35",
                                           "reason/deepseek-r1/chunk-12",
                                           "reason/deepseek-r1/chunk-3",
                                           "language/m-small/chunk-14",
                                           "language/m-large/chunk-143"));

TEST(RealTraces, ServeGenR1ClientHasThePublishedLengths) {
  REAL_TRACE_OR_SKIP(trace_path, "servegen/reason/deepseek-r1/chunk-35-trace.csv");
  REAL_TRACE_OR_SKIP(dataset_path, "servegen/reason/deepseek-r1/chunk-35-dataset.json");
  const auto client = load_servegen_client(trace_path, dataset_path);
  ASSERT_TRUE(client) << client.error().message;
  const TraceStats day = *measure_trace(**generate_servegen(*client, {}));
  EXPECT_NEAR(static_cast<double>(day.requests) / 86'400, 4.6, 0.05);
  EXPECT_EQ(day.output.max, 32'768u);
  // The published p50 and max are those of the third quarter of the day.
  const TraceStats quarter = *measure_trace(
      **generate_servegen(*client, {.from_ns = 43'200 * s_ns, .to_ns = 64'800 * s_ns}));
  EXPECT_NEAR(quarter.output.p50, 2484, 75);  // drawn 14,930 times, so not exact
  EXPECT_LE(quarter.output.max, 25'911u);
}

}  // namespace
}  // namespace kvhaul::test
