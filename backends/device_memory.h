// Memory of places that lies in devices, for a backend that moves it by other means than the
// devices' own: NICs read and write it through a dma-buf or by its address, or it passes through
// pinned host memory. A backend that gets one of these knows nothing of CUDA.
//
// Threading: one thread, that of the backend. Blocking: all but StagingBuffer may block. Errors are
// `missing`: what a device refuses, this machine cannot do.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "backends/owned_fd.h"
#include "core/backend.h"
#include "core/cluster.h"
#include "core/result.h"

namespace kvhaul {

/// A file that stands for device memory: what drivers of other devices take to reach it.
struct DmaBuf {
  OwnedFd file;
  Bytes offset = 0;  // of the range that was asked for, from the beginning of the file
};

/// One segment in the memory of a device, zeroed, for as long as the object lives. Offsets and
/// lengths lie inside it.
class DeviceSegment {
 public:
  virtual ~DeviceSegment() = default;

  /// As the device and its driver know it; not to be read by a processor.
  virtual std::byte* address() const = 0;
  /// `offset` is a multiple of the page size. The file may reach beyond the range, up to whole
  /// pages.
  virtual Result<DmaBuf> export_dma_buf(Bytes offset, Bytes length) = 0;

  // As in core/backend.h. Return when it is done; what other devices have written is seen.
  virtual Result<void> fill(std::span<const SegmentRange> ranges) = 0;
  virtual Result<void> checksum(std::span<const SegmentRange> ranges,
                                std::span<std::uint64_t> sums) = 0;
  virtual Result<void> read(Bytes offset, std::span<std::byte> into) = 0;
  virtual Result<void> write(Bytes offset, std::span<const std::byte> from) = 0;
};

/// A piece of a DeviceSegment.
struct DevicePiece {
  std::byte* address = nullptr;
  Bytes bytes = 0;
};

/// Pinned host memory through which pieces of one place pass, in one direction: the device copies
/// between the two, one job after the other.
class StagingBuffer {
 public:
  static constexpr std::uint32_t jobs_max = 32;  // begun and not done

  virtual ~StagingBuffer() = default;

  /// Can be registered with NICs.
  virtual std::span<std::byte> memory() = 0;
  /// Copies the pieces, in memory() one behind the other from `offset` on. Does not wait.
  virtual Result<void> begin(std::span<const DevicePiece> pieces, Bytes offset) = 0;
  /// How many jobs have been done so far; they end in the order in which they were begun.
  virtual Result<std::uint64_t> done() = 0;
};

enum class StagingWay : std::uint8_t { from_device, to_device };

class DeviceMemorySource {
 public:
  virtual ~DeviceMemorySource() = default;

  /// Once, before the rest. The cluster outlives the source.
  virtual Result<void> open(const Cluster& cluster) = 0;
  /// What was opened, for the description of a run: "NVIDIA H100 80GB HBM3 (device 0: node0/gpu0)".
  virtual std::string text() const = 0;
  /// Whether the memory of a place lies in a device; else it is host memory, and none of this.
  virtual bool holds(PlaceId place) const = 0;

  virtual Result<std::unique_ptr<DeviceSegment>> allocate(PlaceId place, Bytes bytes) = 0;
  /// Why drivers of NICs cannot take addresses of the place's memory as they take host memory;
  /// empty when they can. A promise of the system, not of the NIC.
  virtual std::string peer_memory_missing(PlaceId place) const = 0;
  /// For jobs of up to so many pieces.
  virtual Result<std::unique_ptr<StagingBuffer>> make_staging(PlaceId place, StagingWay way,
                                                              Bytes bytes,
                                                              std::uint32_t pieces_max) = 0;
};

}  // namespace kvhaul
