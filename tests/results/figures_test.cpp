// The list of figures: no two are the same anywhere, and what was not measured is null.
#include "results/figures.h"

#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "results/run_files.h"

namespace kvhaul {
namespace {

using Json = nlohmann::json;

/// Of a run in which nothing happened.
Json empty_summary() { return Json::parse(summary_json(RunSummary(), Cluster())); }

TEST(Figures, KeysPlacesAndNamesAreThereOnce) {
  std::set<std::string> keys, columns, rows;
  std::set<int> compared, swept;
  for (const Figure& figure : figures()) {
    EXPECT_TRUE(keys.insert(figure.key).second) << figure.key;
    EXPECT_EQ(std::string(figure.help).find('|'), std::string::npos) << figure.key;
    if (figure.compared != 0) {
      EXPECT_TRUE(compared.insert(figure.compared).second) << figure.key;
    }
    for (const SweepColumn& column : figure.swept) {
      EXPECT_TRUE(columns.insert(column.name).second) << column.name;
      EXPECT_TRUE(swept.insert(column.place).second) << column.name;
    }
  }
  for (const ComparedFigure& row : compared_figures())
    EXPECT_TRUE(rows.insert(row.name).second) << row.name;
  EXPECT_GT(keys.size(), 50u);
  EXPECT_GT(rows.size(), 20u);
}

TEST(Figures, OfNothingAreNullAndNotZero) {
  const Json json = empty_summary();
  EXPECT_TRUE(json["ttft_ms"]["p50"].is_null());
  EXPECT_TRUE(json["exposed_transfer_share_of_ttft"].is_null());
  EXPECT_TRUE(json["transfers"]["gbytes_per_s_while_busy"].is_null());
  EXPECT_EQ(json["requests"]["completed"], 0);
  EXPECT_FALSE(json.contains("slo_attainment"));
}

TEST(Figures, ValuesAreShownInTheUnitsOfTables) {
  EXPECT_EQ(value_text(Unit::share, 0.975, 4), "97.5%");
  EXPECT_EQ(value_text(Unit::bytes, 2.5e9, 4), "2.5 GB");
  EXPECT_EQ(value_text(Unit::requests_per_s, 4.75, 4), "4.75 requests/s");
  EXPECT_EQ(value_text(Unit::count, 12, 4), "12");
}

}  // namespace
}  // namespace kvhaul
