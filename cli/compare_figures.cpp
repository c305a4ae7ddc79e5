#include "cli/compare_figures.h"

#include <cmath>

namespace kvhaul::cli {

std::span<const Figure> compared_figures() {
  static constexpr Figure figures[] = {
      {"ttft_ms.p50", "time to first token p50, ms"},
      {"ttft_ms.p99", "                    p99, ms"},
      {"queue_ms.p50", "  queue p50, ms"},
      {"queue_ms.p99", "        p99, ms"},
      {"prefill_ms.p50", "  prefill p50, ms"},
      {"prefill_ms.p99", "          p99, ms"},
      {"exposed_transfer_ms.p50", "  exposed transfer p50, ms"},
      {"exposed_transfer_ms.p99", "                   p99, ms"},
      {"exposed_transfer_share_of_ttft", "  its share of the sum, %", 100},
      {"itl_ms.p50", "inter-token latency p50, ms"},
      {"itl_ms.p99", "                    p99, ms"},
      {"slo_attainment", "SLO attained, %", 100},
      {"transfers.time_ms.p50", "one KV transfer p50, ms"},
      {"transfers.time_ms.p99", "                p99, ms"},
      {"transfers.wait_ms.p50", "  wait p50, ms"},
      {"transfers.wait_ms.p99", "       p99, ms"},
      {"transfers.post_ms.p50", "  post p50, ms"},
      {"transfers.post_ms.p99", "       p99, ms"},
      {"transfers.wire_ms.p50", "  wire p50, ms"},
      {"transfers.wire_ms.p99", "       p99, ms"},
      {"transfers.bytes", "KV moved, GB", 1e-9},
      {"transfers.gbytes_per_s_while_busy", "GB/s while busy"},
      {"transfers.resent_chunks", "chunks sent again"},
      {"requests.completed", "requests completed"},
      {"duration_s", "duration, s"},
  };
  return figures;
}

std::string run_letter(std::size_t run) { return std::string(1, static_cast<char>('A' + run)); }

std::optional<double> relative_difference(const RunDirectory& first, const RunDirectory& other,
                                          const char* key) {
  const auto from = first.maybe_number(key);
  const auto to = other.maybe_number(key);
  if (!from || !to) return std::nullopt;
  if (*from == *to) return 0.0;
  if (*from == 0) return std::nullopt;
  return *to / *from - 1;
}

std::optional<TtftChange> ttft_change(const RunDirectory& first, const RunDirectory& other) {
  if (!first.maybe_number("ttft_ms.mean") || !other.maybe_number("ttft_ms.mean"))
    return std::nullopt;
  // The mean of the sum is the sum of the means, so these three explain all of it.
  static constexpr std::pair<const char*, const char*> components[] = {
      {"queue_ms.mean", "queue"},
      {"prefill_ms.mean", "prefill"},
      {"exposed_transfer_ms.mean", "exposed transfer"}};
  TtftChange change;
  const double mean = first.number("ttft_ms.mean");
  change.change_ms = other.number("ttft_ms.mean") - mean;
  change.relative = mean > 0 ? change.change_ms / mean : 0;
  for (const auto& [key, name] : components) {
    const double here = other.number(key) - first.number(key);
    if (!change.component.empty() && std::fabs(here) <= std::fabs(change.component_change_ms))
      continue;
    change.component = name;
    change.component_change_ms = here;
  }
  return change;
}

bool is_limit(const RunDirectory::Link& link) {
  return link.utilisation >= 0.8 || link.saturated_share >= 0.05;
}

}  // namespace kvhaul::cli
