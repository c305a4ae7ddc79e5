// Patterns and checksums of ranges of one GPU's memory, computed there, on a stream of their own.
#pragma once

#include <span>

#include "backends/cuda/device.h"
#include "backends/cuda/handles.h"
#include "backends/cuda/kernels.h"
#include "backends/cuda/pinned.h"
#include "backends/cuda/status.h"

namespace kvhaul::cuda {

class Payload {
 public:
  /// Blocks. Everything that will ever be needed is allocated now.
  static Result<Payload> open(const Device& device);

  /// Returns before it is done, except that a second call waits for the first.
  Result<void> fill(std::span<const PatternFill> fills);
  /// Whether all that has been filled is there.
  bool filled();
  /// Waits for it.
  Result<void> checksums(std::span<const ChecksumRange> ranges, std::span<std::uint64_t> sums);
  /// Between device and host memory, either way; waits for it.
  Result<void> copy(void* to, const void* from, Bytes bytes);

 private:
  explicit Payload(int device) : device_(device) {}
  Result<void> finish();

  int device_;
  Stream stream_;
  Event filled_;
  bool filling_ = false;
  Pinned list_;  // of fills or ranges
  Pinned sums_;
  DeviceMemory device_sums_;
};

}  // namespace kvhaul::cuda
