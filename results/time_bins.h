// Amounts over time in bounded memory. Bins are equal, and twice as wide whenever the run outgrows
// them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "core/units.h"

namespace kvhaul {

/// `Value` can be added up and multiplied with a number of nanoseconds.
template <class Value, std::size_t bins_limit>
class TimeBins {
 public:
  static constexpr std::size_t bins_max = bins_limit;

  /// From one time to the other, the latter above 0, there was so much.
  void add(TimeNs from_ns, TimeNs to_ns, const Value& value) {
    if (to_ns <= from_ns) return;
    while ((to_ns - 1) / bin_ns_ >= static_cast<TimeNs>(bins_max)) widen();
    const auto last = static_cast<std::size_t>((to_ns - 1) / bin_ns_);
    if (last >= sums_.size()) sums_.resize(last + 1);
    auto bin = static_cast<std::size_t>(from_ns / bin_ns_);
    for (TimeNs at = from_ns; at < to_ns; ++bin) {
      const TimeNs end = std::min(to_ns, static_cast<TimeNs>(bin + 1) * bin_ns_);
      sums_[bin] += value * static_cast<double>(end - at);
      at = end;
    }
  }
  void widen() {
    bin_ns_ *= 2;
    for (std::size_t i = 0; 2 * i < sums_.size(); ++i) {
      Value both = sums_[2 * i];
      if (2 * i + 1 < sums_.size()) both += sums_[2 * i + 1];
      sums_[i] = both;
    }
    sums_.resize((sums_.size() + 1) / 2);
  }

  TimeNs bin_ns() const { return bin_ns_; }
  std::size_t bins() const { return sums_.size(); }
  /// Value x nanoseconds.
  Value sum(std::size_t bin) const { return bin < sums_.size() ? sums_[bin] : Value{}; }
  Value mean(std::size_t bin) const { return sum(bin) * (1 / static_cast<double>(bin_ns_)); }

 private:
  TimeNs bin_ns_ = 1 * ms_ns;
  std::vector<Value> sums_;
};

/// How many bytes were queued.
using QueueMeter = TimeBins<double, 512>;

}  // namespace kvhaul
