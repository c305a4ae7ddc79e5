// The report of a run directory: written anew it is the same file, and a directory that is damaged
// or not whole gives one clear error, never a page without content. What the page draws is checked
// in a browser (tests/browser).
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/replay_run.h"
#include "cli/run_report.h"
#include "cli/sweep_curves.h"
#include "report/cluster_picture.h"
#include "report/page.h"
#include "scenarios/scenario.h"
#include "tests/support/own_folder.h"
#include "tests/traces/trace_testing.h"

namespace kvhaul::cli {
namespace {

namespace fs = std::filesystem;
using test::file_text;

class Report : public ::testing::Test {
 protected:
  Report() {
    ReplayRequest request;
    request.trace = test::sample("chat-200.csv");
    request.scenario = "dgx-h100-pair";
    request.limit = 30;
    request.out = path_.string();
    request.command_line = {"replay", "-t", request.trace, "-o", request.out, "--limit", "30"};
    const auto result = run_replay(request);
    EXPECT_TRUE(result) << result.error().message;
  }

  std::string file(const std::string& name) const { return (path_ / name).string(); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(file(name), std::ios::binary) << text;
  }
  std::string error() const {
    const auto data = read_report_data(path_.string());
    if (data) return "none";
    EXPECT_EQ(data.error().kind, ErrorKind::bad_input);
    EXPECT_EQ(data.error().message.find('\n'), std::string::npos) << data.error().message;
    return data.error().message;
  }

  test::OwnFolder folder_;
  const fs::path path_ = folder_.path() / "run";
};

TEST_F(Report, WrittenAnewIsTheSameFile) {
  const std::string first = file_text(file("report.html"));
  EXPECT_GT(first.size(), 50'000u);
  EXPECT_LT(first.size(), 2'000'000u);
  const auto done = run_report({path_.string()});
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_TRUE(first == file_text(file("report.html")));
}

TEST_F(Report, NothingIsFetched) {
  const std::string page = file_text(file("report.html"));
  for (const char* loads : {"src=\"", "url(", "@import", "<link rel=\"stylesheet\"", "fetch(\""})
    EXPECT_EQ(page.find(loads), std::string::npos) << loads;
}

TEST_F(Report, TheSentenceIsThereWithoutScripts) {
  const auto data = read_report_data(path_.string());
  ASSERT_TRUE(data);
  const std::string sentence = report::run_sentence(*data);
  EXPECT_TRUE(sentence.starts_with("Limited by prefill and its queue: ")) << sentence;
  EXPECT_NE(file_text(file("report.html")).find(report::html_text(sentence) + "</p>"),
            std::string::npos);
}

TEST_F(Report, EveryMissingFileIsNamed) {
  for (const char* name : {"summary.json", "requests.csv", "transfers.csv", "links.csv",
                           "instances.csv", "run.yaml"}) {
    fs::rename(file(name), file("elsewhere"));
    const std::string message = error();
    EXPECT_NE(message.find(name), std::string::npos) << message;
    EXPECT_NE(message.find("found no"), std::string::npos) << message;
    fs::rename(file("elsewhere"), file(name));
  }
  EXPECT_EQ(error(), "none");
}

/// Each file cut in the middle, and with something else in a field.
TEST_F(Report, EveryDamagedFileIsNamed) {
  for (const char* name : {"summary.json", "requests.csv", "transfers.csv", "links.csv",
                           "instances.csv", "run.yaml"}) {
    const std::string whole = file_text(file(name));
    write(name, whole.substr(0, whole.size() / 2 + 3));
    const std::string message = error();
    // Half of run.yaml ends inside the scenario.
    EXPECT_NE(message.find(name), std::string::npos) << message;
    write(name, whole);
  }
  for (const auto& [name, was, is] :
       {std::tuple{"summary.json", "\"p50\"", "\"p51\""},
        {"summary.json", "\"resent_chunks\": 0", "\"resent_chunks\": \"none\""},
        {"summary.json", "\"notes\": [", "\"notes\": 7, \"other\": ["},
        {"requests.csv", "completed,", "completed,x"},
        {"transfers.csv", "rdma,0,", "rdma,0,,"},
        {"links.csv", ",0.000000000,", ",0.1,"},
        {"instances.csv", ",0.000000000,", ",0.1,"},
        {"instances.csv", "decode,0,", "decode,7,"},
        {"summary.json", "\"role\": \"decode\"", "\"role\": \"both\""},
        {"run.yaml", "scenario_file:", "scenario_fil:"},
        {"run.yaml", "cluster:", "clutser:"}}) {
    const std::string whole = file_text(file(name));
    std::string other = whole;
    const std::size_t at = other.find(was);
    ASSERT_NE(at, std::string::npos) << name << ": " << was;
    other.replace(at, std::string(was).size(), is);
    write(name, other);
    const std::string message = error();
    EXPECT_NE(message.find(name), std::string::npos) << was << ": " << message;
    write(name, whole);
  }
}

TEST_F(Report, ARunThatDidNotEndHasNone) {
  write("UNFINISHED", "");
  EXPECT_NE(error().find("UNFINISHED"), std::string::npos);
}

TEST(ReportCommand, LeavesOutWhereFilesGo) {
  EXPECT_EQ(command_text({"replay", "-t", "my trace.csv", "-o", "x", "--out=y", "--record", "z",
                          "--force", "-q", "-s", "laptop"}),
            "kvhaul replay -t 'my trace.csv' -s laptop");
  EXPECT_EQ(command_text({"replay", "it's"}), "kvhaul replay 'it'\\''s'");
}

TEST(ReportPage, TextCannotEndAnElement) {
  nlohmann::ordered_json data;
  data["kind"] = "run";
  data["name"] = "</script><b>";
  const std::string page = report::page_text({"<i>", "a & b"}, data);
  EXPECT_EQ(page.find("</script><b>"), std::string::npos);
  EXPECT_NE(page.find("<h1>&lt;i&gt;</h1>"), std::string::npos);
  EXPECT_NE(page.find("a &amp; b"), std::string::npos);
}

/// Every link of the nodes that are shown is in the picture once, but for those between leaves and
/// spines.
TEST(ClusterPicture, HasEveryLinkOfItsNodes) {
  for (const char* name : {"dgx-h100-pair", "gb200-nvl72", "pcie-pair", "incast-8to1"}) {
    const auto scenario = load_scenario(name);
    ASSERT_TRUE(scenario) << scenario.error().message;
    const Cluster& cluster = scenario->cluster;
    std::vector<NodeId> nodes = {0};
    if (cluster.nodes.size() > 1) nodes.push_back(1);
    const std::string svg = report::cluster_picture(cluster, nodes, nullptr);
    for (const Link& link : cluster.links) {
      const bool inside = link.name.starts_with("node0/") || link.name.starts_with("node1/");
      if (!inside || link.kind == LinkKind::fabric) continue;
      const std::string mark = "data-link=\"" + link.name + "\"";
      const std::size_t at = svg.find(mark);
      EXPECT_NE(at, std::string::npos) << name << ": " << link.name;
      EXPECT_EQ(svg.find(mark, at + 1), std::string::npos) << name << ": " << link.name;
    }
  }
}

// Distances below the line from end to end, as shares of the largest value:
TEST(Knee, IsWhereACurveOfCostsBends) {
  EXPECT_EQ(knee_of({12, 4, 2, 1}), 1u);               // (12 - 11/3 - 4) / 12 = 0.36, 0.22
  EXPECT_EQ(knee_of({1, 1.1, 1.3, 9}), 2u);            // rises late: 0.29, 0.56
  EXPECT_EQ(knee_of({9, 8.9, 8.5, 1}), std::nullopt);  // above the line all the time
  EXPECT_EQ(knee_of({4, 3, 2, 1}), std::nullopt);
  EXPECT_EQ(knee_of({5, 5, 5}), std::nullopt);
  EXPECT_EQ(knee_of({0, 0, 0}), std::nullopt);
  EXPECT_EQ(knee_of({9, 1}), std::nullopt);
  // A curve that is all but flat has none, however it bends.
  EXPECT_EQ(knee_of({51.2, 51.05, 51.05, 51.05}), std::nullopt);
  EXPECT_EQ(knee_of({63.4, 55.4, 53, 52}), std::nullopt);  // 0.067
}

}  // namespace
}  // namespace kvhaul::cli
