// Children of a sweep: here they are this test program, told by the environment what to do.
#include "cli/child_runs.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string_view>

#include <gtest/gtest.h>

namespace kvhaul::cli {
namespace {

constexpr const char* task = "KVHAUL_TEST_CHILD";

/// What the children run. By itself it does nothing.
TEST(AsAChild, DoesWhatTheEnvironmentSays) {
  const char* asked = std::getenv(task);
  if (asked == nullptr) return;
  if (std::string_view(asked) == "crash") raise(SIGKILL);
  if (std::string_view(asked) == "speak") {
    std::fputs("first line\nkvhaul: the last line\n", stderr);
    std::exit(3);
  }
  for (const char* of_mpi : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK"})
    if (std::getenv(of_mpi) != nullptr) std::exit(1);
  std::exit(std::getenv("KVHAUL_TEST_KEPT") != nullptr ? 0 : 1);
}

class ChildRuns : public ::testing::Test {
 protected:
  void TearDown() override {
    for (const char* name : {task, "OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "KVHAUL_TEST_KEPT"})
      unsetenv(name);
  }
  static std::map<std::size_t, ChildEnd> ends(const char* what, std::size_t count,
                                              std::size_t jobs) {
    setenv(task, what, 1);
    std::map<std::size_t, ChildEnd> all;
    const auto ran = run_children(
        count, jobs, [](std::size_t) { return Arguments{"--gtest_filter=AsAChild.*"}; },
        [&](std::size_t number, const ChildEnd& end) { all.emplace(number, end); });
    EXPECT_TRUE(ran) << ran.error().message;
    return all;
  }
};

TEST_F(ChildRuns, EachIsToldOfOnceHoweverManyAtATime) {
  for (const std::size_t jobs : {1u, 2u, 9u}) {
    const auto all = ends("speak", 7, jobs);
    EXPECT_EQ(all.size(), 7u);
    for (const auto& [number, end] : all) {
      EXPECT_EQ(end.code, 3);
      EXPECT_EQ(end.signal, 0);
      EXPECT_EQ(end.errors, "the last line");
    }
  }
}

TEST_F(ChildRuns, ACrashIsNoExitCode) {
  const auto all = ends("crash", 1, 1);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all.at(0).signal, SIGKILL);
}

TEST_F(ChildRuns, TheyKnowNothingOfMpi) {
  setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
  setenv("PMIX_RANK", "1", 1);
  setenv("KVHAUL_TEST_KEPT", "1", 1);
  const auto all = ends("look", 1, 1);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all.at(0).code, 0);
}

}  // namespace
}  // namespace kvhaul::cli
