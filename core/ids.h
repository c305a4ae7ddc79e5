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

}  // namespace kvhaul
