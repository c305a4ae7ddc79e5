// Where no link is shared, the emulated backend and SimGrid lead to the same decisions at the same
// times: the recorded logs are equal byte for byte, all events with their nanoseconds included.
#include <filesystem>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/replay_run.h"
#include "tests/support/own_folder.h"
#include "tests/traces/trace_testing.h"

namespace kvhaul::cli {
namespace {

namespace fs = std::filesystem;

struct Replayed {
  std::string log, requests, transfers;
  nlohmann::json summary;
};

/// The shipped scenario with one text put in the place of another.
std::string changed_scenario(const fs::path& folder, const std::string& name,
                             const std::string& from, const std::string& to) {
  std::string text =
      test::file_text((test::source_dir() / "scenarios" / (name + ".yaml")).string());
  if (!from.empty()) {
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << name << " has no " << from;
    text.replace(at, from.size(), to);
  }
  const fs::path file = folder / (name + ".yaml");
  std::ofstream(file) << text;
  return file.string();
}

Replayed replay(const std::string& scenario, const std::string& backend, Streaming streaming,
                const std::string& faults = "") {
  const fs::path out = fs::path(scenario).parent_path() / backend;
  fs::remove_all(out);
  ReplayRequest request;
  request.trace = test::sample("chat-200.csv");
  request.scenario = scenario;
  request.backend = backend;
  request.streaming = streaming;
  request.speedup = 10;
  request.real_time = false;
  request.payload = false;
  request.out = out.string();
  request.record = (out / "run.log").string();
  if (!faults.empty()) request.faults = faults;
  const auto result = run_replay(request);
  EXPECT_TRUE(result) << result.error().message;
  Replayed run{test::file_text((out / "run.log").string()),
               test::file_text((out / "requests.csv").string()),
               test::file_text((out / "transfers.csv").string()),
               nlohmann::json::parse(test::file_text((out / "summary.json").string()))};
  fs::remove_all(out);
  return run;
}

struct Uncontended {
  const char* scenario;
  const char* from;  // what makes channels share links in it
  const char* to;
};
void PrintTo(const Uncontended& c, std::ostream* out) { *out << c.scenario; }

class SameDecisions : public ::testing::TestWithParam<Uncontended> {
 protected:
  SameDecisions() {
    file_ = changed_scenario(folder_, GetParam().scenario, GetParam().from, GetParam().to);
  }
  test::OwnFolder own_;
  const fs::path folder_ = own_.path();
  std::string file_;
};

TEST_P(SameDecisions, ByteForByte) {
  for (const Streaming streaming : {Streaming::chunk_layer, Streaming::request}) {
    const Replayed emulated = replay(file_, "emulated", streaming);
    const Replayed simgrid = replay(file_, "simgrid", streaming);
    EXPECT_GT(emulated.summary["transfers"]["chunks"].get<int>(), 1000);
    EXPECT_TRUE(emulated.log == simgrid.log) << streaming_name(streaming);
    EXPECT_EQ(emulated.requests, simgrid.requests);
    EXPECT_EQ(emulated.transfers, simgrid.transfers);
  }
}

/// A rail, or all there is, gone for a second: the same chunks are sent again, and nothing is lost.
TEST_P(SameDecisions, UnderAFaultFile) {
  const std::string faults = (folder_ / "down.yaml").string();
  std::ofstream(faults)
      << "faults:\n  - {kind: down, where: node0/gpu0, from: 600 ms, until: 1.6 s}"
         "\n  - {kind: fail, probability: 0.01}\n";
  const Replayed emulated = replay(file_, "emulated", Streaming::chunk_layer, faults);
  const Replayed simgrid = replay(file_, "simgrid", Streaming::chunk_layer, faults);
  EXPECT_GT(emulated.summary["transfers"]["resent_chunks"].get<int>(), 10);
  EXPECT_EQ(emulated.summary["requests"]["transfer_failed"].get<int>(), 0);
  EXPECT_TRUE(emulated.log == simgrid.log);
  EXPECT_EQ(emulated.transfers, simgrid.transfers);
}

INSTANTIATE_TEST_SUITE_P(Scenarios, SameDecisions,
                         ::testing::Values(Uncontended{"pcie-pair", "", ""},
                                           Uncontended{"dgx-h100-pair",
                                                       "order: [rdma, rdma_staged]",
                                                       "order: [rdma]\n  rails: 1"},
                                           Uncontended{"hgx-h100", "queues: 2", "queues: 1"}));

}  // namespace
}  // namespace kvhaul::cli
