// Internal to traces/: where each format keeps what a request needs, and rows read accordingly.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "traces/text_file.h"
#include "traces/trace.h"

namespace kvhaul {

struct TraceLayout {
  enum class Text : std::uint8_t { csv, json_lines, json_array };
  enum class Time : std::uint8_t { seconds, milliseconds, datetime };

  std::string_view name = {}, summary = {};
  Text text = Text::csv;
  Time time_unit = Time::seconds;
  std::uint32_t block_tokens = 0;
  bool time_required = true;
  // Names of columns or keys; empty: the format has none.
  std::string_view time = {}, input = {}, output = {}, prefix = {}, batch_size = {};
};
const TraceLayout& trace_layout(TraceFormat format);

/// One row as written. The views are good until the next row.
struct TraceRow {
  std::string_view time, input, output;
  std::vector<std::uint64_t> prefix_blocks;
  std::uint64_t line = 0;
};

class RowSource {
 public:
  virtual ~RowSource() = default;
  /// False at the end, with row.line where that is.
  virtual Result<bool> next(TraceRow& row) = 0;
};

/// The rows of a file, and what its first lines say about them.
struct OpenedRows {
  std::unique_ptr<RowSource> rows;
  std::uint32_t block_tokens = 0;
  bool has_arrivals = true;
};
Result<OpenedRows> open_csv_rows(TextInput input, TraceFormat format);
Result<OpenedRows> open_json_rows(TextInput input, TraceFormat format);

/// Whether the object that `line` begins with has all of these keys; its end may be missing.
bool json_has_keys(std::string_view line, std::string_view a, std::string_view b,
                   std::string_view c);

}  // namespace kvhaul
