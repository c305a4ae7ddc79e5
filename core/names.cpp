// The words that enumerations print as.
#include <numeric>

#include "core/backend.h"
#include "core/transfer.h"

namespace kvhaul {

std::string_view transfer_outcome_name(TransferOutcome outcome) {
  switch (outcome) {
    case TransferOutcome::delivered:
      return "delivered";
    case TransferOutcome::cancelled:
      return "cancelled";
    case TransferOutcome::failed:
      return "failed";
    case TransferOutcome::no_route:
      return "no_route";
  }
  return "?";
}

TimeNs PathParts::sum() const { return std::accumulate(ns.begin(), ns.end(), TimeNs{0}); }

std::string_view path_part_name(PathPart part) {
  static constexpr std::string_view names[path_part_count] = {
      "posting", "wire", "detection", "window", "credit", "order", "fault"};
  return names[static_cast<std::size_t>(part)];
}

std::string_view outcome_name(Outcome outcome) {
  switch (outcome) {
    case Outcome::ok:
      return "ok";
    case Outcome::retry:
      return "retry";
    case Outcome::corrupted:
      return "corrupted";
    case Outcome::path_failed:
      return "path_failed";
    case Outcome::cancelled:
      return "cancelled";
    case Outcome::invalid:
      return "invalid";
  }
  return "?";
}

std::string_view gather_name(Gather gather) {
  switch (gather) {
    case Gather::each:
      return "each";
    case Gather::batch:
      return "batch";
    case Gather::pack:
      return "pack";
    case Gather::through:
      return "through";
  }
  return "?";
}

std::optional<GatherCosts> ChannelNumbers::gather_costs(Gather method) const {
  if (method != Gather::each) return gather[static_cast<std::size_t>(method)];
  return GatherCosts{.piece_post_ns = post_ns, .piece_half_bandwidth_bytes = half_bandwidth_bytes};
}

void BackendEvents::clear() {
  completions.clear();
  changes.clear();
  messages.clear();
  lost_nodes.clear();
}

}  // namespace kvhaul
