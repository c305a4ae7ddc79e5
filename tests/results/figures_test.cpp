// The list of figures: no two are the same anywhere, and who reads a summary holds it against them.
#include "results/figures.h"

#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "results/run_directory.h"
#include "results/run_files.h"
#include "tests/traces/trace_testing.h"

namespace kvhaul {
namespace {

using Json = nlohmann::json;

/// Of a run in which nothing happened.
Json empty_summary() { return Json::parse(summary_json(RunSummary(), Cluster())); }

std::string error_of(const Json& json) {
  const auto run = parse_summary(json.dump(), "run");
  return run ? "none" : run.error().message;
}

/// "transfers.time_ms.p50" as the place of a value.
Json::json_pointer place(std::string key) {
  std::replace(key.begin(), key.end(), '.', '/');
  return Json::json_pointer("/" + key);
}

void erase(Json& json, const std::string& key) {
  const Json::json_pointer at = place(key);
  json[at.parent_pointer()].erase(at.back());
}

/// A figure's key, or those of its statistics.
std::vector<std::string> keys_of(const Figure& figure) {
  if (!figure.is_distribution()) return {figure.key};
  std::vector<std::string> keys;
  for (const Statistic statistic : all_statistics)
    keys.push_back(std::string(figure.key) + "." + std::string(statistic_name(statistic)));
  return keys;
}

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
  EXPECT_EQ(error_of(json), "none");
}

TEST(Figures, WhatAReaderMissesIsNamed) {
  for (const Figure& figure : figures()) {
    const bool may_lack = figure.is(Figure::with_slo);
    for (const std::string& key : keys_of(figure)) {
      Json json = empty_summary();
      json[place(key)] = "much";
      EXPECT_NE(error_of(json).find("'" + key + "'"), std::string::npos) << error_of(json);
      json[place(key)] = nullptr;
      EXPECT_EQ(error_of(json) == "none", figure.may_be_nothing()) << key;
      erase(json, key);
      const bool taken = error_of(json) == "none";
      EXPECT_EQ(taken, may_lack && !figure.is_distribution()) << key;
      if (!taken) {
        EXPECT_EQ(error_of(json), "run/summary.json: expected a number '" + key + "', found none");
      }
    }
  }
}

TEST(Figures, RunsOfAnOlderKvhaulAreRefused) {
  Json json = empty_summary();
  json["schema"] = 1;
  EXPECT_EQ(error_of(json), "run/summary.json: expected schema 3, found 1; make the run again");
  json["schema"] = 4;
  EXPECT_EQ(error_of(json), "run/summary.json: expected schema 3, found 4");
}

/// Of 50 requests in 10 s 40 were completed and 30 of them in time: 3 a second. Who lost its KV is
/// not among them, and makes the others no fewer.
TEST(Figures, GoodputCountsWhatMetTheSlo) {
  RunSummary s;
  s.duration_ns = 10 * s_ns;
  s.requests.completed = 40;
  s.requests.transfer_failed = 10;
  s.slo_attained = 30;
  const auto goodput = [&] { return Json::parse(summary_json(s, Cluster()))["goodput_per_s"]; };
  EXPECT_TRUE(goodput().is_null());  // the scenario has no SLO
  s.has_slo = true;
  EXPECT_EQ(goodput(), 3.0);
  s.slo_attained = 0;
  EXPECT_EQ(goodput(), 0.0);
  s.duration_ns = 0;
  EXPECT_TRUE(goodput().is_null());
}

TEST(Figures, ValuesAreShownInTheUnitsOfTables) {
  EXPECT_EQ(value_text(Unit::share, 0.975, 4), "97.5%");
  EXPECT_EQ(value_text(Unit::bytes, 2.5e9, 4), "2.5 GB");
  EXPECT_EQ(value_text(Unit::requests_per_s, 4.75, 4), "4.75 requests/s");
  EXPECT_EQ(value_text(Unit::count, 12, 4), "12");
}

}  // namespace
}  // namespace kvhaul
