#include "cli/scenario_edit.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <vector>

#include <yaml-cpp/yaml.h>

#include "core/unit_text.h"
#include "scenarios/yaml_reader.h"

namespace kvhaul::cli {
namespace po = boost::program_options;
namespace {

constexpr std::size_t value_bytes_max = 1000;

std::vector<std::string> split_path(const std::string& path) {
  std::vector<std::string> parts{""};
  for (const char c : path) {
    if (c == '.')
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

std::string setting_text(const ScenarioSetting& setting) {
  return "--set " + setting.path + "=" + setting.value;
}

/// "; did you mean 'nics'?" where a key of this map is like it.
std::string nearest_key(const YAML::Node& map, const std::string& key) {
  std::vector<std::string> names;
  for (const auto& entry : map) names.push_back(entry.first.Scalar());
  const std::string near = nearest_name(key, names);
  return near.empty() ? "" : "; did you mean '" + near + "'?";
}

Result<std::size_t> list_index(const YAML::Node& list, const std::string& text) {
  std::size_t index = 0;
  const char* end = text.data() + text.size();
  const auto [rest, status] = std::from_chars(text.data(), end, index);
  if (status == std::errc() && rest == end && index < list.size()) return index;
  return Error::bad_input("expected the number of an item, from 0 to " +
                          std::to_string(list.size() - 1) + ", found " + in_quotes(text));
}

/// Sets one value. `made` becomes a note about the first key on the way that was not there, for it
/// may have been written wrongly; which of them exist only the reader of scenarios knows.
Result<void> set_value(YAML::Node root, const ScenarioSetting& setting, std::string& made) {
  std::vector<YAML::Node> documents;
  try {
    documents = YAML::LoadAll(setting.value);
  } catch (const YAML::Exception&) {
  }
  if (documents.size() != 1)
    return Error::bad_input("expected a value as it would stand in a scenario");
  const YAML::Node& value = documents.front();
  const std::vector<std::string> parts = split_path(setting.path);
  YAML::Node at = root;
  std::string walked;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::string& part = parts[i];
    const bool last = i + 1 == parts.size();
    const std::string here = walked.empty() ? "the scenario" : "'" + walked + "'";
    if (part.empty()) return Error::bad_input("expected keys joined by dots");
    if (at.IsSequence()) {
      if (at.size() == 0) return Error::bad_input(here + " is an empty list");
      const auto index = list_index(at, part);
      if (!index) return Error::bad_input(here + ": " + index.error().message);
      if (last)
        at[*index] = value;
      else
        at.reset(at[*index]);
    } else if (at.IsMap()) {
      const bool there = at[part].IsDefined();
      if (!there && !last && made.empty()) {
        const std::string near = nearest_key(at, part);
        if (!near.empty()) made = "; there was no " + in_quotes(part) + " in " + here + near;
      }
      if (last) {
        at[part] = value;
      } else {
        if (!there) at[part] = YAML::Node(YAML::NodeType::Map);
        at.reset(at[part]);
      }
    } else {
      return Error::bad_input(here + " is a value, with no " + in_quotes(part) + " in it");
    }
    walked += (walked.empty() ? "" : ".") + part;
  }
  return {};
}

/// Profiles are looked up beside the scenario's file, and the new text will stand elsewhere.
void make_profiles_absolute(YAML::Node root, const std::string& file) {
  namespace fs = std::filesystem;
  for (const char* side : {"prefill", "decode"}) {
    const YAML::Node& serving = root["serving"];
    if (!serving.IsDefined() || !serving.IsMap() || !serving[side].IsDefined() ||
        !serving[side].IsMap() || !serving[side]["timing"].IsDefined())
      continue;
    YAML::Node timing = serving[side]["timing"];
    if (!timing.IsMap() || !timing["profile"].IsDefined() || !timing["profile"].IsScalar())
      continue;
    std::error_code status;
    const fs::path whole =
        fs::absolute(fs::path(file).parent_path() / timing["profile"].Scalar(), status);
    if (!status) timing["profile"] = whole.lexically_normal().string();
  }
}

/// Without the file and the line in front: they are of a text that nobody wrote.
std::string without_place(const std::string& message, const std::string& file) {
  if (!message.starts_with(file + ":")) return message;
  const std::size_t digits_end = message.find_first_not_of("0123456789", file.size() + 1);
  if (digits_end == std::string::npos || message.compare(digits_end, 2, ": ") != 0) return message;
  return message.substr(digits_end + 2);
}

}  // namespace

Result<Scenario> edit_scenario(const Scenario& base, std::span<const ScenarioSetting> settings,
                               EditedPlace place) {
  YAML::Node root = YAML::Load(base.text);  // it has been read before
  std::string all, made;
  for (auto at = settings.begin(); at != settings.end(); ++at) {
    const ScenarioSetting& setting = *at;
    const auto lost = std::find_if(settings.begin(), at, [&](const ScenarioSetting& before) {
      return before.path.starts_with(setting.path + ".");
    });
    if (lost != at)
      return Error::bad_input(setting_text(setting) + ": takes away what --set " + lost->path +
                              " has set; expected it in front of that");
    all.append(all.empty() ? "" : " ").append(setting_text(setting));
    if (auto ok = set_value(root, setting, made); !ok)
      return Error::bad_input(setting_text(setting) + ": " + ok.error().message);
  }
  if (place == EditedPlace::elsewhere) make_profiles_absolute(root, base.file);
  auto edited = parse_scenario(YAML::Dump(root) + "\n", base.file);
  if (edited) return edited;
  const std::string why = without_place(edited.error().message, base.file);
  // Of an unknown key the reader itself names the nearest.
  return Error{edited.error().kind,
               all + ": " + why + (why.starts_with("unknown key") ? "" : made)};
}

void declare_scenario_settings(Options& options) {
  options.add()("set", po::value<std::vector<std::string>>()->composing(),
                "PATH=VALUE: another value at a path into the scenario, such as "
                "scheduler.chunk='1 MiB' or cluster.nodes.0.count=4; may be repeated");
}

Result<ScenarioSetting> split_setting(const std::string& text, const char* expected) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    return Error::bad_input(std::string("--set: expected ") + expected + ", found " +
                            in_quotes(text));
  return ScenarioSetting{text.substr(0, equals), text.substr(equals + 1)};
}

Result<void> check_setting_value(const std::string& path, const std::string& value,
                                 const char* expected) {
  if (value.find_first_not_of(' ') == std::string::npos)
    return Error::bad_input("--set " + path + ": expected " + expected + ", found nothing");
  if (value.size() > value_bytes_max)
    return Error::bad_input("--set " + path + ": expected values of at most " +
                            std::to_string(value_bytes_max) + " bytes");
  return {};
}

Result<std::vector<ScenarioSetting>> read_scenario_settings(const std::vector<std::string>& texts) {
  std::vector<ScenarioSetting> settings;
  for (const std::string& text : texts) {
    auto setting = split_setting(text, "PATH=VALUE");
    if (!setting) return setting.error();
    const std::string& path = setting->path;
    if (path.starts_with('@'))
      return Error::bad_input("--set " + path + ": only 'kvhaul sweep' sweeps over options; " +
                              "expected a path into the scenario, or the option --" +
                              path.substr(1) + " itself");
    if (auto ok = check_setting_value(path, setting->value, "a value"); !ok) return ok.error();
    if (std::any_of(settings.begin(), settings.end(),
                    [&](const ScenarioSetting& before) { return before.path == path; }))
      return Error::bad_input("--set " + path + ": expected each key once, found it twice");
    settings.push_back(std::move(*setting));
  }
  return settings;
}

Result<Scenario> load_scenario_with(const std::string& name_or_file,
                                    std::span<const ScenarioSetting> settings, EditedPlace place) {
  auto scenario = load_scenario(name_or_file);
  if (!scenario || settings.empty()) return scenario;
  return edit_scenario(*scenario, settings, place);
}

}  // namespace kvhaul::cli
