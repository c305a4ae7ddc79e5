#include "machine/machine.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <thread>
#include <unistd.h>

namespace kvhaul {
namespace {

Tree read_tree(const MachineSources& sources, std::vector<std::string>& not_found) {
  Tree tree = tree_from_sysfs(sources.sysfs);
  if (tree.hosts.empty()) {
    not_found.push_back("no NUMA node in " + sources.sysfs +
                        "/devices/system/node: the machine is taken for one host");
    const long pages = sysconf(_SC_PHYS_PAGES);
    const long page_bytes = sysconf(_SC_PAGESIZE);
    tree.hosts.push_back({{0},
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

/// Accelerators that stand on the PCI bus and that no library described.
void find_other_gpus(const MachineSources& sources, const Machine& machine,
                     std::vector<std::string>& not_found) {
  std::map<std::string, unsigned> count;
  for (const auto& [bus_id, device] : machine.tree.devices) {
    const std::string folder = sources.sysfs + "/bus/pci/devices/" + bus_id;
    const std::string kind = first_line(folder + "/class");
    // 3D controllers, other display controllers, processing accelerators; no VGA.
    if (!kind.starts_with("0x0302") && !kind.starts_with("0x0380") && !kind.starts_with("0x1200"))
      continue;
    if (std::none_of(machine.gpus.found.begin(), machine.gpus.found.end(),
                     [&, id = bus_id](const nvml::Gpu& gpu) { return gpu.bus_id == id; }))
      ++count[first_line(folder + "/vendor") + ":" + first_line(folder + "/device")];
  }
  for (const auto& [part, number] : count)
    not_found.push_back(std::to_string(number) + " accelerator" + (number == 1 ? "" : "s") +
                        " on the PCI bus (" + part +
                        ") that NVML does not describe: left out, only NVIDIA's are read");
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

Nearness nearness(const Machine& machine, const std::string& bus_id_a,
                  const std::string& bus_id_b) {
  const std::string above = machine.pcie_switch(bus_id_a);
  if (!above.empty() && above == machine.pcie_switch(bus_id_b)) return Nearness::same_switch;
  const auto a = machine.host(bus_id_a);
  const auto b = machine.host(bus_id_b);
  if (bus_id_a.empty() || bus_id_b.empty() || !a || !b) return Nearness::unknown;
  if (*a != *b) return Nearness::across_sockets;
  const auto node = machine.device(bus_id_a).node;
  return machine.tree.hosts[*a].nodes.size() > 1 && node && node == machine.device(bus_id_b).node
             ? Nearness::same_node
             : Nearness::same_host;
}

std::string_view nearness_name(Nearness nearness) {
  constexpr std::string_view names[] = {"same switch", "same NUMA node", "same host",
                                        "across sockets", "unknown"};
  return names[static_cast<std::size_t>(nearness)];
}

void keep_printable(Machine& machine) {
  const auto keep = [](std::string& text) {
    for (char& c : text)
      if (c < ' ' || c > '~' || c == '"' || c == '\\') c = '?';
  };
  for (nvml::Gpu& gpu : machine.gpus.found) {
    keep(gpu.name);
    keep(gpu.nvlinks_unknown);
  }
  for (RdmaNic& nic : machine.nics)
    for (std::string* text : {&nic.device, &nic.netdev, &nic.link_layer, &nic.state, &nic.part,
                              &nic.bond, &nic.excluded})
      keep(*text);
  for (std::string& why : machine.not_found) keep(why);
  for (std::string& what : machine.not_known) keep(what);
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
    for (const nvml::Gpu& gpu : machine.gpus.found)
      if (gpu.mig)
        machine.not_known.push_back("what a MIG instance of " + gpu.bus_id +
                                    " has: MIG is on, and the file has the whole GPU");
  } else {
    machine.not_found.push_back(gpus.error().message);
  }
  for (const std::string& why : machine.gpus.failed) machine.not_found.push_back(why);
  find_other_gpus(sources, machine, machine.not_found);
  machine.nics = read_nics(sources.sysfs);
  if (machine.nics.empty())
    machine.not_found.push_back("no RDMA device in " + sources.sysfs + "/class/infiniband");
  else if (!machine.gpus.found.empty())
    find_gpudirect(sources, machine.not_found);
  if (machine.gpus.found.size() > 1)
    if (const auto nvlink = nvlink_among(machine.gpus); nvlink.links == 0)
      machine.not_found.push_back("no NVLink between all GPUs: " + nvlink.reason);

  keep_printable(machine);
  return machine;
}

}  // namespace kvhaul
