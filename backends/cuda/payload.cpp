#include "backends/cuda/payload.h"

#include <algorithm>
#include <cstring>

namespace kvhaul::cuda {
namespace {

constexpr std::size_t ranges_at_once = 16384;

}  // namespace

Result<Payload> Payload::open(const Device& device) {
  Payload payload(device.ordinal);
  static_assert(sizeof(PatternFill) >= sizeof(ChecksumRange));
  auto list = make_pinned(ranges_at_once * sizeof(PatternFill), device.numa_node);
  if (!list) return list.error();
  payload.list_ = std::move(*list);
  auto sums = make_pinned(ranges_at_once * sizeof(std::uint64_t), device.numa_node);
  if (!sums) return sums.error();
  payload.sums_ = std::move(*sums);
  FirstError error(device.ordinal);
  error.then("cudaSetDevice", [&] { return cudaSetDevice(device.ordinal); })
      .then("cudaStreamCreateWithFlags", [&] { return make_stream(payload.stream_); })
      .then("cudaEventCreate", [&] { return make_event(payload.filled_, false); })
      .then("cudaMalloc", [&] {
        return make_device_memory(payload.device_sums_, ranges_at_once * sizeof(std::uint64_t));
      });
  if (!error.ok()) return error.result().error();
  return payload;
}

Result<void> Payload::finish() {
  filling_ = false;
  return checked(cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize", device_);
}

Result<void> Payload::fill(std::span<const PatternFill> fills) {
  auto* const list = reinterpret_cast<PatternFill*>(list_.get());
  for (; !fills.empty(); fills = fills.subspan(std::min(fills.size(), ranges_at_once))) {
    if (auto done = finish(); !done) return done;  // the list is in use until then
    const std::size_t count = std::min(fills.size(), ranges_at_once);
    std::copy_n(fills.begin(), count, list);
    FirstError error(device_);
    error.then("cudaSetDevice", [&] { return cudaSetDevice(device_); })
        .then("kernel fill",
              [&] { return fill_patterns(list, static_cast<std::uint32_t>(count), stream_.get()); })
        .then("cudaEventRecord", [&] { return cudaEventRecord(filled_.get(), stream_.get()); });
    if (!error.ok()) return error.result();
    filling_ = true;
  }
  return {};
}

bool Payload::filled() {
  if (filling_ && cudaEventQuery(filled_.get()) != cudaErrorNotReady) filling_ = false;
  return !filling_;
}

Result<void> Payload::checksums(std::span<const ChecksumRange> ranges,
                                std::span<std::uint64_t> sums) {
  auto* const list = reinterpret_cast<ChecksumRange*>(list_.get());
  auto* const device_sums = reinterpret_cast<std::uint64_t*>(device_sums_.get());
  while (!ranges.empty()) {
    if (auto done = finish(); !done) return done;
    const std::size_t count = std::min(ranges.size(), ranges_at_once);
    std::copy_n(ranges.begin(), count, list);
    const Bytes bytes = count * sizeof(std::uint64_t);
    FirstError error(device_);
    error.then("cudaSetDevice", [&] { return cudaSetDevice(device_); })
        .then("cudaMemsetAsync",
              [&] { return cudaMemsetAsync(device_sums, 0, bytes, stream_.get()); })
        .then("kernel checksum",
              [&] {
                return add_checksums(list, static_cast<std::uint32_t>(count), device_sums,
                                     stream_.get());
              })
        .then("cudaMemcpyAsync", [&] {
          return cudaMemcpyAsync(sums_.get(), device_sums, bytes, cudaMemcpyDeviceToHost,
                                 stream_.get());
        });
    if (!error.ok()) return error.result();
    if (auto done = finish(); !done) return done;
    std::memcpy(sums.data(), sums_.get(), bytes);
    ranges = ranges.subspan(count);
    sums = sums.subspan(count);
  }
  return {};
}

Result<void> Payload::copy(void* to, const void* from, Bytes bytes) {
  FirstError error(device_);
  error.then("cudaSetDevice", [&] { return cudaSetDevice(device_); }).then("cudaMemcpyAsync", [&] {
    return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_.get());
  });
  if (!error.ok()) return error.result();
  return finish();
}

}  // namespace kvhaul::cuda
