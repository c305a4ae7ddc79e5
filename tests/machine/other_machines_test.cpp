// Machines of other kinds than the box: as the kernel would show them, as values, and as other
// tools saved them (tests/machine/saved, written after published ones).
#include <algorithm>

#include "machine/nic_choice.h"
#include "machine/saved_machine.h"
#include "machine/topo_scenario.h"
#include "scenarios/scenario.h"
#include "tests/machine/box.h"

namespace kvhaul::test {
namespace {

using Names = std::vector<std::string>;
using Nodes = std::vector<unsigned>;

std::string saved(const std::string& name) {
  return KVHAUL_SOURCE_DIR "/tests/machine/saved/" + name;
}

Names chosen(const Machine& machine, const Names& asked = {}) {
  const auto choice = choose_nics(machine, asked);
  EXPECT_TRUE(choice) << (choice ? "" : choice.error().message);
  Names names;
  if (choice)
    for (const std::size_t n : choice->chosen) names.push_back(machine.nics[n].device);
  return names;
}

std::string left_out(const Machine& machine, const std::string& device) {
  const auto choice = choose_nics(machine);
  EXPECT_TRUE(choice);
  for (std::size_t n = 0; n < machine.nics.size(); ++n)
    if (machine.nics[n].device == device) return choice->left_out[n];
  return "no such NIC";
}

/// What replay makes of it: the text is read back.
Scenario scenario_of(const Machine& machine, std::string* text = nullptr) {
  const auto choice = choose_nics(machine);
  EXPECT_TRUE(choice);
  const TopoScenario made = topo_scenario(machine, model_for(machine), *choice);
  for (const std::string& what : made.not_known)
    EXPECT_NE(made.text.find("# NOT KNOWN: " + what + ".\n"), std::string::npos) << what;
  if (text != nullptr) *text = made.text;
  auto scenario = parse_scenario(made.text, "topo.yaml");
  EXPECT_TRUE(scenario) << (scenario ? "" : scenario.error().message) << "\n" << made.text;
  return scenario ? std::move(*scenario) : Scenario{};
}

/// Two sockets of a NUMA node each, and devices on them.
class Built {
 public:
  Built() {
    machine.tree.source = "sysfs";
    machine.tree.hosts = {{{0}, 512 * GiB, 32}, {{1}, 512 * GiB, 32}};
  }
  /// `below`: the bridges above it; three or more begin with a switch's root port and upper port.
  std::string device(int host, const Names& bridges) {
    PciDevice device;
    if (host >= 0) {
      device.host = static_cast<std::uint32_t>(host);
      device.node = static_cast<unsigned>(host);
    }
    device.bridges = bridges;
    device.pcie_switch = uppermost_switch(bridges);
    device.bytes_per_s = 63e9;
    const std::string bus_id = "0000:" + std::to_string(10 + number_++) + ":00.0";
    machine.tree.devices[bus_id] = device;
    return bus_id;
  }
  void gpu(int host, const Names& bridges = {}, const std::string& name = "NVIDIA B200") {
    nvml::Gpu gpu;
    gpu.name = name;
    gpu.bus_id = device(host, bridges);
    gpu.memory_bytes = 80 * GiB;
    gpu.pcie_generation_max = 5;
    gpu.pcie_lanes_max = 16;
    gpu.nvlinks.assign(18, {0, true, ""});
    gpu.compute_major = 10;
    machine.gpus.found.push_back(gpu);
  }
  RdmaNic& nic(const std::string& name, int host, const Names& bridges, double gbits,
               const std::string& layer, const std::string& part = "15b3:1021") {
    RdmaNic nic;
    nic.device = name;
    nic.bus_id = device(host, bridges);
    nic.part = part;
    nic.gbits_per_s = gbits;
    nic.link_layer = layer;
    nic.state = "ACTIVE";
    machine.nics.push_back(nic);
    return machine.nics.back();
  }
  /// Eight GPUs, each with a ConnectX-7 behind a switch of its own.
  void hgx(const std::string& layer) {
    for (int g = 0; g < 8; ++g) {
      const std::string n = std::to_string(g);
      gpu(g / 4, {"root" + n, "up" + n, "down" + n + "a"});
    }
    for (int g = 0; g < 8; ++g) {
      const std::string n = std::to_string(g);
      nic("mlx5_" + std::to_string(g + 1), g / 4, {"root" + n, "up" + n, "down" + n + "b"}, 400,
          layer);
    }
  }

  Machine machine;

 private:
  int number_ = 0;
};

Names compute_nics() {
  Names names;
  for (int g = 1; g <= 8; ++g) names.push_back("mlx5_" + std::to_string(g));
  return names;
}

TEST_F(MachineTest, NodesOfOneSocketAreOneHost) {
  // Two packages of two nodes each, interleaved as some firmware counts them.
  for (unsigned n = 0; n < 4; ++n) numa_node(n, 4 * n, 4, 16, static_cast<int>(n % 2));
  pci("pci0000:40/0000:40:01.0", "32.0", 16, 2);
  const Tree tree = tree_from_sysfs(path("sys"));
  ASSERT_EQ(tree.hosts.size(), 2u);
  EXPECT_EQ(tree.hosts[0].nodes, (Nodes{0, 2}));
  EXPECT_EQ(tree.hosts[1].nodes, (Nodes{1, 3}));
  EXPECT_EQ(tree.hosts[0].memory_bytes, 32 * GiB);
  EXPECT_EQ(tree.hosts[0].cores, 8u);
  EXPECT_EQ(tree.assumed, "");
  EXPECT_EQ(tree.devices.at("0000:40:01.0").host, 0u);
  EXPECT_EQ(tree.devices.at("0000:40:01.0").node, 2u);
}

TEST_F(MachineTest, OneSocketInFourPartsIsOneHost) {
  for (unsigned n = 0; n < 4; ++n) numa_node(n, 2 * n, 2, 8, 0);
  EXPECT_EQ(tree_from_sysfs(path("sys")).hosts.size(), 1u);
}

TEST_F(MachineTest, WhatIsTakenOfSocketsThatNobodyTells) {
  // Eight alike: NPS4 of two sockets. The tenth and eleventh have memory only.
  for (unsigned n = 0; n < 8; ++n) numa_node(n, 2 * n, 2, 8, -1);
  numa_node(10, 0, 0, 280, -1);
  numa_node(11, 0, 0, 280, -1);
  const Tree tree = tree_from_sysfs(path("sys"));
  ASSERT_EQ(tree.hosts.size(), 2u);
  EXPECT_EQ(tree.hosts[1].nodes, (Nodes{4, 5, 6, 7}));
  EXPECT_EQ(tree.memory_only, (Nodes{10, 11}));
  EXPECT_EQ(
      tree.assumed,
      "which NUMA nodes share a socket: the 8 alike are taken for two sockets, as NPS and SNC "
      "split them");
  // Two are two, and so are some of unlike size.
  Tree two;
  group_into_sockets({{0, GiB, 4, {}}, {1, GiB, 4, {}}}, two);
  EXPECT_EQ(two.hosts.size(), 2u);
  EXPECT_EQ(two.assumed, "which NUMA nodes share a socket: each is taken for a socket");
  Tree unlike;
  group_into_sockets({{0, GiB, 4, {}}, {1, GiB, 4, {}}, {2, GiB, 2, {}}, {3, GiB, 4, {}}}, unlike);
  EXPECT_EQ(unlike.hosts.size(), 4u);
}

TEST(NicChoice, ABlueFieldThatComesFirstLeavesTheComputeNicsIn) {
  for (const char* layer : {"InfiniBand", "Ethernet"}) {
    // On a root port of the first socket, as fast, of the same link layer or of another.
    for (const char* other : {"Ethernet", "InfiniBand"}) {
      Built b;
      b.nic("mlx5_0", 0, {"root90"}, 400, other, "15b3:a2dc");
      b.hgx(layer);
      EXPECT_EQ(chosen(b.machine), compute_nics()) << layer << " " << other;
      EXPECT_EQ(left_out(b.machine, "mlx5_0"), "of another kind than those nearest to most GPUs");
      EXPECT_EQ(scenario_of(b.machine).cluster.nics.size(), 8u);
    }
  }
}

TEST(NicChoice, StoragePortsOfTheSamePartAreFartherAway) {
  Built b;
  b.nic("mlx5_0", 0, {"root90"}, 400, "InfiniBand");
  b.hgx("InfiniBand");
  b.nic("mlx5_9", 1, {"root91", "up91", "down91"}, 400, "InfiniBand");
  EXPECT_EQ(chosen(b.machine), compute_nics());
  EXPECT_EQ(left_out(b.machine, "mlx5_9"), "farther from every GPU than others of its kind");
}

TEST(NicChoice, BehindStackedSwitchesTheInnerOneIsNearer) {
  Built b;
  for (const char* n : {"0", "1"})
    b.gpu(0,
          {"root", "up", "down" + std::string(n), "in" + std::string(n), "port" + std::string(n)});
  b.nic("mlx5_0", 0, {"root", "up", "down9"}, 400, "InfiniBand");
  for (const char* n : {"0", "1"})
    b.nic("mlx5_1" + std::string(n), 0,
          {"root", "up", "down" + std::string(n), "in" + std::string(n), "nic" + std::string(n)},
          400, "InfiniBand");
  EXPECT_EQ(chosen(b.machine), (Names{"mlx5_10", "mlx5_11"}));
}

TEST(NicChoice, TwoNicsForFourGpusOverPcie) {
  // One shares a switch with two GPUs; the other socket has no switch.
  Built b;
  b.gpu(0, {"root0", "up0", "a"}, "NVIDIA L40S");
  b.gpu(0, {"root0", "up0", "b"}, "NVIDIA L40S");
  b.gpu(1, {"root1"}, "NVIDIA L40S");
  b.gpu(1, {"root2"}, "NVIDIA L40S");
  b.nic("mlx5_0", 0, {"root0", "up0", "c"}, 200, "Ethernet");
  b.nic("mlx5_1", 1, {"root3"}, 200, "Ethernet");
  b.nic("bnxt_re0", 0, {"root4"}, 10, "Ethernet", "14e4:16d8");
  EXPECT_EQ(chosen(b.machine), (Names{"mlx5_0", "mlx5_1"}));
  EXPECT_EQ(left_out(b.machine, "bnxt_re0"),
            "too slow for KV; --nics bnxt_re0 takes it all the same");
  std::string text;
  const Scenario s = scenario_of(b.machine, &text);
  EXPECT_EQ(s.cluster.nics[1].host, 1u);
  EXPECT_NE(text.find("timing: {gpu: {flops: 362 TFLOPS, memory_rate: 860 GB/s}, mfu: 0.5}"),
            std::string::npos)
      << text;
}

TEST(NicChoice, GpusWhoseSocketHasNoneTakeWhatTheOthersDo) {
  Built b;
  b.gpu(0, {"root0", "up0", "a"});
  b.gpu(1, {"root1"});
  b.nic("mlx5_0", 0, {"root0", "up0", "b"}, 400, "InfiniBand");
  b.nic("mlx5_1", 0, {"root5"}, 400, "InfiniBand");
  EXPECT_EQ(chosen(b.machine), Names{"mlx5_0"});
  // Where all are across, they are better than none.
  b.machine.gpus.found.erase(b.machine.gpus.found.begin());
  EXPECT_EQ(chosen(b.machine), (Names{"mlx5_0", "mlx5_1"}));
}

TEST(NicChoice, ASlowNearKindDoesNotReplaceAFastFarOne) {
  // 50 of 400 Gb/s is less than a quarter; 100 is not.
  for (const auto& [rate, name] : {std::pair{25.0, "mlx5_0"}, {50.0, "mlx5_9"}}) {
    Built b;
    b.gpu(1, {"root1", "up1", "a"});
    b.nic("mlx5_0", 0, {"root0"}, 400, "InfiniBand");
    b.nic("mlx5_9", 1, {"root1", "up1", "b"}, rate, "Ethernet", "15b3:1017");
    b.nic("mlx5_8", 1, {"root2"}, rate, "Ethernet", "15b3:1017");
    EXPECT_EQ(chosen(b.machine), Names{name}) << rate;
  }
}

TEST(NicChoice, AskedForByName) {
  Built b;
  b.hgx("InfiniBand");
  b.nic("mlx5_20", 0, {"root90"}, 10, "Ethernet", "15b3:1017");
  b.nic("mlx5_21", 0, {"root91"}, 400, "InfiniBand").state = "INIT";
  EXPECT_EQ(chosen(b.machine, {"mlx5_20"}), Names{"mlx5_20"});
  EXPECT_EQ(chosen(b.machine, {"mlx5_4/1", "mlx5_2"}), (Names{"mlx5_2", "mlx5_4"}));
  const auto refused = [&](const Names& names) {
    const auto choice = choose_nics(b.machine, names);
    return choice ? "" : choice.error().message;
  };
  EXPECT_EQ(refused({"mlx5_21"}), "--nics: mlx5_21/1 cannot be a rail: INIT");
  EXPECT_EQ(refused({"mlx5_1", "mlx5_20"}),
            "--nics: expected NICs of one rate and link layer, as a node type has; mlx5_1/1 and "
            "mlx5_20/1 differ");
  EXPECT_TRUE(
      refused({"mlx5_99"})
          .starts_with("--nics: no RDMA NIC is called 'mlx5_99'; there are mlx5_1/1, mlx5_2/1"));
}

TEST(NicChoice, PlacesThatNobodyTellsAreNotMadeUp) {
  Built b;
  b.gpu(-1);
  b.gpu(-1);
  for (const char* state : {"DOWN", "INIT"})
    b.nic(std::string("mlx5_") + state, -1, {}, 400, "InfiniBand").state = state;
  b.nic("mlx5_2", -1, {}, 400, "InfiniBand");
  b.nic("mlx5_3", -1, {}, 10, "Ethernet");
  EXPECT_EQ(chosen(b.machine), Names{"mlx5_2"});
  EXPECT_EQ(left_out(b.machine, "mlx5_DOWN"), "DOWN");
  EXPECT_EQ(left_out(b.machine, "mlx5_INIT"), "INIT");
  std::string text;
  const Scenario s = scenario_of(b.machine, &text);
  EXPECT_EQ(s.cluster.nodes[0].hosts.size(), 1u);
  EXPECT_NE(
      text.find("# NOT KNOWN: nearness: on which of 2 sockets these hang, as often in virtual "
                "machines: gpu0, gpu1, mlx5_2; the file has one host and no link between "
                "sockets.\n"),
      std::string::npos)
      << text;
  EXPECT_NE(text.find("# left out: mlx5_INIT/1, 400 Gb/s InfiniBand: INIT\n"), std::string::npos);
}

TEST_F(MachineTest, BondsVirtualFunctionsAndDualPortCards) {
  numa_node(0, 0, 4, 16, 0);
  const std::string root = "pci0000:10/0000:10:01.0/";
  const auto card = [&](const std::string& bus_id, const std::string& netdev) {
    pci(root + bus_id, "32.0", 16, 0);
    part(root + bus_id, "0x15b3", "0x1021");
    write("sys/devices/" + root + bus_id + "/net/" + netdev + "/mtu", "9000\n");
  };
  const auto interface = [&](const std::string& name, const std::string& speed, bool up,
                             const std::string& bond) {
    write("sys/class/net/" + name + "/speed", speed + "\n");
    write("sys/class/net/" + name + "/operstate", up ? "up\n" : "down\n");
    if (!bond.empty()) link("sys/class/net/" + name + "/master", "../" + bond);
  };
  const auto bond = [&](const std::string& name, const std::string& mode, const std::string& of) {
    write("sys/class/net/" + name + "/bonding/mode", mode + "\n");
    write("sys/class/net/" + name + "/bonding/slaves", of + "\n");
  };
  // RoCE LAG: one RDMA device that tells the rate of one of its two ports.
  card("0000:11:00.0", "p0");
  bond("bond0", "802.3ad 4", "p0 p1");
  interface("p0", "200000", true, "bond0");
  interface("p1", "200000", true, "bond0");
  nic("mlx5_bond_0", root + "0000:11:00.0", "200 Gb/sec (4X HDR)", "Ethernet", "4: ACTIVE");
  // One with a port down, one of which one port carries at a time.
  card("0000:12:00.0", "q0");
  bond("bond1", "802.3ad 4", "q0 q1");
  interface("q0", "-1", false, "bond1");
  interface("q1", "200000", true, "bond1");
  nic("mlx5_bond_1", root + "0000:12:00.0", "400 Gb/sec (4X NDR)", "Ethernet", "4: ACTIVE");
  card("0000:13:00.0", "r0");
  bond("bond2", "active-backup 1", "r0 r1");
  interface("r0", "200000", true, "bond2");
  interface("r1", "200000", true, "bond2");
  nic("rocep2", root + "0000:13:00.0", "200 Gb/sec (4X HDR)", "Ethernet", "4: ACTIVE");
  // Two InfiniBand ports, of which IPoIB makes a bond: two NICs of one port.
  card("0000:14:00.0", "ib0");
  card("0000:14:00.1", "ib1");
  bond("bond3", "active-backup 1", "ib0 ib1");
  interface("ib0", "200000", true, "bond3");
  interface("ib1", "200000", true, "bond3");
  nic("mlx5_7", root + "0000:14:00.0", "200 Gb/sec (4X HDR)", "InfiniBand", "4: ACTIVE");
  nic("mlx5_8", root + "0000:14:00.1", "200 Gb/sec (4X HDR)", "InfiniBand", "1: DOWN");
  // A virtual function of the first.
  card("0000:14:01.0", "v0");
  link("sys/devices/" + root + "0000:14:01.0/physfn", "../0000:14:00.0");
  nic("mlx5_9", root + "0000:14:01.0", "200 Gb/sec (4X HDR)", "InfiniBand", "4: ACTIVE");

  Machine machine;
  machine.tree = tree_from_sysfs(path("sys"));
  machine.nics = read_nics(path("sys"));
  const auto at = [&](const std::string& device) {
    return *std::find_if(machine.nics.begin(), machine.nics.end(),
                         [&](const RdmaNic& nic) { return nic.device == device; });
  };
  EXPECT_EQ(at("mlx5_bond_0").ports, 2u);
  EXPECT_EQ(at("mlx5_bond_0").gbits_per_s, 400);
  EXPECT_EQ(at("mlx5_bond_0").bond, "bond0");
  EXPECT_EQ(at("mlx5_bond_1").ports_up, 1u);
  EXPECT_EQ(at("mlx5_bond_1").gbits_per_s, 200);
  EXPECT_EQ(at("rocep2").ports, 2u);
  EXPECT_EQ(at("rocep2").gbits_per_s, 200);
  EXPECT_EQ(at("mlx5_7").ports, 1u);
  EXPECT_EQ(at("mlx5_7").part, "15b3:1021");
  EXPECT_EQ(at("mlx5_9").virtual_function_of, "0000:14:00.0");
  nvml::Gpu gpu;
  gpu.name = "NVIDIA H200";
  gpu.bus_id = "0000:10:01.0";
  machine.gpus.found.push_back(gpu);
  EXPECT_EQ(left_out(machine, "mlx5_8"), "DOWN");
  EXPECT_EQ(left_out(machine, "mlx5_9"), "a virtual function of mlx5_7");
}

TEST(TopoText, ABondIsOneNicAndPortsOfACardShareItsSlot) {
  Built b;
  b.gpu(0);
  RdmaNic& bond = b.nic("mlx5_bond_0", 0, {"root0"}, 400, "Ethernet");
  bond.ports = bond.ports_up = 2;
  bond.bond = "bond0";
  std::string text;
  EXPECT_EQ(scenario_of(b.machine, &text).cluster.nics.size(), 1u);
  EXPECT_NE(text.find("one NIC of 2 ports, 2 up (bond: bond0)"), std::string::npos) << text;
  // 400 Gb/s x 48.9 / 50
  EXPECT_NE(text.find("wire: {rate: 48.9 GB/s}"), std::string::npos) << text;

  Built two;
  two.gpu(0);
  for (const char* name : {"mlx5_0", "mlx5_1"}) two.nic(name, 0, {"root0"}, 200, "InfiniBand");
  two.machine.tree.devices["0000:11:00.1"] = two.machine.tree.devices["0000:11:00.0"];
  two.machine.nics[1].bus_id = "0000:11:00.1";
  const Scenario s = scenario_of(two.machine, &text);
  ASSERT_EQ(s.cluster.nics.size(), 2u);
  // Half of 63 GB/s, of which a pinned copy gets 25.8 of 31.5.
  EXPECT_NEAR(s.cluster.links[s.cluster.nics[0].pcie_out].bytes_per_s, 25.8e9, 1e8);
  EXPECT_NE(text.find("a port's part of its card's link"), std::string::npos);
}

TEST(TopoText, OnlyTheGpuOfThatNameHasItsRoofline) {
  const auto timing = [](const std::string& name, double memory_rate = 0) {
    Built b;
    b.gpu(0, {}, name);
    b.machine.gpus.found[0].memory_bytes_per_s = memory_rate;
    std::string text;
    scenario_of(b.machine, &text);
    const std::size_t at = text.find("timing: {");
    return text.substr(at, text.find('\n', at) - at);
  };
  EXPECT_EQ(timing("NVIDIA H100 80GB HBM3"), "timing: {gpu: h100, mfu: 0.5}");
  EXPECT_EQ(timing("NVIDIA B200"), "timing: {gpu: b200, mfu: 0.5}");
  EXPECT_EQ(timing("NVIDIA H100 PCIe"),
            "timing: {gpu: {flops: 756 TFLOPS, memory_rate: 2000 GB/s}, mfu: 0.5}");
  for (const char* name : {"NVIDIA H20", "NVIDIA H200 NVL", "NVIDIA GB300", "NVIDIA B300",
                           "NVIDIA H100 NVL", "AMD Instinct MI300X"})
    EXPECT_EQ(timing(name), "timing: {gpu: {flops: 312 TFLOPS, memory_rate: 2.04 TB/s}, mfu: 0.5}")
        << name;
  // What NVML tells of the memory is taken.
  EXPECT_EQ(timing("NVIDIA H20", 4.02e12),
            "timing: {gpu: {flops: 312 TFLOPS, memory_rate: 4020 GB/s}, mfu: 0.5}");
}

TEST(TopoText, AHypervisorsBridgeIsNoSlowUplink) {
  Built b;
  b.gpu(0, {"root0", "up0", "a"});
  b.nic("mlx5_0", 0, {"root0", "up0", "b"}, 200, "Ethernet");
  b.machine.tree.devices["up0"].bytes_per_s = 0.25e9;  // 2.5 GT/s x1
  std::string text;
  const Scenario s = scenario_of(b.machine, &text);
  EXPECT_NE(text.find("# Read, but not the rate of the uplink: assumed to be a GPU's."),
            std::string::npos)
      << text;
  // 55.1 of 63 GB/s, as the GPU.
  EXPECT_NEAR(s.cluster.links[s.cluster.nodes[0].pcie_switches[0].out].bytes_per_s, 55.1e9, 1e8);
}

TEST(TopoText, MigTakesNoNvlink) {
  Built b;
  b.gpu(0);
  b.gpu(1);
  b.machine.gpus.found[1].mig = true;
  std::string text;
  EXPECT_EQ(scenario_of(b.machine, &text).cluster.nodes[0].gpus[0].nvlink_out, no_id);
  EXPECT_NE(text.find("is cut by MIG, which takes no NVLink"), std::string::npos) << text;
}

TEST_F(MachineTest, AcceleratorsThatNvmlDoesNotDescribeAreNamed) {
  const std::string root = box_sysfs();
  for (const char* bus_id : {"0000:05:00.0", "0000:06:00.0"}) {
    pci("pci0000:00/" + std::string(bus_id), "32.0", 16, 0);
    part("pci0000:00/" + std::string(bus_id), "0x1002", "0x74a1", "0x120000");
  }
  MachineSources sources;
  sources.sysfs = root;
  sources.proc = path("proc");
  sources.nvml = "libkvhaul-no-such.so.1";
  const Machine machine = read_machine(sources);
  EXPECT_NE(std::find(machine.not_found.begin(), machine.not_found.end(),
                      "2 accelerators on the PCI bus (0x1002:0x74a1) that NVML does not describe: "
                      "left out, only NVIDIA's are read"),
            machine.not_found.end());
}

Machine read_of(Result<Machine> machine) {
  EXPECT_TRUE(machine) << (machine ? "" : machine.error().message);
  return machine ? std::move(*machine) : Machine{};
}
bool built_without(const Result<Machine>& machine) {
  return !machine && machine.error().kind == ErrorKind::missing;
}

TEST(SavedMachine, HwlocWithTwoNodesASocket) {
  auto read = machine_from_hwloc(saved("hwloc-snc2.xml"), {});
  if (built_without(read)) GTEST_SKIP() << read.error().message;
  const Machine machine = read_of(std::move(read));
  ASSERT_EQ(machine.tree.hosts.size(), 2u);
  EXPECT_EQ(machine.tree.hosts[0].nodes, (Nodes{0, 1}));
  EXPECT_EQ(machine.tree.hosts[0].memory_bytes, 8 * GiB);
  ASSERT_EQ(machine.gpus.found.size(), 2u);
  EXPECT_EQ(machine.gpus.found[0].name, "NVIDIA H20");
  EXPECT_EQ(machine.gpus.found[0].memory_bytes, 100'000'000 * KiB);
  EXPECT_EQ(machine.host("0000:13:00.0"), 0u);
  EXPECT_EQ(machine.host("0000:81:00.0"), 1u);
  EXPECT_EQ(nearness(machine, "0000:13:00.0", "0000:14:00.0"), Nearness::same_switch);
  EXPECT_EQ(nearness(machine, "0000:81:00.0", "0000:82:00.0"), Nearness::same_node);
  EXPECT_EQ(chosen(machine), Names{"mlx5_0"});
  EXPECT_EQ(left_out(machine, "mlx5_1"), "DOWN");
  EXPECT_EQ(scenario_of(machine).cluster.nodes[0].hosts.size(), 2u);
}

TEST(SavedMachine, HwlocOfTheFirstVersion) {
  auto read = machine_from_hwloc(saved("hwloc-v1.xml"), {});
  if (built_without(read)) GTEST_SKIP() << read.error().message;
  const Machine machine = read_of(std::move(read));
  EXPECT_EQ(machine.tree.hosts.size(), 2u);
  ASSERT_EQ(machine.gpus.found.size(), 2u);
  EXPECT_EQ(machine.gpus.found[1].name, "NVIDIA A100-SXM4-80GB");
  EXPECT_EQ(machine.host("0000:81:00.0"), 1u);
  scenario_of(machine);
}

TEST(SavedMachine, NcclOfBareDevices) {
  auto read = machine_from_nccl(saved("nccl-p4d-like.xml"), {nullptr, 100});
  if (built_without(read)) GTEST_SKIP() << read.error().message;
  const Machine machine = read_of(std::move(read));
  EXPECT_EQ(machine.tree.hosts.size(), 2u);
  ASSERT_EQ(machine.gpus.found.size(), 4u);
  EXPECT_EQ(machine.gpus.found[0].name, "NVIDIA A100-SXM4-40GB");
  EXPECT_EQ(machine.pcie_switch("0000:20:1d.0"), "ffff:ff:02.0");
  ASSERT_EQ(machine.nics.size(), 2u);
  EXPECT_EQ(nearness(machine, "0000:20:1b.0", "0000:20:1d.0"), Nearness::same_switch);
  EXPECT_EQ(nearness(machine, "0000:20:1b.0", "0000:10:1d.0"), Nearness::across_sockets);
  std::string text;
  const Scenario s = scenario_of(machine, &text);
  EXPECT_EQ(s.cluster.nics.size(), 2u);
  // 16 lanes of 8 GT/s, 128 of 130 bits.
  EXPECT_NE(text.find("# PCIe, as its link was when it was read: 15.8 GB/s in theory"),
            std::string::npos)
      << text;
}

TEST(SavedMachine, NcclAsItIsDumped) {
  auto read = machine_from_nccl(saved("nccl-p5-like.xml"), {});
  if (built_without(read)) GTEST_SKIP() << read.error().message;
  const Machine machine = read_of(std::move(read));
  ASSERT_EQ(machine.gpus.found.size(), 2u);
  EXPECT_EQ(machine.gpus.found[0].compute_major, 9u);
  EXPECT_EQ(nvlink_among(machine.gpus).links, 18u);
  EXPECT_EQ(nvlink_among(machine.gpus).path, nvml::NvLinkPath::through_switch);
  EXPECT_EQ(chosen(machine), (Names{"rdmap64s0", "rdmap65s0", "rdmap80s0", "rdmap81s0"}));
  EXPECT_EQ(left_out(machine, "eth0"), "NCCL does not keep it");
  EXPECT_EQ(scenario_of(machine).serving.model.name, "llama-3.1-8b");
}

TEST_F(MachineTest, NcclThatIsNone) {
  const auto said = [&](const std::string& text) {
    const auto machine = machine_from_nccl(write("topo.xml", text), {});
    if (built_without(machine)) return std::string("built without");
    return machine ? "" : machine.error().message.substr(path("topo.xml").size());
  };
  if (said("") == "built without") GTEST_SKIP() << "built without pugixml";
  EXPECT_EQ(said("<system>\n<cpu numaid=\"0\">\n</system>"),
            ":3: expected XML: Start-end tags mismatch");
  EXPECT_EQ(said("<topology version=\"2.0\"/>"),
            ": expected NCCL's topology, <system> with <cpu> and <pci> in it; this is hwloc's: "
            "--hwloc reads it");
  EXPECT_EQ(said("<system version=\"1\"><cpu numaid=\"0\"><pci busid=\"0000:00:16.0\"/></cpu>"
                 "</system>"),
            ": names no GPU");
  std::string deep = "<system><cpu numaid=\"0\">";
  for (int i = 0; i < 5000; ++i) deep += "<pci busid=\"0000:01:00.0\">";
  for (int i = 0; i < 5000; ++i) deep += "</pci>";
  EXPECT_EQ(said(deep + "</cpu></system>"), ": names no GPU");
  EXPECT_EQ(machine_from_nccl(path("absent.xml"), {}).error().message,
            path("absent.xml") + ": there is no such file");
  EXPECT_EQ(machine_from_nccl(path(""), {}).error().kind, ErrorKind::bad_input);
}

TEST(SavedMachine, NvidiaSmiOfADgx) {
  const Machine machine = read_of(machine_from_nvidia_smi(saved("nvidia-smi-dgx-h100-like.txt"),
                                                          {gpu_model_by_name("h100"), 400}));
  EXPECT_EQ(machine.tree.hosts.size(), 2u);
  ASSERT_EQ(machine.gpus.found.size(), 4u);
  EXPECT_EQ(machine.gpus.found[3].name, "NVIDIA H100 80GB HBM3");
  EXPECT_EQ(machine.host("gpu2"), 1u);
  EXPECT_EQ(nearness(machine, "gpu1", "nic1"), Nearness::same_switch);
  EXPECT_EQ(nearness(machine, "gpu1", "nic0"), Nearness::same_host);
  EXPECT_EQ(nearness(machine, "gpu1", "nic2"), Nearness::across_sockets);
  EXPECT_EQ(nvlink_among(machine.gpus).links, 18u);
  EXPECT_EQ(chosen(machine), (Names{"mlx5_0", "mlx5_3", "mlx5_4", "mlx5_5"}));
  EXPECT_EQ(machine.nics[4].ports, 2u);
  const Scenario s = scenario_of(machine);
  EXPECT_EQ(s.cluster.nics.size(), 4u);
  EXPECT_NE(s.cluster.nodes[0].gpus[0].nvlink_out, no_id);
}

TEST(SavedMachine, NvidiaSmiWithFourNodesASocket) {
  const Machine machine =
      read_of(machine_from_nvidia_smi(saved("nvidia-smi-a100-nps4-like.txt"), {}));
  // Nodes 3, 1, 7 and 5 are named, so that there are eight.
  ASSERT_EQ(machine.tree.hosts.size(), 2u);
  EXPECT_EQ(machine.host("gpu0"), 0u);
  EXPECT_EQ(machine.host("gpu3"), 1u);
  EXPECT_EQ(nearness(machine, "gpu0", "nic0"), Nearness::same_switch);
  EXPECT_EQ(chosen(machine), (Names{"mlx5_0", "mlx5_1", "mlx5_2", "mlx5_3"}));
  std::string text;
  scenario_of(machine, &text);
  EXPECT_NE(text.find("# NOT KNOWN: what the GPUs are"), std::string::npos);
  EXPECT_NE(text.find("memory: 40000 MiB  # not told: a stand-in"), std::string::npos) << text;
}

TEST_F(MachineTest, NvidiaSmiOfEveryForm) {
  const auto read = [&](const std::string& text) {
    return machine_from_nvidia_smi(write("topo.txt", text), {});
  };
  // Before NICs had a legend; joined in pairs; an underlined header; no place told.
  const Machine pairs =
      read_of(read("\t\x1b[4mGPU0\tGPU1\tmlx5_0\tCPU Affinity\tNUMA Affinity\x1b[0m\r\n"
                   "GPU0\t X \tNV4\tPHB\t0-15\tN/A\r\nGPU1\tNV4\t X \tSYS\t16-31\tN/A\r\n"
                   "mlx5_0\tPHB\tSYS\t X \t\t\r\n"));
  EXPECT_EQ(nvlink_among(pairs.gpus).path, nvml::NvLinkPath::direct);
  EXPECT_EQ(nvlink_among(pairs.gpus).links, 4u);
  EXPECT_EQ(chosen(pairs), Names{"mlx5_0"});
  scenario_of(pairs);
  // One GPU, no NIC.
  const Machine one = read_of(read("\tGPU0\tCPU Affinity\tNUMA Affinity\nGPU0\t X \t0-7\t0\n"));
  EXPECT_EQ(one.gpus.found.size(), 1u);
  scenario_of(one);

  const auto said = [&](const std::string& text) {
    const auto machine = read(text);
    return machine ? "" : machine.error().message.substr(path("topo.txt").size());
  };
  EXPECT_EQ(said("nothing\n"),
            ": expected the text of 'nvidia-smi topo -m', with GPU0 first in its "
            "header");
  EXPECT_EQ(said("\tGPU0\tGPU1\nGPU0\t X \n"), ":2: expected 2 marks, found 1");
  EXPECT_EQ(said("\tGPU0\tGPU1\nGPU0\t X \tNEAR\n"),
            ":2: expected X for itself, and NV#, PIX, PXB, PHB, NODE or SYS for others, found "
            "'NEAR'");
  EXPECT_EQ(said("\tGPU0\tGPU1\nGPU0\t X \tSYS\n"),
            ": expected a row for each of 2 devices, found 1");
  EXPECT_EQ(said("\tGPU0\tGPU1\nGPU1\tSYS\t X \n"),
            ":2: expected the row of 'GPU0', found that of 'GPU1'");
  EXPECT_EQ(said("\tGPU0\tGPU1\nGPU0\t X \tSYS\nGPU1\tPIX\t X \n"),
            ": GPU1 to GPU0 is PIX, and SYS the other way");
}

}  // namespace
}  // namespace kvhaul::test
