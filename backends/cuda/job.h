// What a lane is given, and what it says of it. A lane is one first-in first-out queue on a GPU; it
// keeps at most `lane_depth` chunks there, so that what waits behind them can still be cancelled.
//
// Every lane has
//   bool has_room(const Job&)            whether enqueue() may be called now
//   Result<void> enqueue(slot, const Job&)   never blocks; an error means the lane is lost
//   Result<bool> landed(slot, seen, Times&)  whether the oldest chunk has landed, and when
//   void release(slot)                   the chunk in that slot has ended
// Slots are used in turn, 0 to lane_depth - 1.
#pragma once

#include <span>

#include "backends/cuda/kernels.h"
#include "core/result.h"
#include "core/route.h"

namespace kvhaul::cuda {

inline constexpr std::uint32_t lane_depth = 64;

/// Streams that a lane gives its chunks to in turn. A copy engine rests for 2 to 3 us between two
/// copies of one stream; with a second stream it has something to do meanwhile.
inline constexpr std::uint32_t lane_ways = 2;

struct Job {
  std::span<const PieceCopy> pieces;
  Bytes bytes = 0;
  Gather gather = Gather::each;
  TimeNs posted_ns = 0;
};

struct Times {
  TimeNs started_ns = 0;
  TimeNs done_ns = 0;
};

}  // namespace kvhaul::cuda
