#include "core/planner.h"

#include <algorithm>

namespace kvhaul {

void coalesce(std::span<const Descriptor> descriptors, std::vector<Descriptor>& out) {
  for (const Descriptor& next : descriptors) {
    if (!out.empty()) {
      Descriptor& last = out.back();
      if (last.source_offset + last.length == next.source_offset &&
          last.target_offset + last.length == next.target_offset) {
        last.length += next.length;
        continue;
      }
    }
    out.push_back(next);
  }
}

bool packing_is_cheaper(const ChannelNumbers& channel, Bytes bytes, std::size_t pieces,
                        Bytes chunk_bytes) {
  if (!channel.pack || pieces < 2 || channel.bytes_per_s <= 0) return false;
  // One representative chunk: as many average pieces as a chunk holds.
  const double piece = static_cast<double>(bytes) / static_cast<double>(pieces);
  const double count =
      std::clamp(static_cast<double>(chunk_bytes) / piece, 1.0, static_cast<double>(pieces));
  const double size = count * piece;
  const double half = static_cast<double>(channel.half_bandwidth_bytes);
  const double post = static_cast<double>(channel.post_ns);
  const double ns_per_byte = 1e9 / channel.bytes_per_s;
  const double many = std::max(count * post, (size + count * half) * ns_per_byte);
  const double packed =
      2 * (static_cast<double>(channel.pack->fixed_ns) + size * 1e9 / channel.pack->bytes_per_s) +
      std::max(post, (size + half) * ns_per_byte);
  return packed < many;
}

}  // namespace kvhaul
