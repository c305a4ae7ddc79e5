#include <algorithm>
#include <cstdlib>
#include <filesystem>

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

}  // namespace

std::vector<RdmaNic> read_nics(const std::string& sysfs) {
  std::vector<RdmaNic> nics;
  const fs::path all = sysfs + "/class/infiniband";
  for (const std::string& device : names_in(all)) {
    std::error_code status;
    const fs::path real = fs::canonical(all / device / "device", status);
    // A device of PCI stands in the kernel's list of them; Soft-RoCE has no device, or a virtual
    // one.
    const std::string bus_id = status ? "" : nvml::bus_id_text(real.filename().string());
    const bool pci = !status && fs::exists(sysfs + "/bus/pci/devices/" + bus_id, status);
    const std::vector<std::string> netdevs = names_in(all / device / "device" / "net");
    for (const std::string& port : names_in(all / device / "ports")) {
      const fs::path at = all / device / "ports" / port;
      RdmaNic nic;
      nic.device = device;
      nic.port = static_cast<unsigned>(std::strtoul(port.c_str(), nullptr, 10));
      if (!netdevs.empty()) nic.netdev = netdevs.front();
      if (pci) nic.bus_id = bus_id;
      nic.gbits_per_s =
          std::strtod(first_line(at / "rate").c_str(), nullptr);  // "400 Gb/sec (4X NDR)"
      nic.link_layer = first_line(at / "link_layer");
      nic.state = behind_number(first_line(at / "state"));
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
