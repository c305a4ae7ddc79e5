// What a run has produced, in sums. Plain values; times in nanoseconds, sizes in bytes.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/histogram.h"
#include "core/scheduler.h"
#include "results/fault_use.h"
#include "results/instance_meter.h"
#include "results/link_meter.h"
#include "serving/replay_result.h"
#include "traces/trace.h"

namespace kvhaul {

/// What a run is, for summary.json. Plain values, no times of day.
struct RunLabels {
  std::string scenario, trace, trace_format, backend, time, payload, policy, streaming, direction,
      model;
  std::uint64_t seed = 0;
};

/// What a request can wait for (limits.h).
enum class Limit : std::uint8_t {
  prefill,
  decode_steps,
  decode_seats,
  decode_memory,
  link,
  posting,
  window,  // of the scheduler, or its credit or order
  faults,
  notification,  // of what has landed
};
struct LimitShare {
  Limit limit = Limit::prefill;
  double share = 0;  // of the median time to first token
};

/// Sums of a finished run, for the files and for the table on the terminal.
struct RunSummary {
  RunLabels labels;
  ReplayCounters requests;
  TraceCounts trace;
  std::vector<std::string> trace_notes;  // what was dropped, clipped or changed, in words
  std::vector<std::string> warnings;     // what may not be meant, in words
  TimeNs duration_ns = 0;
  Histogram ttft_ns, queue_ns, prefill_ns, handover_ns, itl_ns, e2e_ns;
  Histogram exposed_ns;                            // the part of hand-over that is the transfer's
  Histogram memory_ns, step_ns, seat_ns;           // the others
  std::array<Histogram, path_part_count> path_ns;  // parts of exposed_ns
  Histogram prefill_memory_ns;                     // part of queue_ns
  Histogram token_itl_ns;                          // of every token
  std::uint64_t input_tokens = 0, output_tokens = 0;  // of completed requests
  std::uint64_t slo_attained = 0;
  bool has_slo = false;

  std::uint64_t transfers = 0;
  std::uint64_t transfers_by_outcome[transfer_outcome_count] = {};
  Histogram transfer_ns, wait_ns, post_ns, wire_ns, detect_ns, transfer_bytes;
  /// Delivered transfers by their size; buckets are a quarter of a power of two wide.
  struct SizeBucket {
    Bytes bytes = 0;  // of all of them
    Histogram time_ns;

    static std::size_t of(Bytes size) {
      if (size < 4) return size;
      const auto power = static_cast<unsigned>(std::bit_width(size)) - 1;
      return 4 * (power - 1) + ((size >> (power - 2)) & 3);
    }
    /// The smallest size in a bucket.
    static Bytes low(std::size_t bucket) {
      return bucket < 4 ? bucket : Bytes{4 + bucket % 4} << (bucket / 4 - 1);
    }
  };
  std::vector<SizeBucket> sizes;
  std::uint64_t pieces = 0;
  std::uint64_t packed_transfers = 0;
  std::uint64_t fallback_transfers = 0;
  Bytes delivered_bytes = 0;
  Bytes resent_bytes = 0;
  SchedulerCounters scheduler;  // of all nodes together
  TimeNs wire_busy_ns = 0;
  std::uint64_t landed_chunks = 0;
  Bytes landed_bytes = 0;

  struct RouteUse {
    std::string kind;
    std::uint32_t tier = 0;
    Bytes bytes = 0;
  };
  std::vector<RouteUse> routes;                            // by tier
  std::vector<LinkUse> links;                              // most used first
  InstanceMeter::Uses uses;                                // of instances
  std::vector<FaultUse> faults;                            // in the order of their file
  std::vector<LimitShare> limits;                          // results/limits.h; largest first
  TimeNs link_bin_ns = 0;                                  // of the bins of all links
  std::vector<std::pair<std::string, std::string>> notes;  // backend's own: name, value
  struct Rows {
    std::uint64_t requests = 0, transfers = 0, links = 0, instances = 0;
  };
  Rows rows;  // of the files of these names
};

}  // namespace kvhaul
