#include "cli/calibrate_figures.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include <yaml-cpp/yaml.h>

#include "cli/scenario_text.h"
#include "core/unit_text.h"

namespace kvhaul::cli {
namespace {

using calibration::Spread;

/// The scenario's name of the type of each node, in the order of the nodes.
std::vector<std::string> node_types(const Scenario& scenario) {
  std::vector<std::string> types;
  const YAML::Node root = YAML::Load(scenario.text);  // it has been read before
  for (const YAML::Node& entry : root["cluster"]["nodes"]) {
    const auto count = entry["count"].IsDefined() ? entry["count"].as<std::size_t>() : 1;
    types.insert(types.end(), count, entry["type"].Scalar());
  }
  return types;
}

/// Keys of the links that a scenario describes by themselves; a fabric's are not among them.
std::map<LinkId, std::string> link_keys(const Scenario& scenario) {
  std::map<LinkId, std::string> keys;
  const Cluster& cluster = scenario.cluster;
  const std::vector<std::string> types = node_types(scenario);
  for (std::size_t n = 0; n < cluster.nodes.size() && n < types.size(); ++n) {
    const Node& node = cluster.nodes[n];
    const std::string base = "cluster.node_types." + types[n];
    const auto port = [&](LinkId out, LinkId in, const std::string& name) {
      if (out != no_id) keys[out] = base + name + ".out";
      if (in != no_id) keys[in] = base + name + ".in";
    };
    for (const LinkId link : node.dram) keys[link] = base + ".hosts.memory_rate";
    for (const LinkId link : node.dram_write)
      if (link != no_id) keys[link] = base + ".hosts.memory_write_rate";
    for (const std::vector<LinkId>& row : node.socket)
      for (const LinkId link : row)
        if (link != no_id) keys[link] = base + ".socket.rate";
    for (const PcieSwitch& pcie : node.pcie_switches)
      port(pcie.out, pcie.in, ".pcie_switches.uplink");
    for (const Gpu& gpu : node.gpus) {
      port(gpu.host_out, gpu.host_in, ".gpus.host_link");
      if (gpu.host_both != no_id) keys[gpu.host_both] = base + ".gpus.host_link.both";
      port(gpu.nvlink_out, gpu.nvlink_in, ".gpus.nvlink");
    }
    for (const std::uint32_t index : node.nics) {
      const Nic& nic = cluster.nics[index];
      port(nic.pcie_out, nic.pcie_in, ".nics.pcie");
      port(nic.tx, nic.rx, ".nics.wire");
    }
  }
  return keys;
}

std::pair<std::string, std::string> split_last(const std::string& key) {
  const std::size_t dot = key.rfind('.');
  return {key.substr(0, dot), key.substr(dot + 1)};
}

class FigureList {
 public:
  FigureList(const Scenario& scenario, std::vector<CalibratedFigure>& figures)
      : text_(scenario.text), figures_(figures) {}

  /// Of two links with one key the faster counts.
  void add(const std::string& key, FigureUnit unit, const Spread& value) {
    const auto same = std::find_if(figures_.begin(), figures_.end(),
                                   [&](const CalibratedFigure& f) { return f.key == key; });
    if (same != figures_.end()) {
      if (value.median > same->value.median) same->value = value;
      return;
    }
    std::string before = text_.value(key).value_or("");
    const auto [port, direction] = split_last(key);
    if (before.empty() && (direction == "out" || direction == "in"))
      before = text_.value(port + ".rate").value_or("");
    figures_.push_back({key, "", unit, value, std::move(before)});
  }
  void tell(const std::string& what, FigureUnit unit, const Spread& value, std::string before) {
    figures_.push_back({"", what, unit, value, std::move(before)});
  }
  bool has(const std::string& key) const { return text_.value(key).has_value(); }

 private:
  ScenarioText text_;
  std::vector<CalibratedFigure>& figures_;
};

/// Whole milliseconds or microseconds: a key that has no dot in it.
std::string idle_text(TimeNs idle_ns) {
  return idle_ns % ms_ns == 0 ? std::to_string(idle_ns / ms_ns) + " ms"
                              : std::to_string(idle_ns / us_ns) + " us";
}

void add_host_link(FigureList& list, const calibration::HostLinkFigures& link,
                   const std::string& key, const std::string& gpu) {
  list.add(key + ".out", FigureUnit::bytes_per_s, link.out_bytes_per_s);
  list.add(key + ".in", FigureUnit::bytes_per_s, link.in_bytes_per_s);
  if (link.both_bytes_per_s) {
    list.add(key + ".both", FigureUnit::bytes_per_s, *link.both_bytes_per_s);
  } else if (list.has(key + ".both")) {
    // No limit shows: one that never binds.
    Spread both = link.together_bytes_per_s;
    both.median = std::max({both.median, link.out_bytes_per_s.median, link.in_bytes_per_s.median});
    list.add(key + ".both", FigureUnit::bytes_per_s, both);
  }
  list.tell(gpu + " to and from host memory at once", FigureUnit::bytes_per_s,
            link.together_bytes_per_s, "");
}

constexpr double stretch_counts_from = 1.005;

void add_route(FigureList& list, const calibration::RouteFigures& route, const Cluster& cluster) {
  const std::string key = "routes." + std::string(route_kind_name(route.route.kind)) + ".";
  list.tell(std::string(route_kind_name(route.route.kind)) + " from " +
                cluster.places[route.route.source].name + " to " +
                cluster.places[route.route.target].name,
            FigureUnit::bytes_per_s, route.bytes_per_s, rate_text(route.route.bytes_per_s));
  list.add(key + "fixed_cost", FigureUnit::ns, route.fixed_ns);
  list.add(key + "post_cost", FigureUnit::ns, route.post_ns);
  list.add(key + "half_bandwidth", FigureUnit::bytes, route.half_bandwidth_bytes);
  for (const calibration::IdleFigure& idle : calibration::idle_costs(route.after_idle))
    list.add(key + "after_idle." + idle_text(idle.idle_ns), FigureUnit::ns, idle.cost_ns);
  for (const calibration::GatherFigures& gather : route.gathers) {
    const std::string method = key + std::string(gather_name(gather.method)) + ".";
    list.add(method + "fixed_cost", FigureUnit::ns, gather.fixed_ns);
    list.add(method + "post_cost", FigureUnit::ns, gather.post_ns);
    list.add(method + "piece_post_cost", FigureUnit::ns, gather.piece_post_ns);
    if (gather.half_bandwidth_bytes)
      list.add(method + "half_bandwidth", FigureUnit::bytes, *gather.half_bandwidth_bytes);
    if (gather.piece_half_bandwidth_bytes)
      list.add(method + "piece_half_bandwidth", FigureUnit::bytes,
               *gather.piece_half_bandwidth_bytes);
    if (gather.stretch &&
        (gather.stretch->median >= stretch_counts_from || list.has(method + "stretch")))
      list.add(method + "stretch", FigureUnit::ratio, *gather.stretch);
    if (gather.bytes_per_s)
      list.add(method + "rate", FigureUnit::bytes_per_s, *gather.bytes_per_s);
    else if (gather.method == Gather::pack && !list.has(method + "rate"))
      list.add(method + "rate", FigureUnit::bytes_per_s, {1e15, 1e15, 1e15});  // nothing shows
  }
}

/// A port with one `rate` for both directions gets two where they differ.
Result<void> set_port(ScenarioText& text, const std::string& port,
                      const std::map<std::string, std::string>& values) {
  const auto rate = text.value(port + ".rate");
  if (rate) {
    const auto value_of = [&](const char* direction) {
      const auto found = values.find(direction);
      return found == values.end() ? *rate : found->second;
    };
    const std::string out = value_of("out"), in = value_of("in");
    return out == in ? text.set(port + ".rate", out)
                     : text.replace(port + ".rate", {{"out", out}, {"in", in}});
  }
  for (const auto& [direction, value] : values)
    if (auto ok = text.set(port + "." + direction, value); !ok) return ok;
  return {};
}

/// Profiles are looked up beside the scenario's file, and the text may stand elsewhere.
Result<void> name_profiles(ScenarioText& text, const std::string& file) {
  namespace fs = std::filesystem;
  for (const std::string side : {"prefill", "decode"}) {
    const std::string key = "serving." + side + ".timing.profile";
    const auto profile = text.value(key);
    if (!profile) continue;
    std::error_code status;
    const fs::path whole = fs::absolute(fs::path(file).parent_path() / *profile, status);
    if (status) continue;
    std::string quoted = whole.lexically_normal().string();
    quoted.insert(0, 1, '"').append(1, '"');
    if (auto ok = text.set(key, quoted); !ok) return ok;
  }
  return {};
}

}  // namespace

std::string figure_text(FigureUnit unit, double value) {
  constexpr int digits = 4;
  switch (unit) {
    case FigureUnit::bytes_per_s:
      if (value < 1e9) return number_text(std::max(value, 1e6) / 1e6, digits) + " MB/s";
      return number_text(std::min(value, 1e15) / 1e9, digits) + " GB/s";
    case FigureUnit::ns:
      return number_text(std::round(value) / 1e3) + " us";
    case FigureUnit::bytes:
      if (value < 1000) return number_text(std::round(value), digits) + " B";
      return number_text(value / 1e3, digits) + " KB";
    case FigureUnit::ratio:
      return number_text(value, digits);
  }
  return "";
}

std::vector<CalibratedFigure> calibrated_figures(const calibration::Calibration& calibration,
                                                 const Scenario& scenario) {
  std::vector<CalibratedFigure> figures;
  FigureList list(scenario, figures);
  const Cluster& cluster = scenario.cluster;
  const std::map<LinkId, std::string> keys = link_keys(scenario);
  if (calibration.host_link) {
    const PlaceId gpu = calibration.host_link->gpu;
    const auto key = keys.find(cluster.gpu(gpu).host_out);
    if (key != keys.end())
      add_host_link(list, *calibration.host_link, split_last(key->second).first,
                    cluster.places[gpu].name);
  }
  for (const calibration::LinkFigure& link : calibration.links) {
    const auto key = keys.find(link.link);
    if (key != keys.end())
      list.add(key->second, FigureUnit::bytes_per_s, link.bytes_per_s);
    else
      list.tell(cluster.links[link.link].name, FigureUnit::bytes_per_s, link.bytes_per_s,
                rate_text(cluster.links[link.link].bytes_per_s));
  }
  for (const calibration::RouteFigures& route : calibration.routes) add_route(list, route, cluster);
  return figures;
}

Result<std::string> calibrated_text(const Scenario& scenario,
                                    const std::vector<CalibratedFigure>& figures) {
  ScenarioText text(scenario.text);
  std::map<std::string, std::map<std::string, std::string>> ports;
  std::map<std::string, std::string> lists;  // what stands between the braces of a map
  // What is not there yet is put first into its map: from behind, it comes out in order.
  for (auto at = figures.rbegin(); at != figures.rend(); ++at) {
    const CalibratedFigure& figure = *at;
    if (figure.key.empty()) continue;
    const auto [parent, name] = split_last(figure.key);
    // A route that was measured has no other costs of rests than those that were found.
    if (name == "fixed_cost" && split_last(parent).first == "routes") lists[parent + ".after_idle"];
    const std::string value = figure_text(figure.unit, figure.value.median);
    if (name == "out" || name == "in" || name == "both") {
      ports[parent][name] = value;
    } else if (split_last(parent).second == "after_idle") {
      std::string& list = lists[parent];
      list = name + ": " + value + (list.empty() ? "" : ", " + list);
    } else if (auto ok = text.set(figure.key, value); !ok) {
      return ok.error();
    }
  }
  for (const auto& [key, list] : lists) {
    if (list.empty() && !text.has(key)) continue;
    if (auto ok = text.set(key, "{" + list + "}"); !ok) return ok.error();
  }
  for (const auto& [port, values] : ports) {
    auto directions = values;
    const auto both = directions.extract("both");
    if (auto ok = set_port(text, port, directions); !ok) return ok.error();
    if (both.empty()) continue;
    if (auto ok = text.set(port + ".both", both.mapped()); !ok) return ok.error();
  }
  if (auto ok = name_profiles(text, scenario.file); !ok) return ok.error();
  auto read = parse_scenario(text.text(), scenario.file);
  if (!read) return Error::bad_input("with the measured numbers in it, " + read.error().message);
  return text.text();
}

}  // namespace kvhaul::cli
