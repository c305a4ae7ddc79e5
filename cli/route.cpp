// kvhaul route: all roads between two places, hop by hop, and why one is chosen.
#include <algorithm>
#include <cmath>
#include <iostream>

#include "cli/command.h"
#include "cli/inputs.h"
#include "cli/json_text.h"
#include "cli/route_drawing.h"
#include "cli/scenario_edit.h"
#include "cli/terminal.h"
#include "core/channel_plan.h"
#include "core/unit_text.h"
#include "report/cluster_picture.h"
#include "scenarios/scenario.h"
#include "traces/output_file.h"

namespace kvhaul::cli {
namespace po = boost::program_options;
namespace {

Result<PlaceId> find_place(const Cluster& cluster, const std::string& name) {
  if (const auto place = cluster.find_place(name)) return *place;
  std::vector<std::string> names;
  for (const Place& place : cluster.places) names.push_back(place.name);
  constexpr std::size_t most = 12;  // a cluster may have thousands
  Error error = unknown_choice("place", name, std::span(names).first(std::min(most, names.size())));
  if (names.size() > most)
    error.message += " (and " + std::to_string(names.size() - most) + " more)";
  return error;
}

/// The tier that a route gets in a run: how soon it is used. Nothing when it is not opened.
std::optional<std::uint32_t> tier_of(const ChannelPlan& plan, const Route& route) {
  for (std::size_t i = 0; i < plan.requests.size(); ++i)
    if (plan.requests[i].route.name == route.name) return plan.tiers[i];
  return std::nullopt;
}

std::string use_text(const std::optional<std::uint32_t>& tier) {
  if (!tier)
    return "not opened: its kind is not in the scenario's route order, or enough rails are";
  return *tier == 0 ? "used"
                    : "fallback " + std::to_string(*tier) + ": used while nothing better works";
}

/// A name with a '#' for every number in it: "rdma node#/nic#".
std::string without_numbers(const std::string& name) {
  std::string out;
  for (const char c : name) {
    if (c < '0' || c > '9')
      out += c;
    else if (!out.ends_with('#'))
      out += '#';
  }
  return out;
}

/// Equal for routes that differ in nothing but which NIC of many they take.
std::string likeness(const Cluster& cluster, const Route& route,
                     const std::optional<std::uint32_t>& tier) {
  std::string out = std::string(route_kind_name(route.kind)) + "|" + route.reason + "|" +
                    std::to_string(route.latency_ns) + "|" + rate_text(route.bytes_per_s) + "|" +
                    use_text(tier);
  for (const LinkId hop : route.hops)
    out.append(1, '|').append(without_numbers(cluster.links[hop].name));
  return out;
}

void print_route(const Cluster& cluster, const Route& route, const RouteCosts& costs, Bytes size,
                 const std::optional<std::uint32_t>& tier, std::size_t alike, bool hops) {
  std::cout << route.name;
  if (alike > 1) std::cout << "  (and " << alike - 1 << " more like it)";
  std::cout << "\n    ";
  if (route.hops.empty()) {
    std::cout << "no bytes move\n";
  } else {
    std::cout << duration_text(unloaded_ns(route, costs, size)) << " for " << bytes_text(size)
              << " at " << rate_text(route.bytes_per_s) << ", narrowest at "
              << cluster.links[route.bottleneck].name << "\n";
  }
  std::cout << "    " << route.reason << "\n    " << use_text(tier) << "\n";
  if (!hops) return;
  std::cout << "    " << cpu_text(cluster, route) << "\n";
  for (const std::string& line : draw_route(cluster, route, size))
    std::cout << "    " << line << "\n";
}

Json route_json(const Cluster& cluster, const Route& route, const RouteCosts& costs, Bytes size,
                const std::optional<std::uint32_t>& tier) {
  const auto ms = [](TimeNs ns) { return static_cast<double>(ns) / 1e6; };
  Json json = {{"name", route.name},
               {"kind", route_kind_name(route.kind)},
               {"usable", route.usable},
               {"reason", route.reason},
               {"tier", tier ? Json(*tier) : Json()}};
  if (!route.usable) return json;
  json["hops"] = Json::array();
  for (const LinkId hop : route.hops) {
    const Link& link = cluster.links[hop];
    json["hops"].push_back({{"link", link.name},
                            {"rate_gbytes_per_s", link.bytes_per_s / 1e9},
                            {"latency_us", static_cast<double>(link.latency_ns) / 1e3}});
  }
  if (route.hops.empty()) return json;  // no bytes move
  json["time_ms"] = ms(unloaded_ns(route, costs, size));
  json["rate_gbytes_per_s"] = route.bytes_per_s / 1e9;
  json["narrowest"] = cluster.links[route.bottleneck].name;
  json["cpu"] = cpu_text(cluster, route);
  return json;
}

/// What stands under the picture of a route.
std::vector<std::string> picture_lines(const Cluster& cluster, const std::vector<Route>& routes,
                                       const Route& route, const RouteCosts& costs, Bytes size,
                                       const std::optional<std::uint32_t>& tier) {
  std::vector<std::string> lines;
  lines.push_back(route.name + ": " + duration_text(unloaded_ns(route, costs, size)) + " for " +
                  bytes_text(size) + " at " + rate_text(route.bytes_per_s) + "; " +
                  cpu_text(cluster, route));
  lines.push_back(route.reason);
  lines.push_back(use_text(tier));
  for (std::size_t h = 0; h < route.hops.size(); ++h) {
    const Link& link = cluster.links[route.hops[h]];
    lines.push_back(
        std::to_string(h + 1) + "  " + link.name + ", " + rate_text(link.bytes_per_s) + ", " +
        duration_text(std::llround(static_cast<double>(size) / link.bytes_per_s * 1e9)) +
        (route.hops[h] == route.bottleneck ? ", the narrowest" : ""));
  }
  const auto usable =
      std::count_if(routes.begin(), routes.end(), [](const Route& r) { return r.usable; });
  lines.push_back("Usable: " + std::to_string(usable) + " of " + std::to_string(routes.size()) +
                  " candidates; kvhaul route --all says why each is or is not.");
  return lines;
}

}  // namespace

CommandResult run_route(const Arguments& arguments) {
  Options options(
      "route", "FROM TO [options]",
      "Draws all routes between two places of a scenario's cluster: the time a transfer\n"
      "takes on the idle route, every hop with its rate and time, whether the CPU is\n"
      "bypassed, and why a route is or is not used.");
  options.add()                                                               //
      ("from", po::value<std::string>(), "a place: node0/gpu3, node0/host1")  //
      ("to", po::value<std::string>(), "another place")                       //
      ("scenario,s", po::value<std::string>()->default_value("dgx-h100-pair"),
       "a scenario file or name")                                                               //
      ("size", po::value<std::string>()->default_value("1 GiB"), "the size to give times for")  //
      ("all", po::bool_switch(), "every route by itself, with its hops")                        //
      ("svg", po::value<std::string>(), "write a picture of the first route there")             //
      ("json", po::bool_switch(), "print JSON: every route by itself (docs/json.md)")           //
      ("force", po::bool_switch(), "write over a file that is there");
  declare_scenario_settings(options);
  options.positional("from", 1);
  options.positional("to", 1);
  options.example("kvhaul route node0/gpu0 node1/gpu0", "between two DGX H100");
  options.example("kvhaul route node0/gpu0 node1/gpu0 --size 40GiB --svg road.svg",
                  "with a picture for a browser or a document");
  options.example("kvhaul route node0/gpu0 node0/gpu5 -s hgx-h100 --size '4 MiB'", "inside an HGX");
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  if (!options.maybe_text("from") || !options.maybe_text("to"))
    return Error::bad_input("kvhaul route: expected two places; see 'kvhaul route --help'");
  auto size = parse_bytes(options.text("size"));
  if (!size) return Error::bad_input("--size: " + size.error().message);
  constexpr Bytes size_max = 1024 * 1024 * GiB;
  if (*size == 0 || *size > size_max)
    return Error::bad_input("--size: expected 1 B to 1024 TiB, found " +
                            in_quotes(options.text("size")));
  const auto settings = read_scenario_settings(options.texts("set"));
  if (!settings) return settings.error();
  auto scenario = load_scenario_with(options.text("scenario"), *settings);
  if (!scenario) return scenario.error();
  const Cluster& cluster = scenario->cluster;
  std::optional<OutputFile> picture;
  if (const auto path = options.maybe_text("svg")) {
    auto file = OutputFile::create(*path, {options.flag("force"), inputs_of(*scenario)});
    if (!file) return file.error();
    picture = std::move(*file);
  }
  auto from = find_place(cluster, options.text("from"));
  if (!from) return from.error();
  auto to = find_place(cluster, options.text("to"));
  if (!to) return to.error();

  const std::vector<Route> routes = find_routes(cluster, *from, *to, scenario->routes.paths);
  const std::vector<std::pair<PlaceId, PlaceId>> pair = {{*from, *to}};
  const auto plan = plan_channels(cluster, pair, scenario->routes);
  const auto usable =
      std::count_if(routes.begin(), routes.end(), [](const Route& r) { return r.usable; });
  const auto tier_in_plan = [&](const Route& route) {
    return plan ? tier_of(*plan, route) : std::nullopt;
  };
  const auto costs_of = [&](const Route& route) -> const RouteCosts& {
    return scenario->routes.costs[static_cast<std::size_t>(route.kind)];
  };
  if (picture) {
    if (usable == 0) return Error::failed("--svg: there is no usable route to draw");
    const Route& route =
        *std::find_if(routes.begin(), routes.end(), [](const Route& r) { return r.usable; });
    const auto lines =
        picture_lines(cluster, routes, route, costs_of(route), *size, tier_in_plan(route));
    const std::string title =
        cluster.places[*from].name + " to " + cluster.places[*to].name + ", " + scenario->name;
    picture->text(report::route_picture(cluster, route, title, lines));
    if (auto closed = picture->close(); !closed) return closed.error();
  }
  if (options.flag("json")) {
    Json json = {{"schema", 1},
                 {"scenario", scenario->name},
                 {"from", cluster.places[*from].name},
                 {"to", cluster.places[*to].name},
                 {"size_bytes", *size},
                 {"usable_routes", usable},
                 {"routes", Json::array()}};
    for (const Route& route : routes)
      json["routes"].push_back(
          route_json(cluster, route, costs_of(route), *size, tier_in_plan(route)));
    std::cout << json_text(json);
    return usable > 0 ? 0 : 1;
  }
  std::cout << cluster.places[*from].name << " to " << cluster.places[*to].name << ", "
            << scenario->name << ": " << usable
            << (usable == 1 ? " usable route, " : " usable routes, ")
            << routes.size() - static_cast<std::size_t>(usable) << " not usable\n\n";
  const bool all = options.flag("all");
  std::vector<std::pair<std::string, std::vector<const Route*>>> groups;
  for (const Route& route : routes) {
    if (!route.usable) continue;
    const auto tier = tier_in_plan(route);
    const std::string key = all ? route.name : likeness(cluster, route, tier);
    const auto found =
        std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == key; });
    if (found == groups.end())
      groups.push_back({key, {&route}});
    else
      found->second.push_back(&route);
  }
  for (const auto& [key, alike] : groups) {
    const Route& route = *alike.front();
    print_route(cluster, route, costs_of(route), *size, tier_in_plan(route), alike.size(),
                all || &route == groups.front().second.front());
    std::cout << "\n";
  }
  // Routes that fail for the same reason are counted, not listed.
  std::vector<std::pair<std::string, std::vector<std::string>>> refused;
  for (const Route& route : routes) {
    if (route.usable) continue;
    const std::string key = (all ? route.name : std::string(route_kind_name(route.kind))) + ": " +
                            (!all && route.reason.find("not joined by a spine") != std::string::npos
                                 ? "its rails are not joined by a spine"
                                 : route.reason);
    const auto found =
        std::find_if(refused.begin(), refused.end(), [&](const auto& r) { return r.first == key; });
    if (found == refused.end())
      refused.push_back({key, {route.name}});
    else
      found->second.push_back(route.name);
  }
  if (!refused.empty()) std::cout << "not usable\n";
  for (const auto& [reason, names] : refused) {
    std::cout << "    " << reason;
    if (names.size() > 1)
      std::cout << " (" << names.size() << " routes, such as " << names.front() << ")";
    std::cout << "\n";
  }
  if (picture)
    std::cout << "\npicture of " << groups.front().second.front()->name << ": "
              << printable(picture->path()) << "\n";
  if (!all && groups.size() + refused.size() < routes.size())
    std::cout << "\n--all lists every route by itself\n";
  return usable > 0 ? 0 : 1;
}

}  // namespace kvhaul::cli
