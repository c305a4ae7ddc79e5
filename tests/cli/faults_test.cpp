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

}  // namespace
}  // namespace kvhaul::test
