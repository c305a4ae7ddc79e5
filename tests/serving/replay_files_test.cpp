// The run that `kvhaul replay` makes: its files add up, are the same each time, and follow a
// profile that the scenario names.
#include <filesystem>
#include <fstream>
#include <map>

#include "cli/replay_run.h"
#include "serving/timing_profile.h"
#include "tests/serving/replay_testing.h"
#include "tests/support/own_folder.h"
#include "tests/traces/trace_testing.h"

namespace kvhaul::test {
namespace {

namespace fs = std::filesystem;

/// A folder of its own for each test, removed at the end.
class ReplayFiles : public ::testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) const {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return (folder_ / name).string();
  }
  cli::ReplayRequest request(const std::string& out) const {
    cli::ReplayRequest request;
    request.out = (folder_ / out).string();
    return request;
  }
  std::string read(const std::string& name) const { return file_text((folder_ / name).string()); }

  OwnFolder own_;
  const fs::path folder_ = own_.path();
};

std::vector<std::vector<std::string>> csv_rows(const std::string& text) {
  std::vector<std::vector<std::string>> rows;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    auto& row = rows.emplace_back();
    std::string field;
    for (std::istringstream fields(line + ","); std::getline(fields, field, ',');)
      row.push_back(field);
  }
  return rows;
}

/// "12.345678" as nanoseconds, exactly.
TimeNs ns(const std::string& ms) {
  const std::size_t point = ms.find('.');
  EXPECT_EQ(ms.size() - point, 7u) << ms;
  return std::stoll(ms.substr(0, point)) * ms_ns + std::stoll(ms.substr(point + 1));
}

/// A virtual run of the sample trace with everything in it that is random.
Setting busy() {
  Setting s;
  s.prefill =
      "{gpus: [node0/gpu0, node0/gpu1], tp: 2, kv_memory: 2 MiB, contiguity: {scattered: true}, %}";
  s.decode = "{gpus: [node0/gpu4, node0/gpu5, node0/gpu6, node0/gpu7], tp: 4, kv_memory: 2 MiB, %}";
  s.chunk_tokens = 512;
  return s;
}

TEST_F(ReplayFiles, TimeToFirstTokenIsTheSumOfItsParts) {
  cli::ReplayRequest r = request("run");
  r.scenario = write("scenario.yaml", scenario_text(busy()));
  r.trace = sample("chat-200.csv");
  const auto result = cli::run_replay(r);
  ASSERT_TRUE(result) << result.error().message;
  const auto rows = csv_rows(read("run/requests.csv"));
  ASSERT_EQ(rows.size(), 201u);
  std::map<std::string, std::size_t> column;
  for (std::size_t i = 0; i < rows[0].size(); ++i) column[rows[0][i]] = i;
  std::uint64_t completed = 0;
  for (std::size_t i = 1; i < rows.size(); ++i) {
    const auto field = [&](const char* name) { return rows[i].at(column.at(name)); };
    if (field("outcome") != "completed") continue;
    ++completed;
    const auto sum = [&](std::initializer_list<const char*> parts) {
      TimeNs all = 0;
      for (const char* part : parts) {
        EXPECT_GE(ns(field(part)), 0) << part << ", row " << i;
        all += ns(field(part));
      }
      return all;
    };
    EXPECT_GT(ns(field("prefill_ms")), 0);
    EXPECT_GT(ns(field("exposed_transfer_ms")), 0);
    EXPECT_EQ(sum({"queue_ms", "prefill_ms", "handover_ms"}), ns(field("ttft_ms"))) << "row " << i;
    EXPECT_EQ(sum({"memory_ms", "exposed_transfer_ms", "step_ms", "seat_ms"}),
              ns(field("handover_ms")))
        << "row " << i;
    EXPECT_EQ(
        sum({"post_ms", "wire_ms", "detect_ms", "window_ms", "credit_ms", "order_ms", "fault_ms"}),
        ns(field("exposed_transfer_ms")))
        << "row " << i;
    EXPECT_LE(ns(field("prefill_memory_ms")), ns(field("queue_ms")));
    EXPECT_LE(ns(field("ttft_ms")), ns(field("e2e_ms")));
  }
  EXPECT_EQ(completed, result->summary.requests.completed);
  EXPECT_GT(completed, 150u);

  // The rows of transfers carry what the requests got, and the summary agrees with both.
  Bytes in_requests = 0, in_transfers = 0;
  for (std::size_t i = 1; i < rows.size(); ++i)
    in_requests += std::stoull(rows[i].at(column.at("bytes")));
  const auto transfers = csv_rows(read("run/transfers.csv"));
  for (std::size_t i = 1; i < transfers.size(); ++i)
    in_transfers += std::stoull(transfers[i].at(5));
  EXPECT_EQ(transfers[0].at(5), "bytes");
  EXPECT_EQ(in_requests, in_transfers);
  EXPECT_EQ(in_requests, result->summary.delivered_bytes);
  EXPECT_EQ(in_requests, result->summary.landed_bytes);
}

TEST_F(ReplayFiles, SameSeedSameBytes) {
  const std::string scenario = write("scenario.yaml", scenario_text(busy()));
  const std::string faults = write("faults.yaml",
                                   "faults:\n  - {kind: fail, probability: 0.05}\n"
                                   "  - {kind: corrupt, probability: 0.02}\n");
  for (const char* out : {"one", "two"}) {
    cli::ReplayRequest r = request(out);
    r.scenario = scenario;
    r.trace = sample("chat-200.csv");
    r.limit = 60;
    r.payload = true;
    r.faults = faults;
    r.record = (folder_ / (std::string(out) + ".log")).string();
    const auto result = cli::run_replay(r);
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_GT(result->summary.requests.damaged_transfers, 0u);
  }
  EXPECT_FALSE(read("one.log").empty());
  EXPECT_TRUE(read("one.log") == read("two.log"));
  std::size_t compared = 0;
  for (const auto& entry : fs::directory_iterator(folder_ / "one")) {
    const std::string name = entry.path().filename().string();
    ASSERT_TRUE(fs::exists(folder_ / "two" / name));
    if (name == "run.yaml") continue;
    EXPECT_TRUE(read("one/" + name) == read("two/" + name)) << name << " differs";
    ++compared;
  }
  EXPECT_EQ(compared, 7u);  // requests, transfers, links, instances, timeline, summary, report
}

// Nothing completes, but bytes land and are found wrong: that is reported, and is no error of the
// accounting.
TEST_F(ReplayFiles, EveryRequestFails) {
  cli::ReplayRequest r = request("run");
  r.scenario = write("scenario.yaml", scenario_text(Setting()));
  r.trace = write("trace.csv", trace_text("0,150,2,\n0.1,150,2,\n"));
  r.payload = true;
  r.faults = write("faults.yaml", "faults:\n  - {kind: corrupt}\n");
  const auto result = cli::run_replay(r);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_FALSE(result->complete);
  EXPECT_EQ(result->summary.requests.transfer_failed, 2u);
  EXPECT_GT(result->summary.duration_ns, 100 * ms_ns);
  for (const LinkUse& use : result->summary.links) EXPECT_LE(use.peak_utilisation, 1.001);
}

// The path is relative to the scenario file, whatever the current directory. 512 tokens take 22 ms
// and 1,024 take 40 ms by that profile; a step of one sequence 10.5 ms.
TEST_F(ReplayFiles, ProfileBesideTheScenario) {
  write("profiles/p.csv", file_text((source_dir() / "serving/profiles/splitwise.csv").string()));
  Setting s;
  const std::string timing =
      "timing: {profile: profiles/p.csv, format: splitwise, model: demo-7b, gpu: demo-gpu, tp: 1}";
  std::string text = scenario_text(s);
  for (std::size_t at; (at = text.find("timing: {gpu")) != std::string::npos;)
    text.replace(at, text.find('}', at) - at + 1, timing);
  auto scenario = load_scenario(write("scenario.yaml", text));
  ASSERT_TRUE(scenario) << scenario.error().message;
  scenario->serving.chunk_tokens = 4096;
  const auto run = replay(std::move(*scenario), trace_text("0,512,2,\n1,1024,2,\n"));
  ASSERT_EQ(run->error, "");
  const auto prefill = [&](std::size_t i) {
    return run->requests.at(i).prefill_end_ns - run->requests.at(i).prefill_start_ns;
  };
  EXPECT_EQ(prefill(0), 22 * ms_ns);
  EXPECT_EQ(prefill(1), 40 * ms_ns);
  EXPECT_EQ(run->requests[0].finished_ns - run->requests[0].landed_ns, 10'500'000);
}

TEST_F(ReplayFiles, PolynomialBesideTheScenario) {
  write("p.json", file_text((source_dir() / "serving/profiles/distserve.json").string()));
  std::string text = scenario_text(Setting());
  for (std::size_t at; (at = text.find("timing: {gpu")) != std::string::npos;)
    text.replace(at, text.find('}', at) - at + 1,
                 "timing: {profile: p.json, format: distserve, model: demo/7b, tp: 1}");
  auto scenario = load_scenario(write("scenario.yaml", text));
  ASSERT_TRUE(scenario) << scenario.error().message;
  scenario->serving.chunk_tokens = 4096;
  const auto run = replay(std::move(*scenario), trace_text("0,1000,2,\n"));
  ASSERT_EQ(run->error, "");
  // 10 + 0.05 x 1,000 + 1e-5 x 1,000^2 = 70 ms; a step at 1,000 tokens 8 + 0.5 + 0.02 ms.
  EXPECT_EQ(run->requests[0].prefill_end_ns - run->requests[0].prefill_start_ns, 70 * ms_ns);
  EXPECT_EQ(run->requests[0].finished_ns - run->requests[0].landed_ns, 8'520'000);
}

TEST_F(ReplayFiles, ProfilesThatDoNotFit) {
  write("p.csv", file_text((source_dir() / "serving/profiles/splitwise.csv").string()));
  write("p.json", "{\n\"m\": 5}");
  const auto error = [&](const std::string& timing) {
    std::string text = scenario_text(Setting());
    const std::size_t at = text.find("timing: {gpu");
    text.replace(at, text.find('}', at) - at + 1, "timing: {" + timing + "}");
    const auto scenario = load_scenario(write("s.yaml", text));
    if (scenario) return std::string("none");
    EXPECT_EQ(scenario.error().kind, ErrorKind::bad_input);
    EXPECT_EQ(scenario.error().message.find('\n'), std::string::npos);
    std::string message = scenario.error().message;  // without the folder, which is a long one
    for (std::size_t p; (p = message.find(folder_.string() + "/")) != std::string::npos;)
      message.erase(p, folder_.string().size() + 1);
    return message;
  };
  EXPECT_EQ(error("profile: p.csv, format: splitwise, model: demo-7b, gpu: h100, tp: 1"),
            "s.yaml:17: p.csv: expected a hardware for 'demo-7b' that it has "
            "('demo-gpu', 'other-gpu'), found 'h100'");
  EXPECT_EQ(error("profile: p.json, format: distserve, model: m, tp: 1"),
            "s.yaml:17: p.json:2: expected an object of tensor parallelisms, found a number");
  EXPECT_EQ(error("profile: q.csv, format: splitwise, model: demo-7b, gpu: demo-gpu, tp: 1"),
            "s.yaml:17: cannot open 'q.csv': No such file or directory");
  EXPECT_NE(error("profile: p.csv, format: splitwise, model: demo-7b, tp: 1").find("'gpu'"),
            std::string::npos);
  EXPECT_NE(error("profile: p.csv, format: csv, model: demo-7b, gpu: g, tp: 1").find("'format'"),
            std::string::npos);
}

}  // namespace
}  // namespace kvhaul::test
