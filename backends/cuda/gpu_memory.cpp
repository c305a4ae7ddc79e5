// GPU memory for a backend that moves it through NICs (backends/device_memory.h).
#include <array>
#include <filesystem>
#include <map>
#include <set>
#include <unistd.h>

#include "backends/cuda/cuda.h"
#include "backends/cuda/driver.h"
#include "backends/cuda/payload.h"
#include "backends/cuda/piece_lists.h"
#include "core/random.h"

namespace kvhaul::cuda {
namespace {

/// cudaMalloc gives so much or more a block of its own, which begins at a multiple of it: drivers
/// of other devices take whole pages only.
constexpr Bytes block_bytes = 2 * MiB;

Bytes rounded(Bytes bytes, Bytes unit) { return (bytes + unit - 1) / unit * unit; }

/// One GPU of the run.
struct Gpu {
  Device device;
  Payload payload;
  bool dma_buf = false;      // what its driver says of it
  bool rdma = false;         // the same
  bool needs_flush = false;  // before it sees what others have written
};

class GpuSegment final : public DeviceSegment {
 public:
  static Result<std::unique_ptr<DeviceSegment>> make(const Driver& driver, Gpu& gpu, Bytes bytes) {
    std::unique_ptr<GpuSegment> segment(new GpuSegment(driver, gpu));
    segment->allocated_ = rounded(bytes, block_bytes);
    std::byte* at = nullptr;
    FirstError error(gpu.device.ordinal);
    error.then("cudaSetDevice", [&] { return cudaSetDevice(gpu.device.ordinal); })
        .then("cudaMalloc",
              [&] { return make_device_memory(segment->memory_, segment->allocated_); })
        .then("cudaMemset",
              [&] {
                at = segment->memory_.get();
                return cudaMemset(at, 0, segment->allocated_);
              })
        .then("cudaDeviceSynchronize", [] { return cudaDeviceSynchronize(); });
    if (!error.ok()) {
      cudaGetLastError();
      return error.result().error();
    }
    // Copies that wait must have left the GPU's own queues when they return: a NIC reads next.
    unsigned yes = 1;
    const CUresult code = driver.set_attribute(&yes, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS,
                                               reinterpret_cast<CUdeviceptr>(at));
    if (code != CUDA_SUCCESS)
      return Error::missing(driver_error(driver, "cuPointerSetAttribute(SYNC_MEMOPS)", code));
    return std::unique_ptr<DeviceSegment>(std::move(segment));
  }

  std::byte* address() const override { return memory_.get(); }

  Result<DmaBuf> export_dma_buf(Bytes offset, Bytes length) override {
    if (!gpu_->dma_buf)
      return Error::missing(
          "the driver exports no dma-buf of this GPU "
          "(CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED is 0: it needs the open kernel "
          "modules)");
    const auto page = static_cast<Bytes>(sysconf(_SC_PAGESIZE));
    const auto at = reinterpret_cast<CUdeviceptr>(memory_.get()) + offset;
    if (at % page != 0)
      return Error::missing("GPU memory at a page's middle cannot be exported as dma-buf");
    int file = -1;
    FirstError error(gpu_->device.ordinal);
    error.then("cudaSetDevice", [&] { return cudaSetDevice(gpu_->device.ordinal); });
    if (!error.ok()) return error.result().error();
    const CUresult code = driver_->handle_for_range(&file, at, rounded(length, page),
                                                    CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD, 0);
    if (code != CUDA_SUCCESS)
      return Error::missing(driver_error(*driver_, "cuMemGetHandleForAddressRange", code));
    return DmaBuf{OwnedFd(file), 0};
  }

  Result<void> fill(std::span<const SegmentRange> ranges) override {
    fills_.clear();
    for (const SegmentRange& r : ranges)
      fills_.push_back({memory_.get() + r.offset, r.length, mix64(r.seed)});
    return until_done(gpu_->payload.fill(fills_));
  }
  Result<void> checksum(std::span<const SegmentRange> ranges,
                        std::span<std::uint64_t> sums) override {
    if (auto seen = see_writes(); !seen) return seen;
    sum_ranges_.clear();
    for (const SegmentRange& r : ranges)
      sum_ranges_.push_back({memory_.get() + r.offset, r.length});
    return until_done(gpu_->payload.begin_checksums(sum_ranges_, sums));
  }
  Result<void> read(Bytes offset, std::span<std::byte> into) override {
    if (auto seen = see_writes(); !seen) return seen;
    return gpu_->payload.copy(into.data(), memory_.get() + offset, into.size());
  }
  Result<void> write(Bytes offset, std::span<const std::byte> from) override {
    return gpu_->payload.copy(memory_.get() + offset, from.data(), from.size());
  }

 private:
  GpuSegment(const Driver& driver, Gpu& gpu) : driver_(&driver), gpu_(&gpu) {}

  Result<void> until_done(const Result<std::uint64_t>& begun) {
    if (!begun) return begun.error();
    while (true) {
      const auto done = gpu_->payload.done();
      if (!done) return done.error();
      if (*done >= *begun) return {};
    }
  }
  Result<void> see_writes() {
    if (!gpu_->needs_flush) return {};
    FirstError error(gpu_->device.ordinal);
    error.then("cudaSetDevice", [&] { return cudaSetDevice(gpu_->device.ordinal); })
        .then("cudaDeviceFlushGPUDirectRDMAWrites", [] {
          return cudaDeviceFlushGPUDirectRDMAWrites(cudaFlushGPUDirectRDMAWritesTargetCurrentDevice,
                                                    cudaFlushGPUDirectRDMAWritesToOwner);
        });
    return error.result();
  }

  const Driver* driver_;
  Gpu* gpu_;
  DeviceMemory memory_;
  Bytes allocated_ = 0;
  std::vector<PatternFill> fills_;         // scratch
  std::vector<ChecksumRange> sum_ranges_;  // scratch
};

class PinnedStaging final : public StagingBuffer {
 public:
  static Result<std::unique_ptr<StagingBuffer>> make(const Device& device, StagingWay way,
                                                     Bytes bytes, std::uint32_t pieces_max) {
    std::unique_ptr<PinnedStaging> staging(new PinnedStaging(device.ordinal, way, bytes));
    auto memory = make_pinned(bytes, device.numa_node);
    if (!memory) return memory.error();
    staging->memory_ = std::move(*memory);
    if (auto made = staging->lists_.make(jobs_max, pieces_max, device.numa_node); !made)
      return made.error();
    FirstError error(device.ordinal);
    error.then("cudaSetDevice", [&] { return cudaSetDevice(device.ordinal); })
        .then("cudaStreamCreateWithFlags", [&] { return make_stream(staging->stream_); });
    for (Event& event : staging->events_)
      error.then("cudaEventCreate", [&] { return make_event(event, false); });
    if (!error.ok()) return error.result().error();
    return std::unique_ptr<StagingBuffer>(std::move(staging));
  }
  ~PinnedStaging() override {
    if (stream_) cudaStreamSynchronize(stream_.get());
  }

  std::span<std::byte> memory() override { return {memory_.get(), bytes_}; }

  Result<void> begin(std::span<const DevicePiece> pieces, Bytes offset) override {
    const std::uint64_t slot = begun_ % jobs_max;
    FirstError error(device_);
    error.then("cudaSetDevice", [&] { return cudaSetDevice(device_); });
    const auto job_of = [&](const DevicePiece& piece) {
      std::byte* const staged = memory_.get() + offset;
      offset += piece.bytes;
      return way_ == StagingWay::from_device ? PieceCopy{staged, piece.address, piece.bytes}
                                             : PieceCopy{piece.address, staged, piece.bytes};
    };
    if (pieces.size() == 1) {
      const PieceCopy copy = job_of(pieces[0]);
      error.then("cudaMemcpyAsync", [&] {
        return cudaMemcpyAsync(copy.to, copy.from, copy.bytes, cudaMemcpyDefault, stream_.get());
      });
    } else {
      const std::span<PieceCopy> list = lists_.list(static_cast<std::uint32_t>(slot));
      for (std::size_t i = 0; i < pieces.size(); ++i) list[i] = job_of(pieces[i]);
      error.then("kernel copy_pieces", [&] {
        return copy_pieces(list.data(), static_cast<std::uint32_t>(pieces.size()), copying_blocks,
                           stream_.get());
      });
    }
    error.then("cudaEventRecord",
               [&] { return cudaEventRecord(events_[slot].get(), stream_.get()); });
    if (error.ok()) ++begun_;
    return error.result();
  }

  Result<std::uint64_t> done() override {
    while (done_ < begun_) {
      const cudaError_t code = cudaEventQuery(events_[done_ % jobs_max].get());
      if (code == cudaErrorNotReady) break;
      if (code != cudaSuccess) return checked(code, "cudaEventQuery", device_).error();
      ++done_;
    }
    return done_;
  }

 private:
  PinnedStaging(int device, StagingWay way, Bytes bytes)
      : device_(device), way_(way), bytes_(bytes) {}

  int device_;
  StagingWay way_;
  Bytes bytes_;
  Pinned memory_;
  PieceLists lists_;
  Stream stream_;
  std::array<Event, jobs_max> events_;  // by job, in turn
  std::uint64_t begun_ = 0, done_ = 0;
};

class GpuMemorySource final : public DeviceMemorySource {
 public:
  explicit GpuMemorySource(std::vector<int> devices) : ordinals_(std::move(devices)) {}

  Result<void> open(const Cluster& cluster) override {
    cluster_ = &cluster;
    auto found = find_devices();
    if (!found) return found.error();
    found_ = std::move(*found);
    auto driver = load_driver();
    if (!driver) return driver.error();
    driver_ = *driver;
    std::size_t number = 0;
    for (PlaceId place = 0; place < cluster.places.size(); ++place) {
      if (cluster.places[place].kind != PlaceKind::gpu) continue;
      ordinal_of_[place] = number < ordinals_.size() ? ordinals_[number] : static_cast<int>(number);
      ++number;
    }
    return {};
  }

  std::string text() const override {
    std::string text;
    for (const auto& [ordinal, gpu] : gpus_) {
      text += (text.empty() ? "" : ", ") + gpu->device.name + " (device " +
              std::to_string(ordinal) + ":";
      for (const PlaceId place : used_)
        if (ordinal_of_.at(place) == ordinal) text += " " + cluster_->places[place].name;
      text += ")";
    }
    return text;
  }

  bool holds(PlaceId place) const override { return ordinal_of_.contains(place); }

  Result<std::unique_ptr<DeviceSegment>> allocate(PlaceId place, Bytes bytes) override {
    auto gpu = gpu_of(place);
    if (!gpu) return gpu.error();
    return GpuSegment::make(driver_, **gpu, bytes);
  }

  std::string peer_memory_missing(PlaceId place) const override {
    const auto gpu = gpus_.find(ordinal_of_.at(place));
    if (gpu != gpus_.end() && !gpu->second->rdma)
      return "the GPU does not support it (CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_SUPPORTED is 0)";
    std::error_code ignored;
    if (std::filesystem::exists("/sys/module/nvidia_peermem", ignored) ||
        std::filesystem::exists("/sys/kernel/mm/memory_peers/nv_mem", ignored))
      return "";
    return "the kernel module nvidia-peermem is not loaded";
  }

  Result<std::unique_ptr<StagingBuffer>> make_staging(PlaceId place, StagingWay way, Bytes bytes,
                                                      std::uint32_t pieces_max) override {
    auto gpu = gpu_of(place);
    if (!gpu) return gpu.error();
    return PinnedStaging::make((*gpu)->device, way, bytes, pieces_max);
  }

 private:
  /// Opened when it is first needed: other processes drive other places.
  Result<Gpu*> gpu_of(PlaceId place) {
    used_.insert(place);
    const int ordinal = ordinal_of_.at(place);
    if (const auto open = gpus_.find(ordinal); open != gpus_.end()) return open->second.get();
    if (ordinal < 0 || static_cast<std::size_t>(ordinal) >= found_.size())
      return Error::missing("there is no CUDA device " + std::to_string(ordinal) +
                            ": this machine has " + std::to_string(found_.size()) +
                            "; --devices says which device each GPU of the scenario is, and one "
                            "device may be several");
    FirstError error(ordinal);
    error.then("cudaSetDevice", [&] { return cudaSetDevice(ordinal); })
        .then("cudaFuncGetAttributes", [] { return load_kernels(); });
    if (!error.ok()) return error.result().error();
    const Device& device = found_[static_cast<std::size_t>(ordinal)];
    auto payload = Payload::open(device);
    if (!payload) return payload.error();
    auto gpu = std::make_unique<Gpu>(Gpu{device, std::move(*payload)});
    const auto attribute = [&](CUdevice_attribute which) {
      int value = 0;
      return driver_.attribute(&value, which, ordinal) == CUDA_SUCCESS ? value : 0;
    };
    gpu->dma_buf = attribute(CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED) != 0;
    gpu->rdma = attribute(CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_SUPPORTED) != 0;
    gpu->needs_flush = attribute(CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WRITES_ORDERING) <
                           CU_GPU_DIRECT_RDMA_WRITES_ORDERING_OWNER &&
                       (attribute(CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_FLUSH_WRITES_OPTIONS) &
                        CU_FLUSH_GPU_DIRECT_RDMA_WRITES_OPTION_HOST) != 0;
    return gpus_.emplace(ordinal, std::move(gpu)).first->second.get();
  }

  const std::vector<int> ordinals_;  // of the GPU places, in their order
  const Cluster* cluster_ = nullptr;
  Driver driver_;
  std::vector<Device> found_;
  std::map<PlaceId, int> ordinal_of_;
  std::set<PlaceId> used_;
  std::map<int, std::unique_ptr<Gpu>> gpus_;
};

}  // namespace

std::unique_ptr<DeviceMemorySource> make_memory_source(const std::vector<int>& devices) {
  return std::make_unique<GpuMemorySource>(devices);
}

}  // namespace kvhaul::cuda
