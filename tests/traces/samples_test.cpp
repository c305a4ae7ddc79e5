// The samples say what docs/traces.md says, and chat-200.csv can be made again.
#include "tests/traces/trace_testing.h"
#include "traces/generator.h"
#include "traces/trace_stats.h"
#include "traces/trace_writer.h"

namespace kvhaul::test {
namespace {

GeneratorOptions chat_200() {
  GeneratorOptions options;
  options.seed = 200;
  options.requests = 200;
  options.arrivals = PoissonArrivals{5.5};
  options.input = LognormalLength{.median = 1000, .sigma = 0.8, .min = 16, .max = 8000};
  options.output = LognormalLength{.median = 130, .sigma = 0.9, .min = 1, .max = 1000};
  options.shared_prompts = SharedPrompts{
      .prompts = 4, .tokens = UniformLength{100, 400}, .share = 0.6, .block_tokens = 16};
  return options;
}

TEST(Samples, ChatIsWhatTheGeneratorMakes) {
  const TempPath path("chat-200.csv");
  ASSERT_TRUE(write_trace(**generate_trace(chat_200()), path.string()));
  // To make it anew: KVHAUL_WRITE_SAMPLES=1 trace_tests --gtest_filter=Samples.*
  if (std::getenv("KVHAUL_WRITE_SAMPLES") != nullptr)
    std::filesystem::copy_file(path.string(), sample("chat-200.csv"),
                               std::filesystem::copy_options::overwrite_existing);
  EXPECT_EQ(file_text(path.string()), file_text(sample("chat-200.csv")));
}

TEST(Samples, ChatLooksLikeChat) {
  const auto reader = open_trace(sample("chat-200.csv"), std::nullopt);
  const TraceStats stats = *measure_trace(**reader);
  EXPECT_EQ(stats.requests, 200u);
  EXPECT_NEAR(stats.requests_per_s, 5.5, 0.8);
  EXPECT_NEAR(stats.input.p50, 1000, 150);
  EXPECT_NEAR(stats.output.p50, 130, 25);
  EXPECT_LE(stats.input.max, 8000u);
  EXPECT_GT(stats.prefix->token_hits, 0.05);
}

TEST(Samples, SayWhatTheyShow) {
  const auto counts = [](const char* name, std::optional<TraceFormat> format) {
    return describe_counts(read_whole(open_trace(sample(name), format)).counts);
  };
  EXPECT_EQ(counts("azure-2023.csv", std::nullopt), "12 rows, 12 requests");
  EXPECT_EQ(counts("azure-2024.csv", std::nullopt), "10 rows, 10 requests");
  EXPECT_EQ(counts("mooncake.jsonl", TraceFormat::mooncake), "12 rows, 12 requests");
  EXPECT_EQ(counts("qwen.jsonl", std::nullopt), "10 rows, 10 requests");
  EXPECT_EQ(counts("burstgpt-1.csv", std::nullopt),
            "12 rows, 10 requests; 2 dropped: no input tokens; 1 without output tokens");
  EXPECT_EQ(counts("burstgpt-3.csv", std::nullopt),
            "10 rows, 9 requests; 1 dropped: no input tokens");
}

}  // namespace
}  // namespace kvhaul::test
