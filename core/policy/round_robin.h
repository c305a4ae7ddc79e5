// Baseline: channels in turn, whatever their load.
#pragma once

#include <string_view>
#include <vector>

#include "core/policy/policy.h"

namespace kvhaul {

class RoundRobin {
 public:
  static constexpr std::string_view name = "round_robin";
  static constexpr std::string_view summary = "the pair's channels in turn; chunks of 512 KiB";
  static constexpr bool repeatable = false;

  explicit RoundRobin(const SchedulerSetup& setup) : next_(setup.pairs.size(), 0) {}

  /// 512 KiB as in UCCL P2P, another engine that spreads chunks over queue pairs in turn.
  Bytes chunk_bytes(const PairNumbers& pair, Bytes, std::size_t) const {
    return std::min<Bytes>(512 * KiB, pair.max_chunk_bytes);
  }

  std::uint32_t choose(const Choice& choice) {
    return choice.candidates[next_[choice.pair]++ % choice.candidates.size()];
  }

 private:
  std::vector<std::uint32_t> next_;  // by pair
};

}  // namespace kvhaul
