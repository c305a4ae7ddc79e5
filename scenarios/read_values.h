// What a reader found at every key that it asked for, defaults included: what a file means, beside
// what it says. Values are text with their units, exact: read again they are the same values.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/units.h"

namespace kvhaul {

/// Keys from the root; items of lists by item_key().
using ValuePath = std::vector<std::string>;
/// Of an item's number, from 0. No key of a file is the same.
std::string item_key(std::size_t number);
/// Joined by dots: "cluster.nodes.0.count".
std::string path_text(const ValuePath& path);

struct ReadValue {
  enum class Kind { word, number, list, nothing };
  ValuePath path;
  std::string text;  // "none" for nothing: a limit that there is not, a time that never comes
  Kind kind = Kind::word;
  double number = 0;      // of a number, in its unit
  std::string_view unit;  // "bytes", "bytes_per_s", "ns", "flops"; empty: a plain number
};

ReadValue word_value(std::string text);
ReadValue nothing_value(std::string text = "none");
ReadValue list_value(const std::vector<std::string>& items);
ReadValue count_value(std::uint64_t count);
ReadValue number_value(double number);
ReadValue bytes_value(Bytes bytes);
ReadValue rate_value(double bytes_per_s);  // 0: nothing
ReadValue duration_value(TimeNs time_ns);  // never_ns: nothing
ReadValue flops_value(double flops);

class ReadValues {
 public:
  /// In the order in which they were noted first; a value that is noted again replaces the first.
  const std::vector<ReadValue>& all() const { return values_; }
  const ReadValue* find(const ValuePath& path) const;

  void note(ValuePath path, ReadValue value);
  void forget(const ValuePath& path);

  /// Another way to write what stands at a path: a port's rate as its two directions, a model as
  /// its shape. Two files may differ in the way only.
  struct OtherWay {
    ValuePath path;
    std::vector<ReadValue> values;
  };
  const std::vector<OtherWay>& other_ways() const { return other_ways_; }
  void note_other_way(OtherWay way) { other_ways_.push_back(std::move(way)); }

 private:
  std::vector<ReadValue> values_;
  std::map<ValuePath, std::size_t> places_;  // of each in values_
  std::vector<OtherWay> other_ways_;
};

/// As YAML: maps by indentation, a comment for each key that has nothing.
std::string yaml_text(const ReadValues& values);

}  // namespace kvhaul
