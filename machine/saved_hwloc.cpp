#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <hwloc.h>
#include <hwloc/distances.h>
#include <memory>

#include "machine/saved_machine.h"

namespace kvhaul {
namespace {

struct Destroy {
  void operator()(hwloc_topology_t topology) const { hwloc_topology_destroy(topology); }
};

using Pci = hwloc_obj_attr_u::hwloc_pcidev_attr_s;

/// The PCI side of a device or a bridge; none for the bridge between processor and PCI.
const Pci* pci_of(hwloc_obj_t object) {
  if (object->type == HWLOC_OBJ_PCI_DEVICE) return &object->attr->pcidev;
  if (object->type == HWLOC_OBJ_BRIDGE &&
      object->attr->bridge.upstream_type == HWLOC_OBJ_BRIDGE_PCI)
    return &object->attr->bridge.upstream.pci;
  return nullptr;
}

std::string bus_id(const Pci& pci) {
  char text[32];
  std::snprintf(text, sizeof text, "%04x:%02x:%02x.%x", static_cast<unsigned>(pci.domain),
                static_cast<unsigned>(pci.bus), static_cast<unsigned>(pci.dev),
                static_cast<unsigned>(pci.func));
  return text;
}

std::string part_of(const Pci& pci) {
  char text[16];
  std::snprintf(text, sizeof text, "%04x:%04x", static_cast<unsigned>(pci.vendor_id),
                static_cast<unsigned>(pci.device_id));
  return text;
}

std::string info(hwloc_obj_t object, const char* name) {
  const char* value = hwloc_obj_get_info_by_name(object, name);
  return value == nullptr ? "" : value;
}

void add_node(std::vector<NumaNode>& nodes, hwloc_topology_t topology, hwloc_obj_t object) {
  NumaNode node;
  node.number = object->os_index;
  node.memory_bytes = object->attr->numanode.local_memory;
  const int cores =
      hwloc_get_nbobjs_inside_cpuset_by_type(topology, object->cpuset, HWLOC_OBJ_CORE);
  node.cores = cores > 0 ? static_cast<unsigned>(cores) : 0;
  for (hwloc_obj_t package = nullptr;
       (package = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_PACKAGE, package)) != nullptr;)
    if (node.cores > 0 && hwloc_bitmap_isincluded(object->cpuset, package->cpuset))
      node.package = package->logical_index;
  nodes.push_back(node);
}

void add_device(Tree& tree, hwloc_topology_t topology, hwloc_obj_t object) {
  const Pci* pci = pci_of(object);
  if (pci == nullptr) return;
  PciDevice device;
  device.bytes_per_s = static_cast<double>(pci->linkspeed) * 1e9;
  for (hwloc_obj_t up = object->parent; up != nullptr; up = up->parent)
    if (const auto* bridge = pci_of(up)) device.bridges.push_back(bus_id(*bridge));
  std::reverse(device.bridges.begin(), device.bridges.end());
  device.pcie_switch = uppermost_switch(device.bridges);
  // Attached to several sockets means that nobody knows to which.
  const hwloc_const_nodeset_t near = hwloc_get_non_io_ancestor_obj(topology, object)->nodeset;
  std::vector<std::uint32_t> hosts;
  if (near != nullptr)
    for (std::uint32_t h = 0; h < tree.hosts.size(); ++h)
      if (std::any_of(tree.hosts[h].nodes.begin(), tree.hosts[h].nodes.end(),
                      [&](unsigned node) { return hwloc_bitmap_isset(near, node); }))
        hosts.push_back(h);
  if (hosts.size() == 1) {
    device.host = hosts[0];
    if (hwloc_bitmap_weight(near) == 1)
      device.node = static_cast<unsigned>(hwloc_bitmap_first(near));
  }
  tree.devices[bus_id(*pci)] = std::move(device);
}

constexpr unsigned nvidia = 0x10de, amd = 0x1002, mellanox = 0x15b3, amazon = 0x1d0f;

bool is_gpu(const Pci& pci) {
  const unsigned kind = pci.class_id;
  return (pci.vendor_id == nvidia && (kind == 0x0300 || kind == 0x0302)) ||
         (pci.vendor_id == amd && (kind == 0x0302 || kind == 0x0380 || kind == 0x1200));
}

void add_gpu(Machine& machine, hwloc_obj_t object, const Pci& pci) {
  nvml::Gpu gpu;
  gpu.bus_id = bus_id(pci);
  for (hwloc_obj_t child = object->io_first_child; child != nullptr; child = child->next_sibling) {
    if (gpu.name.empty()) gpu.name = info(child, "GPUModel");
    for (const char* memory : {"CUDAGlobalMemorySize", "RSMIVRAMSize"})
      if (gpu.memory_bytes == 0)
        gpu.memory_bytes = std::strtoull(info(child, memory).c_str(), nullptr, 10) * KiB;
  }
  const GpuModel* model =
      pci.vendor_id == nvidia ? gpu_model_by_pci_device(pci.device_id) : nullptr;
  if (model != nullptr) gpu.name = model->nvml_name;
  if (gpu.name.empty()) gpu.name = "GPU " + part_of(pci);
  machine.gpus.found.push_back(std::move(gpu));
}

void add_nic(Machine& machine, hwloc_obj_t object, const Pci& pci) {
  RdmaNic nic;
  for (hwloc_obj_t child = object->io_first_child; child != nullptr; child = child->next_sibling) {
    if (child->type != HWLOC_OBJ_OS_DEVICE || child->name == nullptr) continue;
    if (child->attr->osdev.type == HWLOC_OBJ_OSDEV_NETWORK) nic.netdev = child->name;
    if (child->attr->osdev.type != HWLOC_OBJ_OSDEV_OPENFABRICS) continue;
    nic.device = child->name;
    // As ibv_port_state counts: 1 down, 2 init, 3 armed, 4 active.
    const std::string state = info(child, "Port1State");
    nic.state = state == "4"   ? "ACTIVE"
                : state == "3" ? "ARMED"
                : state == "2" ? "INIT"
                : state == "1" ? "DOWN"
                               : "";
  }
  // A file may be without the names of the operating system.
  const bool efa = pci.vendor_id == amazon && (pci.device_id & 0xfff0) == 0xefa0;
  if (nic.device.empty() && pci.class_id != 0x0207 && pci.vendor_id != mellanox && !efa) return;
  if (nic.device.empty()) nic.device = bus_id(pci);
  nic.bus_id = bus_id(pci);
  nic.part = part_of(pci);
  nic.link_layer = pci.class_id == 0x0207 ? "InfiniBand" : pci.class_id == 0x0200 ? "Ethernet" : "";
  if (nic.device.find("bond") != std::string::npos) {
    nic.ports = nic.ports_up = 2;
    nic.bond = "by its name";
  }
  machine.nics.push_back(std::move(nic));
}

/// NVLinks, of the rates that hwloc writes down: MB/s of all links between two objects.
void read_nvlinks(Machine& machine, hwloc_topology_t topology) {
  hwloc_distances_s* matrix = nullptr;
  unsigned count = 1;
  if (hwloc_distances_get_by_name(topology, "NVLinkBandwidth", &count, &matrix, 0) != 0 ||
      count == 0 || matrix == nullptr) {
    for (nvml::Gpu& gpu : machine.gpus.found)
      gpu.nvlinks_unknown = "the file tells no NVLinks (hwloc writes them where it has NVML)";
    return;
  }
  std::vector<std::string> ids(matrix->nbobjs);
  for (unsigned i = 0; i < matrix->nbobjs; ++i)
    for (hwloc_obj_t up = matrix->objs[i]; up != nullptr && ids[i].empty(); up = up->parent)
      if (const Pci* pci = pci_of(up)) ids[i] = bus_id(*pci);
  for (nvml::Gpu& gpu : machine.gpus.found)
    for (unsigned i = 0; i < matrix->nbobjs; ++i) {
      if (ids[i] != gpu.bus_id) continue;
      for (unsigned j = 0; j < matrix->nbobjs; ++j) {
        if (i == j || ids[j].empty()) continue;
        const bool to_gpu = std::any_of(machine.gpus.found.begin(), machine.gpus.found.end(),
                                        [&](const nvml::Gpu& g) { return g.bus_id == ids[j]; });
        // hwloc counts a link of the fifth generation as 50,000, of the second to fourth as 25,000.
        const hwloc_uint64_t one =
            gpu.name.find("B200") != std::string::npos || gpu.name.find("B300") != std::string::npos
                ? 50'000
                : 25'000;
        const hwloc_uint64_t links =
            std::min<hwloc_uint64_t>(matrix->values[i * matrix->nbobjs + j] / one, 72);
        for (hwloc_uint64_t l = 0; l < links; ++l)
          gpu.nvlinks.push_back({static_cast<unsigned>(gpu.nvlinks.size()), !to_gpu, ids[j]});
      }
    }
  hwloc_distances_release(topology, matrix);
}

}  // namespace

Result<Machine> machine_from_hwloc(const std::string& file, const SavedMachineHints& hints) {
  auto text = read_saved_file(file);
  if (!text) return text.error();
  // What it cannot read it would say on our stderr, in words of its own; a user's setting stands.
  setenv("HWLOC_HIDE_ERRORS", "2", 0);
  hwloc_topology_t made = nullptr;
  if (hwloc_topology_init(&made) != 0) return Error::missing("hwloc does not start");
  const std::unique_ptr<hwloc_topology, Destroy> topology(made);
  hwloc_topology_set_io_types_filter(made, HWLOC_TYPE_FILTER_KEEP_ALL);
  const bool newer = text->find("<topology version=\"3") != std::string::npos;
  // The length counts the zero at the end.
  if (hwloc_topology_set_xmlbuffer(made, text->c_str(), static_cast<int>(text->size() + 1)) != 0 ||
      hwloc_topology_load(made) != 0)
    return Error::bad_input(
        file + ": expected XML as 'lstopo --of xml' writes it" +
        (newer ? "; this is of hwloc 3, and hwloc " HWLOC_VERSION
                 " may not read it: write it with 'lstopo --of xml --export-xml-flags v2'"
               : ", which hwloc " HWLOC_VERSION " cannot read here"));

  Machine machine;
  machine.tree.source = machine.gpus_from = machine.nics_from = file;
  std::vector<NumaNode> nodes;
  for (hwloc_obj_t node = nullptr;
       (node = hwloc_get_next_obj_by_type(made, HWLOC_OBJ_NUMANODE, node)) != nullptr;)
    add_node(nodes, made, node);
  group_into_sockets(std::move(nodes), machine.tree);
  for (hwloc_obj_t object = nullptr; (object = hwloc_get_next_bridge(made, object)) != nullptr;)
    add_device(machine.tree, made, object);
  for (hwloc_obj_t object = nullptr; (object = hwloc_get_next_pcidev(made, object)) != nullptr;) {
    add_device(machine.tree, made, object);
    const Pci& pci = *pci_of(object);
    if (is_gpu(pci))
      add_gpu(machine, object, pci);
    else
      add_nic(machine, object, pci);
  }
  std::sort(machine.gpus.found.begin(), machine.gpus.found.end(),
            [](const nvml::Gpu& a, const nvml::Gpu& b) { return a.bus_id < b.bus_id; });
  std::stable_sort(
      machine.nics.begin(), machine.nics.end(), [](const RdmaNic& a, const RdmaNic& b) {
        return std::pair(a.device.size(), a.device) < std::pair(b.device.size(), b.device);
      });
  read_nvlinks(machine, made);
  return complete_saved_machine(std::move(machine), hints);
}

}  // namespace kvhaul
