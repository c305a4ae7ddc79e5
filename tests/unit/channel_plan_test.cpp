// Which channels a run opens, and what is said when there are none.
#include "core/channel_plan.h"

#include <algorithm>
#include <map>

#include <gtest/gtest.h>

#include "core/paged_layout.h"
#include "core/runtime.h"
#include "core/scheduler_setup.h"
#include "tests/support/setups.h"

namespace kvhaul {
namespace {

using Pairs = std::vector<std::pair<PlaceId, PlaceId>>;

Pairs pair_of(const Cluster& cluster, const char* source, const char* target) {
  return {{*cluster.find_place(source), *cluster.find_place(target)}};
}

std::size_t count_of(std::string_view text, std::string_view part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1))
    ++count;
  return count;
}

/// Two nodes of four GPUs, NICs of that rate, in one square of NICs or in rails.
Cluster four_gpus(double nic_bytes_per_s, std::size_t nics, bool rails) {
  ClusterSpec spec;
  NodeSpec node = test::rail_node(4);
  node.nics.resize(nics);
  for (NodeSpec::Nic& nic : node.nics) nic.wire = {nic_bytes_per_s, nic_bytes_per_s, 0};
  spec.nodes = {{node, 0, false}, {node, 0, false}};
  spec.fabric.rails = rails;
  return *build_cluster(spec);
}

std::vector<std::string> names_of_tier(const ChannelPlan& plan, std::uint32_t tier) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < plan.requests.size(); ++i)
    if (plan.tiers[i] == tier) names.push_back(plan.requests[i].route.name);
  return names;
}

// A GPU's port carries 50 GB/s. Its own NIC's 45 are more than four fifths of that.
TEST(ChannelPlan, TheNearestNicsThatFillAPortAndTheOthersBehindThem) {
  RoutePlan plan;
  plan.order = {RouteKind::rdma};
  plan.near_first = true;
  plan.costs[static_cast<std::size_t>(RouteKind::rdma)].queues = 2;
  const auto planned = [&](const Cluster& cluster, const char* source, const char* target) {
    const auto made = plan_channels(cluster, pair_of(cluster, source, target), plan);
    EXPECT_TRUE(made) << made.error().message;
    return made ? *made : ChannelPlan{};
  };
  using Names = std::vector<std::string>;
  const auto rail = planned(four_gpus(45e9, 4, true), "node0/gpu1", "node1/gpu1");
  EXPECT_EQ(names_of_tier(rail, 0),
            (Names{"rdma node0/nic1 node1/nic1", "rdma node0/nic1 node1/nic1"}));
  EXPECT_EQ(names_of_tier(rail, 1),
            (Names{"rdma node0/nic0 node1/nic0", "rdma node0/nic2 node1/nic2",
                   "rdma node0/nic3 node1/nic3"}));
  EXPECT_EQ(names_of_tier(rail, 2), Names{});
  // In a square the spare ones are no more: each NIC at either end once.
  const auto square = planned(four_gpus(45e9, 4, false), "node0/gpu1", "node1/gpu1");
  EXPECT_EQ(names_of_tier(square, 0).size(), 2u);
  EXPECT_EQ(names_of_tier(square, 1), names_of_tier(rail, 1));
  // NICs of 15 GB/s: its own and the one on its host make 30, with those across the socket link,
  // which carries 20, it is the port's 50.
  EXPECT_EQ(names_of_tier(planned(four_gpus(15e9, 4, true), "node0/gpu1", "node1/gpu1"), 0).size(),
            8u);
  // The same rails with no choice: all at once, or as many as wanted.
  plan.near_first = false;
  EXPECT_EQ(names_of_tier(planned(four_gpus(45e9, 4, true), "node0/gpu1", "node1/gpu1"), 0).size(),
            8u);
}

TEST(ChannelPlan, TakesTheNearestRailsAndTheirQueues) {
  const Cluster cluster = test::rail_cluster(2, 4);
  const Pairs pairs = pair_of(cluster, "node0/gpu1", "node1/gpu1");
  RoutePlan plan;
  plan.order = {RouteKind::rdma, RouteKind::rdma_staged};
  plan.costs[static_cast<std::size_t>(RouteKind::rdma)].queues = 2;
  plan.costs[static_cast<std::size_t>(RouteKind::rdma_staged)].queues = 0;  // as one
  const auto all = plan_channels(cluster, pairs, plan);
  ASSERT_TRUE(all) << all.error().message;
  const auto of_tier = [](const ChannelPlan& p, std::uint32_t tier) {
    return std::count(p.tiers.begin(), p.tiers.end(), tier);
  };
  EXPECT_EQ(of_tier(*all, 0), 2 * 4);
  EXPECT_EQ(of_tier(*all, 1), 4);
  EXPECT_EQ(all->requests.size(), 12u);
  plan.rails = 1;
  const auto one = plan_channels(cluster, pairs, plan);
  ASSERT_TRUE(one) << one.error().message;
  ASSERT_EQ(of_tier(*one, 0), 2);
  EXPECT_EQ(of_tier(*one, 1), 1);
  EXPECT_EQ(one->requests[0].route.name, one->requests[1].route.name);
  EXPECT_EQ(one->requests[0].route.distance, 0u);
  plan.rails = 3;
  const auto three = plan_channels(cluster, pairs, plan);
  ASSERT_TRUE(three) << three.error().message;
  EXPECT_EQ(of_tier(*three, 0), 2 * 3);
  EXPECT_EQ(of_tier(*three, 1), 3);
  EXPECT_EQ(three->requests[0].owner, 0u);
  EXPECT_FALSE(three->requests[0].pull);
  plan.pull = true;
  const auto pulled = plan_channels(cluster, pairs, plan);
  EXPECT_EQ(pulled->requests[0].owner, 1u);
  EXPECT_TRUE(pulled->requests[0].pull);
}

TEST(ChannelPlan, SaysWhatIsWrongWithUpToFourRoutes) {
  const Cluster cluster = test::rail_cluster(2, 4);
  RoutePlan plan;
  plan.order = {RouteKind::nvlink_copy};
  const auto none = plan_channels(cluster, pair_of(cluster, "node0/gpu0", "node1/gpu0"), plan);
  ASSERT_FALSE(none);
  const std::string& text = none.error().message;
  EXPECT_EQ(text.find("no usable route from node0/gpu0 to node1/gpu0: "), 0u) << text;
  const std::size_t routes =
      find_routes(cluster, *cluster.find_place("node0/gpu0"), *cluster.find_place("node1/gpu0"), {})
          .size();
  ASSERT_GT(routes, 5u);
  EXPECT_EQ(count_of(text, "; "), 4u) << text;
  EXPECT_NE(text.find("; and " + std::to_string(routes - 4) + " more"), std::string::npos) << text;
  // The first of them is named, after the one colon.
  const std::string first =
      find_routes(cluster, *cluster.find_place("node0/gpu0"), *cluster.find_place("node1/gpu0"), {})
          .front()
          .name;
  EXPECT_NE(text.find("node1/gpu0: " + first + ": "), std::string::npos) << text;
  EXPECT_NE(text.find("not in the scenario's route order"), std::string::npos) << text;
}

std::string no_route_text(const Cluster& cluster, const char* source, const char* target) {
  RoutePlan plan;
  plan.order = {RouteKind::nvlink_copy};
  const auto made = plan_channels(cluster, pair_of(cluster, source, target), plan);
  EXPECT_FALSE(made);
  if (made) return "";
  EXPECT_EQ(made.error().kind, ErrorKind::bad_input);
  return made.error().message;
}

TEST(ChannelPlan, SaysWhyThereIsNoRoute) {
  const Cluster cluster = test::rail_cluster(2, 1);
  EXPECT_EQ(no_route_text(cluster, "node0/host0", "node0/host1"),
            "no usable route from node0/host0 to node0/host1: nothing joins the two");
  EXPECT_EQ(no_route_text(cluster, "node0/gpu0", "node1/gpu0"),
            "no usable route from node0/gpu0 to node1/gpu0: "
            "rdma node0/nic0 node1/nic0: not in the scenario's route order; "
            "rdma_staged node0/nic0 node1/nic0: not in the scenario's route order; "
            "nvlink_copy: different NVLink domains");
  // Two NICs at one end: four routes into host memory, five into a GPU.
  ClusterSpec spec;
  spec.nodes = {{test::rail_node(1), 0, false}, {test::rail_node(2), 0, false}};
  spec.fabric.rails = false;
  const Cluster square = *build_cluster(spec);
  const std::string four =
      "rdma node0/nic0 node1/nic0: not in the scenario's route order; "
      "rdma node0/nic0 node1/nic1: not in the scenario's route order; "
      "rdma_staged node0/nic0 node1/nic0: not in the scenario's route order; "
      "rdma_staged node0/nic0 node1/nic1: not in the scenario's route order";
  EXPECT_EQ(no_route_text(square, "node0/gpu0", "node1/host0"),
            "no usable route from node0/gpu0 to node1/host0: " + four);
  EXPECT_EQ(no_route_text(square, "node0/gpu0", "node1/gpu0"),
            "no usable route from node0/gpu0 to node1/gpu0: " + four + "; and 1 more");
}

// Of four NICs and two each pair that is new at both ends comes first: nic0 with nic0. What is left
// are two that are new at one end.
TEST(ChannelPlan, SpareRailsThatAreNewAtOneEndComeLast) {
  ClusterSpec spec;
  NodeSpec node = test::rail_node(4);
  for (NodeSpec::Nic& nic : node.nics) nic.wire = {45e9, 45e9, 0};
  spec.nodes = {{node, 0, false}, {node, 0, false}};
  spec.nodes[1].spec.nics.resize(2);
  spec.fabric.rails = false;
  const Cluster cluster = *build_cluster(spec);
  RoutePlan plan;
  plan.order = {RouteKind::rdma};
  plan.near_first = true;
  const auto made = plan_channels(cluster, pair_of(cluster, "node0/gpu1", "node1/gpu1"), plan);
  ASSERT_TRUE(made) << made.error().message;
  using Names = std::vector<std::string>;
  EXPECT_EQ(names_of_tier(*made, 0), (Names{"rdma node0/nic1 node1/nic1"}));
  EXPECT_EQ(names_of_tier(*made, 1),
            (Names{"rdma node0/nic0 node1/nic0", "rdma node0/nic2 node1/nic1",
                   "rdma node0/nic3 node1/nic1"}));
}

// A port carries 50 GB/s: four fifths are 40, which one NIC has or has not.
TEST(ChannelPlan, FourFifthsOfWhatAllRailsCarryAreEnough) {
  RoutePlan plan;
  plan.order = {RouteKind::rdma};
  plan.near_first = true;
  for (const auto& [rate, at_once] : {std::pair(40e9, 1u), std::pair(39.9e9, 2u)}) {
    const Cluster cluster = four_gpus(rate, 4, true);
    const auto made = plan_channels(cluster, pair_of(cluster, "node0/gpu1", "node1/gpu1"), plan);
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_EQ(names_of_tier(*made, 0).size(), at_once) << rate;
    EXPECT_EQ(names_of_tier(*made, 1).size(), 4 - at_once) << rate;
    // The same for links of a few bytes a second.
    Cluster slow = cluster;
    for (Link& link : slow.links) link.bytes_per_s *= 1e-10;
    const auto again = plan_channels(slow, pair_of(slow, "node0/gpu1", "node1/gpu1"), plan);
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(names_of_tier(*again, 0), names_of_tier(*made, 0));
  }
  // Those that are as near as the nearest and as fast are used with it, though one would do.
  ClusterSpec spec;
  NodeSpec node = test::rail_node(2);
  node.nics[1].host = 0;
  node.nics[1].pcie_switch = 0;
  spec.nodes = {{node, 0, false}, {node, 0, false}};
  const Cluster twins = *build_cluster(spec);
  const auto both = plan_channels(twins, pair_of(twins, "node0/gpu0", "node1/gpu0"), plan);
  EXPECT_EQ(names_of_tier(*both, 0).size(), 2u);
  EXPECT_EQ(both->requests.size(), 2u);
  // One NIC is all there is.
  const Cluster single = test::rail_cluster(2, 1);
  EXPECT_EQ(
      plan_channels(single, pair_of(single, "node0/gpu0", "node1/gpu0"), plan)->requests.size(),
      1u);
}

TEST(ChannelPlan, TakesAsManyRailsAsWantedAndThereAre) {
  const Cluster cluster = test::rail_cluster(2, 4);
  RoutePlan plan;
  plan.order = {RouteKind::rdma};
  for (const bool near_first : {false, true})
    for (std::uint32_t rails = 1; rails <= 6; ++rails) {
      plan.rails = rails;
      plan.near_first = near_first;
      const auto made = plan_channels(cluster, pair_of(cluster, "node0/gpu1", "node1/gpu1"), plan);
      ASSERT_TRUE(made) << made.error().message;
      EXPECT_EQ(names_of_tier(*made, 0).size(), std::min(rails, 4u)) << rails;
      EXPECT_EQ(made->requests.size(), std::min(rails, 4u)) << rails;
    }
}

// Staged routes hash like direct ones; the kinds may have another number of queues.
TEST(ChannelPlan, QueuesOfStagedRoutesDrawTheirPathsToo) {
  for (const std::uint32_t spines : {1u, 8u}) {
    ClusterSpec spec;
    for (int n = 0; n < 2; ++n) spec.nodes.push_back({test::rail_node(1), 0, false});
    spec.fabric = {true, 1, spines, 4, 50e9, 0, 0, FabricRouting::ecmp};
    const Cluster cluster = *build_cluster(spec);
    const Pairs pairs = pair_of(cluster, "node0/gpu0", "node1/gpu0");
    RoutePlan plan;
    plan.order = {RouteKind::rdma, RouteKind::rdma_staged};
    plan.costs[static_cast<std::size_t>(RouteKind::rdma)].queues = 3;
    plan.costs[static_cast<std::size_t>(RouteKind::rdma_staged)].queues = 12;
    plan.paths = {5, 100};
    const auto made = plan_channels(cluster, pairs, plan);
    ASSERT_TRUE(made) << made.error().message;
    ASSERT_EQ(made->requests.size(), 15u);
    for (std::uint32_t i = 0; i < 15; ++i) {
      const RouteKind kind = i < 3 ? RouteKind::rdma : RouteKind::rdma_staged;
      const auto drawn =
          find_routes(cluster, pairs[0].first, pairs[0].second, {5, 100 + (i < 3 ? i : i - 3)});
      const auto same = std::find_if(drawn.begin(), drawn.end(),
                                     [&](const Route& route) { return route.kind == kind; });
      EXPECT_EQ(made->requests[i].route.name, same->name) << i;
      EXPECT_EQ(made->requests[i].route.hops, same->hops) << i;
      EXPECT_EQ(made->tiers[i], i < 3 ? 0u : 1u) << i;
    }
  }
}

TEST(ChannelPlan, CountsCrossings) {
  std::vector<ChannelRequest> requests(3);
  requests[0].route.hops = {5, 7};
  requests[2].route.hops = {7, 7, 9};
  const auto crossings = link_crossings(requests);
  using Channels = std::map<ChannelId, std::uint32_t>;
  EXPECT_EQ(crossings,
            (std::map<LinkId, Channels>{
                {5, Channels{{0, 1}}}, {7, Channels{{0, 1}, {2, 2}}}, {9, Channels{{2, 1}}}}));
}

TEST(ChannelPlan, NumbersAreThoseOfTheRouteAndItsCosts) {
  Route route;
  route.latency_ns = 11;
  route.bytes_per_s = 12e9;
  route.stages = 3;
  route.distance = 4;
  RouteCosts costs;
  costs.fixed_ns = 500;
  costs.post_ns = 6;
  costs.half_bandwidth_bytes = 7;
  costs.max_in_flight = 8;
  costs.max_chunk_bytes = 9;
  costs.max_pieces = 10;
  costs.gather[1] = GatherCosts{.post_ns = 13};
  ChannelNumbers expected;
  expected.fixed_ns = 511;
  expected.post_ns = 6;
  expected.bytes_per_s = 12e9;
  expected.half_bandwidth_bytes = 7;
  expected.max_in_flight = 8;
  expected.max_chunk_bytes = 9;
  expected.max_pieces = 10;
  expected.stages = 3;
  expected.distance = 4;
  expected.gather = costs.gather;
  EXPECT_EQ(numbers_of(route, costs), expected);
  const auto each = expected.gather_costs(Gather::each);
  ASSERT_TRUE(each);
  EXPECT_EQ(each->piece_post_ns, 6);
  EXPECT_EQ(each->piece_half_bandwidth_bytes, 7u);
  EXPECT_EQ(each->post_ns, 0);
  EXPECT_EQ(each->half_bandwidth_bytes, 0u);
  EXPECT_EQ(expected.gather_costs(Gather::batch)->post_ns, 13);
  EXPECT_FALSE(expected.gather_costs(Gather::pack));
}

/// What is left out of a value is what its header says. Backends and tests count on it.
TEST(Defaults, AreWhatTheHeadersSay) {
  const ChannelNumbers numbers;
  EXPECT_EQ(numbers.fixed_ns, 0);
  EXPECT_EQ(numbers.post_ns, 0);
  EXPECT_EQ(numbers.bytes_per_s, 0);
  EXPECT_EQ(numbers.half_bandwidth_bytes, 0u);
  EXPECT_EQ(numbers.max_in_flight, 1u);
  EXPECT_EQ(numbers.max_chunk_bytes, 0u);
  EXPECT_EQ(numbers.max_pieces, 256u);
  EXPECT_EQ(numbers.stages, 1u);
  EXPECT_EQ(numbers.distance, 0u);
  const ChannelRequest request;
  EXPECT_EQ(request.owner, 0u);
  EXPECT_FALSE(request.pull);
  const ChunkPost post;
  EXPECT_EQ(post.chunk, 0u);
  EXPECT_EQ(post.source_segment, 0u);
  EXPECT_EQ(post.target_segment, 0u);
  EXPECT_EQ(post.bytes, 0u);
  EXPECT_EQ(post.piece_count, 0u);
  EXPECT_EQ(post.gather, Gather::each);
  const SegmentRange range;
  EXPECT_EQ(range.offset, 0u);
  EXPECT_EQ(range.length, 0u);
  EXPECT_EQ(range.seed, 0u);
  const Completion completion;
  EXPECT_EQ(completion.channel, 0u);
  EXPECT_EQ(completion.outcome, Outcome::ok);
  EXPECT_EQ(completion.chunk, 0u);
  EXPECT_EQ(completion.posted_ns, 0);
  EXPECT_EQ(completion.started_ns, 0);
  EXPECT_EQ(completion.done_ns, 0);
  EXPECT_EQ(completion.bytes, 0u);
  const ChannelChange change;
  EXPECT_EQ(change.channel, 0u);
  EXPECT_TRUE(change.up);
  const ControlMessage message;
  EXPECT_EQ(message.from, 0u);
  EXPECT_EQ(message.to, 0u);
  EXPECT_EQ(message.kind, 0u);
  EXPECT_EQ(message.place, 0u);
  EXPECT_EQ(message.value, 0u);
  EXPECT_EQ(message.value2, 0u);
  EXPECT_EQ(message.bytes, 64u);
  const RouteCosts costs;
  EXPECT_EQ(costs.fixed_ns, 0);
  EXPECT_EQ(costs.post_ns, 0);
  EXPECT_EQ(costs.half_bandwidth_bytes, 0u);
  EXPECT_EQ(costs.queues, 1u);
  EXPECT_EQ(costs.max_in_flight, 128u);
  EXPECT_EQ(costs.max_chunk_bytes, GiB);
  EXPECT_EQ(costs.max_pieces, 256u);
  EXPECT_EQ(GatherCosts{}, (GatherCosts{0, 0, 0, 0, 0, 0, 0.0}));
  EXPECT_EQ(IdleCost{}, (IdleCost{0, 0}));
  const Route route;
  EXPECT_EQ(route.stages, 1u);
  EXPECT_EQ(route.latency_ns, 0);
  EXPECT_EQ(route.bytes_per_s, 0);
  EXPECT_EQ(route.distance, 0u);
  EXPECT_FALSE(route.staged_source);
  EXPECT_FALSE(route.staged_target);
  EXPECT_TRUE(route.usable);
  const PathChoice choice;
  EXPECT_EQ(choice.seed, 0u);
  EXPECT_EQ(choice.flow, 0u);
  EXPECT_FALSE(choice.read_in_place);
  const RoutePlan plan;
  EXPECT_EQ(plan.rails, 0u);
  EXPECT_FALSE(plan.pull);
  const TransferRequest transfer;
  EXPECT_EQ(transfer.source_segment, 0u);
  EXPECT_EQ(transfer.target_segment, 0u);
  EXPECT_EQ(transfer.priority, Priority::normal);
  EXPECT_EQ(transfer.tag, 0u);
  EXPECT_EQ(Descriptor{}, (Descriptor{0, 0, 0}));
  const TransferEnd end;
  EXPECT_EQ(end.id + end.tag + end.pair + end.chunks + end.pieces + end.resent_chunks +
                end.channels_used + end.bytes + end.resent_bytes,
            0u);
  EXPECT_EQ(end.fallback_tier, 0u);
  EXPECT_EQ(end.submitted_ns + end.posted_ns + end.started_ns + end.done_ns + end.reported_ns, 0);
  EXPECT_EQ((SetupChannel{}), (SetupChannel{0, 0, 0, ChannelNumbers{}, {}}));
  EXPECT_EQ(SetupPair{}, (SetupPair{no_id, no_id, 0}));
  EXPECT_EQ(SetupLink{}, SetupLink{0});
  EXPECT_EQ(SetupAccount{}, (SetupAccount{no_id, 0, 0, 0, false}));
  EXPECT_EQ(SetupLedger{}, (SetupLedger{no_id, 0, 0, {}}));
  EXPECT_EQ(SchedulerSetup{}.node, 0u);
  EXPECT_EQ(PairHandle{}.scheduler + PairHandle{}.pair, 0u);
  EXPECT_EQ(TransferHandle{}.scheduler + TransferHandle{}.transfer, 0u);
  EXPECT_EQ(PageRun{}, (PageRun{0, 0}));
  const PageSpan span;
  EXPECT_EQ(span.first_token + span.end_token + span.first_head + span.end_head, 0u);
  const PagedLayout layout;
  EXPECT_EQ(layout.base, 0u);
  EXPECT_EQ(layout.page_tokens, 16u);
  EXPECT_EQ(layout.planes, 1u);
  EXPECT_EQ(layout.heads, 1u);
  EXPECT_EQ(layout.first_head, 0u);
  EXPECT_EQ(layout.head_bytes, 0u);
}

/// The numbers of a scheduler that nobody set.
TEST(Defaults, OfTheSchedulerAreWhatItsUsersCountOn) {
  const SchedulerConfig config;
  EXPECT_EQ(config.policy, "least_finish");
  EXPECT_EQ(config.seed, 1u);
  EXPECT_EQ(config.ageing_ns, 50'000'000);
  EXPECT_EQ(config.default_slack_ns, 100'000'000);
  EXPECT_EQ(config.chunk_bytes, 0u);
  EXPECT_EQ(config.chunk_floor_bytes, 65'536u);
  EXPECT_EQ(config.chunks_per_transfer, 64u);
  EXPECT_EQ(config.chunk_time_ns, 100'000);
  EXPECT_EQ(config.channel_window_ns, 250'000);
  EXPECT_EQ(config.link_window_ns, 1'000'000);
  EXPECT_EQ(config.rate_time_constant_ns, 10'000'000);
  EXPECT_EQ(config.credit_bytes, 0u);
  EXPECT_EQ(config.timeout_factor, 4u);
  EXPECT_EQ(config.late_floor_ns, 500'000);
  EXPECT_EQ(config.timeout_floor_ns, 30'000'000);
  EXPECT_EQ(config.timeout_cold_ns, 800'000'000);
  EXPECT_EQ(config.max_attempts, 8u);
  EXPECT_EQ(config.quarantine_errors, 3u);
  EXPECT_EQ(config.quarantine_ns, 20'000'000);
  EXPECT_EQ(config.quarantine_max_ns, 5'000'000'000);
  EXPECT_EQ(config.stall_timeout_ns, 10'000'000'000);
}

}  // namespace
}  // namespace kvhaul
