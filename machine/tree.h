// Sockets and the PCIe tree, from sysfs or from a saved machine.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/units.h"

namespace kvhaul {

/// A NUMA node as the machine shows it.
struct NumaNode {
  unsigned number = 0;  // what the kernel calls it
  Bytes memory_bytes = 0;
  unsigned cores = 0;               // 0: memory only, such as a GPU's own or CXL
  std::optional<unsigned> package;  // the socket it is a part of; none: not told
};

/// A socket. Where NPS or SNC splits it, it has several NUMA nodes.
struct NumaHost {
  std::vector<unsigned> nodes;  // their numbers
  Bytes memory_bytes = 0;       // 0: not told
  unsigned cores = 0;           // 0: not told
};

struct PciDevice {
  std::optional<std::uint32_t> host;  // among Tree::hosts; none: the machine does not say
  std::optional<unsigned> node;       // its NUMA node, in the kernel's number; none: not told
  std::vector<std::string> bridges;   // bus ids of the bridges above it, the root port first
  double bytes_per_s = 0;             // of its link as it is now, one way, in theory; 0: not told
  /// The bus id of the port whose uplink it shares with others on the way to its host: of stacked
  /// switches the uppermost. Empty: it hangs on a root port.
  std::string pcie_switch;
};

struct Tree {
  std::string source;  // "sysfs", or the file it was read from
  std::vector<NumaHost> hosts;
  std::vector<unsigned> memory_only;  // numbers of NUMA nodes without processors
  std::string assumed;                // what is taken of sockets that nobody told; one clause
  std::map<std::string, PciDevice> devices;  // by bus id ("0000:1b:00.0"), bridges too
};

/// Puts NUMA nodes into the sockets that they are a part of. Where some node does not say: of more
/// than two nodes with as many cores each, half are one socket (two sockets with NPS or SNC), else
/// each is a socket of its own; Tree::assumed says so.
void group_into_sockets(std::vector<NumaNode> nodes, Tree& tree);

/// Which of Tree::hosts has this NUMA node.
std::optional<std::uint32_t> host_of_node(const Tree& tree, unsigned node);

/// `sysfs` is "/sys", or a copy of it. What is not there is left out.
Tree tree_from_sysfs(const std::string& sysfs);

/// Tree::pcie_switch of a device below these bridges, as the kernel lists them.
std::string uppermost_switch(const std::vector<std::string>& bridges);

/// Of "32.0 GT/s PCIe" and a number of lanes, one way; 8 of 10 bits are data up to 5 GT/s, 128 of
/// 130 above. 0 where either is not told.
double pcie_link_rate(const std::string& speed, const std::string& lanes);

/// A file's first line, without blanks at its end; empty when it cannot be read.
std::string first_line(const std::string& path);

}  // namespace kvhaul
