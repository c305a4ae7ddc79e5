#include "scenarios/read_values.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <span>

#include "core/unit_text.h"

namespace kvhaul {
namespace {

using Kind = ReadValue::Kind;

struct Unit {
  std::string_view name;
  double factor;
};

/// As few digits as tell it apart, no exponent.
std::string digits(double value) {
  std::array<char, 512> buffer{};
  const auto [end, status] =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::fixed);
  return {buffer.data(), end};
}

/// The value in the first unit that gives it back exactly; the last unit always does.
template <class T>
std::string exact_text(T value, std::span<const Unit> units, Result<T> (*parse)(std::string_view)) {
  std::string text;
  for (const Unit& unit : units) {
    text = digits(static_cast<double>(value) / unit.factor) + " " + std::string(unit.name);
    const Result<T> read = parse(text);
    if (read && *read == value) break;
  }
  return text;
}

/// Units from the one in which the value is 1 or more, the largest first.
template <std::size_t N>
std::span<const Unit> from_fitting(const std::array<Unit, N>& units, double value) {
  std::size_t first = 0;
  while (first + 1 < N && value < units[first].factor) ++first;
  return std::span(units).subspan(first);
}

ReadValue number_with(double number, std::string_view unit, std::string text) {
  return {{}, std::move(text), Kind::number, number, unit};
}

/// Plain, where YAML takes it for the word that it is; else in quotes.
std::string yaml_word(const std::string& text) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '/' || c == '-' || c == ' ';
  };
  const bool null = text == "null" || text == "Null" || text == "NULL";
  if (!text.empty() && !null && text.front() != ' ' && text.back() != ' ' && text.front() != '-' &&
      text.front() != '.' && std::all_of(text.begin(), text.end(), plain))
    return text;
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

constexpr char item_mark = '\x01';

bool is_item(const std::string& key) { return key.front() == item_mark; }

/// The values below one path, which all of `values` are.
class YamlWriter {
 public:
  void write(const std::vector<const ReadValue*>& values, std::size_t depth, std::size_t indent) {
    std::vector<std::vector<const ReadValue*>> groups;  // in the order of their first values
    std::map<std::string_view, std::size_t> group_of;
    for (const ReadValue* value : values) {
      const auto place = group_of.try_emplace(value->path[depth], groups.size());
      if (place.second) groups.emplace_back();
      groups[place.first->second].push_back(value);
    }
    for (const std::vector<const ReadValue*>& below : groups) {
      const std::string& key = below.front()->path[depth];
      if (is_item(key)) {
        line_ += std::string(indent - line_.size(), ' ') + "- ";
        write(below, depth + 1, indent + 2);
        continue;
      }
      if (below.size() == 1 && below.front()->path.size() == depth + 1) {
        leaf(*below.front(), indent);
        continue;
      }
      // A key with nothing but comments below it would have no value.
      const bool nothing = std::all_of(below.begin(), below.end(), [](const ReadValue* value) {
        return value->kind == Kind::nothing;
      });
      if (!nothing) begin(indent);
      out += (nothing ? std::string(indent, ' ') + "# " : "") + yaml_word(key) + ":\n";
      write(below, depth + 1, indent + 2);
    }
  }

  std::string out;

 private:
  void begin(std::size_t indent) {
    line_.resize(std::max(line_.size(), indent), ' ');
    out += line_;
    line_.clear();
  }
  void leaf(const ReadValue& value, std::size_t indent) {
    if (value.kind == Kind::nothing) {
      // It would take the place of a dash that has not been written yet.
      notes_ += std::string(indent, ' ') + "# " + value.path.back() + ": " + value.text + "\n";
      if (line_.empty()) flush_notes();
      return;
    }
    begin(indent);
    out += yaml_word(value.path.back()) + ": ";
    out += value.kind == Kind::word ? yaml_word(value.text) : value.text;
    out += "\n";
    flush_notes();
  }
  void flush_notes() {
    out += notes_;
    notes_.clear();
  }

  std::string line_;   // begun: a dash that waits for its first key
  std::string notes_;  // comments that wait for the line to end
};

}  // namespace

std::string path_text(const ValuePath& path) {
  std::string text;
  for (const std::string& key : path)
    text.append(text.empty() ? "" : ".").append(is_item(key) ? key.substr(1) : key);
  return text;
}

std::string item_key(std::size_t number) { return item_mark + std::to_string(number); }

ReadValue word_value(std::string text) {
  if (text.empty()) return nothing_value();
  return {{}, std::move(text), Kind::word, 0, {}};
}

ReadValue nothing_value(std::string text) { return {{}, std::move(text), Kind::nothing, 0, {}}; }

ReadValue list_value(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "[" : ", ") + yaml_word(item);
  return {{}, text.empty() ? "[]" : text + "]", Kind::list, 0, {}};
}

ReadValue count_value(std::uint64_t count) {
  return number_with(static_cast<double>(count), "", std::to_string(count));
}

ReadValue number_value(double number) { return number_with(number, "", digits(number)); }

ReadValue bytes_value(Bytes bytes) {
  static constexpr std::array binary = {Unit{"TiB", 1099511627776.0}, Unit{"GiB", 1073741824.0},
                                        Unit{"MiB", 1048576.0}, Unit{"KiB", 1024.0}, Unit{"B", 1}};
  static constexpr std::array decimal = {Unit{"TB", 1e12}, Unit{"GB", 1e9}, Unit{"MB", 1e6},
                                         Unit{"KB", 1e3}, Unit{"B", 1}};
  // Sizes are written in both; which it was is the one with fewer digits.
  const auto value = static_cast<double>(bytes);
  std::string text = exact_text<Bytes>(bytes, from_fitting(binary, value), parse_bytes);
  std::string other = exact_text<Bytes>(bytes, from_fitting(decimal, value), parse_bytes);
  return number_with(value, "bytes", other.size() + 1 < text.size() ? other : text);
}

ReadValue rate_value(double bytes_per_s) {
  // GB/s up to 10 TB/s, as links are compared: 1800 GB/s, not 1.8 TB/s.
  static constexpr std::array units = {Unit{"GB/s", 1e9}, Unit{"MB/s", 1e6}, Unit{"B/s", 1}};
  static constexpr std::array large = {Unit{"TB/s", 1e12}, Unit{"GB/s", 1e9}, Unit{"B/s", 1}};
  constexpr double large_from = 1e13;
  if (bytes_per_s == 0) return nothing_value();
  return number_with(bytes_per_s, "bytes_per_s",
                     exact_text<double>(bytes_per_s,
                                        bytes_per_s < large_from ? from_fitting(units, bytes_per_s)
                                                                 : std::span<const Unit>(large),
                                        parse_rate));
}

ReadValue duration_value(TimeNs time_ns) {
  static constexpr std::array units = {Unit{"s", 1e9}, Unit{"ms", 1e6}, Unit{"us", 1e3},
                                       Unit{"ns", 1}};
  if (time_ns == never_ns) return nothing_value();
  const auto value = static_cast<double>(time_ns);
  return number_with(value, "ns",
                     exact_text<TimeNs>(time_ns, from_fitting(units, value), parse_duration));
}

ReadValue flops_value(double flops) {
  static constexpr std::array units = {Unit{"PFLOPS", 1e15}, Unit{"TFLOPS", 1e12},
                                       Unit{"GFLOPS", 1e9}};
  // Data sheets of GPUs have TFLOPS.
  constexpr double large_from = 1e16;
  return number_with(
      flops, "flops",
      exact_text<double>(flops, std::span<const Unit>(units).subspan(flops < large_from),
                         parse_flops));
}

const ReadValue* ReadValues::find(const ValuePath& path) const {
  const auto found = places_.find(path);
  return found == places_.end() ? nullptr : &values_[found->second];
}

void ReadValues::note(ValuePath path, ReadValue value) {
  value.path = std::move(path);
  const auto place = places_.try_emplace(value.path, values_.size());
  if (place.second)
    values_.push_back(std::move(value));
  else
    values_[place.first->second] = std::move(value);
}

void ReadValues::forget(const ValuePath& path) {
  std::erase_if(values_, [&](const ReadValue& value) { return value.path == path; });
  places_.clear();
  for (std::size_t i = 0; i < values_.size(); ++i) places_[values_[i].path] = i;
}

std::string yaml_text(const ReadValues& values) {
  std::vector<const ReadValue*> all;
  for (const ReadValue& value : values.all()) all.push_back(&value);
  YamlWriter writer;
  writer.write(all, 0, 0);
  return writer.out;
}

}  // namespace kvhaul
