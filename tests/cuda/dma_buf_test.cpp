// GPU memory for NICs, as far as a machine with a GPU and without a NIC can show it: exported as
// dma-buf, slice by slice, up to its registration.
#include <cstdio>
#include <fcntl.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "backends/cuda/cuda.h"
#include "backends/device_memory.h"
#include "backends/verbs/registration.h"
#include "core/checksum.h"
#include "tests/support/setups.h"
#include "tests/support/gpu_cluster.h"
#ifdef KVHAUL_HAS_VERBS
#include "backends/verbs/verbs.h"
#endif

namespace kvhaul::test {
namespace {

class DmaBufExport : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = cuda::missing(); !why.empty()) GTEST_SKIP() << why;
    source_ = cuda::make_memory_source({0, 0});
    const auto opened = source_->open(cluster_);
    ASSERT_TRUE(opened) << opened.error().message;
    gpu_ = *cluster_.find_place("node0/gpu0");
  }

  /// Exports each slice, and looks at the file.
  void export_slices(DeviceSegment& segment, const std::vector<verbs::Slice>& slices) {
    for (const verbs::Slice& slice : slices) {
      SCOPED_TRACE("offset " + std::to_string(slice.offset));
      auto exported = segment.export_dma_buf(slice.offset, slice.bytes);
      ASSERT_TRUE(exported) << exported.error().message;
      const int file = exported->file.get();
      ASSERT_GE(fcntl(file, F_GETFD), 0);
      char target[64] = "";
      const std::string link = "/proc/self/fd/" + std::to_string(file);
      ASSERT_GT(readlink(link.c_str(), target, sizeof target - 1), 0);
      EXPECT_NE(std::string(target).find("dmabuf"), std::string::npos) << target;
      const off_t size = lseek(file, 0, SEEK_END);
      const auto page = static_cast<Bytes>(sysconf(_SC_PAGESIZE));
      EXPECT_EQ(static_cast<Bytes>(size),
                exported->offset + (slice.bytes + page - 1) / page * page);
      std::printf("dma-buf of %llu bytes at %llu: %s, %lld bytes, the range begins at %llu\n",
                  static_cast<unsigned long long>(slice.bytes),
                  static_cast<unsigned long long>(slice.offset), target,
                  static_cast<long long>(size), static_cast<unsigned long long>(exported->offset));
    }
  }

  const Cluster cluster_ = two_gpu_cluster();
  std::unique_ptr<DeviceMemorySource> source_;
  PlaceId gpu_ = no_id;
};

TEST_F(DmaBufExport, WholeSegmentsOfAnySize) {
  for (const Bytes bytes : {Bytes{1}, 100 * KiB, 2 * MiB, 3 * MiB + 5, 256 * MiB}) {
    SCOPED_TRACE(bytes);
    auto segment = source_->allocate(gpu_, bytes);
    ASSERT_TRUE(segment) << segment.error().message;
    export_slices(**segment, {{0, bytes}});
  }
}

TEST_F(DmaBufExport, EverySliceOfALargeSegment) {
  const Bytes bytes = 2 * verbs::slice_bytes + 40 * MiB + 7;
  auto segment = source_->allocate(gpu_, bytes);
  ASSERT_TRUE(segment) << segment.error().message;
  const auto slices = verbs::slices_of(bytes);
  ASSERT_EQ(slices.size(), 3u);
  export_slices(**segment, slices);
}

TEST_F(DmaBufExport, ARangeThatBeginsInThePageIsRefused) {
  auto segment = source_->allocate(gpu_, 4 * MiB);
  ASSERT_TRUE(segment) << segment.error().message;
  const auto exported = (*segment)->export_dma_buf(100, 4096);
  ASSERT_FALSE(exported);
  EXPECT_EQ(exported.error().kind, ErrorKind::missing);
}

/// What a backend does with a segment, besides: patterns, checksums, reading, writing.
TEST_F(DmaBufExport, PatternsAndChecksumsAreTheProcessors) {
  constexpr Bytes bytes = 3 * MiB + 11;
  auto made = source_->allocate(gpu_, bytes);
  ASSERT_TRUE(made) << made.error().message;
  DeviceSegment& segment = **made;
  std::vector<std::byte> expected(bytes), seen(bytes);
  ASSERT_TRUE(segment.read(0, seen));
  EXPECT_EQ(seen, expected);  // zeroed
  const std::vector<SegmentRange> ranges = {{0, 4096, 1}, {5000, 777, 2}, {MiB, 2 * MiB + 11, 3}};
  ASSERT_TRUE(segment.fill(ranges));
  for (const SegmentRange& r : ranges)
    fill_pattern(std::span(expected).subspan(r.offset, r.length), r.seed);
  const std::byte written[] = {std::byte{1}, std::byte{2}, std::byte{3}};
  ASSERT_TRUE(segment.write(9000, written));
  std::copy(std::begin(written), std::end(written), expected.begin() + 9000);
  ASSERT_TRUE(segment.read(0, seen));
  EXPECT_EQ(seen, expected);
  std::vector<std::uint64_t> sums(ranges.size());
  ASSERT_TRUE(segment.checksum(ranges, sums));
  for (std::size_t i = 0; i < ranges.size(); ++i)
    EXPECT_EQ(sums[i], checksum(std::span(expected).subspan(ranges[i].offset, ranges[i].length)));
}

/// Down and up again through pinned host memory, one piece by a copy and many by a kernel.
TEST_F(DmaBufExport, PiecesPassThroughPinnedMemoryBothWays) {
  constexpr Bytes bytes = 8 * MiB;
  auto from = source_->allocate(gpu_, bytes), to = source_->allocate(gpu_, bytes);
  ASSERT_TRUE(from && to);
  auto down = source_->make_staging(gpu_, StagingWay::from_device, 4 * MiB, 64);
  auto up = source_->make_staging(gpu_, StagingWay::to_device, 4 * MiB, 64);
  ASSERT_TRUE(down && up);
  const SegmentRange all{0, bytes, 5};
  ASSERT_TRUE((*from)->fill({&all, 1}));
  std::vector<std::byte> expected(bytes), seen(bytes);
  std::uint64_t jobs = 0;
  const auto wait = [&](StagingBuffer& buffer) {
    while (true) {
      const auto done = buffer.done();
      ASSERT_TRUE(done) << done.error().message;
      if (*done == jobs) return;
    }
  };
  // More jobs than there are slots for.
  for (const std::size_t pieces : {1u, 2u, 50u})
    for (std::uint32_t round = 0; round < StagingBuffer::jobs_max; ++round) {
      std::vector<DevicePiece> sources, targets;
      Bytes total = 0;
      for (std::size_t i = 0; i < pieces; ++i) {
        const Bytes length = 1000 + 37 * i + round, at = i * 8192 + round;
        sources.push_back({(*from)->address() + at, length});
        targets.push_back({(*to)->address() + at, length});
        total += length;
        std::vector<std::byte> piece(length);
        ASSERT_TRUE((*from)->read(at, piece));
        std::copy(piece.begin(), piece.end(), expected.begin() + static_cast<std::ptrdiff_t>(at));
      }
      ++jobs;
      const Bytes offset = 256 * round;
      ASSERT_TRUE((*down)->begin(sources, offset));
      wait(**down);
      const auto staged = (*down)->memory().subspan(offset, total);
      std::copy(staged.begin(), staged.end(), (*up)->memory().begin() + 128);
      ASSERT_TRUE((*up)->begin(targets, 128));
      wait(**up);
    }
  ASSERT_TRUE((*to)->read(0, seen));
  EXPECT_EQ(seen, expected);
}

/// Everything that registration needs besides, and this machine may lack.
TEST_F(DmaBufExport, WhatIsMissingForRegistration) {
  auto segment = source_->allocate(gpu_, 2 * MiB);
  ASSERT_TRUE(segment) << segment.error().message;
  const auto exported = (*segment)->export_dma_buf(0, 2 * MiB);
  std::vector<std::string> missing;
  if (!exported) missing.push_back("dma-buf: " + exported.error().message);
  if (const std::string why = source_->peer_memory_missing(gpu_); !why.empty())
    missing.push_back("nvidia-peermem (only where dma-buf cannot be): " + why);
  if (const std::string why = verbs::rdma_device_missing(); !why.empty()) missing.push_back(why);
#ifndef KVHAUL_HAS_VERBS
  missing.push_back("this build has no libibverbs");
#endif
  for (const std::string& what : missing) std::printf("missing: %s\n", what.c_str());
  EXPECT_TRUE(exported) << exported.error().message;
#ifdef KVHAUL_HAS_VERBS
  // The backend goes as far, and says the same.
  const Cluster cluster = rail_cluster(2, 1);
  const std::vector<std::pair<PlaceId, PlaceId>> places = {
      {*cluster.find_place("node0/gpu0"), *cluster.find_place("node1/gpu0")}};
  const auto plan = plan_channels(cluster, places, plan_of(RouteKind::rdma));
  ASSERT_TRUE(plan) << plan.error().message;
  const auto backend = verbs::make_backend({.devices = cuda::make_memory_source({0, 0})});
  const auto opened = backend->open(cluster, plan->requests);
  if (verbs::missing().empty()) {
    ASSERT_TRUE(opened) << opened.error().message;
    for (const auto& place : {places[0].first, places[0].second})
      EXPECT_TRUE(backend->register_segment(place, 4 * MiB));
    std::printf("%s\n", backend->description().c_str());
  } else {
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().kind, ErrorKind::missing);
    EXPECT_NE(opened.error().message.find("RDMA device"), std::string::npos);
    std::printf("%s\n", opened.error().message.c_str());
  }
#endif
}

}  // namespace
}  // namespace kvhaul::test
