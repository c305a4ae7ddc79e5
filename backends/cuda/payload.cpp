#include "backends/cuda/payload.h"

#include <algorithm>
#include <cstring>

namespace kvhaul::cuda {
namespace {

constexpr std::uint64_t lists = 64;
constexpr std::size_t ranges_at_once = 8192;
constexpr Bytes sums_bytes = ranges_at_once * sizeof(std::uint64_t);

}  // namespace

Result<Payload> Payload::open(const Device& device) {
  Payload payload(device.ordinal);
  static_assert(sizeof(PatternFill) >= sizeof(ChecksumRange));
  for (const auto& [memory, bytes] :
       {std::pair(&payload.lists_, lists * ranges_at_once * sizeof(PatternFill)),
        std::pair(&payload.sums_, lists * sums_bytes),
        std::pair(&payload.sum_copies_, lists * sizeof(PieceCopy))}) {
    auto made = make_pinned(bytes, device.numa_node);
    if (!made) return made.error();
    *memory = std::move(*made);
  }
  FirstError error(device.ordinal);
  error.then("cudaSetDevice", [&] { return cudaSetDevice(device.ordinal); })
      .then("cudaStreamCreateWithFlags", [&] { return make_stream(payload.stream_); })
      .then("cudaMalloc",
            [&] { return make_device_memory(payload.device_sums_, lists * sums_bytes); });
  payload.events_.resize(lists);
  for (Event& event : payload.events_)
    error.then("cudaEventCreate", [&] { return make_event(event, false); });
  if (!error.ok()) return error.result().error();
  return payload;
}

template <class Item>
Item* Payload::list(std::uint64_t call) const {
  return reinterpret_cast<Item*>(lists_.get() +
                                 call % lists * ranges_at_once * sizeof(PatternFill));
}

std::uint64_t* Payload::sums(std::uint64_t call) const {
  return reinterpret_cast<std::uint64_t*>(sums_.get() + call % lists * sums_bytes);
}

Result<std::uint64_t> Payload::done() {
  while (!calls_.empty()) {
    const std::uint64_t oldest = begun_ - calls_.size();
    const cudaError_t code = cudaEventQuery(events_[oldest % lists].get());
    if (code == cudaErrorNotReady) break;
    if (code != cudaSuccess) return checked(code, "cudaEventQuery", device_).error();
    const std::span<std::uint64_t> wanted = calls_.front().sums;
    std::copy_n(sums(oldest), wanted.size(), wanted.begin());
    calls_.pop_front();
  }
  return begun_ - calls_.size();
}

Result<void> Payload::make_room() {
  while (calls_.size() == lists) {
    const auto answered = done();
    if (!answered) return answered.error();
  }
  return {};
}

template <class Launch>
Result<void> Payload::launch(std::span<std::uint64_t> sums, Launch kernels) {
  FirstError error(device_);
  error.then("cudaSetDevice", [&] { return cudaSetDevice(device_); });
  kernels(error);
  error.then("cudaEventRecord",
             [&] { return cudaEventRecord(events_[begun_ % lists].get(), stream_.get()); });
  if (!error.ok()) return error.result();
  ++begun_;
  calls_.push_back({sums});
  return {};
}

Result<std::uint64_t> Payload::fill(std::span<const PatternFill> fills) {
  while (!fills.empty()) {
    if (auto room = make_room(); !room) return room.error();
    const std::size_t count = std::min(fills.size(), ranges_at_once);
    auto* const list = this->list<PatternFill>(begun_);
    std::copy_n(fills.begin(), count, list);
    auto launched = launch({}, [&](FirstError& error) {
      error.then("kernel fill", [&] {
        return fill_patterns(list, static_cast<std::uint32_t>(count), stream_.get());
      });
    });
    if (!launched) return launched.error();
    fills = fills.subspan(count);
  }
  return begun_;
}

Result<std::uint64_t> Payload::begin_checksums(std::span<const ChecksumRange> ranges,
                                               std::span<std::uint64_t> wanted) {
  while (!ranges.empty()) {
    if (auto room = make_room(); !room) return room.error();
    const std::size_t count = std::min(ranges.size(), ranges_at_once);
    const Bytes bytes = count * sizeof(std::uint64_t);
    auto* const list = this->list<ChecksumRange>(begun_);
    std::copy_n(ranges.begin(), count, list);
    std::byte* const device_sums = device_sums_.get() + begun_ % lists * sums_bytes;
    // By a kernel: a copy would wait behind large ones in the queue of a copy engine.
    PieceCopy* const home = reinterpret_cast<PieceCopy*>(sum_copies_.get()) + begun_ % lists;
    *home = {reinterpret_cast<std::byte*>(sums(begun_)), device_sums, bytes};
    auto launched = launch(wanted.first(count), [&](FirstError& error) {
      error
          .then("cudaMemsetAsync",
                [&] { return cudaMemsetAsync(device_sums, 0, bytes, stream_.get()); })
          .then("kernel checksum",
                [&] {
                  return add_checksums(list, static_cast<std::uint32_t>(count),
                                       reinterpret_cast<std::uint64_t*>(device_sums),
                                       stream_.get());
                })
          .then("kernel copy_pieces", [&] { return copy_pieces(home, 1, 1, stream_.get()); });
    });
    if (!launched) return launched.error();
    ranges = ranges.subspan(count);
    wanted = wanted.subspan(count);
  }
  return begun_;
}

Result<void> Payload::copy(void* to, const void* from, Bytes bytes) {
  FirstError error(device_);
  error.then("cudaSetDevice", [&] { return cudaSetDevice(device_); })
      .then("cudaMemcpyAsync",
            [&] { return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_.get()); })
      .then("cudaStreamSynchronize", [&] { return cudaStreamSynchronize(stream_.get()); });
  return error.result();
}

}  // namespace kvhaul::cuda
