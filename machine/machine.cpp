#include "machine/machine.h"

#include <algorithm>
#include <filesystem>
#include <thread>
#include <unistd.h>

namespace kvhaul {
namespace {

Tree read_tree(const MachineSources& sources, std::vector<std::string>& not_found) {
  std::string why = "hwloc was not asked";
  if (sources.hwloc) {
    auto tree = tree_from_hwloc(sources.hwloc_xml);
    // Debian has hwloc's PCI plugin in a package of its own.
    if (tree && !tree->devices.empty() && !tree->hosts.empty()) return std::move(*tree);
    why = tree ? "hwloc sees no PCI device" : tree.error().message;
  }
  Tree tree = tree_from_sysfs(sources.sysfs);
  not_found.push_back("hosts and PCIe tree are read from sysfs: " + why);
  if (tree.hosts.empty()) {
    not_found.push_back("no NUMA node in " + sources.sysfs +
                        "/devices/system/node: the machine is taken for one host");
    const long pages = sysconf(_SC_PHYS_PAGES);
    const long page_bytes = sysconf(_SC_PAGESIZE);
    tree.hosts.push_back({0,
                          static_cast<Bytes>(std::max(pages, 0L)) * static_cast<Bytes>(page_bytes),
                          std::max(1u, std::thread::hardware_concurrency())});
    for (auto& [bus_id, device] : tree.devices) device.host = 0;
  }
  return tree;
}

/// What keeps NICs from reaching GPU memory. Without NICs there is nothing to keep.
void find_gpudirect(const MachineSources& sources, std::vector<std::string>& not_found) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  // Its first line names the kind of kernel modules; only the open ones export dma-bufs.
  const std::string modules = first_line(sources.proc + "/driver/nvidia/version");
  if (!modules.empty() && modules.find("Open Kernel Module") == std::string::npos)
    not_found.push_back(
        "GPUDirect RDMA by dma-buf: the NVIDIA kernel modules are not the open ones");
  if (!fs::exists(sources.sysfs + "/module/nvidia_peermem", ignored) &&
      !fs::exists(sources.sysfs + "/kernel/mm/memory_peers/nv_mem", ignored))
    not_found.push_back("GPUDirect RDMA by nvidia-peermem: the module is not loaded");
}

/// Texts that drivers and firmware wrote go into files and onto the terminal.
void keep_printable(std::string& text) {
  for (char& c : text)
    if (c < ' ' || c > '~' || c == '"' || c == '\\') c = '?';
}

}  // namespace

const PciDevice& Machine::device(const std::string& bus_id) const {
  static const PciDevice unknown;
  const auto found = tree.devices.find(bus_id);
  return found == tree.devices.end() ? unknown : found->second;
}

std::optional<std::uint32_t> Machine::host(const std::string& bus_id) const {
  if (tree.hosts.size() == 1) return 0;
  return device(bus_id).host;
}

std::string Machine::pcie_switch(const std::string& bus_id) const {
  // Root port, the switch's upper port, one of its lower ports. Where switches are stacked, the
  // uppermost one's uplink is what all below it share.
  const std::vector<std::string>& bridges = device(bus_id).bridges;
  return bridges.size() >= 3 ? bridges[1] : "";
}

std::string distance_between(const Machine& machine, const std::string& bus_id_a,
                             const std::string& bus_id_b) {
  const std::string above = machine.pcie_switch(bus_id_a);
  if (!above.empty() && above == machine.pcie_switch(bus_id_b)) return "same switch";
  const auto a = machine.host(bus_id_a);
  const auto b = machine.host(bus_id_b);
  if (bus_id_a.empty() || bus_id_b.empty() || !a || !b) return "unknown";
  return *a == *b ? "same host" : "across sockets";
}

nvml::NvLinkAnswer nvlink_among(const nvml::Gpus& gpus) {
  std::optional<nvml::NvLinkAnswer> all;
  const auto& found = gpus.found;
  for (std::size_t a = 0; a < found.size(); ++a)
    for (std::size_t b = a + 1; b < found.size(); ++b) {
      nvml::NvLinkAnswer pair = nvml::nvlink_between(gpus, found[a].bus_id, found[b].bus_id);
      const std::string who = found[a].bus_id + " and " + found[b].bus_id + ": ";
      if (pair.links == 0) return {pair.path, 0, who + pair.reason};
      if (!all) all = pair;
      if (pair.path != all->path)
        return {nvml::NvLinkPath::none, 0, who + pair.reason + ", unlike the other GPUs"};
      if (pair.links < all->links) all = pair;
    }
  if (!all) return {nvml::NvLinkPath::none, 0, "there is no second GPU"};
  return *all;
}

Machine read_machine(const MachineSources& sources) {
  Machine machine;
  machine.tree = read_tree(sources, machine.not_found);
  auto gpus = nvml::read_gpus(sources.nvml);
  if (gpus) {
    machine.gpus = std::move(*gpus);
    if (machine.gpus.found.empty()) machine.not_found.push_back("NVML is there and finds no GPU");
  } else {
    machine.not_found.push_back(gpus.error().message);
  }
  for (const std::string& why : machine.gpus.failed) machine.not_found.push_back(why);
  machine.nics = read_nics(sources.sysfs);
  if (machine.nics.empty())
    machine.not_found.push_back("no RDMA device in " + sources.sysfs + "/class/infiniband");
  else if (!machine.gpus.found.empty())
    find_gpudirect(sources, machine.not_found);
  if (machine.gpus.found.size() > 1)
    if (const auto nvlink = nvlink_among(machine.gpus); nvlink.links == 0)
      machine.not_found.push_back("no NVLink between all GPUs: " + nvlink.reason);

  for (nvml::Gpu& gpu : machine.gpus.found) {
    keep_printable(gpu.name);
    keep_printable(gpu.nvlinks_unknown);
  }
  for (RdmaNic& nic : machine.nics)
    for (std::string* text : {&nic.device, &nic.netdev, &nic.link_layer, &nic.state})
      keep_printable(*text);
  for (std::string& why : machine.not_found) keep_printable(why);
  return machine;
}

}  // namespace kvhaul
