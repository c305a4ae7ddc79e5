// Request traces: one interface over every format, read as a stream.
//
// A reader gives requests in file order, one at a time, and holds no more than one of them (and the
// few lines its format needs to look ahead). What it drops, clips or finds odd is counted and can be
// printed: nothing is left out silently. docs/traces.md has a page per format with its traps.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/units.h"

namespace kvhaul {

struct TraceRequest {
  TimeNs arrival_ns = 0;  // since the first request of the trace; never below the one before
  std::uint32_t input_tokens = 0;
  std::uint32_t output_tokens = 0;
  /// Identities of the leading blocks of TraceInfo::block_tokens tokens, chained: equal ids mean
  /// equal tokens up to the end of that block. Empty where the format has none.
  std::vector<std::uint64_t> prefix_blocks;
  std::uint64_t line = 0;  // where it stands in the file, from 1
};

enum class TraceFormat : std::uint8_t {
  azure,          // Azure LLM inference 2023 and 2024, CSV
  mooncake,       // Mooncake FAST'25 and arXiv, JSONL: milliseconds, 512-token blocks
  qwen,           // Qwen-Bailian, JSONL: the same keys, seconds, 16-token blocks
  vidur,          // vidur CSV, with or without arrival times
  burstgpt,       // BurstGPT 1, 2 and 3, CSV
  splitwise,      // splitwise-sim CSV
  distserve,      // DistServe JSON
  llmservingsim,  // LLMServingSim JSONL of vLLM runs
  kvhaul,         // our own CSV
};
inline constexpr std::size_t trace_format_count = 9;
std::string_view trace_format_name(TraceFormat format);
std::string_view trace_format_summary(TraceFormat format);
std::optional<TraceFormat> find_trace_format(std::string_view name);

struct TraceInfo {
  TraceFormat format = TraceFormat::kvhaul;
  std::uint32_t block_tokens = 0;  // of prefix_blocks; 0: the trace knows no prefixes
  bool has_arrivals = true;        // false: all arrive at once, lengths only
};

/// What became of the rows so far. rows = requests + zero_input.
struct TraceCounts {
  std::uint64_t rows = 0;
  std::uint64_t requests = 0;
  std::uint64_t zero_input = 0;    // dropped: nothing to prefill (failed requests of BurstGPT)
  std::uint64_t zero_output = 0;   // given out, to be reported as failed
  std::uint64_t out_of_order = 0;  // arrived before the row above it; given its time
  std::uint64_t odd_prefix = 0;    // number of prefix ids does not fit the input length
};

class TraceReader {
 public:
  virtual ~TraceReader() = default;
  virtual const TraceInfo& info() const = 0;
  virtual const TraceCounts& counts() const = 0;
  /// False at the end of the trace. Errors (bad_input) name file, line, what was expected and what
  /// was found. After an error or the end, the reader gives nothing more.
  virtual Result<bool> next(TraceRequest& request) = 0;
};

/// Opens a trace. Without a format it is sniffed from the first line, where that is unambiguous;
/// formats that look alike (mooncake and qwen) are an error that names the candidates.
Result<std::unique_ptr<TraceReader>> open_trace(const std::string& path,
                                                std::optional<TraceFormat> format);

}  // namespace kvhaul
