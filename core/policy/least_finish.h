// kvhaul's own policy: every chunk goes where it is expected to land first.
#pragma once

#include <algorithm>
#include <cmath>
#include <string_view>

#include "core/policy/policy.h"

namespace kvhaul {

class LeastFinish {
 public:
  static constexpr std::string_view name = "least_finish";
  static constexpr std::string_view summary =
      "least expected finish by learned rate and queue; chunk size from the channel's numbers";
  static constexpr bool repeatable = true;

  explicit LeastFinish(const SchedulerSetup& setup) : config_(setup.config) {}

  /// n chunks of a transfer of S bytes over c parallel channels of k stages cost, beyond S / (c B):
  ///
  ///   n h / (c B)                 every chunk occupies its channel for h bytes more
  ///   (c k - 1) / c * (S / n) / B   the last chunk fills and drains stages, others stand idle
  ///
  /// with h the half-bandwidth size, or the bytes that pass during one post where that is more. The
  /// sum is least at S / n = sqrt(S h / (c k - 1)); with one channel of one stage nothing is gained
  /// by cutting, and only the time limit, which keeps urgent transfers from waiting, cuts at all.
  Bytes chunk_bytes(const PairNumbers& pair, Bytes transfer_bytes, std::size_t /*pieces*/) const {
    const Bytes most =
        std::max<Bytes>(std::min(pair.max_chunk_bytes,
                                 static_cast<Bytes>(pair.bytes_per_s * 1e-9 *
                                                    static_cast<double>(config_.chunk_time_ns))),
                        std::min(config_.chunk_floor_bytes, pair.max_chunk_bytes));
    const double drain = static_cast<double>(pair.parallel_channels) * pair.stages - 1;
    if (drain <= 0 && transfer_bytes <= most) return transfer_bytes;
    const Bytes fewest =
        (transfer_bytes + config_.chunks_per_transfer - 1) / config_.chunks_per_transfer;
    const double overhead = std::max(static_cast<double>(pair.half_bandwidth_bytes),
                                     static_cast<double>(pair.post_ns) * 1e-9 * pair.bytes_per_s);
    Bytes chunk = transfer_bytes;
    if (drain > 0)
      chunk = static_cast<Bytes>(std::sqrt(static_cast<double>(transfer_bytes) * overhead / drain));
    chunk = std::max({std::min(chunk, most), config_.chunk_floor_bytes, fewest});
    chunk = std::min(chunk, pair.max_chunk_bytes);
    if (chunk >= transfer_bytes) return chunk;
    // Equal parts rather than full ones and a crumb; whole pages of 4 KiB where there is room.
    const Bytes count = (transfer_bytes + chunk - 1) / chunk;
    const Bytes even = ((transfer_bytes + count - 1) / count + 4095) & ~Bytes{4095};
    return std::min(even, pair.max_chunk_bytes);
  }

  std::uint32_t choose(const Choice& choice) const {
    return choice.table.least_expected(choice.candidates, choice.charge);
  }

 private:
  SchedulerConfig config_;
};

}  // namespace kvhaul
