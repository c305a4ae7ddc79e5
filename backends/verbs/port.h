// An opened port of an RDMA device, with the completion queue of everything that goes through it.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/verbs/handles.h"
#include "backends/verbs/port_choice.h"
#include "core/ids.h"
#include "core/result.h"
#include "core/units.h"

namespace kvhaul::verbs {

/// What other ends need to reach a port.
struct PortAddress {
  Gid gid = {};
  std::uint16_t lid = 0;
  std::uint8_t mtu = IBV_MTU_1024;  // enum ibv_mtu
  std::uint8_t reads = 1;           // RDMA READs that it takes from one queue pair at a time
  bool roce = true;
};

struct Port {
  PortName name;
  Context context;
  ProtectionDomain domain;  // of what this process asks for itself: peers reach nothing in it
  std::map<NodeId, ProtectionDomain> peer_domains;  // of what a peer may ask for
  CompletionChannel events;                         // before the queue that uses it
  CompletionQueue completions;
  ibv_device_attr device = {};
  ibv_port_attr attributes = {};
  PortAddress address;
  std::uint32_t gid_index = 0;
  std::string netdev;

  /// "rxa0:1 RoCE v2 ::ffff:192.168.70.1 (GID 1, a0), MTU 4096"
  std::string text() const;

  /// The domain of a peer, made where there is none yet; no_id: this process's own.
  Result<ibv_pd*> domain_of(NodeId peer);
};

/// Opens a port; errors (missing) say what it lacks: no such device, port down, no address. The
/// completion queue comes later, when it is known how much will be under way.
Result<std::unique_ptr<Port>> open_port(const PortName& name);
Result<void> make_completion_queue(Port& port, std::uint32_t entries);

inline std::uint32_t mtu_bytes(std::uint8_t mtu) { return 128u << mtu; }

/// The way to a port for a queue pair or a datagram.
ibv_ah_attr way_to(const Port& from, const PortAddress& to, std::uint8_t service_level,
                   std::uint8_t traffic_class);

}  // namespace kvhaul::verbs
