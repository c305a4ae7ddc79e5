// Logs of several processes behind each other in one file, and what is left of one that breaks off.
#include "serving/gather.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

namespace kvhaul {
namespace {

class GatheredLogs : public ::testing::Test {
 protected:
  void SetUp() override { std::ofstream(path_) << "first,"; }
  void TearDown() override { std::filesystem::remove(path_); }

  /// The parts one after the other; then nothing more, or the error of a process that is gone.
  static std::function<Result<std::string>()> parts(std::vector<std::string> left, bool dies) {
    return [left, dies, next = std::size_t{0}]() mutable -> Result<std::string> {
      if (next < left.size()) return left[next++];
      if (dies) return Error::failed("process 1 is gone");
      return std::string();
    };
  }
  std::string text() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  const std::string path_ =
      ::testing::TempDir() + "/kvhaul-gathered-" + std::to_string(getpid()) + ".log";
};

TEST_F(GatheredLogs, StandBehindEachOther) {
  const auto whole = append_log(path_, parts({"sec", "ond"}, false));
  ASSERT_TRUE(whole);
  EXPECT_TRUE(*whole);
  EXPECT_EQ(text(), "first,second");
}

TEST_F(GatheredLogs, OneThatBreaksOffIsLeftOutWhole) {
  const auto broken = append_log(path_, parts({"sec", std::string(100'000, 'o')}, true));
  ASSERT_TRUE(broken);
  EXPECT_FALSE(*broken);
  EXPECT_EQ(text(), "first,");
  ASSERT_TRUE(append_log(path_, parts({"third"}, false)));
  EXPECT_EQ(text(), "first,third");
}

TEST_F(GatheredLogs, AFileThatCannotBeWrittenIsAnError) {
  const auto failed = append_log(path_ + "/none", parts({"second"}, false));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message, path_ + "/none: could not be written");
}

}  // namespace
}  // namespace kvhaul
