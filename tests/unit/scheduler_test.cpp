// Stories about one scheduler: what goes in, what must come out.
#include "core/scheduler.h"

#include <gtest/gtest.h>

#include "tests/support/scheduler_driver.h"
#include "tests/support/setups.h"

namespace kvhaul {
namespace {

using test::one_pair;
using test::pairs_on_one_link;
using test::plain_channel;
using test::SchedulerDriver;

TransferRequest with(Priority priority, TimeNs deadline_ns, std::uint32_t pair = 0) {
  TransferRequest request;
  request.pair = pair;
  request.priority = priority;
  request.deadline_ns = deadline_ns;
  return request;
}

TEST(Scheduler, CutsATransferAndReportsItsEnd) {
  SchedulerDriver d(one_pair(1));
  const TransferId id = d.submit(2500);
  // Chunks of 1000; the window of 2000 ns holds two of them.
  ASSERT_EQ(d.in_flight.size(), 2u);
  EXPECT_EQ(d.in_flight[1].post.piece, (Descriptor{1000, 1000, 1000}));
  d.now = 1000;
  d.end(0);
  ASSERT_EQ(d.in_flight.size(), 2u);
  EXPECT_EQ(d.in_flight[1].post.piece, (Descriptor{2000, 2000, 500}));
  d.end(0);
  EXPECT_TRUE(d.ends.empty());
  d.now = 2500;
  d.end(0);
  ASSERT_EQ(d.ends.size(), 1u);
  EXPECT_EQ(d.ends[0].id, id);
  EXPECT_EQ(d.ends[0].outcome, TransferOutcome::delivered);
  EXPECT_EQ(d.ends[0].chunks, 3u);
  EXPECT_EQ(d.ends[0].reported_ns, 2500);
  EXPECT_TRUE(d.scheduler.idle());
}

TEST(Scheduler, SpreadsOverChannelsByLeastExpectedFinish) {
  SchedulerDriver d(one_pair(3));
  d.submit(6000);
  EXPECT_EQ(d.on(0), 2u);
  EXPECT_EQ(d.on(1), 2u);
  EXPECT_EQ(d.on(2), 2u);
}

TEST(Scheduler, LeavesASlowChannelAloneUntilTheFastOneIsFuller) {
  SchedulerSetup setup = one_pair(2);
  setup.channels[1].numbers.bytes_per_s = 0.25e9;  // 1000 B take 4000 ns instead of 1000
  setup.config.channel_window_ns = 5000;
  SchedulerDriver d(setup);
  d.submit(5000);
  // Expected finish on the fast one: 1000, 2000, 3000, 4000 (a tie: the lower id), then 5000 >
  // 4000.
  EXPECT_EQ(d.on(0), 4u);
  EXPECT_EQ(d.on(1), 1u);
}

TEST(Scheduler, LearnsThatAChannelIsSlow) {
  SchedulerSetup setup = one_pair(2);
  setup.config.rate_time_constant_ns = 10'000;
  setup.config.channel_window_ns = 20'000;
  SchedulerDriver d(setup);
  d.submit(1'000'000);
  // As advertised, both take 20 chunks of 1000 ns.
  EXPECT_EQ(d.on(0), 20u);
  EXPECT_EQ(d.on(1), 20u);
  // Channel 1 delivers at a tenth of its advertised rate.
  for (int i = 0; i < 300; ++i) {
    d.now += 1000;
    for (const ChannelId channel : {0u, 1u}) {
      if (d.on(channel) == 0 || (channel == 1 && i % 10 != 9)) continue;
      const auto found = std::find_if(d.in_flight.begin(), d.in_flight.end(),
                                      [&](const PostAction& p) { return p.channel == channel; });
      const ChunkId chunk = found->post.chunk;
      d.in_flight.erase(found);
      const TimeNs took = channel == 1 ? 10'000 : 1000;
      d.complete({channel, Outcome::ok, chunk, d.now - took, d.now - took, d.now, 0});
    }
  }
  // 20,000 ns are 20 chunks of the fast one and two of the slow one.
  EXPECT_EQ(d.on(0), 20u);
  EXPECT_LE(d.on(1), 2u);
}

TEST(Scheduler, EarlierDeadlinesGoFirstInsideAClass) {
  SchedulerDriver d(one_pair(1));
  d.submit(2000);  // fills the window
  d.submit(1000, with(Priority::normal, 9000));
  d.submit(1000, with(Priority::normal, 5000));
  d.end(0);
  EXPECT_EQ(d.in_flight.back().post.piece.source_offset, 3000u);  // the one due at 5000
}

TEST(Scheduler, AHigherClassGoesBeforeAnyDeadline) {
  SchedulerDriver d(one_pair(1));
  d.submit(2000);
  d.submit(1000, with(Priority::low, 1));
  d.submit(1000, with(Priority::high, 1'000'000));
  d.end(0);
  EXPECT_EQ(d.in_flight.back().post.piece.source_offset, 3000u);
}

TEST(Scheduler, AnUrgentTransferOvertakesTheRestOfALongOne) {
  SchedulerDriver d(one_pair(1));
  d.submit(100'000, with(Priority::normal, 500'000));
  d.submit(1000, with(Priority::normal, 1000));
  d.end(0);
  EXPECT_EQ(d.in_flight.back().post.piece.source_offset, 100'000u);
}

TEST(Scheduler, TheLowestClassDoesNotStarve) {
  SchedulerSetup setup = one_pair(1);
  setup.config.ageing_ns = 50'000;
  setup.config.default_slack_ns = 100'000;
  SchedulerDriver d(setup);
  d.submit(2000);
  const TransferId patient = d.submit(1000, with(Priority::low, never_ns));
  bool done = false;
  while (!done && d.now < 1'000'000) {
    d.submit(1000, with(Priority::high, d.now + 200'000));  // an endless stream of urgent ones
    d.now += 1000;
    d.end(0);
    for (const TransferEnd& end : d.ends) done = done || end.id == patient;
  }
  EXPECT_TRUE(done);
  // Two promotions of 50 us; then its deadline (submission + 100 us) is later than those of the
  // high ones, until theirs pass it: no later than slack + ageing.
  EXPECT_LT(d.now, setup.config.default_slack_ns + 3 * setup.config.ageing_ns);
}

TEST(Scheduler, ASharedLinkServesTheMostUrgentPairFirst) {
  SchedulerDriver d(pairs_on_one_link(3, 2000));
  d.submit(2000, with(Priority::normal, 100'000, 0));  // fills the link's window
  d.submit(1000, with(Priority::normal, 90'000, 1));
  d.submit(1000, with(Priority::normal, 80'000, 2));
  EXPECT_EQ(d.in_flight.size(), 2u);
  d.end(0);
  EXPECT_EQ(d.on(2), 1u);
  EXPECT_EQ(d.on(1), 0u);
  d.end(0);
  EXPECT_EQ(d.on(1), 1u);
}

TEST(Scheduler, ASmallChunkDoesNotSlipPastAParkedLargeOne) {
  SchedulerSetup setup = pairs_on_one_link(3, 2000);
  setup.config.chunk_bytes = 1800;
  SchedulerDriver d(setup);
  d.submit(1800, with(Priority::normal, 100'000, 0));
  d.submit(1800, with(Priority::normal, 50'000, 1));  // no room beside the first
  d.submit(100, with(Priority::normal, 60'000, 2));   // would fit, but is less urgent
  EXPECT_EQ(d.in_flight.size(), 1u);
  d.submit(100, with(Priority::normal, 10'000, 2));  // more urgent than the one parked
  EXPECT_EQ(d.on(2), 1u);
}

TEST(Scheduler, AFailedChunkGoesToAnotherChannel) {
  SchedulerDriver d(one_pair(2));
  d.submit(1000);
  ASSERT_EQ(d.on(0), 1u);
  d.end(0, Outcome::path_failed);
  EXPECT_EQ(d.on(0), 0u);
  EXPECT_EQ(d.on(1), 1u);
  d.end(1);
  ASSERT_EQ(d.ends.size(), 1u);
  EXPECT_EQ(d.ends[0].resent_chunks, 1u);
  EXPECT_EQ(d.ends[0].resent_bytes, 1000u);
  EXPECT_EQ(d.ends[0].channels_used, 0b11u);
}

TEST(Scheduler, GivesUpAfterAllAttempts) {
  SchedulerSetup setup = one_pair(1);
  setup.config.max_attempts = 3;
  setup.config.quarantine_errors = 100;
  SchedulerDriver d(setup);
  d.submit(1000);
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(d.on(0), 1u);
    d.end(0, Outcome::retry);
  }
  ASSERT_EQ(d.ends.size(), 1u);
  EXPECT_EQ(d.ends[0].outcome, TransferOutcome::failed);
  EXPECT_TRUE(d.scheduler.idle());
}

TEST(Scheduler, AnInvalidPostFailsTheTransferAtOnce) {
  SchedulerDriver d(one_pair(2));
  d.submit(3000);
  d.end(0, Outcome::invalid);
  EXPECT_TRUE(d.ends.empty());  // the others are still in flight
  EXPECT_FALSE(d.cancels.empty());
  while (!d.in_flight.empty()) d.end(d.in_flight[0].channel, Outcome::cancelled);
  ASSERT_EQ(d.ends.size(), 1u);
  EXPECT_EQ(d.ends[0].outcome, TransferOutcome::failed);
}

TEST(Scheduler, QuarantinesProbesAndTakesBack) {
  SchedulerSetup setup = one_pair(2);
  setup.config.quarantine_errors = 2;
  SchedulerDriver d(setup);
  d.submit(1'000'000);
  d.end(0, Outcome::path_failed);
  d.end(0, Outcome::path_failed);
  EXPECT_EQ(d.scheduler.counters().quarantines, 1u);
  while (d.on(0) != 0) d.end(0);
  d.end(1);
  EXPECT_EQ(d.on(0), 0u);
  // Not ready at t - 1, ready at t.
  d.advance_to(setup.config.quarantine_ns - 1);
  EXPECT_EQ(d.on(0), 0u);
  d.advance_to(setup.config.quarantine_ns);
  EXPECT_EQ(d.on(0), 1u);  // one probe
  d.end(1);
  EXPECT_EQ(d.on(0), 1u);
  EXPECT_EQ(d.scheduler.counters().readmissions, 0u);  // suspicion was no quarantine
  d.end(0);
  EXPECT_EQ(d.scheduler.counters().readmissions, 1u);
  EXPECT_EQ(d.on(0), 2u);
}

TEST(Scheduler, AFailedProbeDoublesTheQuarantine) {
  SchedulerSetup setup = one_pair(2);
  setup.config.quarantine_errors = 1;
  SchedulerDriver d(setup);
  d.submit(1'000'000);
  d.end(0, Outcome::path_failed);
  while (d.on(0) != 0) d.end(0);
  d.advance_to(setup.config.quarantine_ns);
  ASSERT_EQ(d.on(0), 1u);
  d.end(0, Outcome::path_failed);
  d.advance_to(3 * setup.config.quarantine_ns - 1);
  EXPECT_EQ(d.on(0), 0u);
  d.advance_to(3 * setup.config.quarantine_ns);
  EXPECT_EQ(d.on(0), 1u);
}

TEST(Scheduler, ADoubledOrLateCompletionIsDropped) {
  SchedulerDriver d(one_pair(1));
  d.submit(2000);
  const PostAction first = d.in_flight[0];
  d.end(0);
  d.complete({0, Outcome::ok, first.post.chunk, 0, 0, 0, 0});
  d.complete({0, Outcome::ok, 0xdeadbeef, 0, 0, 0, 0});
  EXPECT_EQ(d.scheduler.counters().unexpected, 2u);
  EXPECT_TRUE(d.ends.empty());
  d.end(0);
  EXPECT_EQ(d.ends.size(), 1u);
}

TEST(Scheduler, ALinkThatGoesDownIsLeftAtOnce) {
  SchedulerDriver d(one_pair(2));
  d.submit(4000);
  ASSERT_EQ(d.on(0), 2u);
  d.link(0, false);
  EXPECT_EQ(d.cancels.size(), 2u);
  d.end(0, Outcome::cancelled);
  d.end(0, Outcome::cancelled);
  while (d.on(1) != 0) d.end(1);
  ASSERT_EQ(d.ends.size(), 1u);
  EXPECT_EQ(d.ends[0].resent_chunks, 2u);
  // Back up: a probe has to come back before it is trusted.
  d.link(0, true);
  d.submit(4000);
  ASSERT_EQ(d.on(0), 1u);
  EXPECT_TRUE(d.in_flight.front().post.is_probe());
  d.end(0);
  d.submit(4000);
  EXPECT_EQ(d.on(0), 2u);
}

TEST(Scheduler, AFallbackTierIsUsedOnlyWhileNothingBetterWorks) {
  SchedulerSetup setup = one_pair(2);
  setup.channels[1].tier = 1;
  SchedulerDriver d(setup);
  d.submit(10'000);
  EXPECT_EQ(d.on(1), 0u);
  d.link(0, false);
  d.end(0, Outcome::cancelled);
  EXPECT_GT(d.on(1), 0u);
  d.end(0, Outcome::cancelled);
  while (!d.in_flight.empty()) d.end(1);
  ASSERT_EQ(d.ends.size(), 1u);
  EXPECT_EQ(d.ends[0].fallback_tier, 1u);
}

/// Up to 255 they are told apart.
TEST(Scheduler, TellsWhichFallbackTierWasUsed) {
  for (const auto& [tier, told] :
       {std::pair{200u, 200u}, {255u, 255u}, {256u, 255u}, {1000u, 255u}}) {
    SchedulerSetup setup = one_pair(2);
    setup.channels[1].tier = tier;
    SchedulerDriver d(setup);
    d.link(0, false);
    d.submit(1000);
    d.end(1);
    ASSERT_EQ(d.ends.size(), 1u);
    EXPECT_EQ(d.ends[0].fallback_tier, told);
  }
}

/// Ids of a scheduler's channels may have gaps: others own the rest.
TEST(Scheduler, AChangeOfAChannelThatIsNotItsOwnIsIgnored) {
  SchedulerSetup setup = one_pair(2);
  setup.channels[0].id = 5;
  setup.channels[1].id = 9;
  SchedulerDriver d(setup);
  for (const ChannelId other : {0u, 4u, 6u, 8u, 10u, 4'000'000'000u}) d.link(other, false);
  d.submit(4000);
  EXPECT_EQ(d.on(5), 2u);
  EXPECT_EQ(d.on(9), 2u);
  d.link(9, false);
  EXPECT_EQ(d.cancels.size(), 2u);
}

/// The more channels share a transfer, the more it gains from being cut; a link that all of them
/// cross limits how many do.
TEST(Scheduler, CutsForAsManyChannelsAsTheirCommonLinkCanFill) {
  const auto chunks = [](double link_bytes_per_s, std::uint32_t stages = 1) {
    SchedulerSetup setup = one_pair(4);
    setup.links = {{link_bytes_per_s}};
    setup.config.chunk_bytes = 0;
    setup.config.chunk_time_ns = 100 * ms_ns;
    setup.config.channel_window_ns = setup.config.link_window_ns = s_ns;
    for (SetupChannel& channel : setup.channels) {
      channel.links = {0};
      channel.numbers.half_bandwidth_bytes = 10'000;
      channel.numbers.stages = stages;
    }
    SchedulerDriver d(setup);
    d.submit(16'000'000);
    return d.in_flight.size();
  };
  const std::size_t one = chunks(1e9), two = chunks(2e9), four = chunks(4e9);
  EXPECT_EQ(one, 1u);  // nothing is gained by cutting
  EXPECT_LT(two, four);
  EXPECT_EQ(chunks(1.98e9), one);  // two do not fit
  EXPECT_EQ(chunks(1.992e9), two);  // but for rounding
  EXPECT_EQ(chunks(0.5e9), one);
  EXPECT_GT(chunks(1e9, 2), one);
  EXPECT_EQ(chunks(0.5e9, 2), chunks(1e9, 2));  // one it is all the same
  EXPECT_EQ(chunks(9e9), four);
}

/// Chunks are cut once: they fit every channel of the pair, fallbacks too.
TEST(Scheduler, ChunksFitTheChannelThatTakesLeast) {
  SchedulerSetup setup = one_pair(2);
  setup.channels[1].tier = 1;
  setup.channels[1].numbers.max_chunk_bytes = 300;
  SchedulerDriver whole(setup);
  whole.submit(1000);
  ASSERT_EQ(whole.in_flight.size(), 4u);
  EXPECT_EQ(whole.in_flight[0].post.bytes, 300u);

  setup.channels[0].numbers.max_pieces = 8;
  setup.channels[1].numbers.max_pieces = 3;
  SchedulerDriver scattered(setup);
  std::vector<Descriptor> pieces;
  for (Bytes i = 0; i < 6; ++i) pieces.push_back({i * 20, i * 30, 10});
  TransferRequest request;
  request.pair = 0;
  request.descriptors = pieces;
  scattered.scheduler.submit(0, request);
  ASSERT_EQ(scattered.scheduler.actions().posts.size(), 2u);
  EXPECT_EQ(scattered.scheduler.actions().posts[0].post.piece_count, 3u);
}

TEST(Scheduler, FailsWhatHasNoRouteForTooLong) {
  SchedulerSetup setup = one_pair(1);
  SchedulerDriver d(setup);
  d.link(0, false);
  d.submit(1000);
  d.advance_to(setup.config.stall_timeout_ns - 1);
  EXPECT_TRUE(d.ends.empty());
  d.advance_to(setup.config.stall_timeout_ns);
  ASSERT_EQ(d.ends.size(), 1u);
  EXPECT_EQ(d.ends[0].outcome, TransferOutcome::no_route);
  EXPECT_TRUE(d.scheduler.idle());
}

TEST(Scheduler, CancelLeavesNothingBehind) {
  SchedulerDriver d(one_pair(2));
  const TransferId id = d.submit(10'000);
  const TransferId other = d.submit(1000);
  d.cancel(id);
  EXPECT_EQ(d.cancels.size(), 4u);
  EXPECT_TRUE(d.ends.empty());  // its chunks may still write
  for (int i = 0; i < 2; ++i) {
    d.end(0, Outcome::cancelled);
    d.end(1, Outcome::cancelled);
  }
  ASSERT_EQ(d.ends.size(), 1u);
  EXPECT_EQ(d.ends[0].outcome, TransferOutcome::cancelled);
  while (!d.in_flight.empty()) d.end(d.in_flight[0].channel);
  EXPECT_EQ(d.ends.back().id, other);
  EXPECT_TRUE(d.scheduler.idle());
  d.cancel(id);  // ended: ignored
  EXPECT_EQ(d.ends.size(), 2u);
}

TEST(Scheduler, ACancelThatComesTooLateIsADelivery) {
  SchedulerDriver d(one_pair(1));
  const TransferId id = d.submit(500);
  d.cancel(id);
  d.end(0);  // it had landed
  ASSERT_EQ(d.ends.size(), 1u);
  EXPECT_EQ(d.ends[0].outcome, TransferOutcome::delivered);
}

TEST(Scheduler, HoldsToItsCredit) {
  SchedulerSetup setup = one_pair(4);
  setup.accounts[0] = {1, 9, 3000, 1500, true};
  SchedulerDriver d(setup);
  d.submit(10'000);
  EXPECT_EQ(d.in_flight.size(), 3u);
  ASSERT_EQ(d.messages.size(), 1u);
  EXPECT_EQ(d.messages[0].kind, static_cast<std::uint32_t>(CreditMessage::ask));
  EXPECT_EQ(d.messages[0].to, 9u);
  d.scheduler.credit(d.now,
                     {9, 0, static_cast<std::uint32_t>(CreditMessage::grant), 1, 2000, 0, 64});
  EXPECT_EQ(d.scheduler.actions().posts.size(), 2u);
}

TEST(Scheduler, IsSatedWhenNothingWaitsForThePlaceAnyMore) {
  SchedulerSetup setup = one_pair(1);
  setup.pairs.push_back({2, 1, 0});
  setup.channels.push_back({1, 1, 0, plain_channel(), {}});
  setup.config.channel_window_ns = 100'000;
  setup.accounts[0] = {1, 9, 3000, 1500, true};
  SchedulerDriver d(setup);
  d.submit(4000);
  d.submit(1000, with(Priority::normal, never_ns, 1));
  ASSERT_EQ(d.in_flight.size(), 3u);
  ASSERT_EQ(d.messages.size(), 1u);
  d.end(0);  // the last chunk of the first pair follows
  EXPECT_EQ(d.in_flight.size(), 3u);
  EXPECT_EQ(d.messages.size(), 1u);  // the second pair still waits
  d.end(0);
  EXPECT_EQ(d.on(1), 1u);
  ASSERT_EQ(d.messages.size(), 2u);
  EXPECT_EQ(d.messages[1].kind, static_cast<std::uint32_t>(CreditMessage::sated));
  while (!d.in_flight.empty()) d.end(d.in_flight[0].channel);
  EXPECT_EQ(d.messages.size(), 2u);
  EXPECT_TRUE(d.scheduler.idle());
}

TEST(Scheduler, IsSatedWhenAllThatWaitedHasFailed) {
  SchedulerSetup setup = one_pair(1);
  setup.accounts[0] = {1, 9, 1000, 1000, true};
  SchedulerDriver d(setup);
  d.submit(1000);
  d.submit(1000);
  ASSERT_EQ(d.messages.size(), 1u);  // it asks
  d.link(0, false);
  d.end(0, Outcome::cancelled);
  d.advance_to(setup.config.stall_timeout_ns - 1);
  EXPECT_EQ(d.messages.size(), 1u);
  d.advance_to(setup.config.stall_timeout_ns);
  EXPECT_EQ(d.ends.size(), 2u);
  ASSERT_EQ(d.messages.size(), 2u);
  EXPECT_EQ(d.messages[1].kind, static_cast<std::uint32_t>(CreditMessage::sated));
}

TEST(Scheduler, PacksScatteredPiecesWhereThatIsCheaper) {
  SchedulerSetup setup = one_pair(1);
  setup.channels[0].numbers.post_ns = 5000;
  setup.channels[0].numbers.gather[static_cast<std::size_t>(Gather::pack)] = {
      .fixed_ns = 1000, .post_ns = 5000, .bytes_per_s = 100e9};
  setup.config.chunk_bytes = 100'000;
  setup.config.channel_window_ns = 1 * ms_ns;
  SchedulerDriver d(setup);
  std::vector<Descriptor> pieces;
  for (Bytes i = 0; i < 64; ++i) pieces.push_back({i * 8192, i * 4096, 4096});
  TransferRequest request;
  request.pair = 0;
  request.descriptors = pieces;
  d.scheduler.submit(0, request);
  const auto& posts = d.scheduler.actions().posts;
  ASSERT_FALSE(posts.empty());
  EXPECT_EQ(posts[0].post.gather, Gather::pack);
  EXPECT_EQ(posts[0].post.piece_count, 24u);  // 24 x 4096 = 98,304 bytes fit into a chunk
  EXPECT_EQ(posts[0].post.all()[1], (Descriptor{8192, 4096, 4096}));
}

TEST(Scheduler, ChargesAGatheredChunkWhatItsMethodCosts) {
  SchedulerSetup setup = one_pair(1);
  setup.channels[0].numbers.post_ns = 5000;
  setup.channels[0].numbers.gather[static_cast<std::size_t>(Gather::through)] = {
      .post_ns = 100, .half_bandwidth_bytes = 300, .piece_half_bandwidth_bytes = 10};
  setup.config.chunk_bytes = 1000;
  // Of 10 pieces of 100 B: 1000 + 300 + 10 x 10 = 1400 ns. The window takes three of them.
  setup.config.channel_window_ns = 3 * 1400 + 1399;
  SchedulerDriver d(setup);
  std::vector<Descriptor> pieces;
  for (Bytes i = 0; i < 41; ++i) pieces.push_back({i * 200, i * 100, 100});
  TransferRequest request;
  request.pair = 0;
  request.descriptors = pieces;
  d.scheduler.submit(0, request);
  const auto posts = d.scheduler.actions().posts;
  ASSERT_EQ(posts.size(), 3u);
  for (const PostAction& post : posts) EXPECT_EQ(post.post.gather, Gather::through);
  const auto complete = [&](const PostAction& post) {
    d.scheduler.actions().clear();
    d.scheduler.complete(0, {post.channel, Outcome::ok, post.post.chunk, 0, 0, 0, 0});
  };
  complete(posts[0]);
  ASSERT_EQ(d.scheduler.actions().posts.size(), 1u);
  // What is left is one piece, which is written by itself, and posting it takes 5000 ns: above the
  // window until there is only one other in flight.
  complete(posts[1]);
  EXPECT_TRUE(d.scheduler.actions().posts.empty());
  complete(posts[2]);
  ASSERT_EQ(d.scheduler.actions().posts.size(), 1u);
  EXPECT_EQ(d.scheduler.actions().posts[0].post.piece_count, 1u);
  EXPECT_EQ(d.scheduler.actions().posts[0].post.gather, Gather::each);
}

TEST(Scheduler, AFallbackThatLacksTheMethodWritesEachPiece) {
  SchedulerSetup setup = one_pair(2);
  setup.channels[0].numbers.post_ns = setup.channels[1].numbers.post_ns = 5000;
  setup.channels[0].numbers.gather[static_cast<std::size_t>(Gather::batch)] = {.post_ns = 100};
  setup.channels[1].tier = 1;
  SchedulerDriver d(setup);
  d.scheduler.channel_change(0, {0, false});
  const std::vector<Descriptor> pieces = {{0, 500, 400}, {1000, 1500, 400}};
  TransferRequest request;
  request.pair = 0;
  request.descriptors = pieces;
  d.scheduler.submit(0, request);
  const auto& posts = d.scheduler.actions().posts;
  ASSERT_EQ(posts.size(), 1u);
  EXPECT_EQ(posts[0].channel, 1u);
  EXPECT_EQ(posts[0].post.gather, Gather::each);
}

TEST(Scheduler, ManyPiecesWithoutPackingKeepTheirOrderAndBorders) {
  SchedulerSetup setup = one_pair(1);
  setup.config.channel_window_ns = 1 * ms_ns;
  SchedulerDriver d(setup);
  const std::vector<Descriptor> pieces = {{0, 500, 400}, {1000, 1500, 400}, {2000, 2500, 2300}};
  TransferRequest request;
  request.pair = 0;
  request.descriptors = pieces;
  d.scheduler.submit(0, request);
  const auto& posts = d.scheduler.actions().posts;
  ASSERT_EQ(posts.size(), 4u);
  EXPECT_EQ(posts[0].post.piece_count, 2u);
  EXPECT_EQ(posts[1].post.piece, (Descriptor{2000, 2500, 1000}));
  EXPECT_EQ(posts[3].post.piece, (Descriptor{4000, 4500, 300}));
}

}  // namespace
}  // namespace kvhaul
