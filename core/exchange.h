// The processes of a run: how they tell each other what they have before it, and what came of it
// after it. Never used while bytes move; what nodes say to each other then goes through the
// backend.
//
// Threading: one thread calls an exchange, always the same. Blocking: every call may block, and
// fails instead of blocking for good when a process is gone or does not answer.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/units.h"

namespace kvhaul {

class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual std::uint32_t rank() const = 0;
  virtual std::uint32_t size() const = 0;

  // A star: one of the two ends is always process 0. Messages between two processes stay in order.
  virtual Result<void> send(std::uint32_t to, std::string_view bytes) = 0;
  virtual Result<std::string> receive(std::uint32_t from) = 0;
  /// Process 0: a message of each of the others, which then wait for an answer, by rank; its own
  /// place is empty. Fails with the first of them that has failed, where the exchange can tell,
  /// however long others take.
  virtual Result<std::vector<std::string>> receive_from_all();

  /// This process leaves because of that error: what the others call next fails with it. Process 0
  /// tells all, the others tell process 0.
  virtual void abandon(const Error& /*error*/) {}
};

/// An error on its way to the other processes, and what it is there: one printable line of at most
/// 1,000 characters, whatever the other one sent.
std::string farewell_of(const Error& error);
Error farewell_in(std::string_view text, std::uint32_t from);

/// What every process has, by rank, in every process. All of them call it; nobody gets it before
/// everybody has come.
Result<std::vector<std::string>> all_gather(Exchange& exchange, std::string_view mine);

/// What each process has for each other one: takes a text for every rank, and gives that of every
/// rank for this process. All of them call it. It passes through process 0, and reaches nobody
/// else.
Result<std::vector<std::string>> all_to_all(Exchange& exchange,
                                            const std::vector<std::string>& for_each);

/// What to add to this process's clock to have that of process 0. From the quickest of many round
/// trips, wrong by at most half of it. All processes call it; process 0 gets 0.
struct ClockOffset {
  TimeNs offset_ns = 0;
  TimeNs uncertain_ns = 0;
};
Result<ClockOffset> clock_offset(Exchange& exchange, const std::function<TimeNs()>& now);

/// A run that is one process.
class Alone final : public Exchange {
 public:
  std::uint32_t rank() const override { return 0; }
  std::uint32_t size() const override { return 1; }
  Result<void> send(std::uint32_t, std::string_view) override;
  Result<std::string> receive(std::uint32_t) override;
};

}  // namespace kvhaul
