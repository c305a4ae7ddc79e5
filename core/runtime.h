// The loop that joins schedulers, a backend and the client that asks for transfers.
//
// It runs the same in real and in virtual time: Backend::wait() either sleeps or moves the clock.
// One scheduler per node; each sees only its own events. Everything happens on the calling thread.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "core/backend.h"
#include "core/critical_path.h"
#include "core/event_log.h"
#include "core/scheduler.h"

namespace kvhaul {

/// Who asks for transfers: the serving side of a replay, a test, a benchmark. Its members are
/// called from Runtime::run(), and may call the runtime's submit(), cancel() and send().
class RuntimeClient {
 public:
  virtual ~RuntimeClient() = default;
  /// When run() should be called next; never_ns when only an event can bring more to do.
  virtual TimeNs next_ns() const = 0;
  /// Does everything that is due at `now`.
  virtual void run(TimeNs now) = 0;
  /// What ended on the channels since the last call, before the schedulers hear of it. For meters.
  virtual void chunks_ended(std::span<const Completion> /*completions*/) {}
  virtual void transfer_ended(TimeNs now, const TransferEnd& end) = 0;
  /// A message of a kind from first_client_message up, sent by this client on some node.
  virtual void message(TimeNs now, const ControlMessage& message) = 0;
  /// The process that drives a node is gone for good.
  virtual void node_lost(TimeNs /*now*/, NodeId /*node*/) {}
  /// No more to ask for; the loop ends when its transfers have ended, too.
  virtual bool done() const = 0;
};

/// A pair of places and the scheduler that drives the channels between them.
struct PairHandle {
  std::uint32_t scheduler = 0;
  std::uint32_t pair = 0;
};

struct TransferHandle {
  std::uint32_t scheduler = 0;
  TransferId transfer = 0;
};

class Runtime {
 public:
  /// The backend has been opened with the channels that the setups name. `log` may be null.
  Runtime(Backend& backend, std::vector<SchedulerSetup> setups, EventLogWriter* log);

  std::optional<PairHandle> find_pair(PlaceId source, PlaceId target) const;
  /// Whether some channel of the pair may carry users' chunks now; else what is submitted waits.
  bool is_usable(PairHandle pair) const { return schedulers_[pair.scheduler].is_usable(pair.pair); }
  /// request.pair is filled in from the handle.
  TransferHandle submit(TimeNs now, PairHandle pair, TransferRequest request);
  void cancel(TimeNs now, TransferHandle transfer);
  void send(const ControlMessage& message) { backend_.send(message); }
  /// What a delivered transfer of the pair waited for from then on, not before its submission,
  /// until its end was reported. Only while transfer_ended() tells of it.
  PathParts critical_path(PairHandle pair, const TransferEnd& end, TimeNs since_ns) {
    if (since_ns <= end.submitted_ns) return end.path;
    return paths_[pair.scheduler].parts(end.last_flight, since_ns);
  }
  /// By which its last chunk came; likewise.
  ChannelId last_channel(PairHandle pair, const TransferEnd& end) const {
    return paths_[pair.scheduler].channel(end.last_flight);
  }

  /// Runs until the client is done and nothing is open. Fails when nothing can happen any more
  /// although something is open, which a sound backend never lets come true.
  Result<void> run(RuntimeClient& client);

  std::span<const Scheduler> schedulers() const { return schedulers_; }

 private:
  /// Logs the decisions that an event led to and takes the timer; the other actions wait until the
  /// loop carries them out.
  void after_event(std::uint32_t scheduler);
  void deliver_events(TimeNs now, RuntimeClient& client);
  void tell_of_chunks(RuntimeClient& client);
  void fire_timers(TimeNs now);
  void deliver_ends(TimeNs now, RuntimeClient& client);
  void carry_out();
  void withdraw(Actions& actions);
  void post(const Actions& actions);
  TimeNs next_timer_ns() const;
  bool idle() const;
  bool nothing_in_flight() const;
  std::uint32_t scheduler_of_node(NodeId node) const;

  Backend& backend_;
  EventLogWriter* log_;
  std::vector<Scheduler> schedulers_;
  std::vector<TimeNs> timers_ns_;    // by scheduler
  std::vector<CriticalPath> paths_;  // the same
  std::vector<DecisionMark> marks_;  // by scheduler; how far its actions are traced and logged
  std::vector<std::uint32_t> scheduler_of_channel_;  // by ChannelId
  BackendEvents events_;
  std::vector<Completion> withdrawn_;     // of posts that were cancelled before they were made
  std::vector<ChunkPost> batch_;          // scratch of post()
  std::vector<TransferEnd> ends_;         // scratch of deliver_ends()
  std::vector<Completion> users_chunks_;  // scratch of tell_of_chunks()
};

}  // namespace kvhaul
