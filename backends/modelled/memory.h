// Fake memory of places: one buffer of host memory per segment, or only its size.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "backends/modelled/buffer.h"
#include "core/backend.h"

namespace kvhaul::modelled {

class Memory {
 public:
  /// Without bytes segments have a size and nothing else.
  explicit Memory(bool with_bytes) : with_bytes_(with_bytes) {}

  bool with_bytes() const { return with_bytes_; }
  /// Fails with `missing` when this machine has not got the memory.
  Result<SegmentId> add(const std::string& place_name, Bytes bytes);
  /// Whether every piece lies inside its segments.
  bool holds(const ChunkPost& chunk) const;
  /// Moves the pieces, one by one. The chunk must pass holds().
  void move(const ChunkPost& chunk);

  // Backend's calls of the same names.
  void fill(SegmentId segment, Bytes offset, Bytes length, std::uint64_t seed);
  std::uint64_t checksum(SegmentId segment, Bytes offset, Bytes length);
  void read(SegmentId segment, Bytes offset, std::span<std::byte> into);
  void write(SegmentId segment, Bytes offset, std::span<const std::byte> from);

 private:
  struct Segment {
    Bytes size = 0;
    Buffer bytes;
  };
  bool inside(SegmentId segment, Bytes offset, Bytes length) const;
  std::span<std::byte> bytes(SegmentId segment, Bytes offset, Bytes length);

  bool with_bytes_;
  std::vector<Segment> segments_;
};

}  // namespace kvhaul::modelled
