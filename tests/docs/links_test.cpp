// Relative links in the project's pages point to files that are there.
#include <regex>

#include <gtest/gtest.h>

#include "tests/traces/trace_testing.h"

namespace kvhaul {
namespace {

namespace fs = std::filesystem;

/// Pages of the project; build folders, run directories and hidden folders are not part of it.
std::vector<fs::path> pages() {
  std::vector<fs::path> found;
  const fs::path root = test::source_dir();
  for (auto it = fs::recursive_directory_iterator(root); it != fs::end(it); ++it) {
    const std::string name = it->path().filename().string();
    const bool top = it.depth() == 0;
    if (it->is_directory() &&
        (name.starts_with(".") || (top && (name.starts_with("build") || name == "runs"))))
      it.disable_recursion_pending();
    else if (it->path().extension() == ".md")
      found.push_back(it->path());
  }
  return found;
}

TEST(Pages, RelativeLinksPointToFiles) {
  const std::regex link(R"(\]\(([^)#\s]+)(#[^)\s]*)?\))");
  std::size_t links = 0;
  for (const fs::path& page : pages()) {
    const std::string text = test::file_text(page.string());
    for (std::sregex_iterator it(text.begin(), text.end(), link), end; it != end; ++it) {
      const std::string target = (*it)[1];
      if (target.find("://") != std::string::npos) continue;
      ++links;
      EXPECT_TRUE(fs::exists(page.parent_path() / target)) << page << " links to " << target;
    }
  }
  EXPECT_GT(links, 5u);
}

}  // namespace
}  // namespace kvhaul
