#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <hwloc.h>
#include <memory>

#include "machine/tree.h"

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

void add_device(Tree& tree, hwloc_topology_t topology, hwloc_obj_t object) {
  const Pci* pci = pci_of(object);
  if (pci == nullptr) return;
  PciDevice device;
  device.bytes_per_s = static_cast<double>(pci->linkspeed) * 1e9;
  for (hwloc_obj_t up = object->parent; up != nullptr; up = up->parent)
    if (const auto* bridge = pci_of(up)) device.bridges.push_back(bus_id(*bridge));
  std::reverse(device.bridges.begin(), device.bridges.end());
  // Attached to the whole machine means that nobody knows to which of its nodes.
  const hwloc_const_nodeset_t near = hwloc_get_non_io_ancestor_obj(topology, object)->nodeset;
  if (near != nullptr && hwloc_bitmap_weight(near) == 1)
    for (std::uint32_t h = 0; h < tree.hosts.size(); ++h)
      if (hwloc_bitmap_isset(near, tree.hosts[h].number)) device.host = h;
  tree.devices[bus_id(*pci)] = std::move(device);
}

}  // namespace

Result<Tree> tree_from_hwloc(const std::string& xml_file) {
  // What it cannot read it would say on our stderr, in words of its own; a user's setting stands.
  setenv("HWLOC_HIDE_ERRORS", "2", 0);
  hwloc_topology_t made = nullptr;
  if (hwloc_topology_init(&made) != 0) return Error::missing("hwloc does not start");
  const std::unique_ptr<hwloc_topology, Destroy> topology(made);
  // Devices are what they are on the bus; plugins that start GPU drivers or ask an X server are not
  // wanted. hwloc itself reads the bus from sysfs; its "pci" plugin reads the same through
  // libpciaccess, which leaks.
  for (const char* plugin : {"pci", "cuda", "nvml", "opencl", "gl", "rsmi", "levelzero"})
    hwloc_topology_set_components(made, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, plugin);
  hwloc_topology_set_io_types_filter(made, HWLOC_TYPE_FILTER_KEEP_ALL);
  if (!xml_file.empty() && hwloc_topology_set_xml(made, xml_file.c_str()) != 0)
    return Error::missing("hwloc cannot read " + xml_file);
  if (hwloc_topology_load(made) != 0) return Error::missing("hwloc cannot read this machine");

  Tree tree;
  tree.source = "hwloc";
  for (hwloc_obj_t node = nullptr;
       (node = hwloc_get_next_obj_by_type(made, HWLOC_OBJ_NUMANODE, node)) != nullptr;) {
    const int cores = hwloc_get_nbobjs_inside_cpuset_by_type(made, node->cpuset, HWLOC_OBJ_CORE);
    if (cores > 0)
      tree.hosts.push_back(
          {node->os_index, node->attr->numanode.local_memory, static_cast<unsigned>(cores)});
  }
  for (hwloc_obj_t object = nullptr; (object = hwloc_get_next_bridge(made, object)) != nullptr;)
    add_device(tree, made, object);
  for (hwloc_obj_t object = nullptr; (object = hwloc_get_next_pcidev(made, object)) != nullptr;)
    add_device(tree, made, object);
  return tree;
}

}  // namespace kvhaul
