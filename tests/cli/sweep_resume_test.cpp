// kvhaul sweep --resume: a sweep that was killed goes on where it was, and ends as if it had not
// been.
#include <chrono>
#include <map>
#include <thread>

#include <nlohmann/json.hpp>

#include "tests/cli/program.h"

namespace kvhaul::test {
namespace {

namespace fs = std::filesystem;
using Arguments = std::vector<std::string>;

class SweepResume : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    fs::copy(source("traces/samples/chat-200.csv"), folder() / "t.csv");
  }

  /// Four points, one after the other. A prefill chunk per token makes the third one of some
  /// thousand chunks in 32 layers: it takes a hundred times as long as the others.
  static Arguments sweep(const Arguments& more = {}) {
    Arguments arguments = {"sweep", "t.csv", "-s",    "pcie-pair",
                           "-n",    "6",     "-o",    "out",
                           "-j",    "1",     "--set", "serving.chunk_tokens=8192,512,1,256"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  const std::string first_ = "out/000-chunk_tokens=8192", second_ = "out/001-chunk_tokens=512",
                    slow_ = "out/002-chunk_tokens=1", last_ = "out/003-chunk_tokens=256";

  /// While the third point runs.
  void kill_in_the_middle(pid_t child) {
    while (!exists(slow_ + "/UNFINISHED") && waitpid(child, nullptr, WNOHANG) == 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    kill(child, SIGKILL);
    EXPECT_EQ(finish(child).code, 1000 + SIGKILL) << "it has ended before it was killed";
    EXPECT_TRUE(exists("out/UNFINISHED"));
    EXPECT_FALSE(exists("out/sweep.csv"));
    EXPECT_FALSE(exists(last_));
  }

  /// All files of the sweep but what holds times of day.
  std::map<std::string, std::string> files() const {
    std::map<std::string, std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(folder() / "out"))
      if (entry.is_regular_file() && entry.path().filename() != "run.yaml")
        found[fs::relative(entry.path(), folder()).string()] = text_of(entry.path());
    return found;
  }
  void expect_files(const std::map<std::string, std::string>& whole) const {
    const auto found = files();
    for (const auto& [name, content] : whole) {
      ASSERT_EQ(found.count(name), 1u) << name;
      EXPECT_TRUE(found.at(name) == content) << name;
    }
    EXPECT_EQ(found.size(), whole.size());
  }
};

TEST_F(SweepResume, DoesWhatIsMissingAndEndsAsOneThatWasNotInterrupted) {
  const Ran uninterrupted = run(sweep());
  ASSERT_EQ(uninterrupted.code, 0) << uninterrupted.err;
  const auto whole = files();
  ASSERT_EQ(whole.size(), 4u * 7 + 4 + 3);  // runs, their scenarios, the table in three forms
  fs::remove_all(folder() / "out");

  kill_in_the_middle(start(sweep()));
  const std::string first_run = text(first_ + "/run.yaml");
  // As a loss of power may leave it: the row is there, the run is not whole.
  fs::resize_file(folder() / second_ / "transfers.csv", 100);
  const std::string second_run = text(second_ + "/run.yaml");

  // Of another trace, of other values, of other options: nothing is touched.
  write("other.csv", text("t.csv") + "2000.5,5,5,\n");
  const auto left = files();
  Arguments other = sweep({"--resume"});
  other[1] = "other.csv";
  EXPECT_EQ(refused(2, other),
            "kvhaul: --resume: the sweep in out differs in its trace; expected the same, or "
            "--force without --resume to begin anew");
  other = sweep({"--resume"});
  other[other.size() - 2] = "serving.chunk_tokens=8192,512,1";
  EXPECT_NE(refused(2, other).find("differs in its grid;"), std::string::npos);
  other = sweep({"--resume"});
  other[3] = "dgx-h100-pair";
  EXPECT_NE(refused(2, other).find("differs in its scenario;"), std::string::npos);
  EXPECT_NE(
      refused(2, sweep({"--resume", "--policy", "round_robin"})).find("differs in its options;"),
      std::string::npos);
  write("f.yaml", "faults: []\n");
  EXPECT_NE(refused(2, sweep({"--resume", "--faults", "f.yaml"})).find("differs in its faults;"),
            std::string::npos);
  EXPECT_EQ(refused(2, sweep()),
            "kvhaul: --out: out is not empty; --force writes over what is in it");
  expect_files(left);

  const Ran resumed = run(sweep({"--resume"}));
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_EQ(resumed.out, uninterrupted.out);
  expect_files(whole);
  EXPECT_EQ(text(first_ + "/run.yaml"), first_run) << "it was whole and not run again";
  EXPECT_NE(text(second_ + "/run.yaml"), second_run) << "it was damaged and not run again";

  // Where nothing is left to do, that is what is done.
  const auto run_files = text(slow_ + "/run.yaml");
  const Ran again = run(sweep({"--resume"}));
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(again.out, uninterrupted.out);
  EXPECT_EQ(text(slow_ + "/run.yaml"), run_files);
  expect_files(whole);
  other = sweep({"--resume"});
  other[1] = "other.csv";
  EXPECT_NE(refused(2, other).find("differs in its trace;"), std::string::npos);
}

TEST_F(SweepResume, BeginsWhereNothingIsThereAndRefusesWhatIsNoSweep) {
  // The same command line for every start of a job that may be stopped.
  Arguments quick = {"sweep", "t.csv", "-s",    "pcie-pair",    "-n",      "3",
                     "-o",    "out",   "--set", "@speedup=1,2", "--resume"};
  EXPECT_EQ(run(quick).code, 0);
  EXPECT_TRUE(exists("out/sweep.csv"));
  fs::remove_all(folder() / "out");
  fs::create_directory(folder() / "out");
  write("out/UNFINISHED", "");  // killed before anything else was there
  EXPECT_EQ(run(quick).code, 0);
  fs::remove_all(folder() / "out");
  fs::create_directory(folder() / "out");
  write("out/mine", "keep");
  EXPECT_EQ(refused(2, quick),
            "kvhaul: --resume: out has no sweep in it that was interrupted; --force writes over "
            "what is in it");
  EXPECT_EQ(text("out/mine"), "keep");
}

TEST_F(SweepResume, StandardInputIsComparedAndKept) {
  const auto from = [&](const std::string& trace, const Arguments& more) {
    read_from(trace);
    Arguments arguments = sweep(more);
    arguments[1] = "-";
    return start(arguments);
  };
  kill_in_the_middle(from("t.csv", {}));
  write("other.csv", text("t.csv") + "2000.5,5,5,\n");
  const Ran other = finish(from("other.csv", {"--resume"}));
  EXPECT_EQ(other.code, 2);
  EXPECT_NE(other.err.find("differs in its trace;"), std::string::npos) << other.err;
  EXPECT_EQ(text("out/standard-input"), text("t.csv"));
  const std::string first_run = text(first_ + "/run.yaml");
  const Ran resumed = finish(from("t.csv", {"--resume"}));
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_EQ(text(first_ + "/run.yaml"), first_run);
  EXPECT_FALSE(exists("out/.sweep"));
  // That holds for one that is whole, too.
  const Ran again = finish(from("t.csv", {"--resume"}));
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(again.out, resumed.out);
  const Ran not_it = finish(from("other.csv", {"--resume"}));
  EXPECT_EQ(not_it.code, 2);
  EXPECT_NE(not_it.err.find("differs in its trace;"), std::string::npos) << not_it.err;
  EXPECT_FALSE(exists("out/.sweep"));
}

TEST_F(SweepResume, WhatFailedIsTriedAgainAndNothingElse) {
  Arguments command = {"sweep", "t.csv", "-s",    "pcie-pair",    "-n",     "3",
                       "-o",    "out",   "--set", "@speedup=1,2", "--force"};
  fs::create_directory(folder() / "out");
  write("out/001-speedup=2", "in the way");
  EXPECT_EQ(run(command).code, 1);
  EXPECT_NE(text("out/sweep.csv").find("\n1,2,bad_input,"), std::string::npos);
  const std::string first_run = text("out/000-speedup=1/run.yaml");
  fs::remove(folder() / "out/001-speedup=2");
  command.back() = "--resume";
  const Ran ran = run(command);
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(text("out/000-speedup=1/run.yaml"), first_run);
  EXPECT_NE(text("out/sweep.csv").find("\n1,2,ok,"), std::string::npos);
  EXPECT_FALSE(exists("out/.sweep"));
  EXPECT_FALSE(exists("out/UNFINISHED"));
}

TEST_F(SweepResume, JsonIsTheTableForPrograms) {
  const Ran ran = run({"sweep", "t.csv", "-s", "pcie-pair", "-n", "3", "-o", "out", "--set",
                       "@policy=least_finish,round_robin", "--json"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, text("out/sweep.json"));
  const auto json = nlohmann::json::parse(ran.out);
  EXPECT_EQ(json["schema"], 1);
  EXPECT_TRUE(json["of"]["trace"].is_string());
  EXPECT_EQ(json["keys"][0]["path"], "@policy");
  ASSERT_EQ(json["points"].size(), 2u);
  const auto& point = json["points"][1];
  EXPECT_EQ(point["values"]["@policy"], "round_robin");
  EXPECT_EQ(point["outcome"], "ok");
  EXPECT_TRUE(point["error"].is_null());
  const auto summary =
      nlohmann::json::parse(text("out/" + point["run"].get<std::string>() + "/summary.json"));
  EXPECT_EQ(point["figures"]["ttft_p50_ms"], summary["ttft_ms"]["p50"]);
  EXPECT_EQ(point["figures"]["busiest_link"], summary["links"][0]["link"]);
}

}  // namespace
}  // namespace kvhaul::test
