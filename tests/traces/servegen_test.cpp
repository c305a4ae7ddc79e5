#include "traces/servegen.h"

#include "tests/traces/trace_testing.h"
#include "traces/trace_filters.h"
#include "traces/trace_stats.h"

namespace kvhaul::test {
namespace {

Result<std::vector<ServegenWindow>> windows_of(std::string text) {
  return read_servegen_windows(std::make_unique<std::istringstream>(std::move(text)), "t");
}
Result<std::vector<ServegenLengths>> lengths_of(std::string text) {
  return read_servegen_lengths(std::make_unique<std::istringstream>(std::move(text)), "t");
}
std::string lengths_error(std::string text) {
  const auto lengths = lengths_of(std::move(text));
  return lengths ? "" : lengths.error().message;
}
std::string windows_error(std::string text) {
  const auto windows = windows_of(std::move(text));
  return windows ? "" : windows.error().message;
}
ServegenClient client_of(std::string windows, std::string lengths) {
  auto read_windows = windows_of(std::move(windows));
  EXPECT_TRUE(read_windows) << read_windows.error().message;
  auto read_lengths = lengths_of(std::move(lengths));
  EXPECT_TRUE(read_lengths) << read_lengths.error().message;
  return {std::move(*read_windows), std::move(*read_lengths)};
}
WholeTrace generate(const ServegenClient& client, const ServegenOptions& options = {}) {
  return read_whole(generate_servegen(client, options));
}

const std::string ten = R"({"0": {"input_tokens": "{10: 1.0}", "output_tokens": "{2: 1.0}"}})";

TEST(ServeGen, ReadsWindowsWithoutHeaderAndWithCarriageReturns) {
  const auto windows = windows_of(
      "0,18.83,1.07,Gamma,0.872,0.0609\r\n600,0,0,,0,0\r\n"
      "1200,17.2,197.5,Weibull,0.228,0.00057\r\n");
  ASSERT_TRUE(windows) << windows.error().message;
  ASSERT_EQ(windows->size(), 3u);
  EXPECT_EQ((*windows)[0].gaps, ServegenWindow::Gaps::gamma);
  EXPECT_EQ((*windows)[0].requests_per_s, 18.83);
  EXPECT_EQ((*windows)[1].requests_per_s, 0);
  EXPECT_EQ((*windows)[2].gaps, ServegenWindow::Gaps::weibull);
  EXPECT_EQ((*windows)[2].shape, 0.228);
  EXPECT_EQ((*windows)[2].start_ns, 1200 * s_ns);
}

TEST(ServeGen, ReadsPythonDictsEmptyOnesAndPastReasonRatio) {
  const auto lengths = lengths_of(R"({
    "21600": {"input_tokens": "{45: 0.0096, 46: 1e-05}", "output_tokens": "{7: 1}",
              "reason_ratio": "{0.0: 0.5, 0.001996007984031936: 0.5}"},
    "0": {"input_tokens": "{}", "output_tokens": "{}", "reason_ratio": "{}"}})");
  ASSERT_TRUE(lengths) << lengths.error().message;
  ASSERT_EQ(lengths->size(), 2u);
  EXPECT_EQ((*lengths)[0].start_ns, 0);  // sorted
  EXPECT_FALSE((*lengths)[0].input);
  EXPECT_TRUE((*lengths)[1].input);
  EXPECT_TRUE((*lengths)[1].output);
}

TEST(ServeGen, FillsEachWindowAtItsRate) {
  const ServegenClient client =
      client_of("0,0.5,3,Gamma,0.1,9\n600,0,0,,0,0\n1200,2,5,Weibull,0.3,1\n", ten);
  const WholeTrace whole = generate(client);
  ASSERT_EQ(whole.requests.size(), 300u + 1200u);
  TimeNs before_ns = 0;
  for (std::size_t i = 0; i < whole.requests.size(); ++i) {
    const TimeNs arrival_ns = whole.requests[i].arrival_ns;
    EXPECT_GE(arrival_ns, before_ns);
    before_ns = arrival_ns;
    EXPECT_EQ(arrival_ns > 600 * s_ns, i >= 300);
    EXPECT_LE(arrival_ns, 1800 * s_ns);
  }
}

TEST(ServeGen, ScalesTheRate) {
  const ServegenClient client = client_of("0,1,1,Gamma,1,1\n600,1,1,Gamma,1,1\n", ten);
  EXPECT_EQ(generate(client, {.rate_factor = 0.5}).requests.size(), 600u);
  EXPECT_EQ(generate(client, {.rate_factor = 3}).requests.size(), 3600u);
}

TEST(ServeGen, DrawsTheFractionOfARequest) {
  // 1000 windows of 600 s at 0.0005 requests/s: 0.3 requests each.
  std::string windows;
  for (int i = 0; i < 1000; ++i) windows += std::to_string(600 * i) + ",0.0005,1,Gamma,1,1\n";
  EXPECT_NEAR(static_cast<double>(generate(client_of(windows, ten)).requests.size()), 300, 60);
}

TEST(ServeGen, KeepsTheBurstinessOfTheGaps) {
  const ServegenClient client = client_of("0,50,3,Gamma,0.1111111,1\n", ten);
  const auto stats = measure_trace(**generate_servegen(client, {}));
  EXPECT_NEAR(stats->gap_cv, 3, 0.3);
  EXPECT_NEAR(stats->requests_per_s, 50, 0.5);
}

TEST(ServeGen, TakesTheLengthsOfTheTime) {
  const ServegenClient client =
      client_of("0,0.01,1,,0,0\n600,0.01,1,,0,0\n",
                R"({"600": {"input_tokens": "{20: 1.0}", "output_tokens": "{4: 1.0}"},
                    "0": {"input_tokens": "{10: 1.0}", "output_tokens": "{2: 1.0}"}})");
  const WholeTrace whole = generate(client);
  ASSERT_EQ(whole.requests.size(), 12u);
  EXPECT_EQ(whole.requests[5].input_tokens, 10u);
  EXPECT_EQ(whole.requests[6].input_tokens, 20u);
  EXPECT_EQ(whole.requests[6].output_tokens, 4u);
}

TEST(ServeGen, CountsRequestsOfUnknownLength) {
  const WholeTrace whole =
      generate(client_of("0,0.1,1,Gamma,1,1\n600,0.2,1,Gamma,1,1\n",
                         R"({"600": {"input_tokens": "{}", "output_tokens": "{}"},
          "0": {"input_tokens": "{0: 1, 10: 0}", "output_tokens": "{2: 1.0}"}})"));
  EXPECT_TRUE(whole.requests.empty());
  EXPECT_EQ(whole.counts.zero_input, 60u);
  EXPECT_EQ(whole.counts.left_out, 120u);
  EXPECT_EQ(whole.counts.rows, 180u);
}

TEST(ServeGen, StartsWhereAsked) {
  const ServegenClient client =
      client_of("0,0.1,1,Gamma,1,1\n600,0.2,1,Gamma,1,1\n1200,0.3,1,Gamma,1,1\n", ten);
  const WholeTrace part = generate(client, {.from_ns = 600 * s_ns, .to_ns = 1200 * s_ns});
  EXPECT_EQ(part.requests.size(), 120u);
  EXPECT_LE(part.requests.back().arrival_ns, 600 * s_ns);
  // The same window has the same requests, wherever one starts.
  EXPECT_EQ(part.requests[7].arrival_ns, generate(client).requests[60 + 7].arrival_ns - 600 * s_ns);
}

TEST(ServeGen, MergesClients) {
  std::vector<TraceReaderPtr> readers;
  for (const std::uint64_t seed : {1, 2})
    readers.push_back(
        std::move(*generate_servegen(client_of("0,1,1,Gamma,1,1\n", ten), {.seed = seed})));
  const WholeTrace whole = read_whole(merge_traces(std::move(readers)));
  EXPECT_EQ(whole.requests.size(), 1200u);
}

TEST(ServeGen, BadWindows) {
  EXPECT_EQ(windows_error(""), "t:1: expected at least one window, found the end of the file");
  EXPECT_EQ(windows_error("0,1,1,Gamma,1\n"), "t:1: expected 6 columns, found fewer");
  EXPECT_EQ(windows_error("0,1,1,Gamma,1,1,1\n"), "t:1: expected 6 columns, found more");
  EXPECT_EQ(windows_error("0,1,1,Pareto,1,1\n"),
            "t:1: expected Gamma, Weibull or nothing, found 'Pareto'");
  EXPECT_EQ(windows_error("-1,1,1,Gamma,1,1\n"),
            "t:1: expected the start of a window in seconds, found '-1'");
  EXPECT_EQ(windows_error("0,nan,1,Gamma,1,1\n"),
            "t:1: expected a rate from 0 to 100000 requests/s, found 'nan'");
  EXPECT_EQ(windows_error("0,1,-1,Gamma,1,1\n"), "t:1: expected a cv from 0 up, found '-1'");
  EXPECT_EQ(windows_error("0,1,1,Gamma,0,1\n"),
            "t:1: expected a shape from 0.01 to 1000000, found '0'");
  EXPECT_EQ(windows_error("600,1,1,Gamma,1,1\n600,1,1,Gamma,1,1\n"),
            "t:2: expected a window after the one before, found '600'");
}

TEST(ServeGen, BadLengths) {
  EXPECT_EQ(lengths_error(""), "t:1: expected JSON, found the end of the file");
  EXPECT_EQ(lengths_error("{}"), "t:1: expected at least one window, found none");
  EXPECT_EQ(lengths_error("[]"), "t:1: expected windows of texts, found an array");
  EXPECT_EQ(lengths_error("{\n\"x\": {}}"),
            "t:2: expected the start of a window in seconds, found 'x'");
  EXPECT_EQ(lengths_error("{\"0\": 5}"), "t:1: expected windows of texts, found a number");
  EXPECT_EQ(lengths_error("{\"0\": \"a\"}"), "t:1: expected an object per window, found 'a'");
  EXPECT_EQ(lengths_error("{\"0\": {}, \"0\": {}}"),
            "t:1: expected each window once, found one twice");
  EXPECT_EQ(lengths_error("{\"0\": {\n\n\"input_tokens\": {}}}"),
            "t:3: expected windows of texts, found an object");
  const auto dict_error = [](const std::string& dict) {
    return lengths_error("{\"0\": {\"input_tokens\": \"" + dict + "\"}}");
  };
  const std::string dict = "t:1: expected a Python dict of token counts and weights, found '";
  EXPECT_EQ(dict_error(""), dict + "'");
  EXPECT_EQ(dict_error("{1: 0.5"), dict + "'");
  EXPECT_EQ(dict_error("{1: 0.5,}"), dict + "}'");
  EXPECT_EQ(dict_error("{1.5: 0.5}"), dict + "1.5: 0.5}'");
  EXPECT_EQ(dict_error("{1: nan}"), dict + "nan}'");
  EXPECT_EQ(dict_error("{1: -1}"), dict + "-1}'");
  EXPECT_EQ(dict_error("{1: 1} x"), dict + "x'");
  EXPECT_EQ(dict_error("{1: 0.0}"),
            "t:1: expected weights with a finite sum above 0, found others");
  EXPECT_EQ(lengths_error(R"({"0": {"input_tokens": "{1: 1}", "input_tokens": "{1: 1}"}})"),
            "t:1: expected each key once, found 'input_tokens' twice");
}

TEST(ServeGen, RefusesNonsense) {
  const ServegenClient client = client_of("0,1,1,Gamma,1,1\n", ten);
  EXPECT_FALSE(generate_servegen(client, {.rate_factor = 0}));
  EXPECT_FALSE(generate_servegen(client, {.rate_factor = 1e9}));
  EXPECT_FALSE(generate_servegen(client, {.from_ns = -1}));
  EXPECT_FALSE(generate_servegen(client, {.from_ns = 5, .to_ns = 5}));
  EXPECT_FALSE(generate_servegen(client_of("0,1,1,,1,1\n900000000,1,1,,1,1\n", ten), {}));
  EXPECT_FALSE(load_servegen_client("/nonexistent", "/nonexistent"));
  EXPECT_FALSE(load_servegen_client(sample("servegen/chunk-0-trace.csv"), "/"));
}

TEST(ServeGen, ReadsTheSample) {
  const auto client = load_servegen_client(sample("servegen/chunk-0-trace.csv"),
                                           sample("servegen/chunk-0-dataset.json"));
  ASSERT_TRUE(client) << client.error().message;
  const WholeTrace whole = generate(*client);
  EXPECT_EQ(whole.error, "");
  // 600 s of 0.5 + 2 + 1.25 + 0.1 requests/s, 18,600 s of 4; the lengths from 21,600 s are unknown.
  EXPECT_EQ(whole.requests.size(), 300u + 1200u + 750u + 60u + 74'400u);
  EXPECT_EQ(whole.counts.left_out, 600u + 150u + 1800u);
}

}  // namespace
}  // namespace kvhaul::test
