// CUDA's streams, events and memory as owned values. Each belongs to the device that was current
// when it was made.
#pragma once

#include <cuda_runtime_api.h>
#include <memory>

namespace kvhaul::cuda {

struct DestroyStream {
  void operator()(cudaStream_t stream) const { cudaStreamDestroy(stream); }
};
struct DestroyEvent {
  void operator()(cudaEvent_t event) const { cudaEventDestroy(event); }
};
struct FreeDeviceMemory {
  void operator()(std::byte* memory) const { cudaFree(memory); }
};
using Stream = std::unique_ptr<CUstream_st, DestroyStream>;
using Event = std::unique_ptr<CUevent_st, DestroyEvent>;
using DeviceMemory = std::unique_ptr<std::byte, FreeDeviceMemory>;

/// A stream that waits for no other one.
inline cudaError_t make_stream(Stream& stream) {
  cudaStream_t made = nullptr;
  const cudaError_t code = cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking);
  stream.reset(made);
  return code;
}
/// An event that knows its time; with `timed` false only whether it has happened.
inline cudaError_t make_event(Event& event, bool timed = true) {
  cudaEvent_t made = nullptr;
  const cudaError_t code =
      cudaEventCreateWithFlags(&made, timed ? cudaEventDefault : cudaEventDisableTiming);
  event.reset(made);
  return code;
}
inline cudaError_t make_device_memory(DeviceMemory& memory, std::size_t bytes) {
  void* made = nullptr;
  const cudaError_t code = cudaMalloc(&made, bytes);
  memory.reset(static_cast<std::byte*>(made));
  return code;
}

}  // namespace kvhaul::cuda
