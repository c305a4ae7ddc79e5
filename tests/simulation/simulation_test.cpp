// Deterministic simulation: a few hundred worlds in the test run, any number with the program
// `simulation`. And the test of the test: planted bugs must be found.
#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/simulation/world.h"

namespace kvhaul::simulation {
namespace {

TEST(Simulation, InvariantsHoldInEveryWorld) {
  std::uint64_t delivered = 0, resent = 0, credit_messages = 0, cancelled = 0, late = 0;
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    const World world = draw_world(seed);
    const Verdict verdict = simulate(world);
    ASSERT_TRUE(verdict.ok) << "seed " << seed << ": " << verdict.what << "\n  " << world.describe()
                            << "\n  again: build/release/tests/simulation --seed " << seed;
    delivered += verdict.delivered;
    resent += verdict.resent;
    cancelled += verdict.cancelled;
    late += verdict.late_delivered;
    credit_messages += verdict.credit_messages;
  }
  // The worlds are not empty ones.
  EXPECT_GT(delivered, 1000u);
  EXPECT_GT(resent, 100u);
  EXPECT_GT(cancelled, 100u);
  EXPECT_GT(late, 1000u);
  EXPECT_GT(credit_messages, 100u);
}

TEST(Simulation, OneSeedIsOneRun) {
  const Verdict a = simulate(draw_world(5));
  const Verdict b = simulate(draw_world(5));
  EXPECT_EQ(a.end_ns, b.end_ns);
  EXPECT_EQ(a.chunks, b.chunks);
}

/// The seed at which a planted bug is found, or 0 within a thousand.
std::uint64_t found_at(PlantedBug bug, const std::vector<std::string>& words) {
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    const Verdict verdict = simulate(draw_world(seed), bug);
    if (verdict.ok) continue;
    EXPECT_TRUE(std::any_of(words.begin(), words.end(), [&](const std::string& w) {
      return verdict.what.find(w) != std::string::npos;
    })) << verdict.what;
    return seed;
  }
  return 0;
}

TEST(PlantedBugs, ALostCompletionThatIsIgnoredIsFound) {
  EXPECT_NE(found_at(PlantedBug::ignores_lost_completions, {"outlived its timeout"}), 0u);
}

TEST(PlantedBugs, ASecondPostAfterARetryIsFound) {
  EXPECT_NE(found_at(PlantedBug::posts_twice_after_a_retry, {"more", "bytes landed twice"}), 0u);
}

TEST(PlantedBugs, AStarvedLowClassIsFound) {
  EXPECT_NE(found_at(PlantedBug::starves_low_class, {"before a more urgent one"}), 0u);
}

}  // namespace
}  // namespace kvhaul::simulation
