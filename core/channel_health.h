// Whether a channel may be used: up, down, in quarantine after errors, or on probation.
//
//        errors in a row              time is over               the probe lands
//   up ------------------> quarantine ------------> probing --------------------> up
//                              ^                        | it fails: twice as long
//                              +------------------------+
//   The backend's word (link down, link up) overrides: down until up is said, then probing.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/scheduler_setup.h"
#include "core/units.h"

namespace kvhaul {

class ChannelHealth {
 public:
  enum class State : std::uint8_t { up, probing, quarantined, down };

  State state() const { return state_; }
  /// Takes chunks; a probing channel only one at a time.
  bool usable(std::uint32_t in_flight) const {
    return state_ == State::up || (state_ == State::probing && in_flight == 0);
  }
  bool probing() const { return state_ == State::probing; }
  /// When a quarantine ends; never_ns when none runs.
  TimeNs quarantine_end_ns() const {
    return state_ == State::quarantined ? quarantine_end_ns_ : never_ns;
  }

  void success() {
    errors_ = 0;
    if (state_ == State::up) [[likely]]
      return;
    if (state_ == State::probing) {
      state_ = State::up;
      penalty_ns_ = 0;
    }
  }

  void error(TimeNs now, const SchedulerConfig& config) {
    ++errors_;
    const bool probe_failed = state_ == State::probing;
    if (!probe_failed && (state_ != State::up || errors_ < config.quarantine_errors)) return;
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
  TimeNs penalty_ns_ = 0;
  TimeNs quarantine_end_ns_ = 0;
};

}  // namespace kvhaul
