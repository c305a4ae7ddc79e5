// The kernels. Each launcher returns what the launch said and blocks for nothing; lists have to lie
// where the device can read them (pinned host memory or the device's own), unchanged until the
// stream has passed the kernel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cuda_runtime_api.h>

#include "core/units.h"

namespace kvhaul::cuda {

/// One piece: from and to may be memory of any device that the current one reaches, or pinned host
/// memory. Pieces whose two addresses agree in their last four bits are moved 16 bytes at a time.
struct PieceCopy {
  std::byte* to = nullptr;
  const std::byte* from = nullptr;
  Bytes bytes = 0;
};

/// A range of a segment to be filled with the pattern of core/checksum.h.
struct PatternFill {
  std::byte* at = nullptr;
  Bytes bytes = 0;
  std::uint64_t start = 0;  // mix64(seed)
};

/// A range whose checksum (core/checksum.h) is wanted.
struct ChecksumRange {
  const std::byte* at = nullptr;
  Bytes bytes = 0;
};

/// How many blocks copy over PCIe. 16 that write already fill a Gen5 x16 port (measured on an
/// H100); reads, which wait for their answers, need more of them on their way.
inline constexpr unsigned copying_blocks = 32;
/// Patterns are written slowly on purpose: with all multiprocessors they took the memory away from
/// copies beside them, 0.2 ms for half a GB, in which those hardly moved (measured on an H200).
inline constexpr unsigned filling_blocks = 6;
/// For copies inside one GPU or over NVLink, where more multiprocessors move more.
inline constexpr unsigned packing_blocks = 64;

cudaError_t copy_pieces(const PieceCopy* pieces, std::uint32_t count, unsigned blocks,
                        cudaStream_t stream);
cudaError_t fill_patterns(const PatternFill* fills, std::uint32_t count, cudaStream_t stream);
/// Adds to `sums`, one per range, which must be zero before.
cudaError_t add_checksums(const ChecksumRange* ranges, std::uint32_t count, std::uint64_t* sums,
                          cudaStream_t stream);
/// Keeps all multiprocessors and the memory of the device busy for that long: reads and writes
/// `memory` over and over, and multiplies what it reads.
cudaError_t keep_busy(TimeNs time_ns, std::byte* memory, Bytes bytes, int multiprocessors,
                      cudaStream_t stream);

// ---- The kernel that stays (kernel_lane.h) ------------------------------------------------------

inline constexpr std::uint32_t work_slots = 8;

/// One chunk. In pinned host memory: the host writes it, then counts `WorkQueue::posted` up.
struct WorkItem {
  PieceCopy single;                 // the piece, when there is one
  const PieceCopy* list = nullptr;  // else `count` of them, in pinned host memory
  std::uint32_t count = 0;
  Bytes bytes = 0;  // of all pieces
};

/// In pinned host memory: written by the device, `number` last.
struct WorkDone {
  std::uint64_t started_ns = 0;  // of the device's global timer
  std::uint64_t done_ns = 0;
  std::uint64_t number = 0;  // of the item that has landed, counted from 1
};

/// In pinned host memory, shared by host and device.
struct WorkQueue {
  volatile std::uint64_t posted = 0;  // items so far; item n is in slot n % work_slots
  volatile std::uint64_t stop = 0;
  WorkItem items[work_slots];
  volatile WorkDone done[work_slots];
};

/// In device memory, zeroed before the launch.
struct WorkShared {
  WorkItem items[work_slots];
  std::uint64_t published = 0;  // items that workers may take; ~0: no more come than `total`
  std::uint64_t total = 0;
  std::uint64_t started_ns[work_slots];
  std::uint32_t finished_blocks[work_slots];
};

/// Starts the kernel: `groups` of `blocks` take turns to copy, so that the link is busy with one
/// item while another is made visible; one more block reads the queue. It ends when `stop` is set
/// and everything that was posted has landed. `lists` is device memory for work_slots x
/// `list_capacity` pieces.
cudaError_t serve(WorkQueue* queue, WorkShared* shared, PieceCopy* lists,
                  std::uint32_t list_capacity, unsigned blocks, unsigned groups,
                  cudaStream_t stream);

/// Loads all kernels now: loading one later would wait for a kernel that stays.
cudaError_t load_kernels();

}  // namespace kvhaul::cuda
