// Files of a run: how numbers are written, and that a full disk is reported.
#include "traces/output_file.h"

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sys/file.h>
#include <unistd.h>

#include "tests/traces/trace_testing.h"

namespace kvhaul::test {
namespace {

std::string written(const std::function<void(OutputFile&)>& write) {
  const TempPath path("out");
  auto file = OutputFile::create(path.string());
  EXPECT_TRUE(file);
  write(*file);
  const auto closed = file->close();
  EXPECT_TRUE(closed);
  return file_text(path.string());
}

TEST(OutputFile, Numbers) {
  EXPECT_EQ(written([](OutputFile& f) {
              f.text("a,").number(0).text(",").number(~std::uint64_t{0}).text("\n");
            }),
            "a,0,18446744073709551615\n");
}

TEST(OutputFile, TimesKeepTheirNanoseconds) {
  EXPECT_EQ(written([](OutputFile& f) { f.ms(12'345'678).text(" ").ms(1).text(" ").ms(0); }),
            "12.345678 0.000001 0.000000");
  EXPECT_EQ(written([](OutputFile& f) { f.seconds(1'000'000'001).text(" ").seconds(999'999'999); }),
            "1.000000001 0.999999999");
  EXPECT_EQ(written([](OutputFile& f) { f.ms(-1'500'000); }), "-1.500000");
}

TEST(OutputFile, Reals) {
  EXPECT_EQ(
      written([](OutputFile& f) { f.real(0.1).text(" ").real(1.23456789).text(" ").real(0); }),
      "0.1 1.23457 0");
}

TEST(OutputFile, LongFiles) {
  const std::string text = written([](OutputFile& f) {
    for (std::uint64_t i = 0; i < 100'000; ++i) f.number(i % 10);
  });
  ASSERT_EQ(text.size(), 100'000u);
  for (std::size_t i = 0; i < text.size(); ++i) ASSERT_EQ(text[i], static_cast<char>('0' + i % 10));
}

TEST(OutputFile, CannotBeCreated) {
  const auto file = OutputFile::create("/no/such/folder/out");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().message,
            "/no/such/folder/out: cannot be created: No such file or directory");
  EXPECT_EQ(file.error().kind, ErrorKind::bad_input);
}

/// With --force a file gets a name of the moment before its own. Killed in between it keeps that.
TEST(OutputFile, WhatAKilledWriterHasLeftGoesAndWhatOneWritesStays) {
  const TempPath path("out");
  const std::filesystem::path place(path.string());
  const auto part = [&](int i) {
    return place.parent_path().string() + "/." + place.filename().string() + '.' +
           std::to_string(i) + ".part";
  };
  for (const int i : {0, 1}) std::ofstream(part(i)) << "from a killed one, or not";
  std::ofstream(place) << "old";
  const int living = open(part(0).c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_EQ(flock(living, LOCK_EX), 0);
  auto file = OutputFile::create(path.string(), {.force = true, .inputs = {}});
  ASSERT_TRUE(file);
  EXPECT_TRUE(file->text("new").close());
  EXPECT_EQ(file_text(path.string()), "new");
  EXPECT_TRUE(std::filesystem::remove(part(0)));
  EXPECT_FALSE(std::filesystem::exists(part(1)));
  close(living);
}

TEST(OutputFile, FullDisk) {
  auto file = OutputFile::create("/dev/full");
  if (!file) GTEST_SKIP() << "this system has no /dev/full";
  file->text(std::string(200'000, 'x'));
  const auto closed = file->close();
  ASSERT_FALSE(closed);
  EXPECT_EQ(closed.error().message, "/dev/full: could not be written: No space left on device");
  EXPECT_EQ(closed.error().kind, ErrorKind::failed);
}

}  // namespace
}  // namespace kvhaul::test
