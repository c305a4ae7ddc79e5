#include "cli/scenario_text.h"

#include <vector>

#include <yaml-cpp/yaml.h>

#include "core/unit_text.h"

namespace kvhaul::cli {
namespace {

/// The last key of a path, and what is before it; empty at the root.
std::pair<std::string, std::string> split_last(const std::string& path) {
  const std::size_t dot = path.rfind('.');
  if (dot == std::string::npos) return {"", path};
  return {path.substr(0, dot), path.substr(dot + 1)};
}

/// The node at a path, and the node of its last key; undefined ones where it is not there.
struct Entry {
  YAML::Node key{YAML::NodeType::Undefined}, value{YAML::NodeType::Undefined};
};

Entry find(const std::string& text, const std::string& path) {
  Entry entry;
  entry.value.reset(YAML::Load(text));
  std::size_t at = 0;
  while (at <= path.size() && !path.empty()) {
    const std::size_t dot = std::min(path.find('.', at), path.size());
    const std::string name = path.substr(at, dot - at);
    at = dot + 1;
    if (!entry.value.IsMap()) return {};
    Entry next;
    for (const auto& item : entry.value)
      if (item.first.IsScalar() && item.first.Scalar() == name) {
        next.key.reset(item.first);
        next.value.reset(item.second);
      }
    if (!next.value.IsDefined()) return {};
    entry.key.reset(next.key);
    entry.value.reset(next.value);
  }
  return entry;
}

std::size_t begin_of(const YAML::Node& node) { return static_cast<std::size_t>(node.Mark().pos); }

/// Where a plain or quoted value of one line, or a map of such in braces, ends in the text; nothing
/// for another kind.
std::optional<std::size_t> end_of(const std::string& text, const YAML::Node& node) {
  const std::size_t begin = begin_of(node);
  if (node.IsMap() && begin < text.size() && text[begin] == '{') {
    const std::size_t end = text.find('}', begin);
    const std::string inside = text.substr(begin + 1, end - begin - 1);
    if (end == std::string::npos || inside.find_first_of("{[\"'#&*") != std::string::npos)
      return std::nullopt;
    return end + 1;
  }
  if (!node.IsScalar() || begin >= text.size()) return std::nullopt;
  const char quote = text[begin];
  if (quote == '"' || quote == '\'') {
    const std::size_t end = text.find(quote, begin + 1);
    if (end == std::string::npos) return std::nullopt;
    return end + 1;
  }
  if (text.compare(begin, node.Scalar().size(), node.Scalar()) != 0) return std::nullopt;
  return begin + node.Scalar().size();
}

Error cannot(const std::string& path) {
  return Error::bad_input(in_quotes(path) + " stands in the scenario in a form that is not edited");
}

}  // namespace

std::optional<std::string> ScenarioText::value(const std::string& path) const {
  const Entry entry = find(text_, path);
  if (!entry.value.IsDefined() || !entry.value.IsScalar()) return std::nullopt;
  return entry.value.Scalar();
}

bool ScenarioText::has(const std::string& path) const {
  return find(text_, path).value.IsDefined();
}

Result<void> ScenarioText::set(const std::string& path, const std::string& value) {
  const Entry entry = find(text_, path);
  if (entry.value.IsDefined()) {
    const auto end = end_of(text_, entry.value);
    if (!end) return cannot(path);
    const std::size_t begin = begin_of(entry.value);
    text_.replace(begin, *end - begin, value);
    return {};
  }
  const auto [parent, key] = split_last(path);
  const Entry map = find(text_, parent);
  if (!map.value.IsDefined()) return set(parent, "{" + key + ": " + value + "}");
  if (!map.value.IsMap()) return cannot(parent);
  const std::size_t begin = begin_of(map.value);
  const std::string line = key + ": " + value;
  if (begin < text_.size() && text_[begin] == '{') {
    text_.insert(begin + 1, map.value.size() == 0 ? line : line + ", ");
    return {};
  }
  const std::size_t newline = text_.rfind('\n', begin);
  const std::size_t column = begin - (newline == std::string::npos ? 0 : newline + 1);
  text_.insert(begin, line + "\n" + std::string(column, ' '));
  return {};
}

Result<void> ScenarioText::replace(
    const std::string& path, const std::vector<std::pair<std::string, std::string>>& entries) {
  const Entry entry = find(text_, path);
  const auto end = entry.value.IsDefined() ? end_of(text_, entry.value) : std::nullopt;
  if (!end) return cannot(path);
  const std::size_t begin = begin_of(entry.key);
  const Entry map = find(text_, split_last(path).first);
  const bool flow = text_[begin_of(map.value)] == '{';
  const std::size_t newline = text_.rfind('\n', begin);
  const std::size_t column = begin - (newline == std::string::npos ? 0 : newline + 1);
  std::string made;
  for (const auto& [key, value] : entries) {
    if (!made.empty()) made.append(flow ? ", " : "\n").append(flow ? 0 : column, ' ');
    made += key + ": " + value;
  }
  text_.replace(begin, *end - begin, made);
  return {};
}

}  // namespace kvhaul::cli
