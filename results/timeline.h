// timeline.json: some requests and chunks of a run as trace events, for Perfetto or
// chrome://tracing. docs/run-directory.md names the tracks and the rules by which long runs are
// sampled.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/backend.h"
#include "core/cluster.h"
#include "core/result.h"
#include "results/link_meter.h"
#include "results/time_bins.h"
#include "serving/replay_result.h"

namespace kvhaul {

struct TimelineRequest {
  RequestResult result;
  std::vector<TransferRow> rows;
  /// Ends of its prefill chunks; the first one is the start of prefill where tokens were cached.
  std::vector<TimeNs> chunk_ended_ns;
};

struct Timeline {
  std::uint64_t every = 1;  // that many-th completed request is in it
  std::size_t requests_max = 0;
  std::size_t slowest_max = 0;  // and so many of the longest time to first token
  std::vector<TimelineRequest> requests;
  bool by_prefill_chunk = false;        // KV leaves with its prefill chunk, not with the last one
  std::vector<std::string> tier_kinds;  // the kind of route each tier has

  TimeNs link_bin_ns = 0;
  std::span<const LinkUse> links;  // most used first
  const QueueMeter* waiting = nullptr;
  const QueueMeter* posted = nullptr;

  std::vector<Completion> chunks;  // of every bin of this width the first so many that landed
  TimeNs chunk_bin_ns = 0;
  std::size_t chunks_of_bin = 0;
};

Result<void> write_timeline(const std::string& path, const Timeline& timeline,
                            const Cluster& cluster, std::span<const ChannelRequest> channels);

}  // namespace kvhaul
