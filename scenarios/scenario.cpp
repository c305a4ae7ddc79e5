#include "scenarios/scenario.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "core/policy/all.h"
#include "core/unit_text.h"
#include "scenarios/yaml_reader.h"
#include "serving/memory_fit.h"
#include "serving/timing_profile.h"

namespace kvhaul {
namespace {

/// A port is noted as one rate where its directions have the same, however it is written.
void note_rates(YamlMap& map, const PortRates& port) {
  if (!map.noting()) return;
  for (const char* key : {"rate", "out", "in"}) map.forget(key);
  const ReadValue out = rate_value(port.out_bytes_per_s), in = rate_value(port.in_bytes_per_s);
  if (port.out_bytes_per_s == port.in_bytes_per_s) {
    map.note("rate", out);
    map.note_other_way("rate", {{"out", out}, {"in", in}});
  } else {
    map.note("out", out);
    map.note("in", in);
  }
}

/// `with_both`: a limit of the two directions together may be given.
PortRates read_port(YamlMap map, bool with_both = false) {
  PortRates port;
  // Both directions at once, or each by itself.
  if (map.has("rate")) {
    port.out_bytes_per_s = port.in_bytes_per_s = map.rate("rate");
  } else {
    port.out_bytes_per_s = map.rate("out");
    port.in_bytes_per_s = map.rate("in");
  }
  note_rates(map, port);
  port.latency_ns = map.duration("latency", TimeNs{0});
  if (with_both)
    port.both_bytes_per_s = map.rate("both", 0.0);
  else if (map.has("both"))
    map.fail_at("both", "'both': only the 'host_link' of GPUs may have one");
  map.done();
  return port;
}

/// Where each of `count` devices hangs: as listed, or spread evenly over `targets`.
std::vector<std::uint32_t> read_spread(YamlMap& map, std::string_view key, std::uint32_t count,
                                       std::uint32_t targets) {
  std::vector<std::uint32_t> spread;
  if (map.has(key)) {
    for (const std::uint64_t value : map.counts(key)) {
      if (value >= targets)
        map.fail_at(key, "'" + std::string(key) + "': expected numbers below " +
                             std::to_string(targets) + ", found " + std::to_string(value));
      spread.push_back(static_cast<std::uint32_t>(value));
    }
    if (spread.size() != count)
      map.fail_at(key, "'" + std::string(key) + "': expected " + std::to_string(count) +
                           " numbers, one per device");
    spread.resize(count, 0);
    return spread;
  }
  for (std::uint32_t i = 0; i < count; ++i)
    spread.push_back(static_cast<std::uint32_t>(std::uint64_t{i} * targets / count));
  return spread;
}

/// Devices hang at a switch where there are any, else at a host: the other list says nothing.
void note_spread(YamlMap& map, std::string_view key, std::string_view other,
                 const std::vector<std::uint32_t>& spread) {
  if (!map.noting()) return;
  std::vector<std::string> numbers;
  for (const std::uint32_t number : spread) numbers.push_back(std::to_string(number));
  map.forget(other);
  map.note(key, list_value(numbers));
}

constexpr std::uint64_t devices_max = 1024;  // of one kind in a node
constexpr std::uint64_t nodes_max = 4096;
// What a replay can hold in memory, and far above the clusters one would look at link by link.
constexpr std::uint64_t links_max = 262'144;
constexpr std::uint64_t channels_max = 2'097'152;

/// A name that stands in tables and results; empty where there is none.
std::string read_part(YamlMap& map) {
  if (!map.has("part")) return "";
  const std::string part = map.text("part");
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
  };
  if (part.empty() || part.size() > 64 || !std::all_of(part.begin(), part.end(), fits))
    map.fail_at("part",
                "'part': expected a name of up to 64 letters, digits, '-', '.' and '_', "
                "such as connectx-7, found " +
                    in_quotes(part));
  return part;
}

NodeSpec read_node_type(YamlMap map, const std::string& name) {
  NodeSpec node;
  node.type = map.text("title", name);
  YamlMap hosts = map.required_map("hosts");
  const NodeSpec::Host host{hosts.rate("memory_rate"), hosts.bytes("memory", Bytes{0}),
                            hosts.rate("memory_write_rate", 0.0)};
  node.hosts.assign(hosts.count("count", 1, 1, 64), host);
  hosts.done();
  if (node.hosts.size() > 1 || map.has("socket")) {
    YamlMap socket = map.required_map("socket");
    node.socket_bytes_per_s = socket.rate("rate");
    node.socket_latency_ns = socket.duration("latency", TimeNs{0});
    socket.done();
  }
  const auto host_count = static_cast<std::uint32_t>(node.hosts.size());
  if (map.has("pcie_switches")) {
    YamlMap switches = map.map("pcie_switches");
    const auto count = static_cast<std::uint32_t>(switches.count("count", {}, 1, devices_max));
    const PortRates uplink = read_port(switches.required_map("uplink"));
    const auto hosts_of = read_spread(switches, "hosts", count, host_count);
    note_spread(switches, "hosts", "", hosts_of);
    for (const std::uint32_t h : hosts_of) node.pcie_switches.push_back({h, uplink});
    switches.done();
  }
  const auto switch_count = static_cast<std::uint32_t>(node.pcie_switches.size());
  const auto note_places = [&](YamlMap& map, const std::vector<std::uint32_t>& hosts_of,
                               const std::vector<std::uint32_t>& switches_of) {
    if (switch_count != 0)
      note_spread(map, "pcie_switches", "hosts", switches_of);
    else
      note_spread(map, "hosts", "pcie_switches", hosts_of);
  };
  const auto host_of = [&](const std::vector<std::uint32_t>& hosts_of, std::uint32_t i,
                           const std::vector<std::uint32_t>& switches_of) {
    return switch_count != 0 ? node.pcie_switches[switches_of[i]].host : hosts_of[i];
  };

  if (map.has("gpus")) {
    YamlMap gpus = map.map("gpus");
    const auto count = static_cast<std::uint32_t>(gpus.count("count", {}, 1, devices_max));
    NodeSpec::Gpu gpu;
    gpu.memory_bytes = gpus.bytes("memory");
    YamlMap link = gpus.required_map("host_link");
    constexpr std::array<std::string_view, 2> kinds = {"pcie", "c2c"};
    gpu.host_link_kind = link.choice("kind", kinds, 0) == 0 ? LinkKind::pcie : LinkKind::c2c;
    gpu.host_link = read_port(link, true);
    if (gpus.has("nvlink")) {
      YamlMap nvlink = gpus.map("nvlink");
      gpu.nvlink_read_incast = nvlink.number("read_incast", 1);
      if (!(gpu.nvlink_read_incast > 0 && gpu.nvlink_read_incast <= 1))
        nvlink.fail_at("read_incast", "'read_incast': expected a share above 0, at most 1");
      gpu.nvlink = read_port(nvlink);
    }
    const auto hosts_of = read_spread(gpus, "hosts", count, host_count);
    const auto switches_of = read_spread(gpus, "pcie_switches", count, std::max(1u, switch_count));
    note_places(gpus, hosts_of, switches_of);
    for (std::uint32_t i = 0; i < count; ++i) {
      gpu.host = host_of(hosts_of, i, switches_of);
      if (switch_count != 0) gpu.pcie_switch = switches_of[i];
      node.gpus.push_back(gpu);
    }
    gpus.done();
  }
  if (map.has("nics")) {
    YamlMap nics = map.map("nics");
    const auto count = static_cast<std::uint32_t>(nics.count("count", {}, 1, devices_max));
    NodeSpec::Nic nic;
    nic.part = read_part(nics);
    nic.pcie = read_port(nics.required_map("pcie"));
    nic.wire = read_port(nics.required_map("wire"));
    const auto hosts_of = read_spread(nics, "hosts", count, host_count);
    const auto switches_of = read_spread(nics, "pcie_switches", count, std::max(1u, switch_count));
    note_places(nics, hosts_of, switches_of);
    for (std::uint32_t i = 0; i < count; ++i) {
      nic.host = host_of(hosts_of, i, switches_of);
      if (switch_count != 0) nic.pcie_switch = switches_of[i];
      nic.rail = i;
      node.nics.push_back(nic);
    }
    nics.done();
  }
  node.gpudirect = map.flag("gpudirect", true);
  node.peer_to_peer = map.flag("peer_to_peer", true);
  node.registration_bytes_per_s = map.rate("registration_rate", 0.0);
  map.done();
  return node;
}

/// One part has one wire rate, wherever it is.
void check_parts(const YamlMap& types, const std::map<std::string, NodeSpec>& by_name) {
  std::map<std::string, std::pair<std::string, PortRates>> rates;  // by part; where it was first
  for (const auto& [type, node] : by_name) {
    if (node.nics.empty() || node.nics[0].part.empty()) continue;
    const NodeSpec::Nic& nic = node.nics[0];
    const auto& [first, wire] = rates.try_emplace(nic.part, type, nic.wire).first->second;
    if (wire.out_bytes_per_s != nic.wire.out_bytes_per_s ||
        wire.in_bytes_per_s != nic.wire.in_bytes_per_s)
      types.fail_at(type, "'part': " + in_quotes(nic.part) + " has a wire of " +
                              rate_text(nic.wire.out_bytes_per_s) + " out and " +
                              rate_text(nic.wire.in_bytes_per_s) + " in here, and of " +
                              rate_text(wire.out_bytes_per_s) + " and " +
                              rate_text(wire.in_bytes_per_s) + " in node type " + in_quotes(first) +
                              "; expected one rate for one part");
  }
}

FabricSpec read_fabric(YamlMap map) {
  FabricSpec fabric;
  constexpr std::array<std::string_view, 3> routings = {"ecmp", "static", "adaptive"};
  fabric.routing = static_cast<FabricRouting>(map.choice("routing", routings, 0));
  fabric.rails = map.flag("rails", true);
  fabric.nodes_per_leaf = static_cast<std::uint32_t>(map.count("nodes_per_leaf", 0));
  fabric.leaf_latency_ns = map.duration("leaf_latency", TimeNs{0});
  fabric.spines = static_cast<std::uint32_t>(map.count("spines", 0, 0, 4096));
  fabric.links_per_spine = static_cast<std::uint32_t>(map.count("links_per_spine", 1, 1, 4096));
  fabric.spine_latency_ns = map.duration("spine_latency", TimeNs{0});
  if (fabric.spines > 0 || map.has("spine_rate")) fabric.spine_bytes_per_s = map.rate("spine_rate");
  map.done();
  return fabric;
}

std::uint64_t link_count(const ClusterSpec& spec) {
  std::uint64_t links = 0;
  std::uint64_t rails = 0;
  for (const ClusterSpec::NodeEntry& node : spec.nodes) {
    const NodeSpec& n = node.spec;
    links += n.hosts.size() * n.hosts.size() + 2 * n.pcie_switches.size() + 4 * n.gpus.size() +
             4 * n.nics.size();
    for (const NodeSpec::Gpu& gpu : n.gpus) links += gpu.host_link.both_bytes_per_s > 0 ? 1 : 0;
    for (const NodeSpec::Host& host : n.hosts) links += host.memory_write_bytes_per_s > 0 ? 1 : 0;
    rails = std::max<std::uint64_t>(rails, n.nics.size());
  }
  const FabricSpec& fabric = spec.fabric;
  const std::uint64_t groups =
      fabric.nodes_per_leaf == 0 ? 1 : spec.nodes.size() / fabric.nodes_per_leaf + 1;
  const std::uint64_t leaves = groups * (fabric.rails ? rails : 1);
  const std::uint64_t uplinks = fabric.routing == FabricRouting::adaptive
                                    ? std::min<std::uint64_t>(fabric.spines, 1)
                                    : std::uint64_t{fabric.spines} * fabric.links_per_spine;
  return links + leaves * 2 * uplinks;
}

void read_cluster(YamlDocument& document, YamlMap map, Scenario& scenario) {
  YamlMap types = map.required_map("node_types");
  std::map<std::string, NodeSpec> by_name;
  const std::vector<std::string> names = types.keys();
  if (names.size() > 64) return types.fail("expected at most 64 node types");
  for (const std::string& name : names) by_name[name] = read_node_type(types.map(name), name);
  check_parts(types, by_name);
  ClusterSpec spec;
  std::map<std::string, std::uint32_t> domains;
  for (YamlMap& entry : map.maps("nodes")) {
    const std::string type = entry.text("type");
    const std::uint64_t count = entry.count("count", 1, 1, nodes_max);
    const std::string domain = entry.text("nvlink_domain", "");
    const auto found = by_name.find(type);
    if (found == by_name.end()) {
      const std::string near = nearest_name(type, names);
      entry.fail_at("type", "'type': no node type is called " + in_quotes(type) +
                                (near.empty() ? "" : "; did you mean '" + near + "'?"));
      return;
    }
    ClusterSpec::NodeEntry node{found->second, 0, !domain.empty()};
    if (!domain.empty())
      node.nvlink_domain =
          domains.try_emplace(domain, static_cast<std::uint32_t>(domains.size())).first->second;
    if (!document.ok()) return;
    if (spec.nodes.size() + count > nodes_max)
      return entry.fail("expected at most " + std::to_string(nodes_max) + " nodes");
    for (std::uint64_t i = 0; i < count; ++i) spec.nodes.push_back(node);
    entry.done();
  }
  spec.fabric = read_fabric(map.map("fabric"));
  map.done();
  if (!document.ok()) return;
  if (spec.nodes.empty()) return map.fail("expected at least one entry under 'cluster.nodes'");
  const std::uint64_t links = link_count(spec);
  if (links > links_max)
    return map.fail("expected a cluster of at most " + std::to_string(links_max) +
                    " links, found " + std::to_string(links));
  auto cluster = build_cluster(spec);
  if (!cluster) return map.fail(cluster.error().message);
  scenario.cluster = std::move(*cluster);
}

/// `costs` are the route's, which a method takes over where it has none of its own.
GatherCosts read_gather(YamlMap map, Gather method, const RouteCosts& costs) {
  GatherCosts gather;
  gather.fixed_ns = map.duration("fixed_cost", TimeNs{0});
  gather.post_ns = map.duration("post_cost", costs.post_ns);
  gather.piece_post_ns = map.duration("piece_post_cost", TimeNs{0});
  gather.half_bandwidth_bytes = map.bytes("half_bandwidth", costs.half_bandwidth_bytes);
  gather.piece_half_bandwidth_bytes = map.bytes("piece_half_bandwidth", Bytes{0});
  const double stretch = map.number("stretch", 1.0);
  if (!(stretch >= 1 && stretch <= 100))
    map.fail_at("stretch", "'stretch': expected 1 to 100");
  else
    gather.extra_permille = static_cast<std::uint32_t>(std::lround((stretch - 1) * 1000));
  gather.bytes_per_s = method == Gather::pack ? map.rate("rate") : map.rate("rate", 0.0);
  if (gather.fixed_ns > 1000 * s_ns)
    map.fail_at("fixed_cost", "'fixed_cost': expected at most 1000 s");
  if (gather.post_ns > 1 * s_ns) map.fail_at("post_cost", "'post_cost': expected at most 1 s");
  if (gather.piece_post_ns > 1 * s_ns)
    map.fail_at("piece_post_cost", "'piece_post_cost': expected at most 1 s");
  if (gather.half_bandwidth_bytes > GiB)
    map.fail_at("half_bandwidth", "'half_bandwidth': expected at most 1 GiB");
  if (gather.piece_half_bandwidth_bytes > GiB)
    map.fail_at("piece_half_bandwidth", "'piece_half_bandwidth': expected at most 1 GiB");
  if (gather.bytes_per_s != 0 && !(gather.bytes_per_s >= 1e6 && gather.bytes_per_s <= 1e15))
    map.fail_at("rate", "'rate': expected 1 MB/s to 1 PB/s");
  map.done();
  return gather;
}

/// A map from times of rest to what they cost, both growing.
std::vector<IdleCost> read_after_idle(YamlMap map) {
  constexpr std::size_t entries_max = 64;
  std::vector<IdleCost> costs;
  for (const std::string& key : map.keys()) {
    const auto idle = parse_duration(key);
    if (!idle) {
      map.fail_at(key, "expected a time without traffic as the key, such as 50 ms: " +
                           idle.error().message);
      break;
    }
    costs.push_back({*idle, map.duration(key)});
    map.forget(key);
    map.note(duration_value(*idle).text, duration_value(costs.back().cost_ns));
    if (costs.back().cost_ns > 1 * s_ns)
      map.fail_at(key, in_quotes(key) + ": expected at most 1 s");
    if (*idle == 0 || (costs.size() > 1 && *idle <= costs[costs.size() - 2].idle_ns))
      map.fail_at(key, in_quotes(key) + ": expected times above 0, each above the one before");
  }
  if (costs.size() > entries_max)
    map.fail("expected at most " + std::to_string(entries_max) + " times");
  map.done();
  return costs;
}

/// A queue pair that hears nothing sends again seven times, each after 4.096 us x 2^14, and then
/// says so: timeout and retries as Mooncake sets them.
constexpr TimeNs nic_gives_up_ns = 8 * 67'108'864;

void read_costs(YamlMap map, RouteCosts& costs, faults::OutageTimes& outage) {
  outage.noticed_ns = map.duration("noticed_after", outage.noticed_ns);
  outage.reconnect_ns = map.duration("reconnect", outage.reconnect_ns);
  for (const auto& [key, value] :
       {std::pair{"noticed_after", outage.noticed_ns}, {"reconnect", outage.reconnect_ns}})
    if (value > 3600 * s_ns)
      map.fail_at(key, "'" + std::string(key) + "': expected at most 3600 s");
  costs.fixed_ns = map.duration("fixed_cost", TimeNs{0});
  costs.post_ns = map.duration("post_cost", TimeNs{0});
  costs.half_bandwidth_bytes = map.bytes("half_bandwidth", Bytes{0});
  costs.queues = static_cast<std::uint32_t>(map.count("queues", 1, 1, 256));
  costs.max_in_flight = static_cast<std::uint32_t>(map.count("max_in_flight", 128, 1, 65536));
  costs.max_chunk_bytes = map.bytes("max_chunk", GiB);
  costs.max_pieces = static_cast<std::uint32_t>(map.count("max_pieces", 256, 1, 4096));
  for (const Gather method : {Gather::batch, Gather::pack, Gather::through})
    if (map.has(gather_name(method)))
      costs.gather[static_cast<std::size_t>(method)] =
          read_gather(map.map(gather_name(method)), method, costs);
  if (map.has("after_idle")) costs.after_idle = read_after_idle(map.map("after_idle"));
  if (costs.max_chunk_bytes == 0 || costs.max_chunk_bytes > 64 * GiB)
    map.fail_at("max_chunk", "'max_chunk': expected a size from 1 B to 64 GiB");
  if (costs.half_bandwidth_bytes > GiB)
    map.fail_at("half_bandwidth", "'half_bandwidth': expected at most 1 GiB");
  if (costs.post_ns > 1 * s_ns) map.fail_at("post_cost", "'post_cost': expected at most 1 s");
  if (costs.fixed_ns > 1000 * s_ns)
    map.fail_at("fixed_cost", "'fixed_cost': expected at most 1000 s");
  map.done();
}

void read_routes(YamlMap map, RoutePlan& plan, faults::OutageTable& outages) {
  if (map.has("order")) {
    plan.order.clear();
    for (const std::string& name : map.texts("order")) {
      const auto kind = find_route_kind(name);
      if (!kind) {
        map.fail_at("order", "'order': no kind of route is called " + in_quotes(name));
        break;
      }
      if (std::find(plan.order.begin(), plan.order.end(), *kind) != plan.order.end())
        map.fail_at("order", "'order': " + in_quotes(name) + " stands there twice");
      plan.order.push_back(*kind);
    }
  }
  std::vector<std::string> kinds;
  for (const RouteKind kind : plan.order) kinds.emplace_back(route_kind_name(kind));
  map.note("order", list_value(kinds));
  plan.near_first = !map.has("rails");
  if (!plan.near_first && map.text("rails") != "all")
    plan.rails = static_cast<std::uint32_t>(map.count("rails", 0, 0, 1024));
  if (plan.near_first)
    map.note("rails", nothing_value("chosen"));
  else if (plan.rails == 0)
    map.note("rails", word_value("all"));
  plan.paths.seed = map.count("ecmp_seed", 1);
  plan.paths.read_in_place = map.flag("read_in_place", false);
  for (const RouteKind kind : {RouteKind::rdma, RouteKind::rdma_staged})
    outages[static_cast<std::size_t>(kind)].noticed_ns = nic_gives_up_ns;
  for (std::size_t k = 0; k < route_kind_count; ++k)
    read_costs(map.map(route_kind_name(static_cast<RouteKind>(k))), plan.costs[k], outages[k]);
  map.done();
}

/// The keys of a shape, for a model that is named.
std::vector<std::pair<std::string_view, ReadValue>> shape_values(const ModelShape& model) {
  std::vector<std::pair<std::string_view, ReadValue>> values = {
      {"model.name", word_value(model.name)},
      {"model.layers", count_value(model.layers)},
      {"model.query_heads", count_value(model.query_heads)},
      {"model.attention", word_value(model.attention == Attention::heads ? "heads" : "latent")},
      {"model.head_dim", count_value(model.head_dim)},
      {"model.element_bytes", count_value(model.element_bytes)},
      {"model.active_parameters", number_value(model.active_parameters)},
      {"model.total_parameters", number_value(model.total_parameters)},
      {"model.context_tokens", count_value(model.context_tokens)},
      {"model.window_tokens", count_value(model.window_tokens)},
      {"model.global_every", count_value(model.global_every)}};
  if (model.attention == Attention::heads)
    values.emplace_back("model.kv_heads", count_value(model.kv_heads));
  return values;
}

/// A built-in model by name, or a shape spelled out.
void read_model(YamlMap& root, ModelShape& model) {
  if (!root.is_map("model")) {
    const std::string name = root.text("model");
    const ModelShape* found = find_model(name);
    if (found != nullptr) {
      model = *found;
      root.note_other_way("model", shape_values(model));
      return;
    }
    std::vector<std::string> names;
    for (const ModelShape& builtin : builtin_models()) names.push_back(builtin.name);
    const std::string near = nearest_name(name, names);
    root.fail_at("model", "'model': no model is called " + in_quotes(name) +
                              (near.empty() ? "; 'kvhaul list models' names them"
                                            : "; did you mean '" + near + "'?"));
    return;
  }
  YamlMap map = root.map("model");
  constexpr std::array<std::string_view, 2> attentions = {"heads", "latent"};
  // Ten times what any model has; the bytes of a page of all layers stay below 2^60.
  const auto small = [&](std::string_view key, std::uint64_t most) {
    return static_cast<std::uint32_t>(map.count(key, {}, 1, most));
  };
  model.name = map.text("name");
  model.layers = small("layers", 1024);
  model.query_heads = small("query_heads", 4096);
  model.attention = static_cast<Attention>(map.choice("attention", attentions, 0));
  model.kv_heads = model.attention == Attention::heads ? small("kv_heads", 4096) : 1;
  model.head_dim = small("head_dim", 65536);
  model.element_bytes = static_cast<std::uint32_t>(map.count("element_bytes", 2, 1, 8));
  model.active_parameters = map.number("active_parameters");
  model.total_parameters = map.number("total_parameters", model.active_parameters);
  model.context_tokens = static_cast<std::uint32_t>(map.count("context_tokens", 0));
  model.window_tokens = static_cast<std::uint32_t>(map.count("window_tokens", 0));
  model.global_every = static_cast<std::uint32_t>(map.count("global_every", 0));
  if (model.active_parameters < 1 || model.total_parameters < model.active_parameters ||
      model.total_parameters > 1e15)
    map.fail("expected 1 <= active_parameters <= total_parameters <= 1e15");
  map.done();
}

/// A GPU by name, or the roofline of any other: dense operations per second, memory rate.
GpuKind read_gpu_kind(YamlMap& map) {
  if (map.is_map("gpu")) {
    YamlMap spelled = map.map("gpu");
    GpuKind kind{"", spelled.flops("flops"), spelled.rate("memory_rate")};
    spelled.done();
    return kind;
  }
  const std::string gpu = map.text("gpu");
  if (const GpuKind* kind = find_gpu_kind(gpu)) {
    map.note_other_way("gpu", {{"gpu.flops", flops_value(kind->flops)},
                               {"gpu.memory_rate", rate_value(kind->memory_bytes_per_s)}});
    return *kind;
  }
  std::string known;
  for (const GpuKind& k : gpu_kinds()) known += k.name + ", ";
  map.fail_at("gpu", "'gpu': expected one of " + known +
                         "or the roofline of another, such as {flops: 500 TFLOPS, memory_rate: "
                         "3 TB/s}, found " +
                         in_quotes(gpu));
  return gpu_kinds().front();
}

std::shared_ptr<const Timing> read_timing(YamlMap map, Scenario& scenario, RoleConfig& role) {
  if (map.has("profile")) {
    constexpr std::array<std::string_view, 2> formats = {"splitwise", "distserve"};
    const std::string named = map.text("profile");
    const std::filesystem::path beside = std::filesystem::path(scenario.file).parent_path() / named;
    const std::size_t format = map.choice("format", formats);
    ProfileChoice choice;
    choice.model = map.text("model");
    choice.tp = static_cast<std::uint32_t>(map.count("tp", {}, 1, 1024));
    if (format == 0) choice.hardware = map.text("gpu");
    map.done();
    role.weight_gpus = std::max(role.weight_gpus, choice.tp);
    const std::string path = beside.string();
    std::error_code status;
    const auto whole = std::filesystem::absolute(beside, status).lexically_normal();
    map.note("profile", word_value(whole.string()));
    scenario.profiles.push_back(path);
    if (format == 0) {
      auto table = read_splitwise_profile(path, choice);
      if (!table) return map.fail_at("profile", table.error().message), nullptr;
      return make_table_timing(std::move(*table));
    }
    auto polynomial = read_distserve_profile(path, choice);
    if (!polynomial) return map.fail_at("profile", polynomial.error().message), nullptr;
    return make_polynomial_timing(*polynomial);
  }
  RooflineConstants constants;
  constants.gpu = read_gpu_kind(map);
  const std::uint64_t gpus = map.count("gpus", role.tp * role.pp, 1, 1024 * 1024);
  if (gpus % role.pp != 0)
    map.fail_at("gpus", "'gpus': expected as many in each of the " + std::to_string(role.pp) +
                            " pipeline stages, found " + std::to_string(gpus));
  constants.gpus = static_cast<std::uint32_t>(gpus / role.pp);
  role.weight_gpus = static_cast<std::uint32_t>(gpus);
  constants.mfu = map.number("mfu", constants.mfu);
  constants.mbu = map.number("mbu", constants.mbu);
  constants.prefill_start_ns = map.duration("prefill_start", constants.prefill_start_ns);
  constants.step_start_ns = map.duration("step_start", constants.step_start_ns);
  for (const auto& [key, value] : {std::pair{"mfu", constants.mfu}, {"mbu", constants.mbu}})
    if (value < 0.001 || value > 1)
      map.fail_at(key, "'" + std::string(key) + "': expected a share from 0.001 to 1");
  map.done();
  return make_roofline(scenario.serving.model, constants);
}

std::string first_gpu(const Cluster& cluster) {
  const auto gpu = std::find_if(cluster.places.begin(), cluster.places.end(),
                                [](const Place& p) { return p.kind == PlaceKind::gpu; });
  return gpu == cluster.places.end() ? "node0/gpu0, but the cluster has none" : gpu->name;
}

/// The places of a role: `gpus` by name, or all GPUs of `nodes` by name, cut into instances.
std::vector<std::vector<PlaceId>> read_instances(YamlMap& map, const Cluster& cluster,
                                                 std::uint32_t places_per_instance) {
  std::vector<PlaceId> places;
  for (const std::string& name : map.texts("gpus")) {
    const auto place = cluster.find_place(name);
    if (!place || cluster.places[*place].kind != PlaceKind::gpu) {
      map.fail_at("gpus", "'gpus': no GPU is called " + in_quotes(name) + "; they are called " +
                              first_gpu(cluster) + " and so on");
      return {};
    }
    places.push_back(*place);
  }
  for (const std::string& name : map.texts("nodes")) {
    const auto node = std::find_if(cluster.nodes.begin(), cluster.nodes.end(),
                                   [&](const Node& n) { return n.name == name; });
    if (node == cluster.nodes.end()) {
      map.fail_at("nodes", "'nodes': no node is called " + in_quotes(name) +
                               "; they are called node0 to node" +
                               std::to_string(cluster.nodes.size() - 1));
      return {};
    }
    for (const Gpu& gpu : node->gpus) places.push_back(gpu.place);
  }
  if (places.empty()) {
    map.fail("expected 'gpus' or 'nodes' with at least one GPU in '" + map.path() + "'");
    return {};
  }
  std::set<PlaceId> seen;
  for (const PlaceId place : places)
    if (!seen.insert(place).second) {
      map.fail("'" + map.path() + "' names " + cluster.places[place].name + " twice");
      return {};
    }
  if (places.size() % places_per_instance != 0) {
    map.fail("'" + map.path() + "' has " + std::to_string(places.size()) +
             " GPUs, which is no multiple of tp x pp = " + std::to_string(places_per_instance));
    return {};
  }
  std::vector<std::vector<PlaceId>> instances;
  for (std::size_t i = 0; i < places.size(); i += places_per_instance)
    instances.emplace_back(places.begin() + static_cast<std::ptrdiff_t>(i),
                           places.begin() + static_cast<std::ptrdiff_t>(i + places_per_instance));
  return instances;
}

/// Whole nodes by their names, where it is those, however they are written; else all GPUs.
void note_instances(YamlMap& map, const Cluster& cluster,
                    const std::vector<std::vector<PlaceId>>& instances) {
  if (!map.noting()) return;
  std::vector<PlaceId> places;
  for (const auto& instance : instances)
    places.insert(places.end(), instance.begin(), instance.end());
  std::vector<std::string> nodes, gpus;
  bool whole = true;
  for (std::size_t at = 0; at < places.size();) {
    const Node& node = cluster.nodes[cluster.places[places[at]].node];
    for (const Gpu& gpu : node.gpus)
      whole = whole && at < places.size() && places[at++] == gpu.place;
    if (!whole) break;
    nodes.push_back(node.name);
  }
  for (const PlaceId place : places) gpus.push_back(cluster.places[place].name);
  map.forget("gpus");
  map.forget("nodes");
  if (whole) {
    map.note("nodes", list_value(nodes));
    map.note_other_way("nodes", {{"gpus", list_value(gpus)}});
  } else {
    map.note("gpus", list_value(gpus));
  }
}

void read_role(YamlMap& map, Scenario& scenario, RoleConfig& role) {
  constexpr std::array<std::string_view, 2> orders = {"tokens_first", "heads_first"};
  role.tp = static_cast<std::uint32_t>(map.count("tp", 1, 1, 1024));
  role.pp = static_cast<std::uint32_t>(map.count("pp", 1, 1, 1024));
  role.page_tokens = static_cast<std::uint32_t>(map.count("page_tokens", 16, 1, 65536));
  role.order = static_cast<PageOrder>(map.choice("page_order", orders, 0));
  role.kv_memory_bytes = map.bytes("kv_memory");
  if (map.has("weights"))
    role.weight_bytes = map.bytes("weights");
  else
    map.note("weights", nothing_value("not known"));
  role.weight_gpus = role.tp * role.pp;
  YamlMap contiguity = map.map("contiguity");
  role.contiguity.scattered = contiguity.flag("scattered", false);
  role.contiguity.runs = static_cast<std::uint32_t>(contiguity.count("runs", 1, 1));
  contiguity.done();
  role.instances = read_instances(map, scenario.cluster, role.tp * role.pp);
  note_instances(map, scenario.cluster, role.instances);
  role.timing = read_timing(map.required_map("timing"), scenario, role);
  map.done();
  for (const auto& instance : role.instances)
    for (const PlaceId place : instance)
      if (role.kv_memory_bytes > scenario.cluster.places[place].memory_bytes)
        map.fail_at("kv_memory", "'kv_memory': " + scenario.cluster.places[place].name +
                                     " has less memory than that");
}

void read_serving(YamlMap map, Scenario& scenario) {
  ReplayConfig& serving = scenario.serving;
  constexpr std::array<std::string_view, 4> streamings = {"request", "chunk", "layer",
                                                          "chunk_layer"};
  constexpr std::array<std::string_view, 2> directions = {"push", "pull"};
  constexpr std::array<std::string_view, 2> regions = {"joined", "split"};
  constexpr std::array<std::string_view, 3> prefill_routings = {"least_loaded", "round_robin",
                                                                "most_cached"};
  constexpr std::array<std::string_view, 2> decode_routings = {"least_loaded", "round_robin"};
  serving.chunk_tokens = static_cast<std::uint32_t>(map.count("chunk_tokens", 8192, 1));
  serving.max_batch = static_cast<std::uint32_t>(map.count("max_batch", 256, 1));
  serving.streaming = static_cast<Streaming>(map.choice("streaming", streamings, 3));
  serving.pull = map.choice("direction", directions, 0) == 1;
  serving.split_kv = map.choice("kv_regions", regions, 0) == 1;
  serving.prefix_cache = map.flag("prefix_cache", true);
  YamlMap routing = map.map("routing");
  serving.prefill_routing =
      static_cast<PrefillRouting>(routing.choice("prefill", prefill_routings, 0));
  serving.decode_routing = static_cast<DecodeRouting>(routing.choice("decode", decode_routings, 0));
  routing.done();
  YamlMap failover = map.map("failover");
  serving.failover.retries =
      static_cast<std::uint32_t>(failover.count("retries", serving.failover.retries, 0, 100));
  serving.failover.probe_after_ns =
      failover.duration("probe_after", serving.failover.probe_after_ns);
  if (serving.failover.probe_after_ns < ms_ns || serving.failover.probe_after_ns > 3600 * s_ns)
    failover.fail_at("probe_after", "'probe_after': expected a time from 1 ms to 3600 s");
  failover.done();
  YamlMap slo = map.map("slo");
  serving.slo_ttft_ns = slo.duration("ttft", never_ns);
  serving.slo_itl_ns = slo.duration("itl", never_ns);
  slo.done();
  YamlMap engine = map.map("engine");
  serving.engine_ns = engine.duration("per_unit", TimeNs{0});
  if (serving.engine_ns > 1000 * s_ns)
    engine.fail_at("per_unit", "'per_unit': expected at most 1000 s");
  engine.done();
  YamlMap prefill = map.required_map("prefill");
  YamlMap decode = map.required_map("decode");
  read_role(prefill, scenario, serving.prefill);
  read_role(decode, scenario, serving.decode);
  if (const auto excess = memory_excess(serving, scenario.cluster))
    (excess->of_decode ? decode : prefill)
        .fail_at("weights", "'weights': expected weights and KV that fit, but " + excess->text);
  map.done();
  scenario.routes.pull = serving.pull;
}

void read_scheduler(YamlMap map, SchedulerConfig& config) {
  std::vector<std::string_view> policies;
  for (const PolicyName& policy : all_policies) policies.push_back(policy.name);
  const auto above_zero = [&](std::string_view key, TimeNs otherwise) {
    const TimeNs time = map.duration(key, otherwise);
    if (time == 0) map.fail_at(key, "'" + std::string(key) + "': expected a duration above zero");
    return time;
  };
  config.policy = policies[map.choice("policy", policies, 0)];
  config.seed = map.count("seed", config.seed);
  config.ageing_ns = above_zero("ageing", config.ageing_ns);
  config.default_slack_ns = above_zero("default_slack", config.default_slack_ns);
  config.chunk_bytes = map.bytes("chunk", config.chunk_bytes);
  config.chunk_floor_bytes = map.bytes("chunk_floor", config.chunk_floor_bytes);
  config.chunks_per_transfer =
      static_cast<std::uint32_t>(map.count("chunks_per_transfer", config.chunks_per_transfer, 1));
  config.chunk_time_ns = above_zero("chunk_time", config.chunk_time_ns);
  config.channel_window_ns = above_zero("channel_window", config.channel_window_ns);
  config.link_window_ns = above_zero("link_window", config.link_window_ns);
  config.rate_time_constant_ns = above_zero("rate_time_constant", config.rate_time_constant_ns);
  config.credit_bytes = map.bytes("credit", config.credit_bytes);
  config.late_floor_ns = above_zero("late_floor", config.late_floor_ns);
  config.timeout_floor_ns = above_zero("timeout_floor", config.timeout_floor_ns);
  config.timeout_cold_ns =
      above_zero("timeout_cold", std::max(config.timeout_cold_ns, config.timeout_floor_ns));
  config.timeout_factor =
      static_cast<std::uint32_t>(map.count("timeout_factor", config.timeout_factor, 0, 100));
  config.max_attempts =
      static_cast<std::uint32_t>(map.count("max_attempts", config.max_attempts, 1, 65535));
  config.quarantine_errors =
      static_cast<std::uint32_t>(map.count("quarantine_errors", config.quarantine_errors, 1));
  config.quarantine_ns = above_zero("quarantine", config.quarantine_ns);
  config.quarantine_max_ns = above_zero("quarantine_max", config.quarantine_max_ns);
  config.stall_timeout_ns = above_zero("stall_timeout", config.stall_timeout_ns);
  map.done();
}

void read_emulation(YamlMap map, Scenario& scenario) {
  constexpr std::array<std::string_view, 2> times = {"virtual", "real"};
  constexpr std::array<std::string_view, 2> payloads = {"none", "real"};
  scenario.real_time = map.choice("time", times, 0) == 1;
  scenario.payload = map.choice("payload", payloads, 0) == 1;
  scenario.throttle = map.flag("throttle", false);
  map.done();
}

/// Every prefill instance talks to every decode instance, and every NIC to every NIC: that product
/// grows faster than one thinks.
Result<void> check_channel_count(const Scenario& scenario) {
  const ReplayConfig& serving = scenario.serving;
  std::uint64_t nics = 1;  // of one node
  for (const Node& node : scenario.cluster.nodes)
    nics = std::max<std::uint64_t>(nics, node.nics.size());
  std::uint64_t queues = 1;
  for (const RouteKind kind : scenario.routes.order)
    queues = std::max<std::uint64_t>(queues,
                                     scenario.routes.costs[static_cast<std::size_t>(kind)].queues);
  const std::uint64_t channels = plan_lanes(serving.model, serving.prefill, serving.decode).size() *
                                 serving.prefill.instances.size() *
                                 serving.decode.instances.size() * nics * nics * queues;
  if (channels <= channels_max) return {};
  return Error::bad_input(scenario.file + ": expected at most " + std::to_string(channels_max) +
                          " possible channels (pairs of ranks x NICs x NICs x queues), found " +
                          std::to_string(channels));
}

Result<Scenario> parse(const std::string& text, const std::string& file, ReadValues* values) {
  YamlDocument document(text, file);
  document.note_values(values);
  YamlMap root = document.root();
  Scenario scenario;
  scenario.file = file;
  scenario.text = text;
  scenario.name = root.text("name");
  if (scenario.name.find('/') != std::string::npos || scenario.name.starts_with('.'))
    root.fail_at("name", "'name': expected a name that can be part of a folder's name, found " +
                             in_quotes(scenario.name));
  read_cluster(document, root.required_map("cluster"), scenario);
  if (!document.ok()) return document.error();
  read_routes(root.map("routes"), scenario.routes, scenario.outages);
  read_model(root, scenario.serving.model);
  if (!document.ok()) return document.error();
  read_serving(root.required_map("serving"), scenario);
  if (!document.ok()) return document.error();
  read_scheduler(root.map("scheduler"), scenario.scheduler);
  read_emulation(root.map("emulation"), scenario);
  root.done();
  if (!document.ok()) return document.error();
  const ReplayConfig& serving = scenario.serving;
  for (const auto& [name, role] :
       {std::pair{"prefill", &serving.prefill}, {"decode", &serving.decode}})
    if (auto geometry = role_geometry(serving.model, *role, serving.split_kv); !geometry)
      return Error::bad_input(file + ": serving." + name + ": " + geometry.error().message);
  if (auto few = check_channel_count(scenario); !few) return few.error();
  if (auto plan = plan_channels(scenario.cluster, place_pairs(serving), scenario.routes); !plan)
    return Error::bad_input(file + ": " + plan.error().message);
  return scenario;
}

}  // namespace

Result<Scenario> parse_scenario(const std::string& text, const std::string& file) {
  return parse(text, file, nullptr);
}

Result<ReadValues> scenario_values(const Scenario& scenario) {
  ReadValues values;
  auto read = parse(scenario.text, scenario.file, &values);
  if (!read) return read.error();
  return values;
}

Result<Scenario> load_scenario(const std::string& name_or_file) {
  for (const BuiltinScenario& builtin : builtin_scenarios())
    if (builtin.name == name_or_file)
      return parse_scenario(std::string(builtin.text), std::string(builtin.name) + ".yaml");
  std::error_code status;
  if (!std::filesystem::exists(name_or_file, status)) {
    std::vector<std::string> names;
    for (const BuiltinScenario& builtin : builtin_scenarios()) names.emplace_back(builtin.name);
    const std::string near = nearest_name(name_or_file, names);
    return Error::bad_input(
        "no file and no shipped scenario is called '" + name_or_file + "'" +
        (near.empty() ? "; 'kvhaul list scenarios' names them" : "; did you mean '" + near + "'?"));
  }
  auto text = read_text_file(name_or_file);
  if (!text) return text.error();
  return parse_scenario(*text, name_or_file);
}

std::string scenario_summary(std::string_view text) {
  if (!text.starts_with("# ")) return "";
  return std::string(text.substr(2, text.find('\n') - 2));
}

}  // namespace kvhaul
