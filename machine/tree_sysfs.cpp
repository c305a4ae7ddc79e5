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

std::vector<NumaNode> read_nodes(const std::string& sysfs) {
  std::vector<NumaNode> nodes;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(sysfs + "/devices/system/node", ignored)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("node")) continue;
    const std::vector<unsigned> numbers = numbers_of(name.substr(4));
    if (numbers.size() != 1) continue;
    NumaNode node;
    node.number = numbers[0];
    std::ifstream meminfo(entry.path() / "meminfo");
    for (std::string line; std::getline(meminfo, line);)
      if (const std::size_t at = line.find("MemTotal:"); at != std::string::npos)
        node.memory_bytes = std::strtoull(line.c_str() + at + 9, nullptr, 10) * KiB;
    for (const unsigned cpu : numbers_of(first_line(entry.path() / "cpulist"))) {
      const std::string topology =
          sysfs + "/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
      // A core counts once, at the first of its threads.
      const std::string siblings = first_line(topology + "thread_siblings_list");
      if (siblings.empty() || std::strtoul(siblings.c_str(), nullptr, 10) == cpu) ++node.cores;
      const std::vector<unsigned> package =
          numbers_of(first_line(topology + "physical_package_id"));
      if (!node.package && package.size() == 1) node.package = package[0];
    }
    nodes.push_back(node);
  }
  return nodes;
}

}  // namespace

double pcie_link_rate(const std::string& speed, const std::string& lanes) {
  const double giga_transfers = std::strtod(speed.c_str(), nullptr);
  const double lane = giga_transfers * 1e9 / 8 * (giga_transfers <= 5 ? 0.8 : 128.0 / 130);
  return lane * std::strtod(lanes.c_str(), nullptr);
}

void group_into_sockets(std::vector<NumaNode> nodes, Tree& tree) {
  std::sort(nodes.begin(), nodes.end(),
            [](const NumaNode& a, const NumaNode& b) { return a.number < b.number; });
  for (const NumaNode& node : nodes)
    if (node.cores == 0) tree.memory_only.push_back(node.number);
  std::erase_if(nodes, [](const NumaNode& node) { return node.cores == 0; });
  const bool told =
      std::all_of(nodes.begin(), nodes.end(), [](const NumaNode& n) { return n.package; });
  if (!told && nodes.size() > 1) {
    const bool alike = std::all_of(nodes.begin(), nodes.end(), [&](const NumaNode& n) {
      return n.cores == nodes.front().cores;
    });
    const bool halves = nodes.size() > 2 && nodes.size() % 2 == 0 && alike;
    for (std::size_t n = 0; n < nodes.size(); ++n)
      nodes[n].package = static_cast<unsigned>(halves ? n / (nodes.size() / 2) : n);
    tree.assumed = "which NUMA nodes share a socket: " +
                   (halves ? "the " + std::to_string(nodes.size()) +
                                 " alike are taken for two sockets, as NPS and SNC split them"
                           : std::string("each is taken for a socket"));
  }
  std::vector<std::optional<unsigned>> packages;  // by host
  for (const NumaNode& node : nodes) {
    const auto found = std::find(packages.begin(), packages.end(), node.package);
    const auto host = static_cast<std::size_t>(found - packages.begin());
    if (found == packages.end()) {
      packages.push_back(node.package);
      tree.hosts.emplace_back();
    }
    tree.hosts[host].nodes.push_back(node.number);
    tree.hosts[host].memory_bytes += node.memory_bytes;
    tree.hosts[host].cores += node.cores;
  }
}

std::optional<std::uint32_t> host_of_node(const Tree& tree, unsigned node) {
  for (std::uint32_t h = 0; h < tree.hosts.size(); ++h)
    for (const unsigned number : tree.hosts[h].nodes)
      if (number == node) return h;
  return std::nullopt;
}

std::string uppermost_switch(const std::vector<std::string>& bridges) {
  // Root port, the switch's upper port, one of its lower ports.
  return bridges.size() >= 3 ? bridges[1] : "";
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line.substr(0, line.find_last_not_of(" \t\r") + 1);
}

Tree tree_from_sysfs(const std::string& sysfs) {
  Tree tree;
  tree.source = "sysfs";
  group_into_sockets(read_nodes(sysfs), tree);
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
    const std::vector<unsigned> node = numbers_of(first_line(folder + "/numa_node"));  // -1: none
    if (node.size() == 1) device.host = host_of_node(tree, node[0]);
    if (device.host) device.node = node[0];
    device.pcie_switch = uppermost_switch(device.bridges);
    device.bytes_per_s = pcie_link_rate(first_line(folder + "/current_link_speed"),
                                        first_line(folder + "/current_link_width"));
    tree.devices[bus_id] = std::move(device);
  }
  return tree;
}

}  // namespace kvhaul
