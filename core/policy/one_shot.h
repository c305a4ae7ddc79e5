// Baseline: bytes / bandwidth, the way most serving simulators think of a transfer. Everything in
// one piece on the channel that is fastest on paper.
#pragma once

#include <string_view>
#include <vector>

#include "core/policy/policy.h"

namespace kvhaul {

class OneShot {
 public:
  static constexpr std::string_view name = "one_shot";
  static constexpr std::string_view summary =
      "the whole transfer in one chunk on the channel that is fastest on paper";
  static constexpr bool repeatable = true;

  explicit OneShot(const SchedulerSetup&) {}

  Bytes chunk_bytes(const PairNumbers& pair, Bytes, std::size_t) const {
    return pair.max_chunk_bytes;
  }

  std::uint32_t choose(const Choice& choice) const {
    std::uint32_t best = choice.candidates.front();
    for (const std::uint32_t channel : choice.candidates)
      if (choice.table.advertised_cost(channel).q32() < choice.table.advertised_cost(best).q32())
        best = channel;
    return best;
  }
};

}  // namespace kvhaul
