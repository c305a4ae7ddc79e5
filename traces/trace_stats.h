// What a trace looks like, from one pass over it.
#pragma once

#include <cstdint>
#include <optional>

#include "core/result.h"
#include "traces/trace.h"

namespace kvhaul {

struct TokenStats {
  double mean = 0, p50 = 0, p90 = 0, p99 = 0;  // percentiles interpolated between neighbours
  std::uint32_t min = 0, max = 0;
};

struct PrefixStats {
  // With a cache that keeps every block: what share of the input it would have.
  double block_hits = 0;  // of all blocks, a partial last one counted whole
  double token_hits = 0;
  std::uint64_t distinct_blocks = 0;
};

struct TraceStats {
  std::uint64_t requests = 0;
  TokenStats input, output;
  std::optional<PrefixStats> prefix;  // where the trace knows prefixes
  std::uint64_t sessions = 0;         // different ones that requests name
  std::uint64_t turns_max = 0;        // of one of them

  // The rest is 0 where a trace has no arrival times.
  TimeNs span_ns = 0;                    // from the first arrival to the last
  double requests_per_s = 0;             // (requests - 1) / span
  double gap_cv = 0;                     // standard deviation / mean of the gaps; Poisson has 1
  std::uint64_t peak_1s = 0;             // most arrivals in a second counted from the first arrival
  std::uint64_t peak_10s = 0;            // the same in ten seconds
  std::uint64_t duplicate_arrivals = 0;  // at the time of the one before
};

/// Reads the rest of the trace. Exact, in memory that grows with the number of different lengths
/// and, where the trace has them, of different prefix blocks and sessions; not with the number of
/// requests.
Result<TraceStats> measure_trace(TraceReader& reader);

}  // namespace kvhaul
