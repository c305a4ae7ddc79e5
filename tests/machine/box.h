// A box written by hand, as hwloc's XML (box.xml) and as a copy of sysfs; and what other machines
// are made of. The box:
//
//   host 0 (NUMA node 0, one core of two threads, 8 GiB)
//     root port 0000:00:01.0 - switch 0000:01:00.0, Gen4 x16 up
//       0000:02:00.0 - GPU 0000:03:00.0, Gen5 x16
//       0000:02:01.0 - NIC 0000:04:00.0, Gen5 x16, mlx5_0 of 400 Gb/s
//   host 1 (NUMA node 1, the same)
//     root port 0000:80:01.0 - GPU 0000:8a:00.0, Gen5 x16
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "tests/support/own_folder.h"

namespace kvhaul::test {

inline constexpr const char* box_xml = KVHAUL_SOURCE_DIR "/tests/machine/box.xml";

/// A folder of the test's own.
class MachineTest : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return own_.file(name); }
  std::string write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((own_.path() / name).parent_path());
    std::ofstream(own_.path() / name) << text;
    return path(name);
  }

  /// A device below .../devices/, listed where the kernel lists PCI devices.
  void pci(const std::string& below, const std::string& speed, int lanes, int node) const {
    const std::string bus_id = std::filesystem::path(below).filename();
    const std::string folder = "sys/devices/" + below + "/";
    write(folder + "current_link_speed", speed + " GT/s PCIe\n");
    write(folder + "current_link_width", std::to_string(lanes) + "\n");
    write(folder + "numa_node", std::to_string(node) + "\n");
    link("sys/bus/pci/devices/" + bus_id, "../../../devices/" + below);
  }
  void nic(const std::string& device, const std::string& target, const std::string& rate,
           const std::string& layer, const std::string& state) const {
    const std::string at = "sys/class/infiniband/" + device;
    write(at + "/ports/1/rate", rate + "\n");
    write(at + "/ports/1/link_layer", layer + "\n");
    write(at + "/ports/1/state", state + "\n");
    if (!target.empty()) link(at + "/device", "../../../devices/" + target);
  }
  /// A NUMA node with that many cores of one thread each; `package` below 0: not told.
  void numa_node(unsigned number, unsigned first_cpu, unsigned cores, unsigned gib,
                 int package) const {
    const std::string node = "sys/devices/system/node/node" + std::to_string(number) + "/";
    write(node + "meminfo", "Node " + std::to_string(number) +
                                " MemTotal: " + std::to_string(gib * 1024 * 1024) + " kB\n");
    write(node + "cpulist", cores == 0 ? "\n"
                                       : std::to_string(first_cpu) + "-" +
                                             std::to_string(first_cpu + cores - 1) + "\n");
    for (unsigned cpu = first_cpu; cpu < first_cpu + cores; ++cpu)
      if (package >= 0)
        write("sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/physical_package_id",
              std::to_string(package) + "\n");
  }
  /// What `pci()` does not say of a device below .../devices/.
  void part(const std::string& below, const std::string& vendor, const std::string& device,
            const std::string& kind = "0x020700") const {
    write("sys/devices/" + below + "/vendor", vendor + "\n");
    write("sys/devices/" + below + "/device", device + "\n");
    write("sys/devices/" + below + "/class", kind + "\n");
  }
  void link(const std::string& name, const std::string& target) const {
    std::filesystem::create_directories((own_.path() / name).parent_path());
    std::filesystem::create_symlink(target, own_.path() / name);
  }

  /// The box as the kernel would show it. Returns the root, in place of /sys.
  std::string box_sysfs() const {
    for (int n = 0; n < 2; ++n) {
      const std::string node = "sys/devices/system/node/node" + std::to_string(n) + "/";
      const std::string cpus = n == 0 ? "0-1" : "2,3";
      write(node + "meminfo", "Node " + std::to_string(n) + " MemTotal:        8388608 kB\n" +
                                  "Node " + std::to_string(n) + " MemFree:         1 kB\n");
      write(node + "cpulist", cpus + "\n");
      for (int cpu = 2 * n; cpu < 2 * n + 2; ++cpu)
        write("sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list",
              cpus + "\n");
    }
    // Memory of a GPU: no processors, no host.
    write("sys/devices/system/node/node2/meminfo", "Node 2 MemTotal: 1024 kB\n");
    write("sys/devices/system/node/node2/cpulist", "\n");
    const std::string left = "pci0000:00/0000:00:01.0";
    const std::string upper = left + "/0000:01:00.0";
    pci(left, "16.0", 16, 0);
    pci(upper, "16.0", 16, 0);
    pci(upper + "/0000:02:00.0", "32.0", 16, 0);
    pci(upper + "/0000:02:00.0/0000:03:00.0", "32.0", 16, 0);
    pci(upper + "/0000:02:01.0", "32.0", 16, 0);
    pci(upper + "/0000:02:01.0/0000:04:00.0", "32.0", 16, 0);
    pci("pci0000:80/0000:80:01.0", "32.0", 16, 1);
    pci("pci0000:80/0000:80:01.0/0000:8a:00.0", "32.0", 16, 1);
    nic("mlx5_0", upper + "/0000:02:01.0/0000:04:00.0", "400 Gb/sec (4X NDR)", "InfiniBand",
        "4: ACTIVE");
    write("sys/devices/" + upper + "/0000:02:01.0/0000:04:00.0/net/ibs1/mtu", "2044\n");
    return path("sys");
  }

 private:
  OwnFolder own_;
};

}  // namespace kvhaul::test
