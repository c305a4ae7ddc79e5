// What schedulers decide in drawn worlds is written down: a change that moves a decision shows
// here, also one that breaks no invariant. One that was meant replaces the file, and its commit
// says why.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "tests/simulation/world.h"

namespace kvhaul::simulation {
namespace {

/// A line per world: its seed and the checksum of its event log.
TEST(Decisions, AreTheOnesThatAreWrittenDown) {
  const auto tests = std::filesystem::path(__FILE__).parent_path().parent_path();
  std::ifstream file(tests / "simulation/decisions.txt");
  ASSERT_TRUE(file.is_open());
  std::string line;
  std::size_t count = 0, moved = 0;
  std::string first;
  for (; std::getline(file, line); ++count) {
    const std::uint64_t seed = std::stoull(line);
    char text[48];
    std::snprintf(text, sizeof text, "%llu %016llx", static_cast<unsigned long long>(seed),
                  static_cast<unsigned long long>(simulate(draw_world(seed)).log_checksum));
    if (line == text) continue;
    ++moved;
    if (first.empty()) first = draw_world(seed).describe();
  }
  EXPECT_GE(count, 100u);
  EXPECT_EQ(moved, 0u) << "of " << count << " worlds decide otherwise; the first: " << first
                       << "\nif that was meant: build/release/tests/simulation --decisions "
                       << count << " > tests/simulation/decisions.txt";
}

}  // namespace
}  // namespace kvhaul::simulation
