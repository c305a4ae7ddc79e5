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

Gather cheapest_gather(const ChannelNumbers& channel, Bytes bytes, std::size_t pieces,
                       Bytes chunk_bytes) {
  if (pieces < 2 || channel.bytes_per_s <= 0) return Gather::each;
  // One representative chunk: as many average pieces as a chunk holds.
  const double piece = static_cast<double>(bytes) / static_cast<double>(pieces);
  const double count =
      std::clamp(static_cast<double>(chunk_bytes) / piece, 1.0, static_cast<double>(pieces));
  const double size = count * piece;
  const double ns_per_byte = 1e9 / channel.bytes_per_s;
  Gather best = Gather::each;
  double least = 0;
  for (std::size_t m = 0; m < gather_count; ++m) {
    const std::optional<GatherCosts> costs = channel.gather_costs(static_cast<Gather>(m));
    if (!costs) continue;
    const double posting =
        static_cast<double>(costs->post_ns) + count * static_cast<double>(costs->piece_post_ns);
    const double occupied = size * (1 + costs->extra_permille / 1000.0) +
                            static_cast<double>(costs->half_bandwidth_bytes) +
                            count * static_cast<double>(costs->piece_half_bandwidth_bytes);
    const double pass = costs->bytes_per_s > 0 ? size * 1e9 / costs->bytes_per_s : 0;
    const double time = 2 * (static_cast<double>(costs->fixed_ns) + pass) +
                        std::max(posting, occupied * ns_per_byte);
    if (m != 0 && time >= least) continue;
    best = static_cast<Gather>(m);
    least = time;
  }
  return best;
}

}  // namespace kvhaul
