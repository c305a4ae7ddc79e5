// The files of a run directory: docs/run-directory.md names every column and key, and the same
// scenario, trace and seed give the same bytes.
#include <fstream>
#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/replay_run.h"
#include "results/figures.h"
#include "tests/support/own_folder.h"
#include "tests/traces/trace_testing.h"

namespace kvhaul::cli {
namespace {

using Json = nlohmann::json;
using test::file_text;
namespace fs = std::filesystem;

/// A run directory, removed at the end.
class RunDirectory {
 public:
  /// 20 requests on two modelled DGX H100, in virtual time, with a fault.
  RunDirectory() {
    const std::string faults = (folder_.path() / "faults.yaml").string();
    std::ofstream(faults) << "faults: [{kind: fail, probability: 0.01}]\n";
    ReplayRequest request;
    request.faults = faults;
    request.trace = test::sample("chat-200.csv");
    request.scenario = "dgx-h100-pair";
    request.limit = 20;
    request.out = path_.string();
    const auto result = run_replay(request);
    EXPECT_TRUE(result) << result.error().message;
  }

  std::string text(const std::string& file) const { return file_text((path_ / file).string()); }
  std::set<std::string> files() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(path_))
      names.insert(entry.path().filename().string());
    return names;
  }

 private:
  test::OwnFolder folder_;
  const fs::path path_ = folder_.path() / "run";
};

/// Of docs/run-directory.md, from the heading of a file to the next heading.
std::string section_about(const std::string& file) {
  const std::string page = file_text((test::source_dir() / "docs/run-directory.md").string());
  const std::size_t begin = page.find("## " + file + "\n");
  if (begin == std::string::npos) return {};
  return page.substr(begin, page.find("\n## ", begin) - begin);
}

/// "requests.completed", "links[].bytes"; a group of percentiles is one name, "ttft_ms".
void collect(const Json& json, const std::string& path, std::set<std::string>& names) {
  if (json.is_object() && !json.contains("p99")) {
    for (const auto& [key, value] : json.items())
      collect(value, path.empty() ? key : path + "." + key, names);
  } else if (json.is_array() && !json.empty() && json[0].is_object()) {
    for (const Json& item : json) collect(item, path + "[]", names);
  } else {
    names.insert(path);
  }
}

TEST(RunDirectory, EveryKeyOfTheSummaryIsDocumented) {
  const RunDirectory run;
  std::set<std::string> names;
  collect(Json::parse(run.text("summary.json")), "", names);
  EXPECT_GT(names.size(), 50u);
  // Figures are in metrics.md, which figures_test.cpp holds against their list.
  for (const Figure& figure : figures()) names.erase(figure.key);
  EXPECT_GT(names.size(), 20u);
  const std::string section = section_about("summary.json");
  for (const std::string& name : names)
    EXPECT_NE(section.find("| `" + name + "` |"), std::string::npos) << name;
}

TEST(RunDirectory, EveryColumnIsDocumented) {
  const RunDirectory run;
  for (const char* file : {"requests.csv", "transfers.csv", "links.csv", "instances.csv"}) {
    const std::string section = section_about(file);
    std::istringstream header(run.text(file).substr(0, run.text(file).find('\n')));
    std::size_t columns = 0;
    for (std::string column; std::getline(header, column, ','); ++columns)
      EXPECT_NE(section.find("| `" + column + "` |"), std::string::npos) << file << ": " << column;
    EXPECT_GE(columns, 7u);
  }
}

TEST(RunDirectory, EveryFileIsDocumented) {
  const RunDirectory run;
  for (const std::string& file : run.files()) EXPECT_FALSE(section_about(file).empty()) << file;
}

/// Wall time never enters a simulated result: only run.yaml may differ.
TEST(RunDirectory, OneSeedIsTheSameBytes) {
  const RunDirectory one, two;
  EXPECT_EQ(one.files(), two.files());
  for (const std::string& file : one.files()) {
    if (file == "run.yaml") continue;
    EXPECT_FALSE(one.text(file).empty()) << file;
    EXPECT_TRUE(one.text(file) == two.text(file)) << file;
  }
}

}  // namespace
}  // namespace kvhaul::cli
