// How a NIC gets at the memory of a place, and why not in a better way: decisions without a device.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/units.h"

namespace kvhaul::verbs {

enum class MemoryWay : std::uint8_t {
  host,         // host memory, registered as it is
  dma_buf,      // device memory, which its driver has exported
  peer_memory,  // device memory by its address, which the driver makes known to the NIC's
  staged,       // through pinned host memory
};
/// "dma-buf", "nvidia-peermem", "staged through pinned host memory", "host memory".
std::string_view memory_way_name(MemoryWay way);

/// What came of trying the ways to device memory, best one first. Each text says why it cannot be;
/// empty: it can.
struct WaysTried {
  std::string dma_buf = {};
  std::string peer_memory = {};
  std::string staged = {};
};
struct WayChoice {
  MemoryWay way = MemoryWay::host;
  std::string why;  // it is no better one; empty for the best
};
/// Fails with `missing` where no way is left, and says why of each.
Result<WayChoice> choose_way(const WaysTried& tried);

struct Slice {
  Bytes offset = 0;
  Bytes bytes = 0;
};
/// A region of more than 4 GiB fails on some NICs; the slices leave room below that.
inline constexpr Bytes slice_bytes = 3584 * MiB;
/// What a segment of that size is registered as.
std::vector<Slice> slices_of(Bytes bytes);

/// Why the kernel has no RDMA device; empty when it has one.
std::string rdma_device_missing(const std::string& sysfs = "/sys");

}  // namespace kvhaul::verbs
