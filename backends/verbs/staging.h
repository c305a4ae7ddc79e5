// A channel that passes through pinned host memory at one end or at both: because a NIC cannot
// reach a device's memory, or because its route says so.
//
//   push   near end: down into the buffer    NIC: buffer to buffer    far end: up into its segment
//   pull   far end: down into its buffer     NIC: buffer to buffer    near end: up
//
// Near is the owner of the channel. It gives every chunk a place in a ring, the same in both
// buffers, and asks the far end by a message for its part (StagePart); only when the last part is
// done has the chunk landed. An end that is not staged has no part, and the NIC reads or writes its
// segment. Chunks pass the parts one behind the other.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backends/device_memory.h"
#include "backends/ring.h"
#include "backends/tickets.h"
#include "backends/verbs/handles.h"
#include "backends/verbs/memory.h"
#include "backends/verbs/port.h"
#include "backends/verbs/requests.h"

namespace kvhaul::verbs {

/// At each staged end of a channel.
inline constexpr Bytes staging_bytes = 16 * MiB;
/// So that a chunk can be at each of the three parts while the next one begins.
inline constexpr Bytes staged_chunk_bytes_max = staging_bytes / 4;

/// What an end has to do for a chunk: copy these parts of a segment from or to its buffer, where
/// they lie one behind the other from `at` on. The near end asks the far end for it by a message.
struct StagePart {
  ChannelId channel = 0;
  std::uint32_t generation = 0;
  SegmentId segment = 0;
  Bytes at = 0;
  std::vector<SegmentRange> ranges = {};

  std::string text() const;
  /// False for what is no such message.
  static bool parse(std::string_view text, StagePart& part);
};

/// The buffer at one end, and the copies under way there.
class StagingEnd {
 public:
  /// `devices` is null, or does not hold the place, where that lies in host memory. The buffer is
  /// registered with the port, with those rights.
  static Result<StagingEnd> make(DeviceMemorySource* devices, PlaceId place, StagingWay way,
                                 std::uint32_t pieces_max, const Port& port, const Rights& rights);

  explicit operator bool() const { return buffer_ != nullptr; }
  const MemoryKeys& local() const { return local_; }
  const MemoryKeys& remote() const { return remote_; }

  /// `base` is where the segment begins. Does not wait.
  Result<void> begin(std::byte* base, const StagePart& part);
  bool busy() const { return !jobs_.empty(); }
  /// Takes the oldest copy off the list if it is done: true, and the generation of its part, which
  /// an error names, too.
  Result<bool> finished(std::uint32_t& generation);
  /// Waits for all copies under way, and forgets them. A device that answers no more is not waited
  /// for.
  void settle();

 private:
  std::unique_ptr<StagingBuffer> buffer_;
  MemoryRegion region_;  // before the buffer goes
  MemoryKeys local_, remote_;
  std::uint64_t finished_ = 0;
  std::deque<std::uint32_t> jobs_;   // generations, oldest first
  std::vector<DevicePiece> pieces_;  // scratch
};

struct Staging {
  bool near = false, far = false;  // which ends are staged
  bool watched = false;            // one of them has copies under way
  StagingEnd near_end, far_end;    // of this process
  MemoryKeys far_keys;             // of the far end's buffer

  // The owner's. Chunks are in one of these or flying.
  Ring ring{staging_bytes};
  TicketQueue before;       // the source's end copies
  TicketQueue ready;        // for the NIC
  TicketQueue after;        // the target's end copies
  std::uint32_t count = 0;  // in the ring

  StagePart part;                  // scratch of part_of()
  ChunkPost wire;                  // of on_the_wire()
  std::vector<Descriptor> pieces;  // the same

  /// What the source's or the target's end has to do for a chunk. Valid until the next call.
  StagePart& part_of(const ChunkPost& chunk, bool source, Bytes at);
  /// The chunk as the NIC sees it: pieces of an end that is staged lie behind each other in the
  /// buffer from `at` on. Valid until the next call.
  const ChunkPost& on_the_wire(const ChunkPost& chunk, bool pull, Bytes at);
};

}  // namespace kvhaul::verbs
