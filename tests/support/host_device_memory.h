// Host memory that plays a device's: in place of a machine that has both a GPU and an RDMA device.
#pragma once

#include <fcntl.h>
#include <memory>
#include <string>
#include <sys/mman.h>
#include <vector>

#include "backends/device_memory.h"
#include "backends/host_staging.h"
#include "backends/modelled/buffer.h"
#include "core/checksum.h"

namespace kvhaul::test {

struct HostDeviceOptions {
  bool exports = false;  // hands out a file as dma-buf, which is none: a driver must refuse it
  std::string peer_memory = "the test's device has no such module";  // why not; empty: it may be
                                                                     // registered by its address
  std::uint64_t lost_after_jobs = ~std::uint64_t{0};  // of each buffer; then the device is lost
};

class HostDeviceSegment final : public DeviceSegment {
 public:
  HostDeviceSegment(modelled::Buffer memory, bool exports)
      : memory_(std::move(memory)), exports_(exports) {}

  std::byte* address() const override { return memory_.get(); }
  Result<DmaBuf> export_dma_buf(Bytes, Bytes length) override {
    if (!exports_) return Error::missing("the test's device exports none");
    OwnedFd file(memfd_create("kvhaul-test", MFD_CLOEXEC));
    if (ftruncate(file.get(), static_cast<off_t>(length)) != 0)
      return Error::missing("no memory for a file");
    return DmaBuf{std::move(file), 0};
  }
  Result<void> fill(std::span<const SegmentRange> ranges) override {
    for (const SegmentRange& r : ranges) fill_pattern({address() + r.offset, r.length}, r.seed);
    return {};
  }
  Result<void> checksum(std::span<const SegmentRange> ranges,
                        std::span<std::uint64_t> sums) override {
    for (std::size_t i = 0; i < ranges.size(); ++i)
      sums[i] = kvhaul::checksum({address() + ranges[i].offset, ranges[i].length});
    return {};
  }
  Result<void> read(Bytes offset, std::span<std::byte> into) override {
    std::copy_n(address() + offset, into.size(), into.begin());
    return {};
  }
  Result<void> write(Bytes offset, std::span<const std::byte> from) override {
    std::copy(from.begin(), from.end(), address() + offset);
    return {};
  }

 private:
  modelled::Buffer memory_;
  bool exports_;
};

/// Copies like a device: later than it is asked to, one job after the other.
class LateStaging final : public StagingBuffer {
 public:
  static Result<std::unique_ptr<StagingBuffer>> make(StagingWay way, Bytes bytes,
                                                     std::uint64_t lost_after_jobs) {
    auto host = HostStaging::make(way, bytes);
    if (!host) return host.error();
    return std::unique_ptr<StagingBuffer>(new LateStaging(std::move(*host), lost_after_jobs));
  }
  std::span<std::byte> memory() override { return host_->memory(); }
  Result<void> begin(std::span<const DevicePiece> pieces, Bytes offset) override {
    jobs_.push_back({{pieces.begin(), pieces.end()}, offset, 3});
    check(jobs_.size() <= jobs_max, "more jobs than a buffer takes");
    return {};
  }
  /// Every job takes three questions.
  Result<std::uint64_t> done() override {
    if (done_ == lost_after_jobs_) return Error::missing("the test's device is lost");
    if (!jobs_.empty() && --jobs_.front().questions == 0) {
      if (auto copied = host_->begin(jobs_.front().pieces, jobs_.front().offset); !copied)
        return copied.error();
      jobs_.erase(jobs_.begin());
      ++done_;
    }
    return done_;
  }

 private:
  struct Job {
    std::vector<DevicePiece> pieces;
    Bytes offset = 0;
    int questions = 0;
  };
  LateStaging(std::unique_ptr<StagingBuffer> host, std::uint64_t lost_after_jobs)
      : host_(std::move(host)), lost_after_jobs_(lost_after_jobs) {}

  std::unique_ptr<StagingBuffer> host_;
  std::uint64_t lost_after_jobs_;
  std::vector<Job> jobs_;
  std::uint64_t done_ = 0;
};

class HostDevices final : public DeviceMemorySource {
 public:
  explicit HostDevices(HostDeviceOptions options = {}) : options_(std::move(options)) {}

  Result<void> open(const Cluster& cluster) override {
    cluster_ = &cluster;
    return {};
  }
  std::string text() const override { return "host memory that plays a device's"; }
  bool holds(PlaceId place) const override {
    return cluster_->places[place].kind == PlaceKind::gpu;
  }
  Result<std::unique_ptr<DeviceSegment>> allocate(PlaceId, Bytes bytes) override {
    modelled::Buffer memory = modelled::make_buffer(bytes);
    if (!memory) return Error::missing("the test's device has not got the memory");
    std::memset(memory.get(), 0, bytes);
    return std::unique_ptr<DeviceSegment>(
        std::make_unique<HostDeviceSegment>(std::move(memory), options_.exports));
  }
  std::string peer_memory_missing(PlaceId) const override { return options_.peer_memory; }
  Result<std::unique_ptr<StagingBuffer>> make_staging(PlaceId, StagingWay way, Bytes bytes,
                                                      std::uint32_t) override {
    return LateStaging::make(way, bytes, options_.lost_after_jobs);
  }

 private:
  HostDeviceOptions options_;
  const Cluster* cluster_ = nullptr;
};

}  // namespace kvhaul::test
