#include "scenarios/yaml_reader.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include <yaml-cpp/eventhandler.h>

#include "core/unit_text.h"

namespace kvhaul {
namespace {

constexpr std::size_t file_bytes_max = MiB;   // what people write by hand is far smaller
constexpr TimeNs longest = 1'000'000 * s_ns;  // keeps sums of times in range
constexpr std::size_t word_bytes_max = 200;

/// What may become part of a message, a file name or a summary.
bool is_word(const std::string& text) {
  return !text.empty() && text.size() <= word_bytes_max &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

/// Hears of a document and remembers only where it begins.
struct DocumentLine final : YAML::EventHandler {
  int line = 0;
  void OnDocumentStart(const YAML::Mark& mark) override { line = mark.line + 1; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t,
                const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}
};

/// Where a second document begins, or 0. YAML::LoadAll() would tell, but never returns from some
/// damaged texts: what it cannot read it takes for one empty document after the other.
int second_document_line(const std::string& text) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  DocumentLine document;
  if (!parser.HandleNextDocument(document)) return 0;
  document.line = 0;
  return parser.HandleNextDocument(document) ? std::max(1, document.line) : 0;
}

}  // namespace

std::string nearest_name(std::string_view word, std::span<const std::string> names) {
  std::string best;
  std::size_t least = std::max<std::size_t>(2, word.size() / 2) + 1;
  for (const std::string& name : names) {
    const std::size_t distance = edit_distance(word, name);
    if (distance < least) least = distance, best = name;
  }
  return best;
}

Result<std::string> read_text_file(const std::string& path) {
  std::error_code status;
  if (std::filesystem::is_directory(path, status))
    return Error::bad_input(path + ": expected a file, found a directory");
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error::bad_input(path + ": cannot be read: " + std::strerror(errno));
  std::string text;
  std::vector<char> block(1 << 16);
  while (file.read(block.data(), static_cast<std::streamsize>(block.size())), file.gcount() > 0) {
    text.append(block.data(), static_cast<std::size_t>(file.gcount()));
    if (text.size() > file_bytes_max)
      return Error::bad_input(path + ": expected a file of at most 1 MiB, found a larger one");
  }
  return text;
}

// ---- YamlDocument ---------------------------------------------------------------------------

YamlDocument::YamlDocument(const std::string& text, std::string name) : name_(std::move(name)) {
  if (text.find('\0') != std::string::npos) {
    error_ = Error::bad_input(name_ + ":1: expected a text file, found a binary one");
    return;
  }
  int second_line = 0;
  try {
    root_ = YAML::Load(text);
    second_line = second_document_line(text);
  } catch (const YAML::Exception& problem) {
    error_ = Error::bad_input(
        name_ + ":" + std::to_string(std::max(0, problem.mark.line) + 1) +
        ": expected YAML: " + (is_word(problem.msg) ? problem.msg : "it is damaged here"));
    return;
  }
  if (second_line != 0)
    error_ = Error::bad_input(name_ + ":" + std::to_string(second_line) +
                              ": expected one document, found the beginning of another");
  else if (!root_.IsMap())
    error_ = Error::bad_input(name_ + ":1: expected a mapping of keys to values, found " +
                              (root_.IsNull() ? "nothing" : "something else"));
}

YamlMap YamlDocument::root() { return {*this, ok() ? root_ : YAML::Node(), "", {}}; }

static int line_of(const YAML::Node& at) {
  return at.IsDefined() && at.Mark().line >= 0 ? at.Mark().line + 1 : 1;
}

void YamlDocument::fail(const YAML::Node& at, const std::string& message) {
  if (error_) return;
  error_ = Error::bad_input(name_ + ":" + std::to_string(line_of(at)) + ": " + message);
}

// ---- YamlMap --------------------------------------------------------------------------------

int YamlMap::line() const { return line_of(node_); }

YamlMap::YamlMap(YamlDocument& document, const YAML::Node& node, std::string path, ValuePath at)
    : document_(&document), node_(node), path_(std::move(path)), at_(std::move(at)) {
  if (node_.IsDefined() && !node_.IsNull() && !node_.IsMap()) {
    document.fail(node_, "expected a mapping for '" + path_ + "'");
    node_ = YAML::Node();
  }
  if (!node_.IsDefined() || !node_.IsMap()) return;
  std::set<std::string> seen;
  for (const auto& entry : node_) {
    if (!entry.first.IsScalar() || !is_word(entry.first.Scalar()))
      document.fail(entry.first, "expected a plain word as key");
    else if (!seen.insert(entry.first.Scalar()).second)
      document.fail(entry.first,
                    "the key " + in_quotes(entry.first.Scalar()) + " stands here twice");
    else if (entry.second.IsNull())
      document.fail(entry.first,
                    "expected a value for " + in_quotes(entry.first.Scalar()) + ", found nothing");
  }
}

bool YamlMap::has(std::string_view key) {
  known_.emplace(key);
  if (!document_->ok() || !node_.IsDefined() || !node_.IsMap()) return false;
  const YAML::Node value = node_[std::string(key)];
  return value.IsDefined() && !value.IsNull();
}

bool YamlMap::is_map(std::string_view key) { return has(key) && node_[std::string(key)].IsMap(); }

void YamlMap::fail_at(std::string_view key, const std::string& message) const {
  const bool there = node_.IsDefined() && node_.IsMap() && node_[std::string(key)].IsDefined();
  document_->fail(there ? node_[std::string(key)] : node_, message);
}

YAML::Node YamlMap::find(std::string_view key) {
  return has(key) ? node_[std::string(key)] : YAML::Node(YAML::NodeType::Undefined);
}

YAML::Node YamlMap::need(std::string_view key) {
  YAML::Node value = find(key);
  if (!value.IsDefined())
    document_->fail(node_, "expected '" + std::string(key) + "'" +
                               (path_.empty() ? "" : " in '" + path_ + "'") + ", which is missing");
  return value;
}

std::optional<std::string> YamlMap::scalar(std::string_view key, bool required, const char* what) {
  const YAML::Node value = required ? need(key) : find(key);
  if (!value.IsDefined()) return std::nullopt;
  if (value.IsScalar()) return value.Scalar();
  document_->fail(value, "'" + std::string(key) + "': expected " + what);
  return std::nullopt;
}

ValuePath YamlMap::below(std::string_view key) const {
  ValuePath path = at_;
  path.emplace_back(key);
  return path;
}

void YamlMap::note(std::string_view key, ReadValue value) const {
  if (noting()) document_->values()->note(below(key), std::move(value));
}

void YamlMap::forget(std::string_view key) const {
  if (noting()) document_->values()->forget(below(key));
}

void YamlMap::note_other_way(std::string_view key,
                             std::vector<std::pair<std::string_view, ReadValue>> values) const {
  if (!noting()) return;
  ReadValues::OtherWay way{below(key), {}};
  for (auto& [other, value] : values) {
    value.path = at_;
    for (std::size_t at = 0; at <= other.size();) {
      const std::size_t end = std::min(other.find('.', at), other.size());
      value.path.emplace_back(other.substr(at, end - at));
      at = end + 1;
    }
    way.values.push_back(std::move(value));
  }
  document_->values()->note_other_way(std::move(way));
}

std::string YamlMap::text(std::string_view key, std::optional<std::string> otherwise) {
  const auto found = scalar(key, !otherwise, "a word");
  std::string text = found ? *found : otherwise.value_or("");
  if (found && !is_word(*found)) {
    fail_at(key, "'" + std::string(key) + "': expected a word, found " + in_quotes(*found));
    text.clear();
  }
  if (noting()) note(key, word_value(text));
  return text;
}

bool YamlMap::flag(std::string_view key, std::optional<bool> otherwise) {
  const auto text = scalar(key, !otherwise, "true or false");
  const bool flag = text ? *text == "true" : otherwise.value_or(false);
  if (text && *text != "true" && *text != "false")
    fail_at(key, "'" + std::string(key) + "': expected true or false, found " + in_quotes(*text));
  if (noting()) note(key, word_value(flag ? "true" : "false"));
  return flag;
}

std::uint64_t YamlMap::count(std::string_view key, std::optional<std::uint64_t> otherwise,
                             std::uint64_t least, std::uint64_t most) {
  const std::string what =
      "a whole number from " + std::to_string(least) + " to " + std::to_string(most);
  const auto text = scalar(key, !otherwise, what.c_str());
  std::uint64_t value = otherwise.value_or(least);
  if (text) {
    const char* end = text->data() + text->size();
    const auto [rest, status] = std::from_chars(text->data(), end, value);
    if (status != std::errc() || rest != end || value < least || value > most) {
      fail_at(key, "'" + std::string(key) + "': expected " + what + ", found " + in_quotes(*text));
      value = least;
    }
  }
  if (noting()) note(key, count_value(value));
  return value;
}

double YamlMap::number(std::string_view key, std::optional<double> otherwise) {
  const auto text = scalar(key, !otherwise, "a number");
  double value = otherwise.value_or(0);
  if (text) {
    const char* end = text->data() + text->size();
    const auto [rest, status] = std::from_chars(text->data(), end, value);
    if (status != std::errc() || rest != end || !std::isfinite(value)) {
      fail_at(key, "'" + std::string(key) + "': expected a number, found " + in_quotes(*text));
      value = 0;
    }
  }
  if (noting()) note(key, number_value(value));
  return value;
}

template <class T>
T YamlMap::dimensioned(std::string_view key, std::optional<T> otherwise,
                       Result<T> (*parse)(std::string_view), const char* what) {
  const auto text = scalar(key, !otherwise, what);
  if (!text) return otherwise.value_or(T{1});
  const Result<T> value = parse(*text);
  if (value) return *value;
  fail_at(key, "'" + std::string(key) + "': " + value.error().message);
  return T{1};
}

Bytes YamlMap::bytes(std::string_view key, std::optional<Bytes> otherwise) {
  const Bytes value = dimensioned<Bytes>(key, otherwise, parse_bytes, "a size with its unit");
  if (noting()) note(key, bytes_value(value));
  return value;
}
double YamlMap::rate(std::string_view key, std::optional<double> otherwise) {
  const double value = dimensioned<double>(key, otherwise, parse_rate, "a rate with its unit");
  constexpr double slowest = 1e6;
  if (has(key) && document_->ok() && value < slowest)
    fail_at(key, "'" + std::string(key) + "': expected a rate of at least 1 MB/s, found " +
                     rate_text(value));
  if (noting()) note(key, rate_value(value));
  return value;
}
TimeNs YamlMap::duration(std::string_view key, std::optional<TimeNs> otherwise) {
  const TimeNs value =
      dimensioned<TimeNs>(key, otherwise, parse_duration, "a duration with its unit");
  if (value > longest && has(key))
    fail_at(key, "'" + std::string(key) + "': expected a duration of at most a million seconds");
  if (noting()) note(key, duration_value(value));
  return value;
}
double YamlMap::flops(std::string_view key) {
  const double value =
      dimensioned<double>(key, {}, parse_flops, "operations per second with their unit");
  if (noting()) note(key, flops_value(value));
  return value;
}

std::size_t YamlMap::choice(std::string_view key, std::span<const std::string_view> names,
                            std::optional<std::size_t> otherwise) {
  std::string all;
  for (const std::string_view name : names) all += (all.empty() ? "" : ", ") + std::string(name);
  const auto text = scalar(key, !otherwise, ("one of " + all).c_str());
  std::size_t index = otherwise.value_or(0);
  if (text) {
    const auto found = std::find(names.begin(), names.end(), *text);
    if (found != names.end()) {
      index = static_cast<std::size_t>(found - names.begin());
    } else {
      fail_at(key,
              "'" + std::string(key) + "': expected one of " + all + ", found " + in_quotes(*text));
      index = 0;
    }
  }
  if (noting()) note(key, word_value(std::string(names[index])));
  return index;
}

YamlMap YamlMap::map(std::string_view key) {
  return {*document_, find(key), path_.empty() ? std::string(key) : path_ + "." + std::string(key),
          below(key)};
}

YamlMap YamlMap::required_map(std::string_view key) {
  need(key);
  return map(key);
}

std::vector<YamlMap> YamlMap::maps(std::string_view key) {
  std::vector<YamlMap> items;
  const YAML::Node list = find(key);
  if (!list.IsDefined()) return items;
  if (!list.IsSequence()) {
    document_->fail(list, "'" + std::string(key) + "': expected a list");
    return items;
  }
  for (const auto& item : list) {
    if (!item.IsMap())
      document_->fail(item, "'" + std::string(key) + "': expected a list of mappings");
    ValuePath at = below(key);
    at.push_back(item_key(items.size()));
    items.emplace_back(*document_, item, std::string(key), std::move(at));
  }
  return items;
}

std::vector<std::string> YamlMap::texts(std::string_view key) {
  std::vector<std::string> items;
  const YAML::Node list = find(key);
  if (!list.IsDefined()) return items;
  if (!list.IsSequence()) {
    document_->fail(list, "'" + std::string(key) + "': expected a list");
    return items;
  }
  for (const auto& item : list) {
    if (!item.IsScalar() || !is_word(item.Scalar())) {
      document_->fail(item, "'" + std::string(key) + "': expected a list of words");
      return {};
    }
    items.push_back(item.Scalar());
  }
  if (noting()) note(key, list_value(items));
  return items;
}

std::vector<std::uint64_t> YamlMap::counts(std::string_view key) {
  std::vector<std::uint64_t> items;
  for (const std::string& text : texts(key)) {
    std::uint64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [rest, status] = std::from_chars(text.data(), end, value);
    if (status != std::errc() || rest != end || value > 0xffffffffu) {
      fail_at(key, "'" + std::string(key) + "': expected whole numbers, found " + in_quotes(text));
      return {};
    }
    items.push_back(value);
  }
  return items;
}

std::vector<std::string> YamlMap::keys() {
  std::vector<std::string> names;
  if (!document_->ok() || !node_.IsDefined() || !node_.IsMap()) return names;
  for (const auto& entry : node_) {
    names.push_back(entry.first.Scalar());
    known_.insert(names.back());
  }
  return names;
}

void YamlMap::done() {
  if (!document_->ok() || !node_.IsDefined() || !node_.IsMap()) return;
  const std::vector<std::string> names(known_.begin(), known_.end());
  for (const auto& entry : node_) {
    const std::string& key = entry.first.Scalar();
    if (known_.count(key) != 0) continue;
    const std::string near = nearest_name(key, names);
    std::string hint;
    if (!near.empty()) {
      hint = "; did you mean '" + near + "'?";
    } else {
      for (const std::string& name : names) hint += (hint.empty() ? "; known are " : ", ") + name;
    }
    document_->fail(entry.first, "unknown key " + in_quotes(key) +
                                     (path_.empty() ? "" : " in '" + path_ + "'") + hint);
    return;
  }
}

}  // namespace kvhaul
