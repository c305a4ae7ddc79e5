// NVIDIA GPUs and their NVLinks, asked of NVML. Its library comes with the driver and is loaded at
// run time, so that a program built without it finds the GPUs of the machine it runs on.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/units.h"

namespace kvhaul::nvml {

inline constexpr const char* default_library = "libnvidia-ml.so.1";

/// An NVLink that is up.
struct NvLink {
  unsigned number = 0;
  bool to_switch = false;
  std::string peer_bus_id;  // of the GPU or the switch; empty: NVML does not say
};

struct Gpu {
  std::string name;        // "NVIDIA H200"
  std::string bus_id;      // as bus_id_text() writes it
  Bytes memory_bytes = 0;  // 0: not told
  bool nominal = false;    // it is what the model has, not what was read
  // What GPU and slot can do together, and what the link is at now; 0: not told. An idle link is
  // often slowed down.
  unsigned pcie_generation_max = 0, pcie_generation = 0;
  unsigned pcie_lanes_max = 0, pcie_lanes = 0;
  unsigned compute_major = 0, compute_minor = 0;  // 9.0 for Hopper
  double memory_bytes_per_s = 0;                  // of its own memory, in theory; 0: not told
  bool mig = false;                               // cut into instances
  bool c2c = false;                               // NVLink-C2C to the processor
  std::vector<NvLink> nvlinks;
  std::string nvlinks_unknown;  // why `nvlinks` may not be all; empty: they are
};

struct Gpus {
  std::vector<Gpu> found;
  std::vector<std::string> failed;  // GPUs that NVML counts and cannot describe: why
};

/// All GPUs. Without a driver the error (missing) says what was not found.
Result<Gpus> read_gpus(const std::string& library = default_library);

enum class NvLinkPath { direct, through_switch, none, unknown };

struct NvLinkAnswer {
  NvLinkPath path = NvLinkPath::unknown;
  unsigned links = 0;  // of the pair; through a switch: of the one that has fewer
  std::string reason;  // one clause: how they are joined, or why not, or why nobody knows
};

/// Whether NVLink joins two GPUs, named by their PCI bus ids in any usual form.
NvLinkAnswer nvlink_between(const Gpus& gpus, std::string_view bus_id_a, std::string_view bus_id_b);
/// Asks NVML first; unknown when that cannot be asked.
NvLinkAnswer nvlink_between(std::string_view bus_id_a, std::string_view bus_id_b);

/// A PCI bus id as sysfs writes it: "00000000:1B:00.0" is "0000:1b:00.0".
std::string bus_id_text(std::string_view bus_id);

}  // namespace kvhaul::nvml
