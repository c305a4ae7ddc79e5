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

/// Whether packing the pieces of a chunk into one staging buffer is cheaper than writing each by
/// itself, by the channel's own numbers. Per chunk of n pieces, S bytes in all:
///
///   many    max(n post, (S + n h) / B)
///   packed  2 (pack fixed + S / pack rate) + max(post, (S + h) / B)
///
/// h: half-bandwidth size. Both sides of a packed chunk run a kernel before and after the wire.
bool packing_is_cheaper(const ChannelNumbers& channel, Bytes bytes, std::size_t pieces,
                        Bytes chunk_bytes);

}  // namespace kvhaul
