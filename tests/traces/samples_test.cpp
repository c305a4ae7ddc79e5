// The samples say what docs/traces.md says, and chat-200.csv can be made again.
#include <tuple>
#include <utility>

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

/// All at one instant, of one length, two tokens of answer: what the shipped scenarios of networks
/// under one load ask for.
GeneratorOptions burst(std::uint32_t requests, std::uint32_t input_tokens) {
  GeneratorOptions options;
  options.requests = requests;
  options.arrivals = BatchArrivals{s_ns, requests, requests};
  options.input = FixedLength{input_tokens};
  options.output = FixedLength{2};
  return options;
}

/// The load of scenarios/rate-collapse.yaml: random lengths from half of 20,000 and 600 up.
GeneratorOptions random_20k() {
  GeneratorOptions options;
  options.seed = 1600;
  options.requests = 200;
  options.arrivals = PoissonArrivals{0.1};
  options.input = UniformLength{10'000, 20'000};
  options.output = UniformLength{300, 600};
  return options;
}

TEST(Samples, LoadsAreWhatTheGeneratorMakes) {
  const std::pair<const char*, GeneratorOptions> loads[] = {
      {"burst-200x4k.csv", burst(200, 4096)},
      {"burst-64.csv", burst(64, 1155)},
      {"incast-8.csv", burst(8, 1155)},
      {"random-20k-200.csv", random_20k()},
  };
  for (const auto& [name, options] : loads) {
    const TempPath path(name);
    ASSERT_TRUE(write_trace(**generate_trace(options), path.string()));
    if (std::getenv("KVHAUL_WRITE_SAMPLES") != nullptr)
      std::filesystem::copy_file(path.string(), sample(name),
                                 std::filesystem::copy_options::overwrite_existing);
    EXPECT_EQ(file_text(path.string()), file_text(sample(name))) << name;
  }
}

TEST(Samples, BurstsComeAtOneInstant) {
  const auto burst_of = [](const char* name) {
    return read_whole(open_trace(sample(name), std::nullopt)).requests;
  };
  // 1,155 tokens x 327,680 B of Llama-3.1-70B = 378,470,400 B
  for (const auto& [name, requests, tokens] : {std::tuple{"incast-8.csv", 8u, 1155u},
                                               {"burst-64.csv", 64u, 1155u},
                                               {"burst-200x4k.csv", 200u, 4096u}}) {
    const auto all = burst_of(name);
    ASSERT_EQ(all.size(), requests) << name;
    for (const TraceRequest& request : all) {
      EXPECT_EQ(request.arrival_ns, 0);
      EXPECT_EQ(request.input_tokens, tokens);
      EXPECT_EQ(request.output_tokens, 2u);
    }
  }
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
  EXPECT_EQ(counts("mooncake.jsonl", std::nullopt), "12 rows, 12 requests");
  EXPECT_EQ(counts("qwen.jsonl", std::nullopt), "10 rows, 10 requests");
  EXPECT_EQ(counts("burstgpt-1.csv", std::nullopt),
            "12 rows, 10 requests; 2 dropped: no input tokens; 1 without output tokens");
  EXPECT_EQ(counts("llmservingsim-input.jsonl", std::nullopt),
            "11 rows, 11 requests; 5 later turns of sessions: each its pause after the turn before "
            "came, however long that took");
  EXPECT_EQ(counts("burstgpt-3.csv", std::nullopt),
            "10 rows, 9 requests; 1 dropped: no input tokens");
}

}  // namespace
}  // namespace kvhaul::test
