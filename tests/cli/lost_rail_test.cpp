// What a silent death costs the requests of a whole run, on the shipped pair of DGX H100.
#include <algorithm>
#include <map>
#include <sstream>

#include <nlohmann/json.hpp>

#include "tests/cli/program.h"

namespace kvhaul::test {
namespace {

struct Row {
  double arrival_s = 0;
  double exposed_ms = 0;
};

class LostRail : public ProgramTest {
 protected:
  /// All 200 requests of the sample, under a fault script.
  Ran replay(const std::string& faults) {
    std::vector<std::string> arguments = {
        "replay", source("traces/samples/chat-200.csv"), "-s", "dgx-h100-pair", "-o", "run",
        "--force"};
    if (!faults.empty()) {
      write("faults.yaml", faults);
      arguments.insert(arguments.end(), {"--faults", "faults.yaml"});
    }
    return run(arguments);
  }
  nlohmann::json summary() const { return nlohmann::json::parse(text("run/summary.json")); }
  std::vector<Row> rows() const {
    std::istringstream file(text("run/requests.csv"));
    std::string line, cell;
    std::map<std::string, std::size_t> column;
    std::getline(file, line);
    for (std::istringstream head(line); std::getline(head, cell, ',');)
      column.emplace(cell, column.size());
    std::vector<Row> rows;
    while (std::getline(file, line)) {
      std::vector<std::string> cells;
      for (std::istringstream in(line); std::getline(in, cell, ',');) cells.push_back(cell);
      rows.push_back({std::stod(cells[column.at("arrival_s")]),
                      std::stod(cells[column.at("exposed_transfer_ms")])});
    }
    return rows;
  }
};

/// The NIC dies at the sender or at the receiver, from the start or in the middle. Whoever comes
/// more than 100 ms after that notices nothing: twice the healthy run's p99 and a millisecond.
TEST_F(LostRail, NobodyWaitsForASilentNicTwice) {
  ASSERT_EQ(replay("").code, 0);
  EXPECT_EQ(summary()["channels"]["timeouts"], 0);
  EXPECT_EQ(summary()["channels"]["late"], 0);
  EXPECT_EQ(summary()["channels"]["probes"], 0);
  std::vector<double> healthy;
  for (const Row& row : rows()) healthy.push_back(row.exposed_ms);
  ASSERT_EQ(healthy.size(), 200u);
  std::sort(healthy.begin(), healthy.end());
  const double allowed_ms = 2 * healthy[197] + 1;  // the 198th of 200 is p99
  for (const std::string where : {"node0/nic3", "node1/nic3"})
    for (const double from_s : {0.0, 10.0}) {
      const std::string from = std::to_string(from_s) + " s";
      const Ran ran = replay("faults: [{kind: down, silent: true, where: " + where +
                             ", from: " + from + "}]\n");
      ASSERT_EQ(ran.code, 0) << ran.err;
      EXPECT_GT(summary()["channels"]["timeouts"], 0) << where << from;  // it has met traffic
      EXPECT_EQ(summary()["requests"]["completed"], 200);
      for (const Row& row : rows()) {
        if (row.arrival_s <= from_s + 0.1) continue;
        EXPECT_LE(row.exposed_ms, allowed_ms) << where << " from " << from << row.arrival_s;
      }
    }
}

/// Everything is lost, each chunk as it is posted: the run ends, in bounded time.
TEST_F(LostRail, ARunThatLosesEverythingEnds) {
  write("one.csv",
        "# kvhaul trace 1, block 0 tokens\narrival_s,input_tokens,output_tokens,prefix_blocks\n"
        "0.000000000,3000,2,\n");
  write("faults.yaml", "faults: [{kind: lose, probability: 1}]\n");
  for (const std::string streaming : {"chunk_layer", "request"}) {
    const Ran ran = run({"replay", "one.csv", "-s", "dgx-h100-pair", "--faults", "faults.yaml",
                         "--streaming", streaming, "-o", "run-" + streaming});
    EXPECT_EQ(ran.code, 1) << ran.out << ran.err;
    EXPECT_NE(ran.err.find("1 requests did not get all of their KV"), std::string::npos) << ran.err;
  }
}

}  // namespace
}  // namespace kvhaul::test
