// Runs whose results are written down in runs.txt. A change of the scheduler, the timing or the
// links that moves a decision or a nanosecond shows here; one that was meant replaces the line.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <map>

#include "cli/replay_run.h"
#include "core/event_log_codec.h"
#include "core/policy/all.h"
#include "tests/traces/trace_testing.h"

namespace kvhaul::cli {
namespace {

namespace fs = std::filesystem;

std::string hash_of(const std::string& path) {
  const std::string text = test::file_text(path);
  detail::StreamHash hash;
  hash.add({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  char hex[24];
  std::snprintf(hex, sizeof hex, "%016llx", static_cast<unsigned long long>(hash.value()));
  return hex;
}

/// The sample trace at ten times its speed, so that transfers meet.
std::string line_of(const std::string& scenario, const std::string& policy, Streaming streaming) {
  const fs::path out = fs::path(::testing::TempDir()) / "kvhaul-golden";
  fs::remove_all(out);
  ReplayRequest request;
  request.trace = test::sample("chat-200.csv");
  request.scenario = scenario;
  request.policy = policy;
  request.streaming = streaming;
  request.limit = 60;
  request.speedup = 10;
  request.out = out.string();
  request.record = (out / "run.log").string();
  const auto result = run_replay(request);
  if (!result) return result.error().message;
  const auto summary = nlohmann::json::parse(test::file_text((out / "summary.json").string()));
  std::ostringstream line;
  line << "chunks " << summary["transfers"]["chunks"] << ", ttft p99 "
       << summary["ttft_ms"]["p99"].get<double>() << " ms, duration "
       << summary["duration_s"].get<double>() << " s, requests "
       << hash_of((out / "requests.csv").string()) << ", log "
       << hash_of((out / "run.log").string());
  fs::remove_all(out);
  return line.str();
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
    const std::string name =
        scenario + " " + policy + " " + std::string(streaming_name(streaming));
    const std::string line = line_of(scenario, policy, streaming);
    const auto found = golden.find(name);
    EXPECT_TRUE(found != golden.end() && found->second == line)
        << "tests/golden/runs.txt has: "
        << (found == golden.end() ? "no such line" : found->second)
        << "\nif the change was meant, write:\n"
        << name << ": " << line;
  };
  for (const PolicyName& policy : all_policies)
    compare("dgx-h100-pair", std::string(policy.name), Streaming::chunk_layer);
  compare("dgx-h100-pair", "least_finish", Streaming::request);
  compare("hgx-h100", "least_finish", Streaming::layer);
  compare("pcie-pair", "least_finish", Streaming::chunk);
}

}  // namespace
}  // namespace kvhaul::cli
