// The rows of a report for instances: one each where they differ, one for all that are alike.
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/replay_run.h"
#include "cli/run_report.h"
#include "tests/support/own_folder.h"
#include "tests/traces/trace_testing.h"

namespace kvhaul::cli {
namespace {

using Json = nlohmann::ordered_json;

/// What the report of a replay says of its instances.
Json instances_of(const std::string& scenario, const std::string& trace) {
  const test::OwnFolder folder;
  ReplayRequest request;
  request.trace = trace;
  request.scenario = scenario;
  request.out = (folder.path() / "run").string();
  request.command_line = {"replay", "-t", trace};
  const auto result = run_replay(request);
  EXPECT_TRUE(result) << result.error().message;
  const auto data = read_report_data(request.out);
  EXPECT_TRUE(data) << data.error().message;
  return data ? Json((*data)["instances"]) : Json();
}

// Eight prefill instances in turn, each with two of 16 equal requests that come once a second.
TEST(InstancesInReports, AlikeAreOneRow) {
  const test::OwnFolder folder;
  const std::string trace = (folder.path() / "trace.csv").string();
  std::ofstream(trace) << [] {
    std::string text =
        "# kvhaul trace 1, block 0 tokens\narrival_s,input_tokens,output_tokens,prefix_blocks\n";
    for (int i = 0; i < 16; ++i) text += std::to_string(i) + ",1000,2,\n";
    return text;
  }();
  const Json instances = instances_of("incast-8to1", trace);
  EXPECT_EQ(instances["roles"][0]["instances"], 8);
  EXPECT_EQ(instances["roles"][0]["alike"], true);
  EXPECT_EQ(instances["roles"][1]["alike"], false);  // one is like nothing
  ASSERT_EQ(instances["rows"].size(), 3u);
  const Json& row = instances["rows"][0];
  EXPECT_EQ(row["name"], "8 prefill instances");
  EXPECT_EQ(row["requests"], Json::array({2.0, 2.0}));
  EXPECT_TRUE(row["batch"].empty());
  EXPECT_LE(row["utilisation"][0], row["utilisation"][1]);
  EXPECT_EQ(instances["rows"][1]["name"], "all 8");
  EXPECT_EQ(instances["rows"][1]["requests"], Json::array({16.0, 16.0}));
  EXPECT_EQ(instances["rows"][2]["name"], "decode 0");
  EXPECT_EQ(instances["rows"][2]["node"], "node8");
}

TEST(InstancesInReports, DifferentOnesHaveRows) {
  const Json instances = instances_of("incast-8to1", test::sample("chat-200.csv"));
  EXPECT_EQ(instances["roles"][0]["alike"], false);
  ASSERT_EQ(instances["rows"].size(), 10u);
  double requests = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(instances["rows"][i]["name"], "prefill " + std::to_string(i));
    requests += instances["rows"][i]["requests"][0].get<double>();
  }
  EXPECT_EQ(requests, 200);
  const Json& all = instances["rows"][8];
  EXPECT_EQ(all["requests"][0], 200.0);
  double utilisation = 0, queue = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    utilisation += instances["rows"][i]["utilisation"][0].get<double>() / 8;
    queue += instances["rows"][i]["queue"][0].get<double>();
  }
  EXPECT_NEAR(all["utilisation"][0].get<double>(), utilisation, 1e-3 * utilisation);
  EXPECT_NEAR(all["queue"][0].get<double>(), queue, 1e-3 * queue);
}

/// More than can be read: the most used ones, and the others together.
TEST(InstancesInReports, ManyAreCut) {
  const Json instances = instances_of("fat-tree-ecmp", test::sample("chat-200.csv"));
  ASSERT_EQ(instances["rows"].size(), 32u);
  EXPECT_EQ(instances["rows"][14]["name"], "50 other prefill instances");
  EXPECT_EQ(instances["rows"][15]["name"], "all 64");
  for (std::size_t i = 0; i < 14; ++i)
    EXPECT_GE(instances["rows"][i]["utilisation"][0], instances["rows"][i + 1]["utilisation"][1]);
}

}  // namespace
}  // namespace kvhaul::cli
