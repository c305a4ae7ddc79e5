// What is handed over is read in place: by this process in one GPU's memory or over NVLink, or by
// another process (main.cpp), whose checksums say what it sees.
#include <algorithm>
#include <optional>

#include <gtest/gtest.h>

#include "backends/cuda/cuda.h"
#include "tests/cuda/holder.h"
#include "tests/support/gpu_cluster.h"

namespace kvhaul::test {
namespace {

constexpr Bytes segment_bytes = 16 * MiB;

enum class Reader { this_process, other_gpu, other_process };

class CudaHandOff : public ::testing::TestWithParam<Reader> {
 protected:
  void SetUp() override {
    if (const std::string why = cuda::missing(); !why.empty()) GTEST_SKIP() << why;
    const bool two_gpus = GetParam() == Reader::other_gpu;
    if (two_gpus && cuda::device_count() < 2)
      GTEST_SKIP() << "one GPU: two are needed that NVLink joins";
    cuda::Options options{.devices = {0, two_gpus ? 1 : 0}};
    if (GetParam() == Reader::other_process) {
      holder_.emplace();
      options.held_by = {{"node0/gpu1", holder_->path()}};
    }
    // Channel 0 hands over, channel 1 copies.
    for (const RouteKind kind : {RouteKind::handoff, RouteKind::nvlink_copy})
      requests_.push_back(channel_between(cluster_, "node0/gpu0", "node0/gpu1", kind)[0]);
    backend_ = cuda::make_backend(options);
    const auto numbers = backend_->open(cluster_, requests_);
    if (!numbers && two_gpus && numbers.error().kind == ErrorKind::missing)
      GTEST_SKIP() << numbers.error().message;
    ASSERT_TRUE(numbers) << numbers.error().message;
    for (const auto& [place, segment] :
         {std::pair("node0/gpu0", &from_), {"node0/gpu0", &other_}, {"node0/gpu1", &to_}}) {
      const auto made = backend_->register_segment(*cluster_.find_place(place), segment_bytes);
      ASSERT_TRUE(made) << made.error().message;
      *segment = *made;
    }
    backend_->fill(from_, 0, segment_bytes, 1);
    backend_->fill(other_, 0, segment_bytes, 2);
    backend_->fill(to_, 0, segment_bytes, 3);
  }

  void post(ChannelId channel, SegmentId from, std::span<const Descriptor> pieces) {
    ChunkPost chunk;
    chunk.chunk = ++posted_;
    chunk.source_segment = from;
    chunk.target_segment = to_;
    chunk.piece_count = static_cast<std::uint32_t>(pieces.size());
    chunk.piece = pieces[0];
    chunk.pieces = pieces.data();
    for (const Descriptor& piece : pieces) chunk.bytes += piece.length;
    backend_->post(channel, {&chunk, 1});
  }
  /// Posts one chunk, and runs until it has landed.
  void move(ChannelId channel, SegmentId from, std::span<const Descriptor> pieces) {
    post(channel, from, pieces);
    run_until(posted_);
    ASSERT_FALSE(seen_.empty());
    EXPECT_EQ(seen_.back().outcome, Outcome::ok);
  }
  void run_until(std::size_t completions) {
    const TimeNs end = backend_->now() + 30 * s_ns;
    while (seen_.size() < completions && backend_->now() < end) {
      progress();
      if (seen_.size() < completions) backend_->wait(end);
    }
    ASSERT_EQ(seen_.size(), completions);
  }
  void progress() {
    BackendEvents events;
    backend_->progress(events);
    seen_.insert(seen_.end(), events.completions.begin(), events.completions.end());
    changes_.insert(changes_.end(), events.changes.begin(), events.changes.end());
  }
  std::uint64_t sum(SegmentId segment, Bytes offset, Bytes length) {
    return backend_->checksum(segment, offset, length);
  }

  const Cluster cluster_ = two_gpu_cluster();
  std::optional<Holder> holder_;  // outlives the backend
  std::vector<ChannelRequest> requests_;
  std::unique_ptr<Backend> backend_;
  SegmentId from_ = 0, other_ = 0, to_ = 0;
  std::vector<Completion> seen_;
  std::vector<ChannelChange> changes_;
  std::size_t posted_ = 0;
};

constexpr Descriptor whole[] = {{0, 0, segment_bytes}};

TEST_P(CudaHandOff, ThereIsOneCopyAndItIsReadInPlace) {
  EXPECT_NE(sum(from_, 0, segment_bytes), sum(to_, 0, segment_bytes));
  move(0, from_, whole);
  EXPECT_EQ(sum(from_, 0, segment_bytes), sum(to_, 0, segment_bytes));
  backend_->fill(from_, 0, segment_bytes, 4);
  EXPECT_EQ(sum(from_, 0, segment_bytes), sum(to_, 0, segment_bytes));
  std::vector<std::byte> bytes(1000), expected(1000);
  backend_->read(from_, 5001, expected);
  backend_->read(to_, 5001, bytes);
  EXPECT_EQ(bytes, expected);
  if (!holder_) return;
  backend_.reset();
  EXPECT_EQ(holder_->wait_for_end(), 0);  // it saw that we left
}

TEST_P(CudaHandOff, ScatteredPiecesAreFoundWhereTheyLie) {
  std::vector<Descriptor> pieces;
  constexpr Bytes count = 3000, step = 4096;
  for (Bytes i = 0; i < count; ++i)
    pieces.push_back({i * step, (count - 1 - i) * step + 64, 2048 + i % 1000});
  move(0, from_, pieces);
  std::vector<SegmentRange> sources, targets;
  for (const Descriptor& piece : pieces) {
    sources.push_back({piece.source_offset, piece.length});
    targets.push_back({piece.target_offset, piece.length});
  }
  std::vector<std::uint64_t> expected(count), sums(count);
  backend_->checksum_ranges(from_, sources, expected);
  backend_->checksum_ranges(to_, targets, sums);
  EXPECT_EQ(sums, expected);
}

TEST_P(CudaHandOff, WhatIsWrittenLaterIsWhatCounts) {
  move(0, from_, whole);
  const Descriptor copied[] = {{MiB, 2 * MiB, MiB}};
  move(1, other_, copied);
  EXPECT_EQ(sum(to_, 0, 2 * MiB), sum(from_, 0, 2 * MiB));
  EXPECT_EQ(sum(to_, 2 * MiB, MiB), sum(other_, MiB, MiB));
  EXPECT_EQ(sum(to_, 3 * MiB, segment_bytes - 3 * MiB),
            sum(from_, 3 * MiB, segment_bytes - 3 * MiB));
  // Patterns, and bytes from the host.
  backend_->fill(to_, 0, MiB, 7);
  backend_->fill(other_, 0, MiB, 7);
  EXPECT_EQ(sum(to_, 0, MiB), sum(other_, 0, MiB));
  std::vector<std::byte> bytes(5000, std::byte{9});
  backend_->write(to_, 4 * MiB, bytes);
  backend_->write(other_, 0, bytes);
  EXPECT_EQ(sum(to_, 4 * MiB, 5000), sum(other_, 0, 5000));
  EXPECT_EQ(sum(to_, MiB, MiB), sum(from_, MiB, MiB));
  // And handed over once more.
  move(0, other_, whole);
  EXPECT_EQ(sum(to_, 0, segment_bytes), sum(other_, 0, segment_bytes));
}

std::string reader_name(const ::testing::TestParamInfo<Reader>& info) {
  constexpr const char* names[] = {"ThisProcess", "OtherGpu", "OtherProcess"};
  return names[static_cast<int>(info.param)];
}

INSTANTIATE_TEST_SUITE_P(Readers, CudaHandOff,
                         ::testing::Values(Reader::this_process, Reader::other_gpu,
                                           Reader::other_process),
                         reader_name);

class CudaHandOffToAProcess : public CudaHandOff {};

TEST_P(CudaHandOffToAProcess, WhatItHasNotAnsweredFailsWhenItDies) {
  move(0, from_, whole);
  holder_->stop();
  // More than the lane takes at a time: some are on their way, some wait.
  constexpr std::size_t chunks = 10;
  const std::size_t before = seen_.size();
  std::vector<Descriptor> pieces(chunks);
  for (std::size_t i = 0; i < chunks; ++i) {
    pieces[i] = {i * MiB, i * MiB, MiB};
    post(0, other_, {&pieces[i], 1});
  }
  backend_->wait(backend_->now() + 20 * ms_ns);
  progress();
  EXPECT_EQ(seen_.size(), before);  // who is stopped has not answered
  holder_->kill();
  run_until(before + chunks);
  EXPECT_TRUE(std::all_of(
      seen_.begin() + static_cast<std::ptrdiff_t>(before), seen_.end(),
      [](const Completion& completion) { return completion.outcome == Outcome::path_failed; }));
  EXPECT_TRUE(std::any_of(changes_.begin(), changes_.end(), [](const ChannelChange& change) {
    return change.channel == 0 && !change.up;
  }));
  EXPECT_NE(sum(to_, 0, MiB), sum(other_, 0, MiB));  // nobody is left who could say
}

INSTANTIATE_TEST_SUITE_P(Readers, CudaHandOffToAProcess, ::testing::Values(Reader::other_process),
                         reader_name);

}  // namespace
}  // namespace kvhaul::test
