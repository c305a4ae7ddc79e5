// The text of a scenario with other values at some keys, and everything else as it was written:
// comments, order, layout.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/result.h"

namespace kvhaul::cli {

class ScenarioText {
 public:
  /// A text that parse_scenario() takes.
  explicit ScenarioText(std::string text) : text_(std::move(text)) {}

  const std::string& text() const { return text_; }
  /// The value at keys joined by dots, such as "cluster.node_types.box.hosts.memory_rate"; nothing
  /// where there is none, or no plain one.
  std::optional<std::string> value(const std::string& path) const;
  /// Anything at all stands there.
  bool has(const std::string& path) const;
  /// Puts a value there, in the place of a plain one or of a map of such in braces. Keys that are
  /// missing on the way are written first into the map that is there. Fails (bad_input) where
  /// something else than a map stands in the way.
  Result<void> set(const std::string& path, const std::string& value);
  /// Puts other keys with their values in the place of one key, which must be there.
  Result<void> replace(const std::string& path,
                       const std::vector<std::pair<std::string, std::string>>& entries);

 private:
  std::string text_;
};

}  // namespace kvhaul::cli
