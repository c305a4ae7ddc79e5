#include "cli/sweep_grid.h"

#include <algorithm>
#include <map>
#include <optional>

#include "cli/backends.h"
#include "cli/replay_run.h"
#include "cli/run_processes.h"
#include "cli/scenario_edit.h"
#include "core/unit_text.h"

namespace kvhaul::cli {
namespace {

constexpr std::size_t points_max = 10'000;
constexpr std::size_t name_bytes_max = 100;

/// At commas that stand in no brackets, braces or quotes, with the spaces around them dropped.
std::vector<std::string> split_values(const std::string& text) {
  std::vector<std::string> values{""};
  int depth = 0;
  char quote = 0;
  for (const char c : text) {
    if (quote != 0) {
      if (c == quote) quote = 0;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '[' || c == '{') {
      ++depth;
    } else if (c == ']' || c == '}') {
      --depth;
    } else if (c == ',' && depth <= 0) {
      values.emplace_back();
      continue;
    }
    values.back() += c;
  }
  for (std::string& value : values) {
    const std::size_t begin = value.find_first_not_of(' ');
    value = begin == std::string::npos
                ? ""
                : value.substr(begin, value.find_last_not_of(' ') - begin + 1);
  }
  return values;
}

Result<void> check_option_name(const std::string& path) {
  const std::vector<std::string> names = {"@scenario", "@policy", "@speedup", "@streaming",
                                          "@backend"};
  if (!path.starts_with('@') || std::find(names.begin(), names.end(), path) != names.end())
    return {};
  return unknown_choice("--set", path, names);
}

/// The last part of a key: "count" of "cluster.nodes.0.count", "policy" of "@policy".
std::string short_name(const std::string& path) { return path.substr(path.find_last_of(".@") + 1); }

std::string point_name(std::size_t number, std::size_t count, const std::vector<SweepKey>& keys,
                       const std::vector<std::string>& values) {
  std::string name = std::to_string(number);
  const std::size_t digits = std::max<std::size_t>(3, std::to_string(count - 1).size());
  name.insert(0, digits - std::min(digits, name.size()), '0');
  for (std::size_t k = 0; k < keys.size(); ++k)
    name.append("-").append(short_name(keys[k].path)).append("=").append(values[k]);
  for (char& c : name) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       c == '.' || c == '_' || c == '=' || c == '+' || c == '-';
    if (!plain) c = '_';
  }
  return name.substr(0, name_bytes_max);
}

Result<SweepPoint> make_point(const std::vector<SweepKey>& keys, std::vector<std::string> values,
                              const SweepBase& base, std::map<std::string, Scenario>& scenarios) {
  SweepPoint point;
  point.arguments = base.arguments;
  std::string scenario_name = base.scenario;
  std::vector<ScenarioSetting> settings;
  for (std::size_t k = 0; k < keys.size(); ++k) {
    const std::string& path = keys[k].path;
    if (path == "@scenario")
      scenario_name = values[k];
    else if (path.starts_with('@'))
      point.arguments.push_back("--" + path.substr(1) + "=" + values[k]);
    else
      settings.push_back({path, values[k]});
  }
  auto scenario = scenarios.find(scenario_name);
  if (scenario == scenarios.end()) {
    auto loaded = load_scenario(scenario_name);
    if (!loaded) return loaded.error();
    scenario = scenarios.emplace(scenario_name, std::move(*loaded)).first;
  }
  point.real_time = scenario->second.real_time;
  const Scenario* run = &scenario->second;
  std::optional<Scenario> changed;
  if (settings.empty()) {
    point.arguments.push_back("--scenario=" + scenario_name);
  } else {
    auto edited = edit_scenario(scenario->second, settings, EditedPlace::elsewhere);
    if (!edited) return edited.error();
    point.scenario_text = edited->text;
    point.real_time = edited->real_time;
    changed = std::move(*edited);
    run = &*changed;
  }
  point.scenario_digest = digest_of(run->text);
  for (const std::string& profile : run->profiles) {
    auto digest = digest_of_file(profile);
    if (!digest) return digest.error();
    point.scenario_digest += " " + *digest;
  }
  auto request = read_replay_request(point.arguments);
  if (!request) return request.error();
  // What replay itself looks at only when it starts:
  if (auto ok = check_policy(request->policy); !ok) return ok.error();
  if (auto entry = find_backend(request->backend); !entry) return entry.error();
  point.real_time = request->real_time.value_or(point.real_time);
  point.values = std::move(values);
  return point;
}

}  // namespace

Result<std::vector<SweepKey>> read_sweep_keys(const std::vector<std::string>& texts) {
  std::vector<SweepKey> keys;
  for (const std::string& text : texts) {
    auto setting = split_setting(text, "KEY=VALUE,VALUE,...");
    if (!setting) return setting.error();
    SweepKey key{setting->path, split_values(setting->value)};
    if (auto ok = check_option_name(key.path); !ok) return ok.error();
    for (const std::string& value : key.values)
      if (auto ok = check_setting_value(key.path, value, "values between its commas"); !ok)
        return ok.error();
    for (const SweepKey& before : keys)
      if (before.path == key.path)
        return Error::bad_input("--set " + key.path + ": expected each key once, found it twice");
    keys.push_back(std::move(key));
  }
  return keys;
}

Result<std::vector<SweepPoint>> make_sweep_points(const std::vector<SweepKey>& keys,
                                                  const SweepBase& base) {
  std::size_t count = 1;
  for (const SweepKey& key : keys) {
    count *= key.values.size();
    if (count > points_max)
      return Error::bad_input("--set: expected a grid of at most " + std::to_string(points_max) +
                              " points, found more");
  }
  std::map<std::string, Scenario> scenarios;
  std::vector<SweepPoint> points;
  for (std::size_t number = 0; number < count; ++number) {
    std::vector<std::string> values(keys.size());
    std::size_t rest = number;
    for (std::size_t k = keys.size(); k-- > 0;) {
      values[k] = keys[k].values[rest % keys[k].values.size()];
      rest /= keys[k].values.size();
    }
    auto point = make_point(keys, std::move(values), base, scenarios);
    if (!point) return point.error();
    point->number = number;
    point->name = point_name(number, count, keys, point->values);
    points.push_back(std::move(*point));
  }
  return points;
}

}  // namespace kvhaul::cli
