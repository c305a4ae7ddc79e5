// Strict reading of YAML: every value has a type and a unit, every key must be known, and the first
// thing that is wrong is said with file, line and what was expected.
//
// Readers do not return errors one by one: the first error is kept in the document, everything read
// after it gives defaults, and whoever began asks once at the end.
//
//   YamlDocument document(text, "my.yaml");
//   YamlMap root = document.root();
//   nic.rate = root.rate("rate");                    // required
//   nic.count = root.count("count", 1);              // default 1
//   root.done();                                     // unknown keys are errors
//   if (!document.ok()) return document.error();
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <yaml-cpp/yaml.h>

#include "core/result.h"
#include "core/units.h"
#include "scenarios/read_values.h"

namespace kvhaul {

class YamlMap;

class YamlDocument {
 public:
  /// `name` stands for the file in errors. A text that is no YAML, or no mapping, is an error at
  /// once.
  YamlDocument(const std::string& text, std::string name);

  YamlMap root();
  const std::string& name() const { return name_; }
  bool ok() const { return !error_; }
  const Error& error() const { return *error_; }
  /// Keeps the first one.
  void fail(const YAML::Node& at, const std::string& message);
  /// From now on everything that is asked for is noted there, too.
  void note_values(ReadValues* values) { values_ = values; }
  ReadValues* values() const { return values_; }

 private:
  std::string name_;
  YAML::Node root_;
  std::optional<Error> error_;
  ReadValues* values_ = nullptr;
};

class YamlMap {
 public:
  /// `path` is for messages, `at` leads here from the root.
  YamlMap(YamlDocument& document, const YAML::Node& node, std::string path, ValuePath at);

  const std::string& path() const { return path_; }
  void fail(const std::string& message) const { document_->fail(node_, message); }
  /// An error about the value of a key, or about this map where it has no such key.
  void fail_at(std::string_view key, const std::string& message) const;
  /// Of the file, from 1.
  int line() const;

  // Each of the following marks its key as known.
  bool has(std::string_view key);
  bool is_map(std::string_view key);

  // Without a default the key is required.
  std::string text(std::string_view key, std::optional<std::string> otherwise = {});
  bool flag(std::string_view key, std::optional<bool> otherwise = {});
  std::uint64_t count(std::string_view key, std::optional<std::uint64_t> otherwise = {},
                      std::uint64_t least = 0, std::uint64_t most = 0xffffffffu);
  double number(std::string_view key, std::optional<double> otherwise = {});
  Bytes bytes(std::string_view key, std::optional<Bytes> otherwise = {});
  double rate(std::string_view key, std::optional<double> otherwise = {});
  TimeNs duration(std::string_view key, std::optional<TimeNs> otherwise = {});
  /// Operations per second.
  double flops(std::string_view key);
  /// One of the names; its index.
  std::size_t choice(std::string_view key, std::span<const std::string_view> names,
                     std::optional<std::size_t> otherwise = {});

  /// An empty map when the key is not there.
  YamlMap map(std::string_view key);
  YamlMap required_map(std::string_view key);
  /// The items of a list of mappings; none when the key is not there.
  std::vector<YamlMap> maps(std::string_view key);
  std::vector<std::string> texts(std::string_view key);
  std::vector<std::uint64_t> counts(std::string_view key);
  /// The keys of this map, in the order of the file, all marked as known.
  std::vector<std::string> keys();

  // For values that a reader makes itself, where values are noted (note_values()).
  void note(std::string_view key, ReadValue value) const;
  void forget(std::string_view key) const;
  /// The other keys are paths from here, joined by dots.
  void note_other_way(std::string_view key,
                      std::vector<std::pair<std::string_view, ReadValue>> values) const;
  bool noting() const { return document_->values() != nullptr; }

  /// Every key that was not asked for is an error that names the nearest known one.
  void done();

 private:
  YAML::Node find(std::string_view key);
  YAML::Node need(std::string_view key);
  std::optional<std::string> scalar(std::string_view key, bool required, const char* what);
  template <class T>
  T dimensioned(std::string_view key, std::optional<T> otherwise,
                Result<T> (*parse)(std::string_view), const char* what);
  ValuePath below(std::string_view key) const;

  YamlDocument* document_;
  YAML::Node node_;
  std::string path_;
  ValuePath at_;
  std::set<std::string, std::less<>> known_;
};

/// The name most like `word`, or an empty string when none is near.
std::string nearest_name(std::string_view word, std::span<const std::string> names);

/// The text of a file, or an error that says why it cannot be read. Files above 1 MiB are refused.
Result<std::string> read_text_file(const std::string& path);

}  // namespace kvhaul
