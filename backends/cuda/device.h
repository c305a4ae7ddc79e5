// The GPUs of this machine as CUDA numbers them.
#pragma once

#include <string>
#include <vector>

#include "core/result.h"

namespace kvhaul::cuda {

struct Device {
  int ordinal = 0;
  std::string name;        // "NVIDIA H100 80GB HBM3"
  std::string pci_bus_id;  // "0000:1b:00.0"
  int numa_node = -1;      // -1: not known
  int multiprocessors = 0;
  bool batched_copies = false;  // cudaMemcpyBatchAsync: driver 12.8 and later
};

/// All devices. Fails with `missing` and CUDA's reason when there is none.
Result<std::vector<Device>> find_devices();

/// Lets kernels and copy engines of `from` reach the memory of `to`. Fails with `missing` when the
/// two have no direct road. Nothing to do for one and the same device.
Result<void> enable_peer(int from, int to);

}  // namespace kvhaul::cuda
