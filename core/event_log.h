// The event log: every event of every scheduler and every decision it led to, with its time.
//
// A log holds the setups, so that it needs nothing else: verify_log() builds the schedulers again,
// feeds them the events and compares the decisions byte for byte. The format, its version and what
// an unreadable one looks like are in docs/event-log.md.
//
// What most chunks have in common is predicted and costs a flag instead of bytes: streamed layer by
// layer, a chunk is about 32 bytes in all (measured in docs/event-log.md).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/backend.h"
#include "core/event_log_codec.h"
#include "core/result.h"
#include "core/scheduler.h"
#include "core/scheduler_setup.h"

namespace kvhaul {

/// How far into a scheduler's pending actions a log has got.
struct DecisionMark {
  std::size_t posts = 0, cancels = 0, ends = 0, messages = 0;
};

namespace detail {
/// What the writer and the reader both know from the records so far, and predict the next from.
struct LogMemory {
  struct Chunk {
    ChannelId channel = 0;
    std::uint32_t generation = 0;
    TimeNs posted_ns = 0;
  };
  struct Scheduler {
    std::vector<Chunk> chunks;                        // by slot
    std::vector<std::uint32_t> transfer_generations;  // by slot
  };
  std::vector<Scheduler> schedulers;
  std::uint32_t scheduler = 0;
  TimeNs now = 0;
  std::uint64_t tag = 0;
  Descriptor first;  // of the last submission
};
}  // namespace detail

class EventLogWriter {
 public:
  /// Takes the next bytes of the log; false when it could not.
  using Sink = std::function<bool(std::span<const std::uint8_t>)>;

  EventLogWriter(std::span<const SchedulerSetup> setups, Sink sink);

  // Events, before the scheduler is told of them. `scheduler` is an index into the setups.
  void submit(std::uint32_t scheduler, TimeNs now, const TransferRequest& request);
  void cancel(std::uint32_t scheduler, TimeNs now, TransferId transfer);
  void complete(std::uint32_t scheduler, TimeNs now, const Completion& completion);
  void channel_change(std::uint32_t scheduler, TimeNs now, const ChannelChange& change);
  void credit(std::uint32_t scheduler, TimeNs now, const ControlMessage& message);
  void timer(std::uint32_t scheduler, TimeNs now);

  /// Decisions of the scheduler of the last event, from the mark on; moves the mark. A timer in the
  /// actions is written every time: the caller takes it out after each event.
  void decisions(const Actions& actions, DecisionMark& mark);

  /// Writes what is left and the end mark. Fails when any byte could not be written. Without
  /// close() a log has no end mark, and is refused by verify_log() as truncated.
  Result<void> close();

  /// Once the sink has failed it is not called again: nothing is recorded any more. The run goes on
  /// unless this was called.
  void end_run_on_failure() { ends_run_on_failure_ = true; }
  bool run_must_end() const { return sink_failed_ && ends_run_on_failure_; }

 private:
  friend class LogVerifier;
  void begin(std::uint8_t kind, std::uint8_t flags, std::uint32_t scheduler, TimeNs now);
  void byte(std::uint8_t value) { buffer_.push_back(value); }
  void number(std::uint64_t value);
  void difference(std::uint64_t value, std::uint64_t base);
  void flush();

  Sink sink_;
  bool sink_failed_ = false;
  bool ends_run_on_failure_ = false;
  std::uint64_t records_ = 0;
  std::vector<std::uint8_t> buffer_;
  detail::LogMemory memory_;
  detail::StreamHash hash_;
};

/// What happened in one record of a log, for printing and for verify_log().
enum class LogRecord : std::uint8_t {
  submit = 1,
  cancel = 2,
  complete = 3,
  channel_change = 4,
  credit = 5,
  timer = 6,
  post = 8,
  cancel_chunk = 9,
  end = 10,
  message = 11,
  arm = 12,
  end_of_log = 15,
};

/// An event of a log, and what its scheduler decided on it. What it points to is good until the
/// next.
struct LogEntry {
  LogRecord kind = LogRecord::timer;  // of the event: up to `timer`
  std::uint64_t log = 0;              // of several behind each other, from 0
  std::uint32_t scheduler = 0;        // in its log
  TimeNs now = 0;
  const TransferRequest* request = nullptr;  // submit
  TransferId transfer = 0;                   // submit: that it became; cancel
  const Completion* completion = nullptr;    // complete
  const ChannelChange* change = nullptr;     // channel_change
  const ControlMessage* message = nullptr;   // credit
  const Actions* actions = nullptr;          // decided on it
  const Scheduler* state = nullptr;          // after it
};
using LogVisitor = std::function<void(const LogEntry&)>;

struct VerifyReport {
  std::uint64_t logs = 0;  // one behind the other
  std::uint64_t schedulers = 0;
  std::uint64_t events = 0;
  std::uint64_t decisions = 0;
  std::uint64_t chunks = 0;
  std::uint64_t transfers = 0;
  bool identical = false;
  std::string first_difference;  // when not: record number, time, what the log has, what came out
};

/// Reads a log from start to end and replays it. Several logs behind each other, one of each
/// process of a run, are one: their schedulers know nothing of each other. How many there should be
/// is not known here; the report counts them. Errors (bad_input) are about the file: not a log,
/// another version, truncated, damaged; they name the byte. A difference in decisions is no error.
Result<VerifyReport> verify_log(const std::string& path);
/// The same for bytes in memory; `name` stands for the file in errors.
Result<VerifyReport> verify_log(std::span<const std::uint8_t> bytes, const std::string& name);
/// The same, and tells of every event in the order of the log. The decisions are those that the
/// schedulers take now: where the report is not identical, those of the last event told are not
/// what stands there.
Result<VerifyReport> read_log(const std::string& path, const LogVisitor& visit);

/// Of all events and decisions of a log with their times, but not of its setups, of timers that
/// were armed, and of those that ran out and changed nothing. Two logs with the same value differ
/// in their timers at most. Errors as in verify_log(); a decision that differs is one here, too.
Result<std::uint64_t> hash_without_timers(std::span<const std::uint8_t> bytes,
                                          const std::string& name);

}  // namespace kvhaul
