// JSON on standard output: what --json of a command prints, in the order in which it is composed.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "core/unit_text.h"

namespace kvhaul::cli {

using Json = nlohmann::ordered_json;

/// With a line feed at its end. Bytes that are no UTF-8, of a file's name or out of a trace, are
/// replaced.
inline std::string json_text(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

/// As in the files of a run: six significant digits.
inline double rounded(double value) { return std::stod(number_text(value, 6)); }

}  // namespace kvhaul::cli
