#include "core/planner.h"

#include <gtest/gtest.h>

#include "core/policy/all.h"
#include "tests/support/setups.h"

namespace kvhaul {
namespace {

TEST(Coalesce, JoinsWhatIsContiguousOnBothSides) {
  std::vector<Descriptor> out;
  coalesce(std::vector<Descriptor>{{0, 100, 10}, {10, 110, 10}, {20, 120, 5}}, out);
  EXPECT_EQ(out, (std::vector<Descriptor>{{0, 100, 25}}));
}

TEST(Coalesce, KeepsApartWhatIsContiguousOnOneSideOnly) {
  const std::vector<Descriptor> in = {{0, 100, 10}, {10, 200, 10}, {30, 210, 10}};
  std::vector<Descriptor> out;
  coalesce(in, out);
  EXPECT_EQ(out, in);
}

ChannelNumbers with_packing() {
  ChannelNumbers numbers = test::plain_channel();
  numbers.bytes_per_s = 50e9;
  numbers.post_ns = 2000;
  numbers.pack = PackCosts{5000, 1000e9};
  return numbers;
}

TEST(Packing, PaysForManySmallPieces) {
  // 256 pieces of 4 KiB. Many: 256 x 2 us = 512 us. Packed: 2 (5 + 1) + 21 us.
  EXPECT_TRUE(packing_is_cheaper(with_packing(), 1 * MiB, 256, 1 * MiB));
}

TEST(Packing, DoesNotPayForLargePieces) {
  // 2 pieces of 8 MiB. Many: max(4 us, 336 us). Packed: the same and two kernels.
  EXPECT_FALSE(packing_is_cheaper(with_packing(), 16 * MiB, 2, 16 * MiB));
}

TEST(Packing, NeedsAChannelThatCan) {
  ChannelNumbers numbers = with_packing();
  numbers.pack.reset();
  EXPECT_FALSE(packing_is_cheaper(numbers, 1 * MiB, 256, 1 * MiB));
  EXPECT_FALSE(packing_is_cheaper(with_packing(), 1 * MiB, 1, 1 * MiB));
}

PairNumbers ndr() {
  PairNumbers pair;
  pair.bytes_per_s = 48e9;
  pair.half_bandwidth_bytes = 60'000;
  pair.max_chunk_bytes = GiB;
  return pair;
}

TEST(ChunkSize, OneChannelOfOneStageCutsOnlyByTime) {
  const LeastFinish policy(SchedulerSetup{});
  EXPECT_EQ(policy.chunk_bytes(ndr(), 600 * KiB, 1), 600 * KiB);
  // 100 us at 48 GB/s are 4.8 MB; 47 MB in 10 equal parts of whole pages.
  const Bytes chunk = policy.chunk_bytes(ndr(), 47'000'000, 1);
  EXPECT_EQ(chunk, (4'700'000 + 4095) / 4096 * 4096);
}

TEST(ChunkSize, SquareRootWhereCuttingPays) {
  const LeastFinish policy(SchedulerSetup{});
  PairNumbers staged = ndr();
  staged.stages = 2;
  // sqrt(16e6 x 60,000 / (1 x 2 - 1)) = 979,796; 17 equal parts of whole pages
  const Bytes chunk = policy.chunk_bytes(staged, 16'000'000, 1);
  EXPECT_NEAR(static_cast<double>(chunk), 16e6 / 17, 4096);
}

TEST(ChunkSize, FloorAndCountHold) {
  const LeastFinish policy(SchedulerSetup{});
  PairNumbers wide = ndr();
  wide.parallel_channels = 8;
  EXPECT_EQ(policy.chunk_bytes(wide, 100 * KiB, 1), 52 * KiB);  // floor of 64 KiB, two equal parts
  wide.half_bandwidth_bytes = 0;
  // Without any cost per chunk the count binds: 64 parts at most.
  EXPECT_GE(policy.chunk_bytes(wide, GiB, 1), GiB / 64);
}

TEST(ChunkSize, NeverAboveWhatAChannelTakes) {
  for (const PolicyName& name : all_policies) {
    SchedulerSetup setup;
    setup.config.policy = name.name;
    const AnyPolicy policy = *make_policy(setup);
    PairNumbers pair = ndr();
    pair.max_chunk_bytes = 10'000;
    const Bytes chunk =
        std::visit([&](const auto& p) { return p.chunk_bytes(pair, GiB, 1); }, policy);
    EXPECT_LE(chunk, 10'000u) << name.name;
    EXPECT_GT(chunk, 0u) << name.name;
  }
}

}  // namespace
}  // namespace kvhaul
