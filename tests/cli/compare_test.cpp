// kvhaul compare as a user meets it: the table, the pairs of transfers, damaged run directories.
#include <regex>
#include <sstream>

#include <nlohmann/json.hpp>

#include "tests/cli/program.h"

namespace kvhaul::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class CompareCommand : public ProgramTest {
 protected:
  /// Twelve requests between two PCIe GPUs, only time.
  void make_run(const std::string& out, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"replay",  source("traces/samples/chat-200.csv"),
                                          "-s",      "pcie-pair",
                                          "-n",      "12",
                                          "--seed",  "1",
                                          "--quiet", "--out",
                                          out};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Ran ran = run(arguments);
    ASSERT_EQ(ran.code, 0) << ran.err;
  }
  /// A copy in which the first match is something else.
  void copy_with(const std::string& from, const std::string& to, const std::string& file,
                 const std::string& pattern, const std::string& instead) {
    fs::copy(folder() / from, folder() / to);
    const std::string before = text(to + "/" + file);
    const std::string after = std::regex_replace(before, std::regex(pattern), instead,
                                                 std::regex_constants::format_first_only);
    ASSERT_NE(before, after) << pattern;
    write(to + "/" + file, after);
  }
  Json json(const std::vector<std::string>& runs) {
    std::vector<std::string> arguments = {"compare", "--json"};
    arguments.insert(arguments.end(), runs.begin(), runs.end());
    const Ran ran = run(arguments);
    EXPECT_EQ(ran.code, 0) << ran.err;
    return Json::parse(ran.out, nullptr, false);
  }
};

TEST_F(CompareCommand, ARunDoesNotDifferFromItself) {
  make_run("a");
  const Ran ran = run({"compare", "a", "a"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.err, "");
  EXPECT_NE(ran.out.find("the mean time to first token is the same as in A"), std::string::npos);
  EXPECT_NE(ran.out.find("\nB: no difference to A in what was run.\n"), std::string::npos)
      << ran.out;
  EXPECT_EQ(ran.out.find("worst:"), std::string::npos);
  EXPECT_EQ(ran.out.find("+"), std::string::npos) << ran.out;
  const Json same = json({"a", "a"})["runs"][1];
  // Where the mean is the same no part of it is to be named.
  EXPECT_EQ(same["why"]["mean_ttft_change_ms"], 0.0);
  EXPECT_TRUE(same["why"]["component"].is_null());
  EXPECT_TRUE(same["why"]["component_change_ms"].is_null());
  EXPECT_EQ(same["differences"]["all"].size(), 0u);
  EXPECT_TRUE(same["differences"]["unknown"].is_null());
  const Json& pairs = same["transfer_pairs"];
  EXPECT_EQ(pairs["duration_error"]["max"], 0.0);
  EXPECT_EQ(pairs["makespan_difference"], 0.0);
  EXPECT_GE(pairs["count"], 12);
}

TEST_F(CompareCommand, FiguresAreThoseOfTheSummaries) {
  make_run("a");
  make_run("b", {"--streaming", "request"});
  const Json all = json({"a", "b"});
  const Json a = Json::parse(text("a/summary.json")), b = Json::parse(text("b/summary.json"));
  const Json& run_a = all["runs"][0];
  const Json& run_b = all["runs"][1];
  EXPECT_EQ(run_a["name"], "A");
  EXPECT_EQ(run_b["streaming"], "request");
  EXPECT_EQ(run_b["figures"]["exposed_transfer_ms.p99"], b["exposed_transfer_ms"]["p99"]);
  EXPECT_EQ(run_b["figures"]["transfers.bytes"], b["transfers"]["bytes"]);
  EXPECT_EQ(run_a["most_used_link"]["link"], a["links"][0]["link"]);
  const double from = a["ttft_ms"]["p50"], to = b["ttft_ms"]["p50"];
  EXPECT_NEAR(run_b["difference"]["ttft_ms.p50"].get<double>(), to / from - 1, 1e-9);
  // Without streaming the whole transfer follows prefill, and nothing else changes much.
  EXPECT_EQ(run_b["why"]["component"], "exposed transfer");
  const double exposed_a = a["exposed_transfer_ms"]["mean"];
  const double exposed_b = b["exposed_transfer_ms"]["mean"];
  EXPECT_NEAR(run_b["why"]["component_change_ms"].get<double>(), exposed_b - exposed_a, 1e-9);
  EXPECT_GT(exposed_b, 2 * exposed_a);
  // One streams whole requests and the other layers: no transfer is in both.
  EXPECT_EQ(run_b["transfer_pairs"]["none_because"], "streams otherwise");
}

/// All that two runs were made from: settings, options, scenario, faults.
TEST_F(CompareCommand, EveryDifferenceOfWhatWasRunIsListed) {
  write("f.yaml", "faults:\n  - {kind: lose, probability: 0.01, where: node0/gpu0, from: 1 s}\n");
  make_run("a");
  make_run("b", {"--policy", "round_robin", "--speedup", "2", "--streaming", "request", "--faults",
                 "f.yaml", "--set", "serving.chunk_tokens=512"});
  const Json found = json({"a", "b"})["runs"][1]["differences"];
  const Json expected =
      Json::array({{{"what", "policy"}, {"first", "least_finish"}, {"other", "round_robin"}},
                   {{"what", "streaming"}, {"first", "chunk_layer"}, {"other", "request"}},
                   {{"what", "--speedup"}, {"first", "1"}, {"other", "2"}},
                   {{"what", "serving.chunk_tokens"}, {"first", "8192"}, {"other", "512"}},
                   {{"what", "fault 1"},
                    {"first", "none"},
                    {"other", "node0/gpu0: completions lost, probability 0.01, from 1 s on"}}});
  EXPECT_EQ(found["all"], expected) << found.dump(1);
  const Ran ran = run({"compare", "a", "b", "--report", "both.html"});
  EXPECT_NE(ran.out.find("\nB: 5 differences to A in what was run:\n"
                         "   policy: least_finish in A, round_robin in B\n"),
            std::string::npos)
      << ran.out;
  EXPECT_NE(text("both.html").find("serving.chunk_tokens"), std::string::npos);
  make_run("c", {"--set", "model=llama-2-7b"});
  EXPECT_EQ(json({"a", "c"})["runs"][1]["differences"]["all"].size(), 1u) << "a model is said once";
  // A run that cannot say any more what it was made from.
  fs::remove(folder() / "b/run.yaml");
  const Json unknown = json({"a", "b"})["runs"][1]["differences"];
  EXPECT_EQ(unknown["all"].size(), 2u) << unknown.dump(1);
  EXPECT_EQ(unknown["unknown"], "b/run.yaml: expected a file of the run, found none");
}

TEST_F(CompareCommand, NoLineIsWiderThanATerminal) {
  make_run("a");
  make_run("b", {"--policy", "round_robin"});
  make_run(std::string(150, 'c'), {"--streaming", "request"});
  const Ran ran = run({"compare", "a", "b", std::string(150, 'c'), "a", "b"});
  EXPECT_EQ(ran.code, 0);
  std::istringstream lines(ran.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
  // All four others are in some table, each beside the first run.
  for (const char* head : {"B to A", "C to A", "D to A", "E to A"})
    EXPECT_NE(ran.out.find(head), std::string::npos) << head;
}

/// Twice the duration of one transfer: with n pairs the largest error is 100%, the median 0.
TEST_F(CompareCommand, TheErrorOfEachTransfer) {
  make_run("a", {"--streaming", "request"});
  fs::copy(folder() / "a", folder() / "b");
  std::istringstream lines(text("a/transfers.csv"));
  std::string changed, line, request;
  double first_ms = 0;
  for (int number = 0; std::getline(lines, line); ++number) {
    if (number == 3) {
      std::vector<std::string> fields;
      std::istringstream row(line);
      for (std::string field; std::getline(row, field, ',');) fields.push_back(field);
      ASSERT_EQ(fields.size(), 20u);
      request = fields[0];
      first_ms = std::stod(fields[14]);
      fields[14] = std::to_string(2 * first_ms);
      line.clear();
      for (const std::string& field : fields) line += (line.empty() ? "" : ",") + field;
    }
    changed += line + "\n";
  }
  write("b/transfers.csv", changed);
  const Json pairs = json({"a", "b"})["runs"][1]["transfer_pairs"];
  EXPECT_EQ(pairs["count"], 12);
  EXPECT_EQ(pairs["duration_error"]["median"], 0.0);
  EXPECT_NEAR(pairs["duration_error"]["max"].get<double>(), 1, 1e-6);
  EXPECT_EQ(std::to_string(pairs["worst"][0]["request"].get<int>()), request);
  EXPECT_NEAR(pairs["worst"][0]["first_ms"].get<double>(), first_ms, 1e-6);
  EXPECT_NEAR(pairs["worst"][0]["second_ms"].get<double>(), 2 * first_ms, 1e-5);
  const Ran ran = run({"compare", "a", "b"});
  EXPECT_NE(ran.out.find("worst: request " + request + ", prefill chunk 0: "), std::string::npos)
      << ran.out;
}

/// All bytes of this scenario cross the GPU's link, so that the formula is bytes / its rate.
TEST_F(CompareCommand, ThePlainFormula) {
  make_run("a", {"--streaming", "request"});
  const Json formula = json({"a", "a"})["runs"][1]["transfer_pairs"]["formula"];
  ASSERT_TRUE(formula.is_object());
  EXPECT_NEAR(formula["share_of_bytes"].get<double>(), 1, 1e-9);
  const double gbytes_per_s = formula["rate_gbytes_per_s"];
  double largest = 0;
  std::istringstream lines(text("a/transfers.csv"));
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    std::vector<std::string> fields;
    std::istringstream row(line);
    for (std::string field; std::getline(row, field, ',');) fields.push_back(field);
    const double plain_ms = std::stod(fields[5]) / gbytes_per_s / 1e6;
    largest = std::max(largest, std::abs(plain_ms / std::stod(fields[14]) - 1));
  }
  EXPECT_GT(largest, 0);
  EXPECT_NEAR(formula["error"]["max"].get<double>(), largest, 1e-6);
  // Layers wait for prefill, which the formula knows nothing of.
  make_run("b");
  const Json streamed = json({"b", "b"})["runs"][1]["transfer_pairs"];
  EXPECT_TRUE(streamed["formula"].is_null());
  EXPECT_NE(streamed["no_formula"].get<std::string>().find("prefill"), std::string::npos);
}

TEST_F(CompareCommand, OtherRequestsHaveNoPairs) {
  make_run("a");
  ASSERT_EQ(run({"replay", source("traces/samples/chat-200.csv"), "-s", "pcie-pair", "-n", "11",
                 "-q", "-o", "b"})
                .code,
            0);
  const Ran ran = run({"compare", "a", "b"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_NE(ran.out.find("\nB replays other requests than A"), std::string::npos) << ran.out;
}

TEST_F(CompareCommand, ControlCharactersStayOffTheTerminal) {
  make_run("a");
  make_run("b\x1b[31m\n\x07");
  const Ran ran = run({"compare", "a", "b\x1b[31m\n\x07"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_NE(ran.out.find("\nB  b?[31m??\n"), std::string::npos) << ran.out;
  EXPECT_EQ(ran.out.find('\x1b'), std::string::npos);
}

TEST_F(CompareCommand, TheCsvHoldsTheTable) {
  make_run("a");
  make_run("b", {"--streaming", "request"});
  EXPECT_EQ(run({"compare", "a", "b", "--csv", "table.csv"}).code, 0);
  const std::string table = text("table.csv");
  EXPECT_TRUE(table.starts_with("figure,A,B,B_difference\nttft_ms.p50,")) << table;
  EXPECT_NE(table.find("\nduration_s,"), std::string::npos);
  EXPECT_EQ(refused(2, {"compare", "a", "b", "--csv", "none/table.csv"}),
            "kvhaul: none/table.csv: cannot be created: No such file or directory");
}

TEST_F(CompareCommand, WhatIsNoWholeRunIsOneLine) {
  make_run("a");
  EXPECT_EQ(refused(2, {"compare", "a"}),
            "kvhaul: kvhaul compare: expected two run directories or more; see 'kvhaul compare "
            "--help'");
  EXPECT_EQ(refused(2, {"compare", "a", "none"}),
            "kvhaul: none: expected a run directory, found nothing of that name");
  EXPECT_EQ(refused(2, {"compare", "a", "a/summary.json"}),
            "kvhaul: a/summary.json: expected a run directory, found a file");
  fs::create_directory(folder() / "empty");
  EXPECT_EQ(refused(2, {"compare", "empty", "a"}),
            "kvhaul: empty: expected a run directory, found no summary.json in it");
  fs::copy(folder() / "a", folder() / "unfinished");
  write("unfinished/UNFINISHED", "");
  EXPECT_EQ(refused(2, {"compare", "a", "unfinished"}),
            "kvhaul: unfinished: expected a whole run, found the mark UNFINISHED of one that did "
            "not end");
  for (const char* file : {"requests.csv", "transfers.csv"}) {
    const std::string copy = std::string("without-") + file;
    fs::copy(folder() / "a", folder() / copy);
    fs::remove(folder() / copy / file);
    EXPECT_EQ(refused(2, {"compare", "a", copy}),
              "kvhaul: " + copy + "/" + file + ": expected a file of the run, found none");
  }
}

/// Nothing is said to limit it, least of all that nothing does.
TEST_F(CompareCommand, ARunWithoutCompletedRequestsHasNoWhy) {
  make_run("a");
  write("t.csv", "arrived_at,num_prefill_tokens,num_decode_tokens\n0,1000,2000\n");
  EXPECT_EQ(run({"replay", "t.csv", "-s", "pcie-pair", "-q", "-o", "none", "--set",
                 "serving.decode.kv_memory=16 MB"})
                .code,
            1);
  const std::string out = run({"compare", "a", "none"}).out;
  EXPECT_NE(out.find("\nB: in one of the two no request was completed.\n"), std::string::npos)
      << out;
}

TEST_F(CompareCommand, DamagedFilesAreOneLineThatNamesThem) {
  make_run("a");
  const struct {
    const char *file, *pattern, *instead, *error;
  } damages[] = {
      {"summary.json", "\"schema\": 3", "\"schema\": 2",
       "expected schema 3, found 2; make the run again"},
      {"summary.json", "\"schema\": 3,", "", "expected schema 3, found none"},
      {"summary.json", "\"limit_sentence\"", "\"limit\"", "expected a text 'limit_sentence'"},
      {"summary.json", "\"share\": [0-9.]+", "\"share\": null", "in every item of 'limits'"},
      {"summary.json", "\"duration_s\"", "\"duration\"", "expected a number 'duration_s'"},
      {"summary.json", "\"policy\": \"[a-z_]*\"", "\"policy\": 7", "expected a text 'run.policy'"},
      {"summary.json", "\"duration_s\": [0-9.]+", "\"duration_s\": 1e999", "double can hold"},
      {"summary.json", "\"run\": \\{", "\"run\": {{", "summary.json:3: expected JSON"},
      {"summary.json", "\"busy_share\": [0-9.]+", "\"busy_share\": \"much\"",
       "in every item of 'links'"},
      {"summary.json", "\"kv_fill_max\": [0-9.]+", "\"kv_fill_max\": \"much\"",
       "in every item of 'instances'"},
      {"requests.csv", "input_tokens", "tokens", "input_tokens"},
      {"requests.csv", "\n[0-9]+,", "\nx,", "requests.csv:2: expected a request's number"},
      {"transfers.csv", "\n[0-9]+,0,", "\n-1,0,", "transfers.csv:2: expected a whole number"},
      {"transfers.csv", "prefill_chunk", "chunk", "prefill_chunk"},
      {"transfers.csv", "\n[0-9]+,[^\n]*\n", "\n0,0\n", "transfers.csv:2: "},
  };
  int number = 0;
  for (const auto& damage : damages) {
    const std::string copy = "damaged-" + std::to_string(number++);
    copy_with("a", copy, damage.file, damage.pattern, damage.instead);
    const std::string error = refused(2, {"compare", "a", copy});
    EXPECT_NE(error.find(copy + "/" + damage.file), std::string::npos) << error;
    EXPECT_NE(error.find(damage.error), std::string::npos) << error;
  }
}

TEST_F(CompareCommand, CutFilesAreErrors) {
  make_run("a");
  for (const char* file : {"summary.json", "requests.csv", "transfers.csv"}) {
    const std::string copy = std::string("cut-") + file;
    fs::copy(folder() / "a", folder() / copy);
    const std::string whole = text(copy + "/" + file);
    write(copy + "/" + file, whole.substr(0, whole.size() * 2 / 3));
    const std::string error = refused(2, {"compare", "a", copy});
    EXPECT_NE(error.find(copy + "/" + file), std::string::npos) << error;
  }
  fs::copy(folder() / "a", folder() / "twice");
  const std::string rows = text("a/requests.csv");
  write("twice/requests.csv", rows + rows.substr(rows.find('\n') + 1));
  EXPECT_NE(refused(2, {"compare", "a", "twice"}).find("expected each request once"),
            std::string::npos);
}

}  // namespace
}  // namespace kvhaul::test
