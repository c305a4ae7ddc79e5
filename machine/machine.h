// What this machine has, as a plain value: what `kvhaul topo` prints.
#pragma once

#include <span>

#include "machine/nvml.h"
#include "machine/tree.h"

namespace kvhaul {

/// A port of an RDMA device, of those in /sys/class/infiniband.
struct RdmaNic {
  std::string device;  // "mlx5_0"
  unsigned port = 1;
  std::string netdev;      // "ens1f0np0"; empty: none
  std::string bus_id;      // empty: no PCI device of its own (Soft-RoCE)
  double gbits_per_s = 0;  // of the port now
  std::string link_layer;  // "InfiniBand", "Ethernet"
  std::string state;       // "ACTIVE", "DOWN"

  bool usable() const { return state == "ACTIVE" && !bus_id.empty() && gbits_per_s > 0; }
};

/// Sorted by name; empty where the folder is not there.
std::vector<RdmaNic> read_nics(const std::string& sysfs);

struct Machine {
  Tree tree;
  nvml::Gpus gpus;
  std::vector<RdmaNic> nics;
  std::vector<std::string> not_found;  // what is not here, and why; one clause each

  /// Where a device hangs; nothing is known of one that is not in the tree.
  const PciDevice& device(const std::string& bus_id) const;
  /// Its NUMA host: with one host, that.
  std::optional<std::uint32_t> host(const std::string& bus_id) const;
  /// The PCIe switch whose uplink a device shares on its way to the host: the bus id of that
  /// uplink's port. Empty: it hangs on a root port.
  std::string pcie_switch(const std::string& bus_id) const;
};

/// "same switch", "same host", "across sockets", "unknown".
std::string distance_between(const Machine& machine, const std::string& bus_id_a,
                             const std::string& bus_id_b);

/// How all pairs of GPUs are joined: the path that is the same for all, with the links that the
/// weakest pair has. None, with the reason, where some pair is not joined or two differ.
nvml::NvLinkAnswer nvlink_among(const nvml::Gpus& gpus);

/// Where to look. Tests look elsewhere than at this machine.
struct MachineSources {
  std::string sysfs = "/sys";
  std::string proc = "/proc";
  std::string hwloc_xml;  // empty: this machine
  bool hwloc = true;      // false: the tree from sysfs
  std::string nvml = nvml::default_library;
};

/// Never fails: what cannot be read is not found.
Machine read_machine(const MachineSources& sources = {});

}  // namespace kvhaul
