// Copies that go straight from source to target: between two GPUs by a copy engine or
// by kernels that are launched per chunk, and between a GPU and pinned host memory.
#pragma once

#include <array>

#include "backends/cuda/batch_copy.h"
#include "backends/cuda/device.h"
#include "backends/cuda/event_clock.h"
#include "backends/cuda/job.h"
#include "backends/cuda/piece_lists.h"

namespace kvhaul::cuda {

class CopyLane {
 public:
  /// On the device that drives the lane. `clock` outlives it. Blocks.
  static Result<CopyLane> open(const Device& device, EventClock& clock, std::uint32_t pieces_max);

  bool has_room(const Job&) const { return true; }
  Result<void> enqueue(std::uint32_t slot, const Job& job);
  Result<bool> landed(std::uint32_t slot, TimeNs seen_ns, Times& times);
  void release(std::uint32_t /*slot*/) {}
  int device() const { return device_; }

 private:
  CopyLane(const Device& device, EventClock& clock, std::uint32_t pieces_max)
      : device_(device.ordinal), clock_(&clock), batch_(device.batched_copies, pieces_max) {}

  int device_;
  EventClock* clock_;
  Stream stream_;
  BatchCopy batch_;
  PieceLists lists_;
  std::array<Event, lane_depth> done_;
  std::array<TimeNs, lane_depth> posted_ns_{};
  TimeNs last_done_ns_ = 0;
};

}  // namespace kvhaul::cuda
