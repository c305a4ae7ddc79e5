// Something to compute for a GPU: a kernel that keeps its multiprocessors and its memory busy for a
// time, as prefill would, beside the copies.
#pragma once

#include "backends/cuda/device.h"
#include "backends/cuda/handles.h"
#include "backends/cuda/kernels.h"
#include "backends/cuda/status.h"

namespace kvhaul::cuda {

class Busy {
 public:
  /// Allocates what the kernel works on: four times the largest level-2 cache, so that it reaches
  /// memory. Blocks.
  static Result<Busy> open(const Device& device) {
    Busy busy(device);
    FirstError error(device.ordinal);
    error.then("cudaSetDevice", [&] { return cudaSetDevice(device.ordinal); })
        .then("cudaStreamCreateWithFlags", [&] { return make_stream(busy.stream_); })
        .then("cudaMalloc", [&] { return make_device_memory(busy.memory_, memory_bytes); })
        .then("cudaMemsetAsync",
              [&] {
                return cudaMemsetAsync(busy.memory_.get(), 0, memory_bytes, busy.stream_.get());
              })
        .then("cudaStreamSynchronize", [&] { return cudaStreamSynchronize(busy.stream_.get()); });
    if (!error.ok()) return error.result().error();
    return busy;
  }

  /// Never blocks. Further calls add up, one after the other.
  Result<void> start(TimeNs duration_ns) {
    FirstError error(device_);
    error.then("cudaSetDevice", [&] { return cudaSetDevice(device_); })
        .then("kernel keep_busy", [&] {
          return keep_busy(duration_ns, memory_.get(), memory_bytes, multiprocessors_,
                           stream_.get());
        });
    return error.result();
  }

 private:
  static constexpr Bytes memory_bytes = 512 * MiB;

  explicit Busy(const Device& device)
      : device_(device.ordinal), multiprocessors_(device.multiprocessors) {}

  int device_;
  int multiprocessors_;
  Stream stream_;
  DeviceMemory memory_;
};

}  // namespace kvhaul::cuda
