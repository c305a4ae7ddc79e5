// Internal to traces/: where each format keeps what a request needs, and rows read accordingly.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/units.h"
#include "traces/block_sizes.h"
#include "traces/text_file.h"
#include "traces/trace.h"

namespace kvhaul {

struct TraceLayout {
  enum class Text : std::uint8_t { csv, json_lines, json_array };
  enum class Time : std::uint8_t { number, datetime, either };

  std::string_view name = {}, summary = {};
  Text text = Text::csv;
  Time time_kind = Time::number;
  TimeNs time_unit_ns = s_ns;  // of numbers; s_ns, ms_ns, us_ns or 1
  std::uint32_t block_tokens = 0;
  bool time_required = true, prefix_required = false, session_required = false;
  // Names of columns or keys; empty: the format has none.
  std::string_view time = {}, input = {}, output = {}, prefix = {}, batch_size = {};
  /// Which conversation a request belongs to; equal texts, equal conversations.
  std::string_view session = {};
  /// Instead of `time` in later turns of a session: from the end of the turn before, in
  /// time_unit_ns.
  std::string_view delay = {};
  /// Instead of input and output: a list of such turns, each with the pause after it under
  /// `pause_after`.
  std::string_view turns = {}, pause_after = {};
  /// Instead of prefix ids, and with each turn of a session: the tokens of the input themselves.
  std::string_view tokens = {};
};
const TraceLayout& trace_layout(TraceFormat format);

/// One of the requests of a row that holds a session. As written; pause may be empty.
struct TraceTurn {
  std::string input, output, pause;
  std::vector<std::uint64_t> prefix_blocks;
  std::optional<std::uint64_t> tokens;  // how many are listed
};

/// One row as written. The views are good until the next row.
struct TraceRow {
  std::string_view time, input, output, session, delay;
  std::vector<std::uint64_t> prefix_blocks;
  std::vector<TraceTurn> turns;  // instead of input and output
  std::uint64_t line = 0;
  /// No row, but the beginning of another file that was put behind this one.
  bool begins_again = false;
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
  bool has_arrivals = true, has_sessions = false;
};
/// What the names in `layout` view must outlive the rows.
Result<OpenedRows> open_csv_rows(TextInput input, TraceLayout layout);
Result<OpenedRows> open_json_rows(TextInput input, const TraceLayout& layout);

/// What the first lines of a file of JSON objects say about its prefix ids.
struct HeadPrefixes {
  bool any = false;  // some row has a list of them, be it empty
  BlockSizes sizes;
};
HeadPrefixes prefixes_in_head(std::string_view head, const TraceLayout& layout);

/// The keys of the object that `line` begins with; its end may be missing.
std::vector<std::string> json_keys(std::string_view line);

/// Puts the names of --columns into `layout`, which views what is returned.
Result<std::shared_ptr<const void>> name_columns(const std::string& columns, TraceFormat format,
                                                 TraceLayout& layout);

/// How a file is read: what the user says of it, and for the rest what its first bytes do.
struct Recognised {
  TraceFormat format = TraceFormat::kvhaul;
  TraceLayout layout;
  std::string assumed;                // for people; empty: nothing
  std::shared_ptr<const void> names;  // what layout views, where the user named columns
};
Result<Recognised> recognise(std::string_view head, const std::string& name,
                             const TraceReading& reading);

}  // namespace kvhaul
