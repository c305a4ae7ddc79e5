// The parts of the CUDA backend that need no GPU.
#include <deque>

#include <gtest/gtest.h>

#include "backends/cuda/handed_over.h"
#include "backends/ring.h"
#include "backends/cuda/timer_clock.h"
#include "backends/tickets.h"
#include "core/random.h"

namespace kvhaul::cuda {
namespace {

TEST(CudaRing, PlacesFollowEachOtherAndWrap) {
  Ring ring(1000, 100);
  EXPECT_EQ(ring.take(250), 0u);  // 300 of 1000
  EXPECT_EQ(ring.take(400), 300u);
  EXPECT_EQ(ring.room(301), std::nullopt);  // 300 are left
  EXPECT_EQ(ring.take(300), 700u);
  EXPECT_EQ(ring.room(1), std::nullopt);  // full
  ring.release();
  EXPECT_EQ(ring.room(301), std::nullopt);
  EXPECT_EQ(ring.take(300), 0u);  // where the oldest was
  ring.release();
  EXPECT_EQ(ring.take(100), 300u);
  EXPECT_EQ(ring.room(400), std::nullopt);
  EXPECT_EQ(ring.take(300), 400u);
  EXPECT_EQ(ring.room(1), std::nullopt);
}

TEST(CudaRing, AsLargeAsTheRingAndNoLarger) {
  Ring ring(1000, 100);
  EXPECT_EQ(ring.room(1001), std::nullopt);
  EXPECT_EQ(ring.take(1000), 0u);
  EXPECT_EQ(ring.room(1), std::nullopt);
  ring.release();
  EXPECT_EQ(ring.take(1), 0u);
}

// Against a list of what is taken: no two places ever overlap, and an empty ring takes anything.
TEST(CudaRing, PlacesNeverOverlap) {
  Random random(5);
  Ring ring(64'000);
  std::deque<std::pair<Bytes, Bytes>> taken;
  std::size_t refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    const Bytes bytes = random.between(1, 30'000);
    const auto room = ring.room(bytes);
    if (!room) ++refused;
    ASSERT_TRUE(room || !taken.empty());
    if (room && random.chance(0.6)) {
      ASSERT_EQ(ring.take(bytes), *room);
      ASSERT_LE(*room + bytes, 64'000u);
      for (const auto& [begin, end] : taken) ASSERT_TRUE(*room + bytes <= begin || *room >= end);
      taken.emplace_back(*room, *room + bytes);
    } else if (!taken.empty()) {
      ring.release();
      taken.pop_front();
    }
  }
  EXPECT_GT(refused, 0u);
}

class CudaHandedOver : public ::testing::Test {
 protected:
  std::byte* at(std::size_t i) { return memory_ + i; }
  std::byte memory_[1000];
};

TEST_F(CudaHandedOver, WhatGoesOnAtBothEndsIsOneRange) {
  HandedOver table;
  EXPECT_TRUE(table.empty());
  table.add(100, 50, at(500));
  table.add(150, 50, at(550));
  EXPECT_EQ(table.find(120, 60), at(520));
  table.add(200, 50, at(900));  // elsewhere
  EXPECT_EQ(table.find(190, 20), nullptr);
  EXPECT_EQ(table.find(190, 10), at(590));
  EXPECT_EQ(table.find(99, 2), nullptr);
  EXPECT_EQ(table.find(249, 2), nullptr);
}

TEST_F(CudaHandedOver, WhatIsWrittenHereIsHereAgain) {
  HandedOver table;
  table.add(100, 100, at(0));
  table.remove(130, 20);
  EXPECT_EQ(table.find(100, 30), at(0));
  EXPECT_EQ(table.find(130, 1), nullptr);
  EXPECT_EQ(table.find(149, 1), nullptr);
  EXPECT_EQ(table.find(150, 50), at(50));
  table.add(90, 30, at(700));  // over the begin of what is left
  EXPECT_EQ(table.find(90, 30), at(700));
  EXPECT_EQ(table.find(120, 10), at(20));
  table.remove(0, 1000);
  EXPECT_TRUE(table.empty());
}

TEST(CudaTickets, RowsKeepTheirOrderWhenOneIsTakenOut) {
  std::vector<Ticket> tickets(5);
  for (ChunkId i = 0; i < 5; ++i) tickets[i].chunk.chunk = i;
  TicketQueue row;
  for (const std::uint32_t n : {3u, 1u, 4u, 0u}) row.push(tickets, n);
  const auto take = [&](ChunkId chunk) {
    return row.take(tickets, [&](const Ticket& t) { return t.chunk.chunk == chunk; });
  };
  EXPECT_EQ(take(2), no_id);
  EXPECT_EQ(take(0), 0u);  // the last
  row.push(tickets, 2);
  EXPECT_EQ(take(3), 3u);  // the first
  EXPECT_EQ(row.pop(tickets), 1u);
  EXPECT_EQ(row.pop(tickets), 4u);
  EXPECT_EQ(row.pop(tickets), 2u);
  EXPECT_TRUE(row.empty());
  row.push(tickets, 1);
  EXPECT_EQ(row.pop(tickets), 1u);
}

// A GPU's timer runs 999,000 ns ahead of the run's clock. Its times are seen 4000, 0 and 4000 ns
// late.
TEST(CudaTimerClock, TheLeastDelayIsTheDistance) {
  TimerClock clock;
  clock.seen(1'000'000, 5000);
  EXPECT_EQ(clock.time_of(1'000'000), 5000);
  clock.seen(1'010'000, 11'000);
  EXPECT_EQ(clock.time_of(1'010'000), 11'000);
  EXPECT_EQ(clock.time_of(1'000'000), 1000);
  clock.seen(1'020'000, 25'000);  // seen late: no news
  EXPECT_EQ(clock.time_of(1'020'000), 21'000);
}

}  // namespace
}  // namespace kvhaul::cuda
