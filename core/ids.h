// Small integers that name things. Each is an index into the table that its comment names, stable
// for the life of a run; ties between equals are always broken by the smaller id.
#pragma once

#include <cstdint>

namespace kvhaul {

using NodeId = std::uint32_t;     // Cluster::nodes
using PlaceId = std::uint32_t;    // Cluster::places
using LinkId = std::uint32_t;     // Cluster::links
using ChannelId = std::uint32_t;  // the channels a run opened, in opening order
using SegmentId = std::uint32_t;  // segments in order of registration

/// A transfer inside one scheduler, a chunk inside one scheduler: a slot number in the low half and
/// a generation in the high half, so that a late or doubled completion is recognised and dropped.
using TransferId = std::uint64_t;
using ChunkId = std::uint64_t;

inline constexpr std::uint32_t no_id = 0xffffffffu;

/// What a ChunkId or a TransferId is made of: a slot that is used again, and how often it was.
constexpr std::uint64_t make_id(std::uint32_t slot, std::uint32_t generation) {
  return (static_cast<std::uint64_t>(generation) << 32) | slot;
}
constexpr std::uint32_t slot_of(std::uint64_t id) { return static_cast<std::uint32_t>(id); }
constexpr std::uint32_t generation_of(std::uint64_t id) {
  return static_cast<std::uint32_t>(id >> 32);
}

}  // namespace kvhaul
