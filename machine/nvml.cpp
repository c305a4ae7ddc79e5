#include "machine/nvml.h"

#include <algorithm>
#include <dlfcn.h>
#include <memory>
#include <utility>

namespace kvhaul::nvml {
namespace {

// Declarations written after NVIDIA's NVML API reference (docs.nvidia.com/deploy/nvml-api). A
// device is an opaque pointer, every function returns a code; the binary interface of a name is
// fixed, changed functions get a new suffix.
using Device = void*;
constexpr int success = 0;
constexpr int invalid_argument = 2;   // such as the number of a link that this kind does not have
constexpr int not_supported = 3;      // such as NVLink on a GPU without, or hidden from a VM
constexpr int function_missing = -1;  // ours: the library is older than the function
constexpr unsigned remote_gpu = 0;    // nvmlIntNvLinkDeviceType_t
constexpr unsigned remote_switch = 2;
constexpr unsigned memory_clock = 2;  // nvmlClockType_t
constexpr unsigned links_most = 36;   // twice what a GPU has today

struct Memory {
  unsigned long long total, free, used;
};
struct PciInfo {
  char bus_id_legacy[16];
  unsigned domain, bus, device, device_id, subsystem_id;
  char bus_id[32];
};

struct Unload {
  void operator()(void* library) const { dlclose(library); }
};

/// The library, loaded and initialised for as long as it lives.
class Library {
 public:
  static Result<Library> load(const std::string& file) {
    Library library;
    library.handle_.reset(dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL));
    if (!library.handle_) {
      const std::string why = dlerror();
      const bool absent = why.find("No such file") != std::string::npos;
      return Error::missing("no NVIDIA driver: " + (absent ? file + " not found" : why));
    }
    const int code = library.call("nvmlInit_v2");
    if (code != success)
      return Error::missing("no NVIDIA driver: " + file + " does not start: " + library.text(code));
    library.running_ = true;
    return library;
  }
  Library(Library&& other) noexcept
      : handle_(std::move(other.handle_)), running_(std::exchange(other.running_, false)) {}
  ~Library() {
    if (running_) call("nvmlShutdown");
  }

  /// Arguments must have exactly the types of the C function.
  template <class... Arguments>
  int call(const char* name, Arguments... arguments) const {
    const auto function = reinterpret_cast<int (*)(Arguments...)>(dlsym(handle_.get(), name));
    return function == nullptr ? function_missing : function(arguments...);
  }

  std::string text(int code) const {
    if (code == function_missing) return "function not found";
    const auto words =
        reinterpret_cast<const char* (*)(int)>(dlsym(handle_.get(), "nvmlErrorString"));
    return words == nullptr ? "NVML error " + std::to_string(code) : words(code);
  }

 private:
  Library() = default;

  std::unique_ptr<void, Unload> handle_;
  bool running_ = false;
};

void read_nvlinks(const Library& nvml, Device device, Gpu& gpu) {
  for (unsigned number = 0; number < links_most; ++number) {
    unsigned up = 0;
    const int code = nvml.call("nvmlDeviceGetNvLinkState", device, number, &up);
    if (code == invalid_argument || code == not_supported) return;
    if (code != success) {
      gpu.nvlinks_unknown = "NVLink " + std::to_string(number) + ": " + nvml.text(code);
      return;
    }
    if (up == 0) continue;
    NvLink link{number, false, ""};
    unsigned type = remote_gpu;  // drivers before 2021 do not tell
    nvml.call("nvmlDeviceGetNvLinkRemoteDeviceType", device, number, &type);
    link.to_switch = type == remote_switch;
    PciInfo peer = {};
    if (nvml.call("nvmlDeviceGetNvLinkRemotePciInfo_v2", device, number, &peer) == success)
      link.peer_bus_id = bus_id_text(peer.bus_id);
    gpu.nvlinks.push_back(std::move(link));
  }
}

Result<Gpu> read_gpu(const Library& nvml, unsigned index) {
  Device device = nullptr;
  char name[96] = {};
  Memory memory = {};
  PciInfo pci = {};
  for (const int code : {nvml.call("nvmlDeviceGetHandleByIndex_v2", index, &device),
                         nvml.call("nvmlDeviceGetPciInfo_v3", device, &pci),
                         nvml.call("nvmlDeviceGetMemoryInfo", device, &memory)})
    if (code != success)
      return Error::missing("GPU " + std::to_string(index) + ": " + nvml.text(code));
  nvml.call("nvmlDeviceGetName", device, &name[0], static_cast<unsigned>(sizeof name - 1));
  Gpu gpu;
  gpu.name = name;
  gpu.bus_id = bus_id_text(pci.bus_id);
  gpu.memory_bytes = memory.total;
  // What these do not tell stays 0.
  nvml.call("nvmlDeviceGetMaxPcieLinkGeneration", device, &gpu.pcie_generation_max);
  nvml.call("nvmlDeviceGetCurrPcieLinkGeneration", device, &gpu.pcie_generation);
  nvml.call("nvmlDeviceGetMaxPcieLinkWidth", device, &gpu.pcie_lanes_max);
  nvml.call("nvmlDeviceGetCurrPcieLinkWidth", device, &gpu.pcie_lanes);
  int major = 0, minor = 0;
  nvml.call("nvmlDeviceGetCudaComputeCapability", device, &major, &minor);
  gpu.compute_major = static_cast<unsigned>(std::max(major, 0));
  gpu.compute_minor = static_cast<unsigned>(std::max(minor, 0));
  // Data on both edges of the clock, as CUDA's deviceQuery computes it.
  unsigned clock_mhz = 0, bus_bits = 0;
  if (nvml.call("nvmlDeviceGetMaxClockInfo", device, memory_clock, &clock_mhz) == success &&
      nvml.call("nvmlDeviceGetMemoryBusWidth", device, &bus_bits) == success)
    gpu.memory_bytes_per_s = 2e6 * clock_mhz * bus_bits / 8;
  unsigned mig_now = 0, mig_pending = 0;
  gpu.mig =
      nvml.call("nvmlDeviceGetMigMode", device, &mig_now, &mig_pending) == success && mig_now != 0;
  unsigned c2c = 0;
  gpu.c2c = nvml.call("nvmlDeviceGetC2cModeInfoV", device, &c2c) == success && c2c != 0;
  read_nvlinks(nvml, device, gpu);
  return gpu;
}

}  // namespace

std::string bus_id_text(std::string_view bus_id) {
  const std::size_t colon = bus_id.find(':');
  // "1b:00.0" has no domain.
  if (colon != std::string_view::npos && bus_id.find(':', colon + 1) == std::string_view::npos)
    return bus_id_text("0000:" + std::string(bus_id));
  while (bus_id.size() > 4 && bus_id[0] == '0' && bus_id.find(':') > 4) bus_id.remove_prefix(1);
  std::string text(bus_id);
  for (char& c : text)
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

Result<Gpus> read_gpus(const std::string& library) {
  auto nvml = Library::load(library);
  if (!nvml) return nvml.error();
  unsigned count = 0;
  if (const int code = nvml->call("nvmlDeviceGetCount_v2", &count); code != success)
    return Error::missing("NVML does not count the GPUs: " + nvml->text(code));
  Gpus gpus;
  for (unsigned i = 0; i < count; ++i) {
    auto gpu = read_gpu(*nvml, i);
    if (gpu)
      gpus.found.push_back(std::move(*gpu));
    else
      gpus.failed.push_back(gpu.error().message);
  }
  // By place, as CUDA counts them with CUDA_DEVICE_ORDER=PCI_BUS_ID.
  std::sort(gpus.found.begin(), gpus.found.end(),
            [](const Gpu& a, const Gpu& b) { return a.bus_id < b.bus_id; });
  return gpus;
}

NvLinkAnswer nvlink_between(const Gpus& gpus, std::string_view bus_id_a,
                            std::string_view bus_id_b) {
  const std::string ids[2] = {bus_id_text(bus_id_a), bus_id_text(bus_id_b)};
  if (ids[0] == ids[1]) return {NvLinkPath::none, 0, "one and the same GPU"};
  const Gpu* ends[2] = {nullptr, nullptr};
  for (int e = 0; e < 2; ++e)
    for (const Gpu& gpu : gpus.found)
      if (gpu.bus_id == ids[e]) ends[e] = &gpu;
  for (int e = 0; e < 2; ++e)
    if (ends[e] == nullptr) return {NvLinkPath::unknown, 0, "NVML knows no GPU " + ids[e]};
  for (const Gpu* end : ends)
    if (end->mig)
      return {NvLinkPath::none, 0, end->bus_id + " is cut by MIG, which takes no NVLink"};
  unsigned direct = 0;
  unsigned to_switch[2] = {0, 0};
  for (const NvLink& link : ends[0]->nvlinks)
    if (!link.to_switch && link.peer_bus_id == ids[1]) ++direct;
  for (int e = 0; e < 2; ++e)
    for (const NvLink& link : ends[e]->nvlinks) to_switch[e] += link.to_switch ? 1 : 0;
  if (direct > 0)
    return {NvLinkPath::direct, direct, std::to_string(direct) + " NVLinks between them"};
  const unsigned shared = std::min(to_switch[0], to_switch[1]);
  if (shared > 0)
    return {NvLinkPath::through_switch, shared,
            std::to_string(shared) + " NVLinks each to an NVSwitch"};
  for (const Gpu* end : ends) {
    if (!end->nvlinks_unknown.empty())
      return {NvLinkPath::unknown, 0, end->bus_id + ": " + end->nvlinks_unknown};
    for (const NvLink& link : end->nvlinks)
      if (link.peer_bus_id.empty() && !link.to_switch)
        return {NvLinkPath::unknown, 0, end->bus_id + ": NVML does not say where its NVLinks end"};
  }
  for (const Gpu* end : ends)
    if (end->nvlinks.empty())
      return {NvLinkPath::none, 0, end->bus_id + " has no NVLink that is up"};
  return {NvLinkPath::none, 0, "their NVLinks end elsewhere"};
}

NvLinkAnswer nvlink_between(std::string_view bus_id_a, std::string_view bus_id_b) {
  const auto gpus = read_gpus();
  if (!gpus) return {NvLinkPath::unknown, 0, gpus.error().message};
  return nvlink_between(*gpus, bus_id_a, bus_id_b);
}

}  // namespace kvhaul::nvml
