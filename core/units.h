// Time, sizes and rates as the whole of kvhaul counts them.
//
// Time is an integer count of nanoseconds. Sizes are bytes. Rates are bytes per second, printed in
// decimal GB/s (1e9 B/s); sizes are printed in KiB/MiB/GiB. Text with units ("55.3 GB/s", "3.1 us",
// "4 MiB") is read and written by unit_text.h.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace kvhaul {

using TimeNs = std::int64_t;
using Bytes = std::uint64_t;

/// Later than everything: "no deadline", "no timer", "nothing will happen by itself".
inline constexpr TimeNs never_ns = std::numeric_limits<TimeNs>::max();

inline constexpr TimeNs us_ns = 1'000;
inline constexpr TimeNs ms_ns = 1'000'000;
inline constexpr TimeNs s_ns = 1'000'000'000;

inline constexpr Bytes KiB = 1024;
inline constexpr Bytes MiB = 1024 * KiB;
inline constexpr Bytes GiB = 1024 * MiB;

__extension__ typedef unsigned __int128 Wide;  // products of two 64-bit numbers, nothing else

/// a + b, or never_ns where that would pass it. Neither may be negative together with the other.
constexpr TimeNs add_time(TimeNs a, TimeNs b) {
  TimeNs sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? never_ns : sum;
}

/// What one byte costs in nanoseconds, as a 32.32 fixed-point number, so that every machine and
/// compiler computes the same time for the same bytes (decisions must replay byte for byte).
/// Resolution 2^-32 ns per byte: at 900 GB/s the rounding error is 1 part in 4.7 million.
class ByteCost {
 public:
  constexpr ByteCost() = default;
  static constexpr ByteCost from_q32(std::uint64_t ns_per_byte_q32) {
    ByteCost cost;
    cost.q32_ = ns_per_byte_q32;
    return cost;
  }
  /// bytes_per_s must be positive and finite.
  static ByteCost from_rate(double bytes_per_s) {
    return from_q32(static_cast<std::uint64_t>(std::llround(1e9 / bytes_per_s * 4294967296.0)));
  }
  constexpr TimeNs of(Bytes bytes) const {
    return static_cast<TimeNs>((static_cast<Wide>(bytes) * q32_) >> 32);
  }
  constexpr std::uint64_t q32() const { return q32_; }
  double bytes_per_s() const { return 1e9 * 4294967296.0 / static_cast<double>(q32_); }

 private:
  std::uint64_t q32_ = 0;
};

}  // namespace kvhaul
