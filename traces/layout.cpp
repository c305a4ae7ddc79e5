#include "traces/layout.h"

#include <array>

namespace kvhaul {
namespace {

using Text = TraceLayout::Text;
using Time = TraceLayout::Time;

// In the order of TraceFormat.
constexpr std::array<TraceLayout, trace_format_count> layouts = {{
    {.name = "azure",
     .summary = "Azure LLM inference 2023 and 2024, CSV",
     .time_kind = Time::datetime,
     .time = "TIMESTAMP",
     .input = "ContextTokens",
     .output = "GeneratedTokens"},
    {.name = "mooncake",
     .summary = "Mooncake, JSONL: times in ms, 512-token blocks",
     .text = Text::json_lines,
     .time_unit_ns = ms_ns,
     .block_tokens = 512,
     .time = "timestamp",
     .input = "input_length",
     .output = "output_length",
     .prefix = "hash_ids",
     .session = "session_id",
     .delay = "delay"},
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
    {.name = "llmservingsim-input",
     .summary = "LLMServingSim's own input, JSONL: requests and sessions of tool calls",
     .text = Text::json_lines,
     .time_unit_ns = 1,
     .time = "arrival_time_ns",
     .input = "input_toks",
     .output = "output_toks",
     .session = "session_id",
     .turns = "sub_requests",
     .pause_after = "tool_duration_ns",
     .tokens = "input_tok_ids"},
    {.name = "kvhaul",
     .summary = "kvhaul's own CSV",
     .time_required = false,
     .time = "arrival_s",
     .input = "input_tokens",
     .output = "output_tokens",
     .prefix = "prefix_blocks",
     .session = "session"},
    {.name = "columns",
     .summary = "any CSV or JSON with one request a row: --columns names its columns",
     .time_kind = Time::either},
}};

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

}  // namespace kvhaul
