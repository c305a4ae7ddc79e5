// The words that enumerations print as.
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

void BackendEvents::clear() {
  completions.clear();
  changes.clear();
  messages.clear();
}

}  // namespace kvhaul
