// The trace of a replay: opened with its filters, and looked through once before the run.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/replay_run.h"
#include "core/result.h"
#include "core/units.h"
#include "scenarios/scenario.h"
#include "traces/trace.h"

namespace kvhaul::cli {

struct OpenedTrace {
  TraceReaderPtr reader;
  std::vector<std::string> notes;  // what was assumed or changed, in words
};
Result<OpenedTrace> open_replay_trace(const ReplayRequest& request, const Scenario& scenario);

/// What there is to do, as far as the trace tells.
struct TraceOutline {
  std::uint64_t requests = 0;
  std::uint64_t input_tokens = 0;
  std::uint64_t prefill_chunks = 0;
  TimeNs last_arrival_ns = 0;
  double one_by_one_s = 0;  // to compute all of them, one after the other
};

/// Reads the whole trace once, so that a bad row is found before any work is done and the progress
/// bar knows how far there is to go. Nothing for what cannot be read twice.
Result<std::optional<TraceOutline>> outline_trace(const ReplayRequest& request,
                                                  const Scenario& scenario);

}  // namespace kvhaul::cli
