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
// Where the serving engine has a cost of its own, a unit's transfers are submitted that much after
// they could have been.
//
// The replay is a RuntimeClient and knows time only as what it is told.
#pragma once

#include <deque>
#include <memory>
#include <queue>
#include <string>
#include <vector>

#include "core/backend.h"
#include "core/runtime.h"
#include "serving/prefix_cache.h"
#include "serving/replay_config.h"
#include "traces/trace.h"

namespace kvhaul {

enum class RequestOutcome : std::uint8_t {
  completed,
  transfer_failed,  // a transfer failed, or could not be made right after damage
  too_large,        // its KV does not fit into an instance at all
  failed_in_trace,  // the trace has no output for it; not replayed
};
std::string_view request_outcome_name(RequestOutcome outcome);

struct RequestResult {
  std::uint64_t request = 0;  // number in the trace, from 0
  std::uint64_t line = 0;
  RequestOutcome outcome = RequestOutcome::completed;
  std::uint32_t input_tokens = 0, output_tokens = 0, cached_tokens = 0;
  std::uint32_t prefill_instance = 0, decode_instance = 0;
  TimeNs arrival_ns = 0;
  TimeNs prefill_start_ns = 0;
  TimeNs prefill_end_ns = 0;
  TimeNs landed_ns = 0;  // all KV is at the decode side, and it knows
  TimeNs finished_ns = 0;
  Bytes bytes = 0;  // moved for it, re-sent ones not counted
  /// Ends of its prefill chunks; the first one is the start of prefill where tokens were cached.
  std::vector<TimeNs> chunk_ended_ns;
};

/// Sums over the transfers of one prefill chunk on one tier of route.
struct TransferRow {
  std::uint64_t request = 0;
  std::uint32_t prefill_chunk = 0;
  std::uint8_t tier = 0;
  std::uint32_t transfers = 0;
  std::uint64_t chunks = 0, pieces = 0;
  std::uint64_t resent_chunks = 0;
  std::uint8_t gathers = 0;   // bit m: method m gathered the pieces of some transfer
  std::uint32_t failed = 0;   // transfers that did not deliver
  std::uint32_t damaged = 0;  // transfers whose checksum was wrong, and which were made again
  Bytes bytes = 0, resent_bytes = 0;
  TimeNs first_submitted_ns = never_ns;
  TimeNs last_reported_ns = 0;
  // Of the transfer that ended last; they add up to its whole time.
  TimeNs wait_ns = 0, post_ns = 0, wire_ns = 0, detect_ns = 0;
};

/// Is told what came of everything; writes the files of a run.
class ReplayObserver {
 public:
  virtual ~ReplayObserver() = default;
  virtual void request_done(const RequestResult& result, const std::vector<TransferRow>& rows) = 0;
  virtual void transfer_done(const TransferEnd& end) = 0;
  virtual void chunks_ended(std::span<const Completion> completions) = 0;
  /// Called now and then with the number of requests that are done.
  virtual void progress(TimeNs now, std::uint64_t requests_done) = 0;
};

struct ReplayCounters {
  std::uint64_t requests = 0;  // read from the trace
  std::uint64_t completed = 0;
  std::uint64_t transfer_failed = 0;
  std::uint64_t too_large = 0;
  std::uint64_t failed_in_trace = 0;
  std::uint64_t damaged_transfers = 0;  // found by checksum and made again
  std::uint64_t checked_transfers = 0;  // checksums compared
  std::uint64_t cached_tokens = 0;
  std::uint64_t input_tokens = 0;
  std::uint64_t source_runs = 0, target_runs = 0;  // page runs of all requests
  /// Before the run: of the node that takes longest to register its KV memory with its NICs, at the
  /// scenario's rate.
  TimeNs registration_ns = 0;
};

class Replay final : public RuntimeClient {
 public:
  /// Everything given must outlive the replay. The backend is open and has no segment yet.
  Replay(const ReplayConfig& config, TraceReader& trace, Backend& backend,
         ReplayObserver& observer);
  ~Replay() override;

  /// Registers the KV pools. Fails with what the backend says.
  Result<void> prepare(Runtime& runtime, const Cluster& cluster);

  TimeNs next_ns() const override;
  void run(TimeNs now) override;
  void chunks_ended(std::span<const Completion> completions) override {
    observer_.chunks_ended(completions);
  }
  void transfer_ended(TimeNs now, const TransferEnd& end) override;
  void message(TimeNs now, const ControlMessage& message) override;
  bool done() const override;

  /// An error in the trace stops the replay; it is reported here after run().
  const std::optional<Error>& trace_error() const { return trace_error_; }
  const ReplayCounters& counters() const { return counters_; }

 private:
  struct Request;
  struct PrefillInstance;
  struct DecodeInstance;
  enum class EventKind : std::uint8_t { arrival, prefill, decode, engine };
  struct Event {
    TimeNs at_ns = 0;
    std::uint64_t sequence = 0;
    EventKind kind = EventKind::arrival;
    std::uint32_t index = 0;
    std::uint64_t request = 0;  // engine: whose slot it was when this was pushed
    bool operator>(const Event& other) const {
      return at_ns != other.at_ns ? at_ns > other.at_ns : sequence > other.sequence;
    }
  };

  void push_event(TimeNs at, EventKind kind, std::uint32_t index, std::uint64_t request = 0);
  void read_next();
  void arrive(TimeNs at, TimeNs now);
  std::uint32_t choose_prefill(const Request& request);
  std::uint32_t choose_decode(const Request& request);
  void end_without_replay(const Request& request, RequestOutcome outcome);

  bool take_source_pages(PrefillInstance& instance, Request& request, std::uint32_t hits) const;
  void start_prefill(TimeNs at, TimeNs now, std::uint32_t instance);
  void prefill_step(TimeNs at, TimeNs now, std::uint32_t instance);
  void schedule_prefill(std::uint32_t instance);
  void plan_chunks(Request& request) const;

  void reserve(TimeNs now, std::uint32_t instance);
  void readable(TimeNs now, std::uint32_t slot, std::uint32_t units);
  void submit_units(TimeNs now, std::uint32_t slot);
  void engine_done(TimeNs now, std::uint32_t slot, std::uint64_t request);
  void submit_unit(TimeNs now, std::uint32_t slot, std::uint32_t unit);
  void submit_lane(TimeNs now, std::uint32_t slot, std::uint32_t unit, std::uint32_t lane);
  void describe_lane(const Request& request, std::uint32_t unit, const Lane& lane,
                     std::vector<Descriptor>& out) const;
  void fill_prompt(std::uint32_t slot);
  TransferRow& row_of(Request& request, std::uint32_t chunk, std::uint8_t tier) const;
  struct Check {
    std::uint32_t slot = 0, unit = 0, lane = 0;
    std::uint8_t tier = 0;
  };
  /// A check that the backend has been asked for.
  struct RunningCheck {
    Check check;
    std::uint64_t number = 0;  // Backend::checksums_done() tells when it has been answered
    std::vector<std::uint64_t> source_sums, target_sums;
  };
  bool checks_due() const;
  void begin_check(const Check& check);
  void settle_checks(TimeNs now);
  void transfers_maybe_done(TimeNs now, std::uint32_t slot);
  void landed(TimeNs now, std::uint32_t slot);
  void release_source(TimeNs now, std::uint32_t slot);
  void free_if_over(std::uint32_t slot);

  void begin_steps(TimeNs at, std::uint32_t instance);
  void decode_step(TimeNs at, TimeNs now, std::uint32_t instance);
  void finish(TimeNs now, std::uint32_t slot);

  void count_registration();
  NodeId prefill_node(const Request& request) const;
  NodeId decode_node(const Request& request) const;
  void send(NodeId from, NodeId to, std::uint32_t kind, std::uint32_t slot, std::uint64_t value,
            Bytes bytes);

  /// What a unit covers, by the streaming mode.
  struct UnitSpan {
    std::uint32_t chunk = 0;
    std::uint32_t first_token = 0, end_token = 0;
    std::uint32_t first_layer = 0, end_layer = 0;
  };
  UnitSpan span_of(const Request& request, std::uint32_t unit) const;
  std::uint32_t units_of(const Request& request) const;
  bool by_layer() const;

  const ReplayConfig& config_;
  TraceReader& trace_;
  Backend& backend_;
  ReplayObserver& observer_;
  Runtime* runtime_ = nullptr;
  const Cluster* cluster_ = nullptr;

  std::vector<RankGeometry> source_ranks_, target_ranks_;
  std::vector<Lane> lanes_;
  std::vector<PairHandle> pairs_;  // [prefill instance][decode instance][lane]

  std::vector<std::unique_ptr<PrefillInstance>> prefill_;
  std::vector<std::unique_ptr<DecodeInstance>> decode_;
  std::deque<Request> requests_;  // slots
  std::vector<std::uint32_t> free_requests_;
  std::size_t open_requests_ = 0;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::uint64_t next_sequence_ = 0;
  TraceRequest next_request_;
  bool trace_ended_ = false;
  std::optional<Error> trace_error_;
  std::uint64_t next_number_ = 0;
  std::uint32_t next_prefill_ = 0, next_decode_ = 0;  // round robin
  std::uint64_t requests_done_ = 0;
  ReplayCounters counters_;
  TimeNs decode_layer_ns_ = 0;  // of a lone sequence; spaces the deadlines of layers
  std::deque<Check> checks_;    // of what has landed, oldest first
  std::deque<RunningCheck> running_checks_;
  std::size_t open_transfers_ = 0;
  std::vector<Descriptor> descriptors_;  // scratch
  std::vector<SegmentRange> ranges_;     // scratch
};

}  // namespace kvhaul
