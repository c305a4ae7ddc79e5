// What each process of a run has seen of transfers, chunks and its instances, written down while it
// runs, and told to one observer after it, in the order of time: the sums of a run of several
// processes are made by the same code as those of one.
//
// About 15 bytes for a chunk, a step and a change of an instance, and 40 for a transfer. Requests
// are not written down: their ends reach the front while the run goes on.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/result.h"
#include "serving/replay_result.h"
#include "serving/spool.h"

namespace kvhaul {

class ObservationWriter final : public ReplayObserver {
 public:
  /// Ends of requests and progress go to `front` at once, where this process has the front.
  ObservationWriter(Spool& spool, ReplayObserver* front) : spool_(spool), front_(front) {}

  void request_done(const RequestResult& result, const std::vector<TransferRow>& rows) override;
  void transfer_done(const TransferEnd& end) override;
  void chunks_ended(std::span<const Completion> completions) override;
  void decode_step(const DecodeStep& step) override;
  void prefill_step(const PrefillStep& step) override;
  void instance_changed(const InstanceState& state) override;
  void progress(TimeNs now, std::uint64_t requests_done) override;
  /// Writes what is left; afterwards the spool is read.
  void close() { flush(); }

 private:
  void flush();

  Spool& spool_;
  ReplayObserver* front_;
  std::string buffer_;
};

/// Gives the next bytes of what a process has written down; empty at the end.
using ObservationSource = std::function<Result<std::string>()>;

/// Tells all of it to `observer`. Returns the sources that failed or made no sense on the way; what
/// came before is told all the same. `channels`: of the run.
std::vector<std::size_t> merge_observations(const std::vector<ObservationSource>& sources,
                                            std::size_t channels, ReplayObserver& observer);

}  // namespace kvhaul
