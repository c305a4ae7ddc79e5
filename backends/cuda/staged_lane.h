// GPU to pinned host memory to GPU: one stream brings chunks down into a ring, another takes them
// up again, and the two halves of neighbouring chunks overlap. Both ends may be one GPU.
//
// The ring is handed out in the order of posting and given back in the order of landing, in pieces
// as large as the chunks, so that small chunks do not wait for slots made for large ones. What has
// no room stays with the backend. A packed chunk has the same place in a ring of device memory at
// each end.
#pragma once

#include <array>

#include "backends/cuda/batch_copy.h"
#include "backends/cuda/device.h"
#include "backends/cuda/event_clock.h"
#include "backends/cuda/job.h"
#include "backends/cuda/piece_lists.h"
#include "backends/ring.h"

namespace kvhaul::cuda {

class StagedLane {
 public:
  struct End {
    const Device* device = nullptr;
    EventClock* clock = nullptr;  // outlives the lane
  };
  /// `packs`: the scenario lets chunks be packed, so there must be device memory for it. Blocks.
  static Result<StagedLane> open(End from, End to, Bytes ring_bytes, std::uint32_t pieces_max,
                                 bool packs);

  bool has_room(const Job& job) const;
  Result<void> enqueue(std::uint32_t slot, const Job& job);
  Result<bool> landed(std::uint32_t slot, TimeNs seen_ns, Times& times);
  void release(std::uint32_t slot);
  int device() const { return from_.device; }

 private:
  struct Half {
    int device = 0;
    EventClock* clock = nullptr;
    Stream copies, kernels;  // two, so that one chunk is packed while another is copied
    DeviceMemory staging;    // as large as the ring; none where chunks are not packed
    PieceLists lists;
    std::array<Event, lane_depth> between;  // a packed chunk has passed the first of them
    std::array<Event, lane_depth> done;
  };

  StagedLane(Bytes ring_bytes, bool batched, std::uint32_t pieces_max)
      : ring_(ring_bytes), batch_(batched, pieces_max) {}
  static Result<void> open_half(Half& half, End end, Bytes staging_bytes, std::uint32_t pieces_max);
  /// The bytes of a chunk in the ring: pieces begin at multiples of 16, so that kernels can move
  /// them 16 bytes at a time.
  static Bytes staged_bytes(const Job& job);
  static Gather gather_of(const Job& job);
  /// One half of a chunk: between its pieces and the ring, in the direction that `down` says, when
  /// `after` has happened (null: at once).
  void start_half(Half& half, std::uint32_t slot, const Job& job, Bytes at, bool down,
                  cudaEvent_t after, FirstError& error);

  Half from_, to_;
  Pinned ring_memory_;
  Ring ring_;
  BatchCopy batch_;
  std::array<TimeNs, lane_depth> posted_ns_{};
  TimeNs last_down_ns_ = 0;  // when the job before had come down
};

}  // namespace kvhaul::cuda
