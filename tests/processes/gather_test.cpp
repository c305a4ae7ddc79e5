// Logs of several processes behind each other in one file, and what is left of one that breaks off.
#include "serving/gather.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/own_folder.h"

namespace kvhaul {
namespace {

class GatheredLogs : public ::testing::Test {
 protected:
  void SetUp() override {
    auto file = OutputFile::create(path_);
    ASSERT_TRUE(file);
    file_.emplace(std::move(*file));
    file_->text("first,");
  }

  /// The parts one after the other; then nothing more, or the error of a process that is gone.
  static std::function<Result<std::string>()> parts(std::vector<std::string> left, bool dies) {
    return [left, dies, next = std::size_t{0}]() mutable -> Result<std::string> {
      if (next < left.size()) return left[next++];
      if (dies) return Error::failed("process 1 is gone");
      return std::string();
    };
  }
  std::string text() {
    EXPECT_TRUE(file_->flush());
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  test::OwnFolder folder_;
  const std::string path_ = folder_.file("gathered.log");
  std::optional<OutputFile> file_;
};

TEST_F(GatheredLogs, StandBehindEachOther) {
  const auto whole = append_log(*file_, parts({"sec", "ond"}, false));
  ASSERT_TRUE(whole);
  EXPECT_TRUE(*whole);
  EXPECT_EQ(text(), "first,second");
}

TEST_F(GatheredLogs, OneThatBreaksOffIsLeftOutWhole) {
  const auto broken = append_log(*file_, parts({"sec", std::string(100'000, 'o')}, true));
  ASSERT_TRUE(broken);
  EXPECT_FALSE(*broken);
  EXPECT_EQ(text(), "first,");
  ASSERT_TRUE(append_log(*file_, parts({"third"}, false)));
  EXPECT_EQ(text(), "first,third");
}

TEST_F(GatheredLogs, AFileThatCannotBeWrittenSaysSo) {
  auto full = OutputFile::create("/dev/full");
  if (!full) GTEST_SKIP() << "no /dev/full here";
  ASSERT_TRUE(append_log(*full, parts({"second"}, false)));
  EXPECT_FALSE(full->close());
}

}  // namespace
}  // namespace kvhaul
