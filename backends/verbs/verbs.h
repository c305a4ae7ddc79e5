// The verbs backend: RDMA through libibverbs, over InfiniBand and RoCE, in real time.
//
//   verbs_backend.h  the contract (core/backend.h) over all below; backend*.cpp by concern
//   port_choice.h    which port, and which of its addresses
//   port.h           an opened port
//   queue_pair.h     a reliable connection, made again when its path breaks
//   requests.h       chunks as work requests
//   rights.h         who may reach what: a registration and a key for each use of memory
//   memory.h         segments, registered with the NICs
//   registration.h   which way a NIC gets at a device's memory: decisions without a device
//   staging.h        through pinned host memory, where it does not
//   datagrams.h      frames between ports
//   message_link.h   messages between nodes, over frames that may be lost
//   status.h         what a completion status means
//   wire_text.h      values as bytes
//
// No header of libibverbs is included here: a program that is built without it may include this.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backends/device_memory.h"
#include "core/backend.h"
#include "core/exchange.h"

namespace kvhaul::verbs {

struct Options {
  /// The port of each NIC of the cluster, in the order of Cluster::nics: "mlx5_0", "mlx5_0:1",
  /// "mlx5_0:1:3" (device, port, GID index). Only those of nodes that this process drives count.
  /// Empty: the devices found here, in the order of their names.
  std::vector<std::string> nics = {};
  /// The processes of the run, and which of them drives each node. Null: this one drives all.
  Exchange* exchange = nullptr;
  std::vector<std::uint32_t> rank_of_node = {};
  /// Silence of another process after which it counts as gone. Filling, summing and connecting are
  /// interrupted to answer the others; what else keeps the caller from this backend has to be
  /// short.
  TimeNs patience_ns = 5 * s_ns;
  /// wait() asks the queues for so long before it sleeps until they tell. Longer takes more
  /// processor time and answers sooner; a chunk that takes less is never slept for.
  TimeNs awake_for_ns = 50 * us_ns;
  /// Where the memory of GPU places lies. Null: in host memory.
  std::shared_ptr<DeviceMemorySource> devices = nullptr;
  std::uint8_t service_level = 0;
  std::uint8_t traffic_class = 0;
};

/// The RDMA devices of this machine, in the order in which they are dealt to NICs.
std::vector<std::string> device_names();
/// Why no RDMA device can be used here; empty when one can.
std::string missing();

std::unique_ptr<Backend> make_backend(const Options& options);

}  // namespace kvhaul::verbs
