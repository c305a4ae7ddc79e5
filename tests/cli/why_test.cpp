// The proof of what limits a run: its reruns, where it is kept, who says it, and what has none.
#include <fstream>

#include <nlohmann/json.hpp>

#include "results/limit_proof.h"
#include "results/run_directory.h"
#include "tests/cli/program.h"

namespace kvhaul::cli {
namespace {

using Json = nlohmann::json;

class Why : public test::ProgramTest {
 protected:
  void replay(const std::vector<std::string>& more, const std::string& out = "run") {
    std::vector<std::string> arguments = {
        "replay", test::source("traces/samples/chat-200.csv"), "-s", "dgx-h100-pair", "-q", "-o",
        out};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const test::Ran ran = run(arguments);
    ASSERT_EQ(ran.code, 0) << ran.err;
  }
};

TEST_F(Why, ARerunIsTheRunWithThatChange) {
  const std::vector<std::string> options = {
      "--streaming", "request", "--limit", "60", "--set", "serving.max_batch=2", "--speedup", "8"};
  replay(options);
  replay(options, "same");
  const test::Ran ran = run({"report", "run", "--why", "--json"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  const Json proof = Json::parse(text("run/why.json"));
  const auto median_ms = [&](const std::string& out) {
    const auto read = read_run_directory((folder() / out).string());
    EXPECT_TRUE(read) << read.error().message;
    return read->number("ttft_ms.p50");
  };
  // Percentiles of a run come from a histogram that is off by 1/128 at most.
  const auto is_near = [](double exact, double of_histogram) {
    return std::abs(exact / of_histogram - 1) < 1.0 / 64;
  };
  EXPECT_TRUE(is_near(proof["ttft_p50_ms"], median_ms("same"))) << proof;
  auto changed = options;
  changed[5] = "serving.max_batch=3";
  replay(changed, "more-seats");
  double last = 0;
  bool seats = false;
  for (const Json& rerun : proof["reruns"]) {
    EXPECT_GE(rerun["ttft_p50_ms"], last) << "the lowest median first";
    last = rerun["ttft_p50_ms"];
    if (rerun["key"] != "decode_seats") continue;
    seats = true;
    EXPECT_EQ(rerun["more"], "one decode seat more than 2");
    EXPECT_TRUE(is_near(rerun["ttft_p50_ms"], median_ms("more-seats"))) << rerun;
  }
  EXPECT_TRUE(seats);
  // The report has it, and says the same.
  const std::string sentence = Json::parse(ran.out)["sentence"];
  EXPECT_TRUE(sentence.starts_with("Limited by ")) << sentence;
  EXPECT_NE(sentence.find("median time to first token is"), std::string::npos) << sentence;
  EXPECT_NE(text("run/report.html").find("limit_proof"), std::string::npos);
  const test::Ran table = run({"explain", "run", "--limit"});
  EXPECT_NE(table.out.find("one decode seat more than 2"), std::string::npos) << table.out;
}

TEST_F(Why, OfTheRunItselfAndOfEveryPointOfASweep) {
  const test::Ran ran = run({"replay", test::source("traces/samples/chat-200.csv"), "-s",
                             "dgx-h100-pair", "-n", "30", "--why", "-o", "run"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_NE(ran.out.find("limited by  prefill and its queue: 10% faster"), std::string::npos)
      << ran.out;
  const test::Ran swept =
      run({"sweep", test::source("traces/samples/chat-200.csv"), "-s", "dgx-h100-pair", "-n", "20",
           "--why", "-q", "-o", "points", "--set", "serving.max_batch=8,16"});
  ASSERT_EQ(swept.code, 0) << swept.err;
  std::size_t proven = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder() / "points"))
    proven += std::filesystem::exists(entry.path() / "why.json") ? 1 : 0;
  EXPECT_EQ(proven, 2u);
}

/// A tenth of a pool that holds seven requests is less than a request, and helps nobody.
TEST_F(Why, OneRequestMoreIsTheLeastOfMemory) {
  std::string trace = "arrived_at,num_prefill_tokens,num_decode_tokens\n";
  for (int i = 0; i < 40; ++i) trace += "0,1000,200\n";
  write("t.csv", trace);
  const test::Ran ran = run({"replay", "t.csv", "-s", "dgx-h100-pair", "-q", "-o", "run", "--set",
                             "serving.decode.kv_memory=400 MB"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  const test::Ran why = run({"explain", "run", "--limit"});
  EXPECT_TRUE(
      why.out.starts_with("Limited by decode memory: KV memory of decode for one request "
                          "more,"))
      << why.out;
}

/// A simulation, and said to be one.
TEST_F(Why, ARunInRealTimeIsSimulated) {
  write("t.csv", "arrived_at,num_prefill_tokens,num_decode_tokens\n0,100,2\n0.1,200,2\n");
  const test::Ran ran = run({"replay", "t.csv", "-q", "--why", "-o", "run"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_TRUE(Json::parse(text("run/why.json"))["run_was_real"].get<bool>());
  EXPECT_NE(run({"explain", "run", "--limit"}).out.find("simulated as it was"), std::string::npos);
}

TEST_F(Why, WhatCannotBeMadeAgainIsRefused) {
  std::filesystem::copy_file(test::source("traces/samples/chat-200.csv"), folder() / "t.csv");
  ASSERT_EQ(run({"replay", "t.csv", "-s", "dgx-h100-pair", "-n", "5", "-q", "-o", "run"}).code, 0);
  std::ofstream(folder() / "t.csv", std::ios::app) << "\n";
  test::Ran ran = run({"report", "run", "--why"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_NE(ran.err.find("run/run.yaml: its trace "), std::string::npos) << ran.err;
  EXPECT_FALSE(exists("run/why.json"));
  std::filesystem::remove(folder() / "t.csv");
  ran = run({"report", "run", "--why"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_NE(ran.err.find("No such file"), std::string::npos) << ran.err;
  ran = run({"replay", "-", "--why"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_NE(ran.err.find("--why reads the trace again"), std::string::npos) << ran.err;
}

TEST_F(Why, AnotherRunInTheFolderHasNoneAndDamageIsNamed) {
  replay({"-n", "5", "--why"});
  ASSERT_TRUE(exists("run/why.json"));
  write("run/why.json", "{\"schema\": 1, \"backend\": \"emulated\", \"ttft_p50_ms\": 3}");
  test::Ran ran = run({"explain", "run"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_NE(ran.err.find("run/why.json: expected 'backend', 'ttft_p50_ms', 'completed' and a list"),
            std::string::npos)
      << ran.err;
  replay({"-n", "6", "--force"});
  EXPECT_FALSE(exists("run/why.json"));
}

}  // namespace
}  // namespace kvhaul::cli
