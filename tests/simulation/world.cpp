#include "tests/simulation/world.h"

#include <algorithm>
#include <set>
#include <sstream>

#include "core/policy/all.h"
#include "core/random.h"
#include "core/unit_text.h"

namespace kvhaul::simulation {
namespace {

/// Each part of the world draws from a stream of its own, so that a change to one part leaves the
/// others of an old seed as they were.
enum Part : std::uint64_t {
  cluster_part = 1,
  plan_part,
  config_part,
  work_part,
  fault_part,
  rail_part,
  stream_part,
  death_part,
  weather_part,
  crowd_part,
  dead_part
};

double rate(Random& random, double low, double high) { return low + (high - low) * random.unit(); }

/// What is drawn on purpose in some worlds, since it comes together by itself too seldom.
enum class Kind {
  any,
  crowd,  // three senders to one place, with more to send than its credit lets through
  dead    // everything goes to one node, which is dead from the beginning
};

Kind draw_kind(const Random& random) {
  if (random.derived(crowd_part).chance(0.05)) return Kind::crowd;
  return random.derived(dead_part).chance(0.05) ? Kind::dead : Kind::any;
}

Cluster draw_cluster(Kind kind, Random random, Random rails) {
  ClusterSpec spec;
  auto nodes = random.between(1, 4);
  if (kind == Kind::crowd) nodes = 4;
  const auto gpus = static_cast<std::uint32_t>(random.between(1, 3));
  auto nics = static_cast<std::uint32_t>(random.between(1, 3));
  if (rails.chance(0.15)) nics = static_cast<std::uint32_t>(rails.between(4, 8));
  const bool switches = random.chance(0.5);
  const bool gpudirect = random.chance(0.8);
  for (std::uint64_t n = 0; n < nodes; ++n) {
    NodeSpec node;
    node.type = "drawn";
    const auto hosts = static_cast<std::uint32_t>(random.between(1, 2));
    for (std::uint32_t h = 0; h < hosts; ++h)
      node.hosts.push_back({rate(random, 20e9, 200e9), GiB});
    node.socket_bytes_per_s = rate(random, 5e9, 40e9);
    node.gpudirect = gpudirect;
    const std::uint32_t devices = std::max(gpus, nics);
    if (switches)
      for (std::uint32_t i = 0; i < devices; ++i)
        node.pcie_switches.push_back(
            {i % hosts, {rate(random, 20e9, 60e9), rate(random, 20e9, 60e9), 0}});
    for (std::uint32_t i = 0; i < gpus; ++i) {
      NodeSpec::Gpu gpu;
      gpu.memory_bytes = GiB;
      gpu.host = i % hosts;
      if (switches) gpu.pcie_switch = i;
      gpu.host_link = {rate(random, 10e9, 60e9), rate(random, 10e9, 60e9), 0};
      if (random.chance(0.3))
        gpu.host_link.both_bytes_per_s =
            std::max(gpu.host_link.out_bytes_per_s, gpu.host_link.in_bytes_per_s) * 1.5;
      if (random.chance(0.5))
        gpu.nvlink = PortRates{rate(random, 50e9, 450e9), rate(random, 50e9, 450e9), 0};
      node.gpus.push_back(gpu);
    }
    for (std::uint32_t i = 0; i < nics; ++i) {
      NodeSpec::Nic nic;
      nic.host = i % hosts;
      if (switches) nic.pcie_switch = i;
      nic.pcie = {60e9, 60e9, 0};
      nic.wire = {rate(random, 5e9, 50e9), rate(random, 5e9, 50e9), 0};
      nic.rail = i;
      node.nics.push_back(nic);
    }
    spec.nodes.push_back({node, 0, false});
  }
  if (random.chance(0.3)) {
    spec.fabric.nodes_per_leaf = 1;
    spec.fabric.spines = static_cast<std::uint32_t>(random.between(1, 3));
    spec.fabric.links_per_spine = static_cast<std::uint32_t>(random.between(1, 2));
    spec.fabric.spine_bytes_per_s = rate(random, 10e9, 50e9);
    spec.fabric.spine_latency_ns = 600;
  }
  return *build_cluster(spec);
}

std::vector<std::pair<PlaceId, PlaceId>> draw_pairs(Kind kind, const Cluster& cluster,
                                                    Random random) {
  std::vector<PlaceId> gpus;
  for (PlaceId id = 0; id < cluster.places.size(); ++id)
    if (cluster.places[id].kind == PlaceKind::gpu) gpus.push_back(id);
  std::vector<std::pair<PlaceId, PlaceId>> pairs;
  const auto wanted = random.between(1, 6);
  // Half of the worlds send everything to one place: incast, where credits matter.
  const bool incast = random.chance(0.5) || kind != Kind::any;
  const PlaceId sink = gpus[random.below(gpus.size())];
  if (kind == Kind::crowd) {
    for (const PlaceId from : gpus)
      if (cluster.places[from].node != cluster.places[sink].node) pairs.emplace_back(from, sink);
    return pairs;
  }
  for (std::uint64_t i = 0; i < 4 * wanted && pairs.size() < wanted; ++i) {
    const PlaceId from = gpus[random.below(gpus.size())];
    const PlaceId to = incast ? sink : gpus[random.below(gpus.size())];
    if (from == to) continue;
    if (std::find(pairs.begin(), pairs.end(), std::pair(from, to)) == pairs.end())
      pairs.emplace_back(from, to);
  }
  if (pairs.empty()) pairs.emplace_back(gpus.front(), gpus.front());  // one GPU alone: staged
  return pairs;
}

RoutePlan draw_route_plan(Kind kind, Random random) {
  RoutePlan plan;
  plan.order = {RouteKind::nvlink_copy, RouteKind::pcie_p2p, RouteKind::rdma,
                RouteKind::pcie_staged, RouteKind::rdma_staged};
  plan.pull = random.chance(0.3);
  plan.rails = static_cast<std::uint32_t>(random.below(3));
  for (RouteCosts& costs : plan.costs) {
    costs.fixed_ns = static_cast<TimeNs>(random.between(0, 10'000));
    costs.post_ns = static_cast<TimeNs>(random.between(0, 2'000));
    costs.half_bandwidth_bytes = random.between(0, 100'000);
    costs.queues = static_cast<std::uint32_t>(random.between(1, 3));
    costs.max_in_flight = static_cast<std::uint32_t>(random.between(1, 16));
    costs.max_chunk_bytes = random.between(1'000, 500'000);
    costs.max_pieces = static_cast<std::uint32_t>(random.between(1, 64));
    if (random.chance(0.3)) costs.after_idle = {{20 * us_ns, 1'000}, {1 * ms_ns, 9'000}};
    for (std::size_t m = 1; m < gather_count; ++m) {
      if (random.chance(0.5)) continue;
      GatherCosts& gather = costs.gather[m].emplace();
      gather.fixed_ns = static_cast<TimeNs>(random.between(0, 9'000));
      gather.post_ns = static_cast<TimeNs>(random.between(0, 5'000));
      gather.piece_post_ns = static_cast<TimeNs>(random.between(0, 500));
      gather.half_bandwidth_bytes = random.between(0, 100'000);
      gather.piece_half_bandwidth_bytes = random.between(0, 10'000);
      gather.extra_permille = static_cast<std::uint32_t>(random.between(0, 500));
      gather.bytes_per_s = random.chance(0.5) ? 500e9 : 0;
    }
    if (kind != Kind::dead) continue;
    // Small chunks: what they may take at the slowest rate is little beside the timeouts.
    costs.max_chunk_bytes = std::min<Bytes>(costs.max_chunk_bytes, 10'000);
    costs.max_pieces = 1;
    costs.half_bandwidth_bytes = std::min<Bytes>(costs.half_bandwidth_bytes, 1'000);
    costs.gather = {};
  }
  return plan;
}

SchedulerConfig draw_config(Kind kind, Random random) {
  SchedulerConfig config;
  config.policy = all_policies[random.below(all_policies.size())].name;
  config.seed = random();
  config.ageing_ns = static_cast<TimeNs>(random.between(50'000, 2'000'000));
  config.default_slack_ns = static_cast<TimeNs>(random.between(50'000, 2'000'000));
  config.chunk_bytes = random.chance(0.3) ? random.between(500, 50'000) : 0;
  config.chunk_floor_bytes = random.between(1'000, 64 * KiB);
  config.chunk_time_ns = static_cast<TimeNs>(random.between(1'000, 100'000));
  config.channel_window_ns = static_cast<TimeNs>(random.between(1'000, 300'000));
  config.link_window_ns = static_cast<TimeNs>(random.between(1'000, 1'000'000));
  config.rate_time_constant_ns = static_cast<TimeNs>(random.between(10'000, 10'000'000));
  config.credit_bytes = random.chance(0.5) ? random.between(20'000, 2'000'000) : 0;
  config.timeout_floor_ns = static_cast<TimeNs>(random.between(1'000'000, 20'000'000));
  config.timeout_factor = static_cast<std::uint32_t>(random.between(2, 10));
  config.late_floor_ns = static_cast<TimeNs>(random.derived(1).between(100'000, 1'000'000));
  config.timeout_cold_ns =
      config.timeout_floor_ns * static_cast<TimeNs>(random.derived(2).between(1, 4));
  config.max_attempts = static_cast<std::uint32_t>(random.between(2, 10));
  config.quarantine_errors = static_cast<std::uint32_t>(random.between(1, 4));
  config.quarantine_ns = static_cast<TimeNs>(random.between(100'000, 5'000'000));
  config.quarantine_max_ns = 20 * ms_ns;
  config.stall_timeout_ns = static_cast<TimeNs>(random.between(20'000'000, 100'000'000));
  if (kind == Kind::crowd) config.credit_bytes = random.derived(3).between(30'000, 300'000);
  if (kind == Kind::dead) {
    // Little beside the stall timeout, which is what a dead peer costs: the bound allows for all
    // attempts besides, and for a wait before each.
    const Random terms = random.derived(4);
    config.timeout_factor = 2;
    config.channel_window_ns = std::min<TimeNs>(config.channel_window_ns, 50 * us_ns);
    config.link_window_ns = std::min<TimeNs>(config.link_window_ns, 50 * us_ns);
    config.timeout_floor_ns = static_cast<TimeNs>(terms.derived(1).between(500'000, 2'000'000));
    config.timeout_cold_ns = config.timeout_floor_ns;
    config.stall_timeout_ns =
        static_cast<TimeNs>(terms.derived(2).between(100'000'000, 300'000'000));
  }
  return config;
}

void draw_works(Kind kind, World& world, Random random) {
  auto count = random.between(1, 120);
  auto span = static_cast<TimeNs>(random.between(1, 20'000'000));
  if (kind == Kind::crowd) {
    count = random.derived(2).between(60, 120);
    span = std::min<TimeNs>(span, 1 * ms_ns);
  }
  const bool one_class = random.chance(0.3);
  std::vector<Bytes> target_end(world.cluster.places.size(), 0);
  // Some come when all faults are over and every channel has had time to come back.
  const auto late = random.derived(1).between(1, 8);
  for (std::uint64_t i = 0; i < count + late; ++i) {
    Work work;
    work.at_ns = static_cast<TimeNs>(random.below(static_cast<std::uint64_t>(span)));
    if (i >= count) work.at_ns += world.settled_ns();
    work.pair = random.below(world.pairs.size());
    if (!one_class) work.priority = static_cast<Priority>(random.below(priority_count));
    if (random.chance(0.7))
      work.deadline_ns = work.at_ns + static_cast<TimeNs>(random.below(5'000'000));
    if (random.chance(0.1))
      work.cancel_ns = work.at_ns + static_cast<TimeNs>(random.below(3'000'000));
    const auto pieces = random.chance(0.5) ? 1 : random.between(2, 40);
    const Bytes largest = pieces == 1 ? 150'000 : 8'000;
    Bytes& target = target_end[world.pairs[work.pair].second];
    Bytes source = random.below(100'000);
    for (std::uint64_t p = 0; p < pieces; ++p) {
      const Bytes length = random.between(1, largest);
      work.pieces.push_back({source, target, length});
      // Often contiguous on one side, sometimes on both.
      source += length + (random.chance(0.5) ? random.below(5'000) : 0);
      target += length + (random.chance(0.5) ? random.below(5'000) : 0);
    }
    for (const Descriptor& piece : work.pieces)
      world.segment_bytes = std::max({world.segment_bytes, piece.source_offset + piece.length,
                                      piece.target_offset + piece.length});
    world.works.push_back(std::move(work));
  }
  // A place may send and receive: what it sends lies above what it receives.
  for (Work& work : world.works)
    for (Descriptor& piece : work.pieces) piece.source_offset += world.segment_bytes;
  std::stable_sort(world.works.begin(), world.works.end(),
                   [](const Work& a, const Work& b) { return a.at_ns < b.at_ns; });
}

void draw_faults(World& world, Random random) {
  world.script.seed = random();
  if (random.chance(0.3)) return;  // a third without any
  const auto count = random.between(1, 5);
  for (std::uint64_t i = 0; i < count; ++i) {
    faults::Fault fault;
    fault.kind = static_cast<faults::FaultKind>(random.below(6));  // registrations always work here
    const Route& route = world.plan.requests[random.below(world.plan.requests.size())].route;
    if (!route.hops.empty() && random.chance(0.8))
      fault.where = world.cluster.links[route.hops[random.below(route.hops.size())]].name;
    fault.from_ns = static_cast<TimeNs>(random.below(20'000'000));
    fault.until_ns = fault.from_ns + static_cast<TimeNs>(random.between(1, 10'000'000));
    fault.probability = random.unit();
    fault.delay_ns = static_cast<TimeNs>(random.below(5'000'000));
    fault.factor = 0.05 + 0.95 * random.unit();
    fault.silent = random.chance(0.4);
    world.faults_end_ns = std::max(world.faults_end_ns, fault.until_ns + fault.delay_ns);
    world.script.faults.push_back(fault);
  }
}

/// The KV of one request after the other, layer by layer: many small transfers, each asked for when
/// the one before has ended, so that few are ever in flight.
void draw_streams(World& world, Random random) {
  if (random.chance(0.7)) return;
  const auto streams = random.between(1, 3);
  std::vector<Bytes> target_end(world.cluster.places.size(), world.segment_bytes);
  const bool one_chunk_each = random.chance(0.5);
  const std::size_t first = world.works.size();
  for (std::uint64_t s = 0; s < streams; ++s) {
    const std::size_t pair = random.below(world.pairs.size());
    const auto layers = random.between(10, 60);
    std::size_t before = Work::no_work;
    for (std::uint64_t layer = 0; layer < layers; ++layer) {
      Work work;
      work.pair = pair;
      work.after = before;
      work.at_ns =
          before == Work::no_work ? static_cast<TimeNs>(random.below(20'000'000)) : never_ns;
      work.priority = Priority::normal;
      if (random.chance(0.8))
        work.deadline_ns = (before == Work::no_work ? work.at_ns : 0) +
                           static_cast<TimeNs>(random.below(2'000'000));
      Bytes& target = target_end[world.pairs[pair].second];
      const Bytes length = random.between(1, one_chunk_each ? 400 : 20'000);
      work.pieces.push_back({target, target, length});
      target += length;
      before = world.works.size();
      world.works.push_back(std::move(work));
    }
  }
  // Sources stay above the targets, of which there are more now.
  const Bytes more = *std::max_element(target_end.begin(), target_end.end()) - world.segment_bytes;
  world.segment_bytes += more;
  for (std::size_t w = 0; w < world.works.size(); ++w)
    for (Descriptor& piece : world.works[w].pieces)
      piece.source_offset += w < first ? more : world.segment_bytes;
}

/// What dies without a word: nothing that crosses it lands, nobody says so.
void draw_deaths(Kind kind, World& world, Random random) {
  if (kind == Kind::dead) {
    const NodeId node = world.cluster.places[world.pairs.front().second].node;
    faults::Fault fault;
    fault.kind = faults::FaultKind::down;
    fault.silent = true;
    fault.where = world.cluster.nodes[node].name;
    fault.until_ns = never_ns;
    world.script.faults = {fault};
    world.faults_end_ns = 0;
    world.weather.silences.push_back({node, 0, never_ns});
    return;
  }
  if (random.chance(0.65)) return;
  const auto count = random.chance(0.7) ? 1 : random.between(2, 4);
  for (std::uint64_t i = 0; i < count; ++i) {
    faults::Fault fault;
    fault.kind = faults::FaultKind::down;
    fault.silent = true;
    const NodeId node = static_cast<NodeId>(random.below(world.cluster.nodes.size()));
    const std::vector<std::uint32_t>& nics = world.cluster.nodes[node].nics;
    const std::string nic = world.cluster.nics[nics[random.below(nics.size())]].name;
    const double what = random.unit();
    const bool whole_node = what < 0.3;
    if (whole_node)
      fault.where = world.cluster.nodes[node].name;
    else if (what < 0.7)
      fault.where = nic;
    else
      fault.where = nic + (random.chance(0.5) ? "/tx" : "/rx");
    fault.from_ns = random.chance(0.2) ? 0 : static_cast<TimeNs>(random.below(20'000'000));
    const bool for_ever = random.chance(0.5);
    fault.until_ns =
        for_ever ? never_ns : fault.from_ns + static_cast<TimeNs>(random.between(1, 60'000'000));
    world.faults_end_ns = std::max(world.faults_end_ns, for_ever ? fault.from_ns : fault.until_ns);
    world.script.faults.push_back(fault);
    // A node that is dead says nothing either; one that was cut off for a while speaks again.
    if (whole_node) world.weather.silences.push_back({node, fault.from_ns, fault.until_ns});
  }
}

void draw_weather(Kind kind, World& world, Random random) {
  world.weather.seed = random();
  if (kind != Kind::any) return;
  if (random.chance(0.15)) world.weather.lost_messages = random.unit();
  if (random.chance(0.25))
    world.weather.cancel_takes_ns = static_cast<TimeNs>(random.between(1, 5'000'000));
}

}  // namespace

World draw_world(std::uint64_t seed) {
  const Random random(seed);
  const Kind kind = draw_kind(random);
  World world;
  world.seed = seed;
  world.cluster = draw_cluster(kind, random.derived(cluster_part), random.derived(rail_part));
  world.pairs = draw_pairs(kind, world.cluster, random.derived(plan_part));
  world.config = draw_config(kind, random.derived(config_part));
  // Where the drawn places have no road for the drawn order, the default order has one.
  const RoutePlan plan = draw_route_plan(kind, random.derived(plan_part).derived(1));
  auto planned = plan_channels(world.cluster, world.pairs, plan);
  std::erase_if(world.pairs, [&](const auto& pair) {
    return !plan_channels(world.cluster, std::vector{pair}, plan);
  });
  if (!planned) {
    if (world.pairs.empty()) return draw_world(mix64(seed));
    planned = plan_channels(world.cluster, world.pairs, plan);
  }
  world.plan = *planned;
  draw_faults(world, random.derived(fault_part));
  draw_deaths(kind, world, random.derived(death_part));
  draw_weather(kind, world, random.derived(weather_part));
  draw_works(kind, world, random.derived(work_part));
  draw_streams(world, random.derived(stream_part));
  return world;
}

bool World::is_cut_for_ever(LinkId link) const {
  return std::any_of(script.faults.begin(), script.faults.end(), [&](const faults::Fault& fault) {
    return fault.until_ns == never_ns && faults::lies_in(cluster.links[link].name, fault.where);
  });
}

bool World::has_a_way(std::size_t pair) const {
  return std::any_of(plan.requests.begin(), plan.requests.end(), [&](const ChannelRequest& r) {
    return r.route.source == pairs[pair].first && r.route.target == pairs[pair].second &&
           std::none_of(r.route.hops.begin(), r.route.hops.end(),
                        [&](LinkId link) { return is_cut_for_ever(link); });
  });
}

std::size_t World::cut_links(std::size_t pair) const {
  std::set<LinkId> cut;
  for (const ChannelRequest& r : plan.requests) {
    if (r.route.source != pairs[pair].first || r.route.target != pairs[pair].second) continue;
    for (const LinkId link : r.route.hops)
      if (is_cut_for_ever(link)) cut.insert(link);
  }
  return cut.size();
}

std::string World::describe() const {
  std::ostringstream out;
  out << cluster.nodes.size() << " nodes, " << pairs.size() << " pairs, " << plan.requests.size()
      << " channels, policy " << config.policy << ", " << works.size() << " transfers, "
      << script.faults.size() << " faults until " << duration_text(faults_end_ns);
  return out.str();
}

}  // namespace kvhaul::simulation
