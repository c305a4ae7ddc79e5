// The descriptor planner: what happens to a transfer's descriptors before it is cut into chunks.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/backend.h"
#include "core/transfer.h"

namespace kvhaul {

/// Joins neighbours that are contiguous in source and target. Keeps the order; appends to `out`.
/// Field reports put the number of descriptors before the number of bytes: 34,000 joined into 422
/// halved time to first token (vllm-project/vllm#30207).
void coalesce(std::span<const Descriptor> descriptors, std::vector<Descriptor>& out);

/// How the pieces of a transfer's chunks are moved soonest, by the channel's own numbers: the
/// method of least
///
///   2 (fixed + S / pass) + max(posting, occupancy / B)
///
/// (GatherCosts) for one representative chunk. Of equals the first; `each` for a single piece.
Gather cheapest_gather(const ChannelNumbers& channel, Bytes bytes, std::size_t pieces,
                       Bytes chunk_bytes);

}  // namespace kvhaul
