// How many bytes were queued, over time: mean per bin, in bounded memory. Bins are equal, and twice
// as wide whenever the run outgrows them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "core/units.h"

namespace kvhaul {

class QueueMeter {
 public:
  static constexpr std::size_t bins_max = 512;

  /// So many bytes were queued from one time to the other.
  void add(TimeNs from_ns, TimeNs to_ns, Bytes bytes) {
    if (to_ns <= from_ns) return;
    while (to_ns / bin_ns_ >= static_cast<TimeNs>(bins_max)) widen();
    const auto last = static_cast<std::size_t>(to_ns / bin_ns_);
    if (last >= byte_ns_.size()) byte_ns_.resize(last + 1, 0);
    auto bin = static_cast<std::size_t>(from_ns / bin_ns_);
    for (TimeNs at = from_ns; at < to_ns; ++bin) {
      const TimeNs end = std::min(to_ns, static_cast<TimeNs>(bin + 1) * bin_ns_);
      byte_ns_[bin] += static_cast<double>(bytes) * static_cast<double>(end - at);
      at = end;
    }
  }

  TimeNs bin_ns() const { return bin_ns_; }
  std::size_t bins() const { return byte_ns_.size(); }
  double mean_bytes(std::size_t bin) const { return byte_ns_[bin] / static_cast<double>(bin_ns_); }

 private:
  void widen() {
    bin_ns_ *= 2;
    for (std::size_t i = 0; 2 * i < byte_ns_.size(); ++i)
      byte_ns_[i] = byte_ns_[2 * i] + (2 * i + 1 < byte_ns_.size() ? byte_ns_[2 * i + 1] : 0);
    byte_ns_.resize((byte_ns_.size() + 1) / 2);
  }

  TimeNs bin_ns_ = 1 * ms_ns;
  std::vector<double> byte_ns_;
};

}  // namespace kvhaul
