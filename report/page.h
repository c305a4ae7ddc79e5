// A report as one HTML file that opens offline: title, the sentence, the data as JSON, and the
// style and scripts that draw it.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "core/result.h"
#include "traces/output_file.h"

namespace kvhaul::report {

struct Page {
  std::string title;
  std::string sentence;  // the answer; stands first, and is there without scripts, too
};

/// `data` has a key `kind`: run, compare or sweep; page/main.js gives it to who draws that.
std::string page_text(const Page& page, const nlohmann::ordered_json& data);
/// Writes it to a file and closes that; fails when it cannot be written.
Result<void> write_page(OutputFile file, const Page& page, const nlohmann::ordered_json& data);

/// Text between tags, or in an attribute.
std::string html_text(const std::string& text);

}  // namespace kvhaul::report
