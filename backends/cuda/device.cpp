#include "backends/cuda/device.h"

#include <cstdlib>
#include <cuda_runtime_api.h>
#include <fstream>
#include <set>
#include <utility>

#include "backends/cuda/status.h"

namespace kvhaul::cuda {
namespace {

/// The kernel knows which memory is nearest to a PCI device; -1 in a virtual machine that hides it.
int numa_node_of(std::string bus_id) {
  for (char& c : bus_id)
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
  std::ifstream file("/sys/bus/pci/devices/" + bus_id + "/numa_node");
  int node = -1;
  file >> node;
  return file ? node : -1;
}

}  // namespace

Result<std::vector<Device>> find_devices() {
  // A stream may share a hardware queue with others, and would then wait behind a kernel that stays
  // (kernel_lane.h). Read by CUDA when it starts; a user's own setting stands.
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code != cudaSuccess) {
    cudaGetLastError();
    return Error::missing("no CUDA device: " + std::string(cudaGetErrorString(code)));
  }
  if (count == 0) return Error::missing("no CUDA device");
  int driver = 0;
  if (auto ok = checked(cudaDriverGetVersion(&driver), "cudaDriverGetVersion", 0); !ok)
    return ok.error();
  std::vector<Device> devices;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties{};
    char bus_id[32] = {};
    FirstError error(i);
    error.then("cudaGetDeviceProperties", [&] { return cudaGetDeviceProperties(&properties, i); })
        .then("cudaDeviceGetPCIBusId",
              [&] { return cudaDeviceGetPCIBusId(bus_id, sizeof bus_id, i); });
    if (!error.ok()) return error.result().error();
    Device device;
    device.ordinal = i;
    device.name = properties.name;
    device.pci_bus_id = bus_id;
    device.numa_node = numa_node_of(bus_id);
    device.multiprocessors = properties.multiProcessorCount;
    device.batched_copies = driver >= 12080;
    devices.push_back(std::move(device));
  }
  return devices;
}

Result<void> enable_peer(int from, int to) {
  // CUDA takes a second time for an error, which tools that watch its calls report.
  static std::set<std::pair<int, int>> enabled;
  if (from == to || enabled.contains({from, to})) return {};
  int can = 0;
  FirstError error(from);
  error.then("cudaDeviceCanAccessPeer", [&] { return cudaDeviceCanAccessPeer(&can, from, to); });
  if (!error.ok()) return error.result();
  if (can == 0)
    return Error::missing("device " + std::to_string(from) + " cannot reach the memory of device " +
                          std::to_string(to) + " (cudaDeviceCanAccessPeer)");
  error.then("cudaSetDevice", [&] { return cudaSetDevice(from); })
      .then("cudaDeviceEnablePeerAccess", [&] { return cudaDeviceEnablePeerAccess(to, 0); });
  if (error.ok()) enabled.insert({from, to});
  return error.result();
}

}  // namespace kvhaul::cuda
