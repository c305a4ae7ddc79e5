// Times of the emulated links, each worked out by hand above the number. One byte takes one
// nanosecond on every link unless said otherwise.
#include <gtest/gtest.h>

#include "backends/emulated/emulated.h"
#include "backends/emulated/queued_wire.h"
#include "backends/modelled/channel_queues.h"
#include "backends/modelled/control_plane.h"
#include "backends/modelled/virtual_backend.h"
#include "tests/support/setups.h"

namespace kvhaul::emulated {
namespace {

using modelled::ChannelQueues;

class EmulatedLinks : public ::testing::Test {
 protected:
  EmulatedLinks() {
    cluster_.places.resize(4);
    cluster_.links.resize(4);
    for (kvhaul::Link& link : cluster_.links) link.bytes_per_s = 1e9;
  }

  /// A channel from place `from` over these links.
  void channel(PlaceId from, std::vector<LinkId> links, RouteCosts costs = {},
               std::uint32_t stages = 1) {
    ChannelRequest request;
    request.route.source = from;
    request.route.target = from + 1;
    request.route.hops = std::move(links);
    request.route.bytes_per_s = 1e9;
    request.route.stages = stages;
    request.costs = costs;
    requests_.push_back(request);
  }

  /// Costs of a route that can gather by that method, too.
  static RouteCosts gathering(Gather method, GatherCosts gather) {
    RouteCosts costs{.post_ns = 10, .half_bandwidth_bytes = 100};
    costs.gather[static_cast<std::size_t>(method)] = gather;
    return costs;
  }

  ChannelQueues& model() {
    if (!model_)
      model_.emplace(cluster_, requests_, std::make_unique<QueuedWire>(cluster_, requests_));
    return *model_;
  }
  void post(ChannelId channel, Bytes bytes, TimeNs now, std::uint32_t pieces = 1,
            Gather gather = Gather::each) {
    ChunkPost chunk;
    chunk.bytes = bytes;
    chunk.piece_count = pieces;
    chunk.gather = gather;
    model().post(channel, next_ticket_++, chunk, now);
  }
  /// When each ticket lands, by ticket; never_ns for one that does not.
  std::vector<TimeNs> landed() {
    std::vector<ChannelQueues::Landing> landings;
    while (model().next_ns() != never_ns) model().advance(model().next_ns(), landings);
    std::vector<TimeNs> times(next_ticket_, never_ns);
    for (const ChannelQueues::Landing& landing : landings) times[landing.ticket] = landing.done_ns;
    return times;
  }
  using Times = std::vector<TimeNs>;

  Cluster cluster_;
  std::vector<ChannelRequest> requests_;
  std::optional<ChannelQueues> model_;
  std::uint32_t next_ticket_ = 0;
};

TEST_F(EmulatedLinks, OneChunkAlone) {
  channel(0, {0, 1}, {.fixed_ns = 500, .post_ns = 50, .half_bandwidth_bytes = 200});
  post(0, 1000, 100);
  // 100 + 50 post + (1000 + 200) wire + 500 latency
  EXPECT_EQ(landed(), (Times{1850}));
}

TEST_F(EmulatedLinks, ChunksOfAChannelOverlapTheLatencyButNotTheWire) {
  channel(0, {0}, {.fixed_ns = 500, .post_ns = 50});
  post(0, 1000, 0);
  post(0, 1000, 0);
  // first: 50 + 1000 + 500; second: on the wire from 1050, when the first has left it
  EXPECT_EQ(landed(), (Times{1550, 2550}));
}

TEST_F(EmulatedLinks, OnePostingThreadPerPlace) {
  channel(0, {0}, {.post_ns = 300});
  channel(0, {1}, {.post_ns = 300});
  channel(2, {2}, {.post_ns = 300});
  post(0, 1000, 0);
  post(1, 1000, 0);
  post(2, 1000, 0);
  // Both channels of place 0 are posted to by one thread: 300, then 600. Place 2 has its own.
  EXPECT_EQ(landed(), (Times{1300, 1600, 1300}));
}

TEST_F(EmulatedLinks, EveryPieceIsPosted) {
  channel(0, {0}, {.post_ns = 10, .half_bandwidth_bytes = 100});
  post(0, 1000, 0, 5);
  // 5 posts of 10, then 1000 + 5 x 100
  EXPECT_EQ(landed(), (Times{1550}));
}

TEST_F(EmulatedLinks, PackedPiecesArePostedOnceAndCopiedTwice) {
  channel(
      0, {0},
      gathering(Gather::pack,
                {.fixed_ns = 70, .post_ns = 10, .half_bandwidth_bytes = 100, .bytes_per_s = 2e9}));
  post(0, 1000, 0, 5, Gather::pack);
  // 10 post + 1100 wire, and on each side 70 for the kernel and 1000 B at 2 B/ns
  EXPECT_EQ(landed(), (Times{10 + 1100 + 2 * (70 + 500)}));
}

TEST_F(EmulatedLinks, ABatchCostsPerChunkAndPerPiece) {
  channel(0, {0},
          gathering(Gather::batch, {.post_ns = 300,
                                    .piece_post_ns = 7,
                                    .half_bandwidth_bytes = 50,
                                    .piece_half_bandwidth_bytes = 20}));
  post(0, 1000, 0, 5, Gather::batch);
  post(0, 1000, 0, 1, Gather::batch);
  post(0, 1000, 0, 5, Gather::through);
  // 300 + 5 x 7 post, then 1000 + 50 + 5 x 20: 1485. One piece is written by itself, for 1000 + 100
  // behind it; so are the five of a method that the channel has not got: 1000 + 5 x 100 more.
  EXPECT_EQ(landed(), (Times{1485, 2585, 4085}));
}

TEST_F(EmulatedLinks, ALimitOfBothDirectionsIsSharedByThemOnly) {
  // 0: out, 1: in, at 1 B/ns each; 2: both, at 1.6 together.
  cluster_.links[2].bytes_per_s = 1.6e9;
  channel(0, {0, 2});
  channel(2, {2, 1});
  post(0, 1600, 0);
  // Alone: at its own rate.
  EXPECT_EQ(landed(), (Times{1600}));
  for (int i = 0; i < 10; ++i) {
    post(0, 1600, 10'000);
    post(1, 1600, 10'000);
  }
  // 20 x 1600 B cross `both` in 20,000 ns; each had half of it.
  const Times times = landed();
  EXPECT_EQ(times.back(), 30'000);
  EXPECT_NEAR(static_cast<double>(times[times.size() - 2]), 29'000, 1);
}

TEST_F(EmulatedLinks, AByteMayOccupyTheRouteForLonger) {
  channel(0, {0}, gathering(Gather::through, {.half_bandwidth_bytes = 50, .extra_permille = 250}));
  post(0, 1000, 0, 5, Gather::through);
  // 1000 x 1.25 + 50
  EXPECT_EQ(landed(), (Times{1300}));
}

TEST_F(EmulatedLinks, LinksThatRestedMakeTheNextChunkWait) {
  channel(0, {0}, {.after_idle = {{100, 10}, {5000, 700}}});
  post(0, 1000, 0);
  post(0, 1000, 0);
  // They have never been used: 700, then both one after the other.
  EXPECT_EQ(landed(), (Times{1700, 2700}));
  post(0, 1000, 2799);
  // 99 after the last one left: nothing yet.
  EXPECT_EQ(landed()[2], 3799);
  post(0, 1000, 3899);
  EXPECT_EQ(landed()[3], 3899 + 10 + 1000);
  post(0, 1000, 4909 + 4999);
  EXPECT_EQ(landed()[4], 4909 + 4999 + 10 + 1000);
  post(0, 1000, 10'918 + 5000);
  EXPECT_EQ(landed()[5], 10'918 + 5000 + 700 + 1000);
}

TEST_F(EmulatedLinks, AnyLinkOfTheRouteThatRestedIsWaitedForByAll) {
  const RouteCosts sleepy{.after_idle = {{5000, 700}}};
  channel(0, {0, 1}, sleepy);
  channel(2, {2, 1}, sleepy);
  channel(0, {0});  // does not mind, and keeps link 0 awake
  post(2, 8000, 0);
  EXPECT_EQ(landed(), (Times{8000}));
  post(0, 1000, 9000);
  post(1, 1000, 9100);
  // Link 1 is woken by the first until 9700, link 2 by the second until 9800. Both then cross link
  // 1, in the order in which they get onto it.
  const Times times = landed();
  EXPECT_EQ(times[1], 9000 + 700 + 1000);
  EXPECT_EQ(times[2], 9700 + 2000);
}

TEST_F(EmulatedLinks, AChunkCancelledWhileItsLinksWakeLeavesThemAwake) {
  channel(0, {0}, {.after_idle = {{5000, 700}}});
  post(0, 1000, 0);
  EXPECT_TRUE(model().cancel(0, 300));
  post(0, 1000, 400);
  // From 700 on, as the first would have been.
  EXPECT_EQ(landed(), (Times{never_ns, 1700}));
}

TEST_F(EmulatedLinks, LinksRestFromTheMomentAChunkOnThemIsCancelled) {
  channel(0, {0}, {.after_idle = {{5000, 700}}});
  post(0, 1000, 0);
  EXPECT_TRUE(model().cancel(0, 1500));  // on the wire since 700
  post(0, 1000, 6499);
  EXPECT_EQ(landed()[1], 6499 + 1000);
  post(0, 1000, 20'000);
  std::vector<ChannelQueues::Landing> landings;
  model().advance(20'800, landings);  // woken, and on the wire since 20,700
  EXPECT_TRUE(model().cancel(2, 20'800));
  post(0, 1000, 25'800);
  EXPECT_EQ(landed()[3], 25'800 + 700 + 1000);
}

TEST_F(EmulatedLinks, TwoChannelsOnOneLinkHaveHalfEach) {
  channel(0, {0, 1});
  channel(2, {0, 2});
  for (int i = 0; i < 2; ++i) {
    post(0, 1000, 0);
    post(1, 1000, 0);
  }
  // Link 0 carries 4000 B in 4000 ns, in turn.
  EXPECT_EQ(landed(), (Times{1000, 2000, 3000, 4000}));
}

TEST_F(EmulatedLinks, ALinkCrossedTwiceCarriesTheBytesTwice) {
  channel(0, {0, 0});
  post(0, 1000, 0);
  post(0, 1000, 0);
  // 2 x 1000 B through link 0 each
  EXPECT_EQ(landed(), (Times{2000, 4000}));
}

TEST_F(EmulatedLinks, StagesFollowEachOtherAndOverlapWithTheNextChunk) {
  channel(0, {0, 1}, {.fixed_ns = 100}, 2);
  post(0, 1000, 0);
  post(0, 1000, 0);
  // 1000 + 1000 + 100; the second chunk is one stage behind
  EXPECT_EQ(landed(), (Times{2100, 3100}));
}

TEST_F(EmulatedLinks, AShortChunkDoesNotOvertakeInALaterStage) {
  channel(0, {0, 1}, {}, 2);
  post(0, 1000, 0);
  post(0, 10, 0);
  // The second leaves stage one at 1010, but stage two is busy with the first until 2000.
  EXPECT_EQ(landed(), (Times{2000, 2010}));
}

TEST_F(EmulatedLinks, RoundingDoesNotAddUp) {
  for (kvhaul::Link& link : cluster_.links) link.bytes_per_s = 3e9;
  channel(0, {0});
  requests_[0].route.bytes_per_s = 3e9;
  for (int i = 0; i < 3000; ++i) post(0, 1, 0);
  // 3000 B at 3 B/ns: 1000 ns, less at most 3000 times one picosecond. Rounded to nanoseconds each,
  // it would be 0 or 3000.
  EXPECT_NEAR(static_cast<double>(landed().back()), 1000, 3);
}

TEST_F(EmulatedLinks, ACancelledChunkThatWaitsLeavesNoTrace) {
  channel(0, {0});
  post(0, 1000, 0);
  post(0, 1000, 0);
  post(0, 1000, 0);
  EXPECT_TRUE(model().cancel(1, 500));
  EXPECT_EQ(landed(), (Times{1000, never_ns, 2000}));
}

TEST_F(EmulatedLinks, ACancelledChunkOnTheWireFreesItsChannelButNotTheLink) {
  channel(0, {0});
  post(0, 1000, 0);
  post(0, 1000, 0);
  EXPECT_TRUE(model().cancel(0, 500));
  // The link has what it was given until 1000; then the second.
  EXPECT_EQ(landed(), (Times{never_ns, 2000}));
}

// What the link has promised to a cancelled chunk it carries at its share, too: 500 whole, the
// other 500 at half by 1500, then the second chunk at half.
TEST_F(EmulatedLinks, ADegradedLinkServesInTurn) {
  channel(0, {0, 1});
  channel(2, {0, 2});
  post(0, 1000, 0);
  post(1, 1000, 0);
  EXPECT_TRUE(model().set_link_share(0, 0.5, 500));
  EXPECT_TRUE(model().cancel(0, 600));
  EXPECT_EQ(landed(), (Times{never_ns, 3500}));
  // Whole again, to the nanosecond, however often it has changed.
  for (int i = 0; i < 99; ++i)
    EXPECT_TRUE(model().set_link_share(0, i % 2 == 0 ? 1.0 / 3 : 1, 4000 + i));
  EXPECT_TRUE(model().set_link_share(0, 1, 4100));
  post(0, 1000, 5000);
  EXPECT_EQ(landed()[2], 6000);
}

TEST_F(EmulatedLinks, AYearLaterEverythingTakesAsLong) {
  // 2^63 ps are 106.75 days; the last moment is where no time is left to count in.
  for (const TimeNs start : {TimeNs{0}, 365 * 86400 * s_ns, TimeNs{1} << 61, never_ns - 4000}) {
    model_.reset();
    requests_.clear();
    next_ticket_ = 0;
    channel(0, {0}, {.fixed_ns = 500, .post_ns = 50, .after_idle = {{1000, 70}}});
    post(0, 1000, start);
    post(0, 1000, start);
    // the link had rested: 50 + 70 + 1000 + 500; the second behind it
    EXPECT_EQ(landed(), (Times{start + 1620, start + 2620})) << start;
  }
}

TEST_F(EmulatedLinks, AYearAtHalfTheRate) {
  channel(0, {0});
  constexpr TimeNs year = 365 * 86400 * s_ns;
  EXPECT_TRUE(model().set_link_share(0, 0.5, 0));
  post(0, 1'000'000, year);
  EXPECT_NEAR(static_cast<double>(landed()[0] - year), 2'000'000, 10);  // doubles of a year in ps
}

TEST_F(EmulatedLinks, WhatTakesForEverIsNeverDone) {
  for (kvhaul::Link& link : cluster_.links) link.bytes_per_s = 1;  // as slow as a rate can be
  channel(0, {0});
  requests_[0].route.bytes_per_s = 1;
  for (int i = 0; i < 3; ++i) post(0, ~Bytes{0}, 5);
  EXPECT_EQ(model().next_ns(), never_ns);
  EXPECT_TRUE(model().cancel(0, 10));
  EXPECT_EQ(model().next_ns(), never_ns);
}

TEST_F(EmulatedLinks, WhatHasLeftItsChannelLands) {
  channel(0, {0}, {.fixed_ns = 500});
  post(0, 1000, 0);
  std::vector<ChannelQueues::Landing> landings;
  model().advance(1000, landings);
  EXPECT_FALSE(model().cancel(0, 1200));
  EXPECT_EQ(landed(), (Times{1500}));
}

TEST_F(EmulatedLinks, WhatLandsTogetherComesInPostingOrder) {
  for (LinkId link = 0; link < 4; ++link) channel(0, {link}, {.fixed_ns = 500});
  for (ChannelId id = 0; id < 4; ++id) channel(2, {id}, {.fixed_ns = 900});
  for (const ChannelId id : {3u, 1u, 0u, 2u}) post(id, 1000, 0);
  for (const ChannelId id : {7u, 4u}) post(id, 10, 1000);
  // 1500: the first four; 1910: the two, of which the later one left its link no later.
  std::vector<ChannelQueues::Landing> landings;
  model().advance(1499, landings);
  EXPECT_TRUE(landings.empty());
  model().advance(3000, landings);
  ASSERT_EQ(landings.size(), 6u);
  for (std::uint32_t i = 0; i < 6; ++i) EXPECT_EQ(landings[i].ticket, i);
  EXPECT_EQ(landings[3].done_ns, 1500);
  EXPECT_EQ(landings[5].done_ns, 1910);
  EXPECT_EQ(landings[3].started_ns, 0);
  EXPECT_EQ(landings[5].started_ns, 1000);
}

TEST_F(EmulatedLinks, LandingsComeInOrderOfTimeWhateverTheLatency) {
  channel(0, {0}, {.fixed_ns = 5000});
  channel(2, {1}, {.fixed_ns = 100});
  channel(2, {2});
  post(0, 1000, 0);
  post(1, 1000, 0);
  post(2, 1100, 0);
  std::vector<ChannelQueues::Landing> landings;
  model().advance(10'000, landings);
  ASSERT_EQ(landings.size(), 3u);
  // At 1100 the third leaves its link, where it has landed, and the second lands; then the first.
  EXPECT_EQ(landings[0].ticket, 2u);
  EXPECT_EQ(landings[1].ticket, 1u);
  EXPECT_EQ(landings[2].ticket, 0u);
}

TEST_F(EmulatedLinks, AChunkStartsWhenItsPostIsThroughAndItsChannelFree) {
  channel(0, {0}, {.post_ns = 30});
  post(0, 1000, 5);
  post(0, 1000, 5);
  std::vector<ChannelQueues::Landing> landings;
  model().advance(10'000, landings);
  ASSERT_EQ(landings.size(), 2u);
  EXPECT_EQ(landings[0].started_ns, 35);
  EXPECT_EQ(landings[1].started_ns, 1035);
}

TEST_F(EmulatedLinks, NothingOfACancelledChunkIsLeftWhenItsTicketIsUsedAgain) {
  channel(0, {0}, {.post_ns = 300});
  ChunkPost chunk;
  chunk.bytes = 1000;
  chunk.piece_count = 1;
  next_ticket_ = 1;
  model().post(0, 0, chunk, 0);  // its post is through at 300
  EXPECT_TRUE(model().cancel(0, 100));
  model().post(0, 0, chunk, 100);  // and of this one at 600
  EXPECT_EQ(landed(), (Times{1600}));
  model().post(0, 0, chunk, 2000);
  std::vector<ChannelQueues::Landing> landings;
  model().advance(2400, landings);
  EXPECT_TRUE(model().cancel(0, 2500));  // on the wire since 2300
  model().post(0, 0, chunk, 2500);
  // Posted at 2800; the link has the first one's bytes until 3300.
  EXPECT_EQ(landed(), (Times{4300}));
}

TEST_F(EmulatedLinks, ManyChunksOfAChannelKeepTheirOrder) {
  channel(0, {0});
  for (int i = 0; i < 300; ++i) {
    post(0, 10, i);
    std::vector<ChannelQueues::Landing> landings;
    model().advance(i, landings);
  }
  const Times times = landed();
  for (std::size_t i = 100; i < 300; ++i) EXPECT_EQ(times[i], static_cast<TimeNs>(10 * (i + 1)));
}

TEST_F(EmulatedLinks, EachChannelGathersAtItsOwnCosts) {
  channel(0, {0}, {.post_ns = 10});
  channel(2, {1}, {.post_ns = 20, .half_bandwidth_bytes = 5});
  post(0, 1000, 0, 3);
  post(1, 1000, 0, 3);
  EXPECT_EQ(landed(), (Times{1030, 1075}));
}

TEST(PicosecondsPerByte, AreThoseOfTheRateAndHaveAnEnd) {
  EXPECT_EQ(modelled::ps_per_byte_q32(0), 0u);
  EXPECT_EQ(modelled::ps_per_byte_q32(1e12), std::uint64_t{1} << 32);
  EXPECT_EQ(modelled::ps_per_byte_q32(1e9), std::uint64_t{1000} << 32);
  EXPECT_EQ(modelled::ps_per_byte_q32(0.5), 9'000'000'000'000'000'000u);
}

// ---- The backend around them --------------------------------------------------------------------

/// One channel between two GPUs, 40 GB/s, and three segments: source, target, and one of 10 bytes.
struct Emulated {
  Emulated() : cluster(test::rail_cluster(2, 1)), backend(emulated::make_backend({})) {
    const std::vector<std::pair<PlaceId, PlaceId>> pairs = {
        {*cluster.find_place("node0/gpu0"), *cluster.find_place("node1/gpu0")}};
    requests = plan_channels(cluster, pairs, {})->requests;
    numbers = *backend->open(cluster, requests);
    source = *backend->register_segment(pairs[0].first, 1'000'000);
    target = *backend->register_segment(pairs[0].second, 1'000'000);
  }
  ChunkPost chunk(ChunkId id, Bytes at, Bytes bytes) const {
    ChunkPost post;
    post.chunk = id;
    post.source_segment = source;
    post.target_segment = target;
    post.bytes = bytes;
    post.piece_count = 1;
    post.piece = {at, at, bytes};
    return post;
  }
  std::vector<Completion> all() {
    BackendEvents events;
    for (int i = 0; i < 100; ++i) {
      backend->progress(events);
      backend->wait(never_ns);
    }
    return events.completions;
  }

  Cluster cluster;
  std::unique_ptr<Backend> backend;
  std::vector<ChannelRequest> requests;
  std::vector<ChannelNumbers> numbers;
  SegmentId source = 0, target = 0;
};

TEST(EmulatedBackend, CancelsTheChunkThatIsMeant) {
  Emulated e;
  const std::vector<ChunkPost> chunks = {e.chunk(5, 0, 4000), e.chunk(6, 4000, 4000),
                                         e.chunk(7, 8000, 4000)};
  e.backend->post(0, chunks);
  e.backend->cancel(0, 6);
  e.backend->cancel(0, 99);
  const auto seen = e.all();
  ASSERT_EQ(seen.size(), 3u);
  EXPECT_EQ(seen[0].chunk, 6u);
  EXPECT_EQ(seen[0].outcome, Outcome::cancelled);
  EXPECT_EQ(seen[0].bytes, 4000u);
  EXPECT_EQ(seen[1].chunk, 5u);
  EXPECT_EQ(seen[1].outcome, Outcome::ok);
  EXPECT_EQ(seen[2].chunk, 7u);
  EXPECT_EQ(seen[2].outcome, Outcome::ok);
}

TEST(EmulatedBackend, WhatHasLeftItsLinksLandsThoughItIsCancelled) {
  Emulated e;
  const ChunkPost chunk = e.chunk(5, 0, 4000);
  e.requests[0].costs.fixed_ns = 50'000;
  e.backend = emulated::make_backend({});
  e.numbers = *e.backend->open(e.cluster, e.requests);
  (void)*e.backend->register_segment(e.requests[0].route.source, 1'000'000);
  (void)*e.backend->register_segment(e.requests[0].route.target, 1'000'000);
  e.backend->post(0, {&chunk, 1});
  e.backend->wait(20'000);
  BackendEvents events;
  e.backend->progress(events);
  e.backend->wait(20'000);
  e.backend->progress(events);
  EXPECT_TRUE(events.completions.empty());
  e.backend->cancel(0, 5);
  const auto seen = e.all();
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].outcome, Outcome::ok);
  EXPECT_EQ(seen[0].posted_ns, 0);
}

TEST(EmulatedBackend, TheClockStandsWhileSomethingIsToBeTold) {
  Emulated e;
  EXPECT_EQ(e.backend->now(), 0);
  const ChunkPost wrong = e.chunk(5, 999'999, 4000);
  e.backend->post(0, {&wrong, 1});
  e.backend->wait(1000);
  EXPECT_EQ(e.backend->now(), 0);
  BackendEvents events;
  e.backend->progress(events);
  ASSERT_EQ(events.completions.size(), 1u);
  EXPECT_EQ(events.completions[0].outcome, Outcome::invalid);
  EXPECT_EQ(events.completions[0].done_ns, 0);
  e.backend->wait(1000);
  EXPECT_EQ(e.backend->now(), 1000);
  e.backend->wait(never_ns);  // nothing is outstanding
  EXPECT_EQ(e.backend->now(), 1000);
}

TEST(EmulatedBackend, MemoryBeginsAsZerosAndEndsWhereItEnds) {
  Emulated e;
  std::vector<std::byte> bytes(1'000'000, std::byte{1});
  e.backend->read(e.target, 0, bytes);
  EXPECT_EQ(bytes, std::vector<std::byte>(1'000'000));
  e.backend->read(e.target, 1'000'000, {});  // nothing, at its very end
  e.backend->fill(e.source, 0, 1'000'000, 3);
  const ChunkPost whole = e.chunk(5, 0, 1'000'000);
  e.backend->post(0, {&whole, 1});
  EXPECT_EQ(e.all().at(0).outcome, Outcome::ok);
  EXPECT_EQ(e.backend->checksum(e.source, 0, 1'000'000),
            e.backend->checksum(e.target, 0, 1'000'000));
  EXPECT_TRUE(e.backend->drives(1));
}

TEST(EmulatedBackend, AWireThatCannotBeMadeIsAnError) {
  const Cluster cluster = test::rail_cluster(2, 1);
  const auto backend = modelled::make_virtual_backend(
      "none", false, [](const Cluster&, std::span<const ChannelRequest>) {
        return Result<std::unique_ptr<modelled::Wire>>(Error::missing("no wire here"));
      });
  const auto numbers = backend->open(cluster, {});
  ASSERT_FALSE(numbers);
  EXPECT_EQ(numbers.error().message, "no wire here");
}

// ---- Control messages ---------------------------------------------------------------------------

/// Nodes 0 and 1 with two channels, of which the second has less latency and half the rate; node 2
/// with none.
struct Messages {
  Messages() : cluster(test::rail_cluster(3, 1)) {
    ChannelRequest request;
    request.route.source = *cluster.find_place("node0/gpu0");
    request.route.target = *cluster.find_place("node1/gpu0");
    request.route.bytes_per_s = 2e9;
    request.costs.fixed_ns = 900;
    requests.push_back(request);
    request.route.bytes_per_s = 1e9;
    request.costs.fixed_ns = 500;
    requests.push_back(request);
    request.costs.fixed_ns = 700;
    requests.push_back(request);
    plane.emplace(cluster, requests);
  }
  void send(NodeId from, NodeId to, std::uint64_t value, TimeNs now, Bytes bytes = 64) {
    plane->send({.from = from, .to = to, .value = value, .bytes = bytes}, now);
  }
  /// Values of what has come by then.
  std::vector<std::uint64_t> by(TimeNs now) {
    std::vector<ControlMessage> out;
    plane->deliver(now, out);
    std::vector<std::uint64_t> values;
    for (const ControlMessage& message : out) values.push_back(message.value);
    return values;
  }
  using Values = std::vector<std::uint64_t>;

  Cluster cluster;
  std::vector<ChannelRequest> requests;
  std::optional<modelled::ControlPlane> plane;
};

TEST(ControlMessages, TakeTheQuickestChannelAndQueueBehindEachOther) {
  Messages m;
  EXPECT_EQ(m.plane->next_ns(), never_ns);
  m.send(0, 1, 1, 100, 64);
  m.send(0, 1, 2, 100, 64);
  m.send(1, 0, 3, 110, 10);  // the way back is another one
  // 100 + 64 + 500, and the second 64 later; back 110 + 10 + 500.
  EXPECT_EQ(m.plane->next_ns(), 620);
  EXPECT_EQ(m.by(619), Messages::Values{});
  EXPECT_EQ(m.by(620), (Messages::Values{3}));
  EXPECT_EQ(m.by(663), Messages::Values{});
  EXPECT_EQ(m.by(664), (Messages::Values{1}));
  EXPECT_EQ(m.by(727), Messages::Values{});
  EXPECT_EQ(m.by(728), (Messages::Values{2}));
  EXPECT_EQ(m.plane->next_ns(), never_ns);
  // The road is free again: nothing of the wait is remembered.
  m.send(0, 1, 4, 1000, 64);
  EXPECT_EQ(m.plane->next_ns(), 1564);
}

TEST(ControlMessages, AChannelThatMovesNothingChargesNoBytes) {
  Messages m;
  m.requests.resize(1);
  m.requests[0].route.bytes_per_s = 0;
  m.plane.emplace(m.cluster, m.requests);
  m.send(0, 1, 1, 100, 1'000'000);
  EXPECT_EQ(m.plane->next_ns(), 1000);
  m.requests[0].route.bytes_per_s = 0.9e9;
  m.plane.emplace(m.cluster, m.requests);
  m.send(0, 1, 1, 100, 9000);
  EXPECT_EQ(m.plane->next_ns(), 11'000 - 1);  // rounded down
}

TEST(ControlMessages, OfEquallyQuickChannelsTheFirstCounts) {
  Messages m;
  m.requests[1].costs.fixed_ns = 900;
  m.requests.resize(2);
  m.plane.emplace(m.cluster, m.requests);
  m.send(0, 1, 1, 0, 1000);
  EXPECT_EQ(m.plane->next_ns(), 500 + 900);  // at 2 bytes/ns
}

TEST(ControlMessages, ComeInOrderOfArrivalThenOfSending) {
  Messages m;
  m.send(0, 1, 1, 0, 100);   // 600
  m.send(2, 0, 2, 600, 64);  // no channel: at once
  m.send(2, 1, 3, 600, 64);
  EXPECT_EQ(m.by(600), (Messages::Values{1, 2, 3}));
}

}  // namespace
}  // namespace kvhaul::emulated
