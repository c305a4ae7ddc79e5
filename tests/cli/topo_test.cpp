// kvhaul topo on whatever machine this is, and replays of what it writes for others.
#include "machine/topo_scenario.h"
#include "scenarios/scenario.h"
#include "tests/cli/program.h"

namespace kvhaul::test {
namespace {

class Topo : public ProgramTest {};

TEST_F(Topo, PrintsAScenarioOfThisMachineAndATableBesideIt) {
  const Ran ran = run({"topo"});
  EXPECT_EQ(ran.code, 0);
  const auto scenario = parse_scenario(ran.out, "topo.yaml");
  EXPECT_TRUE(scenario) << (scenario ? "" : scenario.error().message) << "\n" << ran.out;
  EXPECT_TRUE(ran.err.starts_with("Found (sockets and PCIe tree: ")) << ran.err;
  EXPECT_NE(ran.err.find("\n  host0  "), std::string::npos) << ran.err;
}

TEST_F(Topo, WritesAFileOnceUnlessForced) {
  const Ran ran = run({"topo", "-o", "here.yaml", "--model", "llama-3.1-70b"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.out, "");
  EXPECT_NE(text("here.yaml").find("\nmodel: llama-3.1-70b\n"), std::string::npos);
  EXPECT_EQ(refused(2, {"topo", "-o", "here.yaml"}),
            "kvhaul: here.yaml is there already; --force writes over it");
  EXPECT_NE(text("here.yaml").find("\nmodel: llama-3.1-70b\n"), std::string::npos);
  EXPECT_EQ(run({"topo", "-o", "here.yaml", "--model", "qwen2.5-7b", "--force"}).code, 0);
  EXPECT_NE(text("here.yaml").find("\nmodel: qwen2.5-7b\n"), std::string::npos);
}

TEST_F(Topo, BadUsage) {
  EXPECT_NE(refused(2, {"topo", "--model", "lama-3.1-8b"}).find("did you mean 'llama-3.1-8b'?"),
            std::string::npos);
  EXPECT_EQ(refused(2, {"topo", "-o", "no/such/folder.yaml"}),
            "kvhaul: no/such/folder.yaml: cannot be created: No such file or directory");
  EXPECT_NE(refused(2, {"topo", "here.yaml"}).find("kvhaul topo: "), std::string::npos);
}

TEST_F(Topo, ASavedMachineReplays) {
  const std::string smi = source("tests/machine/saved/nvidia-smi-dgx-h100-like.txt");
  const Ran made = run(
      {"topo", "--nvidia-smi", smi, "--gpu", "h100", "--nic-rate", "400 Gb/s", "-o", "dgx.yaml"});
  EXPECT_EQ(made.code, 0) << made.err;
  EXPECT_NE(made.err.find("\nNot known\n  which ports are up: all are taken to be\n"),
            std::string::npos)
      << made.err;
  EXPECT_NE(made.err.find("left out: of another kind than those nearest to most GPUs"),
            std::string::npos)
      << made.err;
  const Ran ran = run({"replay", "-t", source("traces/samples/chat-200.csv"), "-s", "dgx.yaml",
                       "-b", "emulated", "--time", "virtual", "--limit", "5"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_NE(ran.out.find("5 completed"), std::string::npos) << ran.out;
  // Nothing told: what stands in is said, and it replays all the same.
  EXPECT_NE(run({"topo", "--nvidia-smi", smi, "-o", "bare.yaml"})
                .err.find("the roofline of this GPU (unknown GPU) is unknown to kvhaul"),
            std::string::npos);
  EXPECT_EQ(run({"replay", "-t", source("traces/samples/chat-200.csv"), "-s", "bare.yaml", "-b",
                 "emulated", "--time", "virtual", "--limit", "5"})
                .code,
            0);
}

TEST_F(Topo, BadUseOfSavedMachines) {
  const std::string smi = source("tests/machine/saved/nvidia-smi-dgx-h100-like.txt");
  EXPECT_EQ(refused(2, {"topo", "--nvidia-smi", smi, "--nccl", smi}),
            "kvhaul: kvhaul topo: expected one of --hwloc, --nccl and --nvidia-smi");
  EXPECT_EQ(refused(2, {"topo", "--nvidia-smi", "absent.txt"}),
            "kvhaul: absent.txt: there is no such file");
  EXPECT_EQ(refused(2, {"topo", "--hwloc", "."}),
            "kvhaul: .: expected a file, found a folder or a device");
  EXPECT_TRUE(refused(2, {"topo", "--gpu", "h100"})
                  .starts_with("kvhaul: kvhaul topo: --gpu and --nic-rate are for saved machines"));
  EXPECT_NE(
      refused(2, {"topo", "--nvidia-smi", smi, "--gpu", "h1000"}).find("did you mean 'h100'?"),
      std::string::npos);
  EXPECT_TRUE(refused(2, {"topo", "--nvidia-smi", smi, "--nic-rate", "400"})
                  .starts_with("kvhaul: --nic-rate: expected a rate"));
  EXPECT_TRUE(
      refused(2, {"topo", "--nvidia-smi", smi, "--nics", "mlx5_9"})
          .starts_with("kvhaul: --nics: no RDMA NIC is called 'mlx5_9'; there are mlx5_0/1"));
}

TEST_F(Topo, WhatItWritesReplays) {
  Machine machine;
  machine.tree.source = "hwloc";
  machine.tree.hosts = {{{0}, 128 * GiB, 16}};
  nvml::Gpu gpu;
  gpu.name = "NVIDIA H200";
  gpu.memory_bytes = 143'771 * MiB;
  gpu.pcie_generation_max = 5;
  gpu.pcie_lanes_max = 16;
  gpu.compute_major = 9;
  // One GPU; two, over NVLink; none.
  for (const char* route : {"pcie_staged", "nvlink_copy", "pcie_p2p"}) {
    if (std::string(route) == "pcie_p2p") machine.gpus.found.clear();
    if (std::string(route) != "pcie_p2p") {
      gpu.bus_id = "0000:0" + std::to_string(machine.gpus.found.size()) + ":00.0";
      machine.gpus.found.push_back(gpu);
    }
    for (nvml::Gpu& g : machine.gpus.found) g.nvlinks.assign(18, {0, true, ""});
    write("topo.yaml", topo_scenario(machine, model_for(machine), {}).text);
    const Ran ran = run({"replay", "-t", source("traces/samples/chat-200.csv"), "-s", "topo.yaml",
                         "-b", "emulated", "--time", "virtual", "--limit", "20"});
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_NE(ran.out.find("20 completed"), std::string::npos) << ran.out;
    EXPECT_NE(ran.out.find("\nroute       " + std::string(route) + "  "), std::string::npos)
        << ran.out;
  }
}

}  // namespace
}  // namespace kvhaul::test
