// kvhaul calibrate: the file it writes, what it prints and refuses; and editing a scenario's text.
#include <nlohmann/json.hpp>

#include "cli/scenario_text.h"
#include "scenarios/scenario.h"
#include "tests/cli/program.h"

namespace kvhaul::test {
namespace {

using cli::ScenarioText;

constexpr const char* one_gpu = R"(# One GPU, staged through host memory.
name: one-gpu
cluster:
  node_types:
    box:
      hosts: {memory_rate: 400 GB/s}  # both ways
      gpus:
        count: 1
        memory: 80 GB
        # measured both ways
        host_link: {out: 55 GB/s, in: 54 GB/s, both: 85 GB/s}
  nodes:
    - {type: box}
routes:
  order: [pcie_staged]
  pcie_staged: {fixed_cost: 3.8 us, post_cost: 2 us, half_bandwidth: 121 KB}
model: llama-3.1-8b
serving:
  prefill: {gpus: [node0/gpu0], kv_memory: 20 GB, timing: {gpu: h100}}
  decode: {gpus: [node0/gpu0], kv_memory: 20 GB, timing: {gpu: h100}}
)";

std::string with(std::string text, const std::string& old_text, const std::string& new_text) {
  const std::size_t at = text.find(old_text);
  EXPECT_NE(at, std::string::npos) << old_text;
  if (at != std::string::npos) text.replace(at, old_text.size(), new_text);
  return text;
}

/// Without the comment that calibrate puts above.
std::string below_header(const std::string& text) {
  const std::string last = "# What was there before:\n#\n";
  const std::size_t at = text.find(last);
  EXPECT_NE(at, std::string::npos) << text;
  return at == std::string::npos ? text : text.substr(at + last.size());
}

class Calibrate : public ProgramTest {};

TEST_F(Calibrate, EmulatedLinksShowTheScenariosOwnNumbers) {
  write("one.yaml", one_gpu);
  const Ran ran = run({"calibrate", "-s", "one.yaml", "-o", "out.yaml"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_TRUE(ran.out.starts_with("one-gpu: emulated, virtual time, payload none; 7 repeats\n"));
  EXPECT_NE(ran.out.find("host_link.both"), std::string::npos) << ran.out;
  EXPECT_EQ(below_header(text("out.yaml")), one_gpu);
  const std::string all = text("out.yaml");
  EXPECT_NE(all.find("\n#   kvhaul calibrate -s one.yaml -o out.yaml\n"), std::string::npos);
  EXPECT_NE(all.find("\n#   routes.pcie_staged.fixed_cost: 3.8 us (3.8 us to 3.8 us)\n"),
            std::string::npos)
      << all;
}

TEST_F(Calibrate, WhatTheScenarioSaysWronglyIsPutRight) {
  // The backend follows the scenario, so what is wrong here is what it leaves out.
  write("one.yaml",
        with(with(one_gpu, "{out: 55 GB/s, in: 54 GB/s, both: 85 GB/s}", "{rate: 55 GB/s}"),
             ", post_cost: 2 us, half_bandwidth: 121 KB", ""));
  ASSERT_EQ(run({"calibrate", "-s", "one.yaml", "-o", "out.yaml", "--quiet"}).out, "");
  const std::string out = below_header(text("out.yaml"));
  EXPECT_NE(out.find("host_link: {rate: 55 GB/s}"), std::string::npos) << out;
  EXPECT_NE(out.find("pcie_staged: {post_cost: 0 us, half_bandwidth: 0 B, fixed_cost: 3.8 us}"),
            std::string::npos)
      << out;
}

TEST_F(Calibrate, WhatRestsCostIsWrittenAsAWhole) {
  const std::string sleepy =
      with(one_gpu, "half_bandwidth: 121 KB",
           "half_bandwidth: 121 KB, after_idle: {300 us: 5 us, 60 ms: 180 us}");
  write("one.yaml", sleepy);
  ASSERT_EQ(run({"calibrate", "-s", "one.yaml", "-o", "out.yaml", "--quiet"}).err, "");
  const std::string out = below_header(text("out.yaml"));
  // At the times that are measured; the ones that stood there are gone.
  EXPECT_NE(out.find("after_idle: {1 ms: 5 us, 70 ms: 180 us}"), std::string::npos) << out;
  const auto scenario = parse_scenario(out, "out.yaml");
  ASSERT_TRUE(scenario) << scenario.error().message;
  const RouteCosts& costs =
      scenario->routes.costs[static_cast<std::size_t>(RouteKind::pcie_staged)];
  EXPECT_EQ(costs.after_idle,
            (std::vector<IdleCost>{{1 * ms_ns, 5 * us_ns}, {70 * ms_ns, 180 * us_ns}}));
  // A rest that does not show is none.
  write("one.yaml", with(one_gpu, "half_bandwidth: 121 KB",
                         "half_bandwidth: 121 KB, after_idle: {60 ms: 1 ns}"));
  ASSERT_EQ(run({"calibrate", "-s", "one.yaml", "-o", "out.yaml", "--quiet", "--force"}).err, "");
  EXPECT_NE(text("out.yaml").find("after_idle: {}"), std::string::npos);
  write("one.yaml", one_gpu);
  ASSERT_EQ(run({"calibrate", "-s", "one.yaml", "-o", "out.yaml", "--quiet", "--force"}).err, "");
  EXPECT_EQ(text("out.yaml").find("after_idle"), std::string::npos);
}

TEST_F(Calibrate, AllMethodsOfAShippedScenario) {
  const Ran ran = run({"calibrate", "-s", "pcie-pair", "--gather", "all", "-o", "out.yaml",
                       "--repeats", "1", "--json"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  const auto json = nlohmann::json::parse(ran.out);
  EXPECT_EQ(json["scenario"], "pcie-pair");
  EXPECT_EQ(json["time"], "virtual");
  bool seen = false;
  for (const auto& figure : json["figures"]) {
    if (figure["key"] != "routes.pcie_staged.pack.rate") continue;
    seen = true;
    EXPECT_NEAR(figure["median"].get<double>(), 1000e9, 1e9);
    EXPECT_EQ(figure["unit"], "bytes_per_s");
    EXPECT_EQ(figure["scenario"], "1000 GB/s");
  }
  EXPECT_TRUE(seen) << ran.out;
  const auto scenario = load_scenario((folder() / "out.yaml").string());
  ASSERT_TRUE(scenario) << scenario.error().message;
  const RouteCosts& costs =
      scenario->routes.costs[static_cast<std::size_t>(RouteKind::pcie_staged)];
  EXPECT_TRUE(costs.gather[static_cast<std::size_t>(Gather::batch)]);
  EXPECT_TRUE(costs.gather[static_cast<std::size_t>(Gather::through)]);
  EXPECT_EQ(costs.fixed_ns, 3800);
  EXPECT_EQ(run({"calibrate", "-s", "out.yaml"}).code, 0);
}

TEST_F(Calibrate, RefusesBeforeItWorks) {
  write("one.yaml", one_gpu);
  EXPECT_EQ(refused(2, {"calibrate"}),
            "kvhaul: kvhaul calibrate: expected --scenario FILE; see 'kvhaul calibrate --help'");
  EXPECT_EQ(refused(2, {"calibrate", "-s", "one.yaml", "-o", "one.yaml"}),
            "kvhaul: one.yaml is read by this command and not written over; give another name");
  EXPECT_EQ(refused(2, {"calibrate", "-s", "one.yaml", "-o", "no/where.yaml"}),
            "kvhaul: no/where.yaml: cannot be created: No such file or directory");
  EXPECT_EQ(refused(2, {"calibrate", "-s", "one.yaml", "--repeats", "0"}),
            "kvhaul: --repeats: expected a whole number from 1 to 1000, found '0'");
  EXPECT_EQ(refused(2, {"calibrate", "-s", "one.yaml", "--segment", "4 KiB"}),
            "kvhaul: --segment: expected 1 MiB to 64 GiB");
  EXPECT_NE(
      refused(2, {"calibrate", "-s", "one.yaml", "--gather", "al"}).find("did you mean 'all'"),
      std::string::npos);
  EXPECT_NE(refused(2, {"calibrate", "-s", "one.yaml", "--time", "reel"}).find("'real'?"),
            std::string::npos);
  write("small.yaml", with(one_gpu, "half_bandwidth: 121 KB", "max_chunk: 8 KiB"));
  EXPECT_NE(refused(2, {"calibrate", "-s", "small.yaml"}).find("too few chunk sizes"),
            std::string::npos);
  EXPECT_EQ(text("one.yaml"), one_gpu);
  refused(2, {"calibrate", "-s", "one.yaml", "-o", "one.yaml", "--force", "-q"});
  EXPECT_EQ(text("one.yaml"), one_gpu);
}

TEST_F(Calibrate, HandOffAloneLeavesNothingToMeasure) {
  write("one.yaml", with(one_gpu, "order: [pcie_staged]", "order: [handoff]"));
  EXPECT_EQ(refused(2, {"calibrate", "-s", "one.yaml"}),
            "kvhaul: one.yaml: no route in use moves bytes: there is nothing to measure");
}

TEST(EditScenarioText, ReplacesValuesAndNothingElse) {
  ScenarioText text(one_gpu);
  const std::string box = "cluster.node_types.box.";
  EXPECT_EQ(text.value(box + "gpus.host_link.in"), "54 GB/s");
  EXPECT_EQ(text.value(box + "gpus.host_link.latency"), std::nullopt);
  EXPECT_EQ(text.value(box + "gpus.host_link"), std::nullopt);
  EXPECT_EQ(text.value("name.of"), std::nullopt);
  ASSERT_TRUE(text.set(box + "gpus.host_link.in", "53.5 GB/s"));
  ASSERT_TRUE(text.set(box + "hosts.memory_rate", "\"300 GB/s\""));
  ASSERT_TRUE(text.set(box + "hosts.memory_rate", "310 GB/s"));  // over a quoted one
  EXPECT_EQ(text.text(), with(with(one_gpu, "54 GB/s", "53.5 GB/s"), "400 GB/s", "310 GB/s"));
}

TEST(EditScenarioText, PutsInWhatIsMissing) {
  ScenarioText text(one_gpu);
  ASSERT_TRUE(text.set("routes.pcie_staged.batch.post_cost", "3 us"));
  ASSERT_TRUE(text.set("routes.pcie_staged.batch.piece_post_cost", "10 ns"));
  ASSERT_TRUE(text.set("routes.rails", "1"));
  ASSERT_TRUE(text.set("scheduler.seed", "5"));
  EXPECT_NE(text.text().find("pcie_staged: {batch: {piece_post_cost: 10 ns, post_cost: 3 us}, "
                             "fixed_cost: 3.8 us"),
            std::string::npos)
      << text.text();
  EXPECT_NE(text.text().find("routes:\n  rails: 1\n  order: [pcie_staged]"), std::string::npos);
  EXPECT_NE(text.text().find("host memory.\nscheduler: {seed: 5}\nname: one-gpu"),
            std::string::npos);
  const auto scenario = parse_scenario(text.text(), "s.yaml");
  ASSERT_TRUE(scenario) << scenario.error().message;
  EXPECT_EQ(scenario->scheduler.seed, 5u);
  const auto refused = text.set("name.of", "1");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::bad_input);
}

TEST(EditScenarioText, PutsSeveralKeysInThePlaceOfOne) {
  ScenarioText flow("a: {rate: 10 GB/s, latency: 1 us}\n");
  ASSERT_TRUE(flow.replace("a.rate", {{"out", "9 GB/s"}, {"in", "8 GB/s"}}));
  EXPECT_EQ(flow.text(), "a: {out: 9 GB/s, in: 8 GB/s, latency: 1 us}\n");
  ScenarioText block("a:\n  rate: 10 GB/s  # each\n  latency: 1 us\n");
  ASSERT_TRUE(block.replace("a.rate", {{"out", "9 GB/s"}, {"in", "8 GB/s"}}));
  EXPECT_EQ(block.text(), "a:\n  out: 9 GB/s\n  in: 8 GB/s  # each\n  latency: 1 us\n");
}

}  // namespace
}  // namespace kvhaul::test
