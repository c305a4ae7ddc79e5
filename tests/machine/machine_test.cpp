// What is read of a machine: NUMA hosts and PCIe tree from hwloc and from sysfs, GPUs from NVML,
// NICs.
#include "machine/machine.h"

#include <algorithm>

#include "machine/nic_choice.h"
#include "machine/saved_machine.h"
#include "tests/machine/box.h"

namespace kvhaul::test {
namespace {

using nvml::NvLinkPath;
using Bridges = std::vector<std::string>;

void expect_box(const Tree& tree) {
  ASSERT_EQ(tree.hosts.size(), 2u);
  for (unsigned h = 0; h < 2; ++h) {
    EXPECT_EQ(tree.hosts[h].nodes, std::vector{h});
    EXPECT_EQ(tree.hosts[h].memory_bytes, 8 * GiB);
    EXPECT_EQ(tree.hosts[h].cores, 1u);
  }
  EXPECT_EQ(tree.devices.size(), 8u);
  const auto expect = [&](const std::string& bus_id, std::uint32_t host, const Bridges& bridges,
                          double gbytes_per_s) {
    const auto found = tree.devices.find(bus_id);
    ASSERT_NE(found, tree.devices.end()) << bus_id;
    EXPECT_EQ(found->second.host, host) << bus_id;
    EXPECT_EQ(found->second.bridges, bridges) << bus_id;
    EXPECT_NEAR(found->second.bytes_per_s, gbytes_per_s * 1e9, 1e5) << bus_id;
  };
  // 16 lanes of 32 GT/s, 128 of 130 bits, 8 bits a byte: 63.015 GB/s; of 16 GT/s half of it.
  expect("0000:01:00.0", 0, {"0000:00:01.0"}, 31.5077);
  expect("0000:03:00.0", 0, {"0000:00:01.0", "0000:01:00.0", "0000:02:00.0"}, 63.0154);
  expect("0000:04:00.0", 0, {"0000:00:01.0", "0000:01:00.0", "0000:02:01.0"}, 63.0154);
  expect("0000:8a:00.0", 1, {"0000:80:01.0"}, 63.0154);
}

TEST_F(MachineTest, TheTreeFromHwloc) {
  const auto machine = machine_from_hwloc(box_xml, {});
  if (!machine && machine.error().kind == ErrorKind::missing) GTEST_SKIP() << "built without hwloc";
  ASSERT_TRUE(machine) << machine.error().message;
  EXPECT_EQ(machine->tree.source, box_xml);
  expect_box(machine->tree);
  EXPECT_EQ(machine->tree.assumed, "");
  // What the file says of devices: vendor and part, no name and no rate.
  ASSERT_EQ(machine->gpus.found.size(), 2u);
  EXPECT_EQ(machine->gpus.found[1].name, "NVIDIA H100 80GB HBM3");
  EXPECT_EQ(machine->gpus.found[1].memory_bytes, 80'000'000'000u);
  ASSERT_EQ(machine->nics.size(), 1u);
  EXPECT_EQ(machine->nics[0].part, "15b3:1021");
  EXPECT_EQ(machine->nics[0].link_layer, "InfiniBand");
  // 63 GB/s of PCIe are 504 Gb/s.
  EXPECT_EQ(machine->nics[0].gbits_per_s, 400);
  EXPECT_EQ(machine->not_known,
            (Bridges{"the rate of RDMA NICs: the most that its PCIe link carries stands in; "
                     "--nic-rate says it",
                     "which ports are up: all are taken to be"}));
}

TEST_F(MachineTest, TheSameTreeFromSysfs) {
  const Tree tree = tree_from_sysfs(box_sysfs());
  EXPECT_EQ(tree.source, "sysfs");
  expect_box(tree);
  EXPECT_EQ(tree.memory_only, std::vector{2u});
}

TEST_F(MachineTest, OldLinksAndUnknownNodesInSysfs) {
  const std::string root = box_sysfs();
  // 4 lanes of 5 GT/s, 8 of 10 bits: 2 GB/s. Behind a second root, as volume management makes them.
  pci("pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0", "5.0", 4, -1);
  const Tree tree = tree_from_sysfs(root);
  const PciDevice& device = tree.devices.at("10000:e0:06.0");
  EXPECT_EQ(device.bytes_per_s, 2e9);
  EXPECT_EQ(device.bridges, Bridges{});
  EXPECT_EQ(device.host, std::nullopt);
}

TEST_F(MachineTest, NicsOfEveryState) {
  const std::string root = box_sysfs();
  nic("mlx5_10", "pci0000:80/0000:80:01.0", "200 Gb/sec (2X NDR)", "Ethernet", "1: DOWN");
  nic("mlx5_9", "pci0000:80/0000:80:01.0", "25 Gb/sec (1X EDR)", "Ethernet", "4: ACTIVE");
  nic("rxe0", "", "2.5 Gb/sec (1X SDR)", "Ethernet", "4: ACTIVE");
  const std::vector<RdmaNic> nics = read_nics(root);
  ASSERT_EQ(nics.size(), 4u);
  EXPECT_EQ(nics[0].device, "rxe0");
  EXPECT_EQ(nics[0].bus_id, "");
  EXPECT_EQ(nics[0].gbits_per_s, 2.5);
  EXPECT_EQ(nics[1].device, "mlx5_0");
  EXPECT_EQ(nics[1].port, 1u);
  EXPECT_EQ(nics[1].netdev, "ibs1");
  EXPECT_EQ(nics[1].bus_id, "0000:04:00.0");
  EXPECT_EQ(nics[1].gbits_per_s, 400);
  EXPECT_EQ(nics[1].link_layer, "InfiniBand");
  EXPECT_EQ(nics[1].state, "ACTIVE");
  EXPECT_EQ(nics[2].device, "mlx5_9");
  EXPECT_EQ(nics[2].bus_id, "0000:80:01.0");
  EXPECT_EQ(nics[3].device, "mlx5_10");
  EXPECT_EQ(nics[3].state, "DOWN");
}

TEST_F(MachineTest, GpusFromALibraryLoadedAtRunTime) {
  const auto gpus = nvml::read_gpus(KVHAUL_FAKE_NVML);
  ASSERT_TRUE(gpus) << gpus.error().message;
  ASSERT_EQ((*gpus).found.size(), 2u);
  EXPECT_EQ((*gpus).failed, Bridges{"GPU 2: GPU is lost"});
  const nvml::Gpu& gpu = (*gpus).found[0];
  EXPECT_EQ(gpu.name, "NVIDIA H100 \"80GB\" HBM3");
  EXPECT_EQ(gpu.bus_id, "0000:03:00.0");
  EXPECT_EQ((*gpus).found[1].bus_id, "0000:8a:00.0");
  EXPECT_EQ(gpu.memory_bytes, 80'000 * MiB);
  EXPECT_EQ(gpu.pcie_generation_max, 5u);
  EXPECT_EQ(gpu.pcie_generation, 1u);
  EXPECT_EQ(gpu.pcie_lanes_max, 16u);
  EXPECT_EQ(gpu.compute_major, 9u);
  EXPECT_FALSE(gpu.c2c);  // the library has no such function
  ASSERT_EQ(gpu.nvlinks.size(), 18u);
  EXPECT_EQ(gpu.nvlinks[17].number, 17u);
  EXPECT_TRUE(gpu.nvlinks[17].to_switch);
  EXPECT_EQ(gpu.nvlinks[17].peer_bus_id, "0000:c1:00.0");
  EXPECT_EQ(gpu.nvlinks_unknown, "");
}

TEST_F(MachineTest, WhyThereIsNoNvml) {
  const auto absent = nvml::read_gpus("libkvhaul-no-such.so.1");
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().kind, ErrorKind::missing);
  EXPECT_EQ(absent.error().message, "no NVIDIA driver: libkvhaul-no-such.so.1 not found");
  const auto no_library = nvml::read_gpus(write("text.so", "no library"));
  ASSERT_FALSE(no_library);
  EXPECT_NE(no_library.error().message.find("file too short"), std::string::npos)
      << no_library.error().message;
}

TEST(Nvml, BusIdsInAllForms) {
  EXPECT_EQ(nvml::bus_id_text("00000000:1B:00.0"), "0000:1b:00.0");
  EXPECT_EQ(nvml::bus_id_text("0000:1b:00.0"), "0000:1b:00.0");
  EXPECT_EQ(nvml::bus_id_text("1B:00.0"), "0000:1b:00.0");
  EXPECT_EQ(nvml::bus_id_text("00010000:E0:06.0"), "10000:e0:06.0");
  EXPECT_EQ(nvml::bus_id_text(""), "");
}

/// Four GPUs 0000:0N:00.0: 1 and 2 joined by two links, 3 on a switch by four, 4 by six.
nvml::Gpus mixed() {
  nvml::Gpus gpus;
  gpus.found.resize(4);
  for (unsigned g = 0; g < 4; ++g)
    gpus.found[g].bus_id = "0000:0" + std::to_string(g + 1) + ":00.0";
  for (unsigned l = 0; l < 2; ++l) {
    gpus.found[0].nvlinks.push_back({l, false, "0000:02:00.0"});
    gpus.found[1].nvlinks.push_back({l, false, "0000:01:00.0"});
  }
  for (unsigned l = 0; l < 4; ++l) gpus.found[2].nvlinks.push_back({l, true, ""});
  for (unsigned l = 0; l < 6; ++l) gpus.found[3].nvlinks.push_back({l, true, ""});
  return gpus;
}

TEST(Nvml, WhetherNvlinkJoinsTwo) {
  nvml::Gpus gpus = mixed();
  const auto expect = [&](const char* a, const char* b, NvLinkPath path, unsigned links,
                          const std::string& reason) {
    const nvml::NvLinkAnswer answer = nvml::nvlink_between(gpus, a, b);
    EXPECT_EQ(answer.path, path) << a << " " << b;
    EXPECT_EQ(answer.links, links) << a << " " << b;
    EXPECT_EQ(answer.reason, reason) << a << " " << b;
  };
  expect("00000000:01:00.0", "02:00.0", NvLinkPath::direct, 2, "2 NVLinks between them");
  expect("0000:03:00.0", "0000:04:00.0", NvLinkPath::through_switch, 4,
         "4 NVLinks each to an NVSwitch");
  expect("0000:01:00.0", "0000:03:00.0", NvLinkPath::none, 0, "their NVLinks end elsewhere");
  expect("0000:01:00.0", "0000:01:00.0", NvLinkPath::none, 0, "one and the same GPU");
  expect("0000:01:00.0", "0000:09:00.0", NvLinkPath::unknown, 0, "NVML knows no GPU 0000:09:00.0");
  gpus.found[1].nvlinks.push_back({2, false, ""});
  expect("0000:03:00.0", "0000:02:00.0", NvLinkPath::unknown, 0,
         "0000:02:00.0: NVML does not say where its NVLinks end");
  gpus.found[1].nvlinks.clear();
  expect("0000:03:00.0", "0000:02:00.0", NvLinkPath::none, 0,
         "0000:02:00.0 has no NVLink that is up");
  gpus.found[1].nvlinks_unknown = "NVLink 0: no permission";
  expect("0000:03:00.0", "0000:02:00.0", NvLinkPath::unknown, 0,
         "0000:02:00.0: NVLink 0: no permission");
}

TEST(Nvml, WhetherNvlinkJoinsAll) {
  nvml::Gpus gpus = mixed();
  EXPECT_EQ(nvlink_among(gpus).reason,
            "0000:01:00.0 and 0000:03:00.0: their NVLinks end elsewhere");
  gpus.found.erase(gpus.found.begin(), gpus.found.begin() + 2);
  EXPECT_EQ(nvlink_among(gpus).links, 4u);
  gpus.found.pop_back();
  EXPECT_EQ(nvlink_among(gpus).reason, "there is no second GPU");
}

TEST_F(MachineTest, DistancesInTheBox) {
  MachineSources sources;
  sources.sysfs = box_sysfs();
  sources.proc = path("proc");
  sources.nvml = KVHAUL_FAKE_NVML;
  Machine machine = read_machine(sources);
  EXPECT_EQ(machine.pcie_switch("0000:03:00.0"), "0000:01:00.0");
  EXPECT_EQ(machine.pcie_switch("0000:8a:00.0"), "");
  EXPECT_EQ(nearness_name(nearness(machine, "0000:04:00.0", "0000:03:00.0")), "same switch");
  EXPECT_EQ(nearness_name(nearness(machine, "0000:04:00.0", "0000:8a:00.0")), "across sockets");
  EXPECT_EQ(nearness_name(nearness(machine, "0000:04:00.0", "0000:00:01.0")), "same host");
  EXPECT_EQ(nearness_name(nearness(machine, "0000:04:00.0", "0000:55:00.0")), "unknown");
  EXPECT_EQ(nearness_name(nearness(machine, "", "0000:03:00.0")), "unknown");
  EXPECT_EQ(machine.gpus.found[0].name, "NVIDIA H100 ?80GB? HBM3");
  EXPECT_EQ(machine.not_found,
            (Bridges{"GPU 2: GPU is lost",
                     "GPUDirect RDMA by nvidia-peermem: the module is not loaded"}));
}

TEST_F(MachineTest, WhatKeepsNicsFromGpuMemory) {
  MachineSources sources;
  sources.sysfs = box_sysfs();
  sources.proc = path("proc");
  sources.nvml = KVHAUL_FAKE_NVML;
  const auto said = [&](const std::string& what) {
    const Machine machine = read_machine(sources);
    return std::count_if(
        machine.not_found.begin(), machine.not_found.end(),
        [&](const std::string& why) { return why.find("GPUDirect RDMA by " + what) == 0; });
  };
  const std::string head = "NVRM version: NVIDIA UNIX ";
  write("proc/driver/nvidia/version", head + "Open Kernel Module for x86_64  580.95.05\n");
  EXPECT_EQ(said("dma-buf"), 0);
  EXPECT_EQ(said("nvidia-peermem"), 1);
  write("proc/driver/nvidia/version", head + "x86_64 Kernel Module  580.95.05\n");
  write("sys/module/nvidia_peermem/version", "580.95.05\n");
  EXPECT_EQ(said("dma-buf"), 1);
  EXPECT_EQ(said("nvidia-peermem"), 0);
}

TEST_F(MachineTest, AMachineThatShowsNothing) {
  MachineSources sources;
  sources.sysfs = path("nothing");
  sources.nvml = "libkvhaul-no-such.so.1";
  const Machine machine = read_machine(sources);
  ASSERT_EQ(machine.tree.hosts.size(), 1u);
  EXPECT_GT(machine.tree.hosts[0].memory_bytes, 0u);
  EXPECT_GE(machine.tree.hosts[0].cores, 1u);
  ASSERT_EQ(machine.not_found.size(), 3u);
  EXPECT_EQ(machine.not_found[1], "no NVIDIA driver: libkvhaul-no-such.so.1 not found");
  EXPECT_EQ(machine.not_found[2], "no RDMA device in " + path("nothing") + "/class/infiniband");
}

}  // namespace
}  // namespace kvhaul::test
