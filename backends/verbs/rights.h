// What a registration or a queue pair lets a NIC do, and for whom.
//
// Memory has a registration, and so a key, for each use of it: one peer's, in one direction. Keys
// and queue pairs that answer a peer are in a protection domain of its own, in which no other peer
// has a queue pair: a key that has come to another one opens nothing (docs/rdma.md).
#pragma once

#include <compare>
#include <cstdint>
#include <infiniband/verbs.h>

#include "core/ids.h"

namespace kvhaul::verbs {

enum class Access : std::uint8_t {
  local_read,    // the source of this node's pushes
  local_write,   // the target of its pulls
  remote_read,   // a peer pulls from it
  remote_write,  // a peer pushes to it
};
constexpr bool is_remote(Access access) { return access >= Access::remote_read; }

/// Of a registration. What a far end may write this end has to be allowed to write.
constexpr int registration_flags(Access access) {
  switch (access) {
    case Access::local_read:
      return 0;
    case Access::local_write:
      return IBV_ACCESS_LOCAL_WRITE;
    case Access::remote_read:
      return IBV_ACCESS_REMOTE_READ;
    case Access::remote_write:
      break;
  }
  return IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
}
/// What the far end of a queue pair may ask of this one; of the end that posts, nothing.
constexpr int queue_pair_flags(Access access) {
  return registration_flags(access) & (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ);
}

struct Rights {
  ibv_pd* domain = nullptr;
  Access access = Access::local_read;
};

/// For whom, through which NIC, a segment is registered.
struct MemoryUse {
  std::uint32_t nic = 0;
  NodeId peer = no_id;  // the node that posts; no_id: this one
  Access access = Access::local_read;

  auto operator<=>(const MemoryUse&) const = default;
};

}  // namespace kvhaul::verbs
