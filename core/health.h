// Whether something that carries chunks may be used: one channel, or a link that several share.
//
//         something on it is late           a probe fails           time is over
//   up ---------------------------> suspected -------> quarantined ------------> probing
//   ^                                   |              ^         ^                |    |
//   |                                   |              |         +----------------+    |
//   |                                   |              |      it fails: twice as long  |
//   +-----------------------------------+              +-- errors in a row, from up    |
//   +----------------------------------------------------------------------------------+
//      something lands
//   A channel's backend has the last word: down until it says that the link is up, then probing.
//
// A suspected thing is avoided where there is another way; one that is quarantined, probing or down
// carries probes alone. Values only: no clock, no threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/scheduler_setup.h"
#include "core/units.h"

namespace kvhaul {

class Health {
 public:
  enum class State : std::uint8_t { up, suspected, probing, quarantined, down };

  State state() const { return state_; }
  /// Users' chunks may not use it.
  bool blocked() const { return state_ >= State::probing; }
  bool suspected() const { return state_ == State::suspected; }
  /// A probe could show that it works.
  bool wants_probe() const { return state_ == State::suspected || state_ == State::probing; }
  /// Nothing that has happened to it is remembered.
  bool clean() const { return state_ == State::up && errors_ == 0; }
  /// When a quarantine ends; never_ns when none runs.
  TimeNs quarantine_end_ns() const {
    return state_ == State::quarantined ? quarantine_end_ns_ : never_ns;
  }

  /// Something that crossed it has landed. A quarantine runs to its end all the same.
  void landed() {
    errors_ = 0;
    if (!wants_probe()) return;
    state_ = State::up;
    penalty_ns_ = 0;
  }
  void suspect() {
    if (state_ == State::up) state_ = State::suspected;
  }
  /// A failure that alone proves little.
  void error(TimeNs now, const SchedulerConfig& config) {
    ++errors_;
    if (errors_ >= config.quarantine_errors) fail(now, config);
  }
  /// It does not work: quarantine, twice as long as the last one if nothing has landed since.
  void fail(TimeNs now, const SchedulerConfig& config) {
    if (state_ == State::quarantined || state_ == State::down) return;
    penalty_ns_ = penalty_ns_ == 0 ? config.quarantine_ns
                                   : std::min(2 * penalty_ns_, config.quarantine_max_ns);
    state_ = State::quarantined;
    quarantine_end_ns_ = add_time(now, penalty_ns_);
  }
  /// True when that changed something.
  bool end_quarantine(TimeNs now) {
    if (state_ != State::quarantined || now < quarantine_end_ns_) return false;
    state_ = State::probing;
    return true;
  }
  void link(bool up) {
    if (!up)
      state_ = State::down;
    else if (state_ == State::down)
      state_ = State::probing;
  }

 private:
  State state_ = State::up;
  std::uint32_t errors_ = 0;  // in a row
  TimeNs penalty_ns_ = 0;     // of the last quarantine; 0 once something has landed
  TimeNs quarantine_end_ns_ = 0;
};

}  // namespace kvhaul
