// Request traces: one interface over every format, read as a stream.
//
// A reader gives requests in file order, one at a time, and holds no more than one of them (and the
// few lines its format needs to look ahead): memory does not grow with the file. What it drops,
// clips or finds odd is counted and can be printed: nothing is left out silently. docs/traces.md
// has a section per format with its traps.
//
//   Result<TraceReaderPtr> trace = open_trace(path, TraceFormat::mooncake);
//   if (!trace) return trace.error();
//   TraceRequest request;
//   for (;;) {
//     Result<bool> more = (*trace)->next(request);
//     if (!more) return more.error();
//     if (!*more) break;
//     use(request);
//   }
//   std::puts(describe_counts((*trace)->counts()).c_str());
#pragma once

#include <cstdint>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/units.h"

namespace kvhaul {

/// The longest input or output a trace may name; the sum of two still fits in 32 bits.
inline constexpr std::uint32_t trace_tokens_max = 2'147'483'647;

/// No request arrives later than 73 years after time 0: what a replay adds can still be counted.
inline constexpr TimeNs trace_span_max_ns = TimeNs{1} << 61;

struct TraceRequest {
  /// Since the start of the trace (in the formats of others: their first request); never below the
  /// one before.
  TimeNs arrival_ns = 0;
  std::uint32_t input_tokens = 0;  // above 0
  std::uint32_t output_tokens = 0;
  /// Identities of the leading blocks of TraceInfo::block_tokens tokens, chained: equal ids mean
  /// equal tokens up to the end of that block. Never more than the input has blocks (the last one
  /// may be partial); empty where the format has none.
  std::vector<std::uint64_t> prefix_blocks;
  /// Which conversation it is a turn of, by a number that says nothing else; 0: not known.
  std::uint64_t session = 0;
  std::uint64_t line = 0;  // where it stands in the file, from 1; 0: not from a file
};

enum class TraceFormat : std::uint8_t {
  azure,                // Azure LLM inference 2023 and 2024, CSV
  mooncake,             // Mooncake FAST'25 and arXiv, JSONL: milliseconds, 512-token blocks
  qwen,                 // Qwen-Bailian, JSONL: the same keys, seconds, 16-token blocks
  vidur,                // vidur CSV, with or without arrival times
  burstgpt,             // BurstGPT 1, 2 and 3, CSV
  splitwise,            // splitwise-sim CSV
  distserve,            // DistServe JSON
  llmservingsim,        // LLMServingSim JSONL of vLLM runs
  llmservingsim_input,  // what LLMServingSim itself reads, JSONL
  kvhaul,               // our own CSV
  columns,              // any CSV or JSON whose columns the user names
};
inline constexpr std::size_t trace_format_count = 11;
std::string_view trace_format_name(TraceFormat format);
std::string_view trace_format_summary(TraceFormat format);
std::optional<TraceFormat> find_trace_format(std::string_view name);

struct TraceInfo {
  TraceFormat format = TraceFormat::kvhaul;  // kvhaul also for generated and merged traces
  std::uint32_t block_tokens = 0;            // of prefix_blocks; 0: the trace knows no prefixes
  bool has_arrivals = true;                  // false: all arrive at once, lengths only
  bool has_sessions = false;                 // some requests may name theirs
  std::string assumed;  // what the file does not say and was taken for granted; empty: nothing
};

/// What became of the rows so far. rows = requests + zero_input + left_out.
struct TraceCounts {
  std::uint64_t rows = 0;
  std::uint64_t requests = 0;
  std::uint64_t zero_input = 0;    // dropped: nothing to prefill (failed requests of BurstGPT)
  std::uint64_t left_out = 0;      // dropped: outside a cut, or ServeGen knows no lengths for it
  std::uint64_t zero_output = 0;   // given out, to be reported as failed
  std::uint64_t out_of_order = 0;  // arrived before the row above it; given its time
  std::uint64_t odd_prefix = 0;    // number of prefix ids does not fit the input; surplus ids cut
  std::uint64_t later_turns = 0;  // of sessions: placed after the turn before, whose end is unknown
  std::uint64_t further_parts = 0;  // traces behind the first in one file, where told to look
  std::uint64_t spread = 0;         // moved from the time of their batch into the gap after it
  std::uint64_t clipped = 0;        // input or output shortened to fit the model's context
};
/// One line for people: "19,366 rows, 19,366 requests", then whatever else is not zero.
std::string describe_counts(const TraceCounts& counts);

class TraceReader {
 public:
  virtual ~TraceReader() = default;
  virtual const TraceInfo& info() const = 0;
  /// Of all rows read so far; a reader that looks ahead has read more than it gave.
  virtual TraceCounts counts() const = 0;
  /// False at the end of the trace. Errors (bad_input; failed where the disk does) are one line
  /// that names file, line, what was expected and what was found. After an error or the end, the
  /// reader gives nothing more. A file without any row is an error. Every field of `request` is
  /// set; pass the same one each time, and its vector is reused.
  virtual Result<bool> next(TraceRequest& request) = 0;
};
using TraceReaderPtr = std::unique_ptr<TraceReader>;

/// What a file does not say about itself.
struct TraceReading {
  /// None: recognised by the first lines.
  std::optional<TraceFormat> format = {};
  /// How many tokens a prefix id stands for. None: as in the format.
  std::optional<std::uint32_t> block_tokens = {};
  /// "arrival=NAME,input=NAME,output=NAME": columns or keys with other names than those of the
  /// format; docs/traces.md has all of it.
  std::string columns = {};
  /// Requests keep the times of their rows in whatever order those are: for sorting. They may be
  /// below 0.
  bool any_order = false;
  /// Time 0 is that of the file's own clock, not the first request.
  bool times_as_written = false;
  /// The file may hold several traces, one behind the other: another begins where a first line
  /// stands again, and where times go back by more than trace_back_max_ns. Requests are given in
  /// the order of the file. Prefix ids and sessions of two traces mean different things, unless
  /// `parts_share_ids`.
  bool parts = false, parts_share_ids = false;
};

/// A row may be that much earlier than one above it: clocks of several writers. It is given the
/// time of that one and counted. A row that is earlier still is an error, which names 'kvhaul trace
/// sort' and 'merge --parts': a file that begins anew in its middle would become one burst.
inline constexpr TimeNs trace_back_max_ns = s_ns;

/// Opens a trace; "-" is standard input. Gzip data is known by its first bytes. Formats that look
/// alike and cannot be told apart are an error that names the option to give.
Result<TraceReaderPtr> open_trace(const std::string& path, const TraceReading& reading);

/// The same over bytes that are already open; `name` is what errors call them.
Result<TraceReaderPtr> read_trace(std::unique_ptr<std::istream> bytes, std::string name,
                                  const TraceReading& reading);

/// With nothing said but the format.
inline Result<TraceReaderPtr> open_trace(const std::string& path,
                                         std::optional<TraceFormat> format) {
  return open_trace(path, TraceReading{.format = format});
}
Result<TraceReaderPtr> read_trace(std::unique_ptr<std::istream> bytes, std::string name,
                                  std::optional<TraceFormat> format);

}  // namespace kvhaul
