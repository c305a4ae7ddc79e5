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

/// 50 GB/s: 16 KiB take 328 ns.
ChannelNumbers with_packing() {
  ChannelNumbers numbers = test::plain_channel();
  numbers.bytes_per_s = 50e9;
  numbers.post_ns = 2000;
  numbers.gather[static_cast<std::size_t>(Gather::pack)] = {
      .fixed_ns = 5000, .post_ns = 2000, .bytes_per_s = 1000e9};
  return numbers;
}

TEST(CheapestGather, PacksManySmallPieces) {
  // 256 pieces of 4 KiB. Each: 256 x 2 us = 512 us. Packed: 2 (5 + 1) + 21 us.
  EXPECT_EQ(cheapest_gather(with_packing(), 1 * MiB, 256, 1 * MiB), Gather::pack);
}

TEST(CheapestGather, WritesLargePiecesByThemselves) {
  // 2 pieces of 8 MiB. Each: max(4 us, 336 us). Packed: the same and two kernels.
  EXPECT_EQ(cheapest_gather(with_packing(), 16 * MiB, 2, 16 * MiB), Gather::each);
}

TEST(CheapestGather, NeedsAChannelThatCan) {
  ChannelNumbers numbers = with_packing();
  numbers.gather = {};
  EXPECT_EQ(cheapest_gather(numbers, 1 * MiB, 256, 1 * MiB), Gather::each);
  EXPECT_EQ(cheapest_gather(with_packing(), 1 * MiB, 1, 1 * MiB), Gather::each);
}

TEST(CheapestGather, TakesTheLeastOfAllMethods) {
  ChannelNumbers numbers = with_packing();
  numbers.gather[static_cast<std::size_t>(Gather::batch)] = {
      .post_ns = 2000, .piece_post_ns = 100, .piece_half_bandwidth_bytes = 20'000};
  numbers.gather[static_cast<std::size_t>(Gather::through)] = {
      .fixed_ns = 4400, .post_ns = 2000, .half_bandwidth_bytes = 100'000};
  // 256 of 4 KiB, in us. Batch: max(27.6, (1,048,576 + 5,120,000) / 50,000 = 123). Pack: 33.
  // Through: 8.8 + (1,048,576 + 100,000) / 50,000 = 31.8.
  EXPECT_EQ(cheapest_gather(numbers, 1 * MiB, 256, 1 * MiB), Gather::through);
  // 4 of 16 KiB. Each: max(8, 1.3). Batch: max(2.4, 2.9). Pack and through: above 8.8.
  EXPECT_EQ(cheapest_gather(numbers, 64 * KiB, 4, 1 * MiB), Gather::batch);
  // 2 of 1 KiB. Each: 4. Batch: max(2.2, 0.8).
  EXPECT_EQ(cheapest_gather(numbers, 2 * KiB, 2, 1 * MiB), Gather::batch);
}

TEST(CheapestGather, AKernelSlowerThanTheLinkIsForSmallPieces) {
  ChannelNumbers numbers = with_packing();
  numbers.gather = {};
  numbers.half_bandwidth_bytes = 100'000;
  numbers.post_ns = 100;
  numbers.gather[static_cast<std::size_t>(Gather::through)] = {.half_bandwidth_bytes = 100'000,
                                                               .extra_permille = 140};
  // 4 of 64 KiB: 262,144 + 4 x 100,000 against 262,144 x 1.14 + 100,000.
  EXPECT_EQ(cheapest_gather(numbers, 256 * KiB, 4, 16 * MiB), Gather::through);
  // 4 of 4 MiB: 0.14 of 16 MiB is more than 3 x 100,000.
  EXPECT_EQ(cheapest_gather(numbers, 16 * MiB, 4, 16 * MiB), Gather::each);
}

TEST(CheapestGather, OfEqualsTheFirst) {
  ChannelNumbers numbers = with_packing();
  numbers.half_bandwidth_bytes = 500;
  numbers.gather = {};
  // Costs what single pieces cost.
  numbers.gather[static_cast<std::size_t>(Gather::batch)] = {.piece_post_ns = 2000,
                                                             .piece_half_bandwidth_bytes = 500};
  EXPECT_EQ(cheapest_gather(numbers, 1 * MiB, 256, 1 * MiB), Gather::each);
  numbers.gather[static_cast<std::size_t>(Gather::batch)]->piece_post_ns = 1999;
  numbers.gather[static_cast<std::size_t>(Gather::through)] =
      numbers.gather[static_cast<std::size_t>(Gather::batch)];
  EXPECT_EQ(cheapest_gather(numbers, 1 * MiB, 256, 1 * MiB), Gather::batch);
}

TEST(CheapestGather, CountsEveryCostOnce) {
  // 1 byte/ns. 100 pieces of 100 B; chunks of 1000 B hold 10 of them. Each: 10 x 200 = 2000 ns of
  // posting against 1000 on the wire.
  ChannelNumbers numbers = test::plain_channel();
  numbers.post_ns = 200;
  const auto best = [&](GatherCosts costs) {
    numbers.gather[static_cast<std::size_t>(Gather::batch)] = costs;
    return cheapest_gather(numbers, 10'000, 100, 1000) == Gather::batch;
  };
  EXPECT_TRUE(best({.post_ns = 1999}));
  EXPECT_FALSE(best({.post_ns = 2000}));
  EXPECT_TRUE(best({.piece_post_ns = 199}));
  EXPECT_FALSE(best({.piece_post_ns = 200}));
  EXPECT_TRUE(best({.fixed_ns = 499}));  // 2 x 499 + 1000
  EXPECT_FALSE(best({.fixed_ns = 500}));
  EXPECT_TRUE(best({.half_bandwidth_bytes = 999}));
  EXPECT_FALSE(best({.half_bandwidth_bytes = 1000}));
  EXPECT_TRUE(best({.piece_half_bandwidth_bytes = 99}));
  EXPECT_FALSE(best({.piece_half_bandwidth_bytes = 100}));
  EXPECT_TRUE(best({.extra_permille = 999}));
  EXPECT_FALSE(best({.extra_permille = 1000}));
  EXPECT_TRUE(best({.bytes_per_s = 2.01e9}));  // 2 x 1000 / 2.01 + 1000
  EXPECT_FALSE(best({.bytes_per_s = 2e9}));
  EXPECT_FALSE(best({.bytes_per_s = 0.5}));
}

TEST(CheapestGather, AChunkHoldsAPieceAtLeastAndAllAtMost) {
  ChannelNumbers numbers = test::plain_channel();
  numbers.post_ns = 500;
  const auto packs = [&](Bytes bytes, std::size_t pieces, Bytes chunk, TimeNs fixed) {
    numbers.gather[static_cast<std::size_t>(Gather::pack)] = GatherCosts{.fixed_ns = fixed};
    return cheapest_gather(numbers, bytes, pieces, chunk) == Gather::pack;
  };
  // Pieces of 100 B: one takes 500 to post, or 100 on the wire and twice the kernel.
  EXPECT_TRUE(packs(1000, 10, 10, 199));
  EXPECT_FALSE(packs(1000, 10, 10, 200));
  // Two pieces in a chunk that could hold ten: 1000 against 200 and the kernels.
  EXPECT_TRUE(packs(200, 2, 1000, 399));
  EXPECT_FALSE(packs(200, 2, 1000, 400));
  EXPECT_FALSE(packs(100, 1, 1000, 0));
  numbers.bytes_per_s = 0;
  EXPECT_FALSE(packs(200, 2, 1000, 0));
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
  // A byte more than 64 whole parts makes them larger, not one more.
  EXPECT_EQ(policy.chunk_bytes(wide, GiB + 1, 1), GiB / 64 + 4 * KiB);
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
