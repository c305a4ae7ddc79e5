// What a lane is given, and what it says of it. A lane is one first-in first-out queue on a GPU.
// Chunks that wait together go as one job: a copy engine rests for some microseconds between two
// copies, and every call into CUDA costs a microsecond or more of the processor, however little it
// moves.
//
// Every lane has
//   bool has_room(const Job&)                whether enqueue() may be called now
//   Result<void> enqueue(slot, const Job&)   never blocks; an error means the lane is lost
//   Result<bool> landed(slot, seen, Times&)  whether the oldest job has landed, and when
//   void release(slot)                       the job in that slot has ended
// Slots are used in turn, 0 to lane_depth - 1; the job before has one slot less.
#pragma once

#include <algorithm>
#include <span>

#include "backends/cuda/kernels.h"
#include "core/result.h"
#include "core/route.h"

namespace kvhaul::cuda {

/// Jobs that a lane keeps on the GPU. What waits behind them can be cancelled, and joined.
inline constexpr std::uint32_t lane_depth = 4;

/// Chunks are joined up to a job of so many bytes.
struct JobSize {
  Bytes least = 0, most = 0;

  /// A copy engine rests for 2.4 us behind a copy and for as long behind its event (measured on an
  /// H100, bench/multi_gpu_bench): jobs take 100 us of the link where there is enough to do, 5 MB
  /// of PCIe 5 and 39 MB of NVLink 4. Larger jobs than an eighth of what there is to do would leave
  /// stages of a lane without work, and nothing to cancel; but 10 us always.
  static JobSize of(double bytes_per_s, Bytes max_chunk_bytes) {
    const auto within = [&](double ns) {
      return std::min(max_chunk_bytes, static_cast<Bytes>(bytes_per_s * ns * 1e-9));
    };
    return {within(10e3), within(100e3)};
  }
  Bytes of(Bytes outstanding_bytes) const { return std::clamp(outstanding_bytes / 8, least, most); }
};
/// And up to so many pieces, or as many as one chunk may have where that is more.
inline constexpr std::uint32_t job_pieces_max = 4096;

struct Job {
  std::span<const PieceCopy> pieces;
  Bytes bytes = 0;
  Gather gather = Gather::each;
  TimeNs posted_ns = 0;  // the first of its chunks
};

/// Of a job. With one stage the first and the last are the same, from its start to its end.
struct Times {
  TimeNs started_ns = 0;
  TimeNs first_stage_done_ns = 0;
  TimeNs last_stage_started_ns = 0;
  TimeNs done_ns = 0;

  static Times one_stage(TimeNs started_ns, TimeNs done_ns) {
    return {started_ns, done_ns, started_ns, done_ns};
  }
};

}  // namespace kvhaul::cuda
