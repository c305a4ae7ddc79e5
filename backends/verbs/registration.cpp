#include "backends/verbs/registration.h"

#include <algorithm>
#include <filesystem>

namespace kvhaul::verbs {

std::string_view memory_way_name(MemoryWay way) {
  switch (way) {
    case MemoryWay::host:
      return "host memory";
    case MemoryWay::dma_buf:
      return "dma-buf";
    case MemoryWay::peer_memory:
      return "nvidia-peermem";
    case MemoryWay::staged:
      return "staged through pinned host memory";
  }
  return "?";
}

Result<WayChoice> choose_way(const WaysTried& tried) {
  std::string why;
  const auto refuse = [&](MemoryWay way, const std::string& reason) {
    why += (why.empty() ? "no " : "; no ") + std::string(memory_way_name(way)) + ": " + reason;
  };
  if (tried.dma_buf.empty()) return WayChoice{MemoryWay::dma_buf, why};
  refuse(MemoryWay::dma_buf, tried.dma_buf);
  if (tried.peer_memory.empty()) return WayChoice{MemoryWay::peer_memory, why};
  refuse(MemoryWay::peer_memory, tried.peer_memory);
  if (tried.staged.empty()) return WayChoice{MemoryWay::staged, why};
  return Error::missing("the NIC cannot reach the memory: " + why + "; not " +
                        std::string(memory_way_name(MemoryWay::staged)) + ": " + tried.staged);
}

std::vector<Slice> slices_of(Bytes bytes) {
  std::vector<Slice> slices;
  for (Bytes at = 0; at < bytes; at += slice_bytes)
    slices.push_back({at, std::min(slice_bytes, bytes - at)});
  return slices;
}

std::string rdma_device_missing(const std::string& sysfs) {
  const std::string folder = sysfs + "/class/infiniband";
  std::error_code error;
  if (!std::filesystem::exists(folder, error))
    return "no RDMA device: " + folder + " is not there (the kernel module ib_core is not loaded)";
  if (std::filesystem::directory_iterator(folder, error) == std::filesystem::directory_iterator())
    return "no RDMA device: " + folder +
           " is empty (no NIC for RDMA, or the module of its driver is not loaded)";
  return "";
}

}  // namespace kvhaul::verbs
