// kvhaul scenario as a user meets it: show, check and diff.
#include <sstream>

#include <nlohmann/json.hpp>

#include "tests/cli/program.h"

namespace kvhaul::test {
namespace {

using Json = nlohmann::json;

class ScenarioCommand : public ProgramTest {};

TEST_F(ScenarioCommand, ShowPrintsTheTextOfAFile) {
  const std::string shipped = text_of(source("scenarios/pcie-pair.yaml"));
  EXPECT_EQ(run({"scenario", "show", "pcie-pair"}).out, shipped);
  write("mine.yaml", shipped);
  EXPECT_EQ(run({"scenario", "show", "mine.yaml"}).out, shipped);
  const Json json = Json::parse(run({"scenario", "show", "mine.yaml", "--json"}).out);
  EXPECT_EQ(json["schema"], 1);
  EXPECT_EQ(json["scenario"], "pcie-pair");
  EXPECT_EQ(json["file"], "mine.yaml");
  EXPECT_EQ(json["text"], shipped);
}

TEST_F(ScenarioCommand, ShowResolvedIsTheSameScenario) {
  const Ran shown = run({"scenario", "show", "pcie-pair", "--resolved"});
  EXPECT_EQ(shown.code, 0) << shown.err;
  EXPECT_NE(shown.out.find("\n  stall_timeout: 10 s\n"), std::string::npos) << "a default";
  write("all.yaml", shown.out);
  EXPECT_EQ(run({"scenario", "diff", "pcie-pair", "all.yaml"}).out, "no difference\n");
  EXPECT_EQ(run({"scenario", "show", "all.yaml", "--resolved"}).out, shown.out);
  const Json json = Json::parse(run({"scenario", "show", "pcie-pair", "--resolved", "--json"}).out);
  std::size_t seen = 0;
  for (const Json& value : json["values"]) {
    const std::string path = value["path"];
    if (path == "cluster.node_types.box.gpus.memory") {
      ++seen;
      EXPECT_EQ(value,
                Json({{"path", path}, {"value", "80 GB"}, {"number", 80e9}, {"unit", "bytes"}}));
    } else if (path == "serving.chunk_tokens") {
      ++seen;
      EXPECT_EQ(value, Json({{"path", path}, {"value", "8192"}}));
    } else if (path == "cluster.node_types.box.registration_rate") {
      ++seen;
      EXPECT_TRUE(value["value"].is_null());
    }
  }
  EXPECT_EQ(seen, 3u);
}

TEST_F(ScenarioCommand, ShowWithOtherValues) {
  const Ran ran = run({"scenario", "show", "pcie-pair", "--set", "serving.chunk_tokens=512"});
  EXPECT_EQ(ran.code, 0);
  write("mine.yaml", ran.out);
  EXPECT_EQ(run({"scenario", "diff", "pcie-pair", "mine.yaml"}).out,
            "                      pcie-pair  mine.yaml\n"
            "serving.chunk_tokens       8192        512\n\n1 difference\n");
}

TEST_F(ScenarioCommand, CheckSaysWhatItIs) {
  // Two nodes of eight GPUs and eight NICs; one instance of eight GPUs on each.
  const Ran ran = run({"scenario", "check", "dgx-h100-pair", "pcie-pair"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.err, "");
  EXPECT_NE(ran.out.find("dgx-h100-pair is fine\n  2 nodes, 16 GPUs, 16 NICs; "
                         "llama-3.1-70b; prefill 1 instance of 8 GPUs, decode"),
            std::string::npos)
      << ran.out;
  EXPECT_NE(ran.out.find("pcie-pair is fine\n  1 node, 2 GPUs, 0 NICs; llama-3.1-8b; "
                         "prefill 1 instance of 1 GPU, decode 1\n"),
            std::string::npos)
      << ran.out;
  // One GPU to another over host memory: one channel.
  const Json json = Json::parse(run({"scenario", "check", "pcie-pair", "--json"}).out);
  const Json& one = json["files"][0];
  EXPECT_EQ(one["fine"], true);
  EXPECT_EQ(one["gpus"], 2);
  EXPECT_EQ(one["channels"], 1);
  EXPECT_EQ(one["fallback_channels"], 0);
  EXPECT_EQ(one["prefill"]["kv_memory_per_gpu_bytes"], 50'000'000'000);
  EXPECT_EQ(run({"scenario", "check", "pcie-pair", "-q"}).out, "");
  write("mine.yaml", text_of(source("scenarios/pcie-pair.yaml")));
  EXPECT_TRUE(
      run({"scenario", "check", "mine.yaml"}).out.starts_with("mine.yaml is fine: pcie-pair\n"));
}

TEST_F(ScenarioCommand, CheckNamesFileLineExpectedAndFound) {
  std::string text = text_of(source("scenarios/pcie-pair.yaml"));
  const std::size_t at = text.find("memory: 80 GB");
  ASSERT_NE(at, std::string::npos);
  const auto line = std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
  text.replace(at, 13, "memory: 80");
  write("bad.yaml", text);
  const std::string error = "kvhaul: bad.yaml:" + std::to_string(line + 1) +
                            ": 'memory': expected a size with its unit, such as '64 KiB' or '80 "
                            "GB', found '80'";
  EXPECT_EQ(refused(2, {"scenario", "check", "bad.yaml"}), error);
  // The others are checked all the same, and JSON has it, too.
  const Ran ran = run({"scenario", "check", "--json", "bad.yaml", "pcie-pair", "none.yaml"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 2) << ran.err;
  const Json json = Json::parse(ran.out);
  EXPECT_EQ(json["files"][0]["fine"], false);
  EXPECT_EQ("kvhaul: " + json["files"][0]["error"].get<std::string>(), error);
  EXPECT_EQ(json["files"][1]["fine"], true);
  EXPECT_EQ(json["files"][2]["fine"], false);
  // What only the scheduler refuses is found before a run, too.
  EXPECT_EQ(
      run({"scenario", "check", "pcie-pair", "--set", "scheduler.quarantine=9 s", "--set",
           "scheduler.quarantine_max=1 s"})
          .code,
      run({"replay", source("traces/samples/chat-200.csv"), "-q", "-n", "1", "-s", "pcie-pair",
           "--set", "scheduler.quarantine=9 s", "--set", "scheduler.quarantine_max=1 s"})
          .code);
}

TEST_F(ScenarioCommand, DiffOfTwoThatShip) {
  const Ran ran = run({"scenario", "diff", "fat-tree-ecmp", "fat-tree-adaptive"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.out,
            "                        fat-tree-ecmp  fat-tree-adaptive\n"
            "cluster.fabric.routing           ecmp           adaptive\n\n1 difference\n");
  const Json json =
      Json::parse(run({"scenario", "diff", "--json", "fat-tree-ecmp", "fat-tree-adaptive"}).out);
  EXPECT_EQ(json["first"], Json({{"scenario", "fat-tree-ecmp"}, {"file", "fat-tree-ecmp.yaml"}}));
  EXPECT_EQ(json["differences"],
            Json::array({Json(
                {{"path", "cluster.fabric.routing"}, {"first", "ecmp"}, {"second", "adaptive"}})}));
  EXPECT_EQ(Json::parse(run({"scenario", "diff", "--json", "laptop", "laptop"}).out)["differences"],
            Json::array());
}

/// A list of sixteen GPUs has lines of its own, and the table stays narrow.
TEST_F(ScenarioCommand, DiffOfLongValues) {
  const Ran ran = run({"scenario", "diff", "dgx-h100-su", "dgx-h100-pair"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_NE(ran.out.find("serving.prefill.nodes\n"
                         "  dgx-h100-su: [node0, node1, node2, node3, node4, node5, node6, node7, "
                         "node8,\n    node9, node10, node11, node12, node13, node14, node15]\n"
                         "  dgx-h100-pair: [node0]\n"),
            std::string::npos)
      << ran.out;
  std::istringstream lines(ran.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
}

TEST_F(ScenarioCommand, Usage) {
  EXPECT_EQ(run({"scenario"}).code, 2);
  EXPECT_EQ(run({"scenario", "--help"}).code, 0);
  EXPECT_NE(refused(2, {"scenario", "dif"}).find("did you mean 'diff'?"), std::string::npos);
  EXPECT_EQ(refused(2, {"scenario", "show"}),
            "kvhaul: kvhaul scenario show: expected a name or a file; see 'kvhaul scenario show "
            "--help'");
  EXPECT_EQ(refused(2, {"scenario", "check"}),
            "kvhaul: kvhaul scenario check: expected a file; see 'kvhaul scenario check --help'");
  EXPECT_EQ(refused(2, {"scenario", "diff", "laptop"}),
            "kvhaul: kvhaul scenario diff: expected two scenarios; see 'kvhaul scenario diff "
            "--help'");
  EXPECT_NE(refused(2, {"scenario", "show", "labtop"}).find("did you mean 'laptop'?"),
            std::string::npos);
}

}  // namespace
}  // namespace kvhaul::test
