// A sweep under mpirun: the same bytes as without, whatever the number of ranks.
#include "tests/cli/program.h"

namespace kvhaul::test {
namespace {

class SweepUnderMpi : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
#ifndef KVHAUL_MPIRUN
    GTEST_SKIP() << "built without Open MPI";
#endif
  }

  /// Through mpirun with that many ranks, or by itself with none.
  Ran sweep([[maybe_unused]] int ranks, const std::string& out,
            const std::vector<std::string>& more) {
    std::vector<std::string> arguments;
#ifdef KVHAUL_MPIRUN
    if (ranks > 0)
      arguments = {"--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np",
                   std::to_string(ranks), KVHAUL_PROGRAM};
#endif
    const std::vector<std::string> all = {
        "sweep", source("traces/samples/chat-200.csv"), "-n", "10", "-o", out};
    arguments.insert(arguments.end(), all.begin(), all.end());
    arguments.insert(arguments.end(), more.begin(), more.end());
#ifdef KVHAUL_MPIRUN
    if (ranks > 0) return finish(start(KVHAUL_MPIRUN, arguments));
#endif
    return run(arguments);
  }
};

TEST_F(SweepUnderMpi, TheSameBytesAsWithout) {
  // Half of the points are bad input: only one of the scenarios has this NIC.
  write("f.yaml", "faults:\n  - {kind: down, where: node0/nic0}\n");
  const std::vector<std::string> grid = {"--set",    "@scenario=pcie-pair,dgx-h100-pair",
                                         "--set",    "scheduler.chunk=1 MiB,2 MiB,4 MiB",
                                         "--faults", "f.yaml"};
  const Ran alone = sweep(0, "out", grid);
  EXPECT_EQ(alone.code, 1);
  const std::string table = text("out/sweep.csv");
  EXPECT_NE(table.find("\n5,dgx-h100-pair,4 MiB,ok,"), std::string::npos) << table;
  // More ranks than points, too: some have nothing to do.
  for (const int ranks : {2, 7}) {
    std::filesystem::remove_all(folder() / "out");
    const Ran spread = sweep(ranks, "out", grid);
    EXPECT_EQ(spread.code, 1) << spread.err;
    EXPECT_EQ(spread.out, alone.out) << ranks;
    EXPECT_EQ(text("out/sweep.csv"), table) << ranks;
    EXPECT_NE(spread.err.find("kvhaul: 3 of 6 points did not end well"), std::string::npos);
  }
}

TEST_F(SweepUnderMpi, WhatIsWrongIsSaidOnce) {
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"@polcy=least_finish", "did you mean '@policy'?"},
      {"scheduler.chnk=1 MiB", "did you mean 'chunk'?"},
  };
  for (const auto& [set, error] : wrong) {
    const Ran ran = sweep(2, "out", {"-s", "pcie-pair", "--set", set});
    EXPECT_EQ(ran.code, 2) << ran.err;
    EXPECT_EQ(ran.out, "");
    const std::size_t first = ran.err.find("kvhaul: ");
    ASSERT_NE(first, std::string::npos) << ran.err;
    EXPECT_NE(ran.err.find(error), std::string::npos) << ran.err;
    EXPECT_EQ(ran.err.find("kvhaul: ", first + 1), std::string::npos) << ran.err;
    EXPECT_FALSE(exists("out"));
  }
}

}  // namespace
}  // namespace kvhaul::test
