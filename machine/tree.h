// NUMA hosts and the PCIe tree, from hwloc or from sysfs.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/units.h"

namespace kvhaul {

/// A NUMA node that has processors; those without (memory of a GPU, CXL) are not hosts.
struct NumaHost {
  unsigned number = 0;  // what the kernel calls it
  Bytes memory_bytes = 0;
  unsigned cores = 0;
};

struct PciDevice {
  std::optional<std::uint32_t> host;  // among Tree::hosts; none: the machine does not say
  std::vector<std::string> bridges;   // bus ids of the bridges above it, the root port first
  double bytes_per_s = 0;             // of its link as it is now, one way, in theory; 0: not told
};

struct Tree {
  std::string source;  // "hwloc" or "sysfs"
  std::vector<NumaHost> hosts;
  std::map<std::string, PciDevice> devices;  // by bus id ("0000:1b:00.0"), bridges too
};

/// This machine, or one that `lstopo` wrote to a file. The error (missing) says why it cannot.
Result<Tree> tree_from_hwloc(const std::string& xml_file = "");

/// `sysfs` is "/sys", or a copy of it. What is not there is left out.
Tree tree_from_sysfs(const std::string& sysfs);

/// A file's first line, without blanks at its end; empty when it cannot be read.
std::string first_line(const std::string& path);

}  // namespace kvhaul
