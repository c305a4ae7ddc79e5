#include "cli/compare_figures.h"

#include <cmath>

namespace kvhaul::cli {

std::string run_letter(std::size_t run) { return std::string(1, static_cast<char>('A' + run)); }

std::optional<double> relative_difference(const RunDirectory& first, const RunDirectory& other,
                                          const std::string& key) {
  const auto from = first.maybe_number(key);
  const auto to = other.maybe_number(key);
  if (!from || !to) return std::nullopt;
  if (*from == *to) return 0.0;
  if (*from == 0) return std::nullopt;
  return *to / *from - 1;
}

std::optional<TtftChange> ttft_change(const RunDirectory& first, const RunDirectory& other) {
  const auto from = first.maybe_number("ttft_ms.mean"), to = other.maybe_number("ttft_ms.mean");
  if (!from || !to) return std::nullopt;
  // The mean of the sum is the sum of the means, so these explain all of it.
  static constexpr std::pair<const char*, const char*> components[] = {
      {"queue_ms.mean", "queue"},
      {"prefill_ms.mean", "prefill"},
      {"handover.memory_ms.mean", "the wait for decode memory"},
      {"exposed_transfer_ms.mean", "exposed transfer"},
      {"handover.step_ms.mean", "the wait for a decode step"},
      {"handover.seat_ms.mean", "the wait for a decode seat"}};
  TtftChange change;
  change.change_ms = *to - *from;
  change.relative = *from > 0 ? change.change_ms / *from : 0;
  // What the files round away is no difference.
  const bool same = std::fabs(change.relative) < 1e-5;
  if (same) change.change_ms = change.relative = 0;
  for (const auto& [key, name] : components) {
    const auto part = first.maybe_number(key), other_part = other.maybe_number(key);
    if (!part || !other_part) return std::nullopt;
    const double here = *other_part - *part;
    if (same) continue;
    if (change.component && std::fabs(here) <= std::fabs(change.component_change_ms)) continue;
    change.component = name;
    change.component_change_ms = here;
  }
  return change;
}

}  // namespace kvhaul::cli
