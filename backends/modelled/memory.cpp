#include "backends/modelled/memory.h"

#include <algorithm>
#include <cstring>

#include "core/checksum.h"
#include "core/unit_text.h"

namespace kvhaul::modelled {

Result<SegmentId> Memory::add(const std::string& place_name, Bytes bytes) {
  Segment segment;
  segment.size = bytes;
  if (with_bytes_) {
    // Zeroed on purpose: it touches every page now, so that no page fault falls into a measurement
    // and a machine with too little memory says so here.
    segment.bytes = make_buffer(bytes);
    if (!segment.bytes)
      return Error::missing(
          place_name + ": this machine cannot give " + bytes_text(bytes) +
          " of host memory for the emulated place; use '--time virtual --payload none' or a "
          "scenario with smaller KV pools");
    std::memset(segment.bytes.get(), 0, bytes);
  }
  segments_.push_back(std::move(segment));
  return static_cast<SegmentId>(segments_.size() - 1);
}

bool Memory::inside(SegmentId segment, Bytes offset, Bytes length) const {
  return segment < segments_.size() && offset <= segments_[segment].size &&
         length <= segments_[segment].size - offset;
}

bool Memory::holds(const ChunkPost& chunk) const {
  if (chunk.is_probe()) return true;
  Bytes sum = 0;
  for (const Descriptor& piece : chunk.all()) {
    if (!inside(chunk.source_segment, piece.source_offset, piece.length) ||
        !inside(chunk.target_segment, piece.target_offset, piece.length))
      return false;
    sum += piece.length;
  }
  return sum == chunk.bytes && sum != 0;
}

void Memory::move(const ChunkPost& chunk) {
  if (chunk.is_probe()) return;
  const std::byte* from = segments_[chunk.source_segment].bytes.get();
  std::byte* to = segments_[chunk.target_segment].bytes.get();
  for (const Descriptor& piece : chunk.all())
    std::memcpy(to + piece.target_offset, from + piece.source_offset, piece.length);
}

void Memory::fill(SegmentId segment, Bytes offset, Bytes length, std::uint64_t seed) {
  fill_pattern(bytes(segment, offset, length), seed);
}

std::uint64_t Memory::checksum(SegmentId segment, Bytes offset, Bytes length) {
  return kvhaul::checksum(bytes(segment, offset, length));
}

void Memory::read(SegmentId segment, Bytes offset, std::span<std::byte> into) {
  const auto from = bytes(segment, offset, into.size());
  std::copy(from.begin(), from.end(), into.begin());
}

void Memory::write(SegmentId segment, Bytes offset, std::span<const std::byte> from) {
  std::copy(from.begin(), from.end(), bytes(segment, offset, from.size()).begin());
}

std::span<std::byte> Memory::bytes(SegmentId segment, Bytes offset, Bytes length) {
  check(with_bytes_ && inside(segment, offset, length), "payload access outside a segment");
  return {segments_[segment].bytes.get() + offset, length};
}

}  // namespace kvhaul::modelled
