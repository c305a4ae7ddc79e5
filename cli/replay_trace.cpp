#include "cli/replay_trace.h"

#include <algorithm>
#include <filesystem>

#include "cli/trace_files.h"
#include "core/unit_text.h"
#include "traces/trace_filters.h"

namespace kvhaul::cli {

Result<OpenedTrace> open_replay_trace(const ReplayRequest& request, const Scenario& scenario) {
  auto opened = open_trace(request.trace, request.reading);
  if (!opened) return opened.error();
  OpenedTrace trace{std::move(*opened), {}};
  if (const std::string& assumed = trace.reader->info().assumed; !assumed.empty())
    trace.notes.push_back("trace: " + assumed);
  if (!trace.reader->info().has_arrivals)
    trace.notes.push_back("the trace has no arrival times: all requests arrive at once");
  if (request.limit) {
    trace.reader = limit_requests(std::move(trace.reader), *request.limit);
    trace.notes.push_back("only the first " + std::to_string(*request.limit) + " requests");
  }
  if (request.spread_batches) {
    trace.reader = spread_batches(std::move(trace.reader));
    trace.notes.push_back("requests of one timestamp spread over the gap after it");
  }
  if (request.speedup != 1) {
    auto faster = speed_up(std::move(trace.reader), request.speedup);
    if (!faster) return faster.error();
    trace.reader = std::move(*faster);
    trace.notes.push_back("arrival times divided by " + number_text(request.speedup, 6));
  }
  if (scenario.serving.model.context_tokens != 0) {
    auto clipped = clip_context(std::move(trace.reader), scenario.serving.model.context_tokens);
    if (!clipped) return clipped.error();
    trace.reader = std::move(*clipped);
  }
  return trace;
}

Result<std::optional<TraceOutline>> outline_trace(const ReplayRequest& request,
                                                  const Scenario& scenario) {
  std::error_code status;
  if (request.trace == "-" || !std::filesystem::is_regular_file(request.trace, status))
    return std::optional<TraceOutline>();
  auto trace = open_replay_trace(request, scenario);
  if (!trace) return trace.error();
  TraceRequest row;
  TraceOutline outline;
  const ReplayConfig& serving = scenario.serving;
  const std::uint64_t chunk = serving.chunk_tokens;
  while (true) {
    auto more = trace->reader->next(row);
    if (!more) return more.error();
    if (!*more) return std::optional(outline);
    ++outline.requests;
    outline.input_tokens += row.input_tokens;
    outline.prefill_chunks += (row.input_tokens + chunk - 1) / chunk;
    outline.last_arrival_ns = std::max(outline.last_arrival_ns, row.arrival_ns);
    const TimeNs step_ns = serving.decode.timing->step_ns(
        1, static_cast<double>(serving.model.token_bytes()) * row.input_tokens, row.input_tokens);
    const double decode_ns = static_cast<double>(step_ns) * row.output_tokens;
    outline.one_by_one_s +=
        1e-9 *
        (static_cast<double>(serving.prefill.timing->prefill_ns(row.input_tokens, 0)) + decode_ns);
  }
}

}  // namespace kvhaul::cli
