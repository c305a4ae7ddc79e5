// A small seeded generator whose numbers are the same on every machine (the standard library's
// distributions are not). splitmix64: S. Vigna, public domain description,
// https://prng.di.unimi.it/splitmix64.c
#pragma once

#include <cstdint>

#include "core/units.h"

namespace kvhaul {

/// One step of splitmix64's output function; also a good 64-bit mixer for hashing small keys.
constexpr std::uint64_t mix64(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// Satisfies UniformRandomBitGenerator, so it also drives Boost.Random's portable distributions.
class Random {
 public:
  using result_type = std::uint64_t;

  explicit constexpr Random(std::uint64_t seed) : state_(seed) {}

  /// An independent stream for a part of the program: the same seed and name give the same stream.
  constexpr Random derived(std::uint64_t part) const { return Random(mix64(state_ ^ mix64(part))); }

  constexpr std::uint64_t operator()() {
    const std::uint64_t out = mix64(state_);
    state_ += 0x9e3779b97f4a7c15u;
    return out;
  }
  static constexpr std::uint64_t min() { return 0; }
  static constexpr std::uint64_t max() { return ~std::uint64_t{0}; }

  /// Uniform in [0, bound); bound must be positive. Multiply-shift: biased by less than bound/2^64.
  constexpr std::uint64_t below(std::uint64_t bound) {
    return static_cast<std::uint64_t>((static_cast<Wide>((*this)()) * bound) >> 64);
  }
  /// Uniform in [low, high], both included.
  constexpr std::uint64_t between(std::uint64_t low, std::uint64_t high) {
    return low + below(high - low + 1);
  }
  /// Uniform in [0, 1) with 53 random bits.
  constexpr double unit() { return static_cast<double>((*this)() >> 11) * 0x1.0p-53; }
  constexpr bool chance(double probability) { return unit() < probability; }

 private:
  std::uint64_t state_;
};

}  // namespace kvhaul
