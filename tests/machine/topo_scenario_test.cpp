// A machine as a scenario: what the reader makes of the text.
#include "machine/topo_scenario.h"

#include "scenarios/scenario.h"
#include "tests/machine/box.h"

namespace kvhaul::test {
namespace {

std::vector<std::string> names(const Scenario& scenario, const RoleConfig& role) {
  std::vector<std::string> names;
  for (const auto& instance : role.instances)
    for (const PlaceId place : instance) names.push_back(scenario.cluster.places[place].name);
  return names;
}

class ScenarioOfMachine : public MachineTest {
 protected:
  Machine box() const {
    MachineSources sources;
    sources.sysfs = box_sysfs();
    sources.nvml = KVHAUL_FAKE_NVML;
    return read_machine(sources);
  }

  /// Reads it back; the text is in text_.
  Scenario scenario_of(const Machine& machine) {
    const auto choice = choose_nics(machine);
    EXPECT_TRUE(choice);
    const TopoScenario made = topo_scenario(machine, model_for(machine), *choice);
    text_ = made.text;
    not_known_ = made.not_known;
    for (const std::string& what : not_known_)
      if (!machine.gpus.found.empty()) expect_text("# NOT KNOWN: " + what + ".\n");
    auto scenario = parse_scenario(text_, "topo.yaml");
    EXPECT_TRUE(scenario) << (scenario ? "" : scenario.error().message) << "\n" << text_;
    return scenario ? std::move(*scenario) : Scenario{};
  }
  double rate(const Scenario& scenario, const std::string& link) const {
    for (const Link& l : scenario.cluster.links)
      if (l.name == link) return l.bytes_per_s / 1e9;
    ADD_FAILURE() << "no link " << link;
    return 0;
  }
  void expect_text(const std::string& part) const {
    EXPECT_NE(text_.find(part), std::string::npos) << part << "\nin\n" << text_;
  }

  std::string text_;
  std::vector<std::string> not_known_;
};

TEST_F(ScenarioOfMachine, TheBox) {
  const Scenario s = scenario_of(box());
  ASSERT_EQ(s.cluster.nodes.size(), 1u);
  const Node& node = s.cluster.nodes[0];
  EXPECT_EQ(node.type, "2 x NVIDIA H100 ?80GB? HBM3");
  ASSERT_EQ(node.hosts.size(), 2u);
  EXPECT_EQ(s.cluster.places[node.hosts[1]].memory_bytes, 8 * GiB);
  // The switch, and the second GPU's root port in place of one.
  ASSERT_EQ(node.pcie_switches.size(), 2u);
  EXPECT_EQ(node.pcie_switches[0].host, 0u);
  EXPECT_EQ(node.pcie_switches[1].host, 1u);
  ASSERT_EQ(node.gpus.size(), 2u);
  EXPECT_EQ(node.gpus[0].pcie_switch, 0u);
  EXPECT_EQ(node.gpus[0].host, 0u);
  EXPECT_EQ(node.gpus[1].pcie_switch, 1u);
  EXPECT_EQ(node.gpus[1].host, 1u);
  EXPECT_EQ(s.cluster.places[node.gpus[0].place].memory_bytes, 80'000 * MiB);
  ASSERT_EQ(s.cluster.nics.size(), 1u);
  EXPECT_EQ(s.cluster.nics[0].pcie_switch, 0u);
  EXPECT_EQ(s.cluster.nics[0].host, 0u);

  EXPECT_NEAR(rate(s, "node0/gpu0/pcie/out"), 55.1, 0.05);
  EXPECT_NEAR(rate(s, "node0/gpu0/pcie/in"), 55.3, 0.05);
  // 31.508 GB/s in theory x 25.8 / 31.5
  EXPECT_NEAR(rate(s, s.cluster.links[node.pcie_switches[0].out].name), 25.8, 0.05);
  EXPECT_NEAR(rate(s, s.cluster.links[node.gpus[0].nvlink_out].name), 393, 0.5);
  EXPECT_EQ(s.cluster.links[node.gpus[0].nvlink_in].read_incast, 0.82);
  EXPECT_NEAR(rate(s, s.cluster.links[s.cluster.nics[0].tx].name), 47, 0.05);
  EXPECT_NEAR(rate(s, s.cluster.links[s.cluster.nics[0].pcie_out].name), 55.1, 0.05);
  EXPECT_NEAR(rate(s, s.cluster.links[node.socket[0][1]].name), 22, 0.05);

  EXPECT_EQ(s.routes.order, (std::vector{RouteKind::nvlink_copy, RouteKind::pcie_staged}));
  const auto& costs = s.routes.costs;
  EXPECT_EQ(costs[static_cast<std::size_t>(RouteKind::nvlink_copy)].half_bandwidth_bytes,
            1'218'000u);  // 3.1 us x 393 GB/s
  EXPECT_EQ(costs[static_cast<std::size_t>(RouteKind::pcie_staged)].half_bandwidth_bytes,
            121'000u);  // 2.2 us x 55.1 GB/s
  EXPECT_EQ(s.serving.model.name, "llama-3.1-8b");
  EXPECT_EQ(names(s, s.serving.prefill), std::vector<std::string>{"node0/gpu0"});
  EXPECT_EQ(names(s, s.serving.decode), std::vector<std::string>{"node0/gpu1"});
  EXPECT_EQ(s.serving.prefill.kv_memory_bytes, 40'000 * MiB);
  expect_text("# PCIe Gen5 x16, read from NVML: 63 GB/s in theory;\n");
  expect_text("# NVLink: 18 NVLinks each to an NVSwitch, read from NVML;\n");
  expect_text("# read: InfiniBand, 400 Gb/s. The share of it: 47 of 50 GB/s R NDR GPUDirect\n");
  expect_text("# 1: root port of 0000:8a:00.0\n");
}

TEST_F(ScenarioOfMachine, EightGpusAreSplitInHalves) {
  Machine machine = box();
  machine.gpus.found.resize(7, machine.gpus.found[0]);
  for (std::size_t i = 2; i < 7; ++i)
    machine.gpus.found[i].bus_id = "0000:a" + std::to_string(i) + ":00.0";
  const Scenario s = scenario_of(machine);
  EXPECT_EQ(s.serving.prefill.instances.size(), 3u);
  EXPECT_EQ(s.serving.decode.instances.size(), 4u);
  // Nobody says where five of them hang: nearness is not made up, and the file has one host.
  EXPECT_EQ(s.cluster.nodes[0].hosts.size(), 1u);
  EXPECT_EQ(s.cluster.places[s.cluster.nodes[0].hosts[0]].memory_bytes, 16 * GiB);
  expect_text("# gpu6: NVIDIA H100 ?80GB? HBM3, 0000:a6:00.0, socket not told\n");
  expect_text(
      "NOT KNOWN: nearness: on which of 2 sockets these hang, as often in virtual machines: "
      "gpu2, gpu3, gpu4, gpu5, gpu6; the file has one host");
}

TEST_F(ScenarioOfMachine, OneGpuIsBothEnds) {
  Machine machine = box();
  machine.gpus.found.resize(1);
  machine.nics.clear();
  machine.tree.devices["0000:03:00.0"].pcie_switch.clear();  // as in a virtual machine
  const Scenario s = scenario_of(machine);
  EXPECT_TRUE(s.cluster.nodes[0].pcie_switches.empty());
  EXPECT_EQ(s.cluster.nodes[0].gpus[0].nvlink_out, no_id);
  EXPECT_EQ(s.routes.order, std::vector{RouteKind::pcie_staged});
  EXPECT_EQ(names(s, s.serving.prefill), std::vector<std::string>{"node0/gpu0"});
  EXPECT_EQ(names(s, s.serving.decode), std::vector<std::string>{"node0/gpu0"});
  EXPECT_EQ(s.serving.decode.kv_memory_bytes, 20'000 * MiB);
}

TEST_F(ScenarioOfMachine, WithoutFiguresOrNvlinkThereIsNone) {
  Machine machine = box();
  for (nvml::Gpu& gpu : machine.gpus.found) {
    gpu.name = "NVIDIA RTX A6000";
    gpu.compute_major = 8;
    gpu.compute_minor = 6;
    gpu.memory_bytes = 24 * GiB;
    gpu.pcie_generation_max = 4;
    gpu.pcie_lanes_max = 8;
  }
  const Scenario s = scenario_of(machine);
  EXPECT_EQ(s.serving.model.name, "qwen2.5-7b");
  EXPECT_EQ(s.cluster.nodes[0].gpus[0].nvlink_out, no_id);
  EXPECT_NEAR(rate(s, "node0/gpu0/pcie/out"), 12.9, 0.05);  // half of 25.8
  EXPECT_EQ(s.routes.order, (std::vector{RouteKind::pcie_p2p, RouteKind::pcie_staged}));
  expect_text("# no nvlink: no published figure for NVLinks of this GPU\n");
  expect_text("timing: {gpu: {flops: 312 TFLOPS, memory_rate: 2.04 TB/s}, mfu: 0.5}\n");
  ASSERT_FALSE(not_known_.empty());
  EXPECT_TRUE(not_known_.back().starts_with(
      "the roofline of this GPU (NVIDIA RTX A6000) is unknown to kvhaul"));
  expect_text("do not fit beside it.\n");

  for (nvml::Gpu& gpu : machine.gpus.found) gpu.nvlinks.clear();
  scenario_of(machine);
  expect_text(
      "# no nvlink: 0000:03:00.0 and 0000:8a:00.0: 0000:03:00.0 has no NVLink that is up\n");
}

TEST_F(ScenarioOfMachine, NicsOfOtherKindsAreNamedAndLeftOut) {
  Machine machine = box();
  RdmaNic other = machine.nics[0];
  other.device = "mlx5_1";
  other.gbits_per_s = 100;
  machine.nics.push_back(other);
  other.device = "mlx5_2";
  other.state = "DOWN";
  machine.nics.push_back(other);
  const Scenario s = scenario_of(machine);
  EXPECT_EQ(s.cluster.nics.size(), 1u);
  expect_text(
      "# left out: mlx5_1/1, 100 Gb/s InfiniBand: of another kind than those nearest to most "
      "GPUs\n");
  expect_text("# left out: mlx5_2/1, 100 Gb/s InfiniBand: DOWN\n");
}

TEST_F(ScenarioOfMachine, WithoutGpusTwoEmulatedOnesOfFittingSize) {
  Machine machine;
  machine.tree.source = "sysfs";
  // An eighth of 16 GiB; at most 4 GiB; at least 256 MiB.
  for (const auto& [memory, decode] :
       {std::pair{16 * GiB, 2 * GiB}, {1024 * GiB, 4 * GiB}, {1 * GiB, 256 * MiB}}) {
    machine.tree.hosts = {{{0}, memory / 2, 1}, {{1}, memory / 2, 1}};
    const Scenario s = scenario_of(machine);
    EXPECT_EQ(s.serving.model.name, "qwen2.5-7b");
    EXPECT_TRUE(s.real_time);
    EXPECT_TRUE(s.payload);
    EXPECT_EQ(s.serving.decode.kv_memory_bytes, decode);
    EXPECT_EQ(s.serving.prefill.kv_memory_bytes, decode / 2);
    EXPECT_EQ(s.cluster.places[s.cluster.nodes[0].hosts[0]].memory_bytes, memory);
  }
}

}  // namespace
}  // namespace kvhaul::test
