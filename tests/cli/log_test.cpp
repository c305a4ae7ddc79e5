// kvhaul log, and what explain tells of single transfers from a log.
#include <set>
#include <sstream>

#include <nlohmann/json.hpp>

#include "tests/cli/program.h"

namespace kvhaul::cli {
namespace {

using Json = nlohmann::json;

class LogCommand : public test::ProgramTest {
 protected:
  void record(const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"replay",  test::source("traces/samples/chat-200.csv"),
                                          "-s",      "dgx-h100-pair",
                                          "-q",      "-o",
                                          "run",     "--record",
                                          "run.log", "--streaming",
                                          "request"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const test::Ran ran = run(arguments);
    ASSERT_EQ(ran.code, 0) << ran.err;
  }
  std::vector<Json> lines(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "log");
    arguments.push_back("--json");
    const test::Ran ran = run(arguments);
    EXPECT_EQ(ran.code, 0) << ran.err;
    std::vector<Json> all;
    std::istringstream in(ran.out);
    for (std::string line; std::getline(in, line);) all.push_back(Json::parse(line));
    return all;
  }
  Json json_of(const std::vector<std::string>& arguments) {
    const test::Ran ran = run(arguments);
    EXPECT_EQ(ran.code, 0) << ran.err;
    return Json::parse(ran.out);
  }
};

TEST_F(LogCommand, HasEveryEventAndWhatEveryTransferWaitedFor) {
  record({"-n", "20"});
  const Json verified = json_of({"verify", "run.log", "--json"});
  std::map<std::string, std::size_t> kinds;
  for (const Json& line : lines({"run.log"})) ++kinds[line["kind"]];
  const Json submit = lines({"run.log", "--only", "submit", "-n", "1"}).at(0);
  EXPECT_GE(submit["deadline_ns"], submit["t_ns"]);
  EXPECT_EQ(kinds["submit"], verified["transfers"]);
  EXPECT_EQ(kinds["end"], verified["transfers"]);
  EXPECT_EQ(kinds["post"], verified["chunks"]);
  EXPECT_EQ(kinds["complete"], verified["chunks"]);
  EXPECT_EQ(kinds["submit"] + kinds["complete"] + kinds["timer"] + kinds["credit"],
            verified["events"]);
  std::set<std::uint64_t> numbers;
  for (const Json& end : lines({"run.log", "--only", "end"})) {
    EXPECT_TRUE(numbers.insert(end["transfer"].get<std::uint64_t>()).second);
    std::int64_t sum = 0;
    for (const char* part : {"posting", "wire", "detection", "window", "credit", "order", "fault"})
      sum += end.value(std::string(part) + "_ns", std::int64_t{0});
    EXPECT_EQ(sum, end["duration_ns"]) << end;
  }
}

TEST_F(LogCommand, OneTransferByNameForPeople) {
  record({"-n", "5"});
  const test::Ran ran = run({"log", "run.log", "--run", "run", "--transfer", "2"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_NE(ran.out.find("submit    transfer 2: "), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("node0/gpu2 to node1/gpu2"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("(rdma node0/nic2 node1/nic2)"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("transfer 2 delivered after "), std::string::npos) << ran.out;
  EXPECT_EQ(ran.out.find("transfer 3"), std::string::npos) << ran.out;
  const test::Ran some = run({"log", "run.log", "--only", "submit", "-n", "3"});
  EXPECT_EQ(std::ranges::count(some.out, '\n'), 4);
  EXPECT_NE(some.out.find(" lines more\n"), std::string::npos) << some.out;
  const Json first = lines({"run.log", "--only", "submit", "-n", "1"}).at(0);
  const std::string later = std::to_string(first["t_ns"].get<std::uint64_t>() + 1) + " ns";
  EXPECT_GT(lines({"run.log", "--from", later, "-n", "1"}).at(0)["t_ns"], first["t_ns"]);
}

TEST_F(LogCommand, RefusesWhatItCannotMean) {
  record({"-n", "2"});
  EXPECT_EQ(run({"log"}).code, 2);
  EXPECT_NE(refused(2, {"log", "run.log", "--only", "submit,ends"}).find("found 'ends'"),
            std::string::npos);
  EXPECT_NE(refused(2, {"log", "run.log", "--from", "3"}).find("--from: "), std::string::npos);
  EXPECT_NE(refused(2, {"log", "run.log", "--from", "3 s", "--to", "2 s"}).find("--to: "),
            std::string::npos);
  std::string damaged = text("run.log");
  damaged[damaged.size() / 2] ^= 1;
  write("damaged.log", damaged);
  const test::Ran ran = run({"log", "damaged.log"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_EQ(ran.out, "") << "nothing of a damaged log is told";
}

TEST_F(LogCommand, ARequestChunkByChunk) {
  record({"-n", "30"});
  const Json all = json_of({"explain", "run", "--worst", "30", "--json"});
  for (const Json& of : all["requests"]) {
    const std::string number = std::to_string(of["request"].get<std::uint64_t>());
    const Json json = json_of({"explain", "run", "--request", number, "--chunks", "--json"});
    ASSERT_EQ(json["transfers"].size(), 8u) << "one from each of eight GPUs";
    std::uint64_t latest = 0;
    for (const Json& transfer : json["transfers"]) {
      std::uint64_t bytes = 0;
      for (const Json& chunk : transfer["chunks"]) {
        EXPECT_LE(transfer["submitted_ns"], chunk["posted_ns"]);
        EXPECT_LE(chunk["posted_ns"], chunk["started_ns"]);
        EXPECT_LE(chunk["landed_ns"], chunk["told_ns"]);
        EXPECT_EQ(chunk["held_back_by"].is_null(), chunk["posted_ns"] == transfer["submitted_ns"]);
        bytes += chunk["bytes"].get<std::uint64_t>();
        latest = std::max(latest, chunk["told_ns"].get<std::uint64_t>());
      }
      EXPECT_EQ(bytes, transfer["bytes"]);
      EXPECT_EQ(transfer["outcome"], "delivered");
    }
    // Whole requests are moved when prefill is done: all that is exposed.
    double exposed_ms = 0;
    for (const Json& part : of["parts"])
      for (const char* name : {"wire", "posting", "window", "order", "credit"})
        if (part["part"] == name) exposed_ms += part["ms"].get<double>();
    const auto submitted = json["transfers"][0]["submitted_ns"].get<std::uint64_t>();
    EXPECT_NEAR(static_cast<double>(latest - submitted) / 1e6, exposed_ms, 0.02) << number;
  }
  const test::Ran one = run({"explain", "run", "--transfer", "9"});
  EXPECT_EQ(one.code, 0) << one.err;
  EXPECT_NE(one.out.find("transfer 9, node0/gpu1 to node1/gpu1, submitted at "), std::string::npos)
      << one.out;
}

TEST_F(LogCommand, ARailThatIsBelievedDeadIsSaid) {
  write("dead.yaml",
        "faults:\n  - {kind: down, where: node0/nic0, silent: true, from: 0 s, until: 1000 s}\n");
  record({"-n", "30", "--set", "routes.rails=2", "--faults", "dead.yaml"});
  const Json json = json_of({"explain", "run", "--worst", "1", "--json"});
  const std::string number = std::to_string(json["requests"][0]["request"].get<std::uint64_t>());
  const test::Ran ran = run({"explain", "run", "--request", number, "--chunks"});
  EXPECT_NE(ran.out.find("1 of 2 channels not used: believed dead, or suspected"),
            std::string::npos)
      << ran.out;
}

/// Chunks that are late are taken back; of which transfer is said.
TEST_F(LogCommand, WhatIsTakenBackIsOfItsTransfer) {
  write("lost.yaml", "faults:\n  - {kind: lose, probability: 0.01}\n");
  record({"-n", "30", "--faults", "lost.yaml"});
  const auto all = lines({"run.log", "--only", "withdraw"});
  ASSERT_FALSE(all.empty());
  std::size_t of_transfers = 0;
  for (const Json& line : all) {
    if (!line.contains("transfer")) continue;  // a probe
    ++of_transfers;
    const std::string number = std::to_string(line["transfer"].get<std::uint64_t>());
    bool posted = false;
    for (const Json& post : lines({"run.log", "--only", "post", "--transfer", number}))
      posted = posted || post["chunk"] == line["chunk"];
    EXPECT_TRUE(posted) << line;
  }
  EXPECT_GT(of_transfers, 0u);
}

TEST_F(LogCommand, ExplainNeedsALog) {
  ASSERT_EQ(run({"replay", test::source("traces/samples/chat-200.csv"), "-s", "dgx-h100-pair", "-q",
                 "-n", "3", "-o", "bare"})
                .code,
            0);
  EXPECT_NE(refused(2, {"explain", "bare", "--transfer", "0"})
                .find("recorded no event log; replay it with --record FILE"),
            std::string::npos);
  record({"-n", "3"});
  EXPECT_NE(refused(2, {"explain", "run", "--chunks"}).find("--request N"), std::string::npos);
  EXPECT_NE(refused(2, {"explain", "run", "--transfer", "1000000"}).find("found 1000000"),
            std::string::npos);
  std::filesystem::rename(folder() / "run.log", folder() / "moved.log");
  EXPECT_NE(refused(2, {"explain", "run", "--transfer", "0"}).find("--log FILE"),
            std::string::npos);
  const test::Ran whole = run({"explain", "run", "--transfer", "0", "--log", "moved.log"});
  EXPECT_EQ(whole.code, 0);
  EXPECT_EQ(whole.err, "");
  EXPECT_NE(refused(2, {"explain", "run", "--transfer", "0", "--request", "1"}).find("one of"),
            std::string::npos);
  std::filesystem::rename(folder() / "run", folder() / "of-three");
  record({"-n", "4"});
  const test::Ran other = run({"explain", "of-three", "--transfer", "0", "--log", "run.log"});
  EXPECT_NE(other.err.find("one of the two is of another run"), std::string::npos) << other.err;
}

}  // namespace
}  // namespace kvhaul::cli
