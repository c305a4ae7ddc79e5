// A GPU's global timer on the clock of the run: the least delay between a time that a kernel wrote
// and the host's seeing it, over the last 50 ms or so, is taken for the distance of the two clocks.
#pragma once

#include <algorithm>

#include "core/units.h"

namespace kvhaul::cuda {

class TimerClock {
 public:
  /// Call for what has been seen at `seen_ns`; time_of() may then be asked for earlier times.
  void seen(std::uint64_t timer_ns, TimeNs seen_ns) {
    const TimeNs distance = seen_ns - static_cast<TimeNs>(timer_ns);
    least_ = std::min(least_, distance);
    distance_ = std::min(distance_, distance);
    if (seen_ns < renew_ns_) return;
    distance_ = least_;
    least_ = never_ns;
    renew_ns_ = seen_ns + renew_after_ns;
  }
  TimeNs time_of(std::uint64_t timer_ns) const { return static_cast<TimeNs>(timer_ns) + distance_; }

 private:
  static constexpr TimeNs renew_after_ns = 50 * ms_ns;

  TimeNs distance_ = never_ns;
  TimeNs least_ = never_ns;
  TimeNs renew_ns_ = 0;
};

}  // namespace kvhaul::cuda
