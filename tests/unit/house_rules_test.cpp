// What ARCHITECTURE.md promises about the source itself: which folder may include which, and that
// the core knows no clock, no thread, no random device and no backend by name.
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace kvhaul {
namespace {

namespace fs = std::filesystem;

fs::path source_dir() { return fs::path(__FILE__).parent_path().parent_path().parent_path(); }

struct Line {
  std::string file;
  int number = 0;
  std::string text;
};

/// Every line of the C++ files below a folder.
std::vector<Line> lines_of(const std::string& folder) {
  std::vector<Line> lines;
  for (const auto& entry : fs::recursive_directory_iterator(source_dir() / folder)) {
    const std::string ending = entry.path().extension().string();
    if (ending != ".h" && ending != ".cpp") continue;
    std::ifstream file(entry.path());
    std::string text;
    for (int number = 1; std::getline(file, text); ++number)
      lines.push_back({fs::relative(entry.path(), source_dir()).string(), number, text});
  }
  return lines;
}

std::string where(const Line& line) {
  return line.file + ":" + std::to_string(line.number) + ": " + line.text;
}

std::string without_comment(const std::string& text) { return text.substr(0, text.find("//")); }

const std::regex include_line(R"re(^\s*#\s*include\s*([<"])([^>"]+)[>"])re");

TEST(HouseRules, FoldersIncludeOnlyWhatTheyMay) {
  const std::map<std::string, std::set<std::string>> may = {
      {"core", {"core"}},
      {"backends", {"core", "backends"}},
      {"traces", {"core", "traces"}},
      {"serving", {"core", "traces", "serving"}},
      {"results", {"core", "traces", "serving", "results"}},
      {"report", {"core", "traces", "serving", "results", "report"}},
      {"scenarios", {"core", "serving", "backends", "scenarios"}},
      {"machine", {"core", "serving", "machine"}},
      {"processes", {"core", "processes"}},
  };
  std::size_t seen = 0;
  for (const auto& [folder, allowed] : may)
    for (const Line& line : lines_of(folder)) {
      std::smatch match;
      if (!std::regex_search(line.text, match, include_line) || match[1] != "\"") continue;
      ++seen;
      const std::string header = match[2];
      // It needs the core alone, and tells what drivers know.
      if (folder == "backends" && header == "machine/nvml.h") continue;
      const std::string from = header.substr(0, header.find('/'));
      EXPECT_TRUE(allowed.count(from)) << where(line);
    }
  EXPECT_GT(seen, 100u);
}

TEST(HouseRules, TheCoreStandsOnTheStandardLibraryAlone) {
  std::size_t seen = 0;
  for (const Line& line : lines_of("core")) {
    std::smatch match;
    if (!std::regex_search(line.text, match, include_line) || match[1] == "\"") continue;
    ++seen;
    const std::string header = match[2];
    EXPECT_TRUE(std::regex_match(header, std::regex("[a-z_]+"))) << where(line);
    for (const char* banned : {"thread", "mutex", "condition_variable", "future", "atomic",
                               "chrono", "ctime", "random", "iostream", "filesystem"})
      EXPECT_NE(header, banned) << where(line);
  }
  EXPECT_GT(seen, 50u);
}

TEST(HouseRules, NoBackendIsNamedInTheCore) {
  const std::regex names("emulated|simgrid|cuda|verbs|ibv_", std::regex::icase);
  for (const Line& line : lines_of("core"))
    EXPECT_FALSE(std::regex_search(without_comment(line.text), names)) << where(line);
}

/// Files that a scheduler's decisions come from do no input or output either.
TEST(HouseRules, OnlyTheEventLogOpensFilesInTheCore) {
  for (const Line& line : lines_of("core")) {
    if (line.file.find("event_log") != std::string::npos) continue;
    EXPECT_EQ(line.text.find("<fstream>"), std::string::npos) << where(line);
    EXPECT_FALSE(std::regex_search(without_comment(line.text),
                                   std::regex(R"(\b(fopen|printf|getenv|time|clock|rand)\s*\()")))
        << where(line);
  }
}

TEST(HouseRules, HeadersAreGuardedAndLinesFitTheScreen) {
  for (const std::string folder : {"core", "backends", "traces", "serving", "results", "report",
                                   "scenarios", "machine", "cli", "tests", "bench"}) {
    std::string file;
    bool guarded = true;
    for (const Line& line : lines_of(folder)) {
      if (line.file != file) {
        EXPECT_TRUE(guarded) << file << " has no #pragma once";
        file = line.file;
        guarded = file.ends_with(".cpp");
      }
      guarded |= line.text == "#pragma once";
      EXPECT_LE(line.text.size(), 100u) << where(line);
    }
    EXPECT_TRUE(guarded) << file << " has no #pragma once";
  }
}

/// Tests run beside each other: one that chooses a path by its name meets itself, or another.
TEST(HouseRules, TestsWorkInFoldersOfTheirOwn) {
  const std::regex by_name(R"(temp_directory_path|TempDir\(|tmpnam)");
  for (const Line& line : lines_of("tests")) {
    const bool may = line.file.ends_with("own_folder.h") || line.file.ends_with("_rules_test.cpp");
    EXPECT_TRUE(may || !std::regex_search(without_comment(line.text), by_name)) << where(line);
  }
}

}  // namespace
}  // namespace kvhaul
