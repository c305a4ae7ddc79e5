// A node that dies beside a healthy one: its requests are prefilled again, and the run loses
// nothing.
#include <map>
#include <sstream>

#include <nlohmann/json.hpp>

#include "tests/cli/program.h"

namespace kvhaul::test {
namespace {

constexpr std::string_view three_nodes = R"(name: three-nodes
cluster:
  node_types:
    box:
      hosts: {count: 1, memory_rate: 200 GB/s, memory: 256 GiB}
      gpus: {count: 2, memory: 80 GB, host_link: {rate: 50 GB/s}}
      nics: {count: 2, pcie: {rate: 50 GB/s}, wire: {rate: 25 GB/s}}
  nodes:
    - {type: box, count: 3}
routes:
  order: [rdma, rdma_staged]
  rdma: {fixed_cost: 2 us, post_cost: 0.2 us}
  rdma_staged: {fixed_cost: 20 us, post_cost: 2 us}
model: llama-3.1-8b
)";

constexpr std::string_view timing = ", tp: 2, kv_memory: 40 GB, timing: {gpu: h100, mfu: 0.45}}\n";

class FailoverCommand : public ProgramTest {
 protected:
  Ran replay(const std::string& serving, const std::string& fault) {
    write("three.yaml",
          std::string(three_nodes) + "serving:\n  slo: {ttft: 500 ms, itl: 50 ms}\n" + serving);
    write("faults.yaml", "faults:\n  - " + fault + "\n");
    return run({"replay", source("traces/samples/chat-200.csv"), "-s", "three.yaml", "--faults",
                "faults.yaml", "-o", "run", "--force"});
  }
  static std::string two_decode(const std::string& more = "") {
    return more + "  prefill: {nodes: [node0]" + std::string(timing) +
           "  decode: {nodes: [node1, node2]" + std::string(timing);
  }
  static std::string two_prefill() {
    return "  prefill: {nodes: [node1, node2]" + std::string(timing) + "  decode: {nodes: [node0]" +
           std::string(timing);
  }
  nlohmann::json summary() const { return nlohmann::json::parse(text("run/summary.json")); }

  /// How many requests that came after so long ended at that instance.
  int given_to(const std::string& column, const std::string& instance, double after_s) const {
    std::istringstream file(text("run/requests.csv"));
    std::string line, cell;
    std::getline(file, line);
    std::vector<std::string> names;
    for (std::istringstream head(line); std::getline(head, cell, ',');) names.push_back(cell);
    int count = 0;
    while (std::getline(file, line)) {
      std::istringstream in(line);
      bool late = false, there = false;
      for (const std::string& name : names) {
        std::getline(in, cell, ',');
        late = late || (name == "arrival_s" && std::stod(cell) > after_s);
        there = there || (name == column && cell == instance);
      }
      count += late && there ? 1 : 0;
    }
    return count;
  }
};

/// The queue of one that was prefilled again is not the fault of those before it.
TEST_F(FailoverCommand, ExplainSaysThatAnAttemptWasLost) {
  ASSERT_EQ(replay(two_decode(), "{kind: down, where: node1, from: 10 s}").code, 0);
  const auto told =
      nlohmann::json::parse(run({"explain", "run", "--worst", "200", "--json"}).out)["requests"];
  std::uint64_t lost = 0;
  for (const auto& request : told)
    for (const auto& part : request["parts"])
      lost += part["why"].get<std::string>().starts_with("1 attempt before this one lost KV");
  EXPECT_GT(lost, 0u);
  EXPECT_EQ(lost, summary()["requests"]["retried"]);
}

/// Those that were lost later were in prefill all the same.
TEST_F(FailoverCommand, ExplainCountsLostRequestsInTheQueue) {
  replay(two_decode("  failover: {retries: 0}\n"), "{kind: down, where: node1, from: 0 s}");
  struct Row {
    bool lost = false;
    double arrival_s = 0, start_s = 0, end_s = 0;
  };
  std::map<std::uint64_t, Row> rows;
  std::istringstream file(text("run/requests.csv"));
  std::string line, cell;
  std::getline(file, line);
  std::vector<std::string> names;
  for (std::istringstream head(line); std::getline(head, cell, ',');) names.push_back(cell);
  while (std::getline(file, line)) {
    std::istringstream in(line);
    std::map<std::string, std::string> cells;
    for (const std::string& name : names) std::getline(in, cells[name], ',');
    Row row{cells["outcome"] != "completed", std::stod(cells["arrival_s"])};
    row.start_s = row.arrival_s + std::stod(cells["queue_ms"]) / 1e3;
    row.end_s = row.start_s + std::stod(cells["prefill_ms"]) / 1e3;
    rows[std::stoull(cells["request"])] = row;
  }
  std::uint64_t lost = 0;
  const auto told = nlohmann::json::parse(run({"explain", "run", "--worst", "200", "--json"}).out);
  for (const auto& request : told["requests"]) {
    const Row of = rows.at(request["request"].get<std::uint64_t>());
    std::uint64_t before = 0;
    for (const auto& [number, row] : rows)
      if (row.start_s < of.start_s - 1e-9 && row.end_s > of.arrival_s + 1e-9) {
        ++before;
        lost += row.lost ? 1 : 0;
      }
    const auto& queue = request["parts"][0];
    if (before == 0 || queue["part"] != "queue") continue;
    EXPECT_TRUE(queue["why"].get<std::string>().starts_with(std::to_string(before) + " request"))
        << before << ": " << queue;
  }
  EXPECT_GT(lost, 0u);
}

// What was on its way waits 100 ms, until the node has been gone for so long, and is prefilled once
// more: 162 ms for the longest prompt, twice. That is within 500 ms.
TEST_F(FailoverCommand, ADeadNodeBesideAHealthyOne) {
  for (const bool decode : {true, false})
    for (const std::string silent : {"false", "true"}) {
      const std::string which = (decode ? "decode" : "prefill") + std::string(", silent ") + silent;
      const Ran ran = replay(decode ? two_decode() : two_prefill(),
                             "{kind: down, where: node1, from: 10 s, silent: " + silent + "}");
      EXPECT_EQ(ran.code, 0) << which << ran.out << ran.err;
      EXPECT_NE(ran.out.find("200 completed"), std::string::npos) << which << ran.out;
      EXPECT_NE(ran.out.find("\nfailover    "), std::string::npos) << which << ran.out;
      EXPECT_EQ(summary()["requests"]["transfer_failed"], 0) << which;
      EXPECT_GT(summary()["requests"]["retried"], 0) << which;
      EXPECT_EQ(summary()["slo_attainment"], 1.0) << which;
      EXPECT_EQ(given_to(decode ? "decode_instance" : "prefill_instance", "0", 10), 0) << which;
      EXPECT_NE(text("run/report.html").find("prefilled again"), std::string::npos);
    }
}

TEST_F(FailoverCommand, ANodeThatComesBackIsUsedAgain) {
  const Ran ran = replay(two_decode(), "{kind: down, where: node1, from: 10 s, until: 15 s}");
  EXPECT_EQ(ran.code, 0) << ran.out << ran.err;
  EXPECT_GT(given_to("decode_instance", "0", 16), 30);
}

/// What is lost in the end misses the SLO, and is exit code 1.
TEST_F(FailoverCommand, WithoutRetriesTheRunSaysWhatItLost) {
  const Ran ran =
      replay(two_decode("  failover: {retries: 0}\n"), "{kind: down, where: node1, from: 10 s}");
  EXPECT_EQ(ran.code, 1);
  const nlohmann::json requests = summary()["requests"];
  const int lost = requests["transfer_failed"];
  EXPECT_GT(lost, 20);
  EXPECT_EQ(requests["completed"], 200 - lost);
  EXPECT_EQ(requests["retries"], 0);
  EXPECT_LE(summary()["slo_attainment"], (200.0 - lost) / 200 + 1e-6);
}

}  // namespace
}  // namespace kvhaul::test
