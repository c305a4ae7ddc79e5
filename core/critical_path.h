// Finds what a transfer waited for, moment by moment: its critical path.
//
// From the end backwards, each moment has one cause, the one that ended last:
//
//   a chunk leaves the wire  after it began there: when posting was through with it, or when the
//                            chunk before it had left their channel
//   posting is through       after it was given to the backend, or after posting was through with
//                            the chunk before it from the same place
//   it is given to it        when another chunk has come back and made room
//
// and so on, back to the moment that is asked about. Every moment lies in one PathPart
// (transfer.h).
//
// One of a scheduler, fed by the runtime from its events and actions; it decides nothing.
// Only times and causes are written down for each chunk, since nearly all wait for nobody. What
// lies before a moment is summed up when somebody asks, once for each moment; then looking back
// over n chunks takes O(log n) steps.
//
// Threading: none. Nothing blocks. Memory: 280 bytes for every chunk posted since the oldest open
// transfer was submitted; allocates only when that outgrows all it has held so far.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/scheduler.h"

namespace kvhaul {

class CriticalPath {
 public:
  explicit CriticalPath(const SchedulerSetup& setup);

  // The event that its scheduler is told next; posted() and ended() are what it led to.

  void submitted(TimeNs now, TransferId transfer);
  void completed(TimeNs now, const Completion& completion);
  /// Any other.
  void happened(TimeNs now);

  void posted(const PostAction& action);
  /// Returns the name of its last flight, for parts().
  std::uint64_t ended(TransferId transfer);

  /// From `since_ns`, not before its submission, until the scheduler was told of the last landing.
  /// Known until forget() is called after the transfer has ended.
  PathParts parts(std::uint64_t last_flight, TimeNs since_ns) {
    PathParts parts;
    add_parts(last_flight, since_ns, parts);
    return parts;
  }
  /// The same into `parts`, which must be empty: a result that is copied right after it was written
  /// costs more than finding it.
  void add_parts(std::uint64_t last_flight, TimeNs since_ns, PathParts& parts);

  /// That its last chunk came by; the flight must be known as above.
  ChannelId channel(std::uint64_t last_flight) const { return flight(last_flight).channel; }

  /// Of what no open transfer can have waited for.
  void forget() {
    // The ring stays small: what is written next is in the processor's cache.
    if (2 * (next_ - first_) >= ring_.size()) [[unlikely]]
      forget_old();
  }

 private:
  /// Moments of a flight.
  enum Step : std::uint64_t { decided, ready, left };
  static constexpr std::size_t step_count = 3;
  /// One attempt of a chunk: one cache line. Others are named by how far back they are; 0: none.
  struct alignas(64) Flight {
    std::uint32_t generation = 0;  // of its chunk
    ChannelId channel = 0;
    PathPart held_back_by = PathPart::order;  // before it was decided, or before all that is known
    std::uint8_t followed = 0;                // bit s: chains_ has its moment of step s
    bool ready_known = false;
    bool failed = false;
    std::uint32_t cause_back = 0;            // moment that it was decided after
    std::uint32_t before_back = 0;           // flight posted before it, from the same place
    std::int32_t ahead_back = 0;             // flight that came back before it, on its channel
    std::array<TimeNs, step_count> at_ns{};  // by Step; the last two once it is back
    TimeNs done_ns = 0;
    TimeNs reported_ns = 0;  // never_ns while it is in flight
  };
  static_assert(sizeof(Flight) == 64);
  /// What lies before a moment.
  struct Chain {
    PathParts before;        // from the first moment of its chain to it
    std::uint64_t jump = 0;  // one further up, so that any can be reached in few steps
    std::uint64_t depth = 0;
  };

  // Moments have numbers: 4 x flight + step.
  Flight& flight(std::uint64_t number) { return ring_[number & (ring_.size() - 1)]; }
  const Flight& flight(std::uint64_t number) const { return ring_[number & (ring_.size() - 1)]; }
  TimeNs at_ns(std::uint64_t moment) const { return flight(moment / 4).at_ns[moment % 4]; }
  bool known(std::uint64_t moment) const { return moment / 4 >= first_; }
  bool waited_for_posting(std::uint64_t number) const;
  bool waited_for_channel(std::uint64_t number) const;
  /// The moment that one follows from; it need not be known.
  std::uint64_t cause(std::uint64_t moment) const;
  /// What was waited for between the two.
  PathPart part(std::uint64_t moment) const;
  Chain& chain(std::uint64_t moment) {
    return chains_[moment / 4 & (ring_.size() - 1)][moment % 4];
  }
  void follow(std::uint64_t moment);
  void forget_old();
  void grow();

  struct Channel {
    std::uint32_t pair = 0;
    std::uint32_t poster = 0;
    TimeNs fixed_ns = 0;
    std::uint64_t last = 0;  // flight that came back last; 0: none
  };
  ChannelId first_channel_id_ = 0;
  std::vector<Channel> channels_;            // by ChannelId - first_channel_id_
  std::vector<std::uint64_t> last_of_pair_;  // flight posted last; 0: none
  std::vector<std::uint64_t> last_of_poster_;
  std::vector<std::uint64_t> of_slot_;  // by slot of the chunk
  // Of flights first_ to next_ - 1; a power of two in length.
  std::vector<Flight> ring_;
  std::vector<std::array<Chain, step_count>> chains_;
  std::uint64_t first_ = 1, next_ = 1;
  std::vector<std::uint64_t> trail_;  // scratch of follow()

  TimeNs now_ = 0;
  std::uint64_t cause_ = 0;  // flight that the event ended
  bool submission_ = false;

  struct Open {
    TimeNs since_ns = 0;
    TransferId transfer = 0;
  };
  std::vector<Open> open_;  // in order of submission, from oldest_ on; and ended ones
  std::size_t oldest_ = 0;
  std::vector<std::uint32_t> ended_;  // by slot: the newest generation that has
};

}  // namespace kvhaul
