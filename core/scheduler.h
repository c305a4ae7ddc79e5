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
// A chunk that is late (SchedulerConfig::timeout_factor, late_floor_ns) makes its channel, and the
// links on which nothing has landed since, suspected: other chunks avoid them where they can, and a
// probe, a chunk without bytes, is sent to find out. What is learnt of a link holds for every
// channel that crosses it. A late chunk is given up and sent again after timeout_floor_ns more,
// twice as much with every attempt up to timeout_cold_ns, and after that much from the start while
// its pair has shown nothing yet. Users' chunks never try out a channel.
//
// Every transfer ends. With no landing on any channel of the scheduler it does so within
// end_bound_ns(), whatever is lost: every attempt ends within in_flight_bound_ns(), there are
// max_attempts of them, and nothing waits for a pair without a usable channel for longer than
// stall_timeout_ns.
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
#include "core/channel_table.h"
#include "core/credit.h"
#include "core/health.h"
#include "core/policy/all.h"
#include "core/scheduler_setup.h"
#include "core/transfer.h"
#include "core/transfer_queue.h"

namespace kvhaul {

struct PostAction {
  ChannelId channel = 0;
  ChunkPost post;
  /// What it waited for if it was not posted at once: window, credit, order, or fault where no
  /// channel was believed to work. For whoever explains a run; it decides nothing, and is in no
  /// log.
  PathPart held_back_by = PathPart::window;
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
  std::uint64_t chunks_posted = 0;  // users' chunks; probes are counted by themselves
  std::uint64_t chunks_resent = 0;
  std::uint64_t probes = 0;
  std::uint64_t late = 0;      // chunks that were late, whether they landed after all or not
  std::uint64_t timeouts = 0;  // chunks that were given up
  std::uint64_t errors = 0;    // completions that were neither ok nor asked for
  std::uint64_t quarantines = 0;
  std::uint64_t readmissions = 0;
  std::uint64_t unexpected = 0;  // completions of chunks that were not in flight
};

/// The longest that a chunk is in flight before it is given up, on a channel with these numbers
/// whose chunks take up to `service_ns` at the rate learned for it (0: what the window holds):
///
///   timeout_factor x (fixed + queued + (stages - 1) x service) + late_floor + timeout_cold
///     + twice what a channel can show to need beyond that (timeout_cold / 4)
///   queued = max(channel_window, link_window, (stages + 1) x service)
///
/// What the backend takes to cancel it comes on top.
TimeNs in_flight_bound_ns(const SchedulerConfig& config, const ChannelNumbers& numbers,
                          TimeNs service_ns);

/// Within so much a transfer has ended, or a chunk or a probe has landed on some channel of its
/// scheduler, whatever is lost:
///
///   stall_timeout + 2 x max(max_attempts, channels of the pair) x longest in_flight_bound_ns()
///
/// since every attempt may wait for another's on a link that is full of lost chunks. What the
/// backend takes to cancel comes on top, once an attempt. Default settings, up to 8 channels and
/// chunks of up to 100 us: 30 s.
TimeNs end_bound_ns(const SchedulerSetup& setup, std::uint32_t pair, TimeNs service_ns);

class Scheduler {
 public:
  /// The setup must pass check_setup().
  explicit Scheduler(SchedulerSetup setup);

  const SchedulerSetup& setup() const { return setup_; }
  /// The number of the pair, for TransferRequest::pair; nothing when no channel joins the two.
  std::optional<std::uint32_t> find_pair(PlaceId source, PlaceId target) const;
  /// Whether some channel of the pair may carry users' chunks now.
  bool is_usable(std::uint32_t pair) const { return !pairs_[pair].candidates.empty(); }

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
  std::size_t chunks_in_flight() const { return chunks_in_flight_; }  // probes included
  std::size_t probes_in_flight() const { return probes_in_flight_; }
  /// Nothing open, nothing but probes in flight, every window and credit given back.
  bool idle() const;
  std::span<const CreditLedger> ledgers() const { return ledgers_; }
  /// That a chunk in flight is a part of; nothing for a probe, and for what is not in flight.
  std::optional<TransferId> transfer_of(ChunkId chunk) const;
  /// Channels of the pair that chunks may go to now: those of its best tier that are believed to
  /// work and are suspected least.
  std::size_t usable_channels(std::uint32_t pair) const { return pairs_[pair].candidates.size(); }
  /// The credit this scheduler holds towards a place, in flight or not; 0 where it has no account.
  Bytes credit_granted(PlaceId target) const;

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
    std::uint32_t transfer = no_id;  // none: it is a probe
    std::uint32_t channel = no_id;   // in flight there; or where it failed last, while it waits
    std::uint32_t older = no_id;     // in flight on the same channel, in posting order
    std::uint32_t newer = no_id;     // the same; or the next one waiting to be sent again
    std::uint16_t attempts = 0;
    bool in_flight = false;
    bool cancelling : 1 = false;
    bool late : 1 = false;  // noticed
    Range range;
    TimeNs service_ns = 0;  // what it added to its channel's queue
    TimeNs late_ns = never_ns;
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

  struct Stalled {
    TimeNs until_ns = 0;
    TransferId transfer = 0;
    static bool later(const Stalled& a, const Stalled& b) {
      return a.until_ns != b.until_ns ? a.until_ns > b.until_ns : a.transfer > b.transfer;
    }
  };

  struct ChannelState {
    Health health;
    ChannelId id = 0;
    std::uint8_t gathers = 0;  // bit m: it can gather by method m
    std::uint32_t pair = 0;
    std::uint32_t tier = 0;
    std::uint32_t first_in_flight = no_id;
    std::uint32_t last_in_flight = no_id;
    std::uint32_t probe = no_id;  // chunk that is in flight as one
    std::uint16_t landed = 0;     // up to history_chunks
    bool watched = false;         // it stands in watched_
    TimeNs last_landed_ns = -1;   // when that was noticed
    /// By how much twice the longest time in flight exceeded what is allowed without slack, halved
    /// every second: what the channel has shown to need beyond its expected times.
    TimeNs slack_ns = 0;
    TimeNs slack_since_ns = 0;
  };

  /// What the channels of a pair have shown of the times that they need, all together.
  struct Shown {
    std::uint64_t look = 0;
    TimeNs slack_ns = 0;   // the largest of any
    bool history = false;  // of some channel
  };

  struct PairState {
    explicit PairState(TimeNs ageing_ns) : queue(ageing_ns) {}

    std::uint32_t first_channel = 0;
    std::uint32_t channel_count = 0;
    std::uint32_t account = 0;
    std::uint32_t parked_link = no_id;  // held back by this link's window
    bool parked_on_credit = false;
    bool blocked = false;                      // the head found no room when it was last tried
    PathPart held_back_by = PathPart::window;  // why, since the queue was empty
    /// When it lost its last usable channel. Until something of it lands, not until one is usable
    /// again: channels that come and go and lose everything are no way either.
    TimeNs hopeless_since_ns = never_ns;
    PairNumbers numbers;
    Shown shown;                            // as of the look of that number
    std::vector<std::uint32_t> candidates;  // usable channels of the best tier that has any
    TransferQueue<Scheduler> queue;
    /// While there are no candidates: when each waiting transfer fails, soonest first.
    std::vector<Stalled> stalled;
  };

  struct LinkState {
    std::uint32_t parked = 0;
    std::vector<std::uint32_t> pairs;     // all that cross it
    std::vector<std::uint32_t> channels;  // the same
    Health health;
    std::uint32_t probe_channel = no_id;  // its probe is in flight there
    std::uint32_t next_channel = 0;       // of `channels`: the first to be looked at for a probe
  };

  struct AccountState {
    CreditAccount credit;
    std::uint32_t parked = 0;
    std::vector<std::uint32_t> pairs;
  };

  friend class TransferQueue<Scheduler>;
  QueueHook& hook(std::uint32_t transfer) { return transfers_[transfer].hook; }

  /// How long after it is late a chunk is given up.
  struct Patience {
    TimeNs first_ns = 0;    // at its first attempt
    TimeNs longest_ns = 0;  // at any
    TimeNs slack_ns = 0;    // on top of either

    TimeNs of_attempt_ns(std::uint32_t attempts) const;
  };

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
  void put_in_flight(TimeNs now, Chunk& chunk, std::uint32_t slot, std::uint32_t channel,
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

  // Channels and links
  void refresh_candidates(TimeNs now, std::uint32_t pair);
  std::uint32_t choose_another(const PairState& pair, std::uint32_t failed,
                               const ChannelTable::Charge& charge);
  template <class Change>
  void change_channel(TimeNs now, std::uint32_t channel, Change change);
  template <class Change>
  void change_link(TimeNs now, std::uint32_t link, Change change);
  template <class Change>
  bool change_health(Health& health, Change change);
  void pump_changed(TimeNs now);
  void landed_on(TimeNs now, std::uint32_t channel, TimeNs late_ns, TimeNs posted_ns);
  void failed_on(TimeNs now, std::uint32_t channel, Outcome outcome);
  void doubt_links(TimeNs now, std::uint32_t channel);
  std::uint32_t doubts(std::uint32_t channel) const;
  bool blocked(std::uint32_t channel) const;
  TimeNs slack_ns(TimeNs now, const ChannelState& channel) const;
  Patience patience_of(TimeNs now, std::uint32_t channel);

  // Probes
  void probe_channel(TimeNs now, std::uint32_t channel);
  void probe_link(TimeNs now, std::uint32_t link);
  void probe_around(TimeNs now, std::uint32_t channel);
  void probe_ended(TimeNs now, std::uint32_t slot, bool failed);
  void probe_failed(TimeNs now, std::uint32_t channel);

  // Time
  void look_at_chunks(TimeNs now, std::uint32_t channel, TimeNs& next);
  void end_stalled(TimeNs now, std::uint32_t pair, TimeNs& next);
  void stall(TimeNs now, PairState& pair, std::uint32_t transfer);
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
  std::size_t probes_in_flight_ = 0;
  std::uint32_t parked_pairs_ = 0;  // on links
  std::uint32_t doubtful_ = 0;      // channels and links whose health is not clean
  TimeNs armed_ns_ = never_ns;
  std::uint64_t looks_ = 0;  // of timer() at what is in flight

  Actions actions_;
  SchedulerCounters counters_;
  std::vector<std::uint32_t> contenders_;  // scratch of pump_after_release()
  std::vector<std::uint32_t> others_;      // scratch of choose_another()
  std::vector<std::uint32_t> changed_;     // pairs whose candidates have changed, to be pumped
  std::vector<std::uint32_t> watched_;     // channels with chunks in flight, and some that had
};

}  // namespace kvhaul
