// Runs whose results are written down in runs.txt. A change of the scheduler, the timing or the
// links that moves a decision or a nanosecond shows here; one that was meant replaces the line.
// The scenarios are copies of those that shipped when the lines were written, so that new numbers
// in a shipped scenario and new decisions are never one change; they stay as they are.
#include <map>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/replay_run.h"
#include "core/event_log.h"
#include "core/event_log_codec.h"
#include "core/policy/all.h"
#include "tests/support/own_folder.h"
#include "tests/traces/trace_testing.h"

namespace kvhaul::cli {
namespace {

namespace fs = std::filesystem;

std::string hex(std::uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

std::span<const std::uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::string hash_of(const std::string& text) {
  detail::StreamHash hash;
  hash.add(bytes_of(text));
  return hex(hash.value());
}

/// The sample trace at ten times its speed, so that transfers meet.
std::string line_of(const std::string& scenario, const std::string& policy, Streaming streaming) {
  const test::OwnFolder folder;
  const fs::path out = folder.path() / "run";
  ReplayRequest request;
  request.trace = test::sample("chat-200.csv");
  request.scenario =
      (test::source_dir() / "tests/golden/scenarios" / (scenario + ".yaml")).string();
  request.policy = policy;
  request.streaming = streaming;
  request.limit = 60;
  request.speedup = 10;
  request.out = out.string();
  request.record = (out / "run.log").string();
  const auto result = run_replay(request);
  if (!result) return result.error().message;
  const auto summary = nlohmann::json::parse(test::file_text((out / "summary.json").string()));
  const std::string log = test::file_text((out / "run.log").string());
  const auto decisions = hash_without_timers(bytes_of(log), "run.log");
  if (!decisions) return decisions.error().message;
  std::ostringstream line;
  line << "chunks " << summary["transfers"]["chunks"] << ", ttft p99 "
       << summary["ttft_ms"]["p99"].get<double>() << " ms, duration "
       << summary["duration_s"].get<double>() << " s, requests "
       << hash_of(test::file_text((out / "requests.csv").string())) << ", decisions "
       << hex(*decisions) << ", log " << hash_of(log);
  fs::remove_all(out);
  return line.str();
}

/// What a new line says beside the one written down.
std::string difference(const std::string& golden, const std::string& line) {
  const std::string decisions = line.substr(0, line.find(", log "));
  if (golden.substr(0, golden.find(", log ")) == decisions)
    return "decisions unchanged but for timer records and setups";
  const auto field = [](const std::string& text, const std::string& name) {
    const std::size_t at = text.find(", " + name + " ");
    return at == std::string::npos ? std::string() : text.substr(at + name.size() + 3, 16);
  };
  return field(golden, "decisions") == field(line, "decisions")
             ? "decisions unchanged, results changed"
             : "decisions changed";
}

/// "SCENARIO POLICY STREAMING: the line"
std::map<std::string, std::string> golden_lines() {
  std::map<std::string, std::string> lines;
  std::ifstream file(test::source_dir() / "tests/golden/runs.txt");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("#") || colon == std::string::npos) continue;
    lines[line.substr(0, colon)] = line.substr(colon + 2);
  }
  return lines;
}

TEST(Golden, RunsEndAsWrittenDown) {
  const auto golden = golden_lines();
  const auto compare = [&](const std::string& scenario, const std::string& policy,
                           Streaming streaming) {
    const std::string name = scenario + " " + policy + " " + std::string(streaming_name(streaming));
    const std::string line = line_of(scenario, policy, streaming);
    const auto found = golden.find(name);
    if (found == golden.end()) {
      ADD_FAILURE() << "tests/golden/runs.txt has no such line; if the run was meant, write:\n"
                    << name << ": " << line;
      return;
    }
    EXPECT_TRUE(found->second == line)
        << difference(found->second, line) << "\ntests/golden/runs.txt has: " << found->second
        << "\nif the change was meant, write:\n"
        << name << ": " << line;
  };
  for (const PolicyName& policy : all_policies)
    compare("dgx-h100-pair", std::string(policy.name), Streaming::chunk_layer);
  compare("dgx-h100-pair", "least_finish", Streaming::request);
  compare("hgx-h100", "least_finish", Streaming::layer);
  compare("pcie-pair", "least_finish", Streaming::chunk);
}

TEST(Golden, SaysWhatHasChanged) {
  const std::string line = "chunks 1, requests aaaaaaaaaaaaaaaa, decisions 0123456789abcdef, log 1";
  EXPECT_EQ(difference(line,
                       "chunks 1, requests aaaaaaaaaaaaaaaa, decisions 0123456789abcdef, "
                       "log 2"),
            "decisions unchanged but for timer records and setups");
  EXPECT_EQ(difference(line,
                       "chunks 1, requests bbbbbbbbbbbbbbbb, decisions 0123456789abcdef, "
                       "log 1"),
            "decisions unchanged, results changed");
  EXPECT_EQ(difference(line,
                       "chunks 1, requests aaaaaaaaaaaaaaaa, decisions 0123456789abcdee, "
                       "log 1"),
            "decisions changed");
}

}  // namespace
}  // namespace kvhaul::cli
