#include "traces/trace.h"

#include <algorithm>
#include <array>
#include <istream>
#include <limits>
#include <utility>

#include "traces/fields.h"
#include "traces/layout.h"

namespace kvhaul {
namespace {

using Text = TraceLayout::Text;
using Time = TraceLayout::Time;

// In the order of TraceFormat.
constexpr std::array<TraceLayout, trace_format_count> layouts = {{
    {.name = "azure",
     .summary = "Azure LLM inference 2023 and 2024, CSV",
     .time_unit = Time::datetime,
     .time = "TIMESTAMP",
     .input = "ContextTokens",
     .output = "GeneratedTokens"},
    {.name = "mooncake",
     .summary = "Mooncake, JSONL: times in ms, 512-token blocks",
     .text = Text::json_lines,
     .time_unit = Time::milliseconds,
     .block_tokens = 512,
     .time = "timestamp",
     .input = "input_length",
     .output = "output_length",
     .prefix = "hash_ids"},
    {.name = "qwen",
     .summary = "Qwen-Bailian, JSONL: times in s, 16-token blocks",
     .text = Text::json_lines,
     .block_tokens = 16,
     .time = "timestamp",
     .input = "input_length",
     .output = "output_length",
     .prefix = "hash_ids"},
    {.name = "vidur",
     .summary = "vidur, CSV, with or without arrival times",
     .time_required = false,
     .time = "arrived_at",
     .input = "num_prefill_tokens",
     .output = "num_decode_tokens"},
    {.name = "burstgpt",
     .summary = "BurstGPT 1, 2 and 3, CSV",
     .time = "Timestamp",
     .input = "Request tokens",
     .output = "Response tokens"},
    {.name = "splitwise",
     .summary = "splitwise-sim, CSV",
     .time = "arrival_timestamp",
     .input = "prompt_size",
     .output = "token_size",
     .batch_size = "batch_size"},
    {.name = "distserve",
     .summary = "DistServe, JSON array of results",
     .text = Text::json_array,
     .time = "start_time",
     .input = "prompt_len",
     .output = "output_len"},
    {.name = "llmservingsim",
     .summary = "LLMServingSim, JSONL of vLLM runs",
     .text = Text::json_lines,
     .time = "arrival_time",
     .input = "input_toks",
     .output = "output_toks"},
    {.name = "kvhaul",
     .summary = "kvhaul's own CSV",
     .time_required = false,
     .time = "arrival_s",
     .input = "input_tokens",
     .output = "output_tokens",
     .prefix = "prefix_blocks"},
}};

std::uint64_t blocks_of(std::uint32_t tokens, std::uint32_t block_tokens) {
  return block_tokens == 0 ? 0 : (std::uint64_t{tokens} + block_tokens - 1) / block_tokens;
}

/// Turns the rows of any format into requests: units, order, and what is counted.
class FileReader final : public TraceReader {
 public:
  FileReader(std::string name, TraceFormat format, OpenedRows opened)
      : name_(std::move(name)),
        layout_(trace_layout(format)),
        info_{format, opened.block_tokens, opened.has_arrivals},
        rows_(std::move(opened.rows)) {
    if (format == TraceFormat::kvhaul) start_ns_ = 0;
  }

  const TraceInfo& info() const override { return info_; }
  TraceCounts counts() const override { return counts_; }

  Result<bool> next(TraceRequest& request) override {
    while (rows_ != nullptr) {
      Result<bool> more = next_row(request);
      if (!more || !*more) rows_.reset();
      if (!more || !*more || request.input_tokens > 0) return more;
    }
    return false;
  }

 private:
  Result<bool> next_row(TraceRequest& request) {
    Result<bool> more = rows_->next(row_);
    if (!more) return more;
    if (!*more && counts_.rows == 0)
      return expected_not(name_, std::max<std::uint64_t>(row_.line, 1), "at least one request",
                          "the end of the file");
    if (!*more) return false;

    const std::optional<std::uint32_t> input = parse_tokens(row_.input);
    if (!input) return bad("input tokens from 0 to 2147483647", layout_.input, row_.input);
    const std::optional<std::uint32_t> output = parse_tokens(row_.output);
    if (!output) return bad("output tokens from 0 to 2147483647", layout_.output, row_.output);
    const std::optional<TimeNs> time_ns = info_.has_arrivals ? parse_time() : 0;
    if (!time_ns) return bad(time_words(), layout_.time, row_.time);

    ++counts_.rows;
    if (*time_ns < latest_ns_) ++counts_.out_of_order;
    latest_ns_ = std::max(latest_ns_, *time_ns);
    request.input_tokens = *input;
    if (*input == 0) {
      ++counts_.zero_input;
      return true;
    }
    ++counts_.requests;
    if (*output == 0) ++counts_.zero_output;
    if (!start_ns_) start_ns_ = latest_ns_;
    request.arrival_ns = latest_ns_ - *start_ns_;
    if (request.arrival_ns > trace_span_max_ns)
      return bad("an arrival within 73 years of time 0", layout_.time, row_.time);
    request.output_tokens = *output;
    request.line = row_.line;
    take_prefix(request);
    return true;
  }

  std::optional<TimeNs> parse_time() const {
    switch (layout_.time_unit) {
      case Time::datetime:
        return parse_datetime(row_.time);
      case Time::milliseconds:
        return kvhaul::parse_time(row_.time, ms_ns);
      case Time::seconds:
        break;
    }
    return parse_seconds(row_.time);
  }
  std::string_view time_words() const {
    switch (layout_.time_unit) {
      case Time::datetime:
        return "a time such as 2023-11-16 18:17:03.9799600";
      case Time::milliseconds:
        return "milliseconds from 0 to 9000000000000";
      case Time::seconds:
        break;
    }
    return "seconds from 0 to 9000000000";
  }

  void take_prefix(TraceRequest& request) {
    std::swap(request.prefix_blocks, row_.prefix_blocks);
    const std::uint64_t blocks = blocks_of(request.input_tokens, info_.block_tokens);
    const std::uint64_t ids = request.prefix_blocks.size();
    // Our own format may name fewer: the rest is shared with nobody.
    const bool fits = ids == blocks || (info_.format == TraceFormat::kvhaul && ids < blocks);
    if (!fits) ++counts_.odd_prefix;
    if (ids > blocks) request.prefix_blocks.resize(blocks);
  }

  Error bad(std::string_view expected, std::string_view column, std::string_view found) const {
    return expected_at(name_, row_.line, std::string(expected).append(" in '").append(column) + "'",
                       found);
  }

  std::string name_;
  const TraceLayout& layout_;
  TraceInfo info_;
  std::unique_ptr<RowSource> rows_;  // null after the end or an error
  TraceRow row_;
  TraceCounts counts_;
  TimeNs latest_ns_ = std::numeric_limits<TimeNs>::min();  // as the file counts
  std::optional<TimeNs> start_ns_;                         // of the first request given out
};

bool header_has(const std::vector<std::string>& header, std::string_view column) {
  return std::ranges::find(header, column) != header.end();
}

bool fits(const TraceLayout& layout, std::string_view line) {
  switch (layout.text) {
    case Text::json_array:
      return line.starts_with('[');
    case Text::json_lines:
      return json_has_keys(line, layout.time, layout.input, layout.output);
    case Text::csv:
      break;
  }
  const std::vector<std::string> header = csv_fields(line);
  return header_has(header, layout.input) && header_has(header, layout.output) &&
         (!layout.time_required || header_has(header, layout.time));
}

Result<TraceFormat> sniff(std::string_view head, const std::string& name) {
  const std::string_view line = line_of(head, 1);
  if (line.starts_with("# kvhaul trace ")) return TraceFormat::kvhaul;
  if (fits(trace_layout(TraceFormat::mooncake), line)) {
    // Qwen has the same keys and more; without those nobody can tell ms from s.
    if (json_has_keys(line, "chat_id", "parent_chat_id", "turn")) return TraceFormat::qwen;
    return Error::bad_input(name +
                            ":1: mooncake (ms, 512-token blocks) and qwen (s, 16-token blocks) "
                            "look alike; say which with --format mooncake or --format qwen");
  }
  for (std::size_t i = 0; i < layouts.size(); ++i)
    if (fits(layouts[i], line)) return static_cast<TraceFormat>(i);
  return expected_at(name, 1, "the first line of a known trace format (--format says which)", line);
}

}  // namespace

const TraceLayout& trace_layout(TraceFormat format) {
  return layouts[static_cast<std::size_t>(format)];
}

std::string_view trace_format_name(TraceFormat format) { return trace_layout(format).name; }
std::string_view trace_format_summary(TraceFormat format) { return trace_layout(format).summary; }

std::optional<TraceFormat> find_trace_format(std::string_view name) {
  for (std::size_t i = 0; i < layouts.size(); ++i)
    if (layouts[i].name == name) return static_cast<TraceFormat>(i);
  return std::nullopt;
}

std::string describe_counts(const TraceCounts& counts) {
  std::string text = std::to_string(counts.rows) + " rows, ";
  text += std::to_string(counts.requests) + " requests";
  const auto add = [&](std::uint64_t count, std::string_view what) {
    if (count > 0) text.append("; ").append(std::to_string(count)).append(what);
  };
  add(counts.zero_input, " dropped: no input tokens");
  add(counts.left_out, " left out: outside the cut, or of unknown length");
  add(counts.zero_output, " without output tokens");
  add(counts.out_of_order, " out of order: given the time of the row before");
  add(counts.odd_prefix, " with a number of prefix ids that does not fit the input");
  add(counts.spread, " spread from their batch over the gap after it");
  add(counts.clipped, " clipped to the context");
  return text;
}

namespace {

Result<TraceReaderPtr> read_text(TextInput input, std::optional<TraceFormat> format) {
  const std::string name = input.name;
  if (!format) {
    const Result<TraceFormat> sniffed = sniff(input.head, name);
    if (!sniffed) return sniffed.error();
    format = *sniffed;
  }
  Result<OpenedRows> opened = trace_layout(*format).text == Text::csv
                                  ? open_csv_rows(std::move(input), *format)
                                  : open_json_rows(std::move(input), *format);
  if (!opened) return opened.error();
  return TraceReaderPtr(std::make_unique<FileReader>(name, *format, std::move(*opened)));
}

}  // namespace

Result<TraceReaderPtr> open_trace(const std::string& path, std::optional<TraceFormat> format) {
  Result<TextInput> input = path == "-" ? open_standard_input() : open_text(path);
  if (!input) return input.error();
  return read_text(std::move(*input), format);
}

Result<TraceReaderPtr> read_trace(std::unique_ptr<std::istream> bytes, std::string name,
                                  std::optional<TraceFormat> format) {
  Result<TextInput> input = begin_text(std::move(bytes), std::move(name));
  if (!input) return input.error();
  return read_text(std::move(*input), format);
}

}  // namespace kvhaul
