// What a scheduler learns of its channels' rates, and how it counts their load.
#include "core/channel_table.h"

#include <gtest/gtest.h>

#include "tests/support/setups.h"

namespace kvhaul {
namespace {

/// One channel of 1 byte/ns; a first observation of as long as the time constant weighs a half.
SchedulerSetup learning(TimeNs constant_ns = 6400) {
  SchedulerSetup setup = test::one_pair(1);
  setup.config.rate_time_constant_ns = constant_ns;
  return setup;
}

double ns_per_byte(const ChannelTable& table, std::uint32_t channel = 0) {
  return static_cast<double>(table.learned_cost(channel).q32()) / 4294967296.0;
}

TEST(Learning, WeighsAnObservationByTheTimeItTook) {
  ChannelTable table(learning());
  EXPECT_DOUBLE_EQ(ns_per_byte(table), 1);
  table.observed(0, 640, 0, 6400);  // 10 ns a byte, half the weight: 1 + 9 / 2
  EXPECT_NEAR(ns_per_byte(table), 5.5, 0.01);
  // Back to back: counted from the end of the one before. 1600 ns for 1600 B: a fifth of the way
  // from 5.5 to 1.
  table.observed(0, 1600, 1000, 8000);
  EXPECT_NEAR(ns_per_byte(table), 5.5 - 4.5 / 5, 0.01);
  EXPECT_DOUBLE_EQ(static_cast<double>(table.advertised_cost(0).q32()) / 4294967296.0, 1);
  EXPECT_EQ(table.service_ns(0, {1000, 0}), table.learned_cost(0).of(1000));
}

TEST(Learning, FollowsAChannelDownAndUpAgain) {
  ChannelTable table(learning());
  TimeNs now = 0;
  for (int i = 0; i < 100; ++i) table.observed(0, 1000, now, now + 8000), now += 8000;
  EXPECT_NEAR(ns_per_byte(table), 8, 0.1);
  for (int i = 0; i < 400; ++i) table.observed(0, 1000, now, now + 500), now += 500;
  EXPECT_NEAR(ns_per_byte(table), 0.5, 0.1);
}

TEST(Learning, StaysBetweenAQuarterAndSixtyFourTimesWhatIsAdvertised) {
  ChannelTable table(learning());
  TimeNs now = 0;
  for (int i = 0; i < 100; ++i) table.observed(0, 10, now, now + 100'000), now += 100'000;
  EXPECT_NEAR(ns_per_byte(table), 64, 1);
  for (int i = 0; i < 1000; ++i) table.observed(0, 1'000'000, now, now + 6400), now += 6400;
  EXPECT_NEAR(ns_per_byte(table), 0.25, 0.01);
}

TEST(Learning, AByteCountsAsMuchAsManyInItsTime) {
  ChannelTable table(learning());
  table.observed(0, 1, 0, 6400);  // the most that is believed, 64 ns a byte, of half the weight
  EXPECT_NEAR(ns_per_byte(table), 32.5, 0.2);
}

TEST(Learning, SmallChunksAreSummedUpFirst) {
  ChannelTable table(learning());  // a step is a 64th of the constant: 100 ns
  table.observed(0, 10, 0, 50);
  table.observed(0, 10, 50, 99);
  EXPECT_DOUBLE_EQ(ns_per_byte(table), 1);
  table.observed(0, 10, 99, 100);
  // 100 ns for 30 B, of weight 100 / 6500.
  EXPECT_NEAR(ns_per_byte(table), 1 + (100.0 / 30 - 1) * 100 / 6500, 0.001);
  // What was summed up is spent.
  const double before = ns_per_byte(table);
  table.observed(0, 10, 100, 199);
  EXPECT_DOUBLE_EQ(ns_per_byte(table), before);
}

TEST(Learning, LatencyIsNoRate) {
  SchedulerSetup setup = learning();
  setup.channels[0].numbers.fixed_ns = 3000;
  setup.channels[0].numbers.stages = 2;
  ChannelTable table(setup);
  // Alone: latency, then the chunk in both stages: 3000 + 2 x 1000.
  table.observed(0, 1000, 0, 5000);
  EXPECT_NEAR(ns_per_byte(table), 1, 0.01);
  // Behind it the next one lands 1000 later; neither latency nor stages show.
  table.observed(0, 1000, 500, 6000);
  EXPECT_NEAR(ns_per_byte(table), 1, 0.01);
  // After a pause they do again.
  table.observed(0, 1000, 100'000, 105'000);
  EXPECT_NEAR(ns_per_byte(table), 1, 0.01);
  // Sooner than its latency: nothing can be learned.
  table.observed(0, 1000, 200'000, 203'000);
  table.observed(0, 1000, 300'000, 300'000);
  EXPECT_NEAR(ns_per_byte(table), 1, 0.01);
}

/// To the last bit: nothing of one observation is left for the next.
TEST(Learning, AChannelThatIsAsAdvertisedStaysExactlyThere) {
  ChannelTable table(learning());
  const std::uint64_t advertised = table.advertised_cost(0).q32();
  TimeNs now = 0;
  for (int i = 0; i < 10; ++i) {
    table.observed(0, 1000, now, now + 1000);
    now += 1000;
    EXPECT_EQ(table.learned_cost(0).q32(), advertised) << i;
  }
}

/// What lands sooner than its latency is left out, time and bytes.
TEST(Learning, TooSoonIsNoObservation) {
  SchedulerSetup setup = learning();
  setup.channels[0].numbers.fixed_ns = 3000;
  ChannelTable table(setup);
  const std::uint64_t advertised = table.advertised_cost(0).q32();
  table.observed(0, 50, 0, 2950);
  table.observed(0, 700, 10'000, 13'000);
  table.observed(0, 1000, 20'000, 24'000);
  EXPECT_EQ(table.learned_cost(0).q32(), advertised);
}

TEST(Learning, AHandOffThatMovesNothingCostsNothing) {
  SchedulerSetup setup = learning();
  setup.channels[0].numbers.bytes_per_s = 0;
  ChannelTable table(setup);
  table.observed(0, 1000, 0, 100'000);
  EXPECT_EQ(table.service_ns(0, {1'000'000, 0}), 0);
}

TEST(Load, ComesAndGoesWithEachChunk) {
  SchedulerSetup setup = test::one_pair(2);
  setup.links = {{test::byte_per_ns}, {2 * test::byte_per_ns}};
  setup.channels[0].links = {0, 1};  // link 1 is crossed by the whole pair
  setup.channels[1].links = {1};
  setup.channels[0].numbers.fixed_ns = 300;
  setup.channels[0].numbers.half_bandwidth_bytes = 100;
  setup.channels[0].numbers.post_ns = 7;
  setup.channels[0].numbers.max_in_flight = 3;
  ChannelTable table(setup);
  EXPECT_TRUE(table.all_idle());
  const auto charge = table.charge(0, 1000, 2, Gather::each);
  EXPECT_EQ(charge.bytes, 1200u);
  EXPECT_EQ(charge.post_ns, 14);
  EXPECT_EQ(table.service_ns(0, charge), 1200);
  EXPECT_EQ(table.service_ns(0, {10, 400}), 400);  // posting takes longer than moving
  table.posted(0, 1200, 1200);
  EXPECT_FALSE(table.all_idle());
  EXPECT_EQ(table.in_flight(0), 1u);
  EXPECT_EQ(table.expected_ns(0, 50), 300 + 1200);
  // Window 2000: one for each stage and one more whatever they take; then what fits.
  EXPECT_TRUE(table.channel_has_room(0, 1'000'000));
  table.posted(0, 700, 700);
  EXPECT_TRUE(table.channel_has_room(0, 100));
  EXPECT_FALSE(table.channel_has_room(0, 101));
  table.posted(0, 100, 100);
  EXPECT_FALSE(table.channel_has_room(0, 0));  // three are all it takes
  // Link 0 has 2000 ns queued, link 1 1000; the window is 8000.
  EXPECT_EQ(table.full_link(0, 6000), no_id);
  EXPECT_EQ(table.full_link(0, 6001), 0u);
  EXPECT_EQ(table.full_link(1, 14'000), no_id);
  EXPECT_EQ(table.full_link(1, 14'002), 1u);
  table.ended(0, 100, 100);
  table.ended(0, 700, 700);
  EXPECT_EQ(table.full_link(0, 6800), no_id);
  EXPECT_EQ(table.full_link(0, 6801), 0u);
  table.ended(0, 1200, 1200);
  EXPECT_TRUE(table.all_idle());
  EXPECT_EQ(table.full_link(0, 1'000'000), no_id);  // idle links have room for anything
}

TEST(LeastExpected, CountsLatencyQueuesStagesAndTheBusiestLink) {
  SchedulerSetup setup = test::one_pair(3);
  for (SetupChannel& channel : setup.channels) channel.numbers.stages = 2;
  setup.links.assign(5, {test::byte_per_ns});
  setup.channels[0].numbers.fixed_ns = 100;
  setup.channels[1].links = {0, 1, 2, 3};
  setup.channels[2].links = {4};
  ChannelTable table(setup);
  const std::vector<std::uint32_t> all = {0, 1, 2}, two = {1, 2};
  const ChannelTable::Charge charge{1000, 0};
  EXPECT_EQ(table.least_expected(all, charge), 1u);  // the first of equals; 0 has latency
  EXPECT_EQ(table.expected_ns(1, 1000), 1000);  // of the second stage
  table.posted(1, 50, 50);  // its links carry as much
  EXPECT_EQ(table.least_expected(all, charge), 2u);
  table.posted(2, 60, 60);
  EXPECT_EQ(table.least_expected(two, charge), 1u);
  table.posted(2, 60, 60);
  table.posted(1, 60, 60);
  EXPECT_EQ(table.least_expected(all, charge), 0u);  // 100 against 110 and 120
  // A channel is as busy as the busiest of its links, whichever of them that is.
  for (const std::uint32_t link : {0u, 1u, 2u, 3u}) {
    SchedulerSetup other = setup;
    other.channels[2].links = {link};
    ChannelTable shared(other);
    shared.posted(2, 40, 0);
    EXPECT_EQ(shared.least_expected(std::vector<std::uint32_t>{1, 2}, charge), 1u) << link;
    shared.posted(2, 200, 0);
    EXPECT_EQ(shared.least_expected(std::vector<std::uint32_t>{0, 1}, charge), 0u) << link;
  }
}

TEST(LeastExpected, CountsTheLearnedRateInEveryStage) {
  SchedulerSetup setup = learning();
  setup.channels.push_back(setup.channels[0]);
  setup.channels[1].id = 1;
  setup.channels[1].numbers.fixed_ns = 1500;
  ChannelTable table(setup);
  const std::vector<std::uint32_t> both = {0, 1};
  EXPECT_EQ(table.least_expected(both, {1000, 0}), 0u);
  table.observed(0, 640, 0, 6400);  // 5.5 ns a byte
  EXPECT_EQ(table.least_expected(both, {1000, 0}), 1u);
  EXPECT_EQ(table.least_expected(both, {100, 0}), 0u);
  EXPECT_EQ(table.least_expected(both, {1000, 6000}), 0u);  // posting takes both as long
}

}  // namespace
}  // namespace kvhaul
