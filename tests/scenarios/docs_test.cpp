// docs/scenarios.md and docs/faults.md name exactly the keys that the readers ask for.
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "core/route.h"
#include "scenarios/scenario.h"

namespace kvhaul::test {
namespace {

using Keys = std::set<std::string>;

std::string text_of(const std::string& file) {
  std::ifstream stream(std::string(KVHAUL_SOURCE_DIR "/") + file);
  EXPECT_TRUE(stream) << file;
  return {std::istreambuf_iterator<char>(stream), {}};
}

Keys found(const std::string& text, const char* pattern) {
  Keys keys;
  const std::regex regex(pattern);
  for (std::sregex_iterator at(text.begin(), text.end(), regex), end; at != end; ++at)
    keys.insert((*at)[1]);
  return keys;
}

/// Keys that a reader asks for, as they stand in its source.
Keys read_keys(const std::string& source) {
  Keys keys = found(text_of(source),
                    "(?:text|flag|count|number|bytes|rate|duration|choice|map|required_map|maps|"
                    "texts|counts|above_zero|small)\\s*\\(\\s*\"(\\w+)\"");
  keys.merge(found(text_of(source), "read_spread\\(\\w+, \"(\\w+)\""));
  return keys;
}

Keys without(Keys all, const Keys& some) {
  for (const std::string& key : some) all.erase(key);
  return all;
}

/// Words in backquotes.
Keys documented(const std::string& file) { return found(text_of(file), "`([a-z]\\w*)`"); }

TEST(Docs, EveryKeyOfAScenarioIsDocumented) {
  Keys known = read_keys("scenarios/scenario.cpp");
  ASSERT_GT(known.size(), 80u);
  for (std::size_t k = 0; k < route_kind_count; ++k)
    known.insert(std::string(route_kind_name(static_cast<RouteKind>(k))));
  for (std::size_t m = 1; m < gather_count; ++m)
    known.insert(std::string(gather_name(static_cast<Gather>(m))));
  const Keys docs = documented("docs/scenarios.md");
  EXPECT_EQ(without(known, docs), Keys{}) << "known to the reader, not in the docs";
  EXPECT_EQ(without(docs, known), Keys{}) << "in the docs, not known to the reader";
}

TEST(Docs, EveryShippedScenarioIsListed) {
  const std::string docs = text_of("docs/scenarios.md");
  const std::string table = docs.substr(0, docs.find("## Top"));
  for (const BuiltinScenario& builtin : builtin_scenarios())
    EXPECT_TRUE(std::regex_search(table, std::regex("[|,] " + std::string(builtin.name) + "[, ]")))
        << builtin.name;
}

TEST(Docs, EveryKeyOfAFaultFileIsDocumented) {
  const Keys known = read_keys("scenarios/fault_file.cpp");
  ASSERT_GT(known.size(), 8u);
  const Keys docs = documented("docs/faults.md");
  EXPECT_EQ(without(known, docs), Keys{}) << "known to the reader, not in the docs";
  const Keys kinds = {"fail", "lose", "delay", "corrupt", "degrade", "down", "fail_registration"};
  EXPECT_EQ(without(kinds, docs), Keys{});
  EXPECT_EQ(without(without(docs, known), kinds), Keys({"node0", "timeout_factor"}))
      << "in the docs, not known to the reader";
}

}  // namespace
}  // namespace kvhaul::test
