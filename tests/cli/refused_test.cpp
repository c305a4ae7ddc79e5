// What cannot be right: numbers that no option and no key of a scenario can mean, memory that is
// not there, runs in which nothing was done. Each is refused in one line, or said with its figures.
#include <regex>

#include <nlohmann/json.hpp>

#include "cli/replay_run.h"
#include "tests/cli/program.h"

namespace kvhaul::test {
namespace {

using Arguments = std::vector<std::string>;

/// Two nodes of one GPU and one NIC, 80 GB each; `prefill` and `decode` are the blocks of the
/// sides.
std::string two_nodes(const std::string& prefill, const std::string& decode,
                      const std::string& model = "llama-3.1-8b") {
  return "name: two-nodes\n"
         "cluster:\n"
         "  node_types:\n"
         "    box:\n"
         "      hosts: {memory_rate: 200 GB/s, memory: 1 TiB}\n"
         "      gpus: {count: 1, memory: 80 GB, host_link: {rate: 50 GB/s}}\n"
         "      nics: {count: 1, pcie: {rate: 50 GB/s}, wire: {rate: 40 GB/s}}\n"
         "  nodes:\n"
         "    - {type: box, count: 2}\n"
         "routes:\n"
         "  order: [rdma]\n"
         "model: " +
         model +
         "\n"
         "serving:\n"
         "  slo: {ttft: 1 s}\n"
         "  prefill: {nodes: [node0], timing: {gpu: h100}, " +
         prefill +
         "}\n"
         "  decode: {nodes: [node1], timing: {gpu: h100}, " +
         decode + "}\n";
}

class Refused : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    write("trace.csv",
          "# kvhaul trace 1, block 0 tokens\narrival_s,input_tokens,output_tokens,prefix_blocks\n"
          "0.0,1000,2000,\n0.5,1000,2000,\n");
    write("s.yaml", two_nodes("kv_memory: 20 GB", "kv_memory: 20 GB"));
  }
};

// ---- Numbers ----------------------------------------------------------------------------------

/// Every option that takes a number, with values that it cannot have. Beside its own, each is given
/// those that no option can.
TEST_F(Refused, NumbersThatAnOptionCannotMean) {
  struct Option {
    Arguments command;
    const char* name;
    std::vector<const char*> values;
  };
  const Arguments replay = {"replay", "trace.csv", "-s", "s.yaml"};
  const Arguments calibrate = {"calibrate", "-s", "s.yaml"};
  const Arguments generate = {"trace", "generate", "new.csv"};
  const Arguments route = {"route", "node0/gpu0", "node1/gpu0", "-s", "s.yaml"};
  const Arguments sweep = {
      "sweep", "-t", "trace.csv", "-s", "s.yaml", "--set", "serving.max_batch=1,2", "-o", "points"};
  const Option options[] = {
      {route,
       "--size",
       {"0", "0 B", "0B", "1", "1.5", "0.4 B", "9e18 B", "2000 TiB", "1 GB/s", "1 s"}},
      {replay, "--limit", {"0", "1.5", "1e3"}},
      {replay, "--speedup", {"0", "1e-7", "1e10", "1 s"}},
      {replay, "--seed", {"1.5", "1e3"}},
      {replay, "--lost-after", {"0", "1", "1e9"}},
      {replay, "--join-within", {"0", "1e9"}},
      {replay, "--service-level", {"16", "1.5"}},
      {replay, "--traffic-class", {"256"}},
      {calibrate, "--repeats", {"0", "1001", "1.5"}},
      {calibrate, "--segment", {"0", "0 B", "1 KiB", "1", "65 GiB", "9e18 B"}},
      {{"trace", "cut", "trace.csv", "new.csv"}, "--from", {"1", "1 B", "1e30 s"}},
      {{"trace", "cut", "trace.csv", "new.csv"}, "--to", {"0", "0 s", "1", "1e30 s"}},
      {{"trace", "cut", "trace.csv", "new.csv"}, "--limit", {"0", "1.5"}},
      {{"trace", "scale", "trace.csv", "new.csv"}, "--speedup", {"0", "1e-7", "1e10"}},
      {generate, "--requests", {"0", "1.5", "9e18"}},
      {generate, "--rate", {"0", "1e-7", "1e10"}},
      {generate, "--cv", {"0", "0.01", "51"}},
      {generate, "--batch", {"0", "1000001", "1.5"}},
      {generate, "--seed", {"1.5"}},
      {generate, "--shared", {"1.1"}},
      {generate, "--shared-tokens", {"0", "15", "1000001"}},
      {generate,
       "--input",
       {"0", "fixed:0", "fixed:-1", "fixed:nan", "fixed:1e300", "uniform:5:1", "uniform:0:5",
        "lognormal:0:1:5", "lognormal:5:-1:9", "lognormal:5:1:0"}},
      {generate, "--output", {"0", "fixed:", "uniform:1", "uniform:9:1", "lognormal:1:1"}},
      {sweep, "--jobs", {"0", "4097", "1.5"}},
      {{"hold", "socket"}, "--device", {"1024", "1.5"}},
  };
  for (const Option& option : options) {
    std::vector<const char*> values = option.values;
    for (const char* never : {"", "-1", "nan", "1e999", "one", "\xff"}) values.push_back(never);
    for (const char* value : values) {
      Arguments arguments = option.command;
      arguments.push_back(std::string(option.name) + "=" + value);
      SCOPED_TRACE(arguments[0] + " " + arguments.back());
      refused(2, arguments);
    }
  }
  EXPECT_FALSE(exists("new.csv") || exists("runs"));
}

TEST_F(Refused, SizesAtTheEndsOfTheRangeAreTaken) {
  for (const char* size : {"1 B", "1024 TiB", "0.5 KiB", "1B"})
    EXPECT_EQ(run({"route", "node0/gpu0", "node1/gpu0", "-s", "s.yaml", "--size", size}).code, 0);
}

/// Every number of a scenario, in place of which each of these stands once: it is refused in one
/// line with the file and the line, or it means something and the run ends.
TEST_F(Refused, NumbersThatAScenarioCannotMean) {
  const std::string whole =
      "name: all\n"
      "cluster:\n"
      "  node_types:\n"
      "    box:\n"
      "      hosts: {count: @2@, memory_rate: @200 GB/s@, memory: @1 TiB@, memory_write_rate: @90 "
      "GB/s@}\n"
      "      socket: {rate: @20 GB/s@, latency: @100 ns@}\n"
      "      pcie_switches: {count: @2@, uplink: {rate: @50 GB/s@, latency: @100 ns@}}\n"
      "      gpus: {count: @2@, memory: @80 GB@, host_link: {out: @50 GB/s@, in: @50 GB/s@, both: "
      "@60 GB/s@}, "
      "nvlink: {rate: @300 GB/s@, read_incast: @0.8@}}\n"
      "      nics: {count: @2@, pcie: {rate: @50 GB/s@}, wire: {rate: @40 GB/s@, latency: @1 "
      "us@}}\n"
      "      registration_rate: @10 GB/s@\n"
      "  nodes:\n"
      "    - {type: box, count: @2@}\n"
      "  fabric: {nodes_per_leaf: @1@, spines: @2@, links_per_spine: @1@, spine_rate: @40 GB/s@, "
      "leaf_latency: @300 ns@, spine_latency: @300 ns@}\n"
      "routes:\n"
      "  order: [rdma, rdma_staged]\n"
      "  rails: @1@\n"
      "  ecmp_seed: @1@\n"
      "  rdma: {fixed_cost: @1 us@, post_cost: @1 us@, half_bandwidth: @1 KB@, queues: @1@, "
      "max_in_flight: @16@, max_chunk: @1 MiB@, max_pieces: @16@, pack: {fixed_cost: @1 us@, rate: "
      "@900 GB/s@, stretch: @1.1@, piece_half_bandwidth: @64 B@}, after_idle: {20 ms: @60 us@}}\n"
      "model: {name: own, layers: @4@, query_heads: @8@, kv_heads: @4@, head_dim: @64@, "
      "element_bytes: "
      "@2@, active_parameters: @1e9@, total_parameters: @2e9@, context_tokens: @9000@, "
      "window_tokens: "
      "@128@, global_every: @2@}\n"
      "serving:\n"
      "  chunk_tokens: @512@\n"
      "  max_batch: @8@\n"
      "  slo: {ttft: @1 s@, itl: @50 ms@}\n"
      "  engine: {per_unit: @1 us@}\n"
      "  prefill: {nodes: [node0], tp: @1@, pp: @1@, page_tokens: @16@, weights: @4 GB@, "
      "kv_memory: "
      "@20 GB@, contiguity: {runs: @2@}, timing: {gpu: h100, gpus: @1@, mfu: @0.5@, mbu: @0.6@, "
      "prefill_start: @5 ms@, step_start: @3 ms@}}\n"
      "  decode: {nodes: [node1], kv_memory: @20 GB@, timing: {gpu: {flops: @500 TFLOPS@, "
      "memory_rate: @3 TB/s@}}}\n"
      "scheduler: {seed: @1@, ageing: @1 s@, default_slack: @1 ms@, chunk: @1 MiB@, chunk_floor: "
      "@64 "
      "KiB@, chunks_per_transfer: @4@, chunk_time: @1 ms@, channel_window: @1 ms@, link_window: @1 "
      "ms@, rate_time_constant: @1 ms@, credit: @64 MiB@, timeout_floor: @1 s@, timeout_factor: "
      "@4@, "
      "max_attempts: @4@, quarantine_errors: @3@, quarantine: @1 s@, quarantine_max: @10 s@, "
      "stall_timeout: @5 s@}\n";
  const char* values[] = {"0",   "-1",    "nan",    "1e300",  "0 B",      "9e18 B",
                          "0 s", "1e6 s", "0 GB/s", "1 MB/s", "1e15 B/s", "4294967296",
                          "''",  "0.5",   "[]",     "1 B/s",  "-1 s",     "1e30 B"};
  std::vector<std::size_t> marks;
  for (std::size_t at = whole.find('@'); at != std::string::npos; at = whole.find('@', at + 1))
    marks.push_back(at);
  ASSERT_EQ(marks.size() % 2, 0u);
  // The scenario with the text between two marks replaced, and without marks.
  const auto with = [&](std::size_t number, const std::string& value) {
    std::string text = whole;
    if (number < marks.size() / 2)
      text.replace(marks[2 * number] + 1, marks[2 * number + 1] - marks[2 * number] - 1, value);
    std::erase(text, '@');
    return text;
  };
  write("whole.yaml", with(~std::size_t{0}, ""));
  const Ran sound = run({"replay", "trace.csv", "-s", "whole.yaml", "-o", "whole"});
  ASSERT_EQ(sound.code, 0) << sound.err;
  ASSERT_GT(marks.size() / 2, 85u);
  std::size_t refused = 0, taken = 0;
  for (std::size_t number = 0; number < marks.size() / 2; ++number)
    for (const char* value : values) {
      const std::string text = with(number, value);
      const std::size_t before = std::min<std::size_t>(marks[2 * number], 24);
      SCOPED_TRACE(whole.substr(marks[2 * number] - before, before) + " <- " + value);
      cli::ReplayRequest request;
      request.trace = (folder() / "trace.csv").string();
      request.scenario = (folder() / "s.yaml").string();
      request.out = (folder() / "run").string();
      request.force = true;
      write("s.yaml", text);
      const auto result = cli::run_replay(request);
      if (result) {  // it may have lost everything, and says so
        ++taken;
        continue;
      }
      ++refused;
      const std::string& message = result.error().message;
      EXPECT_EQ(result.error().kind, ErrorKind::bad_input) << message;
      EXPECT_TRUE(message.starts_with(request.scenario)) << message;
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    }
  EXPECT_GT(refused, 1000u);
  EXPECT_GT(taken, 50u);
}

// ---- Memory -----------------------------------------------------------------------------------

// Llama-3.1-8B: 8.03 billion parameters x 2 bytes = 16.06 GB; with 64 GB of KV 80.06 of 80 GB.
TEST_F(Refused, WeightsAndKvBeyondAGpuAreSaidInAllPlaces) {
  write("s.yaml", two_nodes("kv_memory: 64 GB", "kv_memory: 63 GB"));
  const Ran ran = run({"replay", "trace.csv", "-s", "s.yaml", "-o", "run"});
  EXPECT_EQ(ran.code, 0);
  const std::string said =
      "more than fits into node0/gpu0 of 80 GB memory: prefill's weights 16.06 GB (estimated: 8.03 "
      "billion parameters x 2 bytes / 1 GPU) and kv_memory 64 GB are together 80.06 GB";
  EXPECT_EQ(ran.err, "kvhaul: note: " + said + "\n");
  EXPECT_NE(ran.out.find("\nnote        more than fits into node0/gpu0 of 80 GB memory:"),
            std::string::npos)
      << ran.out;
  const auto summary = nlohmann::json::parse(text("run/summary.json"));
  EXPECT_EQ(summary["warnings"], nlohmann::json({said}));
  EXPECT_NE(text("run/report.html").find("Warning: " + said + "."), std::string::npos);
  ASSERT_EQ(run({"report", "run", "-o", "again.html"}).code, 0);
  EXPECT_NE(text("again.html").find("Warning: " + said + "."), std::string::npos);
  EXPECT_EQ(run({"replay", "trace.csv", "-s", "s.yaml", "-o", "quiet", "-q"}).err, "");
}

TEST_F(Refused, AGpuThatPrefillAndDecodeShareIsSaid) {
  std::string shared = two_nodes("kv_memory: 20 GB", "kv_memory: 20 GB");
  shared.replace(shared.find("[rdma]"), 6, "[handoff]");
  shared.replace(shared.find("[node1]"), 7, "[node0]");
  write("s.yaml", shared);
  const Ran ran = run({"replay", "trace.csv", "-s", "s.yaml", "-o", "run"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.err,
            "kvhaul: note: prefill and decode share node0/gpu0: each takes its time as if it had "
            "the GPU to itself\n");
}

TEST_F(Refused, GivenWeightsMustFit) {
  const auto error = [&](const std::string& prefill, const std::string& decode, bool shared) {
    std::string text = two_nodes(prefill, decode);
    if (shared) {
      text.replace(text.find("[rdma]"), 6, "[handoff]");
      text.replace(text.find("[node1]"), 7, "[node0]");
    }
    write("s.yaml", text);
    const Ran ran = run({"replay", "trace.csv", "-s", "s.yaml", "-o", "run", "--force"});
    EXPECT_EQ(ran.code, ran.err.empty() ? 0 : 2) << ran.err;
    return ran.err;
  };
  EXPECT_EQ(error("kv_memory: 50 GB, weights: 30 GB", "kv_memory: 50 GB, weights: 16 GB", false),
            "");
  EXPECT_EQ(error("kv_memory: 50 GB, weights: 31 GB", "kv_memory: 50 GB, weights: 16 GB", false),
            "kvhaul: s.yaml:15: 'weights': expected weights and KV that fit, but node0/gpu0 has 80 "
            "GB; prefill's weights 31 GB and kv_memory 50 GB are together 81 GB\n");
  EXPECT_EQ(error("kv_memory: 50 GB, weights: 16 GB", "kv_memory: 79 GB, weights: 2 GB", false),
            "kvhaul: s.yaml:16: 'weights': expected weights and KV that fit, but node1/gpu0 has 80 "
            "GB; decode's weights 2 GB and kv_memory 79 GB are together 81 GB\n");
  // On one GPU each side has weights of its own, and what only the other states counts, too.
  EXPECT_EQ(error("kv_memory: 24 GB, weights: 16 GB", "kv_memory: 25 GB, weights: 16 GB", true),
            "kvhaul: s.yaml:15: 'weights': expected weights and KV that fit, but node0/gpu0 has 80 "
            "GB; prefill's weights 16 GB and kv_memory 24 GB and decode's weights 16 GB and "
            "kv_memory 25 GB are together 81 GB\n");
  EXPECT_EQ(error("kv_memory: 30 GB", "kv_memory: 35 GB, weights: 16 GB", true),
            "kvhaul: s.yaml:16: 'weights': expected weights and KV that fit, but node0/gpu0 has 80 "
            "GB; prefill's kv_memory 30 GB and decode's weights 16 GB and kv_memory 35 GB are "
            "together 81 GB\n");
  // None: as where host memory stands for GPUs.
  EXPECT_EQ(error("kv_memory: 80 GB, weights: 0 B", "kv_memory: 80 GB, weights: 0 B", false), "");
}

// ---- Nothing to show ----------------------------------------------------------------------------

// Decode has 80 MB for prompts of 1000 and outputs of 2000 tokens, 393 MB: nothing fits.
TEST_F(Refused, ARunInWhichNothingFits) {
  write("tight.yaml", two_nodes("kv_memory: 20 GB", "kv_memory: 80 MB"));
  const Ran ran = run({"replay", "trace.csv", "-s", "tight.yaml", "-o", "none"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_TRUE(
      ran.err.starts_with("kvhaul: no request was completed: 2 are too large for the KV "
                          "memory of an instance"))
      << ran.err;
  EXPECT_NE(ran.out.find("time to first token      -"), std::string::npos) << ran.out;
  const auto summary = nlohmann::json::parse(text("none/summary.json"));
  for (const char* group :
       {"ttft_ms", "queue_ms", "prefill_ms", "exposed_transfer_ms", "itl_ms", "e2e_ms"})
    for (const char* figure : {"mean", "p50", "p90", "p99", "max"})
      EXPECT_TRUE(summary[group].at(figure).is_null()) << group << "." << figure;
  EXPECT_TRUE(summary["transfers"]["time_ms"]["p50"].is_null());
  EXPECT_TRUE(summary["slo_attainment"].is_null());
  EXPECT_NE(text("none/report.html").find("No request was completed"), std::string::npos);
  EXPECT_EQ(run({"report", "none", "-o", "none.html"}).code, 0);

  // Beside a run that has figures, from both sides.
  ASSERT_EQ(run({"replay", "trace.csv", "-s", "s.yaml", "-o", "some"}).code, 0);
  for (const Arguments& pair : {Arguments{"some", "none"}, Arguments{"none", "some"}}) {
    const Ran compared = run({"compare", pair[0], pair[1], "--csv", pair[0] + "-first.csv",
                              "--report", pair[0] + "-first.html"});
    EXPECT_EQ(compared.code, 0) << compared.err;
    EXPECT_NE(compared.out.find("in one of the two no request was completed"), std::string::npos)
        << compared.out;
    EXPECT_EQ(run({"compare", pair[0], pair[1], "--json"}).code, 0);
    EXPECT_NE(text(pair[0] + "-first.html").find("no request completed"), std::string::npos);
  }
  EXPECT_NE(text("none-first.csv").find("\nttft_ms.p50,,"), std::string::npos)
      << text("none-first.csv");
}

TEST_F(Refused, APointOfASweepInWhichNothingFits) {
  const Ran ran = run({"sweep", "-t", "trace.csv", "-s", "s.yaml", "--set",
                       "serving.decode.kv_memory=80 MB,20 GB", "-o", "points"});
  EXPECT_EQ(ran.code, 1);
  const std::string csv = text("points/sweep.csv");
  EXPECT_TRUE(std::regex_search(csv, std::regex("\n0,80 MB,incomplete,,,,+0,,2,"))) << csv;
  EXPECT_NE(csv.find("\n1,20 GB,ok,"), std::string::npos) << csv;
  EXPECT_EQ(ran.out.find(" 0 "), std::string::npos) << ran.out;
}

// Without output tokens nothing is replayed; a trace without requests is none.
TEST_F(Refused, ATraceInWhichNothingCanBeReplayed) {
  write("trace.csv",
        "# kvhaul trace 1, block 0 tokens\narrival_s,input_tokens,output_tokens,prefix_blocks\n"
        "0.0,1000,0,\n");
  const Ran ran = run({"replay", "trace.csv", "-s", "s.yaml", "-o", "run"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.err, "kvhaul: no request was completed: 1 have no output in the trace\n");
}

TEST_F(Refused, BytesFromABackendThatMovesTimeOnly) {
  EXPECT_TRUE(
      refused(2, {"replay", "trace.csv", "-s", "s.yaml", "-b", "simgrid", "--payload", "real"})
          .starts_with("kvhaul: --payload real: backend simgrid moves time only"));
  EXPECT_FALSE(exists("runs"));
}

// ---- scripts/run --------------------------------------------------------------------------------

// A copy of the script in a folder whose tools only talk: what they say is not the program's
// output.
TEST_F(Refused, WhatBuildingSaysIsNotTheOutputOfTheProgram) {
  namespace fs = std::filesystem;
  const auto program = [&](const std::string& name, const std::string& lines) {
    fs::create_directories((folder() / name).parent_path());
    write(name, "#!/bin/sh\n" + lines);
    fs::permissions(folder() / name, fs::perms::owner_all);
  };
  program("project/scripts/install-packages", "echo all packages are there\n");
  program("project/build/release/kvhaul", "echo the program: \"$@\"\nexit 3\n");
  program("tools/cmake", "echo ninja: no work to do.\n");
  fs::copy_file(source("scripts/run"), folder() / "project/scripts/run");
  const Ran ran = finish(
      start("/usr/bin/env", {"PATH=" + (folder() / "tools").string() + ":" + std::getenv("PATH"),
                             (folder() / "project/scripts/run").string(), "route", "a", "b"}));
  EXPECT_EQ(ran.code, 3);
  EXPECT_EQ(ran.out, "the program: route a b\n");
  EXPECT_NE(ran.err.find("ninja: no work to do."), std::string::npos) << ran.err;
}

}  // namespace
}  // namespace kvhaul::test
