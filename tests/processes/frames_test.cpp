#include "processes/frames.h"

#include <gtest/gtest.h>

namespace kvhaul {
namespace {

std::string frame(FrameKind kind, const std::string& bytes) {
  return frame_head(kind, bytes.size()) + bytes;
}
std::string head(char kind, std::uint32_t size) {
  return frame_head(static_cast<FrameKind>(kind), size);
}

TEST(Frames, AreReadHoweverTheyAreCut) {
  const std::string all = frame(FrameKind::welcome, "") + frame(FrameKind::beat, "") +
                          frame(FrameKind::data, "one") + frame(FrameKind::data, "") +
                          frame(FrameKind::farewell, "1two");
  for (std::size_t piece = 1; piece <= all.size(); ++piece) {
    FrameReader reader;
    for (std::size_t at = 0; at < all.size(); at += piece)
      ASSERT_TRUE(reader.feed(std::string_view(all).substr(at, piece)));
    EXPECT_EQ(reader.waiting(), 4u);  // without the beat
    EXPECT_EQ(reader.waiting_bytes(), 7u);
    std::string said;
    while (const auto came = reader.take())
      said += static_cast<char>(came->kind) + came->bytes + ",";
    EXPECT_EQ(said, "w,done,d,f1two,");
    EXPECT_EQ(reader.waiting_bytes(), 0u);
  }
}

TEST(Frames, WhatIsNoneIsSaidAndNothingIsReadAfterIt) {
  const auto damage = [](const std::string& bytes) {
    FrameReader reader;
    EXPECT_FALSE(reader.feed(bytes));
    EXPECT_FALSE(reader.feed(frame(FrameKind::data, "more")));
    EXPECT_FALSE(reader.take());
    return reader.damage();
  };
  EXPECT_EQ(damage(head('\0', 1) + "x"), "a message of kind 0");
  EXPECT_EQ(damage(head('\xff', 0)), "a message of kind 255");
  EXPECT_EQ(damage(head('d', (64 << 20) + 1)),
            "a message of 67108865 bytes, where at most 67108864 are taken");
  EXPECT_EQ(damage(head('d', 0xffffffff)),
            "a message of 4294967295 bytes, where at most 67108864 are taken");
  EXPECT_EQ(damage(head('f', 1'000'000)),
            "a message of 1000000 bytes, where at most 16384 are taken");
  EXPECT_EQ(damage(head('b', 1)), "a message of 1 bytes, where at most 0 are taken");
  EXPECT_EQ(damage(head('w', 1)), "a message of 1 bytes, where at most 0 are taken");
}

TEST(Frames, ALengthAloneTakesNoMemory) {
  FrameReader reader;
  ASSERT_TRUE(reader.feed(head('d', 64 << 20)));
  EXPECT_EQ(reader.waiting(), 0u);
  EXPECT_FALSE(reader.take());
}

}  // namespace
}  // namespace kvhaul
