// Some chunks of a run, for its timeline: of every stretch of time the first few that landed in it,
// so that bursts are seen as bursts, and memory does not grow with the run. Stretches are equal,
// and twice as long whenever the run outgrows them.
#pragma once

#include <span>
#include <vector>

#include "core/backend.h"

namespace kvhaul {

class ChunkSample {
 public:
  static constexpr std::size_t bins_max = 256;
  static constexpr std::size_t chunks_of_bin = 8;

  void chunks_ended(std::span<const Completion> completions);

  TimeNs bin_ns() const { return bin_ns_; }
  /// In order of time.
  std::vector<Completion> chunks() const;

 private:
  TimeNs bin_ns_ = 1 * ms_ns;
  std::vector<std::vector<Completion>> bins_;
};

}  // namespace kvhaul
