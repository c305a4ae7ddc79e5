#include <gtest/gtest.h>

#include "tests/traces/trace_testing.h"
#include "tests/validation/rows.h"

namespace kvhaul::test {
namespace {

const std::vector<Row>& rows() {
  static const std::vector<Row> all = validation_rows();
  return all;
}

TEST(Validation, ThePageIsWhatTheProgramPrints) {
  EXPECT_TRUE(file_text((source_dir() / "docs/validation.md").string()) == validation_page(rows()))
      << "run: build/release/tests/validation > docs/validation.md";
}

/// One engine cost for all nine sizes.
TEST(Validation, MooncakeWithinSevenPercentAtEverySize) {
  int sizes = 0;
  for (const Row& row : rows()) {
    if (!row.group.starts_with("vLLM + Mooncake")) continue;
    ++sizes;
    EXPECT_LE(std::abs(row.error()), 0.07) << row.what;
  }
  EXPECT_EQ(sizes, 9);
}

TEST(Validation, AllToAllWithinTenPercent) {
  int found = 0;
  for (const Row& row : rows()) {
    if (row.group != "NCCL all-to-all") continue;
    ++found;
    EXPECT_LE(std::abs(row.error()), 0.10) << row.what;
  }
  EXPECT_EQ(found, 6);
}

/// Eight to one at 400 Gb/s: 8 x 378,470,400 B / 50 GB/s = 60.56 ms.
TEST(Validation, IncastIsSeen) {
  for (const Row& row : rows())
    if (row.what.starts_with("8 flows to one host")) {
      EXPECT_NEAR(row.simulated, 60.6, 0.03 * 60.6);
    }
}

}  // namespace
}  // namespace kvhaul::test
