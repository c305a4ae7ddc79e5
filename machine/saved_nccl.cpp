#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <pugixml.hpp>

#include "machine/saved_machine.h"

namespace kvhaul {
namespace {

std::string attribute(const pugi::xml_node& node, const char* name) {
  return node.attribute(name).as_string();
}

unsigned hex(const std::string& text) {
  return static_cast<unsigned>(std::strtoul(text.c_str(), nullptr, 16));
}

class Reader {
 public:
  explicit Reader(Machine& machine) : machine_(machine) {}

  /// Processors first, so that devices find their sockets.
  void system(const pugi::xml_node& system) {
    std::vector<NumaNode> nodes;
    for (const pugi::xml_node& cpu : system.children("cpu")) {
      const int number = cpu.attribute("numaid").as_int(-1);
      // Memory is not told, and of cores which CPUs; that it has some is what counts.
      if (number >= 0) nodes.push_back({static_cast<unsigned>(number), 0, 1, std::nullopt});
    }
    group_into_sockets(std::move(nodes), machine_.tree);
    for (NumaHost& host : machine_.tree.hosts) host.cores = 0;
    for (const pugi::xml_node& cpu : system.children("cpu")) {
      PciDevice place;
      const int number = cpu.attribute("numaid").as_int(-1);
      if (number >= 0) {
        place.node = static_cast<unsigned>(number);
        place.host = host_of_node(machine_.tree, *place.node);
      }
      devices_below(cpu, place, 0);
      // A network without a PCI device: sockets of a virtual machine.
      for (const pugi::xml_node& nic : cpu.children("nic")) nets(nic, "", "");
    }
    for (const pugi::xml_node& nic : system.children("nic")) nets(nic, "", "");
  }

 private:
  void devices_below(const pugi::xml_node& parent, const PciDevice& above, unsigned depth) {
    constexpr unsigned deepest = 32;
    if (depth > deepest) return;
    for (const pugi::xml_node& pci : parent.children("pci")) {
      const std::string id = nvml::bus_id_text(attribute(pci, "busid"));
      PciDevice device = above;
      device.bytes_per_s =
          pcie_link_rate(attribute(pci, "link_speed"), attribute(pci, "link_width"));
      machine_.tree.devices[id] = device;
      const unsigned kind = hex(attribute(pci, "class")) >> 8;
      const std::string part = attribute(pci, "vendor").empty()
                                   ? ""
                                   : attribute(pci, "vendor") + ":" + attribute(pci, "device");
      // NCCL writes a switch as one device and no root ports: what has devices below it is a
      // switch.
      if (pci.child("pci")) {
        device.bridges.push_back(id);
        if (device.pcie_switch.empty()) device.pcie_switch = id;
        devices_below(pci, device, depth + 1);
      } else if (pci.child("gpu") || kind == 0x0302 || kind == 0x0300) {
        gpu(pci, id);
      } else if (pci.child("nic")) {
        for (const pugi::xml_node& nic : pci.children("nic")) nets(nic, id, part, kind);
      } else if (kind == 0x0200 || kind == 0x0207) {
        // Files written by hand name the device alone.
        RdmaNic nic;
        nic.device = nic.bus_id = id;
        nic.part = part;
        nic.link_layer = layer(kind, part);
        machine_.nics.push_back(std::move(nic));
      }
    }
  }

  /// EFA is neither: of a class as Ethernet, with a protocol of its own.
  static std::string layer(unsigned kind, const std::string& part) {
    if (part.starts_with("0x1d0f:0xefa")) return "EFA";
    return kind == 0x0207 ? "InfiniBand" : kind == 0x0200 ? "Ethernet" : "";
  }

  void gpu(const pugi::xml_node& pci, const std::string& id) {
    const pugi::xml_node told = pci.child("gpu");
    if (told && attribute(told, "keep") == "0") return;
    nvml::Gpu gpu;
    gpu.bus_id = id;
    const bool nvidia = hex(attribute(pci, "vendor")) == 0x10de;
    const GpuModel* model =
        nvidia ? gpu_model_by_pci_device(hex(attribute(pci, "device"))) : nullptr;
    if (model != nullptr) gpu.name = model->nvml_name;
    if (model == nullptr && !attribute(pci, "device").empty())
      gpu.name = "GPU " + attribute(pci, "vendor") + ":" + attribute(pci, "device");
    const unsigned sm = told.attribute("sm").as_uint();  // 90: 9.0
    gpu.compute_major = sm / 10;
    gpu.compute_minor = sm % 10;
    for (const pugi::xml_node& link : told.children("nvlink")) {
      const unsigned count = std::min(link.attribute("count").as_uint(), 72u);
      const bool to_switch = hex(attribute(link, "tclass")) >> 8 == 0x0680;
      for (unsigned l = 0; l < count; ++l)
        gpu.nvlinks.push_back({static_cast<unsigned>(gpu.nvlinks.size()), to_switch,
                               nvml::bus_id_text(attribute(link, "target"))});
    }
    if (gpu.nvlinks.empty()) gpu.nvlinks_unknown = "the file tells no NVLinks of it";
    machine_.gpus.found.push_back(std::move(gpu));
  }

  void nets(const pugi::xml_node& of, const std::string& id, const std::string& part,
            unsigned kind = 0) {
    for (const pugi::xml_node& net : of.children("net")) {
      RdmaNic nic;
      nic.device = attribute(net, "name");
      nic.port = net.attribute("port").as_uint();
      nic.bus_id = id;
      nic.part = part;
      nic.gbits_per_s = net.attribute("speed").as_double() / 1000;  // Mb/s
      nic.link_layer = layer(kind, part);
      if (nic.device.starts_with("rdmap")) nic.link_layer = "EFA";  // as udev names them
      if (nic.port == 0) nic.excluded = "no RDMA: NCCL reaches it over sockets";
      if (attribute(net, "keep") == "0" || attribute(of, "keep") == "0")
        nic.excluded = "NCCL does not keep it";
      if (nic.device.find("bond") != std::string::npos) {
        nic.ports = nic.ports_up = 2;
        nic.bond = "by its name; the rate is taken as of both ports";
      }
      machine_.nics.push_back(std::move(nic));
    }
  }

  Machine& machine_;
};

}  // namespace

Result<Machine> machine_from_nccl(const std::string& file, const SavedMachineHints& hints) {
  auto text = read_saved_file(file);
  if (!text) return text.error();
  pugi::xml_document document;
  const pugi::xml_parse_result parsed = document.load_buffer(text->data(), text->size());
  if (!parsed) {
    const auto end = text->begin() + std::min<std::ptrdiff_t>(
                                         parsed.offset, static_cast<std::ptrdiff_t>(text->size()));
    return Error::bad_input(file + ":" + std::to_string(1 + std::count(text->begin(), end, '\n')) +
                            ": expected XML: " + parsed.description());
  }
  const pugi::xml_node system = document.child("system");
  if (!system)
    return Error::bad_input(
        file + ": expected NCCL's topology, <system> with <cpu> and <pci> in it" +
        (document.child("topology") ? "; this is hwloc's: --hwloc reads it" : ""));
  Machine machine;
  machine.tree.source = machine.gpus_from = machine.nics_from = file;
  Reader(machine).system(system);
  std::stable_sort(
      machine.nics.begin(), machine.nics.end(), [](const RdmaNic& a, const RdmaNic& b) {
        return std::pair(a.device.size(), a.device) < std::pair(b.device.size(), b.device);
      });
  return complete_saved_machine(std::move(machine), hints);
}

}  // namespace kvhaul
