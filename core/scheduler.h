// The transfer scheduler: a deterministic state machine. Events go in, each with its time; actions
// come out. It does no I/O, reads no clock, has no thread and cannot tell which backend it drives.
//
//   events   submit, cancel, complete, channel_change, credit, timer
//   actions  post a chunk to a channel, cancel a chunk, end a transfer, send a credit message,
//            arm the timer
//
// Decisions are a function of the setup and the events: feed the same ones in again and the same
// actions come out, byte for byte (event_log.h does that).
//
// Threading: none; one owner calls it. Nothing blocks. Errors: there are none to return. What a
// backend reports wrongly (a completion that was never posted, or twice) is dropped and counted.
// Memory: slots are reused; a call allocates only when a table outgrows all it has held so far.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/backend.h"
#include "core/channel_health.h"
#include "core/channel_table.h"
#include "core/credit.h"
#include "core/policy/all.h"
#include "core/scheduler_setup.h"
#include "core/transfer.h"
#include "core/transfer_queue.h"

namespace kvhaul {

struct PostAction {
  ChannelId channel = 0;
  ChunkPost post;
};

struct CancelAction {
  ChannelId channel = 0;
  ChunkId chunk = 0;
};

/// What the scheduler wants done. The owner carries it out, then clears it.
struct Actions {
  std::vector<PostAction> posts;
  std::vector<CancelAction> cancels;
  std::vector<TransferEnd> ends;
  std::vector<ControlMessage> messages;
  TimeNs timer_ns = never_ns;  // call timer() then, instead of any time armed before

  void clear();
};

struct SchedulerCounters {
  std::uint64_t chunks_posted = 0;
  std::uint64_t chunks_resent = 0;
  std::uint64_t timeouts = 0;
  std::uint64_t errors = 0;  // completions that were neither ok nor asked for
  std::uint64_t quarantines = 0;
  std::uint64_t readmissions = 0;
  std::uint64_t unexpected = 0;  // completions of chunks that were not in flight
};

class Scheduler {
 public:
  /// The setup must pass check_setup().
  explicit Scheduler(SchedulerSetup setup);

  const SchedulerSetup& setup() const { return setup_; }
  /// The number of the pair, for TransferRequest::pair; nothing when no channel joins the two.
  std::optional<std::uint32_t> find_pair(PlaceId source, PlaceId target) const;

  // Events. `now` never goes back from one call to the next.

  /// Descriptors must not be empty; total bytes must be above zero.
  TransferId submit(TimeNs now, const TransferRequest& request);
  /// Ends with `cancelled`, or with `delivered` when the last byte was faster. An id that has ended
  /// is ignored.
  void cancel(TimeNs now, TransferId transfer);
  void complete(TimeNs now, const Completion& completion);
  void channel_change(TimeNs now, const ChannelChange& change);
  void credit(TimeNs now, const ControlMessage& message);
  void timer(TimeNs now);

  /// Actions since they were last cleared, in the order of the decisions.
  Actions& actions() { return actions_; }

  const SchedulerCounters& counters() const { return counters_; }
  /// Transfers that have not ended.
  std::size_t open_transfers() const { return open_transfers_; }
  std::size_t chunks_in_flight() const { return chunks_in_flight_; }
  /// Nothing open, nothing in flight, every window and credit given back.
  bool idle() const;

 private:
  /// A run of bytes inside a transfer's pieces: a part of one piece, or several whole ones.
  struct Range {
    std::uint32_t first_piece = 0;
    std::uint16_t piece_count = 0;
    Gather gather = Gather::each;  // once it is posted
    Bytes offset = 0;              // into the first piece; 0 when there are several
    Bytes bytes = 0;
  };

  /// One cache line: a busy node has hundreds in flight.
  struct alignas(64) Chunk {
    std::uint32_t generation = 0;
    std::uint32_t transfer = no_id;
    std::uint32_t channel = no_id;  // in flight there; or where it failed last, while it waits
    std::uint32_t older = no_id;    // in flight on the same channel, in posting order
    std::uint32_t newer = no_id;    // the same; or the next one waiting to be sent again
    std::uint16_t attempts = 0;
    bool in_flight = false;
    bool cancelling = false;
    Range range;
    TimeNs service_ns = 0;  // what it added to its channel's queue
    TimeNs timeout_ns = never_ns;
  };
  static_assert(sizeof(Chunk) == 64);

  struct Transfer {
    QueueHook hook;
    std::uint32_t generation = 0;
    std::uint32_t pair = 0;
    std::uint32_t in_flight = 0;
    std::uint32_t retry_chunk = no_id;  // chunks waiting to be sent again
    std::uint32_t piece_count = 0;
    Range next;  // to issue; starts at piece_count when there is none
    Bytes chunk_bytes = 0;
    Bytes total_bytes = 0;
    Bytes delivered_bytes = 0;
    Descriptor single;  // the piece, when there is one
    SegmentId source_segment = 0;
    SegmentId target_segment = 0;
    bool open = false;
    bool ending = false;           // cancelled or failed; ends when nothing is in flight
    Gather gather = Gather::each;  // of its chunks of several pieces, where a channel can
    std::vector<Descriptor> several;
    TransferEnd end;

    const Descriptor& piece(std::uint32_t i) const {
      return piece_count == 1 ? single : several[i];
    }
    bool unissued() const { return next.first_piece < piece_count || retry_chunk != no_id; }
  };

  struct ChannelState {
    ChannelHealth health;
    ChannelId id = 0;
    std::uint8_t gathers = 0;  // bit m: it can gather by method m
    std::uint32_t pair = 0;
    std::uint32_t tier = 0;
    std::uint32_t first_in_flight = no_id;
    std::uint32_t last_in_flight = no_id;
    TimeNs last_timeout_ns = 0;
  };

  struct PairState {
    explicit PairState(TimeNs ageing_ns) : queue(ageing_ns) {}

    std::uint32_t first_channel = 0;
    std::uint32_t channel_count = 0;
    std::uint32_t account = 0;
    std::uint32_t parked_link = no_id;  // held back by this link's window
    bool parked_on_credit = false;
    bool blocked = false;                 // the head found no room when it was last tried
    std::uint32_t probing = 0;            // channels on probation that are worth a probe
    std::uint32_t best_tier = no_id;      // of the candidates
    TimeNs unusable_since_ns = never_ns;  // no channel worked since then
    PairNumbers numbers;
    std::vector<std::uint32_t> candidates;  // usable channels of the best tier that has any
    TransferQueue<Scheduler> queue;
  };

  struct LinkState {
    std::uint32_t parked = 0;
    std::vector<std::uint32_t> pairs;  // all that cross it
  };

  struct AccountState {
    CreditAccount credit;
    std::uint32_t parked = 0;
    std::vector<std::uint32_t> pairs;
  };

  friend class TransferQueue<Scheduler>;
  QueueHook& hook(std::uint32_t transfer) { return transfers_[transfer].hook; }

  enum class Step { posted, blocked, empty };
  struct Posted {
    std::uint32_t channel = no_id;
    Bytes charged = 0;
  };

  void prepare_pairs();
  void prepare_numbers(PairState& pair) const;

  std::uint32_t new_transfer();
  std::uint32_t new_chunk();
  void free_chunk(std::uint32_t slot);

  // Posting
  void pump(TimeNs now, std::uint32_t pair);
  void pump_after_release(TimeNs now, std::uint32_t channel, Bytes released);
  template <class Policy>
  void pump_pair(Policy& policy, TimeNs now, std::uint32_t pair, Posted released);
  template <class Policy>
  void pump_contended(Policy& policy, TimeNs now);
  template <class Policy>
  Step post_next(Policy& policy, TimeNs now, std::uint32_t pair, Posted& posted);
  void cut_next(Transfer& transfer, std::uint32_t first_piece, Bytes offset) const;
  void advance(Transfer& transfer) const;
  void emit(TimeNs now, Transfer& transfer, std::uint32_t slot, std::uint32_t channel,
            Bytes charged, TimeNs service);
  std::uint32_t link_wanted_sooner(TimeNs now, std::uint32_t pair, std::uint32_t channel);
  TransferOrder order_of(TimeNs now, std::uint32_t pair);
  void park(std::uint32_t pair, std::uint32_t link);
  void unpark(std::uint32_t pair);

  // Ends of chunks and transfers
  Bytes take_out_of_flight(Chunk& chunk);
  void send_again_or_fail(TimeNs now, std::uint32_t slot, bool invalid);
  void begin_end(TimeNs now, std::uint32_t transfer, TransferOutcome outcome);
  void finish(TimeNs now, std::uint32_t transfer, TransferOutcome outcome);
  void cancel_chunk(std::uint32_t slot);

  // Channels
  void refresh_candidates(TimeNs now, std::uint32_t pair);
  std::uint32_t idle_probe(const PairState& pair) const;
  std::uint32_t choose_another(const PairState& pair, std::uint32_t failed,
                               const ChannelTable::Charge& charge);
  void channel_error(TimeNs now, std::uint32_t channel);
  void arm(TimeNs at);

  SchedulerSetup setup_;
  AnyPolicy policy_;
  ChannelTable table_;
  ChannelId first_channel_id_ = 0;
  std::vector<std::uint32_t> channel_of_id_;  // by ChannelId - first_channel_id_; no_id: not ours
  std::vector<ChannelState> channels_;
  std::vector<PairState> pairs_;
  std::vector<LinkState> links_;
  std::vector<AccountState> accounts_;
  std::vector<CreditLedger> ledgers_;

  std::vector<Transfer> transfers_;
  std::vector<std::uint32_t> free_transfers_;
  std::vector<Chunk> chunks_;
  std::vector<std::uint32_t> free_chunks_;
  std::uint64_t next_sequence_ = 0;
  std::size_t open_transfers_ = 0;
  std::size_t chunks_in_flight_ = 0;
  std::uint32_t parked_pairs_ = 0;  // on links
  TimeNs armed_ns_ = never_ns;

  Actions actions_;
  SchedulerCounters counters_;
  std::vector<std::uint32_t> contenders_;  // scratch of pump_after_release()
  std::vector<std::uint32_t> others_;      // scratch of choose_another()
  std::vector<std::uint32_t> stalled_;     // scratch of timer()
};

}  // namespace kvhaul
