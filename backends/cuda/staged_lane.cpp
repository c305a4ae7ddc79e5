#include "backends/cuda/staged_lane.h"

#include <algorithm>

namespace kvhaul::cuda {
namespace {

constexpr Bytes round_up(Bytes bytes, Bytes unit) { return (bytes + unit - 1) / unit * unit; }

}  // namespace

Result<void> StagedLane::open_half(Half& half, End end, Bytes staging_bytes,
                                   std::uint32_t pieces_max) {
  half.device = end.device->ordinal;
  half.clock = end.clock;
  FirstError error(half.device);
  error.then("cudaSetDevice", [&] { return cudaSetDevice(half.device); });
  for (Stream* stream : {&half.copies, &half.kernels})
    error.then("cudaStreamCreateWithFlags", [&] { return make_stream(*stream); });
  for (Event& event : half.between)
    error.then("cudaEventCreate", [&] { return make_event(event, false); });
  if (staging_bytes != 0)
    error.then("cudaMalloc", [&] { return make_device_memory(half.staging, staging_bytes); });
  for (Event& event : half.done) error.then("cudaEventCreate", [&] { return make_event(event); });
  if (!error.ok()) return error.result();
  return half.lists.make(lane_depth, pieces_max, end.device->numa_node);
}

Result<StagedLane> StagedLane::open(End from, End to, Bytes ring_bytes, std::uint32_t pieces_max,
                                    bool packs) {
  StagedLane lane(ring_bytes, from.device->batched_copies, pieces_max);
  // On the sender's node, where the route says that the bounce buffer is (core/route.cpp).
  auto ring = make_pinned(ring_bytes, from.device->numa_node);
  if (!ring) return ring.error();
  lane.ring_memory_ = std::move(*ring);
  const Bytes staging = packs ? ring_bytes : 0;
  if (auto opened = open_half(lane.from_, from, staging, pieces_max); !opened)
    return opened.error();
  if (auto opened = open_half(lane.to_, to, staging, pieces_max); !opened) return opened.error();
  return lane;
}

Bytes StagedLane::staged_bytes(const Job& job) {
  if (job.pieces.size() == 1) return job.bytes;
  Bytes sum = 0;
  for (const PieceCopy& piece : job.pieces) sum += round_up(piece.bytes, 16);
  return sum;
}

bool StagedLane::has_room(const Job& job) const {
  return ring_.room(staged_bytes(job)).has_value();
}

Gather StagedLane::gather_of(const Job& job) {
  return job.pieces.size() == 1 ? Gather::each : job.gather;
}

void StagedLane::start_half(Half& half, std::uint32_t slot, const Job& job, Bytes at, bool down,
                            cudaEvent_t after, FirstError& error) {
  const Gather gather = gather_of(job);
  std::byte* const ring = ring_memory_.get() + at;
  // Where the pieces lie one after the other: in the ring, or on the device on their way to it.
  const bool packs = gather == Gather::pack && half.staging;
  std::byte* const joined = packs ? half.staging.get() + at : ring;
  const auto each_piece = [&](auto take) {
    Bytes offset = 0;
    for (const PieceCopy& piece : job.pieces) {
      take(down ? PieceCopy{joined + offset, piece.from, piece.bytes}
                : PieceCopy{piece.to, joined + offset, piece.bytes});
      offset += round_up(piece.bytes, 16);
    }
    return offset;
  };
  const auto wait_for = [&](cudaStream_t stream, cudaEvent_t event) {
    error.then("cudaStreamWaitEvent", [&] { return cudaStreamWaitEvent(stream, event, 0); });
  };
  const auto record = [&](const Event& event, cudaStream_t stream) {
    error.then("cudaEventRecord", [&] { return cudaEventRecord(event.get(), stream); });
  };
  const auto copy = [&](void* to, const void* from, Bytes bytes) {
    error.then("cudaMemcpyAsync", [&] {
      return cudaMemcpyAsync(to, from, bytes,
                             down ? cudaMemcpyDeviceToHost : cudaMemcpyHostToDevice,
                             half.copies.get());
    });
  };
  const bool with_kernel = gather == Gather::pack || gather == Gather::through;
  const cudaStream_t first =
      with_kernel && (down || !packs) ? half.kernels.get() : half.copies.get();
  if (after != nullptr) wait_for(first, after);
  if (!with_kernel) {
    if (gather == Gather::batch) {
      batch_.clear();
      each_piece([&](const PieceCopy& piece) { batch_.add(piece); });
      error.then("cudaMemcpyBatchAsync", [&] { return batch_.start(half.copies.get()); });
    } else {
      each_piece([&](const PieceCopy& piece) { copy(piece.to, piece.from, piece.bytes); });
    }
    record(half.done[slot], half.copies.get());
    return;
  }
  const std::span<PieceCopy> list = half.lists.list(slot);
  std::uint32_t count = 0;
  const Bytes bytes = each_piece([&](const PieceCopy& piece) { list[count++] = piece; });
  if (packs && !down) {
    copy(joined, ring, bytes);
    record(half.between[slot], half.copies.get());
    wait_for(half.kernels.get(), half.between[slot].get());
  }
  error.then("kernel copy_pieces", [&] {
    return copy_pieces(list.data(), count, packs ? packing_blocks : copying_blocks,
                       half.kernels.get());
  });
  if (packs && down) {
    record(half.between[slot], half.kernels.get());
    wait_for(half.copies.get(), half.between[slot].get());
    copy(ring, joined, bytes);
  }
  record(half.done[slot], packs && down ? half.copies.get() : half.kernels.get());
}

Result<void> StagedLane::enqueue(std::uint32_t slot, const Job& job) {
  const Bytes at = ring_.take(staged_bytes(job));
  posted_ns_[slot] = job.posted_ns;

  FirstError error(from_.device);
  error.then("cudaSetDevice", [&] { return cudaSetDevice(from_.device); });
  start_half(from_, slot, job, at, true, nullptr, error);
  if (from_.device != to_.device)
    error.then("cudaSetDevice", [&] { return cudaSetDevice(to_.device); });
  start_half(to_, slot, job, at, false, from_.done[slot].get(), error);
  return error.result();
}

Result<bool> StagedLane::landed(std::uint32_t slot, TimeNs seen_ns, Times& times) {
  const cudaError_t code = cudaEventQuery(to_.done[slot].get());
  if (code == cudaErrorNotReady) return false;
  if (code != cudaSuccess) return checked(code, "cudaEventQuery", to_.device).error();
  const TimeNs posted = posted_ns_[slot];
  const TimeNs down = std::max(from_.clock->peek(from_.done[slot].get(), seen_ns), posted);
  times.done_ns = std::max(to_.clock->time_of(to_.done[slot], seen_ns), down);
  times.started_ns = std::min(down, std::max(posted, last_down_ns_));
  times.first_stage_done_ns = times.last_stage_started_ns = last_down_ns_ = down;
  return true;
}

void StagedLane::release(std::uint32_t /*slot*/) { ring_.release(); }

}  // namespace kvhaul::cuda
