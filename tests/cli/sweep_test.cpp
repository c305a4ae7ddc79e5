// kvhaul sweep as a user meets it: the grid, its table, what is refused before anything runs.
#include <algorithm>
#include <chrono>
#include <regex>
#include <sstream>
#include <thread>

#include <nlohmann/json.hpp>

#include "tests/cli/program.h"

namespace kvhaul::test {
namespace {

namespace fs = std::filesystem;
using Row = std::vector<std::string>;

/// Rows of a CSV file without quotes in it.
std::vector<Row> rows_of(const std::string& text) {
  std::vector<Row> rows;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    Row row;
    std::istringstream fields(line + ",");
    for (std::string field; std::getline(fields, field, ',');) row.push_back(field);
    rows.push_back(std::move(row));
  }
  return rows;
}

class SweepCommand : public ProgramTest {
 protected:
  /// Ten requests at every point, only time.
  static std::vector<std::string> sweep(const std::vector<std::string>& more,
                                        const std::string& scenario = "pcie-pair") {
    std::vector<std::string> arguments = {"sweep", "-t", source("traces/samples/chat-200.csv"),
                                          "-n", "10"};
    if (!scenario.empty()) arguments.insert(arguments.end(), {"-s", scenario});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  std::string refused_set(const std::string& set) {
    const std::string error = refused(2, sweep({"-o", "out", "--set", set}));
    EXPECT_FALSE(exists("out"));
    return error;
  }
};

TEST_F(SweepCommand, EveryPointInOrderWithTheFiguresOfItsRun) {
  const Ran ran = run(sweep({"-o", "out", "--set", "serving.chunk_tokens=512,8192", "--set",
                             "@streaming=request,chunk_layer"}));
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.err, "");
  const std::vector<Row> rows = rows_of(text("out/sweep.csv"));
  ASSERT_EQ(rows.size(), 5u);
  const Row header = {"point", "serving.chunk_tokens", "@streaming", "outcome", "ttft_p50_ms"};
  EXPECT_TRUE(std::equal(header.begin(), header.end(), rows[0].begin()));
  const std::vector<Row> points = {{"0", "512", "request", "ok"},
                                   {"1", "512", "chunk_layer", "ok"},
                                   {"2", "8192", "request", "ok"},
                                   {"3", "8192", "chunk_layer", "ok"}};
  const std::vector<std::string> folders = {
      "000-chunk_tokens=512-streaming=request", "001-chunk_tokens=512-streaming=chunk_layer",
      "002-chunk_tokens=8192-streaming=request", "003-chunk_tokens=8192-streaming=chunk_layer"};
  for (std::size_t i = 0; i < points.size(); ++i) {
    const Row& row = rows[i + 1];
    EXPECT_TRUE(std::equal(points[i].begin(), points[i].end(), row.begin())) << i;
    ASSERT_EQ(row.size(), rows[0].size());
    const auto summary =
        nlohmann::json::parse(text("out/" + folders[i] + "/summary.json"), nullptr, false);
    ASSERT_TRUE(summary.is_object()) << folders[i];
    EXPECT_EQ(summary["run"]["streaming"], points[i][2]);
    EXPECT_EQ(std::stod(row[4]), summary["ttft_ms"]["p50"].get<double>());
    const auto column = std::find(rows[0].begin(), rows[0].end(), "busiest_link");
    EXPECT_EQ(row[static_cast<std::size_t>(column - rows[0].begin())], summary["links"][0]["link"]);
    EXPECT_NE(text("out/" + folders[i] + "/run.yaml").find("chunk_tokens: " + points[i][1]),
              std::string::npos);
  }
  // Smaller prefill chunks are more of them, so the first two runs are others than the last two.
  EXPECT_NE(text("out/" + folders[0] + "/transfers.csv"),
            text("out/" + folders[2] + "/transfers.csv"));
}

TEST_F(SweepCommand, AValueThatIsThereChangesNothing) {
  ASSERT_EQ(run({"replay", source("traces/samples/chat-200.csv"), "-n", "10", "-s", "pcie-pair",
                 "-q", "-o", "run"})
                .code,
            0);
  ASSERT_EQ(run(sweep({"-q", "-o", "out", "--set", "cluster.nodes.0.type=box"})).code, 0);
  for (const char* file : {"summary.json", "requests.csv", "transfers.csv", "links.csv"})
    EXPECT_EQ(text("out/000-type=box/" + std::string(file)), text("run/" + std::string(file)));
}

TEST_F(SweepCommand, HowManyRunAtATimeChangesNothing) {
  // Only one of the scenarios has this NIC: half of the points are bad input.
  write("f.yaml", "faults:\n  - {kind: down, where: node0/nic0}\n");
  for (const char* jobs : {"1", "3"}) {
    const Ran ran = run(
        sweep({"-o", "out", "-j", jobs, "--faults", "f.yaml", "--set", "@speedup=1,2,4", "--set",
               "scheduler.chunk=1 MiB,2 MiB", "--set", "@scenario=pcie-pair,dgx-h100-pair"},
              ""));
    EXPECT_EQ(ran.code, 1);
    EXPECT_EQ(ran.err, "kvhaul: 6 of 12 points did not end well; see out/sweep.csv\n");
    write(std::string("csv") + jobs, text("out/sweep.csv"));
    write(std::string("out") + jobs, ran.out);
    fs::remove_all(folder() / "out");
  }
  EXPECT_EQ(rows_of(text("csv1")).size(), 13u);
  EXPECT_EQ(text("csv1"), text("csv3"));
  EXPECT_EQ(text("out1"), text("out3"));
}

TEST_F(SweepCommand, WhatFailsHasItsRowAndTheOthersTheirs) {
  write("f.yaml", "faults:\n  - {kind: fail_registration, where: node0/gpu7}\n");
  const Ran ran = run(
      sweep({"-o", "out", "--set", "@scenario=pcie-pair,dgx-h100-pair", "--faults", "f.yaml"}, ""));
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.err, "kvhaul: 2 of 2 points did not end well; see out/sweep.csv\n");
  EXPECT_NE(ran.out.find("point 1:\n  node0/gpu7: registration failed (scripted fault)\n"),
            std::string::npos)
      << ran.out;
  const std::string table = text("out/sweep.csv");
  EXPECT_NE(table.find("\n0,pcie-pair,bad_input,,,"), std::string::npos) << table;
  EXPECT_NE(table.find("f.yaml:2: 'where'"), std::string::npos) << table;
  EXPECT_NE(table.find("\n1,dgx-h100-pair,missing,,,"), std::string::npos) << table;
  EXPECT_NE(table.find(",node0/gpu7: registration failed (scripted fault)\n"), std::string::npos);
}

TEST_F(SweepCommand, LostTransfersAreAnIncompletePointWithItsFigures) {
  write("f.yaml", "faults:\n  - {kind: down}\n");
  const Ran ran = run(sweep({"-o", "out", "--set", "@policy=least_finish", "--faults", "f.yaml"}));
  EXPECT_EQ(ran.code, 1);
  const std::string table = text("out/sweep.csv");
  EXPECT_NE(table.find("\n0,least_finish,incomplete,"), std::string::npos) << table;
  EXPECT_NE(
      table.find(",0,\"everywhere: down, all the time: no chunk was posted while it held\",10,"
                 "10 requests did not get all of their KV\n"),
      std::string::npos)
      << table;
}

TEST_F(SweepCommand, CommasInsideAValue) {
  ASSERT_EQ(
      run(sweep({"-q", "-o", "out", "--set", "routes.order=[pcie_p2p, pcie_staged],[pcie_staged]"}))
          .code,
      0);
  const std::string table = text("out/sweep.csv");
  EXPECT_NE(table.find("\n0,\"[pcie_p2p, pcie_staged]\",ok,"), std::string::npos) << table;
  EXPECT_NE(table.find("\n1,[pcie_staged],ok,"), std::string::npos) << table;
}

TEST_F(SweepCommand, ProfilesStayBesideTheScenario) {
  fs::create_directories(folder() / "mine/profiles");
  fs::copy(source("serving/profiles/splitwise.csv"), folder() / "mine/profiles/p.csv");
  write("mine/s.yaml",
        std::regex_replace(text_of(source("scenarios/pcie-pair.yaml")),
                           std::regex("timing: \\{[^}]*\\}"),
                           "timing: {profile: profiles/p.csv, format: splitwise, model: demo-7b, "
                           "gpu: demo-gpu, tp: 1}"));
  const Ran ran =
      run(sweep({"-o", "out", "--set", "serving.chunk_tokens=512,1024"}, "mine/s.yaml"));
  EXPECT_EQ(ran.code, 0) << ran.err;
}

TEST_F(SweepCommand, NoTableIsWiderThanATerminal) {
  const Ran ran =
      run(sweep({"-o", "out", "--set",
                 "cluster.node_types.box.gpus.host_link.out=50 GB/s,"
                 "20 GB/s",
                 "--set", "cluster.node_types.box.gpus.host_link.in=50 GB/s", "--set",
                 "@policy=least_finish,round_robin", "--set", "scheduler.chunk=1 MiB"}));
  EXPECT_EQ(ran.code, 0) << ran.err;
  std::istringstream lines(ran.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
}

/// What stands first on the terminal, in sweep.json and in the report.
TEST_F(SweepCommand, EqualPointsAreCalledEqualBeforeAllElse) {
  const Ran ran = run(sweep({"-o", "out", "--set", "scheduler.seed=1,2,3"}));
  EXPECT_EQ(ran.code, 0) << ran.err;
  const std::string sentence =
      "All 3 points are equal within 1% in TTFT, ITL, SLO, goodput and completed requests.";
  EXPECT_TRUE(std::regex_replace(ran.out, std::regex("\n"), " ").starts_with(sentence)) << ran.out;
  EXPECT_EQ(nlohmann::json::parse(text("out/sweep.json"))["sentence"], sentence);
  EXPECT_NE(text("out/report.html").find("<p id=\"sentence\">" + sentence + "</p>"),
            std::string::npos);
  EXPECT_EQ(ran.out.find("lowest"), std::string::npos) << ran.out;
}

TEST_F(SweepCommand, PointsThatAreEquallyGoodAreAllNamed) {
  const Ran ran = run({"sweep", "-t", source("traces/samples/chat-200.csv"), "-s", "dgx-h100-pair",
                       "-o", "out", "--set", "cluster.node_types.dgx_h100.nics.count=1,2,4,8",
                       "--set", "@policy=least_finish"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_NE(ran.out.find(", at count=2, 4 or 8 (3 points, equal within 1%);"), std::string::npos)
      << ran.out;
  // What they do not differ in has no column, be it a figure or a key.
  EXPECT_NE(ran.out.find("TTFT p50  TTFT p99  exposed p50  exposed p99"), std::string::npos)
      << ran.out;
  EXPECT_NE(ran.out.find("policy least_finish, SLO 100%, limit"), std::string::npos) << ran.out;
}

TEST_F(SweepCommand, TheTableHasWhatTheSloIsAboutAndNotWhatIsEqual) {
  const Ran ran = run({"sweep", "-t", source("traces/samples/chat-200.csv"), "-s", "dgx-h100-pair",
                       "-o", "out", "--set", "@speedup=1,8"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_TRUE(std::regex_search(ran.out, std::regex("\n#  speedup .* SLO  goodput"))) << ran.out;
  const std::size_t note = ran.out.find("at every point (within 1%): ");
  ASSERT_NE(note, std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("exposed p50", note), std::string::npos) << ran.out;
  EXPECT_EQ(ran.out.find("exposed p50"), ran.out.find("exposed p50", note)) << ran.out;
  std::istringstream lines(ran.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
}

TEST_F(SweepCommand, UnknownKeysNameTheNearest) {
  EXPECT_EQ(refused_set("routes.pcie_staged.quues=1,2"),
            "kvhaul: --set routes.pcie_staged.quues=1: unknown key 'quues' in "
            "'routes.pcie_staged'; did you mean 'queues'?");
  EXPECT_NE(refused_set("cluser.nodes.0.count=1").find("did you mean 'cluster'?"),
            std::string::npos);
  EXPECT_NE(refused_set("cluster.node_types.bax.gpus.count=1")
                .find("there was no 'bax' in 'cluster.node_types'; did you mean 'box'?"),
            std::string::npos);
  EXPECT_NE(refused_set("scheduler.chnk=1 MiB").find("did you mean 'chunk'?"), std::string::npos);
  EXPECT_NE(refused_set("@polcy=least_finish").find("did you mean '@policy'?"), std::string::npos);
  EXPECT_NE(refused_set("cluster.nodes.7.count=1").find("from 0 to 0, found '7'"),
            std::string::npos);
  EXPECT_NE(refused_set("model.layers=1").find("'model' is a value"), std::string::npos);
}

TEST_F(SweepCommand, EveryPointIsCheckedBeforeTheFirstRuns) {
  // The last value is the wrong one each time.
  EXPECT_EQ(refused_set("scheduler.chunk=1 MiB,2 MiB,4"),
            "kvhaul: --set scheduler.chunk=4: 'chunk': expected a size with its unit, such as '64 "
            "KiB' or '80 GB', found '4'");
  EXPECT_NE(refused_set("@policy=least_finish,round_robbin").find("did you mean 'round_robin'?"),
            std::string::npos);
  EXPECT_NE(refused_set("@backend=emulated,simgird").find("did you mean 'simgrid'?"),
            std::string::npos);
  EXPECT_NE(refused_set("@speedup=1,0").find("--speedup: expected a number"), std::string::npos);
  EXPECT_NE(refused_set("@streaming=layer,layers").find("did you mean 'layer'?"),
            std::string::npos);
  EXPECT_NE(refused_set("serving.prefill.timing.mfu=0.5,}").find("expected a value"),
            std::string::npos);
  EXPECT_NE(refused_set("no").find("expected KEY=VALUE,VALUE,..., found 'no'"), std::string::npos);
  EXPECT_NE(refused_set("@speedup=1,,2").find("found nothing"), std::string::npos);
  EXPECT_NE(refused(2, sweep({"-o", "out", "--set", "@scenario=pcie-pair,labtop"}, ""))
                .find("did you mean 'laptop'?"),
            std::string::npos);
  EXPECT_FALSE(exists("out"));
}

TEST_F(SweepCommand, Usage) {
  const std::string trace = source("traces/samples/chat-200.csv");
  EXPECT_EQ(refused(2, {"sweep", trace, "-o", "out"}),
            "kvhaul: kvhaul sweep: expected --set KEY=V1,V2,...; see 'kvhaul sweep --help'");
  EXPECT_EQ(refused(2, {"sweep", trace, "--set", "@speedup=1"}),
            "kvhaul: kvhaul sweep: expected --out; see 'kvhaul sweep --help'");
  EXPECT_EQ(refused(2, {"sweep", "-o", "out", "--set", "@speedup=1"}),
            "kvhaul: kvhaul sweep: expected --trace; see 'kvhaul sweep --help'");
  EXPECT_EQ(refused(2, sweep({"-o", "out", "--set", "@speedup=1", "--speedup", "2"})),
            "kvhaul: kvhaul sweep: --speedup is swept over by --set @speedup");
  EXPECT_EQ(refused(2, sweep({"-o", "out", "--set", "@speedup=1", "--set", "@speedup=2"})),
            "kvhaul: --set @speedup: expected each key once, found it twice");
  EXPECT_NE(refused(2, sweep({"-o", "out", "--set", "@speedup=1", "--jobs", "0"})).find("--jobs"),
            std::string::npos);
  EXPECT_EQ(
      refused(2, {"sweep", "none.csv", "-o", "out", "-s", "pcie-pair", "--set", "@speedup=1"}),
      "kvhaul: cannot open 'none.csv': No such file or directory");
  std::string many = "=1";
  for (int i = 2; i <= 101; ++i) many.append(",").append(std::to_string(i));
  EXPECT_EQ(refused(2, sweep({"-o", "out", "--set", "@speedup" + many, "--set",
                              "serving.chunk_tokens" + many})),
            "kvhaul: --set: expected a grid of at most 10000 points, found more");
  EXPECT_FALSE(exists("out"));
  fs::create_directory(folder() / "out");
  write("out/mine", "keep");
  EXPECT_EQ(refused(2, sweep({"-o", "out", "--set", "@speedup=1"})),
            "kvhaul: --out: out is not empty; --force writes over what is in it");
  write("file", "");
  EXPECT_EQ(refused(2, sweep({"-o", "file", "--set", "@speedup=1"})),
            "kvhaul: --out: file is not a directory");
}

/// Whether any process has this word on its command line.
bool named_by_a_process(const std::string& word) {
  for (const auto& entry : fs::directory_iterator("/proc"))
    if (text_of(entry.path() / "cmdline").find(word) != std::string::npos) return true;
  return false;
}

/// Replays in real time that would last for minutes.
TEST_F(SweepCommand, AnInterruptEndsTheReplaysToo) {
  write("slow.csv", "arrived_at,num_prefill_tokens,num_decode_tokens\n0,100,10\n300,100,10\n");
  const std::string out = (folder() / "out").string();
  const pid_t child = start({"sweep", "slow.csv", "-s", "laptop", "--set",
                             "scheduler.chunk=1 MiB,2 MiB", "-o", out, "-j", "2"});
  const std::string last = "out/001-chunk=2_MiB/transfers.csv";
  while (!exists(last) && waitpid(child, nullptr, WNOHANG) == 0)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  kill(child, SIGTERM);
  const Ran ran = finish(child);
  EXPECT_EQ(ran.code, 143);
  EXPECT_EQ(ran.err, "kvhaul: interrupted; " + out +
                         " has no sweep.csv; the same command with --resume goes on\n");
  EXPECT_FALSE(exists("out/sweep.csv"));
  for (int tries = 0; tries < 1000 && named_by_a_process(out); ++tries)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_FALSE(named_by_a_process(out));
  EXPECT_TRUE(exists("out/001-chunk=2_MiB/UNFINISHED"));
}

}  // namespace
}  // namespace kvhaul::test
