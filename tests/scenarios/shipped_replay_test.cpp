// Each scenario that ships with the tool runs, and what its header claims of a published row, of a
// fluid network or of a hash comes out.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "cli/replay_run.h"
#include "scenarios/scenario.h"
#include "tests/traces/trace_testing.h"

namespace kvhaul::test {
namespace {

namespace fs = std::filesystem;

/// The run of a scenario in virtual time, without payload.
cli::ReplayResult run(const std::string& scenario, const std::string& trace,
                      std::optional<std::uint64_t> limit = {}, double speedup = 1) {
  const TempPath out("shipped-replay");
  cli::ReplayRequest request;
  request.trace = trace;
  request.scenario = scenario;
  request.real_time = false;
  request.payload = false;
  request.limit = limit;
  request.speedup = speedup;
  request.out = out.string();
  auto result = cli::run_replay(request);
  fs::remove_all(out.string());
  EXPECT_TRUE(result) << scenario << ": " << result.error().message;
  return result ? std::move(*result) : cli::ReplayResult{};
}

double longest_exposed_ms(const cli::ReplayResult& result) {
  return static_cast<double>(result.summary.exposed_ns.most()) / 1e6;
}

/// A shipped scenario with one text in place of another, as a file.
class Changed {
 public:
  Changed(std::string_view name, std::string_view old_text, std::string_view new_text)
      : path_("changed-" + std::string(name) + ".yaml") {
    for (const BuiltinScenario& builtin : builtin_scenarios()) {
      if (builtin.name != name) continue;
      std::string text(builtin.text);
      const std::size_t at = text.rfind(old_text);
      EXPECT_NE(at, std::string::npos) << name << ": " << old_text;
      if (at != std::string::npos) text.replace(at, old_text.size(), new_text);
      std::ofstream(path_.string()) << text;
    }
  }
  std::string file() const { return path_.string(); }

 private:
  TempPath path_;
};

/// One request of that many tokens, as a file.
class LoneRequest {
 public:
  explicit LoneRequest(std::uint32_t tokens) : path_("lone.csv") {
    std::ofstream(path_.string()) << "# kvhaul trace 1, block 0 tokens\n"
                                     "arrival_s,input_tokens,output_tokens,prefix_blocks\n0,"
                                  << tokens << ",2,\n";
  }
  std::string file() const { return path_.string(); }

 private:
  TempPath path_;
};

class ShippedReplay : public ::testing::TestWithParam<std::string> {};

TEST_P(ShippedReplay, RunsTheSampleTrace) {
  const cli::ReplayResult result = run(GetParam(), sample("chat-200.csv"), 20);
  EXPECT_TRUE(result.complete);
  EXPECT_EQ(result.summary.requests.completed, 20u);
  EXPECT_EQ(result.summary.fallback_transfers, 0u);
  EXPECT_GT(result.summary.delivered_bytes, 0u);
}

std::vector<std::string> shipped_names() {
  std::vector<std::string> names;
  for (const BuiltinScenario& builtin : builtin_scenarios()) names.emplace_back(builtin.name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Scenarios, ShippedReplay, ::testing::ValuesIn(shipped_names()),
                         [](const auto& param) {
                           std::string name = param.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// 8 x 378,470,400 B / 50 GB/s = 60.555 ms, and 1.2 us one way. Messages go the same way.
TEST(ShippedClaims, IncastTakesWhatOneNicTakes) {
  const cli::ReplayResult result = run("incast-8to1", sample("incast-8.csv"));
  EXPECT_EQ(result.summary.delivered_bytes, 8 * 378'470'400u);
  EXPECT_NEAR(longest_exposed_ms(result), 60.556, 0.61);
}

// 378,470,400 B / 50 GB/s = 7.569 ms where no two flows meet. With a hash of 16 flows on 16 links
// the chance that none of 128 leaf links gets two is nil: at least twice as long for somebody.
// Eight queue pairs each are nearer to even.
TEST(ShippedClaims, FlowsMeetUnderEcmpOnly) {
  EXPECT_NEAR(longest_exposed_ms(run("fat-tree-adaptive", sample("burst-64.csv"))), 7.571, 0.08);
  const double hashed = longest_exposed_ms(run("fat-tree-ecmp", sample("burst-64.csv")));
  EXPECT_GT(hashed, 2 * 7.569);
  const Changed more("fat-tree-ecmp", "fixed_cost: 1.2 us", "fixed_cost: 1.2 us, queues: 8");
  const double spread = longest_exposed_ms(run(more.file(), sample("burst-64.csv")));
  EXPECT_GT(spread, 7.569);
  EXPECT_LT(spread, hashed);
}

// The row of Mooncake's vLLM benchmark that the scenario is fitted to, within the tenth.
TEST(ShippedClaims, TheMooncakeRowComesOut) {
  const std::pair<std::uint32_t, double> row[] = {{128, 0.54},  {256, 0.61},    {512, 0.92},
                                                  {1024, 1.50}, {2048, 2.51},   {4096, 4.75},
                                                  {8192, 8.84}, {16384, 16.43}, {32768, 31.65}};
  for (const auto& [tokens, published_ms] : row) {
    const LoneRequest trace(tokens);
    const cli::ReplayResult result = run("hgx-h800-roce200", trace.file());
    EXPECT_EQ(result.summary.delivered_bytes, Bytes{tokens} * 147'456) << tokens;
    EXPECT_NEAR(longest_exposed_ms(result), published_ms, 0.1 * published_ms) << tokens;
  }
}

// Eight GPUs of a node register 40 GB each, one after the other: 320 / 10.2 = 31.4 s.
TEST(ShippedClaims, RegisteringTheKvMemoryTakesItsTime) {
  const LoneRequest trace(128);
  const cli::ReplayResult result = run("hgx-h800-roce200", trace.file());
  EXPECT_NEAR(static_cast<double>(result.summary.requests.registration_ns) * 1e-9, 31.4, 0.05);
}

// 8,192 tokens: 61 layers x 128 pages = 7,808 pieces of 64 x 576 = 36,864 B. NVLink: 2 us each,
// 15.6 ms. Two NICs: 7,808 x (36,864 + 500) B / 97.8 GB/s = 3.0 ms. Whole pages over NVLink:
// 288 MB / 770 GB/s = 0.37 ms.
TEST(ShippedClaims, PostingPieceByPieceMakesNvlinkLoseToRdma) {
  const LoneRequest trace(8192);
  const double nvlink = longest_exposed_ms(run("gb200-descriptors", trace.file()));
  EXPECT_NEAR(nvlink, 15.6, 0.5);
  const Changed rdma("gb200-descriptors", "order: [nvlink_copy, rdma]",
                     "order: [rdma, nvlink_copy]");
  EXPECT_NEAR(longest_exposed_ms(run(rdma.file(), trace.file())), 3.0, 0.3);
}

/// Four nodes with half as many NICs as GPUs, prefill at TP4, decode at TP8, four queue pairs.
std::string four_nics(const std::string& rails) {
  std::string text;
  for (const BuiltinScenario& builtin : builtin_scenarios())
    if (builtin.name == "roce-400-ecmp") text = builtin.text;
  const auto replace = [&](std::string_view from, std::string_view to) {
    const std::size_t at = text.rfind(from);
    ASSERT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
  };
  replace("nics:\n        count: 8", "nics:\n        count: 4");
  replace("hgx_h100, count: 8", "hgx_h100, count: 4");
  replace("spines: 18", "spines: 4");
  replace("  rails: 1\n", rails);
  replace("nodes: [node0, node1, node2, node3]\n    tp: 8", "nodes: [node0, node1]\n    tp: 4");
  replace("nodes: [node4, node5, node6, node7]", "nodes: [node2, node3]");
  return text;
}

// The GPU's own port was lost from what the scheduler knew of 64 channels, and 2 MiB were cut into
// 32 chunks for as many channels side by side: 31 times the chunks, for a worse result.
TEST(ShippedClaims, FewerNicsThanGpusNeedNoMoreChunks) {
  const auto ran = [](const std::string& rails) {
    const TempPath path("four-nics.yaml");
    std::ofstream(path.string()) << four_nics(rails);
    return run(path.string(), sample("chat-200.csv"), 60, 10);
  };
  const RunSummary one = ran("  rails: 1\n").summary;
  const RunSummary all = ran("  rails: all\n").summary;
  const RunSummary chosen = ran("").summary;
  EXPECT_LE(all.scheduler.chunks_posted, one.scheduler.chunks_posted * 11 / 10);
  EXPECT_LE(chosen.scheduler.chunks_posted, one.scheduler.chunks_posted * 11 / 10);
  EXPECT_LE(chosen.exposed_ns.percentile(0.99), one.exposed_ns.percentile(0.99) * 1.1);
}

// At 0.1 requests/s no prompt waits for pages; ten times that is more than the decode side holds.
TEST(ShippedClaims, TenTimesTheRateCollapses) {
  EXPECT_LT(longest_exposed_ms(run("rate-collapse", sample("random-20k-200.csv"))), 100);
  const auto collapsed = run("rate-collapse", sample("random-20k-200.csv"), {}, 10);
  EXPECT_GT(collapsed.summary.memory_ns.most(), 20 * s_ns);
  EXPECT_LT(longest_exposed_ms(collapsed), 100);
  EXPECT_EQ(collapsed.summary.limits.at(0).limit, Limit::decode_memory);
}

// Four prefill nodes at 8 x 989 TFLOPS x 0.45: the last of 50 rounds of 0.17 s ends after 8.7 s.
TEST(ShippedClaims, TheBurstWaitsForPrefillNotForTheWire) {
  const cli::ReplayResult result = run("burst-200x4k", sample("burst-200x4k.csv"));
  EXPECT_EQ(result.summary.requests.completed, 200u);
  EXPECT_EQ(result.summary.delivered_bytes, Bytes{200} * 4096 * 327'680);
  EXPECT_LT(longest_exposed_ms(result), 1);
  EXPECT_NEAR(static_cast<double>(result.summary.duration_ns) / 1e9, 8.7, 0.1);
}

}  // namespace
}  // namespace kvhaul::test
