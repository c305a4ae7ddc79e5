#include "core/checksum.h"

#include <vector>

#include <gtest/gtest.h>

namespace kvhaul {
namespace {

std::vector<std::byte> pattern(std::size_t size, std::uint64_t seed) {
  std::vector<std::byte> bytes(size);
  fill_pattern(bytes, seed);
  return bytes;
}

TEST(Checksum, PartsAddUpToTheWhole) {
  const auto bytes = pattern(1003, 7);
  const std::span<const std::byte> all(bytes);
  // Cut at a word: 37 x 8 = 296.
  EXPECT_EQ(checksum(all), checksum(all.first(296)) + checksum(all.subspan(296), 37));
}

TEST(Checksum, SeesEveryFlippedBit) {
  auto bytes = pattern(83, 7);  // with a tail of 3 bytes
  const std::uint64_t before = checksum(bytes);
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_NE(checksum(bytes), before) << "bit " << bit;
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

TEST(Checksum, SeesWordsThatChangedPlaces) {
  auto bytes = pattern(64, 7);
  const std::uint64_t before = checksum(bytes);
  std::swap_ranges(bytes.begin(), bytes.begin() + 8, bytes.begin() + 16);
  EXPECT_NE(checksum(bytes), before);
}

TEST(Checksum, EqualWordsDoNotCancelOut) {
  const std::vector<std::byte> zeros(64), fewer(56);
  EXPECT_NE(checksum(zeros), checksum(fewer));
}

TEST(Pattern, DependsOnSeedAndPositionOnly) {
  EXPECT_EQ(pattern(100, 1), pattern(100, 1));
  EXPECT_NE(pattern(100, 1), pattern(100, 2));
  const auto longer = pattern(200, 1);
  EXPECT_TRUE(std::equal(longer.begin(), longer.begin() + 96, pattern(100, 1).begin()));
}

}  // namespace
}  // namespace kvhaul
