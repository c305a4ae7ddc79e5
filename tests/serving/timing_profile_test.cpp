// Timing profiles: the samples, the published files where they are, and damage of every kind.
#include "serving/timing_profile.h"

#include <functional>
#include <sstream>

#include "core/random.h"
#include "tests/traces/trace_testing.h"

namespace kvhaul::test {
namespace {

std::string profile(const std::string& name) {
  return (source_dir() / "serving/profiles" / name).string();
}

Result<TimingTable> splitwise(const std::string& text, const ProfileChoice& choice) {
  return read_splitwise_profile(std::make_unique<std::istringstream>(text), "t", choice);
}
Result<TimingPolynomial> distserve(const std::string& text, const ProfileChoice& choice) {
  return read_distserve_profile(std::make_unique<std::istringstream>(text), "t", choice);
}
std::string splitwise_error(const std::string& text) {
  const auto table = splitwise(text, {"m", "g", 1});
  return table ? "none" : table.error().message;
}
std::string distserve_error(const std::string& text) {
  const auto polynomial = distserve(text, {"m", "", 1});
  return polynomial ? "none" : polynomial.error().message;
}

/// "x ms, x ms, ...", easy to compare at a glance.
std::string text_of(const std::vector<TimingTable::Point>& points) {
  std::ostringstream text;
  for (const auto& point : points) text << point.x << ' ' << point.ms << ", ";
  return text.str();
}

TEST(SplitwiseProfile, Sample) {
  const std::string path = profile("splitwise.csv");
  const auto tp1 = read_splitwise_profile(path, {"demo-7b", "demo-gpu", 1});
  ASSERT_TRUE(tp1) << tp1.error().message;
  // 512 tokens three times: 20, 22 and 90. Steps of batch 1: 10, 10, 10, 11, 11, 11.
  EXPECT_EQ(text_of(tp1->prefill), "128 12, 256 10, 512 22, 1024 40, ");
  EXPECT_EQ(text_of(tp1->step), "1 10.5, 8 13, ");
  const auto tp2 = read_splitwise_profile(path, {"demo-7b", "demo-gpu", 2});
  ASSERT_TRUE(tp2);
  EXPECT_EQ(text_of(tp2->prefill), "512 12.5, ");
  EXPECT_EQ(text_of(tp2->step), "1 8, 32 16, ");  // batch 64 at tp 2 is left out
}

TEST(SplitwiseProfile, WhatTheFileLacks) {
  const std::string path = profile("splitwise.csv");
  const auto error = [&](const ProfileChoice& choice) {
    const auto table = read_splitwise_profile(path, choice);
    return table ? "" : table.error().message.substr(path.size());
  };
  EXPECT_EQ(error({"demo-8b", "demo-gpu", 1}),
            ": expected a model that it has ('demo-70b', 'demo-7b'), found 'demo-8b'");
  EXPECT_EQ(error({"demo-7b", "h100", 1}),
            ": expected a hardware for 'demo-7b' that it has ('demo-gpu', 'other-gpu'), "
            "found 'h100'");
  EXPECT_EQ(error({"demo-7b", "demo-gpu", 4}),
            ": expected a tensor parallelism for 'demo-7b' that it has (1, 2), found 4");
}

const std::string header =
    "model,hardware,prompt_size,batch_size,prompt_time,token_time,tensor_parallel\n";

TEST(SplitwiseProfile, Errors) {
  EXPECT_EQ(splitwise_error(header + "m,g,512,1,20,10,1\n"), "none");
  EXPECT_EQ(splitwise_error(""), "t:1: expected a header, found the end of the file");
  EXPECT_EQ(splitwise_error(header), "t:2: expected a row, found the end of the file");
  EXPECT_EQ(splitwise_error(header + "m,g,512,1,20,10,1\nm,g,0,1,20,10,1\n"),
            "t:3: expected a whole number above 0 as 'prompt_size', found '0'");
  EXPECT_EQ(splitwise_error(header + "m,g,512,1.5,20,10,1\n"),
            "t:2: expected a whole number above 0 as 'batch_size', found '1.5'");
  EXPECT_EQ(splitwise_error(header + "m,g,512,1,fast,10,1\n"),
            "t:2: expected milliseconds as 'prompt_time', found 'fast'");
  EXPECT_EQ(splitwise_error(header + "m,g,512,1,20,-1,1\n"),
            "t:2: expected milliseconds as 'token_time', found '-1'");
  EXPECT_EQ(splitwise_error(header + "m,g,512,1,20,10,0\n"),
            "t:2: expected a whole number from 1 to 1024 as 'tensor_parallel', found '0'");
  // Another model's row is checked as well: the file is damaged all the same.
  EXPECT_EQ(splitwise_error(header + "m,g,512,1,20,10,1\nother,g,512,1,nan,10,1\n"),
            "t:3: expected milliseconds as 'prompt_time', found 'nan'");
  EXPECT_EQ(splitwise_error(header + "m,g,512,1,20,10,1\nm,g,512,1,2"),
            "t:3: expected as many columns as the header has, found fewer; is the file cut?");
  EXPECT_EQ(splitwise_error("request_id,arrival_timestamp\n1,2\n"),
            "t:1: expected a column 'model', found 'request_id,arrival_timestamp'");
  EXPECT_EQ(splitwise_error(std::string("\x7f"
                                        "ELF\x02\x01\x01\0\0\0\0",
                                        11)),
            "t:1: expected a line of text, found a NUL byte");
  EXPECT_EQ(splitwise_error(header + "m,g,512,8,20,10,1\n"),
            "t: expected rows of batch_size 1 for 'm', found none");
  EXPECT_EQ(splitwise_error(file_text(profile("distserve.json"))),
            "t:1: expected a column 'model', found '{'");
}

TEST(DistserveProfile, Sample) {
  const auto read = read_distserve_profile(profile("distserve.json"), {"demo/7b", "", 1});
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->prefill[0], 10);
  EXPECT_EQ(read->prefill[1], 0.05);
  EXPECT_EQ(read->prefill[2], 1e-5);
  EXPECT_EQ(read->step_small[1], 0.0005);
  EXPECT_EQ(read->step_large[0], 5);
  EXPECT_EQ(read->large_from_batch, 95);
  const auto bent = read_distserve_profile(profile("distserve.json"), {"demo/7b", "", 2});
  ASSERT_TRUE(bent);
  EXPECT_EQ(bent->prefill[2], -1e-5);
  EXPECT_EQ(bent->step_large[2], 0.04);
  const auto other = read_distserve_profile(profile("distserve.json"), {"demo/70b", "", 8});
  ASSERT_TRUE(other);
  EXPECT_EQ(other->large_from_batch, 64);
}

TEST(DistserveProfile, WhatTheFileLacks) {
  const std::string text = file_text(profile("distserve.json"));
  EXPECT_EQ(distserve(text, {"facebook/opt-13b", "", 1}).error().message,
            "t: expected a model that it has ('demo/70b', 'demo/7b'), found 'facebook/opt-13b'");
  EXPECT_EQ(distserve(text, {"demo/7b", "", 4}).error().message,
            "t: expected a tensor parallelism for 'demo/7b' that it has (1, 2), found 4");
}

const std::string entry =
    R"("prefill": [1, 2, 3], "decoding_smallbs": [1, 2, 3], "decoding_largebs": [1, 2, 3],
       "decoding_large_small_bs_threshold": 95)";

TEST(DistserveProfile, Errors) {
  EXPECT_EQ(distserve_error("{\"m\": {\"1\": {" + entry + "}}}"), "none");
  EXPECT_EQ(distserve_error(""), "t:1: expected JSON, found the end of the file");
  EXPECT_EQ(distserve_error("[]"), "t:1: expected an object of models, found an array");
  EXPECT_EQ(distserve_error("{\n\"m\": [1]}"),
            "t:2: expected an object of tensor parallelisms, found an array");
  EXPECT_EQ(distserve_error("{\"m\": {\"1\": 7}}"),
            "t:1: expected an object of coefficients, found a number");
  EXPECT_EQ(distserve_error("{\"m\": {\"one\": {}}}"),
            "t:1: expected a tensor parallelism from 1 to 1024, found 'one'");
  EXPECT_EQ(distserve_error("{\"m\": {\"1\": {}}}"),
            "t:1: expected 'prefill' for 'm', found an entry without it");
  EXPECT_EQ(distserve_error("{\"m\": {\n\"1\": {\n\"prefill\": [1, 2]}}}"),
            "t:3: expected three coefficients, found 2");
  EXPECT_EQ(distserve_error("{\"m\": {\"1\": {\"prefill\": [1, 2, 3, 4]}}}"),
            "t:1: expected three coefficients, found more");
  EXPECT_EQ(distserve_error("{\"m\": {\"1\": {\"prefill\": []}}}"),
            "t:1: expected three coefficients, found 0");
  EXPECT_EQ(distserve_error("{\"m\": {\"1\": {\"prefill\": 5}}}"),
            "t:1: expected a list of coefficients, found a number");
  EXPECT_EQ(distserve_error("{\"m\": {\"1\": {\"prefill\": [-1, 2, 3]}}}"),
            "t:1: expected a number from 0 to 1000000, found -1.000000");
  EXPECT_EQ(distserve_error("{\"m\": {\"1\": {\"prefill\": [\"1\"]}}}"),
            "t:1: expected a number, found '1'");
  EXPECT_EQ(distserve_error("{\"m\": {\"1\": {\"prefill\": [[1]]}}}"),
            "t:1: expected a number, found an array");
  EXPECT_EQ(distserve_error("{\"m\": {\"1\": {" + entry + ", " + entry + "}}}"),
            "t:2: expected each key once, found 'prefill' twice");
  EXPECT_EQ(distserve_error("{\"m\": {}, \"m\": {}}"),
            "t:1: expected each model once, found 'm' twice");
  EXPECT_EQ(distserve_error("{}"), "t: expected a model that it has (), found 'm'");
  EXPECT_EQ(distserve_error("{\"m\": {\"1\": {" + entry + "}}} {}"),
            "t:2: expected JSON, found '95}}} {'");
}

/// One line, printable, with the file in front.
void expect_clear(const std::string& error) {
  EXPECT_TRUE(error.starts_with("t:")) << error;
  EXPECT_NE(error.find(" expected "), std::string::npos) << error;
  EXPECT_NE(error.find(", found "), std::string::npos) << error;
  EXPECT_LT(error.size(), 400u) << error;
  for (const char c : error) EXPECT_TRUE(c >= ' ' && c <= '~') << error;
}

/// Cut anywhere, and with bytes changed: an error is clear, anything else is usable.
void damage(const std::string& text, const std::function<std::string(const std::string&)>& error) {
  for (std::size_t cut = 0; cut < text.size(); ++cut)
    if (const std::string found = error(text.substr(0, cut)); !found.empty()) expect_clear(found);
  Random random(1);
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = text;
    for (std::uint64_t n = random.between(1, 4); n > 0; --n)
      damaged[random.below(damaged.size())] = static_cast<char>(random.below(256));
    if (const std::string found = error(damaged); !found.empty()) expect_clear(found);
  }
}

TEST(SplitwiseProfile, Damage) {
  damage(file_text(profile("splitwise.csv")), [](const std::string& text) {
    const auto table = splitwise(text, {"demo-7b", "demo-gpu", 1});
    if (!table) return table.error().message;
    EXPECT_GE(make_table_timing(*table)->prefill_ns(100, 50), 1);
    return std::string();
  });
}

TEST(DistserveProfile, Damage) {
  damage(file_text(profile("distserve.json")), [](const std::string& text) {
    const auto polynomial = distserve(text, {"demo/7b", "", 1});
    if (!polynomial) return polynomial.error().message;
    EXPECT_GE(make_polynomial_timing(*polynomial)->prefill_ns(100, 50), 1);
    return std::string();
  });
}

TEST(Profiles, FilesThatCannotBeRead) {
  const std::string path = profile("no-such-file");
  const std::string expected = "cannot open '" + path + "': No such file or directory";
  EXPECT_EQ(read_splitwise_profile(path, {}).error().message, expected);
  EXPECT_EQ(read_distserve_profile(path, {}).error().message, expected);
}

// Medians of the published rows: prefill of 512, 2,048 and 8,192 tokens, steps of batch 1 and 32.
struct Published {
  const char* model;
  const char* hardware;
  std::uint32_t tp;
  double ms_512, ms_2048, ms_8192, step_1, step_32;
};
const Published published[] = {
    {"llama2-70b", "h100-80gb", 2, 83.827, 310.317, 1339.842, 37.294, 52.296},
    {"llama2-70b", "h100-80gb", 4, 59.717, 200.681, 953.582, 29.468, 36.885},
    {"llama2-70b", "h100-80gb", 8, 53.858, 136.797, 844.885, 30.378, 38.619},
    {"llama2-70b", "a100-80gb", 2, 195.480, 688.054, 2990.181, 55.869, 72.190},
    {"llama2-70b", "a100-80gb", 4, 126.971, 403.334, 2278.451, 44.614, 52.345},
    {"llama2-70b", "a100-80gb", 8, 93.016, 274.222, 1549.820, 45.039, 53.017},
    {"bloom-176b", "h100-80gb", 8, 76.142, 253.113, 1535.395, 36.149, 45.842},
    {"bloom-176b", "a100-80gb", 8, 174.382, 540.412, 3593.167, 49.277, 65.380},
};

TEST(SplitwiseProfile, Published) {
  REAL_TRACE_OR_SKIP(path, "splitwise-sim/perf_model.csv");
  for (const Published& p : published) {
    SCOPED_TRACE(std::string(p.model) + " " + p.hardware + " x" + std::to_string(p.tp));
    auto table = read_splitwise_profile(path, {p.model, p.hardware, p.tp});
    ASSERT_TRUE(table) << table.error().message;
    EXPECT_EQ(table->prefill.size(), 7u);                // 128 to 8,192 tokens
    EXPECT_EQ(table->step.size(), p.tp == 2 ? 6u : 7u);  // batch 1 to 64, or to 32
    const auto timing = make_table_timing(std::move(*table));
    const auto ms = [](TimeNs time) { return static_cast<double>(time) / 1e6; };
    EXPECT_NEAR(ms(timing->prefill_ns(512, 0)), p.ms_512, 0.001);
    EXPECT_NEAR(ms(timing->prefill_ns(2048, 0)), p.ms_2048, 0.001);
    EXPECT_NEAR(ms(timing->prefill_ns(8192, 0)), p.ms_8192, 0.001);
    EXPECT_NEAR(ms(timing->step_ns(1, 0, 0)), p.step_1, 0.001);
    EXPECT_NEAR(ms(timing->step_ns(32, 0, 0)), p.step_32, 0.001);
  }
}

TEST(DistserveProfile, Published) {
  REAL_TRACE_OR_SKIP(path, "distserve/profiler-a100-80g.distserve.json");
  // OPT-13B on one A100: 18.1 + .1019 T + 7.1e-6 T^2; steps 19.9 + .00063 sum(context) + .039
  // batch.
  const auto read = read_distserve_profile(path, {"facebook/opt-13b", "", 1});
  ASSERT_TRUE(read) << read.error().message;
  const auto timing = make_polynomial_timing(*read);
  const auto ms = [](TimeNs time) { return static_cast<double>(time) / 1e6; };
  EXPECT_NEAR(ms(timing->prefill_ns(1000, 0)), 18.1 + 101.9 + 7.1, 0.1);
  EXPECT_NEAR(ms(timing->step_ns(10, 0, 5000)), 19.93 + 3.13 + 0.385, 0.01);
}

TEST(DistserveProfile, PublishedFitThatBendsDown) {
  REAL_TRACE_OR_SKIP(path, "distserve/profiler-a100-80g.vllm.json");
  // OPT-66B at tp 2: 58.4 + .3826 T - 7.1e-6 T^2 would be nothing at 54,000 tokens.
  const auto read = read_distserve_profile(path, {"facebook/opt-66b", "", 2});
  ASSERT_TRUE(read) << read.error().message;
  const auto timing = make_polynomial_timing(*read);
  EXPECT_GE(timing->prefill_ns(54'000, 0), timing->prefill_ns(20'000, 0));
}

}  // namespace
}  // namespace kvhaul::test
