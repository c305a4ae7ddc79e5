// --json of every command that prints a result: one document on standard output, with the right
// values in it.
#include <set>
#include <sstream>

#include <nlohmann/json.hpp>

#include "tests/cli/program.h"

namespace kvhaul::test {
namespace {

using Json = nlohmann::json;

class JsonOutput : public ProgramTest {
 protected:
  Json json_of(const std::vector<std::string>& arguments, int code = 0) {
    const Ran ran = run(arguments);
    EXPECT_EQ(ran.code, code) << ran.err;
    if (code == 0) {
      EXPECT_EQ(ran.err, "");
    }
    Json json = Json::parse(ran.out, nullptr, false);
    EXPECT_FALSE(json.is_discarded()) << ran.out;
    EXPECT_EQ(json.value("schema", 0), 1) << ran.out;
    return json;
  }
};

TEST_F(JsonOutput, List) {
  const Json all = json_of({"list", "--json"});
  EXPECT_EQ(all.size(), 7u);  // six lists and the schema
  const Json models = json_of({"list", "models", "--json"});
  EXPECT_EQ(models.size(), 2u);
  EXPECT_EQ(models["models"], all["models"]);
  bool seen = false;
  for (const Json& model : models["models"]) {
    if (model["name"] != "llama-3.1-70b") continue;
    seen = true;
    // 80 layers x 2 x 8 heads x 128 x 2 bytes.
    EXPECT_EQ(model["kv_per_token_bytes"], 80 * 2 * 8 * 128 * 2);
    EXPECT_EQ(model["layers"], 80);
  }
  EXPECT_TRUE(seen);
  for (const Json& backend : all["backends"]) {
    EXPECT_EQ(backend["available"], backend["missing"].is_null());
    if (backend["name"] == "emulated") {
      EXPECT_EQ(backend["available"], true);
    }
  }
  for (const Json& link : all["links"]) {
    if (link["name"] != "NVLink 4 port (H100)") continue;
    EXPECT_EQ(link["half_bandwidth_bytes"], 1'200'000);
    EXPECT_EQ(link["theory_gbytes_per_s"], 450);
  }
}

TEST_F(JsonOutput, Route) {
  // pcie-pair: out at 55.1, in at 55.3 GB/s, over host memory of 230 GB/s; no peer-to-peer.
  const Json json = json_of(
      {"route", "node0/gpu0", "node0/gpu1", "-s", "pcie-pair", "--size", "551 MB", "--json"});
  EXPECT_EQ(json["scenario"], "pcie-pair");
  EXPECT_EQ(json["size_bytes"], 551'000'000);
  EXPECT_EQ(json["usable_routes"], 1);
  std::size_t seen = 0;
  for (const Json& route : json["routes"]) {
    if (!route["usable"].get<bool>()) {
      EXPECT_FALSE(route.contains("time_ms"));
      EXPECT_FALSE(route["reason"].get<std::string>().empty());
      continue;
    }
    ++seen;
    EXPECT_EQ(route["kind"], "pcie_staged");
    EXPECT_EQ(route["tier"], 0);
    EXPECT_EQ(route["rate_gbytes_per_s"], 55.1);
    EXPECT_EQ(route["narrowest"], "node0/gpu0/pcie/out");
    // Two stages of 10 ms at the narrowest link; 3.8 us + 2 us + 2 x 121 KB / 55.1 GB/s.
    EXPECT_NEAR(route["time_ms"].get<double>(), 20.0102, 1e-4);
    EXPECT_EQ(route["hops"][0]["link"], "node0/gpu0/pcie/out");
    EXPECT_EQ(route["hops"][0]["rate_gbytes_per_s"], 55.1);
  }
  EXPECT_EQ(seen, 1u);
  json_of({"route", "node0/gpu0", "node0/gpu1", "-s", "pcie-pair", "--json", "--svg", "road.svg"});
  EXPECT_TRUE(exists("road.svg"));
}

TEST_F(JsonOutput, Topo) {
  const std::string box = source("tests/machine/box.xml");
  const Json json = json_of({"topo", "--hwloc", box, "--json"});
  EXPECT_EQ(json["scenario"], run({"topo", "--hwloc", box}).out);
  EXPECT_GT(json["hosts"].size(), 0u);
  for (const Json& nic : json["nics"]) EXPECT_EQ(nic["nearness"].size(), json["gpus"].size());
  const Json to_file = json_of({"topo", "--hwloc", box, "--json", "-o", "box.yaml"});
  EXPECT_EQ(to_file["out"], "box.yaml");
  EXPECT_FALSE(to_file.contains("scenario"));
  EXPECT_EQ(text("box.yaml"), json["scenario"]);
}

TEST_F(JsonOutput, Trace) {
  write("t.csv", "arrived_at,num_prefill_tokens,num_decode_tokens\n0,100,10\n2,200,20\n4,600,30\n");
  const Json json = json_of({"trace", "describe", "t.csv", "--json"});
  EXPECT_EQ(json["trace"], "t.csv");
  EXPECT_EQ(json["counts"]["requests"], 3);
  EXPECT_EQ(json["input_tokens"]["mean"], 300);
  EXPECT_EQ(json["input_tokens"]["max"], 600);
  EXPECT_EQ(json["output_tokens"]["p50"], 20);
  // Three in four seconds: two gaps, equally long.
  EXPECT_EQ(json["arrivals"]["span_ms"], 4000);
  EXPECT_EQ(json["arrivals"]["requests_per_s"], 0.5);
  EXPECT_EQ(json["arrivals"]["gap_cv"], 0);
  EXPECT_TRUE(json["prefixes"].is_null());
  const Json written = json_of({"trace", "convert", "t.csv", "new.csv", "--json"});
  EXPECT_EQ(written["out"], "new.csv");
  EXPECT_EQ(written["counts"]["rows"], 3);
  // The trace itself on standard output: nothing else is there.
  const Ran piped = run({"trace", "convert", "t.csv", "/dev/stdout", "--json"});
  EXPECT_EQ(piped.out, text("new.csv"));
  EXPECT_EQ(Json::parse(piped.err)["counts"]["rows"], 3);
}

TEST_F(JsonOutput, VerifyAndReport) {
  ASSERT_EQ(run({"replay", source("traces/samples/chat-200.csv"), "-s", "pcie-pair", "-n", "3",
                 "-q", "-o", "run", "--record", "run.log"})
                .code,
            0);
  const Json verified = json_of({"verify", "run.log", "--json"});
  EXPECT_EQ(verified["log"], "run.log");
  EXPECT_EQ(verified["identical"], true);
  EXPECT_TRUE(verified["first_difference"].is_null());
  EXPECT_EQ(verified["logs"], 1);
  const std::string said = run({"verify", "run.log"}).out;
  EXPECT_NE(said.find(std::to_string(verified["decisions"].get<int>()) + " decisions"),
            std::string::npos);
  const Json report = json_of({"report", "run", "--json"});
  EXPECT_EQ(report["report"], "run/report.html");
}

/// What is wrong is on standard error as ever, and in JSON on standard output.
TEST_F(JsonOutput, Errors) {
  const std::string trace = source("traces/samples/chat-200.csv");
  write("bad.csv", "arrived_at,num_prefill_tokens,num_decode_tokens\n0,x,10\n");
  write("bad.yaml", "name: \xff\n");  // which no JSON can hold
  std::vector<std::vector<std::string>> all = {{"lst"},
                                               {"list", "nothing"},
                                               {"replay", "none.csv"},
                                               {"replay", "bad.csv"},
                                               {"replay", trace, "--backend", "none"},
                                               {"replay", trace, "--unknown"},
                                               {"replay", trace, "-s", "bad.yaml"},
                                               {"compare", "none", "none"},
                                               {"report", "none"},
                                               {"route", "node0/gpu0", "none"},
                                               {"calibrate", "-s", "none"},
                                               {"topo", "--hwloc", "none.xml"},
                                               {"verify", "none.log"},
                                               {"trace", "describe", "bad.csv"},
                                               {"trace", "convert", "bad.csv", "new.csv"},
                                               {"scenario", "show", "none"},
                                               {"scenario", "diff", "laptop", "bad.yaml"},
                                               {"sweep", trace, "--set", "a=1", "-o", "out"}};
  for (std::vector<std::string>& command : all) {
    const std::string error = refused(2, command);
    command.push_back("--json");
    const Ran ran = run(command);
    EXPECT_EQ(ran.code, 2);
    EXPECT_EQ(ran.err, error + "\n");
    const Json json = Json::parse(ran.out, nullptr, false);
    ASSERT_TRUE(json.is_object()) << error << ran.out;
    EXPECT_EQ(json.size(), 2u);
    EXPECT_EQ(json["schema"], 1);
    EXPECT_EQ("kvhaul: " + json["error"].get<std::string>(), error);
  }
}

/// What prints a result has the option; who has not is named here.
TEST_F(JsonOutput, EveryCommandHasIt) {
  const std::set<std::string> without = {"hold", "completion", "man"};
  std::istringstream lines(run({"--help"}).out);
  std::size_t seen = 0;
  for (std::string line; std::getline(lines, line);) {
    const bool entry = line.size() > 13 && line.starts_with("  ") && line[2] >= 'a' &&
                       line[2] <= 'z' && !line.starts_with("  kvhaul");
    if (!entry) continue;
    const std::string name = line.substr(2, line.find(' ', 2) - 2);
    ++seen;
    std::vector<std::vector<std::string>> commands = {{name, "--help"}};
    if (name == "trace")
      commands = {{name, "describe", "--help"}, {name, "convert", "--help"},
                  {name, "cut", "--help"},      {name, "scale", "--help"},
                  {name, "sort", "--help"},     {name, "merge", "--help"},
                  {name, "generate", "--help"}};
    if (name == "scenario")
      commands = {{name, "show", "--help"}, {name, "check", "--help"}, {name, "diff", "--help"}};
    for (const std::vector<std::string>& command : commands)
      EXPECT_EQ(run(command).out.find("--json") != std::string::npos, without.count(name) == 0)
          << name;
  }
  EXPECT_EQ(seen, 16u);
}

}  // namespace
}  // namespace kvhaul::test
