#include "scenarios/scenario_diff.h"

#include <algorithm>
#include <map>
#include <tuple>

namespace kvhaul {
namespace {

bool is_node_type(const ValuePath& path) {
  return path.size() > 2 && path[0] == "cluster" && path[1] == "node_types";
}

/// Their names, in the order of the file.
std::vector<std::string> node_types(const ReadValues& values) {
  std::vector<std::string> names;
  for (const ReadValue& value : values.all())
    if (is_node_type(value.path) && (names.empty() || names.back() != value.path[2]))
      names.push_back(value.path[2]);
  return names;
}

/// For the node types of the second scenario, which are compared with others of the first: theirs.
std::map<std::string, std::string> pair_node_types(const ReadValues& first,
                                                   const ReadValues& second) {
  std::vector<std::string> left = node_types(first), right = node_types(second);
  const std::vector<std::string> all_left = left;
  std::erase_if(left, [&](const std::string& name) {
    return std::find(right.begin(), right.end(), name) != right.end();
  });
  std::erase_if(right, [&](const std::string& name) {
    return std::find(all_left.begin(), all_left.end(), name) != all_left.end();
  });
  std::map<std::string, std::string> pairs;
  for (std::size_t i = 0; i < std::min(left.size(), right.size()); ++i) pairs[right[i]] = left[i];
  return pairs;
}

/// What is compared, with the second scenario's node types under the names of the first.
class Side {
 public:
  Side(const ReadValues& values, const std::map<std::string, std::string>& renamed) {
    for (const ReadValue& value : values.all())
      if (!is_name(value.path)) add(with_names(value, renamed));
    for (const ReadValues::OtherWay& way : values.other_ways()) {
      ReadValue whole;
      whole.path = way.path;
      ways_.push_back({with_names(whole, renamed).path, {}});
      for (const ReadValue& value : way.values)
        ways_.back().values.push_back(with_names(value, renamed));
    }
  }

  /// Writes in another way what the other side does not have in this one.
  void write_as(const Side& other) {
    for (const ReadValues::OtherWay& way : ways_) {
      const auto here = by_path_.find(way.path);
      if (here == by_path_.end() || other.by_path_.count(way.path) != 0) continue;
      if (std::none_of(way.values.begin(), way.values.end(), [&](const ReadValue& value) {
            return other.by_path_.count(value.path) != 0;
          }))
        continue;
      const std::size_t place = here->second.first;
      by_path_.erase(here);
      for (const ReadValue& value : way.values) by_path_[value.path] = {place, value};
    }
  }

  /// By path: the place in the file, and the value.
  const std::map<ValuePath, std::pair<std::size_t, ReadValue>>& values() const { return by_path_; }

 private:
  static bool is_name(const ValuePath& path) {
    return path == ValuePath{"name"} || (is_node_type(path) && path.back() == "title");
  }
  static ReadValue with_names(ReadValue value, const std::map<std::string, std::string>& renamed) {
    const auto other = [&](std::string& name) {
      const auto found = renamed.find(name);
      if (found != renamed.end()) name = found->second;
    };
    if (is_node_type(value.path)) other(value.path[2]);
    const bool of_nodes =
        value.path.size() == 4 && value.path[0] == "cluster" && value.path[1] == "nodes";
    if (of_nodes && value.path[3] == "type") other(value.text);
    return value;
  }
  void add(ReadValue value) {
    ValuePath path = value.path;
    by_path_[std::move(path)] = {by_path_.size(), std::move(value)};
  }

  std::map<ValuePath, std::pair<std::size_t, ReadValue>> by_path_;
  std::vector<ReadValues::OtherWay> ways_;
};

}  // namespace

Result<std::vector<ScenarioDifference>> scenario_differences(const Scenario& first,
                                                             const Scenario& second) {
  auto left_values = scenario_values(first), right_values = scenario_values(second);
  if (!left_values) return left_values.error();
  if (!right_values) return right_values.error();
  const auto renamed = pair_node_types(*left_values, *right_values);
  Side left(*left_values, {}), right(*right_values, renamed);
  left.write_as(right);
  right.write_as(left);

  std::map<std::string, std::string> both_names;
  for (const auto& [theirs, ours] : renamed) both_names[ours] = ours + "/" + theirs;
  // What only the second one has stands behind what the first has of the same block.
  std::map<std::string, std::size_t> blocks;
  for (const auto* side : {&*left_values, &*right_values})
    for (const ReadValue& value : side->all()) blocks.try_emplace(value.path[0], blocks.size());
  struct Placed {
    std::size_t block, in_second_only, place;
    ScenarioDifference difference;
  };
  std::vector<Placed> found;
  const auto add = [&](const ValuePath& path, bool in_second_only, std::size_t place,
                       std::optional<ReadValue> ours, std::optional<ReadValue> theirs) {
    ValuePath shown = path;
    if (is_node_type(shown)) {
      const auto names = both_names.find(shown[2]);
      if (names != both_names.end()) shown[2] = names->second;
    }
    found.push_back({blocks[path[0]],
                     in_second_only ? 1u : 0u,
                     place,
                     {path_text(shown), std::move(ours), std::move(theirs)}});
  };
  for (const auto& [path, placed] : left.values()) {
    const auto other = right.values().find(path);
    if (other == right.values().end())
      add(path, false, placed.first, placed.second, std::nullopt);
    else if (other->second.second.text != placed.second.text ||
             other->second.second.kind != placed.second.kind)
      add(path, false, placed.first, placed.second, other->second.second);
  }
  for (const auto& [path, placed] : right.values())
    if (left.values().count(path) == 0) add(path, true, placed.first, std::nullopt, placed.second);
  std::stable_sort(found.begin(), found.end(), [](const Placed& a, const Placed& b) {
    return std::tie(a.block, a.in_second_only, a.place) <
           std::tie(b.block, b.in_second_only, b.place);
  });
  std::vector<ScenarioDifference> differences;
  for (Placed& placed : found) differences.push_back(std::move(placed.difference));
  return differences;
}

}  // namespace kvhaul
