// What a completion status means for the chunk that met it.
#pragma once

#include <infiniband/verbs.h>

#include "core/backend.h"

namespace kvhaul::verbs {

/// The request itself was wrong, or the path is: nothing else can be told from a status. What a
/// queue pair drops when it breaks (flushed) says nothing of its own.
inline Outcome outcome_of(ibv_wc_status status) {
  switch (status) {
    case IBV_WC_SUCCESS:
      return Outcome::ok;
    case IBV_WC_WR_FLUSH_ERR:
      return Outcome::cancelled;
    case IBV_WC_RNR_RETRY_EXC_ERR:  // the far end was out of receives, and will have some again
      return Outcome::retry;
    case IBV_WC_LOC_LEN_ERR:
    case IBV_WC_LOC_PROT_ERR:
    case IBV_WC_REM_ACCESS_ERR:
    case IBV_WC_REM_INV_REQ_ERR:
      return Outcome::invalid;
    default:
      return Outcome::path_failed;
  }
}

}  // namespace kvhaul::verbs
