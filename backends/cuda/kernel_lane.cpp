#include "backends/cuda/kernel_lane.h"

#include <algorithm>
#include <atomic>
#include <new>

namespace kvhaul::cuda {
namespace {

static_assert(lane_depth <= work_slots);

/// A group fills NVLink by itself; with two, one copies while the other makes its job visible (4
/// MiB at a time over NVLink 4: 329 GB/s instead of 243, bench/multi_gpu_bench on two H100).
constexpr unsigned groups = 2;
constexpr unsigned blocks_most = 32;  // of a group
constexpr TimeNs look_every_ns = 1 * ms_ns;

}  // namespace

Result<KernelLane> KernelLane::open(const Device& device, std::uint32_t pieces_max) {
  KernelLane lane(device.ordinal);
  // A quarter of the GPU's multiprocessors and of their threads each: others compute there.
  lane.blocks_ = std::clamp(static_cast<unsigned>(device.multiprocessors) / 4, 1u, blocks_most);
  lane.list_capacity_ = pieces_max;
  auto memory = make_pinned(sizeof(WorkQueue), device.numa_node);
  if (!memory) return memory.error();
  lane.memory_ = std::move(*memory);
  lane.queue_ = new (lane.memory_.get()) WorkQueue();
  if (auto made = lane.lists_.make(work_slots, pieces_max, device.numa_node); !made)
    return made.error();
  FirstError error(device.ordinal);
  error.then("cudaSetDevice", [&] { return cudaSetDevice(device.ordinal); })
      .then("cudaStreamCreateWithFlags", [&] { return make_stream(lane.stream_); })
      .then("cudaMalloc", [&] { return make_device_memory(lane.shared_, sizeof(WorkShared)); })
      .then("cudaMalloc",
            [&] {
              return make_device_memory(lane.device_lists_,
                                        Bytes{work_slots} * pieces_max * sizeof(PieceCopy));
            })
      .then("cudaMemsetAsync",
            [&] {
              return cudaMemsetAsync(lane.shared_.get(), 0, sizeof(WorkShared), lane.stream_.get());
            })
      .then("cudaStreamSynchronize", [&] { return cudaStreamSynchronize(lane.stream_.get()); });
  if (!error.ok()) return error.result().error();
  return lane;
}

KernelLane::~KernelLane() { stop(); }

void KernelLane::stop() {
  if (!started_ || !stream_) return;  // moved from, or never used
  started_ = false;
  std::atomic_ref<std::uint64_t>(const_cast<std::uint64_t&>(queue_->stop)).store(1);
  cudaStreamSynchronize(stream_.get());
}

Result<void> KernelLane::enqueue(std::uint32_t slot, const Job& job) {
  if (!started_) {
    FirstError error(device_);
    error.then("cudaSetDevice", [&] { return cudaSetDevice(device_); }).then("kernel serve", [&] {
      return serve(queue_, reinterpret_cast<WorkShared*>(shared_.get()),
                   reinterpret_cast<PieceCopy*>(device_lists_.get()), list_capacity_, blocks_,
                   groups, stream_.get());
    });
    if (!error.ok()) return error.result();
    started_ = true;
  }
  ++posted_;
  const auto work = static_cast<std::uint32_t>(posted_ % work_slots);
  WorkItem& item = queue_->items[work];
  item.bytes = job.bytes;
  item.count = static_cast<std::uint32_t>(job.pieces.size());
  if (item.count == 1) {
    item.single = job.pieces[0];
  } else {
    const std::span<PieceCopy> list = lists_.list(work);
    std::copy(job.pieces.begin(), job.pieces.end(), list.begin());
    item.list = list.data();
  }
  posted_ns_[slot] = job.posted_ns;
  std::atomic_ref<std::uint64_t>(const_cast<std::uint64_t&>(queue_->posted))
      .store(posted_, std::memory_order_release);
  return {};
}

Result<bool> KernelLane::landed(std::uint32_t slot, TimeNs seen_ns, Times& times) {
  volatile WorkDone& done = queue_->done[(landed_ + 1) % work_slots];
  const std::uint64_t number =
      std::atomic_ref<std::uint64_t>(const_cast<std::uint64_t&>(done.number))
          .load(std::memory_order_acquire);
  if (number != landed_ + 1) {
    // A kernel that has died writes nothing any more; CUDA knows.
    if (seen_ns - looked_ns_ < look_every_ns) return false;
    looked_ns_ = seen_ns;
    const cudaError_t code = cudaStreamQuery(stream_.get());
    if (code == cudaErrorNotReady) return false;
    return Error::missing(
        error_text(code == cudaSuccess ? cudaErrorUnknown : code, "kernel serve", device_));
  }
  ++landed_;
  clock_.seen(done.done_ns, seen_ns);
  const TimeNs end = std::max(posted_ns_[slot], std::min(seen_ns, clock_.time_of(done.done_ns)));
  times = Times::one_stage(std::clamp(clock_.time_of(done.started_ns), posted_ns_[slot], end), end);
  return true;
}

}  // namespace kvhaul::cuda
