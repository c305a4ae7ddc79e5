// Fault files that can do nothing, and faults that met nothing.
#include <nlohmann/json.hpp>

#include "tests/cli/program.h"

namespace kvhaul::test {
namespace {

class FaultsCommand : public ProgramTest {
 protected:
  std::vector<std::string> replay(const std::string& faults) {
    write("f.yaml", "faults:\n" + faults);
    return {"replay",   source("traces/samples/chat-200.csv"),
            "-n",       "20",
            "-s",       "dgx-h100-pair",
            "--faults", "f.yaml",
            "-o",       "run",
            "--force"};
  }
};

TEST_F(FaultsCommand, ThatCannotHappenAreRefused) {
  EXPECT_EQ(refused(2, replay("  - {kind: lose, probability: 0.1}\n"
                              "  - {kind: down, where: node1/nic3/tx}\n")),
            "kvhaul: f.yaml:3: 'where': expected something that KV of this run crosses, found "
            "'node1/nic3/tx'; 'kvhaul route --all' shows which links lie between two places");
  const std::string late = refused(2, replay("  - {kind: lose, from: 10000 s}\n"));
  EXPECT_TRUE(
      late.starts_with("kvhaul: f.yaml:2: 'from': expected a time while the run lasts, "
                       "found 2 h 46 min; all of the trace is over by "))
      << late;
  EXPECT_FALSE(exists("run"));
}

TEST_F(FaultsCommand, ThatMetNothingAreSaid) {
  const Ran ran =
      run(replay("  - {kind: lose, probability: 0.01, where: node0/nic1}\n"
                 "  - {kind: lose, from: 60 s}\n"));
  EXPECT_EQ(ran.code, 0) << ran.err;
  const auto summary = nlohmann::json::parse(text("run/summary.json"));
  ASSERT_EQ(summary["warnings"].size(), 1u) << summary["warnings"];
  const std::string warning = summary["warnings"][0];
  EXPECT_TRUE(warning.starts_with("f.yaml:3: this fault met no traffic: ")) << warning;
  EXPECT_NE(ran.out.find("f.yaml:3: this fault met no traffic"), std::string::npos) << ran.out;
  EXPECT_NE(text("run/report.html").find("this fault met no traffic"), std::string::npos);
}

/// A link that is down turns traffic away: that nothing was posted to it is its effect.
TEST_F(FaultsCommand, ADownLinkMeetsWhatGoesElsewhere) {
  const Ran ran = run(replay("  - {kind: down, where: node0/nic1}\n"));
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(nlohmann::json::parse(text("run/summary.json"))["warnings"].size(), 0u);
}

/// When each began and ended, what it hit, that one never began: in summary.json and so in --json,
/// on the terminal, in the report, in compare and in sweep.
TEST_F(FaultsCommand, WhatEachDidIsSaidEverywhere) {
  const std::string faults =
      "  - {kind: fail, probability: 0.01, until: 1 s}\n"
      "  - {kind: degrade, where: node0/nic1/tx, from: 1 s, factor: 0.5}\n"
      "  - {kind: down, where: node0/nic2, from: 500 ms, until: 600 ms, every: 1 s}\n"
      "  - {kind: down, where: node0/nic5, from: 40 s}\n"
      "  - {kind: lose, from: 39 s}\n";
  const Ran ran = run(replay(faults));
  EXPECT_EQ(ran.code, 0) << ran.err;
  const auto summary = nlohmann::json::parse(text("run/summary.json"));
  const auto& said = summary["faults"];
  ASSERT_EQ(said.size(), 5u);
  const double duration_s = summary["duration_s"];
  EXPECT_EQ(said[0]["line"], 2);
  EXPECT_EQ(said[0]["began_s"], 0.0);
  EXPECT_EQ(said[0]["ended_s"], 1.0);
  // Without losses or outages on the way each chunk that failed is sent again.
  EXPECT_GT(said[0]["chunks"], 0);
  EXPECT_EQ(said[1]["began_s"], 1.0);
  EXPECT_TRUE(said[1]["ended_s"].is_null()) << "it held to the end";
  EXPECT_GT(said[1]["chunks"], 100);
  EXPECT_EQ(said[2]["times"], 1 + static_cast<int>(duration_s - 0.5));
  EXPECT_EQ(said[3]["times"], 0);
  EXPECT_TRUE(said[3]["began_s"].is_null());
  EXPECT_EQ(said[3]["chunks"], 0);
  const std::string never = said[3]["sentence"];
  EXPECT_TRUE(never.starts_with("node0/nic5: down, from 40 s on: never began, the run ended at "))
      << never;
  EXPECT_NE(ran.out.find("\nfaults      everywhere: chunks fail, "), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("node0/nic5: down, from 40 s on: never began"), std::string::npos)
      << ran.out;
  EXPECT_NE(text("run/report.html").find("never began, the run ended at"), std::string::npos);

  const Ran compared = run({"compare", "run", "run"});
  EXPECT_NE(compared.out.find("\nfaults\nA  everywhere: chunks fail"), std::string::npos)
      << compared.out;
  const Ran json = run({"compare", "run", "run", "--json"});
  EXPECT_EQ(nlohmann::json::parse(json.out)["runs"][1]["faults"], said);

  const Ran swept =
      run({"sweep", source("traces/samples/chat-200.csv"), "-n", "20", "-s", "dgx-h100-pair",
           "--faults", "f.yaml", "-o", "swept", "--set", "@policy=least_finish,round_robin"});
  EXPECT_EQ(swept.code, 0) << swept.err;
  EXPECT_NE(swept.out.find("\nfaults at point 0"), std::string::npos) << swept.out;
  EXPECT_NE(text("swept/sweep.csv").find(never.substr(0, never.find(" at "))), std::string::npos);
}

}  // namespace
}  // namespace kvhaul::test
