// Times of chunks on links that SimGrid shares, each worked out by hand above the number. One byte
// takes one nanosecond on every link unless said otherwise.
#include <map>

#include <gtest/gtest.h>

#include "backends/emulated/queued_wire.h"
#include "backends/faults/faulty_backend.h"
#include "backends/modelled/channel_queues.h"
#include "backends/modelled/virtual_backend.h"
#include "core/random.h"
#include "sim/binding_links.h"
#include "sim/simgrid.h"
#include "sim/simgrid_wire.h"

namespace kvhaul::sim {
namespace {

using modelled::ChannelQueues;

class SimgridLinks : public ::testing::Test {
 protected:
  SimgridLinks() {
    cluster_.places.resize(8);
    cluster_.links.resize(6);
    for (Link& link : cluster_.links) link.bytes_per_s = 1e9;
  }

  /// A channel from place `from` over these links, at the rate of the narrowest.
  void channel(PlaceId from, std::vector<LinkId> links, RouteCosts costs = {},
               std::uint32_t stages = 1) {
    ChannelRequest request;
    request.route.source = from;
    request.route.target = 7;
    std::map<LinkId, int> crossings;
    for (const LinkId link : links) ++crossings[link];
    request.route.bytes_per_s = 1e18;
    for (const auto& [link, times] : crossings)
      request.route.bytes_per_s =
          std::min(request.route.bytes_per_s, cluster_.links[link].bytes_per_s / times);
    request.route.hops = std::move(links);
    request.route.stages = stages;
    request.costs = costs;
    request.pull = pull_;
    requests_.push_back(request);
  }
  ChannelQueues& queues() {
    if (!queues_)
      queues_.emplace(cluster_, requests_, std::make_unique<SimgridWire>(cluster_, requests_));
    return *queues_;
  }
  void post(ChannelId channel, Bytes bytes, TimeNs now) {
    advance(now);
    ChunkPost chunk;
    chunk.bytes = bytes;
    chunk.piece_count = 1;
    queues().post(channel, next_ticket_++, chunk, now);
  }
  void advance(TimeNs now) { queues().advance(now, landings_); }
  /// When each ticket lands, by ticket; never_ns for one that does not.
  std::vector<TimeNs> landed() {
    while (queues().next_ns() != never_ns) advance(queues().next_ns());
    std::vector<TimeNs> times(next_ticket_, never_ns);
    for (const ChannelQueues::Landing& landing : landings_) times[landing.ticket] = landing.done_ns;
    return times;
  }
  using Times = std::vector<TimeNs>;

  Cluster cluster_;
  std::vector<ChannelRequest> requests_;
  bool pull_ = false;
  std::optional<ChannelQueues> queues_;
  std::vector<ChannelQueues::Landing> landings_;
  std::uint32_t next_ticket_ = 0;
};

TEST_F(SimgridLinks, OneChunkAlone) {
  channel(0, {0, 1}, {.fixed_ns = 500, .post_ns = 50, .half_bandwidth_bytes = 200});
  post(0, 1000, 100);
  // 100 + 50 post + (1000 + 200) wire + 500 latency
  EXPECT_EQ(landed(), (Times{1850}));
}

TEST_F(SimgridLinks, TwoFlowsOnOnePortGetHalfEach) {
  channel(0, {0, 2});
  channel(1, {1, 2});
  post(0, 1000, 0);
  post(1, 3000, 0);
  // Both at half rate until 2000, when the first is done; the other has 2000 left, now alone.
  EXPECT_EQ(landed(), (Times{2000, 4000}));
}

TEST_F(SimgridLinks, AFlowThatComesLaterTakesItsShareFromThenOn) {
  channel(0, {0, 2});
  channel(1, {1, 2});
  post(0, 1000, 0);
  post(1, 1000, 500);
  // 500 alone, then 500 left at half rate: 1500. The other has done 500 by then: 500 more alone.
  EXPECT_EQ(landed(), (Times{1500, 2000}));
}

TEST_F(SimgridLinks, WhatOneCannotUseTheOthersGet) {
  cluster_.links[0].bytes_per_s = 0.25e9;
  channel(0, {0, 2});
  channel(1, {1, 2});
  post(0, 1000, 0);
  post(1, 3000, 0);
  // Max-min on link 2: channel 0 gets the 0.25 of its own port, channel 1 the other 0.75.
  // 1000 / 0.25 = 4000; 3000 / 0.75 = 4000.
  EXPECT_EQ(landed(), (Times{4000, 4000}));
}

TEST_F(SimgridLinks, OppositeWaysDoNotMeetOnADuplexWireButDoInMemory) {
  channel(0, {0, 4});  // out, through memory 4
  channel(1, {1, 4});  // in, through the same memory
  channel(2, {2});
  channel(3, {3});
  for (const ChannelId id : {0u, 1u, 2u, 3u}) post(id, 1000, 0);
  EXPECT_EQ(landed(), (Times{2000, 2000, 1000, 1000}));
}

TEST_F(SimgridLinks, AStagedCopyCrossesMemoryTwice) {
  cluster_.links[0].bytes_per_s = cluster_.links[1].bytes_per_s = 4e9;
  channel(0, {0, 4, 4, 1}, {}, 2);
  post(0, 1000, 0);
  // Memory takes the bytes in and gives them out: 1000 at half a byte per ns = 2000 on the wire,
  // and as long again for the second stage of a lone chunk.
  EXPECT_EQ(landed(), (Times{4000}));
}

TEST_F(SimgridLinks, AStagedCopyTakesTwoSharesOfMemory) {
  cluster_.links[0].bytes_per_s = cluster_.links[1].bytes_per_s = 4e9;
  channel(0, {0, 4, 4, 1});
  channel(1, {2, 4});
  post(0, 1000, 0);
  post(1, 1000, 0);
  // Equal rates r: 2r + r = 1, so a third each: both done at 3000.
  EXPECT_EQ(landed(), (Times{3000, 3000}));
}

TEST_F(SimgridLinks, ALimitOfBothDirectionsIsSharedByThemOnly) {
  // 0: out, 1: in, at 1 B/ns each; 2: both, at 1.6 together.
  cluster_.links[2].bytes_per_s = 1.6e9;
  channel(0, {0, 2});
  channel(1, {2, 1});
  post(0, 1600, 0);
  post(1, 800, 0);
  // 0.8 each until the second is done at 1000; the other has 800 left and its own rate.
  EXPECT_EQ(landed(), (Times{1800, 1000}));
}

TEST_F(SimgridLinks, AStagedCopyThroughOneGpuCrossesItTwice) {
  cluster_.links[2].bytes_per_s = 1.6e9;
  channel(0, {0, 2, 2, 1});
  post(0, 1600, 0);
  post(0, 1600, 0);
  EXPECT_EQ(landed(), (Times{2000, 4000}));  // at 1.6 / 2
}

TEST_F(SimgridLinks, SevenToOne) {
  cluster_.links.resize(9);
  for (Link& link : cluster_.links) link.bytes_per_s = 1e9;
  for (PlaceId from = 0; from < 7; ++from) channel(from, {from, 8});
  for (ChannelId id = 0; id < 7; ++id) post(id, 1000, 0);
  EXPECT_EQ(landed(), Times(7, 7000));
}

TEST_F(SimgridLinks, ReadingFromTwoCostsMoreThanFromOne) {
  pull_ = true;
  cluster_.links[2].read_incast = 0.8;
  channel(0, {0, 2});
  channel(1, {1, 2});
  post(0, 1000, 0);
  post(1, 1000, 0);
  post(0, 1000, 10'000);
  // Together 0.8 of the port: 2000 / 0.8 = 2500. Alone all of it.
  EXPECT_EQ(landed(), (Times{2500, 2500, 11'000}));
}

TEST_F(SimgridLinks, TwoQueuesFromOneGpuAreOneReader) {
  pull_ = true;
  cluster_.links[2].read_incast = 0.5;
  channel(0, {0, 2});
  channel(0, {0, 2});
  post(0, 1000, 0);
  post(1, 1000, 0);
  EXPECT_EQ(landed(), (Times{2000, 2000}));
}

TEST_F(SimgridLinks, WritingToTwoDoesNot) {
  cluster_.links[2].read_incast = 0.8;
  channel(0, {0, 2});
  channel(1, {1, 2});
  post(0, 1000, 0);
  post(1, 1000, 0);
  EXPECT_EQ(landed(), (Times{2000, 2000}));
}

TEST_F(SimgridLinks, AChunkTakenOffGivesItsShareBackAtOnce) {
  channel(0, {0, 2});
  channel(1, {1, 2});
  post(0, 1000, 0);
  post(1, 1000, 0);
  advance(1000);
  EXPECT_TRUE(queues().cancel(0, 1000));
  // Half of the second is done at 1000; the other half alone.
  EXPECT_EQ(landed(), (Times{never_ns, 1500}));
}

TEST_F(SimgridLinks, DegradationActsOnWhatIsUnderWay) {
  channel(0, {0, 2});
  channel(1, {1, 3});
  post(0, 1000, 0);
  post(1, 1000, 0);
  advance(400);
  EXPECT_TRUE(queues().set_link_share(2, 0.25, 400));
  advance(800);
  EXPECT_TRUE(queues().set_link_share(2, 1, 800));
  // 400 whole, 400 at a quarter = 100, then 500 whole: 1300. The other link is not touched.
  EXPECT_EQ(landed(), (Times{1300, 1000}));
}

TEST_F(SimgridLinks, ALinkThatNobodyUsesMayBeDegraded) {
  channel(0, {0, 2});
  post(0, 1000, 0);
  for (LinkId link = 0; link < cluster_.links.size(); ++link)
    EXPECT_TRUE(queues().set_link_share(link, 0.5, 0));
  EXPECT_EQ(landed(), (Times{2000}));
}

TEST_F(SimgridLinks, NothingPassesALinkThatIsDownToNothing) {
  channel(0, {2});
  channel(1, {3});
  post(0, 1000, 0);
  post(1, 1000, 0);
  EXPECT_TRUE(queues().set_link_share(2, 0, 0));
  advance(100 * s_ns);
  EXPECT_TRUE(queues().set_link_share(2, 1, 100 * s_ns));
  EXPECT_EQ(landed(), (Times{100 * s_ns + 1000, 1000}));
}

/// The wire keeps what it needs of the requests.
TEST_F(SimgridLinks, RequestsMayGoAfterOpening) {
  channel(0, {0, 2});
  queues();
  requests_.clear();
  requests_.shrink_to_fit();
  post(0, 1000, 0);
  EXPECT_TRUE(queues().set_link_share(2, 0.5, 0));
  EXPECT_EQ(landed(), (Times{2000}));
}

TEST_F(SimgridLinks, AScriptedFaultDegradesTheLink) {
  // Two channels share a link of 1 B/ns; from 1000 to 3000 ns a quarter of it is left.
  cluster_.places = {{"a", PlaceKind::gpu, 0, 0, GiB}, {"b", PlaceKind::gpu, 0, 1, GiB}};
  cluster_.nodes.resize(1);
  cluster_.links[2].name = "node0/nic0/tx";
  channel(0, {2});
  channel(0, {2});
  for (ChannelRequest& request : requests_) request.route.target = 1;
  faults::Fault fault;
  fault.kind = faults::FaultKind::degrade;
  fault.where = "node0/nic0";
  fault.from_ns = 1000;
  fault.until_ns = 3000;
  fault.factor = 0.25;
  faults::Fault another = fault;  // much later; it must not be felt before
  another.from_ns = 4000;
  another.until_ns = 9000;
  const auto backend =
      faults::make_faulty_backend(make_simgrid_backend(), {1, {another, fault, another}});
  ASSERT_TRUE(backend->open(cluster_, requests_));
  const auto from = backend->register_segment(0, MiB);
  const auto to = backend->register_segment(1, MiB);
  ASSERT_TRUE(from && to);
  for (const ChannelId id : {0u, 1u}) {
    ChunkPost chunk{id + 1, *from, *to, 1000, 1, Gather::each, {id * 1000, id * 1000, 1000}};
    backend->post(id, {&chunk, 1});
  }
  BackendEvents events;
  while (events.completions.size() < 2) {
    backend->progress(events);
    backend->wait(never_ns);
  }
  // 1000 together by 1000, 500 together by 3000, the last 500 by 3500.
  EXPECT_EQ(events.completions[0].done_ns, 3500);
  EXPECT_EQ(events.completions[1].done_ns, 3500);
}

// ---- Degradation, the same on both wires --------------------------------------------------------

struct Share {
  TimeNs at;
  LinkId link;
  double share;
};
struct Posted {
  ChannelId channel;
  Bytes bytes;
  TimeNs at;
};
struct Degraded {
  const char* name;
  std::vector<std::vector<LinkId>> channels;  // their links
  std::vector<Posted> posts;                  // in order of time
  std::vector<Share> shares;                  // the same
  std::vector<TimeNs> landed;                 // by post
};

/// Runs a case on a wire. Links have 1 B/ns.
std::vector<TimeNs> landed_on(const Degraded& run, bool simgrid) {
  Cluster cluster;
  cluster.places.resize(run.channels.size() + 1);
  cluster.links.resize(4);
  for (Link& link : cluster.links) link.bytes_per_s = 1e9;
  std::vector<ChannelRequest> requests;
  for (const auto& links : run.channels) {
    ChannelRequest request;
    request.route.source = static_cast<PlaceId>(requests.size());
    request.route.target = static_cast<PlaceId>(run.channels.size());
    request.route.hops = links;
    request.route.bytes_per_s = 1e9;
    requests.push_back(request);
  }
  std::unique_ptr<modelled::Wire> wire;
  if (simgrid)
    wire = std::make_unique<SimgridWire>(cluster, requests);
  else
    wire = std::make_unique<emulated::QueuedWire>(cluster, requests);
  ChannelQueues queues(cluster, requests, std::move(wire));
  std::vector<ChannelQueues::Landing> landings;
  const auto advance = [&](TimeNs until) {
    while (queues.next_ns() <= until && queues.next_ns() != never_ns)
      queues.advance(queues.next_ns(), landings);
  };
  std::size_t posted = 0, changed = 0;
  while (posted < run.posts.size() || changed < run.shares.size()) {
    const bool post_first =
        changed == run.shares.size() ||
        (posted < run.posts.size() && run.posts[posted].at < run.shares[changed].at);
    if (post_first) {
      const Posted& post = run.posts[posted];
      advance(post.at);
      ChunkPost chunk;
      chunk.bytes = post.bytes;
      chunk.piece_count = 1;
      queues.post(post.channel, static_cast<std::uint32_t>(posted++), chunk, post.at);
    } else {
      const Share& change = run.shares[changed++];
      advance(change.at);
      EXPECT_TRUE(queues.set_link_share(change.link, change.share, change.at));
    }
  }
  advance(never_ns);
  std::vector<TimeNs> times(run.posts.size(), never_ns);
  for (const ChannelQueues::Landing& landing : landings) times[landing.ticket] = landing.done_ns;
  return times;
}

TEST(Degradation, IsTheSameOnTheEmulatedLinksAndOnSimGrids) {
  const Degraded cases[] = {
      {"from the start: 1000 B at 0.5", {{0}}, {{0, 1000, 0}}, {{0, 0, 0.5}}, {2000}},
      {"in the middle: 400 whole, 600 at a quarter",
       {{0}},
       {{0, 1000, 0}},
       {{400, 0, 0.25}},
       {2800}},
      {"and back: 400 whole, 400 at a quarter, the last 500 whole",
       {{0}},
       {{0, 1000, 0}},
       {{400, 0, 0.25}, {800, 0, 1}},
       {1300}},
      {"twice within one chunk: 200 + 200 x 0.5 + 200 x 0.25, then 650 whole",
       {{0}},
       {{0, 1000, 0}},
       {{200, 0, 0.5}, {400, 0, 0.25}, {600, 0, 1}},
       {1250}},
      {"over before the chunk comes", {{0}}, {{0, 1000, 500}}, {{0, 0, 0.1}, {400, 0, 1}}, {1500}},
      {"after it has passed", {{0}}, {{0, 1000, 0}}, {{1200, 0, 0.1}}, {1000}},
      {"another link than the narrowest: both of 1 B/ns, one at half",
       {{0, 1}},
       {{0, 1000, 0}},
       {{0, 1, 0.5}},
       {2000}},
      {"two links of one road: the worse one counts",
       {{0, 1}},
       {{0, 1000, 0}},
       {{0, 0, 0.5}, {0, 1, 0.25}},
       {4000}},
      {"a link beside the road", {{0}}, {{0, 1000, 0}}, {{0, 1, 0.5}}, {1000}},
      {"what waits behind: 1000 B by 1000, 500 more by 2000; then 500 and 1000 whole",
       {{0}},
       {{0, 1000, 0}, {0, 1000, 0}, {0, 1000, 0}},
       {{1000, 0, 0.5}, {2000, 0, 1}},
       {1000, 2500, 3500}},
      {"nothing passes at 0; then what was left does",
       {{0}},
       {{0, 1000, 0}},
       {{400, 0, 0}, {5000, 0, 1}},
       {5600}},
      {"posted while nothing passes", {{0}}, {{0, 1000, 500}}, {{0, 0, 0}, {2000, 0, 0.5}}, {4000}},
      {"a rail beside a slow one keeps its rate",
       {{0}, {1}},
       {{0, 1000, 0}, {1, 1000, 0}},
       {{0, 1, 0.5}},
       {1000, 2000}},
  };
  for (const Degraded& run : cases)
    for (const bool simgrid : {false, true})
      EXPECT_EQ(landed_on(run, simgrid), run.landed)
          << run.name << (simgrid ? ", SimGrid" : ", emulated");
}

// Served in turn or shared, a link gives no more than it has: of two chunks of 1000 B that meet on
// it the last lands at 1000 whole (by 1000) + 1000 at half: 3000.
TEST(Degradation, OfASharedLinkIsSharedByThoseOnIt) {
  const Degraded run = {
      "", {{0, 1}, {2, 1}}, {{0, 1000, 0}, {1, 1000, 0}}, {{1000, 1, 0.5}}, {3000}};
  for (const bool simgrid : {false, true}) {
    const std::vector<TimeNs> landed = landed_on(run, simgrid);
    EXPECT_EQ(*std::max_element(landed.begin(), landed.end()), 3000) << simgrid;
  }
}

/// Links whose rate nobody can change, as hardware's.
class FixedWire final : public modelled::Wire {
 public:
  FixedWire(const Cluster& cluster, std::span<const ChannelRequest> requests)
      : inner_(cluster, requests) {}
  void enter(const modelled::Passage& passage, modelled::TimePs now) override {
    inner_.enter(passage, now);
  }
  void stop(ChannelId channel, modelled::TimePs now) override { inner_.stop(channel, now); }
  modelled::TimePs next_ps() override { return inner_.next_ps(); }
  ChannelId leave() override { return inner_.leave(); }

 private:
  emulated::QueuedWire inner_;
};

// Told of late instead, one after the other: of three chunks of 1000 B at half the rate each takes
// 2000, and says so. Said to have begun when the sound link began it, the third would take 4000,
// and the scheduler would learn a third of the rate that is there.
TEST(Degradation, WhereRatesCannotChangeEachChunkTakesLongerAndNoLonger) {
  Cluster cluster;
  cluster.nodes.resize(1);
  cluster.places = {{"a", PlaceKind::gpu, 0, 0, GiB}, {"b", PlaceKind::gpu, 0, 1, GiB}};
  cluster.links.resize(1);
  cluster.links[0] = {"node0/nic0/tx", LinkKind::nic, 1e9, 0};
  std::vector<ChannelRequest> requests(1);
  requests[0].route.source = 0;
  requests[0].route.target = 1;
  requests[0].route.hops = {0};
  requests[0].route.bytes_per_s = 1e9;
  faults::Fault fault;
  fault.kind = faults::FaultKind::degrade;
  fault.factor = 0.5;
  const auto backend = faults::make_faulty_backend(
      modelled::make_virtual_backend("fixed", false,
                                     [](const Cluster& c, std::span<const ChannelRequest> r) {
                                       return Result<std::unique_ptr<modelled::Wire>>(
                                           std::make_unique<FixedWire>(c, r));
                                     }),
      {1, {fault}});
  ASSERT_TRUE(backend->open(cluster, requests));
  const auto from = backend->register_segment(0, MiB);
  const auto to = backend->register_segment(1, MiB);
  ASSERT_TRUE(from && to);
  for (ChunkId id = 0; id < 3; ++id) {
    ChunkPost chunk{id + 1, *from, *to, 1000, 1, Gather::each, {id * 1000, id * 1000, 1000}};
    backend->post(0, {&chunk, 1});
  }
  BackendEvents events;
  while (events.completions.size() < 3) {
    backend->progress(events);
    backend->wait(never_ns);
  }
  for (std::size_t i = 0; i < 3; ++i) {
    const auto before = static_cast<TimeNs>(2000 * i);
    EXPECT_EQ(events.completions[i].started_ns, before);
    EXPECT_EQ(events.completions[i].done_ns, before + 2000);
  }
}

// ---- SimGrid's shares -------------------------------------------------------------------------

struct Road {
  std::vector<LinkId> links;
  bool runs = false;
};

/// Max-min by filling: all flows grow alike until a link is full; what crosses it stays there.
std::vector<double> fill(const std::vector<double>& rates, const std::vector<Road>& roads) {
  std::vector<double> left = rates, result(roads.size(), 0);
  std::vector<bool> open(roads.size());
  for (std::size_t f = 0; f < roads.size(); ++f) open[f] = roads[f].runs;
  while (std::find(open.begin(), open.end(), true) != open.end()) {
    std::vector<double> crossings(rates.size(), 0);
    for (std::size_t f = 0; f < roads.size(); ++f)
      if (open[f])
        for (const LinkId link : roads[f].links) ++crossings[link];
    double level = 1e300;
    for (std::size_t l = 0; l < rates.size(); ++l)
      if (crossings[l] > 0) level = std::min(level, left[l] / crossings[l]);
    std::vector<std::size_t> stay;
    for (std::size_t f = 0; f < roads.size(); ++f)
      if (open[f] && std::any_of(roads[f].links.begin(), roads[f].links.end(), [&](LinkId l) {
            return left[l] / crossings[l] <= level * (1 + 1e-12);
          }))
        stay.push_back(f);
    for (const std::size_t f : stay) {
      open[f] = false;
      result[f] = level;
      for (const LinkId link : roads[f].links) left[link] -= level;
    }
  }
  return result;
}

/// Several flows begin and end in one moment, as they do in a run: 3.32 by itself forgets some.
TEST(SimgridShares, AreMaxMinWhateverBeginsAndEndsTogether) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    Random random(seed);
    std::vector<double> rates(4 + random.below(12));
    std::vector<Road> roads(2 + random.below(30));
    SimgridPlatform platform(roads.size());
    for (LinkId link = 0; link < rates.size(); ++link) {
      rates[link] = static_cast<double>(1 + random.below(100)) * 1e9;
      platform.add_link(link, rates[link]);
    }
    for (std::uint32_t f = 0; f < roads.size(); ++f) {
      const std::size_t hops = 1 + random.below(4);
      for (std::size_t h = 0; h < hops; ++h)
        roads[f].links.push_back(static_cast<LinkId>(random.below(rates.size())));
      platform.add_flow(f, roads[f].links);
    }
    for (int moment = 0; moment < 60; ++moment) {
      for (std::uint32_t f = 0; f < roads.size(); ++f) {
        if (!random.chance(0.3)) continue;
        roads[f].runs = !roads[f].runs;
        roads[f].runs ? platform.run_flow(f) : platform.pause_flow(f);
      }
      platform.share();
      const std::vector<double> expected = fill(rates, roads);
      for (std::uint32_t f = 0; f < roads.size(); ++f) {
        if (roads[f].runs) {
          EXPECT_NEAR(platform.rate(f) / expected[f], 1, 1e-6) << "seed " << seed << ", flow " << f;
        }
      }
    }
  }
}

TEST(BindingLinks, APortBesideItsWireIsLeftOut) {
  Cluster cluster;
  cluster.links.resize(4);
  const double rates[] = {55e9, 47e9, 60e9, 40e9};
  for (LinkId link = 0; link < 4; ++link) cluster.links[link].bytes_per_s = rates[link];
  std::vector<ChannelRequest> requests(2);
  requests[0].route.hops = {0, 1, 2};
  requests[1].route.hops = {2, 3};
  // All that crosses 0 crosses 1, which is narrower. 2 carries both, and neither 1 nor 3 does.
  EXPECT_EQ(binding_links(cluster, requests), (std::vector<bool>{false, true, true, true}));
  // Crossed twice, 0 is the narrower: 27.5 against 47.
  requests[0].route.hops = {0, 0, 1, 2};
  EXPECT_EQ(binding_links(cluster, requests), (std::vector<bool>{true, false, true, true}));
}

}  // namespace
}  // namespace kvhaul::sim
