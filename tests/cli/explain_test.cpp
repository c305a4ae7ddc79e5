// kvhaul explain: the cause that it names is the one that was put there.
#include <nlohmann/json.hpp>

#include "tests/cli/program.h"

namespace kvhaul::cli {
namespace {

using Json = nlohmann::json;

class ExplainCommand : public test::ProgramTest {
 protected:
  /// One NIC between two nodes, whole transfers, ten times as fast as the sample trace came.
  void make_run(const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {
        "replay", test::source("traces/samples/chat-200.csv"), "-s", "dgx-h100-pair", "-q", "-o",
        "run"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const test::Ran ran = run(arguments);
    ASSERT_EQ(ran.code, 0) << ran.err;
  }
  Json explained(const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"explain", "run", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const test::Ran ran = run(arguments);
    EXPECT_EQ(ran.code, 0) << ran.err;
    return Json::parse(ran.out);
  }
  static Json largest(const Json& request) {
    Json most;
    for (const Json& part : request["parts"])
      if (most.is_null() || part["ms"].get<double>() > most["ms"].get<double>()) most = part;
    return most;
  }
};

TEST_F(ExplainCommand, ASlowNicIsNamedWithItsFault) {
  write("slow.yaml",
        "faults:\n  - {kind: degrade, where: node0/nic0, factor: 0.1, from: 10 s, until: 15 s}\n");
  make_run({"--set", "routes.rails=1", "--streaming", "request", "--faults", "slow.yaml"});
  const Json json = explained({"--worst", "1", "--by", "handover"});
  ASSERT_EQ(json["requests"].size(), 1u);
  const Json& worst = json["requests"][0];
  EXPECT_EQ(worst["last_link"], "node0/nic0/tx");
  double handover = 0;
  std::string why;
  for (const Json& part : worst["parts"]) {
    if (!part["of_handover"].get<bool>()) continue;
    handover += part["ms"].get<double>();
    if (part["part"] == "wire") why = part["why"];
  }
  EXPECT_NEAR(handover, worst["handover_ms"].get<double>(), 1e-9);
  EXPECT_NE(why.find("node0/nic0/tx"), std::string::npos) << why;
  EXPECT_NE(why.find("fault: node0/nic0: 10% of its rate, 10 s to 15 s"), std::string::npos) << why;
  // As people read it, within a screen.
  const test::Ran text = run({"explain", "run", "--worst", "1", "--by", "handover"});
  EXPECT_NE(text.out.find("fault: node0/nic0"), std::string::npos) << text.out;
  for (std::size_t at = 0; at < text.out.size();) {
    const std::size_t end = text.out.find('\n', at);
    EXPECT_LE(end - at, 80u) << text.out.substr(at, end - at);
    at = end + 1;
  }
}

/// The narrowest link is the sender's; what is slow is the receiver's, every ten seconds. The other
/// two are on no way of these requests, and over.
TEST_F(ExplainCommand, AFaultIsNamedWhereverOnTheWayItIs) {
  write("slow.yaml",
        "faults:\n"
        "  - {kind: degrade, where: node1/nic0, factor: 0.1, from: 2 s, until: 4 s, every: 10 s}\n"
        "  - {kind: degrade, where: node1/nic1, factor: 0.9, from: 0 s, until: 100 s}\n"
        "  - {kind: delay, where: node1/nic0, by: 1 us, from: 0 s, until: 1 s}\n");
  make_run({"--set", "routes.rails=1", "--streaming", "request", "--faults", "slow.yaml"});
  const Json json = explained({"--worst", "1", "--by", "handover"});
  const std::string told = json.dump();
  EXPECT_EQ(json["requests"][0]["last_link"], "node0/nic0/tx");
  EXPECT_NE(told.find("fault: node1/nic0: 10% of its rate"), std::string::npos) << told;
  EXPECT_EQ(told.find("nic1"), std::string::npos) << told;
  EXPECT_EQ(told.find("late"), std::string::npos) << told;
}

TEST_F(ExplainCommand, AQueueIsTheQueueAndNoLinksFault) {
  write("slow.yaml",
        "faults:\n  - {kind: degrade, where: node0/nic0, factor: 0.1, from: 0 s, until: 60 s}\n");
  make_run({"--speedup", "6", "--faults", "slow.yaml"});
  const Json json = explained({"--worst", "10"});
  ASSERT_EQ(json["requests"].size(), 10u);
  double before = 1e300;
  for (const Json& request : json["requests"]) {
    EXPECT_LE(request["ttft_ms"].get<double>(), before);
    before = request["ttft_ms"];
    EXPECT_EQ(largest(request)["part"], "queue");
    EXPECT_NE(largest(request)["why"].get<std::string>().find("on prefill instance 0"),
              std::string::npos);
    double sum = 0;
    for (const Json& part : request["parts"]) sum += part["ms"].get<double>();
    EXPECT_NEAR(sum, before, 1e-6);
  }
}

TEST_F(ExplainCommand, OneRequestByItsNumber) {
  make_run({"-n", "20"});
  EXPECT_EQ(explained({"--request", "7"})["requests"][0]["request"], 7);
  EXPECT_EQ(refused(2, {"explain", "run", "--request", "20"}),
            "kvhaul: --request: expected one that was completed, found 20; requests.csv has their "
            "numbers");
  EXPECT_EQ(refused(2, {"explain", "run", "--by", "size"}),
            "kvhaul: --by: expected ttft, queue, prefill or handover, found 'size'");
  EXPECT_EQ(refused(2, {"explain", "nothing"}),
            "kvhaul: nothing: expected a run directory, found nothing of that name");
}

}  // namespace
}  // namespace kvhaul::cli
