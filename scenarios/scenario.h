// A scenario: the cluster, its routes and their costs, the model, the two sides of serving, and the
// scheduler's settings. docs/scenarios.md describes every key.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backends/faults/fault_script.h"
#include "core/channel_plan.h"
#include "core/cluster.h"
#include "core/result.h"
#include "core/scheduler_setup.h"
#include "scenarios/read_values.h"
#include "serving/replay_config.h"

namespace kvhaul {

struct Scenario {
  std::string name;
  std::string file;  // as it was named; for messages
  std::string text;  // the whole file, so that a run can be made again from its own directory
  std::vector<std::string> profiles;  // the files of timing profiles that it names
  Cluster cluster;
  RoutePlan routes;
  faults::OutageTable outages;  // of those routes, where a fault file does not say
  ReplayConfig serving;
  SchedulerConfig scheduler;
  // How the emulated backend runs it unless the command line says otherwise.
  bool real_time = false;
  bool payload = false;
  bool throttle = false;
};

/// Reads a scenario. Errors (bad_input) name file, line, what was expected and what was found.
/// Profiles that it names are looked up beside `file`.
Result<Scenario> parse_scenario(const std::string& text, const std::string& file);

/// A file, or the name of a scenario that ships with the tool.
Result<Scenario> load_scenario(const std::string& name_or_file);

/// What a run takes from it at every key, defaults included. Fails only where a profile that it
/// names has gone or changed since it was read.
Result<ReadValues> scenario_values(const Scenario& scenario);

struct BuiltinScenario {
  std::string_view name;
  std::string_view text;
};
/// The scenarios of this folder, in alphabetical order.
std::span<const BuiltinScenario> builtin_scenarios();
/// The first comment of a scenario: what it is, in a line.
std::string scenario_summary(std::string_view text);

}  // namespace kvhaul
