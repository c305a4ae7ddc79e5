// The files of a run directory: requests.csv, transfers.csv, links.csv, timeline.json,
// summary.json.
//
// All but summary.json, links.csv and timeline.json are written while the run goes on, so that
// memory does not grow with the trace. Times of day and wall-clock figures never enter these files:
// the same scenario, trace and seed give the same bytes. docs/run-directory.md describes every
// column and key.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/histogram.h"
#include "core/scheduler.h"
#include "serving/chunk_sample.h"
#include "serving/link_meter.h"
#include "serving/queue_meter.h"
#include "serving/replay_config.h"
#include "serving/replay_result.h"
#include "serving/timeline.h"
#include "traces/output_file.h"
#include "traces/trace.h"

namespace kvhaul {

/// What a run is, for summary.json. Plain values, no times of day.
struct RunLabels {
  std::string scenario, trace, trace_format, backend, time, payload, policy, streaming, direction,
      model;
  std::uint64_t seed = 0;
};

/// Sums of a finished run, for the files and for the table on the terminal.
struct RunSummary {
  RunLabels labels;
  ReplayCounters requests;
  TraceCounts trace;
  std::vector<std::string> trace_notes;  // what was dropped, clipped or changed, in words
  std::vector<std::string> warnings;     // what may not be meant, in words
  TimeNs duration_ns = 0;
  Histogram ttft_ns, queue_ns, prefill_ns, exposed_ns, itl_ns, e2e_ns;
  std::uint64_t output_tokens = 0;
  std::uint64_t slo_attained = 0;
  bool has_slo = false;

  std::uint64_t transfers = 0;
  std::uint64_t transfers_by_outcome[transfer_outcome_count] = {};
  Histogram transfer_ns, wait_ns, post_ns, wire_ns, detect_ns, transfer_bytes;
  /// Delivered transfers by their size; buckets are a quarter of a power of two wide.
  struct SizeBucket {
    Bytes bytes = 0;  // of all of them
    Histogram time_ns;
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
  TimeNs link_bin_ns = 0;                                  // of the bins of all links
  std::vector<std::pair<std::string, std::string>> notes;  // backend's own: name, value
  struct Rows {
    std::uint64_t requests = 0, transfers = 0, links = 0;
  };
  Rows rows;  // of the files of these names
};

class RunFiles final : public ReplayObserver {
 public:
  /// Creates the files in a directory that exists. The spans must outlive this.
  static Result<std::unique_ptr<RunFiles>> create(const std::string& directory,
                                                  const ReplayConfig& config,
                                                  const Cluster& cluster,
                                                  std::span<const ChannelRequest> requests,
                                                  std::span<const std::uint32_t> tiers);

  void request_done(const RequestResult& result, const std::vector<TransferRow>& rows) override;
  void transfer_done(const TransferEnd& end) override;
  void chunks_ended(std::span<const Completion> completions) override {
    meter_.chunks_ended(completions);
    chunks_.chunks_ended(completions);
    ended_chunks_ += completions.size();
    if (ended_chunks_ < progress_every_chunks) return;
    ended_chunks_ = 0;
    if (on_progress) on_progress(completions.back().done_ns, requests_done_);
  }
  void progress(TimeNs now, std::uint64_t requests_done) override;

  /// Called with every request and every 64 chunks, for a progress bar: the time of the run, and
  /// how many requests are done. Whoever is called holds back what comes too often.
  std::function<void(TimeNs, std::uint64_t)> on_progress;

  /// Completes the summary from what only the end of the run knows, and writes the remaining files
  /// but for the summary itself.
  /// Fails when a file could not be written, or when a link would have carried more than its rate
  /// although `rates_bind`: that is an error in our accounting, and stops the report.
  Result<RunSummary> finish(RunLabels labels, const ReplayCounters& requests,
                            const SchedulerCounters& schedulers, const TraceCounts& trace,
                            std::vector<std::string> trace_notes, bool rates_bind);

 private:
  RunFiles(std::string directory, const ReplayConfig& config, const Cluster& cluster,
           std::span<const ChannelRequest> requests, std::span<const std::uint32_t> tiers,
           OutputFile requests_file, OutputFile transfers_file);

  void sample(const RequestResult& result, const std::vector<TransferRow>& rows);
  Result<void> check_rates(bool rates_bind) const;
  Result<void> write_links(RunSummary& summary) const;
  Timeline timeline(const RunSummary& summary) const;

  /// The timeline keeps every n-th request, n a power of two, so that no more than this many are in
  /// it; the rule stands in the file.
  static constexpr std::size_t sampled_requests_max = 512;

  std::string directory_;
  const ReplayConfig& config_;
  const Cluster& cluster_;
  std::span<const ChannelRequest> channel_requests_;
  std::span<const std::uint32_t> tiers_;
  std::string tier_kinds_[8];  // the kind of route each tier has, for transfers.csv
  OutputFile requests_file_;
  OutputFile transfers_file_;
  LinkMeter meter_;
  ChunkSample chunks_;
  QueueMeter waiting_, posted_;  // bytes of transfers: until posted, and from then to landing
  RunSummary summary_;
  std::uint64_t sample_every_ = 1;
  std::vector<TimelineRequest> samples_;
  static constexpr std::uint64_t progress_every_chunks = 64;
  std::uint64_t ended_chunks_ = 0;  // since on_progress was last called for them
  std::uint64_t requests_done_ = 0;
};

/// The share of the requests that met the SLO; those that lost their KV missed it. Nothing without
/// an SLO or requests.
std::optional<double> slo_attainment(const RunSummary& summary);

/// summary.json as text; also what `kvhaul replay --json` prints.
std::string summary_json(const RunSummary& summary, const Cluster& cluster);
Result<void> write_summary(const std::string& directory, const RunSummary& summary,
                           const Cluster& cluster);

}  // namespace kvhaul
