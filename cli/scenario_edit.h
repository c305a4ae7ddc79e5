// A scenario with other values at some of its keys: --set PATH=VALUE, and the many that `kvhaul
// sweep` makes.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cli/command.h"
#include "core/result.h"
#include "scenarios/scenario.h"

namespace kvhaul::cli {

struct ScenarioSetting {
  /// Keys from the root, joined by dots; items of lists by their number:
  /// "cluster.nodes.0.count". Keys that the scenario leaves at their defaults may be named, too.
  std::string path;
  std::string value;  // as it would stand in the file
};

/// Where the edited text will stand. Elsewhere: files that it names by a path from its own folder
/// are named by their whole path.
enum class EditedPlace { where_it_is, elsewhere };

/// The scenario read anew with these values; its text holds them, its comments are gone. Errors
/// name the setting instead of a line that nobody wrote.
Result<Scenario> edit_scenario(const Scenario& base, std::span<const ScenarioSetting> settings,
                               EditedPlace place);

/// --set PATH=VALUE, which may be repeated, of every command that reads one scenario.
void declare_scenario_settings(Options& options);
/// From the texts of those: each path once, each with a value.
Result<std::vector<ScenarioSetting>> read_scenario_settings(const std::vector<std::string>& texts);
/// Splits "PATH=VALUE"; `expected` says in an error what that is for the command.
Result<ScenarioSetting> split_setting(const std::string& text, const char* expected);
/// A value that is too long for names and tables is refused, and so is none at all.
Result<void> check_setting_value(const std::string& path, const std::string& value,
                                 const char* expected);

/// load_scenario() with these values in it; without any it is the scenario as it is.
Result<Scenario> load_scenario_with(const std::string& name_or_file,
                                    std::span<const ScenarioSetting> settings,
                                    EditedPlace place = EditedPlace::where_it_is);

}  // namespace kvhaul::cli
