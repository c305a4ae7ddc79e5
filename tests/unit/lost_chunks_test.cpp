// What a scheduler does about chunks that do not come back: when it suspects, what it suspects, how
// it finds out, when it gives up. One byte takes one nanosecond; chunks are 1000 bytes.
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "core/scheduler.h"
#include "tests/support/scheduler_driver.h"
#include "tests/support/setups.h"

namespace kvhaul {
namespace {

using test::one_pair;
using test::plain_channel;
using test::SchedulerDriver;

std::size_t probes_on(const SchedulerDriver& d, ChannelId channel) {
  return static_cast<std::size_t>(
      std::count_if(d.in_flight.begin(), d.in_flight.end(), [&](const PostAction& action) {
        return action.channel == channel && action.post.is_probe();
      }));
}

/// Ends the probe in flight on the channel.
void end_probe(SchedulerDriver& d, ChannelId channel, Outcome outcome = Outcome::ok) {
  const auto found =
      std::find_if(d.in_flight.begin(), d.in_flight.end(), [&](const PostAction& action) {
        return action.channel == channel && action.post.is_probe();
      });
  ASSERT_NE(found, d.in_flight.end());
  const ChunkId chunk = found->post.chunk;
  d.in_flight.erase(found);
  d.complete({channel, outcome, chunk, d.now, d.now, d.now, 0});
}

/// 16 chunks on every channel, so that each has a history.
void warm_up(SchedulerDriver& d, std::uint32_t channels) {
  for (int i = 0; i < 16; ++i) {
    for (std::uint32_t c = 0; c < channels; ++c) d.submit(1000);
    d.now += 1000;
    while (!d.in_flight.empty()) d.end(d.in_flight.front().channel);
  }
  d.ends.clear();
}

/// The first chunk on an idle channel: expected to take its 1000 ns.
TimeNs late_after(const SchedulerConfig& config) {
  return config.late_floor_ns + config.timeout_factor * 1000;
}

TEST(LostChunks, ALateChunkMakesOthersGoAnotherWayAndAProbeFindOut) {
  const SchedulerSetup setup = one_pair(2);
  SchedulerDriver d(setup);
  d.submit(1000);
  ASSERT_EQ(d.on(0), 1u);
  d.advance_to(late_after(setup.config) - 1);
  EXPECT_EQ(d.in_flight.size(), 1u);
  d.advance_to(late_after(setup.config));
  EXPECT_EQ(probes_on(d, 0), 1u);
  EXPECT_TRUE(d.cancels.empty());  // late is not lost
  EXPECT_EQ(d.scheduler.counters().late, 1u);
  d.submit(4000);
  EXPECT_EQ(d.on(0), 2u);  // the late one and the probe
  EXPECT_EQ(d.on(1), 2u);
  // The probe lands: the channel works. Its load still counts, so the next chunks stand even.
  end_probe(d, 0);
  while (d.on(1) != 0) d.end(1);
  d.submit(2000);
  EXPECT_EQ(d.on(0), 2u);
}

TEST(LostChunks, TheOnlyWayIsUsedWhileItIsMerelySuspected) {
  const SchedulerSetup setup = one_pair(1);
  SchedulerDriver d(setup);
  d.submit(1000);
  d.advance_to(late_after(setup.config));
  d.submit(500);
  EXPECT_EQ(d.on(0), 3u);
}

/// A way of a worse tier that nothing is known against is better than a suspected one.
TEST(LostChunks, AFallbackIsUsedWhileTheBetterWayIsSuspected) {
  SchedulerSetup setup = one_pair(2);
  setup.channels[1].tier = 1;
  SchedulerDriver d(setup);
  d.submit(1000);
  d.advance_to(late_after(setup.config));
  d.submit(1000);
  EXPECT_EQ(d.on(1), 1u);
  end_probe(d, 0);
  d.submit(1000);
  EXPECT_EQ(d.on(1), 1u);
  EXPECT_EQ(d.on(0), 2u);
}

TEST(LostChunks, WithoutHistoryAChunkIsGivenUpAfterTheColdTimeout) {
  const SchedulerSetup setup = one_pair(2);
  SchedulerDriver d(setup);
  d.submit(1000);
  const TimeNs given_up = late_after(setup.config) + setup.config.timeout_cold_ns;
  d.advance_to(given_up - 1);
  // Only the probe has been given up, if anything: the chunk has not.
  EXPECT_EQ(d.scheduler.counters().timeouts, 0u);
  d.advance_to(given_up);
  EXPECT_EQ(d.scheduler.counters().timeouts, 1u);
  EXPECT_EQ(d.on(1), 0u);  // not before the first one is known to be dead
  d.end(0, Outcome::cancelled);
  EXPECT_EQ(d.on(1), 1u);
  d.end(1);
  EXPECT_EQ(d.ends.at(0).outcome, TransferOutcome::delivered);
  EXPECT_EQ(d.ends.at(0).resent_chunks, 1u);
}

TEST(LostChunks, WithHistoryAChunkIsGivenUpSoon) {
  const SchedulerSetup setup = one_pair(2);
  SchedulerDriver d(setup);
  warm_up(d, 2);
  const TimeNs start = d.now;
  d.submit(1000);
  const ChannelId used = d.in_flight.front().channel;
  const TimeNs given_up = start + late_after(setup.config) + setup.config.timeout_floor_ns;
  d.advance_to(given_up - 1);
  EXPECT_TRUE(d.cancels.empty());
  d.advance_to(given_up);
  ASSERT_FALSE(d.cancels.empty());
  EXPECT_EQ(d.cancels.front().channel, used);
  EXPECT_EQ(d.scheduler.counters().timeouts, 1u);
  EXPECT_EQ(d.scheduler.counters().quarantines, 1u);
}

/// However long the history is.
TEST(LostChunks, ALongHistoryIsNoneTheLess) {
  const SchedulerSetup setup = one_pair(2);
  SchedulerDriver d(setup);
  for (int i = 0; i < 5; ++i) warm_up(d, 2);
  d.submit(1000);
  d.advance_to(d.now + late_after(setup.config) + setup.config.timeout_floor_ns);
  EXPECT_EQ(d.scheduler.counters().timeouts, 1u);
}

/// Every attempt has twice the time of the one before, up to the cold timeout.
TEST(LostChunks, PatienceDoublesWithEveryAttempt) {
  SchedulerSetup setup = one_pair(8);
  setup.config.max_attempts = 8;
  SchedulerDriver d(setup);
  warm_up(d, 8);
  d.submit(1000);
  TimeNs patience = setup.config.timeout_floor_ns;
  for (std::uint64_t attempt = 1; attempt <= 7; ++attempt) {
    const auto chunk = std::find_if(d.in_flight.begin(), d.in_flight.end(),
                                    [](const PostAction& p) { return !p.post.is_probe(); });
    ASSERT_NE(chunk, d.in_flight.end());
    const TimeNs given_up = d.now + late_after(setup.config) + patience;
    d.advance_to(given_up - 1);
    EXPECT_EQ(d.scheduler.counters().timeouts, attempt - 1);
    d.advance_to(given_up);
    EXPECT_EQ(d.scheduler.counters().timeouts, attempt) << attempt;
    const PostAction lost = *chunk;
    d.in_flight.erase(chunk);
    d.complete({lost.channel, Outcome::cancelled, lost.post.chunk, 0, d.now, d.now, 0});
    patience = std::min(2 * patience, setup.config.timeout_cold_ns);
  }
  EXPECT_EQ(patience, setup.config.timeout_cold_ns);
}

/// A channel of its own pair gives a cold one its history: both cross the same hosts.
TEST(LostChunks, HistoryOfTheOtherChannelsOfAPairCounts) {
  SchedulerSetup setup = one_pair(2);
  SchedulerDriver d(setup);
  d.submit(2000);
  ASSERT_EQ(d.on(0), 1u);
  ASSERT_EQ(d.on(1), 1u);
  // Channel 0 says nothing from the start; channel 1 lands 16 chunks.
  for (int i = 0; i < 16; ++i) {
    d.now += 1000;
    d.end(1);
    d.submit(1000);
    if (d.on(1) == 0) d.submit(1000);  // channel 0 looked as free
  }
  const TimeNs late = late_after(setup.config);
  d.advance_to(late + setup.config.timeout_floor_ns);
  EXPECT_GE(d.scheduler.counters().timeouts, 1u);
  EXPECT_LT(d.now, setup.config.timeout_cold_ns);
}

TEST(LostChunks, AChannelThatHasShownToNeedLongerGetsLonger) {
  const SchedulerSetup setup = one_pair(1);
  SchedulerDriver d(setup);
  d.now = 10 * s_ns;  // what is forgotten is counted from when it was shown, not from the start
  warm_up(d, 1);
  // One chunk takes 400 us: more than half of what it was allowed, and not late.
  d.submit(1000);
  const TimeNs start = d.now;
  d.now = start + 400'000;
  d.complete({0, Outcome::ok, d.in_flight.front().post.chunk, start, d.now - 1000, d.now, 1000});
  d.in_flight.clear();
  EXPECT_EQ(d.scheduler.counters().late, 0u);
  // The next is late after twice what was needed.
  d.submit(1000);
  const TimeNs posted = d.now;
  d.advance_to(posted + 800'000 - 1);
  EXPECT_EQ(d.scheduler.counters().late, 0u);
  d.advance_to(posted + 800'000);
  EXPECT_EQ(d.scheduler.counters().late, 1u);
  // Of what went beyond the usual an eighth is left three seconds later.
  end_probe(d, 0);
  d.end(0);
  d.advance_to(start + 400'000 + 3 * s_ns);
  d.submit(1000);
  const TimeNs again = d.now, usual = late_after(setup.config);
  const TimeNs left = (800'000 - usual) / 8;
  d.advance_to(again + usual + left - 1);
  EXPECT_EQ(d.scheduler.counters().late, 1u);
  d.advance_to(again + usual + left);
  EXPECT_EQ(d.scheduler.counters().late, 2u);
}

/// Its own slack is given to a chunk before it is late. From there on counts what the other channel
/// has shown to need beyond that.
TEST(LostChunks, SlackOfTheOtherChannelsCountsWhereItIsMore) {
  for (const bool own_is_more : {true, false}) {
    const SchedulerSetup setup = one_pair(2);
    SchedulerDriver d(setup);
    warm_up(d, 2);
    d.submit(1000);
    d.submit(1000);
    ASSERT_EQ(d.on(0), 1u);
    ASSERT_EQ(d.on(1), 1u);
    // The next one goes to channel 0.
    const TimeNs start = d.now,
                 used_ns[] = {own_is_more ? 400'000 : 300'000, own_is_more ? 300'000 : 400'000};
    const std::vector<PostAction> posts = std::exchange(d.in_flight, {});
    for (const TimeNs at : {300'000, 400'000})
      for (const PostAction& action : posts) {
        if (used_ns[action.channel] != at) continue;
        d.now = start + at;
        d.complete(
            {action.channel, Outcome::ok, action.post.chunk, start, d.now - 1000, d.now, 1000});
      }
    d.submit(1000);
    const TimeNs posted = d.now;
    ASSERT_EQ(d.on(0), 1u);
    d.advance_to(posted + 2 * used_ns[0] - 1);
    EXPECT_EQ(d.scheduler.counters().late, 0u);
    d.advance_to(posted + 2 * used_ns[0]);
    EXPECT_EQ(d.scheduler.counters().late, 1u);
    d.advance_to(posted + 800'000 + setup.config.timeout_floor_ns - 1);
    EXPECT_EQ(d.scheduler.counters().timeouts, 0u);
    d.advance_to(posted + 800'000 + setup.config.timeout_floor_ns);
    EXPECT_EQ(d.scheduler.counters().timeouts, 1u);
  }
}

TEST(LostChunks, SlackOfTheOtherChannelsIsForgottenToo) {
  const SchedulerSetup setup = one_pair(2);
  SchedulerDriver d(setup);
  d.now = 10 * s_ns;
  warm_up(d, 2);
  // Channel 1 takes 400 us for a chunk, channel 0 no longer than ever.
  d.submit(2000);
  const TimeNs start = d.now;
  for (const PostAction& action : std::exchange(d.in_flight, {})) {
    d.now = start + (action.channel == 0 ? 1000 : 400'000);
    d.complete({action.channel, Outcome::ok, action.post.chunk, start, d.now - 1000, d.now, 1000});
  }
  const TimeNs usual = late_after(setup.config), slack = 800'000 - usual;
  // A look at which all of it counts: a chunk on channel 0 is late, and lands.
  d.submit(1000);
  ASSERT_EQ(d.on(0), 1u);
  const TimeNs posted = d.now;
  d.advance_to(posted + usual);
  EXPECT_EQ(d.scheduler.counters().late, 1u);
  end_probe(d, 0);
  d.complete({0, Outcome::ok, d.in_flight.front().post.chunk, posted, d.now, d.now, 1000});
  d.in_flight.clear();
  // An eighth of that, and of what this one has shown, is left three seconds later.
  d.advance_to(d.now + 3 * s_ns);
  d.submit(1000);
  ASSERT_EQ(d.on(0), 1u);
  const TimeNs left = std::max(slack, usual) / 8;
  const TimeNs given_up = d.now + usual + left + setup.config.timeout_floor_ns;
  d.advance_to(given_up - 1);
  EXPECT_EQ(d.scheduler.counters().timeouts, 0u);
  d.advance_to(given_up);
  EXPECT_EQ(d.scheduler.counters().timeouts, 1u);
}

/// Many that took as long ask for no more than one does, whether they were posted before or after.
TEST(LostChunks, WhatManyChunksHaveNeededIsNotAddedUp) {
  const SchedulerSetup setup = one_pair(1);
  SchedulerDriver d(setup);
  warm_up(d, 1);
  for (int round = 0; round < 3; ++round) {
    d.submit(2000);  // two chunks
    ASSERT_EQ(d.in_flight.size(), 2u);
    const TimeNs start = d.now;
    d.now = start + 400'000;
    for (int i = 0; i < 2; ++i)
      d.complete({0, Outcome::ok, d.in_flight[i].post.chunk, start, d.now - 1000, d.now, 1000});
    d.in_flight.clear();
  }
  d.submit(1000);
  const TimeNs posted = d.now;
  d.advance_to(posted + 800'000);
  EXPECT_EQ(d.scheduler.counters().late, 1u);
}

/// Two pairs with two channels each: channels 0 and 2 cross NIC 0 (link 0), 1 and 3 NIC 1 (link 1).
SchedulerSetup two_pairs_on_two_nics() {
  SchedulerSetup setup = one_pair(0);
  setup.pairs = {{0, 10, 0}, {1, 11, 1}};
  setup.accounts = {{10, 0, Bytes{1} << 60, Bytes{1} << 60, false},
                    {11, 0, Bytes{1} << 60, Bytes{1} << 60, false}};
  setup.links = {{test::byte_per_ns}, {test::byte_per_ns}};
  for (std::uint32_t c = 0; c < 4; ++c)
    setup.channels.push_back({c, c / 2, 0, plain_channel(), {c % 2}});
  return setup;
}

TransferRequest to_pair(std::uint32_t pair) {
  TransferRequest request;
  request.pair = pair;
  return request;
}

TEST(LostChunks, WhatIsLearntOfALinkHoldsForAllThatCrossIt) {
  const SchedulerSetup setup = two_pairs_on_two_nics();
  SchedulerDriver d(setup);
  d.submit(1000, to_pair(0));
  ASSERT_EQ(d.on(0), 1u);
  d.advance_to(late_after(setup.config));
  // The other pair has lost nothing yet, and does not have to: it leaves NIC 0 alone.
  for (int i = 0; i < 4; ++i) d.submit(1000, to_pair(1));
  EXPECT_EQ(d.on(2), probes_on(d, 2));
  EXPECT_EQ(d.on(3), 2u);
  // The link's probe goes by the channel that is not in doubt itself, and lands: the other pair
  // may use NIC 0 again, the channel that lost a chunk is still in doubt.
  ASSERT_EQ(probes_on(d, 2), 1u);
  end_probe(d, 2);
  d.submit(2000, to_pair(1));
  EXPECT_GT(d.on(2), 0u);
  d.submit(1000, to_pair(0));
  EXPECT_EQ(d.on(0), 1u + probes_on(d, 0));
  EXPECT_EQ(d.on(1), 1u);
}

TEST(LostChunks, ALinkOnWhichOthersLandIsNotToBlame) {
  const SchedulerSetup setup = two_pairs_on_two_nics();
  SchedulerDriver d(setup);
  d.submit(1000, to_pair(0));
  ASSERT_EQ(d.on(0), 1u);
  const TimeNs late = late_after(setup.config);
  d.now = late - 1000;
  d.submit(1000, to_pair(1));
  ASSERT_EQ(d.on(2) + d.on(3), 1u);
  const ChannelId other = d.on(2) == 1 ? 2 : 3;
  d.end(other);
  if (other == 3) {  // it has to be NIC 0 that lands something
    d.submit(2000, to_pair(1));
    ASSERT_EQ(d.on(2), 1u);
    d.end(2);
  }
  d.advance_to(late);
  EXPECT_EQ(probes_on(d, 2), 0u);
  EXPECT_EQ(probes_on(d, 0), 1u);
  while (d.on(3) != 0) d.end(3);
  d.submit(2000, to_pair(1));
  EXPECT_EQ(d.on(2), 1u);
}

/// A chunk larger than the window of a link waits until the link carries nothing. Probes are
/// nothing: on a link that a dead channel crosses there is always one.
TEST(LostChunks, ProbesOnALinkKeepNobodyWaiting) {
  SchedulerSetup setup = test::pairs_on_one_link(2, 500);
  setup.config.max_attempts = 1;
  SchedulerDriver d(setup);
  d.submit(1000, to_pair(0));
  d.advance_to(late_after(setup.config));
  end_probe(d, 1);  // the link works, channel 0 does not
  d.end(0, Outcome::cancelled);
  ASSERT_EQ(d.in_flight.size(), 1u);
  ASSERT_EQ(probes_on(d, 0), 1u);
  d.submit(1000, to_pair(1));
  EXPECT_EQ(d.on(1), 1u);
  d.submit(1000, to_pair(1));
  EXPECT_EQ(d.on(1), 1u);  // the link is full now
}

/// A link is quarantined when its own probe fails, and carries nothing of users until one lands.
TEST(LostChunks, ALinkWhoseProbeFailsCarriesProbesAlone) {
  SchedulerSetup setup = two_pairs_on_two_nics();
  SchedulerDriver d(setup);
  d.submit(1000, to_pair(0));
  d.advance_to(late_after(setup.config));
  ASSERT_EQ(probes_on(d, 2), 1u);
  end_probe(d, 2, Outcome::path_failed);
  const TimeNs failed = d.now;
  for (int i = 0; i < 6; ++i) d.submit(1000, to_pair(1));
  EXPECT_EQ(d.on(2), 0u);
  d.advance_to(failed + setup.config.quarantine_ns - 1);
  EXPECT_EQ(probes_on(d, 2), 0u);
  d.advance_to(failed + setup.config.quarantine_ns);
  // Channel 2's own quarantine ends too: one probe serves both.
  EXPECT_EQ(probes_on(d, 2), 1u);
  end_probe(d, 2);
  while (d.on(3) != 0) d.end(3);
  d.submit(2000, to_pair(1));
  EXPECT_GT(d.on(2), 0u);
}

TEST(LostChunks, ProbesAreNoAttemptsAndTakeNoCredit) {
  SchedulerSetup setup = one_pair(1);
  setup.config.max_attempts = 1;
  setup.accounts[0] = {1, 0, 1000, 1000, false};
  SchedulerDriver d(setup);
  d.submit(1000);
  d.advance_to(late_after(setup.config));
  ASSERT_EQ(probes_on(d, 0), 1u);
  end_probe(d, 0);
  d.end(0);
  ASSERT_EQ(d.ends.size(), 1u);
  EXPECT_EQ(d.ends[0].outcome, TransferOutcome::delivered);
  EXPECT_EQ(d.ends[0].chunks, 1u);
  EXPECT_EQ(d.scheduler.counters().chunks_posted, 1u);
  EXPECT_EQ(d.scheduler.counters().probes, 1u);
  EXPECT_TRUE(d.scheduler.idle());
}

/// Nothing ever lands, probes neither: every transfer ends all the same.
TEST(LostChunks, EveryTransferEndsWithinTheBoundWhateverIsLost) {
  const SchedulerSetup setup = one_pair(8);
  const TimeNs bound = end_bound_ns(setup, 0, 1000);
  // 10 s and 2 x 8 x (4 x (0 + 8000) + 500 us + 800 ms + 2 x 200 ms)
  EXPECT_EQ(bound, 10 * s_ns + 16 * (32'000 + 500 * us_ns + 1200 * ms_ns));
  SchedulerSetup defaults = one_pair(8);
  defaults.config = {};
  EXPECT_LE(end_bound_ns(defaults, 0, 100 * us_ns), 30 * s_ns);
  SchedulerDriver d(setup);
  for (int i = 0; i < 20; ++i) d.submit(3000);
  while (d.ends.size() < 20 && d.now < 2 * bound) {
    d.advance_to(std::max(d.now + 1, d.timer_ns));
    while (!d.cancels.empty()) {
      const CancelAction cancel = d.cancels.front();
      d.cancels.erase(d.cancels.begin());
      std::erase_if(d.in_flight, [&](const PostAction& p) { return p.post.chunk == cancel.chunk; });
      d.complete({cancel.channel, Outcome::cancelled, cancel.chunk, 0, d.now, d.now, 0});
    }
  }
  ASSERT_EQ(d.ends.size(), 20u);
  for (const TransferEnd& end : d.ends) {
    EXPECT_NE(end.outcome, TransferOutcome::delivered);
    EXPECT_LE(end.reported_ns, bound);
  }
}

/// Each transfer has its own time, from when it was submitted or the last way was lost.
TEST(LostChunks, WhatWaitsForAPairWithoutAWayFailsInItsTurn) {
  const SchedulerSetup setup = one_pair(1);
  SchedulerDriver d(setup);
  const TimeNs stall = setup.config.stall_timeout_ns;
  d.now = 500;
  d.submit(1000);
  d.now = 1000;
  d.link(0, false);  // the way is lost now
  d.end(0, Outcome::cancelled);
  d.now = 3000;
  d.submit(1000);
  d.advance_to(1000 + stall - 1);
  EXPECT_TRUE(d.ends.empty());
  d.advance_to(1000 + stall);
  ASSERT_EQ(d.ends.size(), 1u);
  d.advance_to(3000 + stall - 1);
  ASSERT_EQ(d.ends.size(), 1u);
  d.advance_to(3000 + stall);
  ASSERT_EQ(d.ends.size(), 2u);
  EXPECT_EQ(d.ends[1].outcome, TransferOutcome::no_route);
}

/// A way that comes back and loses everything again is none: the clock goes on.
TEST(LostChunks, AWayThatOnlyProbesPassDoesNotKeepATransferWaiting) {
  SchedulerSetup setup = one_pair(1);
  setup.config.max_attempts = 1000;
  SchedulerDriver d(setup);
  d.submit(1000);
  while (d.ends.empty() && d.now < 100 * s_ns) {
    d.advance_to(std::max(d.now + 1, d.timer_ns));
    // Only what tries out the channel after a quarantine comes back.
    if (d.on(0) == 1 && probes_on(d, 0) == 1) end_probe(d, 0);
    while (!d.cancels.empty()) {
      const CancelAction cancel = d.cancels.front();
      d.cancels.erase(d.cancels.begin());
      if (std::erase_if(d.in_flight,
                        [&](const PostAction& p) { return p.post.chunk == cancel.chunk; }) == 0)
        continue;
      d.complete({cancel.channel, Outcome::cancelled, cancel.chunk, 0, d.now, d.now, 0});
    }
  }
  ASSERT_EQ(d.ends.size(), 1u);
  EXPECT_LE(d.now, 2 * setup.config.stall_timeout_ns);
}

/// Had it not been forgotten when something landed, the second failure would fall under the first
/// one's clock and end the transfer at once.
TEST(LostChunks, TheClockOfAPairBeginsAnewWhenSomethingHasLanded) {
  const SchedulerSetup setup = one_pair(1);
  SchedulerDriver d(setup);
  const TimeNs stall = setup.config.stall_timeout_ns;
  d.link(0, false);
  d.submit(1000);
  d.now = 1000;
  d.link(0, true);
  end_probe(d, 0);
  d.end(0);
  ASSERT_EQ(d.ends.size(), 1u);
  d.submit(1000);
  d.now = stall - 1000;
  d.link(0, false);
  d.end(0, Outcome::cancelled);
  d.advance_to(2 * stall - 1001);
  EXPECT_EQ(d.ends.size(), 1u);
  d.advance_to(2 * stall - 1000);
  ASSERT_EQ(d.ends.size(), 2u);
  EXPECT_EQ(d.ends[1].outcome, TransferOutcome::no_route);
}

/// The cancel of a probe may last longer than the quarantine: the next probe goes when it has
/// ended.
TEST(LostChunks, AProbeWhoseCancelLastsIsFollowedByAnother) {
  const SchedulerSetup setup = one_pair(2);
  SchedulerDriver d(setup);
  warm_up(d, 2);
  d.submit(1000);
  const ChannelId lost = d.in_flight.front().channel;
  d.advance_to(d.now + 200 * ms_ns);  // chunk and probe are given up, the quarantine is over
  ASSERT_EQ(probes_on(d, lost), 1u);
  d.end(lost, Outcome::cancelled);
  end_probe(d, lost, Outcome::cancelled);
  ASSERT_EQ(probes_on(d, lost), 1u);
  end_probe(d, lost);
  while (d.on(1 - lost) != 0) d.end(1 - lost);
  d.submit(2000);
  EXPECT_GT(d.on(lost), 0u);
}

TEST(Health, ErrorsCountInARowAndAPenaltyIsForgotten) {
  SchedulerConfig config;
  config.quarantine_errors = 2;
  config.quarantine_ns = 100;
  config.quarantine_max_ns = 350;
  Health health;
  health.error(0, config);
  health.landed();
  health.error(0, config);
  EXPECT_EQ(health.state(), Health::State::up);
  health.error(10, config);
  EXPECT_EQ(health.state(), Health::State::quarantined);
  EXPECT_EQ(health.quarantine_end_ns(), 110);
  health.landed();  // a quarantine runs to its end
  EXPECT_FALSE(health.end_quarantine(109));
  EXPECT_TRUE(health.end_quarantine(110));
  health.fail(110, config);
  EXPECT_EQ(health.quarantine_end_ns(), 310);
  EXPECT_TRUE(health.end_quarantine(310));
  health.fail(310, config);
  EXPECT_EQ(health.quarantine_end_ns(), 660);  // no longer than the maximum
  EXPECT_TRUE(health.end_quarantine(660));
  health.landed();
  EXPECT_TRUE(health.clean());
  health.fail(700, config);
  EXPECT_EQ(health.quarantine_end_ns(), 800);
  health.link(false);
  EXPECT_EQ(health.quarantine_end_ns(), never_ns);
  health.fail(900, config);
  health.landed();
  EXPECT_EQ(health.state(), Health::State::down);
  health.link(true);
  EXPECT_EQ(health.state(), Health::State::probing);
}

}  // namespace
}  // namespace kvhaul
