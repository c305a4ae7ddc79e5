// Which way to device memory, and what is said of the others.
#include "backends/verbs/registration.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "tests/support/own_folder.h"

namespace kvhaul::verbs {
namespace {

TEST(ChooseWay, TheBestThatThereIs) {
  const auto best = choose_way({});
  ASSERT_TRUE(best);
  EXPECT_EQ(best->way, MemoryWay::dma_buf);
  EXPECT_EQ(best->why, "");

  const auto second = choose_way({.dma_buf = "not exported"});
  ASSERT_TRUE(second);
  EXPECT_EQ(second->way, MemoryWay::peer_memory);
  EXPECT_EQ(second->why, "no dma-buf: not exported");

  const auto third = choose_way({.dma_buf = "not exported", .peer_memory = "not loaded"});
  ASSERT_TRUE(third);
  EXPECT_EQ(third->way, MemoryWay::staged);
  EXPECT_EQ(third->why, "no dma-buf: not exported; no nvidia-peermem: not loaded");
}

TEST(ChooseWay, WhatIsWorseDoesNotMatter) {
  const auto best = choose_way({.peer_memory = "not loaded", .staged = "no memory"});
  ASSERT_TRUE(best);
  EXPECT_EQ(best->way, MemoryWay::dma_buf);
  EXPECT_EQ(best->why, "");
}

TEST(ChooseWay, WithoutAnyItSaysWhyOfEach) {
  const auto none =
      choose_way({.dma_buf = "not exported", .peer_memory = "not loaded", .staged = "no memory"});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().kind, ErrorKind::missing);
  EXPECT_EQ(none.error().message,
            "the NIC cannot reach the memory: no dma-buf: not exported; no nvidia-peermem: not "
            "loaded; not staged through pinned host memory: no memory");
}

TEST(Slices, CoverTheSegmentInPagesBelowFourGiB) {
  for (const Bytes bytes : {Bytes{1}, slice_bytes - 1, slice_bytes, slice_bytes + 1, 80 * GiB}) {
    Bytes covered = 0;
    for (const Slice& slice : slices_of(bytes)) {
      EXPECT_EQ(slice.offset, covered);
      EXPECT_EQ(slice.offset % (2 * MiB), 0u);
      EXPECT_GT(slice.bytes, 0u);
      EXPECT_LE(slice.bytes, 3584 * MiB);
      covered += slice.bytes;
    }
    EXPECT_EQ(covered, bytes);
  }
}

TEST(RdmaDevice, SaysWhatTheKernelLacks) {
  namespace fs = std::filesystem;
  const test::OwnFolder folder;
  const fs::path sysfs = folder.path() / "sys";
  EXPECT_NE(rdma_device_missing(sysfs).find("ib_core"), std::string::npos);
  fs::create_directories(sysfs / "class/infiniband");
  EXPECT_NE(rdma_device_missing(sysfs).find("is empty"), std::string::npos);
  fs::create_directories(sysfs / "class/infiniband/mlx5_0");
  EXPECT_EQ(rdma_device_missing(sysfs), "");
}

}  // namespace
}  // namespace kvhaul::verbs
