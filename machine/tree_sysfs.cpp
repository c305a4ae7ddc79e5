#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "machine/tree.h"

namespace kvhaul {
namespace fs = std::filesystem;
namespace {

/// "0000:1b:00.0": at least four, two, two digits and one.
bool is_bus_id(const std::string& name) {
  return name.size() >= 12 && name.find_first_not_of("0123456789abcdef:.") == std::string::npos &&
         name[name.size() - 2] == '.' && name[name.size() - 5] == ':' &&
         name[name.size() - 8] == ':';
}

/// The numbers of "0-3,8": the kernel's way to write sets.
std::vector<unsigned> numbers_of(const std::string& list) {
  constexpr unsigned most = 1'000'000;  // whatever the file says
  std::vector<unsigned> numbers;
  for (const char* at = list.c_str(); *at >= '0' && *at <= '9';) {
    char* end = nullptr;
    const auto first = static_cast<unsigned>(std::strtoul(at, &end, 10));
    auto last = first;
    if (*end == '-') last = static_cast<unsigned>(std::strtoul(end + 1, &end, 10));
    for (unsigned n = first; n <= std::min(last, most); ++n) numbers.push_back(n);
    at = *end == ',' ? end + 1 : end;
    if (*end != ',') break;
  }
  return numbers;
}

std::vector<NumaHost> read_hosts(const std::string& sysfs) {
  std::vector<NumaHost> hosts;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(sysfs + "/devices/system/node", ignored)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("node")) continue;
    const std::vector<unsigned> numbers = numbers_of(name.substr(4));
    if (numbers.size() != 1) continue;
    NumaHost host{numbers[0], 0, 0};
    std::ifstream meminfo(entry.path() / "meminfo");
    for (std::string line; std::getline(meminfo, line);)
      if (const std::size_t at = line.find("MemTotal:"); at != std::string::npos)
        host.memory_bytes = std::strtoull(line.c_str() + at + 9, nullptr, 10) * KiB;
    for (const unsigned cpu : numbers_of(first_line(entry.path() / "cpulist"))) {
      // A core counts once, at the first of its threads.
      const std::string siblings =
          first_line(sysfs + "/devices/system/cpu/cpu" + std::to_string(cpu) +
                     "/topology/thread_siblings_list");
      if (siblings.empty() || std::strtoul(siblings.c_str(), nullptr, 10) == cpu) ++host.cores;
    }
    if (host.cores > 0) hosts.push_back(host);
  }
  std::sort(hosts.begin(), hosts.end(),
            [](const NumaHost& a, const NumaHost& b) { return a.number < b.number; });
  return hosts;
}

/// Of "32.0 GT/s PCIe" and a number of lanes; 8 of 10 bits are data up to 5 GT/s, 128 of 130 above.
double link_rate(const std::string& speed, const std::string& lanes) {
  const double giga_transfers = std::strtod(speed.c_str(), nullptr);
  const double lane = giga_transfers * 1e9 / 8 * (giga_transfers <= 5 ? 0.8 : 128.0 / 130);
  return lane * std::strtod(lanes.c_str(), nullptr);
}

}  // namespace

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line.substr(0, line.find_last_not_of(" \t\r") + 1);
}

Tree tree_from_sysfs(const std::string& sysfs) {
  Tree tree;
  tree.source = "sysfs";
  tree.hosts = read_hosts(sysfs);
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(sysfs + "/bus/pci/devices", ignored)) {
    PciDevice device;
    // .../pci0000:00/0000:00:01.0/0000:01:00.0: what is above a device stands before it.
    for (const fs::path& part : fs::canonical(entry.path(), ignored)) {
      if (part.string().starts_with("pci")) device.bridges.clear();
      if (is_bus_id(part)) device.bridges.push_back(part);
    }
    if (device.bridges.empty()) continue;
    const std::string bus_id = device.bridges.back();
    device.bridges.pop_back();
    const std::string folder = entry.path();
    const std::string node = first_line(folder + "/numa_node");  // -1: not known
    for (std::uint32_t h = 0; h < tree.hosts.size(); ++h)
      if (node == std::to_string(tree.hosts[h].number)) device.host = h;
    device.bytes_per_s = link_rate(first_line(folder + "/current_link_speed"),
                                   first_line(folder + "/current_link_width"));
    tree.devices[bus_id] = std::move(device);
  }
  return tree;
}

}  // namespace kvhaul
