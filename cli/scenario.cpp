// kvhaul scenario: shows scenarios, checks them, and says how two differ.
#include <algorithm>
#include <iostream>

#include "cli/command.h"
#include "cli/json_text.h"
#include "cli/scenario_edit.h"
#include "cli/terminal.h"
#include "core/channel_plan.h"
#include "core/unit_text.h"
#include "scenarios/scenario_diff.h"

namespace kvhaul::cli {
namespace po = boost::program_options;
namespace {

using Text = std::string;

Json value_json(const ReadValue& value) {
  if (value.kind == ReadValue::Kind::nothing) return nullptr;
  return value.text;
}

/// The number behind a value with a unit, for programs: "number" and "unit".
void add_number(Json& json, const std::string& prefix, const ReadValue& value) {
  if (value.kind != ReadValue::Kind::number || value.unit.empty()) return;
  json[prefix + "number"] = value.number;
  json["unit"] = value.unit;
}

CommandResult show(const Arguments& arguments) {
  Options options(
      "scenario show", "NAME|FILE [options]",
      "Prints a scenario: the text of a shipped one or of a file. With --resolved all values\n"
      "that a run would use, with their units and with the defaults of what the file leaves\n"
      "out; that is a scenario, too, and the same one (docs/scenarios.md).");
  options.add()                                                                         //
      ("scenario", po::value<Text>(), "a scenario file, or the name of a shipped one")  //
      ("resolved", po::bool_switch(), "every value that a run would use, defaults included");
  declare_scenario_settings(options);
  options.add()("json", po::bool_switch(), "print JSON");
  options.positional("scenario", 1);
  options.example("kvhaul scenario show dgx-h100-pair > mine.yaml", "a copy to edit");
  options.example("kvhaul scenario show mine.yaml --resolved", "what the defaults make of it");
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  if (!options.maybe_text("scenario"))
    return Error::bad_input(
        "kvhaul scenario show: expected a name or a file; see 'kvhaul scenario show --help'");
  const auto settings = read_scenario_settings(options.texts("set"));
  if (!settings) return settings.error();
  const auto scenario =
      load_scenario_with(options.text("scenario"), *settings, EditedPlace::elsewhere);
  if (!scenario) return scenario.error();
  const bool resolved = options.flag("resolved");
  Result<ReadValues> values = ReadValues();
  if (resolved) values = scenario_values(*scenario);
  if (!values) return values.error();
  if (!options.flag("json")) {
    std::cout << (resolved ? yaml_text(*values) : scenario->text);
    return 0;
  }
  Json json = {{"schema", 1}, {"scenario", scenario->name}, {"file", scenario->file}};
  if (resolved) {
    json["values"] = Json::array();
    for (const ReadValue& value : values->all()) {
      Json one = {{"path", path_text(value.path)}, {"value", value_json(value)}};
      add_number(one, "", value);
      json["values"].push_back(std::move(one));
    }
  } else {
    json["text"] = scenario->text;
  }
  std::cout << json_text(json);
  return 0;
}

/// What a file of a scenario holds, counted.
struct ScenarioSize {
  std::size_t nodes = 0, gpus = 0, nics = 0, channels = 0, fallback_channels = 0;
};

/// As far as a run checks it before it opens a backend.
Result<ScenarioSize> size_of(const Scenario& scenario) {
  ScenarioSize size;
  size.nodes = scenario.cluster.nodes.size();
  for (const Node& node : scenario.cluster.nodes) {
    size.gpus += node.gpus.size();
    size.nics += node.nics.size();
  }
  const auto plan = plan_channels(scenario.cluster, place_pairs(scenario.serving), scenario.routes);
  if (!plan) return Error::bad_input(scenario.file + ": " + plan.error().message);
  std::vector<ChannelNumbers> numbers;
  for (const ChannelRequest& request : plan->requests)
    numbers.push_back(numbers_of(request.route, request.costs));
  for (const SchedulerSetup& setup :
       make_setups(scenario.cluster, plan->requests, plan->tiers, numbers, scenario.scheduler))
    if (auto ok = check_setup(setup); !ok)
      return Error::bad_input(scenario.file + ": " + ok.error().message);
  size.channels = static_cast<std::size_t>(std::count(plan->tiers.begin(), plan->tiers.end(), 0u));
  size.fallback_channels = plan->tiers.size() - size.channels;
  return size;
}

std::string side_text(const RoleConfig& role) {
  std::string text = counted(role.instances.size(), "instance") + " of ";
  text += counted(role.tp * role.pp, "GPU");
  if (role.pp > 1)
    text += " (tp " + std::to_string(role.tp) + ", pp " + std::to_string(role.pp) + ")";
  return text;
}

std::string described(const Scenario& scenario, const ScenarioSize& size) {
  const ReplayConfig& serving = scenario.serving;
  std::string text = counted(size.nodes, "node") + ", " + counted(size.gpus, "GPU") + ", " +
                     counted(size.nics, "NIC") + "; " + serving.model.name + "; prefill " +
                     side_text(serving.prefill) + ", decode " + side_text(serving.decode) + "; " +
                     counted(size.channels, "channel");
  if (size.fallback_channels != 0)
    text += ", " + std::to_string(size.fallback_channels) + " more to fall back on";
  return text;
}

Json side_json(const RoleConfig& role) {
  return {{"instances", role.instances.size()},
          {"tp", role.tp},
          {"pp", role.pp},
          {"kv_memory_per_gpu_bytes", role.kv_memory_bytes}};
}

Json described_json(const Scenario& scenario, const ScenarioSize& size) {
  return {{"scenario", scenario.name},
          {"summary", scenario_summary(scenario.text)},
          {"nodes", size.nodes},
          {"gpus", size.gpus},
          {"nics", size.nics},
          {"model", scenario.serving.model.name},
          {"prefill", side_json(scenario.serving.prefill)},
          {"decode", side_json(scenario.serving.decode)},
          {"channels", size.channels},
          {"fallback_channels", size.fallback_channels}};
}

CommandResult check_files(const Arguments& arguments) {
  Options options(
      "scenario check", "FILE... [options]",
      "Reads scenarios as a run would and says of each what it is, or the first thing that is\n"
      "wrong: file, line, what was expected and what was found. Exit code 0: all can be run. 2:\n"
      "not all.");
  options.add()("scenario", po::value<std::vector<Text>>()->composing(),
                "a scenario file, or the name of a shipped one; may be repeated");
  declare_scenario_settings(options);
  options.add()                                                                                 //
      ("json", po::bool_switch(), "print JSON; what is wrong is in it, and on standard error")  //
      ("quiet,q", po::bool_switch(), "print nothing but errors");
  options.positional("scenario", -1);
  options.example("kvhaul scenario check mine.yaml", "before a long sweep");
  options.example("kvhaul scenario check dgx-h100-pair --set cluster.nodes.0.count=0",
                  "what a run would say to another value");
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  const std::vector<std::string> names = options.texts("scenario");
  if (names.empty())
    return Error::bad_input(
        "kvhaul scenario check: expected a file; see 'kvhaul scenario check --help'");
  const auto settings = read_scenario_settings(options.texts("set"));
  if (!settings) return settings.error();
  const bool json_wanted = options.flag("json");
  Json json = {{"schema", 1}, {"files", Json::array()}};
  int code = 0;
  for (const std::string& name : names) {
    Json one = {{"file", name}};
    const auto scenario = load_scenario_with(name, *settings);
    const auto size = scenario ? size_of(*scenario) : scenario.error();
    one["fine"] = static_cast<bool>(size);
    if (size) {
      one.update(described_json(*scenario, *size));
      if (!json_wanted && !options.flag("quiet")) {
        std::cout << printable(name) << " is fine"
                  << (scenario->name == name ? "" : ": " + scenario->name) << "\n"
                  << wrapped("  " + described(*scenario, *size), 2);
        const std::string summary = scenario_summary(scenario->text);
        if (!summary.empty()) std::cout << wrapped("  " + printable(summary), 2);
      }
    } else {
      code = static_cast<int>(size.error().kind);
      one["error"] = size.error().message;
      print_error(size.error().message);
    }
    json["files"].push_back(std::move(one));
  }
  if (json_wanted) std::cout << json_text(json);
  return code;
}

Json differences_json(const Scenario& first, const Scenario& second,
                      const std::vector<ScenarioDifference>& differences) {
  const auto side = [](const Scenario& scenario) {
    return Json{{"scenario", scenario.name}, {"file", scenario.file}};
  };
  Json json = {{"schema", 1}, {"first", side(first)}, {"second", side(second)}};
  json["differences"] = Json::array();
  for (const ScenarioDifference& difference : differences) {
    Json one = {{"path", difference.path},
                {"first", difference.first ? value_json(*difference.first) : nullptr},
                {"second", difference.second ? value_json(*difference.second) : nullptr}};
    if (difference.first) add_number(one, "first_", *difference.first);
    if (difference.second) add_number(one, "second_", *difference.second);
    json["differences"].push_back(std::move(one));
  }
  return json;
}

/// A table; below it, line by line, what would make it wide: lists of nodes and GPUs.
std::string differences_text(const std::string& first, const std::string& second,
                             const std::vector<ScenarioDifference>& differences) {
  constexpr std::size_t cell_columns_max = 32;
  TextTable table({"", first, second});
  std::string lines;
  bool any_rows = false, apart = false;  // apart: some key says nothing on one side
  for (const ScenarioDifference& difference : differences) {
    const auto cell = [&](const std::optional<ReadValue>& value) {
      apart = apart || !value;
      return value ? printable(value->text) : std::string("-");
    };
    const std::string path = printable(difference.path);
    const std::string left = cell(difference.first), right = cell(difference.second);
    if (std::max(left.size(), right.size()) <= cell_columns_max) {
      table.add({path, left, right});
      any_rows = true;
    } else {
      lines += path + "\n" + wrapped("  " + first + ": " + left, 4) +
               wrapped("  " + second + ": " + right, 4);
    }
  }
  return (any_rows ? table.text() : "") + lines + "\n" + counted(differences.size(), "difference") +
         (apart ? "; -: the key does not apply there\n" : "\n");
}

CommandResult diff(const Arguments& arguments) {
  Options options(
      "scenario diff", "A B [options]",
      "Says where two scenarios mean something else: every key whose value differs, with both\n"
      "values. Defaults count as if they were written; comments, order, names and the way a\n"
      "value is written do not count. Exit code 0, whether they differ or not.");
  options.add()                                                                      //
      ("first", po::value<Text>(), "a scenario file, or the name of a shipped one")  //
      ("second", po::value<Text>(), "another")                                       //
      ("json", po::bool_switch(), "print JSON instead of the table");
  options.positional("first", 1);
  options.positional("second", 1);
  options.example("kvhaul scenario diff dgx-h100-pair mine.yaml", "what a copy has changed");
  options.example("kvhaul scenario diff fat-tree-ecmp fat-tree-adaptive", "two that ship");
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  if (!options.maybe_text("first") || !options.maybe_text("second"))
    return Error::bad_input(
        "kvhaul scenario diff: expected two scenarios; see 'kvhaul scenario diff --help'");
  const std::string names[] = {options.text("first"), options.text("second")};
  const auto first = load_scenario(names[0]);
  if (!first) return first.error();
  const auto second = load_scenario(names[1]);
  if (!second) return second.error();
  const auto differences = scenario_differences(*first, *second);
  if (!differences) return differences.error();
  if (options.flag("json")) {
    std::cout << json_text(differences_json(*first, *second, *differences));
    return 0;
  }
  if (differences->empty()) {
    std::cout << "no difference\n";
    return 0;
  }
  std::cout << differences_text(printable(names[0]), printable(names[1]), *differences);
  return 0;
}

}  // namespace

CommandResult run_scenario(const Arguments& arguments) {
  static constexpr std::pair<std::string_view, CommandResult (*)(const Arguments&)> actions[] = {
      {"show", show}, {"check", check_files}, {"diff", diff}};
  if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h") {
    std::cout << "kvhaul scenario ACTION [options]\n\n"
                 "  show      the text of a scenario, or every value that a run would use\n"
                 "  check     what scenarios are, or what is wrong with them\n"
                 "  diff      where two scenarios mean something else\n\n"
                 "  kvhaul scenario ACTION --help    its options, with examples\n";
    return arguments.empty()
               ? CommandResult(Error::bad_input("kvhaul scenario: expected an action"))
               : 0;
  }
  std::vector<std::string> names;
  for (const auto& [name, run] : actions) {
    if (name == arguments[0]) return run({arguments.begin() + 1, arguments.end()});
    names.emplace_back(name);
  }
  return unknown_choice("kvhaul scenario", arguments[0], names);
}

}  // namespace kvhaul::cli
