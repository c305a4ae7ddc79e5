#include "cli/scenario_edit.h"

#include <charconv>
#include <filesystem>
#include <vector>

#include <yaml-cpp/yaml.h>

#include "core/unit_text.h"
#include "scenarios/yaml_reader.h"

namespace kvhaul::cli {
namespace {

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
  YAML::Node value;
  try {
    value = YAML::Load(setting.value);
  } catch (const YAML::Exception&) {
    return Error::bad_input("expected a value as it would stand in a scenario");
  }
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

Result<Scenario> edit_scenario(const Scenario& base, std::span<const ScenarioSetting> settings) {
  YAML::Node root = YAML::Load(base.text);  // it has been read before
  std::string all, made;
  for (const ScenarioSetting& setting : settings) {
    all.append(all.empty() ? "" : " ").append(setting_text(setting));
    if (auto ok = set_value(root, setting, made); !ok)
      return Error::bad_input(setting_text(setting) + ": " + ok.error().message);
  }
  make_profiles_absolute(root, base.file);
  auto edited = parse_scenario(YAML::Dump(root) + "\n", base.file);
  if (edited) return edited;
  const std::string why = without_place(edited.error().message, base.file);
  // Of an unknown key the reader itself names the nearest.
  return Error{edited.error().kind,
               all + ": " + why + (why.starts_with("unknown key") ? "" : made)};
}

}  // namespace kvhaul::cli
