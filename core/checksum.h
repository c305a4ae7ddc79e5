// The checksum that payload is compared with, end to end.
//
// Each 8-byte word is mixed with its position and the results are added, so that any thread of any
// processor can do any part of it in any order and still see a word that moved. A tail shorter than
// a word is padded with zeros. It finds damage and misplacement; it is no defence against an
// attacker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "core/random.h"

namespace kvhaul {

constexpr std::uint64_t checksum_word(std::uint64_t word, std::uint64_t position) {
  // Two multiplications by odd constants; rotating between them lets high bits reach low ones.
  std::uint64_t x = (word ^ (position * 0x9e3779b97f4a7c15u)) * 0xff51afd7ed558ccdu;
  x ^= x >> 32;
  return x * 0xc4ceb9fe1a85ec53u;
}

/// Of `bytes`, the first of which is word number `first_word` of what is being checked.
inline std::uint64_t checksum(std::span<const std::byte> bytes, std::uint64_t first_word = 0) {
  std::uint64_t sum = 0;
  const std::size_t words = bytes.size() / 8;
  for (std::size_t i = 0; i < words; ++i) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + 8 * i, 8);
    sum += checksum_word(word, first_word + i);
  }
  if (bytes.size() % 8 != 0) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + 8 * words, bytes.size() % 8);
    sum += checksum_word(word, first_word + words);
  }
  return sum;
}

/// Fills with bytes that depend on the seed and the position only.
inline void fill_pattern(std::span<std::byte> bytes, std::uint64_t seed) {
  const std::uint64_t start = mix64(seed);
  const std::size_t words = bytes.size() / 8;
  for (std::size_t i = 0; i < words; ++i) {
    const std::uint64_t word = (start + i) * 0x9e3779b97f4a7c15u;
    std::memcpy(bytes.data() + 8 * i, &word, 8);
  }
  if (bytes.size() % 8 != 0) {
    const std::uint64_t word = (start + words) * 0x9e3779b97f4a7c15u;
    std::memcpy(bytes.data() + 8 * words, &word, bytes.size() % 8);
  }
}

}  // namespace kvhaul
