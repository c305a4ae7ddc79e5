// The requests that a timeline shows: of a long run every n-th completed one, n a power of two, so
// that there are at most so many, and those with the longest time to first token in any case.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "results/timeline.h"
#include "serving/replay_config.h"
#include "serving/replay_result.h"

namespace kvhaul {

class RequestSample {
 public:
  static constexpr std::size_t requests_max = 512;
  static constexpr std::size_t slowest_max = 20;

  /// The configuration must outlive this.
  explicit RequestSample(const ReplayConfig& config) : config_(config) {}

  void add(const RequestResult& completed, const std::vector<TransferRow>& rows);

  /// That many-th completed request is there.
  std::uint64_t every() const { return every_; }
  /// All that are kept, in the order of the trace.
  std::vector<TimelineRequest> requests() const;

 private:
  TimelineRequest whole(const RequestResult& result, const std::vector<TransferRow>& rows) const;

  const ReplayConfig& config_;
  std::uint64_t every_ = 1;
  std::vector<TimelineRequest> requests_;
  std::vector<TimelineRequest> slowest_;  // a heap, the fastest of them in front
};

}  // namespace kvhaul
