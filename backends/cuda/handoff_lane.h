// No copy: the block table says where the blocks are. Where this process reads in place, that is
// its own table and nobody else need know. Where the target is held by another process, that one
// gets the table, and a job has landed when it has answered.
#pragma once

#include <algorithm>
#include <array>

#include "backends/cuda/job.h"
#include "backends/cuda/peer_memory.h"

namespace kvhaul::cuda {

class HandoffLane {
 public:
  /// `holder` outlives the lane; null: this process reads in place.
  explicit HandoffLane(PeerMemory* holder) : holder_(holder) {}

  PeerMemory* holder() const { return holder_; }

  bool has_room(const Job&) const { return true; }
  Result<void> enqueue(std::uint32_t slot, const Job& job) {
    posted_ns_[slot] = job.posted_ns;
    if (holder_ == nullptr) return {};
    const auto request = holder_->hand_over(job.pieces);
    if (!request) return request.error();
    requests_[slot] = *request;
    return {};
  }
  Result<bool> landed(std::uint32_t slot, TimeNs seen_ns, Times& times) {
    if (holder_ != nullptr) {
      const auto answered = holder_->answered(requests_[slot]);
      if (!answered) return answered.error();
      if (!*answered) return false;
    }
    const TimeNs done = std::max(seen_ns, posted_ns_[slot]);
    times = Times::one_stage(std::min(done, std::max(posted_ns_[slot], last_done_ns_)), done);
    last_done_ns_ = done;
    return true;
  }
  void release(std::uint32_t /*slot*/) {}

 private:
  PeerMemory* holder_;
  std::array<std::uint64_t, lane_depth> requests_{};
  std::array<TimeNs, lane_depth> posted_ns_{};
  TimeNs last_done_ns_ = 0;
};

}  // namespace kvhaul::cuda
