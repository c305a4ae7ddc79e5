// What scenarios mean: every value with its default, written out exactly, and compared.
#include <random>

#include "core/unit_text.h"
#include "scenarios/read_values.h"
#include "scenarios/scenario_diff.h"
#include "tests/scenarios/scenario_testing.h"

namespace kvhaul::test {
namespace {

Scenario parsed(const std::string& text) {
  auto scenario = parse_scenario(text, "s.yaml");
  EXPECT_TRUE(scenario) << scenario.error().message;
  return scenario ? *scenario : Scenario();
}

/// "PATH: FIRST -> SECOND" of every difference; "-" where a key says nothing.
std::vector<std::string> differences(const std::string& first, const std::string& second) {
  std::vector<std::string> lines;
  const auto found = scenario_differences(parsed(first), parsed(second));
  if (!found) return {found.error().message};
  for (const ScenarioDifference& d : *found)
    lines.push_back(d.path + ": " + (d.first ? d.first->text : "-") + " -> " +
                    (d.second ? d.second->text : "-"));
  return lines;
}

using Lines = std::vector<std::string>;
const std::string small(small_scenario);

TEST(ExactTexts, HaveAsManyDigitsAsItTakes) {
  EXPECT_EQ(bytes_value(0).text, "0 B");
  EXPECT_EQ(bytes_value(1).text, "1 B");
  EXPECT_EQ(bytes_value(64 * KiB).text, "64 KiB");
  EXPECT_EQ(bytes_value(80'000'000'000).text, "80 GB");
  EXPECT_EQ(bytes_value(121'000).text, "121 KB");
  EXPECT_EQ(bytes_value(3 * GiB / 2).text, "1.5 GiB");
  EXPECT_EQ(rate_value(48.9e9).text, "48.9 GB/s");
  EXPECT_EQ(rate_value(1.8e12).text, "1800 GB/s");
  EXPECT_EQ(rate_value(1e6).text, "1 MB/s");
  EXPECT_EQ(rate_value(0).text, "none");
  EXPECT_EQ(duration_value(0).text, "0 ns");
  EXPECT_EQ(duration_value(2'200).text, "2.2 us");
  EXPECT_EQ(duration_value(536'870'912).text, "536.870912 ms");
  EXPECT_EQ(duration_value(3600 * s_ns).text, "3600 s");
  EXPECT_EQ(duration_value(never_ns).text, "none");
  EXPECT_EQ(flops_value(989e12).text, "989 TFLOPS");
  EXPECT_EQ(number_value(8.03e9).text, "8030000000");
  EXPECT_EQ(number_value(0.65).text, "0.65");
}

TEST(ExactTexts, ReadAgainAreTheSameValues) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 20'000; ++i) {
    const int shift = static_cast<int>(random() % 40);
    const Bytes bytes = (random() >> 12) >> shift;  // below 2^52
    EXPECT_EQ(*parse_bytes(bytes_value(bytes).text), bytes);
    EXPECT_EQ(*parse_duration(duration_value(bytes).text), bytes);
    const double rate = 1e6 + static_cast<double>(bytes % 1'000'000'000'000'000) * 0.9 / 7;
    EXPECT_EQ(*parse_rate(rate_value(rate).text), rate) << rate_value(rate).text;
  }
}

TEST(ResolvedScenarios, AreTheSameScenarios) {
  for (const BuiltinScenario& builtin : builtin_scenarios()) {
    const Scenario scenario = parsed(std::string(builtin.text));
    const auto values = scenario_values(scenario);
    ASSERT_TRUE(values) << values.error().message;
    const std::string text = yaml_text(*values);
    const auto again = parse_scenario(text, "again.yaml");
    ASSERT_TRUE(again) << builtin.name << ": " << again.error().message << "\n" << text;
    const auto found = scenario_differences(scenario, *again);
    ASSERT_TRUE(found);
    EXPECT_TRUE(found->empty()) << builtin.name << ": " << found->front().path;
    EXPECT_EQ(yaml_text(*scenario_values(*again)), text) << builtin.name;
    // And what a run makes of it: the links, the pairs, the numbers of the scheduler.
    ASSERT_EQ(again->cluster.links.size(), scenario.cluster.links.size());
    for (std::size_t i = 0; i < scenario.cluster.links.size(); ++i) {
      EXPECT_EQ(again->cluster.links[i].name, scenario.cluster.links[i].name);
      EXPECT_EQ(again->cluster.links[i].bytes_per_s, scenario.cluster.links[i].bytes_per_s);
      EXPECT_EQ(again->cluster.links[i].latency_ns, scenario.cluster.links[i].latency_ns);
    }
    EXPECT_EQ(place_pairs(again->serving), place_pairs(scenario.serving));
    EXPECT_EQ(again->scheduler.timeout_cold_ns, scenario.scheduler.timeout_cold_ns);
    EXPECT_EQ(again->serving.slo_ttft_ns, scenario.serving.slo_ttft_ns);
    EXPECT_EQ(again->routes.rails, scenario.routes.rails);
    EXPECT_EQ(again->routes.near_first, scenario.routes.near_first);
    EXPECT_EQ(again->serving.prefill.timing->prefill_ns(1000, 0),
              scenario.serving.prefill.timing->prefill_ns(1000, 0));
  }
}

TEST(ResolvedScenarios, HaveDefaultsAndSayWhatIsNotThere) {
  const std::string text = yaml_text(*scenario_values(parsed(small)));
  for (const char* line : {"      hosts:\n        memory_rate: 20 GB/s\n        memory: 0 B\n",
                           "        # memory_write_rate: none\n", "    - type: box\n",
                           "      count: 1\n", "  # rails: chosen\n", "  order: [pcie_p2p]\n",
                           "    max_chunk: 1 GiB\n", "  chunk_tokens: 8192\n",
                           "  direction: push\n", "      mbu: 0.65\n", "  policy: least_finish\n",
                           "  ageing: 50 ms\n", "  timeout_cold: 800 ms\n", "  time: virtual\n"})
    EXPECT_NE(text.find(line), std::string::npos) << line << "is missing in\n" << text;
}

TEST(ScenarioDifferences, NoneWhereOnlyTheTextDiffers) {
  EXPECT_EQ(differences(small, "# a comment\n" + small), Lines());
  for (const auto& [old_text, new_text] :
       {std::pair{"{rate: 10 GB/s}", "{rate: 80 Gb/s}"},
        {"{rate: 10 GB/s}", "{in: 10 GB/s, out: 10 GB/s}"},
        {"{rate: 10 GB/s}", "{rate: 10 GB/s, latency: 0 us, kind: pcie}"},
        {"memory: 1 GB,", "memory: 1000 MB,"},
        {"{count: 2, ", "{hosts: [0, 0], count: 2, "},
        {"name: small", "name: other"},
        {"{type: box}", "{type: box, count: 1}"},
        {"timing: {gpu: h100}", "timing: {gpus: 1, mfu: 0.5, gpu: h100}"},
        // The h100 of the tables: 989 TFLOPS, 3.35 TB/s.
        {"{gpu: h100}", "{gpu: {flops: 989 TFLOPS, memory_rate: 3350 GB/s}}"},
        {"order: [pcie_p2p]", "order: [pcie_p2p]\n  rdma: {noticed_after: 536870912 ns}"},
        {"model: llama-3.1-8b",
         "model: {name: llama-3.1-8b, layers: 32, query_heads: 32, kv_heads: 8, head_dim: 128,\n"
         "        active_parameters: 8.03e9, context_tokens: 131072}"},
        {"name: small", "name: small\nscheduler: {policy: least_finish, chunk_floor: 65536 B}"}})
    EXPECT_EQ(differences(small, with(old_text, new_text)), Lines()) << new_text;
  // A node by its name, and all of its GPUs; to itself a GPU hands over.
  const std::string all_gpus = with("order: [pcie_p2p]", "order: [handoff, pcie_p2p]");
  std::string by_gpus = all_gpus, by_node = all_gpus;
  const std::string one = "gpus: [node0/gpu0]";
  by_gpus.replace(by_gpus.find(one), one.size(), "gpus: [node0/gpu0, node0/gpu1]");
  by_node.replace(by_node.find(one), one.size(), "nodes: [node0]");
  EXPECT_EQ(differences(by_gpus, by_node), Lines());
  std::string renamed = with("    box:", "    case:\n      title: a case");
  renamed.replace(renamed.find("type: box"), 9, "type: case");
  EXPECT_EQ(differences(small, renamed), Lines());
}

TEST(ScenarioDifferences, EachWithBothValues) {
  const auto changed = [](std::string_view old_text, std::string_view new_text) {
    return differences(small, with(old_text, new_text));
  };
  EXPECT_EQ(changed("{rate: 10 GB/s}", "{rate: 20 GB/s}"),
            Lines({"cluster.node_types.box.gpus.host_link.rate: 10 GB/s -> 20 GB/s"}));
  // The other direction is the same, though one of them writes it as the rate of both.
  EXPECT_EQ(changed("{rate: 10 GB/s}", "{in: 10 GB/s, out: 20 GB/s}"),
            Lines({"cluster.node_types.box.gpus.host_link.out: 10 GB/s -> 20 GB/s"}));
  EXPECT_EQ(changed("fixed_cost: 5 us", "fixed_cost: 5 ms"),
            Lines({"routes.pcie_p2p.fixed_cost: 5 us -> 5 ms"}));
  EXPECT_EQ(changed("kv_memory: 500 MB, timing: {gpu: h100}}\n  decode",
                    "kv_memory: 400 MB, timing: {gpu: h200}}\n  decode"),
            Lines({"serving.prefill.kv_memory: 500 MB -> 400 MB",
                   "serving.prefill.timing.gpu: h100 -> h200"}));
  // A default and another value; a limit that one has; a block that one has.
  EXPECT_EQ(changed("order: [pcie_p2p]", "order: [pcie_p2p]\n  rails: 2"),
            Lines({"routes.rails: chosen -> 2"}));
  EXPECT_EQ(changed("serving:", "serving:\n  slo: {ttft: 1 s}"),
            Lines({"serving.slo.ttft: none -> 1 s"}));
  EXPECT_EQ(changed("{fixed_cost: 5 us}", "{fixed_cost: 5 us, after_idle: {20 ms: 60 us}}"),
            Lines({"routes.pcie_p2p.after_idle.20 ms: - -> 60 us"}));
  EXPECT_EQ(changed("{type: box}", "{type: box}\n    - {type: box, nvlink_domain: a}"),
            Lines({"cluster.nodes.1.type: - -> box", "cluster.nodes.1.count: - -> 1",
                   "cluster.nodes.1.nvlink_domain: - -> a"}));
}

TEST(ScenarioDifferences, NodeTypesOfOtherNamesAreComparedInTheirOrder) {
  std::string other = with("    box:", "    case:");
  other.replace(other.find("type: box"), 9, "type: case");
  other.replace(other.find("memory_rate: 20 GB/s"), 20, "memory_rate: 30 GB/s");
  EXPECT_EQ(differences(small, other),
            Lines({"cluster.node_types.box/case.hosts.memory_rate: 20 GB/s -> 30 GB/s"}));
  EXPECT_EQ(differences(other, small),
            Lines({"cluster.node_types.case/box.hosts.memory_rate: 30 GB/s -> 20 GB/s"}));
}

/// A scenario may have thousands of entries; that must not take minutes.
TEST(ScenarioDifferences, OfAScenarioWithAThousandEntries) {
  std::string text = small;
  const std::string entry = "    - {type: box}\n";
  const std::size_t at = text.find(entry);
  for (int i = 0; i < 1000; ++i) text.insert(at, entry);
  EXPECT_EQ(differences(text, small).size(), 3000u);  // type, count and domain of each
  EXPECT_TRUE(parse_scenario(yaml_text(*scenario_values(parsed(text))), "again.yaml"));
}

}  // namespace
}  // namespace kvhaul::test
