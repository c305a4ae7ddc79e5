// Writes the files of a run directory: requests.csv and transfers.csv while the run goes on, so
// that memory does not grow with the trace; links.csv, instances.csv and timeline.json at its end;
// then summary.json.
//
// Times of day and wall-clock figures never enter these files: the same scenario, trace and seed
// give the same bytes. docs/run-directory.md describes every column and key.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/scheduler.h"
#include "results/chunk_sample.h"
#include "results/instance_meter.h"
#include "results/limits.h"
#include "results/link_meter.h"
#include "results/request_sample.h"
#include "results/run_summary.h"
#include "results/time_bins.h"
#include "results/timeline.h"
#include "serving/replay_config.h"
#include "serving/replay_result.h"
#include "traces/output_file.h"

namespace kvhaul {

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
  void decode_step(const DecodeStep& step) override {
    summary_.token_itl_ns.add(step.ended_ns - step.began_ns, step.sequences);
    instances_.decode_step(step);
  }
  void prefill_step(const PrefillStep& step) override { instances_.prefill_step(step); }
  void instance_changed(const InstanceState& state) override { instances_.changed(state); }
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

  Result<void> check_rates(bool rates_bind) const;
  Result<void> write_links(RunSummary& summary) const;
  Result<void> write_instances(RunSummary& summary) const;
  Timeline timeline(const RunSummary& summary) const;

  std::string directory_;
  const ReplayConfig& config_;
  const Cluster& cluster_;
  std::span<const ChannelRequest> channel_requests_;
  std::span<const std::uint32_t> tiers_;
  std::string tier_kinds_[8];  // the kind of route each tier has, for transfers.csv
  OutputFile requests_file_;
  OutputFile transfers_file_;
  LinkMeter meter_;
  InstanceMeter instances_;
  ChunkSample chunks_;
  QueueMeter waiting_, posted_;  // bytes of transfers: until posted, and from then to landing
  RunSummary summary_;
  RequestSample sample_{config_};
  LimitSample limit_sample_;
  static constexpr std::uint64_t progress_every_chunks = 64;
  std::uint64_t ended_chunks_ = 0;  // since on_progress was last called for them
  std::uint64_t requests_done_ = 0;
};

/// summary.json as text; also what `kvhaul replay --json` prints.
std::string summary_json(const RunSummary& summary, const Cluster& cluster);
Result<void> write_summary(const std::string& directory, const RunSummary& summary,
                           const Cluster& cluster);

}  // namespace kvhaul
