// What instances did: shares of time by hand, and sums over whole runs against those of their
// requests.
#include "results/instance_meter.h"

#include <fstream>

#include <gtest/gtest.h>

#include "cli/replay_run.h"
#include "results/run_directory.h"
#include "results/run_rows.h"
#include "tests/serving/replay_testing.h"
#include "tests/support/own_folder.h"
#include "tests/traces/trace_testing.h"

namespace kvhaul::test {
namespace {

Scenario parsed(const Setting& setting) {
  auto scenario = parse_scenario(scenario_text(setting), "scenario.yaml");
  EXPECT_TRUE(scenario) << scenario.error().message;
  return std::move(*scenario);
}

// An instance has 4 MiB for pages of 4 layers x 2 KiB: 512 pages.
class InstanceMeterTest : public ::testing::Test {
 protected:
  void prefill(TimeNs from_ms, TimeNs to_ms, std::uint32_t tokens) {
    meter.prefill_step({0, tokens, from_ms * ms_ns, to_ms * ms_ns});
  }
  void decode(TimeNs from_ms, TimeNs to_ms, std::uint32_t sequences) {
    meter.decode_step({0, sequences, from_ms * ms_ns, to_ms * ms_ns});
  }
  void state(InstanceRole role, TimeNs at_ms, std::uint32_t pages, std::uint32_t waiting) {
    meter.changed({role, 0, pages, waiting, at_ms * ms_ns});
  }
  Scenario scenario = parsed({});
  InstanceMeter meter{scenario.cluster, scenario.serving};
};

// Of 10 ms: 2 + 1 ms of prefill, 0.3; 150 tokens in 10 ms, 15,000 a second. Pages: 128 for 2 ms and
// 256 for 4 ms, 1,280 of 512 x 10. One request waits for 2 ms.
TEST_F(InstanceMeterTest, Prefill) {
  prefill(0, 2, 100);
  prefill(3, 4, 50);
  state(InstanceRole::prefill, 0, 128, 7);
  state(InstanceRole::prefill, 0, 128, 1);  // what lasts no time is no peak
  state(InstanceRole::prefill, 2, 256, 0);
  state(InstanceRole::prefill, 6, 0, 0);
  EXPECT_EQ(meter.last_ns(), 6 * ms_ns);
  const auto uses = meter.uses(10 * ms_ns);
  ASSERT_EQ(uses.instances.size(), 2u);
  const InstanceUse& use = uses.instances[0];
  EXPECT_EQ(use.role, InstanceRole::prefill);
  EXPECT_EQ(use.nodes, "node0");
  EXPECT_DOUBLE_EQ(use.mean.utilisation, 0.3);
  EXPECT_DOUBLE_EQ(use.mean.tokens_per_s, 15'000);
  EXPECT_DOUBLE_EQ(use.mean.kv_fill, 0.25);
  EXPECT_DOUBLE_EQ(use.mean.queue, 0.2);
  EXPECT_DOUBLE_EQ(use.kv_fill_max, 0.5);
  EXPECT_EQ(use.queue_max, 1u);
  EXPECT_DOUBLE_EQ(uses.prefill.mean.utilisation, 0.3);
  EXPECT_EQ(uses.prefill.gpus, 1u);
  // By millisecond: 100 tokens in the first two.
  ASSERT_EQ(use.bins.size(), 10u);
  EXPECT_DOUBLE_EQ(use.bins[1].utilisation, 1);
  EXPECT_DOUBLE_EQ(use.bins[1].tokens_per_s, 50'000);
  EXPECT_DOUBLE_EQ(use.bins[1].queue, 1);
  EXPECT_DOUBLE_EQ(use.bins[2].utilisation, 0);
  EXPECT_DOUBLE_EQ(use.bins[2].kv_fill, 0.5);
  EXPECT_DOUBLE_EQ(use.bins[9].kv_fill, 0);
}

// Steps of 2 sequences for 2 ms and of 4 for 4 ms: 6 of 10 ms, (4 + 16) / 6 sequences in a step, 6
// tokens in 10 ms. What it has last, 256 pages from 5 ms on, it has to the end.
TEST_F(InstanceMeterTest, Decode) {
  decode(2, 4, 2);
  decode(6, 10, 4);
  state(InstanceRole::decode, 5, 256, 3);
  const auto uses = meter.uses(10 * ms_ns);
  const InstanceUse& use = uses.instances[1];
  EXPECT_EQ(use.role, InstanceRole::decode);
  EXPECT_DOUBLE_EQ(use.mean.utilisation, 0.6);
  EXPECT_DOUBLE_EQ(use.mean.batch, 20.0 / 6);
  EXPECT_EQ(use.batch_max, 4u);
  EXPECT_DOUBLE_EQ(use.mean.tokens_per_s, 600);
  EXPECT_DOUBLE_EQ(use.mean.kv_fill, 0.25);
  EXPECT_DOUBLE_EQ(use.mean.queue, 1.5);
  EXPECT_EQ(use.queue_max, 3u);
  EXPECT_DOUBLE_EQ(use.bins[0].batch, 0);
  EXPECT_DOUBLE_EQ(use.bins[3].batch, 2);
  EXPECT_DOUBLE_EQ(uses.decode.mean.batch, 20.0 / 6);
}

// Two stages, each of which computes for 2 of 10 ms.
TEST(InstanceMeterStages, AreAveraged) {
  Setting setting;
  setting.prefill = "{gpus: [node0/gpu0, node0/gpu1], pp: 2, kv_memory: 4 MiB, %}";
  const Scenario scenario = parsed(setting);
  InstanceMeter meter{scenario.cluster, scenario.serving};
  meter.prefill_step({0, 0, 0, 2 * ms_ns});
  meter.prefill_step({0, 60, 2 * ms_ns, 4 * ms_ns});
  const auto uses = meter.uses(10 * ms_ns);
  EXPECT_DOUBLE_EQ(uses.instances[0].mean.utilisation, 0.2);
  EXPECT_DOUBLE_EQ(uses.instances[0].mean.tokens_per_s, 6000);
  EXPECT_EQ(uses.prefill.gpus, 2u);
  EXPECT_EQ(uses.decode.gpus, 1u);
}

// 3 ms of every 10 in steps of 5 sequences, for 500.5 ms: bins of 4 ms, the last one of half a
// millisecond.
TEST_F(InstanceMeterTest, BinsGetWiderInLongRuns) {
  for (TimeNs at = 0; at < 500; at += 10) decode(at, at + 3, 5);
  const auto uses = meter.uses(500 * ms_ns + ms_ns / 2);
  EXPECT_EQ(uses.bin_ns, 4 * ms_ns);
  for (const InstanceUse& use : uses.instances) EXPECT_EQ(use.bins.size(), 126u);
  const InstanceUse& use = uses.instances[1];
  EXPECT_DOUBLE_EQ(use.mean.utilisation, 150 / 500.5);
  EXPECT_DOUBLE_EQ(use.bins[0].utilisation, 3.0 / 4);
  EXPECT_DOUBLE_EQ(use.bins[125].utilisation, 0);
  EXPECT_DOUBLE_EQ(use.mean.batch, 5);
}

/// A run of a built-in scenario, and what its files say.
class InstancesOfRuns : public ::testing::Test {
 protected:
  void replay(const std::string& scenario, std::vector<cli::ScenarioSetting> settings = {},
              const std::string& faults = {}) {
    cli::ReplayRequest request;
    request.trace = sample("chat-200.csv");
    request.scenario = scenario;
    request.settings = std::move(settings);
    request.limit = limit;
    request.out = (folder.path() / "run").string();
    if (!faults.empty()) {
      request.faults = (folder.path() / "faults.yaml").string();
      std::ofstream(*request.faults) << "faults:\n" + faults;
    }
    auto result = cli::run_replay(request);
    ASSERT_TRUE(result) << result.error().message;
    s = std::move(result->summary);
    end_ns = static_cast<double>(s.uses.end_ns);
    auto read = read_run_directory(request.out);
    ASSERT_TRUE(read) << read.error().message;
    run = std::move(*read);
    ASSERT_EQ(run.instances.size(), s.uses.instances.size());
  }

  /// Nothing is used more than it can be, and the rows of the file give the totals.
  void check_rows() {
    std::vector<double> utilisation(run.instances.size()), kv_fill(run.instances.size());
    const auto rows = read_instance_rows(run, [&](const InstanceRecord& r) {
      const double share = static_cast<double>(r.to_ns - r.from_ns) / end_ns;
      EXPECT_LE(r.utilisation, 1 + 1e-9);
      EXPECT_LE(r.kv_fill, 1 + 1e-9);
      utilisation[r.place] += r.utilisation * share;
      kv_fill[r.place] += r.kv_fill * share;
    });
    ASSERT_TRUE(rows) << rows.error().message;
    for (std::size_t i = 0; i < run.instances.size(); ++i) {
      EXPECT_NEAR(utilisation[i], run.instances[i].utilisation, 1e-5);
      EXPECT_NEAR(kv_fill[i], run.instances[i].kv_fill, 1e-5);
      EXPECT_LE(run.instances[i].kv_fill_max, 1);
    }
  }

  /// Sums over time of a run without failures against those over its requests: each nanosecond of
  /// waiting is one request more in the queue.
  void check_sums(bool memory_is_short, bool pipelined) {
    double queue_ns = 0, prefill_ns = 0, landed_ns = 0, decode_ns = 0;
    std::vector<double> prefilled(run.instances.size());
    const auto read = read_request_rows(run, [&](const RequestRecord& r) {
      if (!r.served) return;  // too large
      EXPECT_TRUE(r.completed);
      queue_ns += static_cast<double>(r.queue_ns);
      prefill_ns += static_cast<double>(r.prefill_ns);
      landed_ns += static_cast<double>(r.step_ns + r.seat_ns);
      decode_ns += static_cast<double>(r.e2e_ns - r.ttft_ns());
      ++prefilled.at(r.prefill_instance);
    });
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_GT(decode_ns, 0);
    const auto near = [](double a, double b) { EXPECT_NEAR(a, b, 1e-9 * (1 + std::abs(b))); };
    const RoleUse &prefill = s.uses.prefill, &decode = s.uses.decode;
    near(prefill.mean.queue * end_ns, queue_ns);
    if (memory_is_short)
      EXPECT_GT(decode.mean.queue * end_ns, 10 * landed_ns);
    else
      near(decode.mean.queue * end_ns, landed_ns);
    double stepping = 0, computing = 0;
    for (std::size_t i = 0; i < s.uses.instances.size(); ++i) {
      const InstanceUse& use = s.uses.instances[i];
      (use.role == InstanceRole::prefill ? computing : stepping) += use.mean.utilisation * end_ns;
      if (use.role == InstanceRole::prefill) {
        EXPECT_EQ(static_cast<double>(use.requests), prefilled[i]);
      }
    }
    near(decode.mean.batch * stepping, decode_ns);
    if (pipelined)
      EXPECT_LT(computing, prefill_ns);  // a chunk is in one stage at a time
    else
      near(computing, prefill_ns);
    near(decode.mean.tokens_per_s * end_ns * 1e-9,
         static_cast<double>(s.output_tokens - s.requests.completed));
    near(prefill.mean.tokens_per_s * end_ns * 1e-9,
         static_cast<double>(s.requests.input_tokens - s.requests.cached_tokens));
  }

  OwnFolder folder;
  std::optional<std::uint64_t> limit;  // of requests
  RunSummary s;
  RunDirectory run;
  double end_ns = 0;
};

TEST_F(InstancesOfRuns, OneOfEach) {
  replay("dgx-h100-pair");
  check_rows();
  check_sums(false, false);
}

TEST_F(InstancesOfRuns, Several) {
  replay("incast-8to1");
  EXPECT_EQ(run.instances.size(), 9u);
  check_rows();
  check_sums(false, false);
}

TEST_F(InstancesOfRuns, WithoutMemory) {
  replay("dgx-h100-pair", {{"serving.decode.kv_memory", "500 MiB"}});
  check_rows();
  check_sums(true, false);
  EXPECT_GT(run.instances[1].kv_fill_max, 0.9);
}

TEST_F(InstancesOfRuns, PrefillInStages) {
  limit = 40;
  replay("dgx-h100-pair", {{"serving.prefill.tp", "4"}, {"serving.prefill.pp", "2"}});
  check_rows();
  check_sums(false, true);
}

/// What is computed again counts again, and pages of what was lost come back.
TEST_F(InstancesOfRuns, WithLostKv) {
  replay("dgx-h100-pair", {}, "  - {kind: corrupt, probability: 1, from: 5 s, until: 7 s}\n");
  EXPECT_GT(s.requests.retries, 0u);
  check_rows();
  const auto read = read_instance_rows(run, [&](const InstanceRecord& r) {
    if (static_cast<double>(r.to_ns) == end_ns) {
      EXPECT_LT(r.kv_fill, 0.01);
    }
  });
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_NEAR(s.uses.prefill.mean.tokens_per_s * end_ns * 1e-9,
              static_cast<double>(s.requests.input_tokens - s.requests.cached_tokens), 1);
}

}  // namespace
}  // namespace kvhaul::test
