// Percentiles of a stream of numbers in constant memory.
//
// Buckets are exact below 2^8 and 1/128 of a power of two wide above, so a percentile is off by
// less than 1/128 of its value. Count, sum, smallest and largest are exact.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

namespace kvhaul {

class Histogram {
 public:
  /// Negative values count as zero. `times` is above zero.
  void add(std::int64_t value, std::uint64_t times = 1) {
    value = std::max<std::int64_t>(0, value);
    const std::size_t bucket = bucket_of(static_cast<std::uint64_t>(value));
    if (bucket >= buckets_.size()) buckets_.resize(bucket + 1, 0);
    buckets_[bucket] += times;
    least_ = count_ == 0 ? value : std::min(least_, value);
    most_ = std::max(most_, value);
    sum_ += static_cast<double>(value) * static_cast<double>(times);
    count_ += times;
  }

  std::uint64_t count() const { return count_; }
  double mean() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }
  double sum() const { return sum_; }
  std::int64_t least() const { return least_; }
  std::int64_t most() const { return most_; }

  /// The value below which that share (0..1) of the values lie, linear inside a bucket. The largest
  /// for a share above 1; 0 where nothing was added.
  double percentile(double share) const {
    const double rank = share * static_cast<double>(count_ - 1);
    double below = 0;
    for (std::size_t b = 0; b < buckets_.size(); ++b) {
      const auto here = static_cast<double>(buckets_[b]);
      if (rank < below + here) {
        const double low = low_of(b);
        if (b < (2u << fine_bits)) return low;
        const double into = here > 1 ? (rank - below) / here : 0.5;
        const double high = low_of(b + 1);
        return std::clamp(low + (high - low) * into, static_cast<double>(least_),
                          static_cast<double>(most_));
      }
      below += here;
    }
    return static_cast<double>(most_);
  }

 private:
  static constexpr unsigned fine_bits = 7;  // buckets per power of two: 2^7

  static std::size_t bucket_of(std::uint64_t value) {
    const unsigned width = static_cast<unsigned>(std::bit_width(value));
    const unsigned shift = std::max(width, fine_bits + 1) - (fine_bits + 1);
    return (std::size_t{shift} << fine_bits) + (value >> shift);
  }
  static double low_of(std::size_t bucket) {
    const std::size_t shift = std::max<std::size_t>(bucket >> fine_bits, 1) - 1;
    return std::ldexp(static_cast<double>(bucket - (shift << fine_bits)), static_cast<int>(shift));
  }

  std::vector<std::uint64_t> buckets_;
  std::uint64_t count_ = 0;
  double sum_ = 0;
  std::int64_t least_ = 0;
  std::int64_t most_ = 0;
};

}  // namespace kvhaul
