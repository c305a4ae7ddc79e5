// Percentiles against a sorted list.
#include "core/histogram.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "core/random.h"

namespace kvhaul {
namespace {

TEST(Histogram, Empty) {
  const Histogram h;
  EXPECT_EQ(h.count(), 0u);
  EXPECT_EQ(h.mean(), 0);
  EXPECT_EQ(h.percentile(0.5), 0);
  EXPECT_EQ(h.least(), 0);
  EXPECT_EQ(h.most(), 0);
}

TEST(Histogram, OneValueIsEveryPercentile) {
  for (const std::int64_t value : {0ll, 1ll, 255ll, 256ll, 257ll, 123'456'789ll}) {
    Histogram h;
    h.add(value);
    for (const double share : {0.0, 0.5, 0.99, 1.0})
      EXPECT_EQ(h.percentile(share), static_cast<double>(value)) << value;
    EXPECT_EQ(h.least(), value);
    EXPECT_EQ(h.most(), value);
    EXPECT_EQ(h.mean(), static_cast<double>(value));
  }
}

TEST(Histogram, AShareAboveOneIsTheLargest) {
  Histogram h;
  for (const std::int64_t value : {3, 1000}) h.add(value);
  EXPECT_EQ(h.percentile(1.5), 1000);
  EXPECT_EQ(h.percentile(2), 1000);
}

// 1000 to 1003 are one bucket: rank = share x 3, each value a quarter of its width.
TEST(Histogram, LinearInsideABucket) {
  Histogram four;
  for (const std::int64_t value : {1003, 1001, 1000, 1002}) four.add(value);
  for (int rank = 0; rank < 4; ++rank) EXPECT_DOUBLE_EQ(four.percentile(rank / 3.0), 1000 + rank);
  // Two of a bucket are at its beginning and its middle; one alone stands for its middle.
  Histogram three;
  for (const std::int64_t value : {1000, 1003, 100'000}) three.add(value);
  EXPECT_EQ(three.percentile(0), 1000);
  EXPECT_EQ(three.percentile(0.5), 1002);
  Histogram two;
  for (const std::int64_t value : {1001, 100'000}) two.add(value);
  EXPECT_EQ(two.percentile(0), 1002);
}

// 255 is the last value with a bucket of its own; 256 and 257 share one.
TEST(Histogram, ExactBelow256) {
  Histogram exact;
  for (const std::int64_t value : {200, 200, 200, 255, 255, 255, 300}) exact.add(value);
  for (int rank = 0; rank < 6; ++rank)
    EXPECT_EQ(exact.percentile(rank / 6.0), rank < 3 ? 200 : 255) << rank;
  Histogram shared;
  for (const std::int64_t value : {256, 256, 257, 257}) shared.add(value);
  EXPECT_DOUBLE_EQ(shared.percentile(1.0 / 3), 256.5);
  EXPECT_EQ(shared.percentile(1), 257);
}

// 0 to 255, each once: rank = share x 255, below 256 without error.
TEST(Histogram, ExactForSmallValues) {
  Histogram h;
  for (int value = 255; value >= 0; --value) h.add(value);
  EXPECT_EQ(h.percentile(0), 0);
  EXPECT_EQ(h.percentile(0.2), 51);
  EXPECT_EQ(h.percentile(1), 255);
  EXPECT_EQ(h.count(), 256u);
  EXPECT_EQ(h.mean(), 127.5);
  EXPECT_EQ(h.sum(), 255.0 * 128);
}

TEST(Histogram, NegativeCountsAsZero) {
  Histogram h;
  h.add(-5);
  h.add(10);
  EXPECT_EQ(h.least(), 0);
  EXPECT_EQ(h.most(), 10);
  EXPECT_EQ(h.sum(), 10);
}

TEST(Histogram, LargestValue) {
  constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max();
  Histogram h;
  h.add(largest);
  EXPECT_EQ(h.percentile(1), static_cast<double>(largest));
  h.add(1);
  EXPECT_EQ(h.most(), largest);
  EXPECT_NEAR(h.percentile(1) / static_cast<double>(largest), 1, 1.0 / 128);
}

/// Off by less than the width of a bucket, 1/128 of the value, and never outside of what was added.
TEST(Histogram, PercentilesOfRandomValues) {
  Random random(9);
  for (int round = 0; round < 20; ++round) {
    Histogram h;
    std::vector<std::int64_t> values;
    const std::uint64_t size = random.between(1, 2000);
    for (std::uint64_t i = 0; i < size; ++i) {
      values.push_back(static_cast<std::int64_t>(random.below(1ull << random.between(1, 50))));
      h.add(values.back());
    }
    std::sort(values.begin(), values.end());
    for (const double share : {0.0, 0.1, 0.5, 0.9, 0.99, 1.0}) {
      const auto rank = static_cast<std::size_t>(share * static_cast<double>(size - 1));
      const auto exact = static_cast<double>(values[rank]);
      EXPECT_LE(std::abs(h.percentile(share) - exact), exact / 128) << share << " of " << size;
      EXPECT_GE(h.percentile(share), static_cast<double>(h.least()));
      EXPECT_LE(h.percentile(share), static_cast<double>(h.most()));
    }
    EXPECT_EQ(h.least(), values.front());
    EXPECT_EQ(h.most(), values.back());
  }
}

}  // namespace
}  // namespace kvhaul
