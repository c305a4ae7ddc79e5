// What this machine has, as a plain value: what `kvhaul topo` prints.
#pragma once

#include <span>

#include "machine/nvml.h"
#include "machine/tree.h"

namespace kvhaul {

/// A port of an RDMA device, of those in /sys/class/infiniband. A bond that its card makes one
/// device of (RoCE LAG) is one NIC of several ports.
struct RdmaNic {
  std::string device;  // "mlx5_0"
  unsigned port = 1;
  std::string netdev;      // "ens1f0np0"; empty: none
  std::string bus_id;      // empty: no PCI device of its own (Soft-RoCE)
  std::string part;        // "15b3:1021", vendor and device of PCI; empty: not told
  double gbits_per_s = 0;  // now, of all its ports that are up; 0: not told
  std::string link_layer;  // "InfiniBand", "Ethernet"; empty: not told
  std::string state;       // "ACTIVE", "DOWN", "INIT"; empty: a saved machine does not tell
  unsigned ports = 1;      // that a bond has
  unsigned ports_up = 1;   // of them
  std::string bond;        // how that is known; empty: no bond
  std::string virtual_function_of;  // bus id of the card's own function; empty: it is that itself
  std::string excluded;  // why a saved machine says that it is not used; empty: it may be

  std::string name() const { return device + "/" + std::to_string(port); }
};

/// Sorted by name; empty where the folder is not there.
std::vector<RdmaNic> read_nics(const std::string& sysfs);

struct Machine {
  Tree tree;
  nvml::Gpus gpus;
  std::vector<RdmaNic> nics;
  std::vector<std::string> not_found;  // what is not here, and why; one clause each
  /// What a file does not tell of the machine it saved; one clause each.
  std::vector<std::string> not_known;
  std::string gpus_from = "NVML", nics_from = "sysfs";  // what told of them

  /// Where a device hangs; nothing is known of one that is not in the tree.
  const PciDevice& device(const std::string& bus_id) const;
  /// Its socket: with one, that.
  std::optional<std::uint32_t> host(const std::string& bus_id) const;
  /// PciDevice::pcie_switch of it.
  std::string pcie_switch(const std::string& bus_id) const { return device(bus_id).pcie_switch; }
};

enum class Nearness { same_switch, same_node, same_host, across_sockets, unknown };
Nearness nearness(const Machine& machine, const std::string& bus_id_a, const std::string& bus_id_b);
/// "same switch", "same NUMA node", "same host", "across sockets", "unknown".
std::string_view nearness_name(Nearness nearness);

/// How all pairs of GPUs are joined: the path that is the same for all, with the links that the
/// weakest pair has. None, with the reason, where some pair is not joined or two differ.
nvml::NvLinkAnswer nvlink_among(const nvml::Gpus& gpus);

/// Where to look. Tests look elsewhere than at this machine.
struct MachineSources {
  std::string sysfs = "/sys";
  std::string proc = "/proc";
  std::string nvml = nvml::default_library;
};

/// Texts that drivers, firmware and files wrote go into a file and onto the terminal.
void keep_printable(Machine& machine);

/// Never fails: what cannot be read is not found.
Machine read_machine(const MachineSources& sources = {});

}  // namespace kvhaul
