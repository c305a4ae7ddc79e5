// Baseline: what Mooncake's classic transfer engine does. Slices of 64 KiB, each on a random one of
// the NICs nearest to the memory, without a look at the load.
#pragma once

#include <string_view>

#include "core/policy/policy.h"
#include "core/random.h"

namespace kvhaul {

class NearRandom {
 public:
  static constexpr std::string_view name = "near_random";
  static constexpr std::string_view summary =
      "a random one of the nearest channels; 64 KiB slices, as Mooncake's classic engine";
  static constexpr bool repeatable = false;

  explicit NearRandom(const SchedulerSetup& setup) : random_(setup.config.seed) {
    for (const SetupChannel& channel : setup.channels)
      distance_.push_back(channel.numbers.distance);
  }

  Bytes chunk_bytes(const PairNumbers& pair, Bytes, std::size_t) const {
    return std::min<Bytes>(64 * KiB, pair.max_chunk_bytes);
  }

  std::uint32_t choose(const Choice& choice) {
    // Candidates come nearest first, so the near ones are a prefix.
    std::size_t near = 1;
    while (near < choice.candidates.size() &&
           distance_[choice.candidates[near]] == distance_[choice.candidates[0]])
      ++near;
    return choice.candidates[random_.below(near)];
  }

 private:
  Random random_;
  std::vector<std::uint32_t> distance_;  // by channel
};

}  // namespace kvhaul
