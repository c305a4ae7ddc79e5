// docs/recipes.md: every name in its code is one of the files of a run, of the tools that read
// them, or made by the recipes themselves, so that a column that is renamed cannot stay there.
#include <regex>
#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/replay_run.h"
#include "tests/support/own_folder.h"
#include "tests/traces/trace_testing.h"

namespace kvhaul::cli {
namespace {

using Json = nlohmann::json;

/// The recipes: fenced blocks of Python, whose strings may hold SQL.
std::string code_of(const std::string& page) {
  std::string code;
  const std::string fence = "```python\n";
  for (std::size_t at = page.find(fence); at != std::string::npos; at = page.find(fence, at)) {
    at += fence.size();
    code += page.substr(at, page.find("```", at) - at);
  }
  return code;
}

std::set<std::string> matches(const std::string& text, const std::regex& pattern) {
  std::set<std::string> found;
  for (std::sregex_iterator it(text.begin(), text.end(), pattern), end; it != end; ++it)
    found.insert((*it)[1]);
  return found;
}

void add_keys(const Json& json, std::set<std::string>& keys) {
  if (json.is_object())
    for (const auto& [key, value] : json.items()) {
      keys.insert(key);
      add_keys(value, keys);
    }
  if (json.is_array())
    for (const Json& item : json) add_keys(item, keys);
}

/// Of the run of the page, its first requests.
std::set<std::string> names_in_files() {
  const test::OwnFolder folder;
  ReplayRequest request;
  request.trace = test::sample("chat-200.csv");
  request.scenario = "dgx-h100-pair";
  request.limit = 10;
  request.out = (folder.path() / "run").string();
  const auto result = run_replay(request);
  EXPECT_TRUE(result) << result.error().message;
  std::set<std::string> names;
  for (const char* file : {"requests", "transfers", "links", "instances"}) {
    names.insert(file);
    std::istringstream header(test::file_text(request.out + "/" + file + ".csv"));
    std::string line;
    std::getline(header, line);
    std::istringstream columns(line);
    for (std::string column; std::getline(columns, column, ',');) names.insert(column);
  }
  add_keys(Json::parse(test::file_text(request.out + "/summary.json")), names);
  return names;
}

TEST(Recipes, EveryNameIsOneOfARun) {
  const std::string code =
      code_of(test::file_text((test::source_dir() / "docs/recipes.md").string()));
  std::set<std::string> known = names_in_files();
  for (const char* column : {"ttft_ms", "decode_instance", "kv_fill", "submitted_s", "gather"})
    EXPECT_EQ(known.count(column), 1u) << column;
  known.erase("gather");
  // "... AS ttft_p50", "requests=(...", "parts = [...".
  known.merge(matches(code, std::regex(R"(\bAS ([a-z_]\w*))")));
  known.merge(matches(code, std::regex(R"(\b([a-z_]\w*) ?= ?[^=])")));
  // Of Python, pandas and DuckDB.
  for (const char* word :
       {"abs",      "agg",       "arrival", "assert",   "axis",    "columns",       "count",
        "csv",      "DataFrame", "duckdb",  "filename", "groupby", "head",          "import",
        "index",    "json",      "load",    "max",      "mean",    "median",        "min",
        "nlargest", "open",      "pandas",  "parquet",  "pd",      "pivot_table",   "quantile",
        "read_csv", "read_json", "round",   "run",      "size",    "sort_values",   "split_part",
        "sql",      "sum",       "summary", "sweep",    "true",    "quantile_cont", "as",
        "below",    "and",       "more",    "False",    "True"})
    known.insert(word);
  std::size_t names = 0;
  for (const std::string& name : matches(code, std::regex(R"(\b([a-z_]\w*))"))) {
    EXPECT_EQ(known.count(name), 1u) << "docs/recipes.md: '" << name << "' is no column of a run";
    ++names;
  }
  EXPECT_GT(names, 60u);
}

}  // namespace
}  // namespace kvhaul::cli
