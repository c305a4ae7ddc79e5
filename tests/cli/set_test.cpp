// --set PATH=VALUE: other values in a scenario for one command, in the words of a sweep.
#include <regex>

#include "tests/cli/program.h"

namespace kvhaul::test {
namespace {

namespace fs = std::filesystem;

class SetOption : public ProgramTest {
 protected:
  static std::vector<std::string> replay(const std::string& scenario, const std::string& out,
                                         const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {
        "replay", source("traces/samples/chat-200.csv"), "-n", "10", "-q", "-s", scenario, "-o",
        out};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  void expect_same_run(const std::string& first, const std::string& second) {
    for (const char* file : {"/summary.json", "/requests.csv", "/transfers.csv", "/links.csv"})
      EXPECT_EQ(text(first + file), text(second + file)) << file;
  }
  /// The block of run.yaml that holds the scenario, as a file of its own.
  std::string scenario_of(const std::string& out) {
    const std::string yaml = text(out + "/run.yaml");
    const std::string begin = "\nscenario: |\n";
    std::string block = yaml.substr(yaml.find(begin) + begin.size());
    return std::regex_replace(block, std::regex("(^|\n)  "), "$1");
  }
};

TEST_F(SetOption, IsTheFileWithThatValue) {
  std::string scenario = text_of(source("scenarios/pcie-pair.yaml"));
  ASSERT_EQ(scenario.find("\nscheduler:"), std::string::npos);
  const std::size_t at = scenario.find("chunk_tokens: 8192");
  ASSERT_NE(at, std::string::npos);
  scenario.replace(at, 18, "chunk_tokens: 512");
  write("mine.yaml", scenario + "scheduler: {chunk: 1 MiB}\n");
  ASSERT_EQ(run(replay("mine.yaml", "file", {})).code, 0);
  ASSERT_EQ(run(replay("pcie-pair", "set",
                       {"--set", "serving.chunk_tokens=512", "--set", "scheduler.chunk=1 MiB"}))
                .code,
            0);
  expect_same_run("file", "set");
  ASSERT_EQ(run(replay("pcie-pair", "plain", {})).code, 0);
  EXPECT_NE(text("plain/transfers.csv"), text("set/transfers.csv"));
}

TEST_F(SetOption, TheRunDirectoryHoldsTheScenarioThatRan) {
  ASSERT_EQ(run(replay("pcie-pair", "set", {"--set", "serving.chunk_tokens=512"})).code, 0);
  write("again.yaml", scenario_of("set"));
  ASSERT_EQ(run(replay("again.yaml", "again", {})).code, 0);
  expect_same_run("set", "again");
  // A report that is written anew reads the scenario there, too.
  EXPECT_EQ(run({"report", "set"}).code, 0);
}

TEST_F(SetOption, IsThePointOfASweep) {
  ASSERT_EQ(run({"sweep", source("traces/samples/chat-200.csv"), "-n", "10", "-q", "-s",
                 "pcie-pair", "-o", "sweep", "--set", "serving.chunk_tokens=512"})
                .code,
            0);
  ASSERT_EQ(run(replay("pcie-pair", "set", {"--set", "serving.chunk_tokens=512"})).code, 0);
  expect_same_run("sweep/000-chunk_tokens=512", "set");
}

/// A profile is named by its path from the scenario's folder, and stays so in run.yaml.
TEST_F(SetOption, ProfilesAreStillBesideTheScenario) {
  fs::create_directories(folder() / "mine");
  fs::copy(source("serving/profiles/splitwise.csv"), folder() / "mine/p.csv");
  write("mine/s.yaml",
        std::regex_replace(text_of(source("scenarios/pcie-pair.yaml")),
                           std::regex("timing: \\{[^}]*\\}"),
                           "timing: {profile: p.csv, format: splitwise, model: demo-7b, "
                           "gpu: demo-gpu, tp: 1}"));
  const Ran ran = run(replay("mine/s.yaml", "run", {"--set", "serving.chunk_tokens=512"}));
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_NE(text("run/run.yaml").find("profile: p.csv"), std::string::npos);
  EXPECT_EQ(run({"report", "run"}).code, 0);
}

TEST_F(SetOption, WhatIsWrongIsSaidAsInASweep) {
  const auto says = [&](const std::string& set) {
    const std::string error = refused(2, replay("pcie-pair", "out", {"--set", set}));
    EXPECT_FALSE(exists("out"));
    return error;
  };
  for (const char* set :
       {"routes.pcie_staged.quues=1", "cluser.nodes.0.count=1", "scheduler.chnk=1 MiB",
        "cluster.node_types.bax.gpus.count=1", "cluster.nodes.7.count=1", "model.layers=1",
        "scheduler.chunk=4", "serving.prefill.timing.mfu=}"})
    EXPECT_EQ(says(set), refused(2, {"sweep", source("traces/samples/chat-200.csv"), "-s",
                                     "pcie-pair", "-o", "out", "--set", set}));
  EXPECT_EQ(says("scheduler.chunk=4"),
            "kvhaul: --set scheduler.chunk=4: 'chunk': expected a size with its unit, such as '64 "
            "KiB' or '80 GB', found '4'");
  EXPECT_EQ(says("no"), "kvhaul: --set: expected PATH=VALUE, found 'no'");
  EXPECT_EQ(says("=1"), "kvhaul: --set: expected PATH=VALUE, found '=1'");
  EXPECT_EQ(says("scheduler.chunk="),
            "kvhaul: --set scheduler.chunk: expected a value, found "
            "nothing");
  EXPECT_EQ(says("@policy=round_robin"),
            "kvhaul: --set @policy: only 'kvhaul sweep' sweeps over options; expected a path into "
            "the scenario, or the option --policy itself");
  EXPECT_EQ(refused(2, replay("pcie-pair", "out",
                              {"--set", "scheduler.seed=1", "--set", "scheduler.seed=2"})),
            "kvhaul: --set scheduler.seed: expected each key once, found it twice");
  EXPECT_EQ(says("scheduler.seed=1\n---\n2"),
            "kvhaul: --set scheduler.seed=1?---?2: expected a value as it would stand in a "
            "scenario");
}

/// A block and then a value in it; the other way round the value would be lost.
TEST_F(SetOption, ValuesInABlockThatIsSetFollowIt) {
  const std::vector<std::string> block = {"--set", "scheduler={seed: 1}"},
                                 value = {"--set", "scheduler.chunk=1 MiB"};
  const auto both = [](std::vector<std::string> one, const std::vector<std::string>& other) {
    one.insert(one.end(), other.begin(), other.end());
    return one;
  };
  ASSERT_EQ(run(replay("pcie-pair", "both", both(block, value))).code, 0);
  ASSERT_EQ(run(replay("pcie-pair", "whole", {"--set", "scheduler={seed: 1, chunk: 1 MiB}"})).code,
            0);
  expect_same_run("both", "whole");
  EXPECT_EQ(refused(2, replay("pcie-pair", "out", both(value, block))),
            "kvhaul: --set scheduler={seed: 1}: takes away what --set scheduler.chunk has set; "
            "expected it in front of that");
}

TEST_F(SetOption, RouteTakesItToo) {
  const Ran one = run({"route", "node0/gpu0", "node1/gpu0", "--all", "--set",
                       "cluster.node_types.dgx_h100.nics.count=1"});
  EXPECT_EQ(one.code, 0) << one.err;
  EXPECT_NE(one.out.find("rdma node0/nic0 node1/nic0"), std::string::npos);
  EXPECT_EQ(one.out.find("nic1"), std::string::npos) << "there is only one";
  EXPECT_EQ(refused(2, {"route", "node0/gpu0", "node1/gpu0", "--set", "model=llama"}),
            refused(2, replay("dgx-h100-pair", "out", {"--set", "model=llama"})));
}

}  // namespace
}  // namespace kvhaul::test
