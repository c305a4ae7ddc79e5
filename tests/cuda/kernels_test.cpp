// The kernels against the processor's own code.
#include "backends/cuda/kernels.h"

#include <gtest/gtest.h>

#include "backends/cuda/cuda.h"
#include "backends/cuda/event_clock.h"
#include "backends/cuda/payload.h"
#include "core/checksum.h"
#include "core/random.h"

namespace kvhaul::cuda {
namespace {

class CudaKernels : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
    device_ = find_devices()->front();
    ASSERT_EQ(cudaSetDevice(device_.ordinal), cudaSuccess);
    ASSERT_EQ(make_stream(stream_), cudaSuccess);
  }
  DeviceMemory device_bytes(Bytes bytes) const {
    DeviceMemory memory;
    check(make_device_memory(memory, bytes) == cudaSuccess, "no device memory");
    return memory;
  }
  std::vector<std::byte> host_copy(const std::byte* from, Bytes bytes) const {
    std::vector<std::byte> copy(bytes);
    check(cudaMemcpy(copy.data(), from, bytes, cudaMemcpyDefault) == cudaSuccess, "no copy");
    return copy;
  }
  void synchronize() const { ASSERT_EQ(cudaStreamSynchronize(stream_.get()), cudaSuccess); }

  Device device_;
  Stream stream_;
};

// Every combination of alignments and of lengths around the widths that the kernel moves.
TEST_F(CudaKernels, PiecesOfAnyAlignmentArriveAndNothingElseChanges) {
  constexpr Bytes slot = 8192;
  const Bytes lengths[] = {1, 3, 4, 15, 16, 17, 63, 512, 513, 2048, 4096, 4099, 8000};
  const Bytes shifts[] = {0, 1, 4, 8, 15, 16};
  std::vector<std::tuple<Bytes, Bytes, Bytes>> cases;
  for (const Bytes length : lengths)
    for (const Bytes from : shifts)
      for (const Bytes to : shifts) cases.emplace_back(from, to, length);
  const Bytes bytes = slot * cases.size();
  const DeviceMemory source = device_bytes(bytes), target = device_bytes(bytes);
  std::vector<std::byte> expected(bytes), pattern(bytes);
  fill_pattern(pattern, 5);
  ASSERT_EQ(cudaMemcpy(source.get(), pattern.data(), bytes, cudaMemcpyDefault), cudaSuccess);
  ASSERT_EQ(cudaMemset(target.get(), 0, bytes), cudaSuccess);
  auto list_memory = make_pinned(cases.size() * sizeof(PieceCopy), -1);
  ASSERT_TRUE(list_memory);
  auto* const list = reinterpret_cast<PieceCopy*>(list_memory->get());
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto [from, to, length] = cases[i];
    list[i] = {target.get() + slot * i + to, source.get() + slot * i + from, length};
    std::copy_n(pattern.begin() + static_cast<std::ptrdiff_t>(slot * i + from), length,
                expected.begin() + static_cast<std::ptrdiff_t>(slot * i + to));
  }
  // Few blocks: a warp for each piece; many: all threads on each.
  for (const unsigned blocks : {4u, 128u}) {
    ASSERT_EQ(cudaMemset(target.get(), 0, bytes), cudaSuccess);
    ASSERT_EQ(copy_pieces(list, static_cast<std::uint32_t>(cases.size()), blocks, stream_.get()),
              cudaSuccess);
    synchronize();
    EXPECT_EQ(host_copy(target.get(), bytes), expected) << blocks << " blocks";
  }
}

TEST_F(CudaKernels, PatternsAndChecksumsAreTheProcessors) {
  constexpr Bytes bytes = 1 * MiB;
  auto payload = Payload::open(device_);
  ASSERT_TRUE(payload) << payload.error().message;
  const DeviceMemory memory = device_bytes(bytes);
  ASSERT_EQ(cudaMemset(memory.get(), 0, bytes), cudaSuccess);
  Random random(9);
  std::vector<std::byte> expected(bytes);
  std::vector<PatternFill> fills;
  std::vector<ChecksumRange> ranges;
  std::vector<std::uint64_t> expected_sums;
  for (Bytes at = 0; at + 20'000 < bytes;) {
    const Bytes begin = at + random.below(40), length = random.between(1, 19'000);
    const std::uint64_t seed = random.below(1'000'000);
    fills.push_back({memory.get() + begin, length, mix64(seed)});
    fill_pattern(std::span(expected).subspan(begin, length), seed);
    ranges.push_back({memory.get() + begin, length});
    expected_sums.push_back(checksum(std::span(expected).subspan(begin, length)));
    at = begin + length;
  }
  ASSERT_TRUE(payload->fill(fills));  // what is asked for next comes after it
  std::vector<std::uint64_t> sums(ranges.size());
  const auto number = payload->begin_checksums(ranges, sums);
  ASSERT_TRUE(number) << number.error().message;
  while (*payload->done() < *number) {
  }
  EXPECT_EQ(host_copy(memory.get(), bytes), expected);
  EXPECT_EQ(sums, expected_sums);
}

// 200 events, each recorded when the host looked at its own clock: the times they are given are not
// later than when they were seen, are in order, and do not fall behind by more than a stall would.
TEST_F(CudaKernels, EventTimesFollowTheHostsClock) {
  const auto start = std::chrono::steady_clock::now();
  const auto now = [&] {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() -
                                                                start)
        .count();
  };
  EventClock clock;
  ASSERT_TRUE(clock.start(device_.ordinal, now));
  Event event, earlier;
  ASSERT_EQ(make_event(event), cudaSuccess);
  ASSERT_EQ(make_event(earlier), cudaSuccess);
  TimeNs last = 0;
  std::vector<TimeNs> behind;
  for (int i = 0; i < 200; ++i) {
    ASSERT_EQ(cudaEventRecord(earlier.get(), stream_.get()), cudaSuccess);
    const TimeNs before = now();
    ASSERT_EQ(cudaEventRecord(event.get(), stream_.get()), cudaSuccess);
    while (cudaEventQuery(event.get()) == cudaErrorNotReady) {
    }
    const TimeNs seen = now();
    // An event of before the reference is told, too.
    const TimeNs of_earlier = clock.peek(earlier.get(), seen);
    const TimeNs at = clock.time_of(event, seen);
    EXPECT_LE(of_earlier, at);
    EXPECT_LE(at, seen);
    EXPECT_GE(at, last);
    last = at;
    behind.push_back(before - at);
    const TimeNs until = now() + 1 * ms_ns;
    while (now() < until) {
    }
  }
  std::sort(behind.begin(), behind.end());
  EXPECT_LT(behind[behind.size() / 2], 20 * us_ns);
}

}  // namespace
}  // namespace kvhaul::cuda
