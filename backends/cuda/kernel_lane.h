// A kernel that stays on the GPU and copies with loads and stores, 16 bytes at a time, between
// memory that it reaches through pointers: its own, another GPU's over NVLink or PCIe, or pinned
// host memory.
//
// The host writes a chunk into a queue in pinned memory and later reads there that it has landed:
// no call into CUDA for a chunk. One block reads the queue ahead, the others copy (kernels.cu).
#pragma once

#include <array>
#include <memory>

#include "backends/cuda/device.h"
#include "backends/cuda/handles.h"
#include "backends/cuda/job.h"
#include "backends/cuda/piece_lists.h"
#include "backends/cuda/status.h"
#include "backends/cuda/timer_clock.h"

namespace kvhaul::cuda {

class KernelLane {
 public:
  /// The kernel starts with the first chunk: while it runs, nothing may be allocated on its device,
  /// which would wait for it. Blocks.
  static Result<KernelLane> open(const Device& device, std::uint32_t pieces_max);
  KernelLane(KernelLane&&) = default;
  KernelLane& operator=(KernelLane&&) = delete;
  ~KernelLane();

  bool has_room(const Job&) const { return true; }
  Result<void> enqueue(std::uint32_t slot, const Job& job);
  Result<bool> landed(std::uint32_t slot, TimeNs seen_ns, Times& times);
  void release(std::uint32_t /*slot*/) {}
  /// Ends the kernel when what it has been given has landed. Before any memory of the device is
  /// freed, also of other lanes: that would wait for the kernel.
  void stop();
  int device() const { return device_; }

 private:
  explicit KernelLane(int device) : device_(device) {}

  int device_;
  unsigned blocks_ = 0;  // of a group
  std::uint32_t list_capacity_ = 0;
  Pinned memory_;  // a WorkQueue
  WorkQueue* queue_ = nullptr;
  DeviceMemory shared_, device_lists_;
  PieceLists lists_;
  Stream stream_;
  bool started_ = false;
  std::uint64_t posted_ = 0, landed_ = 0;
  TimeNs looked_ns_ = 0;  // when the kernel was last asked whether it still runs
  TimerClock clock_;
  std::array<TimeNs, lane_depth> posted_ns_{};
};

}  // namespace kvhaul::cuda
