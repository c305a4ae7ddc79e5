#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <sstream>

#include "machine/machine.h"

namespace kvhaul {
namespace fs = std::filesystem;
namespace {

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

/// "4: ACTIVE" is "ACTIVE".
std::string behind_number(const std::string& state) {
  const std::size_t at = state.find(": ");
  return at == std::string::npos ? state : state.substr(at + 2);
}

/// The bus id that a link in sysfs leads to; empty: there is none.
std::string bus_id_behind(const fs::path& link) {
  std::error_code status;
  const fs::path real = fs::canonical(link, status);
  return status ? "" : nvml::bus_id_text(real.filename().string());
}

/// "0x15b3" is "15b3".
std::string without_prefix(const std::string& hex) {
  return hex.starts_with("0x") ? hex.substr(2) : hex;
}

struct Bond {
  std::string name;
  std::vector<std::string> ports;  // network interfaces
  bool one_at_a_time = false;      // active-backup
};

/// The bond that a network interface is a part of.
std::optional<Bond> bond_of(const std::string& sysfs, const std::string& netdev) {
  std::error_code status;
  const fs::path master = fs::canonical(sysfs + "/class/net/" + netdev + "/master", status);
  if (status || !fs::exists(master / "bonding", status)) return std::nullopt;
  Bond bond{
      master.filename(), {}, first_line(master / "bonding/mode").starts_with("active-backup")};
  std::istringstream ports(first_line(master / "bonding/slaves"));
  for (std::string port; ports >> port;) bond.ports.push_back(port);
  return bond;
}

/// A bond that is one RDMA device carries what its ports carry together; the kernel may tell the
/// rate of one port or of all.
void read_bond(const std::string& sysfs, RdmaNic& nic, const std::vector<std::string>& netdevs,
               const std::map<std::string, unsigned>& rdma_devices_of) {
  for (const std::string& netdev : netdevs) {
    const auto bond = bond_of(sysfs, netdev);
    if (!bond || bond->ports.size() < 2) continue;
    // With an RDMA device for each of its ports, those are NICs by themselves.
    unsigned devices = 0;
    for (const std::string& port : bond->ports)
      if (const auto found = rdma_devices_of.find(port); found != rdma_devices_of.end())
        devices += found->second;
    if (devices != 1) continue;
    nic.ports = static_cast<unsigned>(bond->ports.size());
    nic.ports_up = 0;
    double sum = 0, most = 0;
    for (const std::string& port : bond->ports) {
      const std::string folder = sysfs + "/class/net/" + port;
      const double gbits = std::strtod(first_line(folder + "/speed").c_str(), nullptr) / 1000;
      const std::string state = first_line(folder + "/operstate");
      if (gbits <= 0 || (!state.empty() && state != "up")) continue;
      ++nic.ports_up;
      sum += gbits;
      most = std::max(most, gbits);
    }
    nic.bond = bond->name;
    if (bond->one_at_a_time) nic.bond += ", active-backup: one port carries";
    if (nic.ports_up > 0)
      nic.gbits_per_s = bond->one_at_a_time ? most : sum;
    else
      nic.ports_up = nic.ports;  // no speeds to read: the RDMA device's rate stands
    return;
  }
  if (nic.device.find("bond") != std::string::npos) {
    nic.ports = nic.ports_up = 2;
    nic.bond = "by its name; the rate is taken as of both ports";
  }
}

}  // namespace

std::vector<RdmaNic> read_nics(const std::string& sysfs) {
  std::vector<RdmaNic> nics;
  const fs::path all = sysfs + "/class/infiniband";
  std::map<std::string, unsigned> rdma_devices_of;  // by network interface
  for (const std::string& device : names_in(all))
    for (const std::string& netdev : names_in(all / device / "device" / "net"))
      ++rdma_devices_of[netdev];
  for (const std::string& device : names_in(all)) {
    const fs::path pci = all / device / "device";
    // A device of PCI stands in the kernel's list of them; Soft-RoCE has no device, or a virtual
    // one.
    const std::string bus_id = bus_id_behind(pci);
    std::error_code status;
    const bool on_pci = !bus_id.empty() && fs::exists(sysfs + "/bus/pci/devices/" + bus_id, status);
    const std::vector<std::string> netdevs = names_in(pci / "net");
    for (const std::string& port : names_in(all / device / "ports")) {
      const fs::path at = all / device / "ports" / port;
      RdmaNic nic;
      nic.device = device;
      nic.port = static_cast<unsigned>(std::strtoul(port.c_str(), nullptr, 10));
      if (!netdevs.empty()) nic.netdev = netdevs.front();
      if (on_pci) {
        nic.bus_id = bus_id;
        const std::string vendor = without_prefix(first_line(pci / "vendor"));
        if (!vendor.empty()) nic.part = vendor + ":" + without_prefix(first_line(pci / "device"));
        nic.virtual_function_of = bus_id_behind(pci / "physfn");
      }
      nic.gbits_per_s =
          std::strtod(first_line(at / "rate").c_str(), nullptr);  // "400 Gb/sec (4X NDR)"
      nic.link_layer = first_line(at / "link_layer");
      nic.state = behind_number(first_line(at / "state"));
      if (nic.state.empty()) nic.state = "of unknown state";
      read_bond(sysfs, nic, netdevs, rdma_devices_of);
      nics.push_back(std::move(nic));
    }
  }
  // mlx5_10 behind mlx5_9.
  std::stable_sort(nics.begin(), nics.end(), [](const RdmaNic& a, const RdmaNic& b) {
    return a.device.size() < b.device.size();
  });
  return nics;
}

}  // namespace kvhaul
