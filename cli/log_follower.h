// What an event log tells, followed from its start: transfers by their number, the chunks in
// flight, and what each transfer waited for.
//
// Transfers are numbered over all schedulers of a log file, in the order of their submissions,
// from 0.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/critical_path.h"
#include "core/event_log.h"

namespace kvhaul::cli {

struct LoggedTransfer {
  std::uint64_t number = 0;
  TransferId id = 0;
  std::uint32_t pair = 0;
  PlaceId source = no_id, target = no_id;
  std::uint64_t tag = 0;
  Bytes bytes = 0;
  std::size_t pieces = 0;
  TimeNs submitted_ns = 0;
  TimeNs deadline_ns = never_ns;
  Priority priority = Priority::normal;
};

struct LoggedChunk {
  std::optional<std::uint64_t> transfer;  // its number; none: a probe
  ChannelId channel = 0;
  Bytes bytes = 0;
  TimeNs posted_ns = 0;
};

class LogFollower {
 public:
  /// Of one scheduler.
  struct State {
    explicit State(const SchedulerSetup& setup) : path(setup) {}

    std::vector<std::uint64_t> numbers;                  // of transfers, by their slot
    std::map<std::uint64_t, LoggedTransfer> open;        // by number
    std::unordered_map<ChunkId, LoggedChunk> in_flight;  // posted, and not back
    CriticalPath path;
  };

  /// What the log says next; to be called for every event, in order.
  void follow(const LogEntry& entry);

  // Of the event that was followed last:

  const State& state() const { return *state_; }
  /// That was submitted or cancelled; nothing where the scheduler does not know it.
  const LoggedTransfer* transfer() const { return transfer_ ? &*transfer_ : nullptr; }
  /// That came back, as it was in flight; nothing for what was not.
  const LoggedChunk* chunk() const { return chunk_ ? &*chunk_ : nullptr; }
  /// Transfers that ended with it, in the order of Actions::ends; TransferEnd::path is what the
  /// delivered ones waited for, as in a run.
  const std::vector<std::pair<LoggedTransfer, TransferEnd>>& ended() const { return ended_; }

 private:
  std::optional<LoggedTransfer> known(TransferId id) const;

  std::map<std::pair<std::uint64_t, std::uint32_t>, State> states_;  // by log and scheduler
  State* state_ = nullptr;
  std::uint64_t transfers_ = 0;
  std::optional<LoggedTransfer> transfer_;
  std::optional<LoggedChunk> chunk_;
  std::vector<std::pair<LoggedTransfer, TransferEnd>> ended_;
};

}  // namespace kvhaul::cli
