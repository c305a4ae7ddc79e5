// The replay: requests of a trace become prefill work, KV transfers and decode steps.
//
// Per request:
//
//   arrival -> queue -> prefill (chunk by chunk) -> tokens
//                 |        | KV of a unit is readable
//                 |        v
//                 |     transfers of the unit, one per lane    (from when the target pages are
//                 known)
//                 +-> the decode side reserves pages, and says which
//
// push: the decode side sends its page table to the prefill side, which writes and at the end says
// that everything has landed. pull: the prefill side says what is readable, the decode side reads
// and at the end says that the source pages are free. All of these messages travel through the
// backend. Decode starts when all KV has landed; the first token, computed by prefill, counts as
// given out then.
//
// A replay may be made by several processes, each for the nodes that it drives: replay_parts.h says
// which parts there are, and what they know of each other. One of them, the front, reads the trace.
//
// The replay is a RuntimeClient and knows time only as what it is told.
#pragma once

#include <memory>
#include <optional>
#include <set>

#include "core/backend.h"
#include "core/runtime.h"
#include "serving/decode_side.h"
#include "serving/front.h"
#include "serving/mover.h"
#include "serving/prefill_side.h"
#include "serving/replay_parts.h"
#include "traces/trace.h"

namespace kvhaul {

/// The node whose process has the front: the first one that holds part of an instance.
/// A replay may last so long, 91 years: further times would no longer fit into TimeNs.
inline constexpr TimeNs replay_time_max_ns = trace_span_max_ns + trace_span_max_ns / 4;

NodeId front_node_of(const ReplayConfig& config, const Cluster& cluster);

class Replay final : public RuntimeClient {
 public:
  /// Everything given must outlive the replay. The backend is open and has no segment yet. Only
  /// the process that has the front reads the trace.
  Replay(const ReplayConfig& config, TraceReader& trace, Backend& backend,
         ReplayObserver& observer);

  /// Registers the KV pools. Fails with what the backend says, and with bad_input when nodes of one
  /// instance belong to several processes.
  Result<void> prepare(Runtime& runtime, const Cluster& cluster);

  TimeNs next_ns() const override;
  void run(TimeNs now) override;
  void chunks_ended(std::span<const Completion> completions) override {
    parts_.observer.chunks_ended(completions);
  }
  void transfer_ended(TimeNs now, const TransferEnd& end) override {
    mover_->transfer_ended(now, end);
  }
  void message(TimeNs now, const ControlMessage& message) override;
  void node_lost(TimeNs now, NodeId node) override;
  bool done() const override;

  /// An error in the trace stops the replay; it is reported here after run(). So is the loss of the
  /// process that has the front, and a replay that gets too long.
  std::optional<Error> error() const;
  /// Of this process.
  const ReplayCounters& counters() const { return parts_.counters; }
  const std::set<NodeId>& lost_nodes() const { return lost_nodes_; }

 private:
  Result<void> register_memory();
  void count_registration();
  bool end_due() const;
  void say_end();

  ReplayParts parts_;
  TraceReader& trace_;
  std::unique_ptr<Front> front_;  // null where another process has it
  std::unique_ptr<PrefillSide> prefill_;
  std::unique_ptr<DecodeSide> decode_;
  std::unique_ptr<Mover> mover_;

  // Several processes end together, when the front says so.
  std::set<NodeId> others_;     // nodes with instances that other processes drive
  std::set<NodeId> not_ended_;  // of those, for the front
  std::set<NodeId> lost_nodes_;
  bool end_said_ = false;
  TimeNs leave_ns_ = never_ns;
  bool may_leave_ = false;
  bool too_long_ = false;
};

}  // namespace kvhaul
