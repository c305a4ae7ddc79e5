// What may stand in a scenario, and what is said about everything else.
#include <fstream>
#include <string>

#include "tests/scenarios/scenario_testing.h"

namespace kvhaul::test {
namespace {

TEST(Scenario, TheSmallOneIsOne) { EXPECT_EQ(error_of(std::string(small_scenario)), ""); }

TEST(Scenario, AnUnknownKeyNamesTheNearestKnownOne) {
  EXPECT_EQ(error_with("memory_rate", "memory_rat"),
            "s.yaml:5: expected 'memory_rate' in 'cluster.node_types.box.hosts', which is missing");
  EXPECT_EQ(error_with("fixed_cost: 5 us", "fixed_cost: 5 us, half_bandwith: 1 KB"),
            "s.yaml:11: unknown key 'half_bandwith' in 'routes.pcie_p2p'; did you mean "
            "'half_bandwidth'?");
  EXPECT_EQ(error_with("routes:", "route:\n  {}\nroutes:"),
            "s.yaml:9: unknown key 'route'; did you mean 'routes'?");
  // Nothing is near: all that could stand there are named.
  EXPECT_EQ(error_with("{type: box}", "{type: box, zzzzzzzz: 1}"),
            "s.yaml:8: unknown key 'zzzzzzzz' in 'nodes'; known are count, nvlink_domain, type");
}

TEST(Scenario, ABareNumberWhereAUnitIsNeeded) {
  EXPECT_EQ(error_with("20 GB/s", "20"),
            "s.yaml:5: 'memory_rate': expected a rate above zero with its unit, such as "
            "'55.3 GB/s' or '400 Gb/s', found '20'");
  EXPECT_EQ(error_with("memory: 1 GB", "memory: 1000000000"),
            "s.yaml:6: 'memory': expected a size with its unit, such as '64 KiB' or '80 GB', "
            "found '1000000000'");
  EXPECT_EQ(error_with("5 us", "5"),
            "s.yaml:11: 'fixed_cost': expected a duration with its unit, such as '3.1 us' or "
            "'250 ms', found '5'");
}

TEST(Scenario, AUnitOfAnotherDimension) {
  EXPECT_NE(error_with("20 GB/s", "20 GB").find("s.yaml:5: 'memory_rate': expected a rate"),
            std::string::npos);
  EXPECT_NE(error_with("5 us", "5 KiB").find("s.yaml:11: 'fixed_cost': expected a duration"),
            std::string::npos);
  EXPECT_NE(error_with("memory: 1 GB", "memory: 1 s").find("s.yaml:6: 'memory': expected a size"),
            std::string::npos);
  // Letters are not folded: Gb and GB are not the same.
  EXPECT_NE(error_with("20 GB/s", "20 gb/s").find("expected a rate"), std::string::npos);
}

TEST(Scenario, MissingKeys) {
  EXPECT_EQ(error_with("name: small\n", ""), "s.yaml:1: expected 'name', which is missing");
  EXPECT_EQ(error_with("model: llama-3.1-8b\n", ""),
            "s.yaml:1: expected 'model', which is missing");
  EXPECT_EQ(error_with(", kv_memory: 500 MB", ""),
            "s.yaml:14: expected 'kv_memory' in 'serving.prefill', which is missing");
  EXPECT_EQ(error_with("gpus: [node0/gpu0], ", ""),
            "s.yaml:14: expected 'gpus' or 'nodes' with at least one GPU in 'serving.prefill'");
  EXPECT_EQ(error_with("model: llama-3.1-8b", "model:"),
            "s.yaml:12: expected a value for 'model', found nothing");
}

TEST(Scenario, WrongTypes) {
  EXPECT_EQ(error_with("{memory_rate: 20 GB/s}", "[1, 2]"),
            "s.yaml:5: expected a mapping for 'cluster.node_types.box.hosts'");
  EXPECT_EQ(error_with("count: 2", "count: two"),
            "s.yaml:6: 'count': expected a whole number from 1 to 1024, found 'two'");
  EXPECT_EQ(error_with("count: 2", "count: 2.5"),
            "s.yaml:6: 'count': expected a whole number from 1 to 1024, found '2.5'");
  EXPECT_EQ(error_with("[pcie_p2p]", "pcie_p2p"), "s.yaml:10: 'order': expected a list");
  EXPECT_EQ(error_with("model: llama-3.1-8b", "model: [a]"), "s.yaml:12: 'model': expected a word");
  EXPECT_EQ(error_with("20 GB/s}", "20 GB/s}\n      gpudirect: yes"),
            "s.yaml:6: 'gpudirect': expected true or false, found 'yes'");
}

TEST(Scenario, ValuesOutOfRange) {
  EXPECT_EQ(error_with("count: 2", "count: 0"),
            "s.yaml:6: 'count': expected a whole number from 1 to 1024, found '0'");
  EXPECT_EQ(error_with("count: 2", "count: -1"),
            "s.yaml:6: 'count': expected a whole number from 1 to 1024, found '-1'");
  EXPECT_EQ(error_with("20 GB/s", "20 KB/s"),
            "s.yaml:5: 'memory_rate': expected a rate of at least 1 MB/s, found 20 KB/s");
  EXPECT_EQ(error_with("5 us", "2000 s"), "s.yaml:11: 'fixed_cost': expected at most 1000 s");
  EXPECT_EQ(error_with("5 us", "99999 h"),
            "s.yaml:11: 'fixed_cost': expected a duration of at most a million seconds");
  EXPECT_EQ(error_with("timing: {gpu: h100}", "timing: {gpu: h100, mfu: 1.5}"),
            "s.yaml:14: 'mfu': expected a share from 0.001 to 1");
  EXPECT_EQ(error_with("kv_memory: 500 MB", "kv_memory: 2 GB"),
            "s.yaml:14: 'kv_memory': node0/gpu0 has less memory than that");
  EXPECT_EQ(error_with("model:", "scheduler: {ageing: 0 s}\nmodel:"),
            "s.yaml:12: 'ageing': expected a duration above zero");
  EXPECT_EQ(error_with("kv_memory: 500 MB", "kv_memory: 1 KB"),
            "s.yaml: serving.prefill: a KV memory of 1000 B per GPU does not hold one page of "
            "llama-3.1-8b");
}

TEST(Scenario, APartOfANicHasAName) {
  const auto nics = [](const std::string& part) {
    return "}}\n      nics: {count: 2, pcie: {rate: 10 GB/s}, wire: {rate: 5 GB/s}" + part + "}";
  };
  EXPECT_EQ(error_with("}}\n  nodes", nics(", part: connectx-7") + "\n  nodes"), "");
  const auto named =
      parse_scenario(with("}}\n  nodes", nics(", part: My_NIC-2.1") + "\n  nodes"), "s.yaml");
  ASSERT_TRUE(named) << named.error().message;
  ASSERT_EQ(named->cluster.nics.size(), 2u);
  EXPECT_EQ(named->cluster.nics[1].part, "My_NIC-2.1");
  const auto unnamed = parse_scenario(with("}}\n  nodes", nics("") + "\n  nodes"), "s.yaml");
  ASSERT_TRUE(unnamed) << unnamed.error().message;
  EXPECT_EQ(unnamed->cluster.nics[1].part, "");

  EXPECT_EQ(error_with("}}\n  nodes", nics(", part: 'two words'") + "\n  nodes"),
            "s.yaml:7: 'part': expected a name of up to 64 letters, digits, '-', '.' and '_', such "
            "as connectx-7, found 'two words'");
  EXPECT_NE(error_with("}}\n  nodes", nics(", part: ''") + "\n  nodes").find("s.yaml:7: "),
            std::string::npos);
  EXPECT_NE(error_with("}}\n  nodes", nics(", part: " + std::string(65, 'a')) + "\n  nodes")
                .find("'part': expected a name"),
            std::string::npos);
  EXPECT_NE(error_with("}}\n  nodes", nics(", part: [a]") + "\n  nodes").find("s.yaml:7: 'part'"),
            std::string::npos);
}

TEST(Scenario, OnePartHasOneRate) {
  const std::string other =
      "}}\n      nics: {count: 1, part: n1, pcie: {rate: 10 GB/s}, wire: {rate: 5 GB/s}}\n"
      "    bin:\n      hosts: {memory_rate: 20 GB/s}\n"
      "      nics: {count: 1, part: n1, pcie: {rate: 10 GB/s}, wire: {out: 5 GB/s, in: ";
  EXPECT_EQ(error_with("}}\n  nodes", other + "5 GB/s}}\n  nodes"), "");
  EXPECT_EQ(error_with("}}\n  nodes", other + "4 GB/s}}\n  nodes"),
            "s.yaml:5: 'part': 'n1' has a wire of 5 GB/s out and 5 GB/s in here, and of 5 GB/s and "
            "4 GB/s in node type 'bin'; expected one rate for one part");
}

TEST(Scenario, GatherMethodsTakeOverWhatTheyDoNotSay) {
  const auto scenario = parse_scenario(
      with("fixed_cost: 5 us",
           "post_cost: 2 us, half_bandwidth: 64 KiB, pack: {rate: 900 GB/s, fixed_cost: 4 us}, "
           "through: {post_cost: 9 us, piece_post_cost: 10 ns, half_bandwidth: 1 KiB, "
           "piece_half_bandwidth: 20 B, stretch: 1.143, rate: 1 TB/s}, batch: {}"),
      "s.yaml");
  ASSERT_TRUE(scenario) << scenario.error().message;
  const GatherTable& gather =
      scenario->routes.costs[static_cast<std::size_t>(RouteKind::pcie_p2p)].gather;
  EXPECT_FALSE(gather[static_cast<std::size_t>(Gather::each)]);
  EXPECT_EQ(gather[static_cast<std::size_t>(Gather::batch)],
            (GatherCosts{.post_ns = 2000, .half_bandwidth_bytes = 64 * KiB}));
  EXPECT_EQ(gather[static_cast<std::size_t>(Gather::pack)],
            (GatherCosts{.fixed_ns = 4000,
                         .post_ns = 2000,
                         .half_bandwidth_bytes = 64 * KiB,
                         .bytes_per_s = 900e9}));
  EXPECT_EQ(gather[static_cast<std::size_t>(Gather::through)],
            (GatherCosts{.post_ns = 9000,
                         .piece_post_ns = 10,
                         .half_bandwidth_bytes = 1 * KiB,
                         .piece_half_bandwidth_bytes = 20,
                         .extra_permille = 143,
                         .bytes_per_s = 1e12}));
}

TEST(Scenario, GatherMethodsAndSharedLimitsThatCannotBe) {
  EXPECT_EQ(error_with("fixed_cost: 5 us", "pack: {}"),
            "s.yaml:11: expected 'rate' in 'routes.pcie_p2p.pack', which is missing");
  EXPECT_EQ(error_with("fixed_cost: 5 us", "batch: {piece_post_cost: 2 s}"),
            "s.yaml:11: 'piece_post_cost': expected at most 1 s");
  EXPECT_EQ(error_with("fixed_cost: 5 us", "through: {piece_half_bandwidth: 2 GiB}"),
            "s.yaml:11: 'piece_half_bandwidth': expected at most 1 GiB");
  EXPECT_EQ(error_with("fixed_cost: 5 us", "through: {stretch: 0.9}"),
            "s.yaml:11: 'stretch': expected 1 to 100");
  EXPECT_NE(error_with("host_link: {rate: 10 GB/s}", "host_link: {rate: 10 GB/s, both: 9 GB/s}")
                .find("node0/gpu0 host link: expected a rate of both directions together"),
            std::string::npos);
  EXPECT_EQ(error_with("host_link: {rate: 10 GB/s}",
                       "host_link: {rate: 10 GB/s}, nvlink: {rate: 10 GB/s, both: 12 GB/s}"),
            "s.yaml:6: 'both': only the 'host_link' of GPUs may have one");
}

TEST(Scenario, CostsOfRests) {
  const auto scenario = parse_scenario(
      with("fixed_cost: 5 us", "after_idle: {500 us: 3 us, 50 ms: 180 us}"), "s.yaml");
  ASSERT_TRUE(scenario) << scenario.error().message;
  EXPECT_EQ(scenario->routes.costs[static_cast<std::size_t>(RouteKind::pcie_p2p)].after_idle,
            (std::vector<IdleCost>{{500'000, 3'000}, {50'000'000, 180'000}}));
  EXPECT_EQ(error_with("fixed_cost: 5 us", "after_idle: {50 ms: 180 us, 20 ms: 60 us}"),
            "s.yaml:11: '20 ms': expected times above 0, each above the one before");
  EXPECT_EQ(error_with("fixed_cost: 5 us", "after_idle: {0 s: 180 us}"),
            "s.yaml:11: '0 s': expected times above 0, each above the one before");
  EXPECT_EQ(error_with("fixed_cost: 5 us", "after_idle: {50 ms: 2 s}"),
            "s.yaml:11: '50 ms': expected at most 1 s");
  EXPECT_EQ(error_with("fixed_cost: 5 us", "after_idle: {long: 1 us}"),
            "s.yaml:11: expected a time without traffic as the key, such as 50 ms: expected a "
            "duration with its unit, such as '3.1 us' or '250 ms', found 'long'");
  EXPECT_EQ(error_with("fixed_cost: 5 us", "after_idle: [50 ms]"),
            "s.yaml:11: expected a mapping for 'routes.pcie_p2p.after_idle'");
  EXPECT_EQ(error_with("fixed_cost: 5 us", "after_idle: {50 ms: 180}"),
            "s.yaml:11: '50 ms': expected a duration with its unit, such as '3.1 us' or '250 ms', "
            "found '180'");
}

TEST(Scenario, FeaturesOfFabricAndNodeReachTheCluster) {
  std::string text = with("{memory_rate: 20 GB/s}",
                          "{memory_rate: 20 GB/s, memory_write_rate: 16 GB/s}\n"
                          "      registration_rate: 10 GB/s");
  const auto put = [&](const std::string& old_text, const std::string& new_text) {
    text.replace(text.find(old_text), old_text.size(), new_text);
  };
  put("host_link: {rate: 10 GB/s}}",
      "host_link: {rate: 10 GB/s, both: 17 GB/s}, nvlink: {rate: 100 GB/s, read_incast: 0.83}}");
  put("routes:\n", "  fabric: {routing: adaptive}\nroutes:\n");
  put("serving:\n",
      "serving:\n  engine: {per_unit: 0.39 ms}\n  failover: {retries: 0, probe_after: 1 ms}\n");
  const auto scenario = parse_scenario(text, "s.yaml");
  ASSERT_TRUE(scenario) << scenario.error().message;
  const Node& node = scenario->cluster.nodes[0];
  EXPECT_DOUBLE_EQ(node.registration_bytes_per_s, 10e9);
  EXPECT_DOUBLE_EQ(scenario->cluster.links[node.dram_write[0]].bytes_per_s, 16e9);
  EXPECT_DOUBLE_EQ(scenario->cluster.links[node.gpus[1].nvlink_in].read_incast, 0.83);
  EXPECT_DOUBLE_EQ(scenario->cluster.links[node.gpus[1].host_both].bytes_per_s, 17e9);
  EXPECT_EQ(scenario->cluster.routing, FabricRouting::adaptive);
  EXPECT_EQ(scenario->serving.engine_ns, 390'000);
  EXPECT_EQ(scenario->serving.failover.retries, 0u);
  EXPECT_EQ(scenario->serving.failover.probe_after_ns, 1 * ms_ns);
  // None of it is there unless it is asked for.
  const auto plain = parse_scenario(std::string(small_scenario), "s.yaml");
  EXPECT_DOUBLE_EQ(plain->cluster.nodes[0].registration_bytes_per_s, 0);
  EXPECT_EQ(plain->cluster.nodes[0].dram_write[0], no_id);
  EXPECT_EQ(plain->cluster.routing, FabricRouting::ecmp);
  EXPECT_EQ(plain->serving.engine_ns, 0);
  EXPECT_EQ(plain->serving.failover.retries, 2u);
  EXPECT_EQ(plain->serving.failover.probe_after_ns, 10 * s_ns);
}

TEST(Scenario, FeaturesOfFabricAndNodeOutOfRange) {
  for (const char* share : {"0", "-0.5", "1.5"})
    EXPECT_EQ(error_with("host_link: {rate: 10 GB/s}}",
                         std::string("host_link: {rate: 10 GB/s}, nvlink: {out: 1 GB/s, in: 1 "
                                     "GB/s, read_incast: ") +
                             share + "}}"),
              "s.yaml:6: 'read_incast': expected a share above 0, at most 1");
  EXPECT_EQ(error_with("routes:\n", "  fabric: {routing: random}\nroutes:\n"),
            "s.yaml:9: 'routing': expected one of ecmp, static, adaptive, found 'random'");
  EXPECT_EQ(error_with("serving:\n", "serving:\n  engine: {per_unit: 1 h}\n"),
            "s.yaml:14: 'per_unit': expected at most 1000 s");
  for (const char* time : {"0 s", "999 us", "3601 s"})
    EXPECT_EQ(error_with("serving:\n",
                         "serving:\n  failover: {probe_after: " + std::string(time) + "}\n"),
              "s.yaml:14: 'probe_after': expected a time from 1 ms to 3600 s");
  EXPECT_EQ(error_with("serving:\n", "serving:\n  failover: {retries: 101}\n"),
            "s.yaml:14: 'retries': expected a whole number from 0 to 100, found '101'");
  EXPECT_EQ(error_with("serving:\n", "serving:\n  failover: {retry: 1}\n"),
            "s.yaml:14: unknown key 'retry' in 'serving.failover'; known are probe_after, "
            "retries");
  EXPECT_EQ(error_with("20 GB/s}", "20 GB/s, memory_write_rate: 0 GB/s}"),
            "s.yaml:5: 'memory_write_rate': expected a rate above zero with its unit, such as "
            "'55.3 GB/s' or '400 Gb/s', found '0 GB/s'");
}

TEST(Scenario, NamesThatDoNotExist) {
  EXPECT_EQ(error_with("type: box", "type: bos"),
            "s.yaml:8: 'type': no node type is called 'bos'; did you mean 'box'?");
  EXPECT_EQ(error_with("llama-3.1-8b", "llama-3.1-9b"),
            "s.yaml:12: 'model': no model is called 'llama-3.1-9b'; did you mean 'llama-3.1-8b'?");
  EXPECT_EQ(error_with("[node0/gpu0]", "[node0/gpu7]"),
            "s.yaml:14: 'gpus': no GPU is called 'node0/gpu7'; they are called node0/gpu0 and so "
            "on");
  EXPECT_EQ(error_with("gpus: [node0/gpu0]", "nodes: [node1]"),
            "s.yaml:14: 'nodes': no node is called 'node1'; they are called node0 to node0");
  EXPECT_EQ(error_with("[pcie_p2p]", "[pcie_pp]"),
            "s.yaml:10: 'order': no kind of route is called 'pcie_pp'");
  EXPECT_EQ(error_with("gpu: h100", "gpu: h101"),
            "s.yaml:14: 'gpu': expected one of a100, b200, gb200, gh200, h100, h200, h800, or the "
            "roofline of another, such as {flops: 500 TFLOPS, memory_rate: 3 TB/s}, found 'h101'");
}

TEST(Scenario, TheRooflineOfAnyGpu) {
  const auto timing_with = [](const std::string& gpu) {
    const auto scenario = parse_scenario(with("gpu: h100", "gpu: " + gpu), "s.yaml");
    EXPECT_TRUE(scenario) << (scenario ? "" : scenario.error().message);
    return scenario ? scenario->serving.prefill.timing : nullptr;
  };
  // An H100 spelled out is an H100; half its operations take twice the time behind the 5 ms of the
  // start, and its memory rate counts in decode.
  const auto named = timing_with("h100");
  const auto spelled = timing_with("{flops: 989 TFLOPS, memory_rate: 3.35 TB/s}");
  const auto half = timing_with("{flops: 494.5 TFLOPS, memory_rate: 1.675 TB/s}");
  ASSERT_TRUE(named && spelled && half);
  EXPECT_EQ(spelled->prefill_ns(2048, 0), named->prefill_ns(2048, 0));
  EXPECT_EQ(spelled->step_ns(4, 1e9, 4096), named->step_ns(4, 1e9, 4096));
  EXPECT_NEAR(static_cast<double>(half->prefill_ns(2048, 0) - 5 * ms_ns),
              2 * static_cast<double>(named->prefill_ns(2048, 0) - 5 * ms_ns), 2);
  EXPECT_NEAR(static_cast<double>(half->step_ns(4, 1e9, 4096) - 3 * ms_ns),
              2 * static_cast<double>(named->step_ns(4, 1e9, 4096) - 3 * ms_ns), 2);

  EXPECT_EQ(error_with("gpu: h100", "gpu: {flops: 148 TFLOPS}"),
            "s.yaml:14: expected 'memory_rate' in 'serving.prefill.timing.gpu', which is missing");
  EXPECT_EQ(error_with("gpu: h100", "gpu: {flops: 148, memory_rate: 4 TB/s}"),
            "s.yaml:14: 'flops': expected operations per second with their unit, such as '989 "
            "TFLOPS', 1 GFLOPS to 1000 PFLOPS, found '148'");
  EXPECT_EQ(error_with("gpu: h100", "gpu: {flops: 0 TFLOPS, memory_rate: 4 TB/s}"),
            "s.yaml:14: 'flops': expected operations per second with their unit, such as '989 "
            "TFLOPS', 1 GFLOPS to 1000 PFLOPS, found '0 TFLOPS'");
  EXPECT_EQ(
      error_with("gpu: h100", "gpu: {flops: 1 PFLOPS, memory_rate: 4 TB/s, tflops: 1}"),
      "s.yaml:14: unknown key 'tflops' in 'serving.prefill.timing.gpu'; did you mean 'flops'?");
}

TEST(Scenario, Duplicates) {
  EXPECT_EQ(error_with("count: 2", "count: 2, count: 3"),
            "s.yaml:6: the key 'count' stands here twice");
  EXPECT_EQ(error_with("[node0/gpu0]", "[node0/gpu0, node0/gpu0]"),
            "s.yaml:14: 'serving.prefill' names node0/gpu0 twice");
  EXPECT_EQ(error_with("[pcie_p2p]", "[pcie_p2p, pcie_p2p]"),
            "s.yaml:10: 'order': 'pcie_p2p' stands there twice");
}

TEST(Scenario, ANameStaysInItsFolder) {
  for (const char* name : {"../up", ".hidden", "a/b"})
    EXPECT_EQ(error_with("name: small", std::string("name: ") + name),
              std::string("s.yaml:1: 'name': expected a name that can be part of a folder's name, "
                          "found '") +
                  name + "'");
  EXPECT_EQ(error_with("name: small", "name: \"a\\nb\""),
            "s.yaml:1: 'name': expected a word, found 'a\\x0ab'");
}

TEST(Scenario, NoRouteBetweenTheTwoSidesSaysWhatWasLookedAt) {
  const std::string error = error_with("[pcie_p2p]", "[rdma]");
  EXPECT_NE(error.find("no usable route from node0/gpu0 to node0/gpu1"), std::string::npos);
  EXPECT_NE(error.find("not in the scenario's route order"), std::string::npos);
}

TEST(Scenario, ClustersTooLargeToHoldAreRefusedAtOnce) {
  EXPECT_EQ(error_with("{type: box}", "{type: box, count: 4096}\n    - {type: box, count: 1}"),
            "s.yaml:9: expected at most 4096 nodes");
  // 4,096 nodes x (1 + 4 x 1,024 links of GPUs + 1 of the host)
  EXPECT_EQ(error_of(with("count: 2,", "count: 1024,")
                         .replace(with("count: 2,", "count: 1024,").find("{type: box}"), 11,
                                  "{type: box, count: 4096}")),
            "s.yaml:3: expected a cluster of at most 262144 links, found 16781312");
  // 2,048 prefill x 2,048 decode GPUs = 4,194,304 pairs
  std::string text = with("{type: box}", "{type: box, count: 2048}");
  const auto replace = [&](const std::string& from, const std::string& to) {
    text.replace(text.find(from), from.size(), to);
  };
  std::string nodes;
  for (int n = 0; n < 1024; ++n) nodes += (n ? ", node" : "node") + std::to_string(n);
  replace("gpus: [node0/gpu0]", "nodes: [" + nodes + "]");
  std::string others;
  for (int n = 1024; n < 2048; ++n) others += (n > 1024 ? ", node" : "node") + std::to_string(n);
  replace("gpus: [node0/gpu1]", "nodes: [" + others + "]");
  EXPECT_EQ(error_of(text),
            "s.yaml: expected at most 2097152 possible channels (pairs of ranks x NICs x NICs x "
            "queues), found 4194304");
}

TEST(Scenario, AnchorsMayBeUsed) {
  EXPECT_EQ(error_of(with("timing: {gpu: h100}}\n", "timing: &t {gpu: h100}}\n")
                         .replace(with("timing: {gpu: h100}}\n", "timing: &t {gpu: h100}}\n")
                                      .rfind("{gpu: h100}"),
                                  11, "*t")),
            "");
}

}  // namespace
}  // namespace kvhaul::test
