#include "backends/cuda/copy_lane.h"

#include <algorithm>

namespace kvhaul::cuda {

Result<CopyLane> CopyLane::open(const Device& device, EventClock& clock, std::uint32_t pieces_max) {
  CopyLane lane(device, clock, pieces_max);
  FirstError error(device.ordinal);
  error.then("cudaSetDevice", [&] { return cudaSetDevice(device.ordinal); });
  error.then("cudaStreamCreateWithFlags", [&] { return make_stream(lane.stream_); });
  for (Event& event : lane.done_) error.then("cudaEventCreate", [&] { return make_event(event); });
  if (!error.ok()) return error.result().error();
  if (auto made = lane.lists_.make(lane_depth, pieces_max, device.numa_node); !made)
    return made.error();
  return lane;
}

Result<void> CopyLane::enqueue(std::uint32_t slot, const Job& job) {
  const cudaStream_t stream = stream_.get();
  FirstError error(device_);
  error.then("cudaSetDevice", [&] { return cudaSetDevice(device_); });
  if (job.pieces.size() == 1) {
    const PieceCopy& piece = job.pieces[0];
    error.then("cudaMemcpyAsync", [&] {
      return cudaMemcpyAsync(piece.to, piece.from, piece.bytes, cudaMemcpyDefault, stream);
    });
  } else if (job.gather == Gather::through || job.gather == Gather::pack) {
    // With one stage there is nothing to pack for: the kernel reaches the target itself.
    const std::span<PieceCopy> list = lists_.list(slot);
    std::copy(job.pieces.begin(), job.pieces.end(), list.begin());
    error.then("kernel copy_pieces", [&] {
      return copy_pieces(list.data(), static_cast<std::uint32_t>(job.pieces.size()), copying_blocks,
                         stream);
    });
  } else if (job.gather == Gather::batch) {
    batch_.clear();
    for (const PieceCopy& piece : job.pieces) batch_.add(piece);
    error.then("cudaMemcpyBatchAsync", [&] { return batch_.start(stream); });
  } else {
    for (const PieceCopy& piece : job.pieces)
      error.then("cudaMemcpyAsync", [&] {
        return cudaMemcpyAsync(piece.to, piece.from, piece.bytes, cudaMemcpyDefault, stream);
      });
  }
  error.then("cudaEventRecord", [&] { return cudaEventRecord(done_[slot].get(), stream); });
  posted_ns_[slot] = job.posted_ns;
  return error.result();
}

Result<bool> CopyLane::landed(std::uint32_t slot, TimeNs seen_ns, Times& times) {
  const cudaError_t code = cudaEventQuery(done_[slot].get());
  if (code == cudaErrorNotReady) return false;
  if (code != cudaSuccess) return checked(code, "cudaEventQuery", device_).error();
  const TimeNs done = std::max(clock_->time_of(done_[slot], seen_ns), posted_ns_[slot]);
  // A stream begins the next copy when the one before it is done.
  times = Times::one_stage(std::min(done, std::max(posted_ns_[slot], last_done_ns_)), done);
  last_done_ns_ = done;
  return true;
}

}  // namespace kvhaul::cuda
