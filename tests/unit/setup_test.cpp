// What schedulers are told before their first event: shares of credit, order of channels, links
// that count. And the parts that decide for them: policies, random numbers.
#include <gtest/gtest.h>

#include "core/policy/all.h"
#include "core/random.h"
#include "core/scheduler_setup.h"
#include "tests/support/setups.h"

namespace kvhaul {
namespace {

/// Senders on nodes 0 to 2, one place on node 3; every channel has 10 bytes/ns.
struct Plan {
  Plan() : cluster(test::rail_cluster(4, 1)) {}

  PlaceId gpu(int node) const {
    return *cluster.find_place("node" + std::to_string(node) + "/gpu0");
  }
  /// A channel of a node to node 3's GPU; its number.
  ChannelId channel(int node, std::vector<LinkId> hops = {}, std::uint32_t tier = 0,
                    std::uint32_t distance = 0) {
    return channel_to(gpu(3), node, std::move(hops), tier, distance);
  }
  ChannelId channel_to(PlaceId target, int node, std::vector<LinkId> hops = {},
                       std::uint32_t tier = 0, std::uint32_t distance = 0) {
    ChannelRequest request;
    request.route.source = gpu(node);
    request.route.target = target;
    request.route.hops = std::move(hops);
    request.owner = static_cast<NodeId>(node);
    requests.push_back(request);
    tiers.push_back(tier);
    ChannelNumbers of = test::plain_channel();
    of.bytes_per_s = 10e9;
    of.distance = distance;
    numbers.push_back(of);
    return static_cast<ChannelId>(requests.size() - 1);
  }
  std::vector<SchedulerSetup> make() const {
    return make_setups(cluster, requests, tiers, numbers, config);
  }
  /// The ledger of node 3's GPU.
  SetupLedger ledger() const { return make().back().ledgers.at(0); }

  Cluster cluster;
  std::vector<ChannelRequest> requests;
  std::vector<std::uint32_t> tiers;
  std::vector<ChannelNumbers> numbers;
  SchedulerConfig config;
};

TEST(Setups, CreditIsFourWindowsAndTwoChunksForEverySender) {
  Plan plan;
  for (const int node : {0, 1, 2}) plan.channel(node);
  // A faster channel to another place is no reason for more.
  plan.channel_to(plan.gpu(1), 0);
  plan.numbers.back().bytes_per_s = 100e9;
  plan.config.channel_window_ns = 250'000;
  plan.config.chunk_time_ns = 100'000;
  // 4 x 2.5 MB; two chunks of 1 MB for each of three are less.
  EXPECT_EQ(plan.ledger().capacity_bytes, 10'000'000u);
  plan.config.chunk_time_ns = 400'000;
  EXPECT_EQ(plan.ledger().capacity_bytes, 24'000'000u);
  plan.config.chunk_time_ns = 100'000;
  plan.config.chunk_floor_bytes = 3'000'000;
  EXPECT_EQ(plan.ledger().capacity_bytes, 18'000'000u);
  plan.config.chunk_bytes = 5'000'000;  // chosen: neither time nor floor counts
  EXPECT_EQ(plan.ledger().capacity_bytes, 30'000'000u);
  plan.config.chunk_bytes = 1;
  EXPECT_EQ(plan.ledger().capacity_bytes, 10'000'000u);
  plan.config.credit_bytes = 9'000'001;
  const SetupLedger ledger = plan.ledger();
  EXPECT_EQ(ledger.capacity_bytes, 9'000'001u);
  EXPECT_EQ(ledger.min_share_bytes, 1'500'000u);
  EXPECT_EQ(ledger.senders, (std::vector<NodeId>{0, 1, 2}));
  EXPECT_EQ(ledger.place, plan.gpu(3));
  const std::vector<SchedulerSetup> setups = plan.make();
  ASSERT_EQ(setups.size(), 4u);
  for (NodeId node = 0; node < 4; ++node) {
    EXPECT_EQ(setups[node].node, node);
    EXPECT_EQ(setups[node].config, plan.config);
    EXPECT_TRUE(check_setup(setups[node]));
  }
  EXPECT_EQ(setups[1].accounts.at(0), (SetupAccount{plan.gpu(3), 3, 3'000'000, 1'500'000, true}));
  EXPECT_TRUE(setups[1].ledgers.empty());
  EXPECT_TRUE(setups[3].channels.empty());
  EXPECT_TRUE(setups[3].accounts.empty());
}

TEST(Setups, TwoSendersShareAndTheFastestChannelCounts) {
  Plan plan;
  plan.channel(0);
  plan.channel(1);
  plan.numbers[0].bytes_per_s = 20e9;  // 5 MB in a window of 250 us
  const std::vector<SchedulerSetup> setups = plan.make();
  ASSERT_EQ(setups.size(), 3u);
  for (const std::size_t sender : {0u, 1u})
    EXPECT_EQ(setups[sender].accounts.at(0),
              (SetupAccount{plan.gpu(3), 3, 10'000'000, 5'000'000, true}));
  EXPECT_EQ(setups[2].ledgers,
            (std::vector<SetupLedger>{{plan.gpu(3), 20'000'000, 5'000'000, {0, 1}}}));
  // What moves nothing and has no smallest chunk needs no credit.
  plan.numbers[0].bytes_per_s = plan.numbers[1].bytes_per_s = 0;
  plan.config.chunk_floor_bytes = 0;
  EXPECT_EQ(plan.ledger().capacity_bytes, 0u);
}

TEST(Setups, ALoneSenderHasAllTheCreditThereIs) {
  Plan plan;
  plan.channel(1);
  const auto account = [&] { return plan.make().front().accounts.at(0); };
  constexpr Bytes unlimited = Bytes{1} << 60;
  EXPECT_EQ(account(), (SetupAccount{plan.gpu(3), 3, unlimited, unlimited, false}));
  EXPECT_TRUE(plan.make().back().ledgers.empty());
  plan.config.credit_bytes = 1;
  EXPECT_EQ(account(), (SetupAccount{plan.gpu(3), 3, 1, 1, false}));
  plan.config.credit_bytes = 7000;
  EXPECT_EQ(account(), (SetupAccount{plan.gpu(3), 3, 7000, 7000, false}));
}

TEST(Setups, ChannelsStandByPairThenTierThenDistance) {
  Plan plan;
  const ChannelId far = plan.channel(0, {}, 0, 2);
  const ChannelId fallback = plan.channel(0, {}, 1);
  const ChannelId other = plan.channel_to(plan.gpu(2), 0);
  plan.channel(1);
  const ChannelId near = plan.channel(0, {}, 0, 1);
  const ChannelId near_too = plan.channel(0, {}, 0, 1);
  const SchedulerSetup setup = plan.make().front();
  std::vector<ChannelId> ids;
  for (const SetupChannel& channel : setup.channels) ids.push_back(channel.id);
  EXPECT_EQ(ids, (std::vector<ChannelId>{near, near_too, far, fallback, other}));
  EXPECT_EQ(setup.channels[3].tier, 1u);
  EXPECT_EQ(setup.channels[4].pair, 1u);
  EXPECT_EQ(setup.pairs.size(), 2u);
  EXPECT_EQ(setup.pairs[0], (SetupPair{plan.gpu(0), plan.gpu(3), 0}));
  EXPECT_EQ(setup.pairs[1], (SetupPair{plan.gpu(0), plan.gpu(2), 1}));
  EXPECT_EQ(setup.channels[0].numbers, plan.numbers[near]);
}

TEST(Setups, LinksThatSeveralChannelsCrossCount) {
  Plan plan;
  for (Link& link : plan.cluster.links) link.bytes_per_s = 30e9;
  plan.cluster.links[2].bytes_per_s = 20e9;
  plan.cluster.links[4].bytes_per_s = 25e9;
  plan.channel(0, {0, 1, 2, 4, 4});
  plan.channel(0, {1, 2, 3, 4});
  plan.channel(0, {5, 4});
  const SchedulerSetup setup = plan.make().front();
  // 1 and 2 are crossed by the first two: one link, as slow as the slower. 4 is crossed by all,
  // twice by the first. 0, 3 and 5 have one channel each.
  ASSERT_EQ(setup.links.size(), 2u);
  EXPECT_EQ(setup.links[0].bytes_per_s, 20e9);
  EXPECT_EQ(setup.links[1].bytes_per_s, 12.5e9);
  EXPECT_EQ(setup.channels[0].links, (std::vector<std::uint32_t>{0, 1}));
  EXPECT_EQ(setup.channels[1].links, (std::vector<std::uint32_t>{0, 1}));
  EXPECT_EQ(setup.channels[2].links, (std::vector<std::uint32_t>{1}));
}

TEST(Setups, OfMoreLinksThanATableHoldsTheSlowestCount) {
  Plan plan;
  for (LinkId link = 0; link < 8; ++link) plan.cluster.links[link].bytes_per_s = 1e9 * (8 - link);
  // Each link is crossed by the first channel and another set of others.
  plan.channel(0, {0, 1, 2, 3, 4, 5, 6, 7});
  for (LinkId link = 0; link < 8; ++link) plan.channel(0, {link});
  const SchedulerSetup setup = plan.make().front();
  ASSERT_EQ(setup.links.size(), 8u);
  ASSERT_EQ(setup.channels[0].links.size(), 6u);
  for (const std::uint32_t link : setup.channels[0].links)
    EXPECT_LE(setup.links[link].bytes_per_s, 6e9);
  EXPECT_TRUE(check_setup(setup));
}

TEST(Setups, SixLinksStayAsTheyAreAndOfEqualOnesTheFirst) {
  Plan plan;
  for (LinkId link = 0; link < 8; ++link) plan.cluster.links[link].bytes_per_s = 1e9 * (8 - link);
  plan.channel(0, {0, 1, 2, 3, 4, 5});
  for (LinkId link = 0; link < 6; ++link) plan.channel(0, {link});
  EXPECT_EQ(plan.make().front().channels[0].links, (std::vector<std::uint32_t>{0, 1, 2, 3, 4, 5}));
  Plan equal;
  for (LinkId link = 0; link < 8; ++link) equal.cluster.links[link].bytes_per_s = 1e9;
  equal.channel(0, {0, 1, 2, 3, 4, 5, 6, 7});
  for (LinkId link = 0; link < 8; ++link) equal.channel(0, {link});
  EXPECT_EQ(equal.make().front().channels[0].links, (std::vector<std::uint32_t>{0, 1, 2, 3, 4, 5}));
}

// Links 0 to 6 have 1 to 7 GB/s and are crossed by another pair each; link 7 is the port that all
// channels of the pair cross.
TEST(Setups, TheLinkOfAWholeTierStays) {
  const auto rates_of = [](double port_bytes_per_s) {
    Plan plan;
    for (LinkId link = 0; link < 7; ++link) plan.cluster.links[link].bytes_per_s = 1e9 * (link + 1);
    plan.cluster.links[7].bytes_per_s = port_bytes_per_s;
    plan.channel(0, {0, 1, 2, 3, 4, 5, 6, 7});
    plan.channel(0, {7});
    for (LinkId link = 0; link < 7; ++link) plan.channel_to(plan.gpu(2), 0, {link});
    const SchedulerSetup setup = plan.make().front();
    std::vector<double> rates;
    for (const std::uint32_t link : setup.channels[0].links)
      rates.push_back(setup.links[link].bytes_per_s / 1e9);
    EXPECT_EQ(setup.channels[1].links.size(), 1u);
    return rates;
  };
  EXPECT_EQ(rates_of(50e9), (std::vector<double>{1, 2, 3, 4, 5, 50}));
  EXPECT_EQ(rates_of(2.5e9), (std::vector<double>{1, 2, 2.5, 3, 4, 5}));
  EXPECT_EQ(rates_of(0.5e9), (std::vector<double>{0.5, 1, 2, 3, 4, 5}));
}

// ---- check_setup() ------------------------------------------------------------------------------

template <class Change>
bool passes(Change change) {
  SchedulerSetup setup = test::one_pair(2);
  setup.links = {{1e9}};
  setup.channels[0].links = {0};
  change(setup);
  return static_cast<bool>(check_setup(setup));
}

TEST(CheckSetup, LimitsAreInclusiveAndNothingPassesThem) {
  using S = SchedulerSetup;
  EXPECT_TRUE(passes([](S&) {}));
  const auto numbers = [](auto change) {
    return passes([&](S& s) {
      for (SetupChannel& channel : s.channels) change(channel.numbers);
    });
  };
  EXPECT_TRUE(numbers([](ChannelNumbers& n) { n.bytes_per_s = 1e6; }));
  EXPECT_FALSE(numbers([](ChannelNumbers& n) { n.bytes_per_s = 0.99e6; }));
  EXPECT_TRUE(numbers([](ChannelNumbers& n) { n.bytes_per_s = 1e15; }));
  EXPECT_FALSE(numbers([](ChannelNumbers& n) { n.bytes_per_s = 1.01e15; }));
  EXPECT_TRUE(numbers([](ChannelNumbers& n) { n.bytes_per_s = 0; }));
  EXPECT_FALSE(numbers([](ChannelNumbers& n) { n.max_in_flight = 0; }));
  EXPECT_TRUE(numbers([](ChannelNumbers& n) { n.max_in_flight = 1; }));
  EXPECT_FALSE(numbers([](ChannelNumbers& n) { n.max_chunk_bytes = 0; }));
  EXPECT_TRUE(numbers([](ChannelNumbers& n) { n.max_chunk_bytes = 1; }));
  EXPECT_TRUE(numbers([](ChannelNumbers& n) { n.max_chunk_bytes = 64 * GiB; }));
  EXPECT_FALSE(numbers([](ChannelNumbers& n) { n.max_chunk_bytes = 64 * GiB + 1; }));
  EXPECT_FALSE(numbers([](ChannelNumbers& n) { n.max_pieces = 0; }));
  EXPECT_TRUE(numbers([](ChannelNumbers& n) { n.max_pieces = 1; }));
  EXPECT_TRUE(numbers([](ChannelNumbers& n) { n.max_pieces = 4096; }));
  EXPECT_FALSE(numbers([](ChannelNumbers& n) { n.max_pieces = 4097; }));
  EXPECT_FALSE(numbers([](ChannelNumbers& n) { n.stages = 0; }));
  EXPECT_TRUE(numbers([](ChannelNumbers& n) { n.stages = 16; }));
  EXPECT_FALSE(numbers([](ChannelNumbers& n) { n.stages = 17; }));
  EXPECT_FALSE(numbers([](ChannelNumbers& n) { n.fixed_ns = -1; }));
  EXPECT_TRUE(numbers([](ChannelNumbers& n) { n.fixed_ns = 1000 * s_ns; }));
  EXPECT_FALSE(numbers([](ChannelNumbers& n) { n.fixed_ns = 1000 * s_ns + 1; }));
  EXPECT_FALSE(numbers([](ChannelNumbers& n) { n.post_ns = -1; }));
  EXPECT_TRUE(numbers([](ChannelNumbers& n) { n.post_ns = s_ns; }));
  EXPECT_FALSE(numbers([](ChannelNumbers& n) { n.post_ns = s_ns + 1; }));
  EXPECT_TRUE(numbers([](ChannelNumbers& n) { n.half_bandwidth_bytes = GiB; }));
  EXPECT_FALSE(numbers([](ChannelNumbers& n) { n.half_bandwidth_bytes = GiB + 1; }));
  const auto gather = [&](GatherCosts costs, std::size_t method = 1) {
    return numbers([&](ChannelNumbers& n) { n.gather[method] = costs; });
  };
  EXPECT_TRUE(gather({}));
  EXPECT_FALSE(gather({}, 0));  // single pieces have their costs elsewhere
  EXPECT_FALSE(gather({.fixed_ns = -1}));
  EXPECT_TRUE(gather({.fixed_ns = 1000 * s_ns}));
  EXPECT_FALSE(gather({.fixed_ns = 1000 * s_ns + 1}));
  EXPECT_FALSE(gather({.post_ns = -1}));
  EXPECT_TRUE(gather({.post_ns = s_ns}));
  EXPECT_FALSE(gather({.post_ns = s_ns + 1}));
  EXPECT_FALSE(gather({.piece_post_ns = -1}));
  EXPECT_TRUE(gather({.piece_post_ns = s_ns}));
  EXPECT_FALSE(gather({.piece_post_ns = s_ns + 1}));
  EXPECT_TRUE(gather({.half_bandwidth_bytes = GiB}));
  EXPECT_FALSE(gather({.half_bandwidth_bytes = GiB + 1}));
  EXPECT_TRUE(gather({.piece_half_bandwidth_bytes = GiB}));
  EXPECT_FALSE(gather({.piece_half_bandwidth_bytes = GiB + 1}));
  EXPECT_TRUE(gather({.extra_permille = 99'000}));
  EXPECT_FALSE(gather({.extra_permille = 99'001}));
  EXPECT_TRUE(gather({.bytes_per_s = 1e6}));
  EXPECT_FALSE(gather({.bytes_per_s = 0.5e6}));
  EXPECT_TRUE(gather({.bytes_per_s = 1e15}));
  EXPECT_FALSE(gather({.bytes_per_s = 2e15}));

  EXPECT_FALSE(passes([](S& s) { s.config.policy = "magic"; }));
  EXPECT_FALSE(passes([](S& s) { s.config.chunks_per_transfer = 0; }));
  EXPECT_TRUE(passes([](S& s) { s.config.chunks_per_transfer = 1; }));
  EXPECT_FALSE(passes([](S& s) { s.config.max_attempts = 0; }));
  EXPECT_TRUE(passes([](S& s) { s.config.max_attempts = 1; }));
  EXPECT_FALSE(passes([](S& s) { s.config.quarantine_errors = 0; }));
  EXPECT_TRUE(passes([](S& s) { s.config.quarantine_errors = 1; }));
  EXPECT_TRUE(passes([](S& s) { s.config.timeout_factor = 100; }));
  EXPECT_FALSE(passes([](S& s) { s.config.timeout_factor = 101; }));
  EXPECT_FALSE(passes([](S& s) { s.config.ageing_ns = 0; }));
  EXPECT_TRUE(passes([](S& s) { s.config.ageing_ns = 1; }));
  EXPECT_TRUE(passes([](S& s) { s.config.stall_timeout_ns = 1'000'000 * s_ns; }));
  EXPECT_FALSE(passes([](S& s) { s.config.stall_timeout_ns = 1'000'000 * s_ns + 1; }));
}

TEST(CheckSetup, APolicyThatIsNoneIsToldWhichThereAre) {
  SchedulerSetup setup = test::one_pair(1);
  setup.config.policy = "magic";
  EXPECT_EQ(
      check_setup(setup).error().message,
      "scheduler setup: expected a policy out of least_finish, round_robin, near_random, one_shot, "
      "found 'magic'");
}

TEST(CheckSetup, WhatDoesNotHangTogetherIsRefused) {
  using S = SchedulerSetup;
  EXPECT_FALSE(passes([](S& s) { s.channels[1].pair = 1; }));
  EXPECT_FALSE(passes([](S& s) { s.channels[0].tier = 1; }));  // behind comes tier 0
  EXPECT_TRUE(passes([](S& s) { s.channels[1].tier = 1; }));
  EXPECT_FALSE(passes([](S& s) { s.channels[1].id = 0; }));
  EXPECT_FALSE(passes([](S& s) { s.channels[0].links = {1}; }));
  EXPECT_TRUE(passes([](S& s) { s.channels[0].links = {0, 0, 0, 0, 0, 0}; }));
  EXPECT_FALSE(passes([](S& s) { s.channels[0].links = {0, 0, 0, 0, 0, 0, 0}; }));
  EXPECT_FALSE(passes([](S& s) { s.channels[1].numbers.post_ns = 1; }));
  EXPECT_FALSE(passes([](S& s) { s.channels[1].numbers.half_bandwidth_bytes = 1; }));
  EXPECT_FALSE(passes([](S& s) { s.channels[1].numbers.stages = 2; }));
  EXPECT_FALSE(passes([](S& s) { s.channels[1].numbers.gather[2].emplace(); }));
  EXPECT_TRUE(passes([](S& s) {  // another kind of route
    s.channels[1].tier = 1;
    s.channels[1].numbers.post_ns = 1;
    s.channels[1].numbers.stages = 2;
  }));
  EXPECT_TRUE(passes([](S& s) { s.channels[1].id = 10'000'000; }));
  EXPECT_FALSE(passes([](S& s) { s.channels[1].id = 10'000'001; }));
  EXPECT_FALSE(passes([](S& s) { s.pairs.push_back({2, 3, 0}); }));  // without a channel
  EXPECT_FALSE(passes([](S& s) { s.pairs[0].account = 1; }));
  EXPECT_FALSE(passes([](S& s) { s.links[0].bytes_per_s = 0.5e6; }));
  EXPECT_TRUE(passes([](S& s) { s.links[0].bytes_per_s = 1e6; }));
  EXPECT_TRUE(passes([](S& s) { s.links[0].bytes_per_s = 1e15; }));
  EXPECT_FALSE(passes([](S& s) { s.links[0].bytes_per_s = 1.01e15; }));
  EXPECT_TRUE(passes([](S& s) { s.links.assign(65'534, {1e9}); }));
  EXPECT_FALSE(passes([](S& s) { s.links.assign(65'535, {1e9}); }));
  const auto pairs = [](std::uint32_t count) {
    return passes([&](S& s) {
      s.pairs.assign(count, s.pairs[0]);
      s.channels.assign(count, s.channels[0]);
      for (std::uint32_t p = 0; p < count; ++p) s.channels[p].id = s.channels[p].pair = p;
    });
  };
  EXPECT_TRUE(pairs(65'534));
  EXPECT_FALSE(pairs(65'535));
  EXPECT_FALSE(passes([](S& s) { s.accounts[0].min_share_bytes = 0; }));
  EXPECT_TRUE(
      passes([](S& s) { s.accounts[0].min_share_bytes = s.accounts[0].granted_bytes = 1; }));
  EXPECT_FALSE(
      passes([](S& s) { s.accounts[0].min_share_bytes = s.accounts[0].granted_bytes + 1; }));
  EXPECT_TRUE(passes([](S& s) { s.ledgers = {{1, 100, 50, {0, 1}}}; }));
  EXPECT_FALSE(passes([](S& s) { s.ledgers = {{1, 100, 51, {0, 1}}}; }));
  EXPECT_FALSE(passes([](S& s) { s.ledgers = {{1, 100, 0, {0, 1}}}; }));
  EXPECT_FALSE(passes([](S& s) { s.ledgers = {{1, 100, 50, {1, 0}}}; }));
  EXPECT_FALSE(passes([](S& s) { s.ledgers = {{1, 100, 50, {}}}; }));
}

// ---- Policies -----------------------------------------------------------------------------------

TEST(Baselines, ChooseAndCutAsTheirModelsDo) {
  SchedulerSetup setup = test::one_pair(4);
  setup.config.seed = 3;
  for (std::uint32_t c = 0; c < 4; ++c) {
    setup.channels[c].numbers.distance = c < 2 ? 0 : 5;
    setup.channels[c].numbers.bytes_per_s = c == 2 || c == 3 ? 4e9 : 1e9;
  }
  const ChannelTable table(setup);
  const std::vector<std::uint32_t> all = {0, 1, 2, 3}, far = {2, 3}, one = {3};
  PairNumbers pair;
  pair.max_chunk_bytes = GiB;

  NearRandom near(setup);
  EXPECT_EQ(near.chunk_bytes(pair, GiB, 1), 64 * 1024u);
  std::vector<int> count(4, 0);
  for (int i = 0; i < 100; ++i) ++count[near.choose({table, 0, all, {}})];
  EXPECT_GT(count[0], 30);
  EXPECT_GT(count[1], 30);
  EXPECT_EQ(count[2] + count[3], 0);
  for (int i = 0; i < 100; ++i) ++count[near.choose({table, 0, far, {}})];
  EXPECT_GT(count[2], 30);
  EXPECT_GT(count[3], 30);
  EXPECT_EQ(near.choose({table, 0, one, {}}), 3u);
  const std::vector<std::uint32_t> one_is_near = {1, 2, 3};
  for (int i = 0; i < 100; ++i) EXPECT_EQ(near.choose({table, 0, one_is_near, {}}), 1u);

  RoundRobin turns(setup);
  EXPECT_EQ(turns.chunk_bytes(pair, GiB, 1), 512 * 1024u);
  for (const std::uint32_t expected : {0u, 1u, 2u, 3u, 0u})
    EXPECT_EQ(turns.choose({table, 0, all, {}}), expected);

  OneShot shot(setup);
  EXPECT_EQ(shot.chunk_bytes(pair, GiB, 1), GiB);
  EXPECT_EQ(shot.choose({table, 0, all, {}}), 2u);  // the first of the fastest
  EXPECT_EQ(shot.choose({table, 0, one, {}}), 3u);
}

TEST(Baselines, LeastFinishCutsIntoEqualPartsOfWholePages) {
  SchedulerSetup setup = test::one_pair(1);
  setup.config = {};
  setup.config.chunk_floor_bytes = 10'000;
  setup.config.chunks_per_transfer = 10;
  setup.config.chunk_time_ns = 50'000;
  const LeastFinish policy(setup);
  PairNumbers pair;
  pair.bytes_per_s = 2e9;
  pair.max_chunk_bytes = GiB;
  // One channel of one stage: 50 us are 100,000 B, and up to them a transfer stays whole.
  EXPECT_EQ(policy.chunk_bytes(pair, 100'000, 1), 100'000u);
  // 150,000 in two: 75,000, which are 18.3 pages.
  EXPECT_EQ(policy.chunk_bytes(pair, 150'000, 1), 19u * 4096);
  // At most 10 parts: 1,500,005 / 10, 36.6 pages.
  EXPECT_EQ(policy.chunk_bytes(pair, 1'500'005, 1), 37u * 4096);
  // Posting takes longer than its bytes: sqrt(60,000 x 8000 / (2 - 1)) = 21,909; three parts of
  // 20,000, which are 4.9 pages.
  pair.stages = 2;
  pair.post_ns = 4000;
  pair.half_bandwidth_bytes = 100;
  EXPECT_EQ(policy.chunk_bytes(pair, 60'000, 1), 5u * 4096);
  // Both channels take no more than 12,000.
  pair.max_chunk_bytes = 12'000;
  EXPECT_EQ(policy.chunk_bytes(pair, 60'000, 1), 12'000u);
  EXPECT_EQ(policy.chunk_bytes(pair, 5'000, 1), 10'000u);
}

// ---- Random numbers -----------------------------------------------------------------------------

/// The same on every machine: seeds stand in scenarios, and worlds are named by theirs. The first
/// number of seed 0 is in the reference implementation's comments everywhere: e220a839...
TEST(RandomNumbers, AreThoseOfSplitmix64) {
  EXPECT_EQ(mix64(0), 0xe220a8397b1dcdafu);
  EXPECT_EQ(mix64(1), 0x910a2dec89025cc1u);
  EXPECT_EQ(mix64(2), 0x975835de1c9756ceu);
  EXPECT_EQ(mix64(~std::uint64_t{0}), 0xe4d971771b652c20u);
  Random random(0);
  EXPECT_EQ(random(), 0xe220a8397b1dcdafu);
  EXPECT_EQ(random(), 0x6e789e6aa1b965f4u);
  EXPECT_EQ(random(), 0x06c45d188009454fu);
  EXPECT_EQ(Random::min(), 0u);
  EXPECT_EQ(Random::max(), ~std::uint64_t{0});
}

TEST(RandomNumbers, StayWithinTheirBounds) {
  Random random(7);
  bool low = false, high = false;
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t value = random.between(3, 5);
    EXPECT_TRUE(value >= 3 && value <= 5);
    low |= value == 3;
    high |= value == 5;
    EXPECT_LT(random.below(10), 10u);
    const double unit = random.unit();
    EXPECT_TRUE(unit >= 0 && unit < 1);
  }
  EXPECT_TRUE(low && high);
  int often = 0;
  for (int i = 0; i < 1000; ++i) often += random.chance(0.9) ? 1 : 0;
  EXPECT_NEAR(often, 900, 50);
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(random.chance(0));
  // (0xe220... >> 11) / 2^53
  EXPECT_DOUBLE_EQ(Random(0).unit(), 0.8833108082136426);
}

}  // namespace
}  // namespace kvhaul
