#include "scenarios/fault_file.h"

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "core/unit_text.h"
#include "scenarios/yaml_reader.h"

namespace kvhaul {
namespace {

// In the order of faults::FaultKind.
constexpr std::array<std::string_view, 7> kind_names = {
    "fail", "lose", "delay", "corrupt", "degrade", "down", "fail_registration"};

bool names_something(const Cluster& cluster, const faults::Fault& fault) {
  if (fault.where.empty()) return true;
  const auto inside = [&](const auto& item) { return faults::lies_in(item.name, fault.where); };
  if (fault.kind == faults::FaultKind::fail_registration)
    return std::any_of(cluster.places.begin(), cluster.places.end(), inside);
  return std::any_of(cluster.links.begin(), cluster.links.end(), inside);
}

/// Everything that `where` can name: links or places, and what they lie below.
std::vector<std::string> names_below(const Cluster& cluster, faults::FaultKind kind) {
  std::set<std::string> names;
  const auto add = [&](const std::string& name) {
    for (std::size_t slash = name.find('/'); slash != std::string::npos;
         slash = name.find('/', slash + 1))
      names.insert(name.substr(0, slash));
    names.insert(name);
  };
  if (kind == faults::FaultKind::fail_registration)
    for (const Place& place : cluster.places) add(place.name);
  else
    for (const Link& link : cluster.links) add(link.name);
  return {names.begin(), names.end()};
}

faults::Fault read_fault(YamlMap& map, const Cluster& cluster) {
  faults::Fault fault;
  fault.kind = static_cast<faults::FaultKind>(map.choice("kind", kind_names));
  fault.where = map.text("where", "");
  fault.from_ns = map.duration("from", TimeNs{0});
  fault.until_ns = map.duration("until", never_ns);
  fault.line = static_cast<std::uint32_t>(map.line());
  switch (fault.kind) {
    case faults::FaultKind::fail:
    case faults::FaultKind::lose:
    case faults::FaultKind::delay:
    case faults::FaultKind::corrupt:
      fault.probability = map.number("probability", 1.0);
      if (!(fault.probability > 0 && fault.probability <= 1))
        map.fail_at("probability", "'probability': expected a number above 0, up to 1");
      break;
    case faults::FaultKind::degrade:
      fault.factor = map.number("factor");
      if (!(fault.factor >= 0.001 && fault.factor < 1))
        map.fail_at("factor",
                    "'factor': expected what is left of the rate, from 0.001 to less than 1");
      break;
    case faults::FaultKind::down:
      fault.silent = map.flag("silent", false);
      for (const std::string_view key : {"noticed_after", "reconnect"})
        if (fault.silent && map.has(key))
          map.fail_at(key, in_quotes(key) + ": nobody is told of a 'silent' fault");
      fault.noticed_ns = map.duration("noticed_after", fault.noticed_ns);
      fault.reconnect_ns = map.duration("reconnect", fault.reconnect_ns);
      break;
    case faults::FaultKind::fail_registration:
      if (fault.from_ns > 0)
        map.fail_at("from",
                    "'from': memory is registered before the run begins, at 0 s; expected "
                    "none");
      break;
  }
  if (fault.kind == faults::FaultKind::delay) fault.delay_ns = map.duration("by");
  if (fault.kind == faults::FaultKind::fail)
    fault.delay_ns = map.duration("noticed_after", fault.delay_ns);
  if (fault.until_ns <= fault.from_ns)
    map.fail_at("until", "'until': expected a time after 'from'");
  if (fault.kind != faults::FaultKind::fail_registration && map.has("every")) {
    fault.every_ns = map.duration("every");
    const TimeNs again_ns = std::max<TimeNs>(fault.reconnect_ns, 0);
    if (fault.until_ns == never_ns)
      map.fail_at("every", "'every': expected 'until', too: when it ends for the first time");
    else if (fault.every_ns <= add_time(fault.until_ns - fault.from_ns, again_ns))
      map.fail_at("every", "'every': expected more than it lasts, " +
                               duration_text(fault.until_ns - fault.from_ns) +
                               (again_ns > 0 ? " and 'reconnect'" : ""));
  }
  if (!names_something(cluster, fault)) {
    const std::string near = nearest_name(fault.where, names_below(cluster, fault.kind));
    const bool place = fault.kind == faults::FaultKind::fail_registration;
    map.fail_at("where", std::string("'where': expected ") +
                             (place ? "a node or a place (node0/gpu0, node0/host0)"
                                    : "a node, a device or a link (node0, node0/nic0, "
                                      "node0/nic0/tx)") +
                             " of the scenario's cluster, found " + in_quotes(fault.where) +
                             (near.empty() ? "" : "; did you mean '" + near + "'?"));
  }
  map.done();
  return fault;
}

}  // namespace

Result<faults::FaultScript> parse_fault_file(const std::string& text, const std::string& file,
                                             const Cluster& cluster) {
  YamlDocument document(text, file);
  YamlMap root = document.root();
  faults::FaultScript script;
  script.seed = root.count("seed", 1, 0, ~std::uint64_t{0});
  for (YamlMap& map : root.maps("faults")) script.faults.push_back(read_fault(map, cluster));
  root.done();
  if (!document.ok()) return document.error();
  if (script.faults.empty())
    return Error::bad_input(file + ":1: expected at least one entry under 'faults'");
  return script;
}

Result<void> fit_faults(faults::FaultScript& script, const std::string& file,
                        const Scenario& scenario, std::span<const ChannelRequest> channels,
                        TimeNs over_ns) {
  const Cluster& cluster = scenario.cluster;
  const auto refused = [&](const faults::Fault& fault, const std::string& why) {
    return Error::bad_input(file + ":" + std::to_string(fault.line) + ": " + why);
  };
  const auto is_used = [&](const faults::Fault& fault) {
    if (fault.kind != faults::FaultKind::fail_registration)
      return std::ranges::any_of(channels, [&](const ChannelRequest& channel) {
        return fault.touches(cluster, channel.route);
      });
    for (const RoleConfig* role : {&scenario.serving.prefill, &scenario.serving.decode})
      for (const std::vector<PlaceId>& places : role->instances)
        for (const PlaceId place : places)
          if (faults::lies_in(cluster.places[place].name, fault.where)) return true;
    return false;
  };
  for (faults::Fault& fault : script.faults) {
    if (!is_used(fault))
      return refused(fault, "'where': expected something that KV of this run crosses, found " +
                                in_quotes(fault.where) +
                                "; 'kvhaul route --all' shows which links lie between two places");
    if (fault.from_ns > over_ns)
      return refused(fault, "'from': expected a time while the run lasts, found " +
                                duration_text(fault.from_ns) + "; all of the trace is over by " +
                                duration_text(over_ns));
    faults::OutageTimes longest;
    for (const ChannelRequest& channel : channels) {
      if (!fault.touches(cluster, channel.route)) continue;
      const faults::OutageTimes& times =
          scenario.outages[static_cast<std::size_t>(channel.route.kind)];
      longest.noticed_ns = std::max(longest.noticed_ns, times.noticed_ns);
      longest.reconnect_ns = std::max(longest.reconnect_ns, times.reconnect_ns);
    }
    if (fault.noticed_ns == faults::of_route) fault.noticed_ns = longest.noticed_ns;
    if (fault.reconnect_ns == faults::of_route) fault.reconnect_ns = longest.reconnect_ns;
    if (fault.every_ns != never_ns && fault.kind == faults::FaultKind::down &&
        fault.every_ns <= add_time(fault.until_ns - fault.from_ns, fault.reconnect_ns))
      return refused(fault,
                     "'every': expected more than the outage and 'reconnect' of its routes, " +
                         duration_text(fault.reconnect_ns));
  }
  return {};
}

Result<faults::FaultScript> load_fault_file(const std::string& file, const Cluster& cluster) {
  auto text = read_text_file(file);
  if (!text) return text.error();
  return parse_fault_file(*text, file, cluster);
}

}  // namespace kvhaul
