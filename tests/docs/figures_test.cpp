// docs/metrics.md has the list of figures as it is (results/figures.cpp).
#include "results/figures.h"

#include <cstdlib>
#include <fstream>

#include <gtest/gtest.h>

#include "tests/traces/trace_testing.h"

namespace kvhaul {
namespace {

TEST(Figures, MetricsPageHasTheList) {
  const std::string file = (test::source_dir() / "docs/metrics.md").string();
  const std::string page = test::file_text(file);
  const std::string begin = "<!-- figures: from results/figures.cpp -->\n";
  const std::size_t from = page.find(begin);
  const std::size_t to = page.find("<!-- end of figures -->");
  ASSERT_TRUE(from != std::string::npos && to != std::string::npos && from < to);
  const std::string before = page.substr(0, from + begin.size());
  const std::string wanted = before + figures_markdown() + page.substr(to);
  if (std::getenv("KVHAUL_WRITE_DOCS") != nullptr) {
    std::ofstream(file, std::ios::binary) << wanted;
    return;
  }
  EXPECT_TRUE(page == wanted)
      << "docs/metrics.md has another table than results/figures.cpp; to write it anew:\n"
         "  KVHAUL_WRITE_DOCS=1 build/release/tests/docs_tests --gtest_filter='Figures.*'";
}

}  // namespace
}  // namespace kvhaul
