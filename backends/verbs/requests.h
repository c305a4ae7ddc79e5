// Chunks as work requests of a queue pair: pieces that lie behind each other at the far end become
// one request with several pieces of local memory.
//
// Memory is registered in slices, each with a key of its own, and a message has a largest size:
// both cut. Nothing is allocated once the vectors have grown to the depth of a queue.
#pragma once

#include <algorithm>
#include <cstdint>
#include <infiniband/verbs.h>
#include <vector>

#include "core/backend.h"

namespace kvhaul::verbs {

/// A segment as one NIC knows it. Slice i holds the bytes from i x slice_bytes on.
struct MemoryKeys {
  std::uint64_t address = 0;
  Bytes bytes = 0;
  Bytes slice_bytes = 0;
  std::vector<std::uint32_t> keys;  // local or remote ones

  std::uint32_t key_at(Bytes offset) const { return keys[offset / slice_bytes]; }
  Bytes left_in_slice(Bytes offset) const { return slice_bytes - offset % slice_bytes; }
};

struct RequestLimits {
  std::uint32_t requests = 0;  // that the queue has room for
  std::uint32_t pieces_of_request = 1;
  Bytes message_bytes = 0;
};

/// The longest request for a chunk that is written, through a queue of that depth: 128 KiB, or what
/// lets 16 chunks be under way, in whole packets. The far end acknowledges whole messages, and a
/// sender whose packets under way are limited goes on with each acknowledgement: Soft-RoCE moves
/// chunks of 1 MiB faster this way (docs/rdma.md). Reads are not cut: how many of them may be under
/// way is what a device limits.
constexpr Bytes longest_write(Bytes chunk_bytes, std::uint32_t depth) {
  constexpr Bytes packet_bytes = 4 * KiB;
  const Bytes requests = std::max(1u, depth / 16);
  const Bytes share = (chunk_bytes + requests - 1) / requests;
  return std::max(128 * KiB, (share + packet_bytes - 1) / packet_bytes * packet_bytes);
}

/// How far into a chunk one has come.
struct Cut {
  std::uint32_t piece = 0;
  Bytes offset = 0;  // into that piece
};

class RequestList {
 public:
  void clear() {
    requests_.clear();
    pieces_.clear();
  }
  std::size_t size() const { return requests_.size(); }
  bool empty() const { return requests_.empty(); }
  ibv_send_wr& operator[](std::size_t i) { return requests_[i]; }

  /// Appends requests for what is left of a chunk, as many as the limits allow; true when none of
  /// it is left. Where the local memory is the source it is written out, else it is read into.
  bool add(const ChunkPost& chunk, bool local_is_source, const MemoryKeys& local,
           const MemoryKeys& remote, const RequestLimits& limits, Cut& cut);

  /// Appends a write, or where the channel pulls a read, of nothing: the far end answers it, and
  /// nobody looks at its key.
  void add_probe(bool write);

  /// Ties the requests together, up to each that asks for a completion, as ibv_post_send() takes
  /// them: `next` is null there. They stay where they are until clear().
  void link();

 private:
  std::vector<ibv_send_wr> requests_;
  std::vector<ibv_sge> pieces_;
  Bytes last_bytes_ = 0;  // of the last request
};

}  // namespace kvhaul::verbs
