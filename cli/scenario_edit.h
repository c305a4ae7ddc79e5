// A scenario with other values at some of its keys, as `kvhaul sweep` needs many of them.
#pragma once

#include <span>
#include <string>

#include "core/result.h"
#include "scenarios/scenario.h"

namespace kvhaul::cli {

struct ScenarioSetting {
  /// Keys from the root, joined by dots; items of lists by their number:
  /// "cluster.nodes.0.count". Keys that the scenario leaves at their defaults may be named, too.
  std::string path;
  std::string value;  // as it would stand in the file
};

/// The scenario read anew with these values; its text holds them, its comments are gone. Files that
/// it names by a path of its own folder are named by their whole path, so that it may be written
/// elsewhere. Errors name the setting instead of a line that nobody wrote.
Result<Scenario> edit_scenario(const Scenario& base, std::span<const ScenarioSetting> settings);

}  // namespace kvhaul::cli
