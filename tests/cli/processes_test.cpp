// Runs of several processes, as far as they come without an RDMA device: they meet, compare what
// they were asked for, and all say the same of what is wrong. The runs themselves: tests/softroce.
#include <algorithm>

#include "tests/cli/program.h"

namespace kvhaul::test {
namespace {

constexpr auto owner_only =
    std::filesystem::perms::owner_read | std::filesystem::perms::owner_write;

class Processes : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
#ifndef KVHAUL_HAS_TLS
    const auto ran = both("-s dgx-h100-pair --rendezvous meet", "", "");
    for (const Ran& one : ran) expect(one, 3, "this build has no TLS");
    GTEST_SKIP() << "built without OpenSSL";
#endif
  }
  /// Two processes at once, with the options of both and of each.
  std::vector<Ran> both(const std::string& common, const std::string& first,
                        const std::string& second) {
    std::string script;
    const auto add = [&](int rank, const std::string& own) {
      const std::string k = std::to_string(rank);
      script += "(\"" KVHAUL_PROGRAM "\" replay \"" + source("traces/samples/chat-200.csv") +
                "\" -b verbs --rank " + k + " --ranks 2 " + common + " " + own + " > " + k +
                ".out 2> " + k + ".err; echo $? > " + k + ".code) & ";
    };
    add(0, first);
    add(1, second);
    finish(start("/bin/sh", {"-c", script + "wait"}));
    std::vector<Ran> ran(2);
    for (std::size_t k = 0; k < 2; ++k) {
      const std::string name = std::to_string(k);
      EXPECT_TRUE(exists(name + ".code"));
      ran[k].code = std::atoi(text(name + ".code").c_str());
      ran[k].out = text(name + ".out");
      ran[k].err = text(name + ".err");
      EXPECT_EQ(ran[k].out, "");
      EXPECT_EQ(std::count(ran[k].err.begin(), ran[k].err.end(), '\n'), 1) << ran[k].err;
    }
    return ran;
  }
  static void expect(const Ran& ran, int code, const std::string& says) {
    EXPECT_EQ(ran.code, code) << ran.err;
    EXPECT_NE(ran.err.find(says), std::string::npos) << ran.err;
  }
};

TEST_F(Processes, WhatDiffersIsSaidByBoth) {
  const std::string meet = "-s dgx-h100-pair --rendezvous meet ";
  std::string scenario = text_of(source("scenarios/dgx-h100-pair.yaml"));
  write("other.yaml", scenario + "# and a word more\n");
  write("other.csv", text_of(source("traces/samples/chat-200.csv")) + "2000.5,5,5,\n");
  for (const auto& [options, name] : {std::pair{"--seed 2", "--seed"},
                                      {"--direction pull", "--direction"},
                                      {"--streaming layer", "--streaming"},
                                      {"--record log", "--record"},
                                      {"-n 3", "--limit"},
                                      {"--set scheduler.seed=2", "scenario"}}) {
    const auto ran = both(meet, "", options);
    for (const Ran& one : ran)
      expect(one, 2, std::string("process 1 has another ") + name + " than process 0");
  }
  for (const Ran& one :
       both("--rendezvous meet", "-s dgx-h100-pair", "-s " + (folder() / "other.yaml").string()))
    expect(one, 2, "process 1 has another scenario than process 0");
  // The same scenario, whose profile is another.
  const std::size_t timing = scenario.find("timing: {");
  scenario.replace(timing, scenario.find('}', timing) + 1 - timing,
                   "timing: {profile: p.csv, format: splitwise, model: demo-7b, gpu: demo-gpu, "
                   "tp: 1}");
  const std::string profile = text_of(source("serving/profiles/splitwise.csv"));
  for (const std::string where : {"a", "b"}) {
    std::filesystem::create_directory(folder() / where);
    write(where + "/s.yaml", scenario);
    write(where + "/p.csv", profile + (where == "b" ? profile.substr(profile.find('\n') + 1) : ""));
  }
  for (const Ran& one : both("--rendezvous meet", "-s a/s.yaml", "-s b/s.yaml"))
    expect(one, 2, "process 1 has another timing profile than process 0");
  EXPECT_FALSE(exists("meet"));
  EXPECT_FALSE(exists("runs"));
}

TEST_F(Processes, AnErrorOfOneIsTheErrorOfBoth) {
  const auto ran = both("--rendezvous meet", "-s dgx-h100-pair", "-s nosuch");
  expect(ran[0], 2, "process 1: no file and no shipped scenario is called 'nosuch'");
  expect(ran[1], 2, "kvhaul: no file and no shipped scenario is called 'nosuch'");
}

TEST_F(Processes, TheSecretDecidesWhoMayCome) {
  const std::string secret = "0123456789abcdef0123456789abcdef";
  const std::string wrong = "fedcba9876543210fedcba9876543210";
  for (const auto& [name, text] : {std::pair{"secret", secret}, {"wrong", wrong}}) {
    write(name, text + "\n");
    std::filesystem::permissions(folder() / name, owner_only);
  }
  // A port that is free now; that it still is when it is used cannot be promised.
  const std::string meet = "-s dgx-h100-pair --join-within 3 --rendezvous 127.0.0.1:" +
                           std::to_string(20'000 + getpid() % 10'000) + " ";
  const auto ran = both(meet, "--secret secret", "--secret wrong");
  expect(ran[0], 2,
         "process 1 did not come within 3 s; somebody who does not know the secret of the run was "
         "refused");
  expect(ran[1], 2, "does not know the secret of this run");
  for (const Ran& one : ran)
    for (const std::string& text : {secret, wrong})
      EXPECT_EQ(one.err.find(text), std::string::npos);
  for (const Ran& one : both(meet, "", "")) expect(one, 2, "expected a secret of the run");
  std::filesystem::permissions(folder() / "secret",
                               owner_only | std::filesystem::perms::group_read);
  for (const Ran& one : both(meet, "--secret secret", "--secret secret"))
    expect(one, 2, "--secret: secret may be read or written by others");
  write("short", "0123456789abcdef\n");
  std::filesystem::permissions(folder() / "short", owner_only);
  for (const Ran& one : both(meet, "--secret short", "--secret short"))
    expect(one, 2, "'openssl rand -hex 16' prints");
}

TEST_F(Processes, OptionsThatDoNotFit) {
  const std::string trace = source("traces/samples/chat-200.csv");
  const auto says = [&](std::vector<std::string> more, const std::string& error) {
    more.insert(more.begin(), {"replay", trace});
    EXPECT_NE(refused(2, more).find(error), std::string::npos) << refused(2, more);
  };
  says({"--rank", "0"}, "expected --rendezvous, --rank and --ranks together");
  says({"--rendezvous", "meet"}, "expected --rendezvous, --rank and --ranks together");
  says({"--rendezvous", "meet", "--rank", "2", "--ranks", "2"}, "--rank: expected a whole number");
  says({"--rendezvous", "meet", "--rank", "0", "--ranks", "2", "--secret", "x"},
       "--secret is for --rendezvous HOST:PORT");
  says({"--rendezvous", "h:1", "--rank", "0", "--ranks", "2", "--listen", "10.0.0.1"},
       "--listen is for --rendezvous FILE");
  says({"--silent-after", "4"}, "--silent-after: expected a number from 5 to 86400");
  says({"--node-ranks", "0,x"}, "--node-ranks: expected numbers of processes");
  says({"--node-ranks", "0,0"}, "expected a process for each of the 1 nodes");
  says({"--node-ranks", "1"}, "none is process 1");
  write("cut", "kvhaul-rendezvous 2\nhost a\nadd");
  std::filesystem::permissions(folder() / "cut", owner_only);
  says({"-b", "verbs", "--rendezvous", "cut", "--rank", "1", "--ranks", "2"},
       "cut:3: expected a line feed at its end");
}

TEST_F(Processes, UnderMpirunTheyDoWithoutARendezvous) {
#ifdef KVHAUL_MPIRUN
  const std::vector<std::string> one = {
      "-np", "1",     KVHAUL_PROGRAM, "replay",       source("traces/samples/chat-200.csv"),
      "-b",  "verbs", "-s",           "dgx-h100-pair"};
  std::vector<std::string> arguments = {"--allow-run-as-root", "--oversubscribe", "--bind-to",
                                        "none"};
  arguments.insert(arguments.end(), one.begin(), one.end());
  arguments.push_back(":");
  arguments.insert(arguments.end(), one.begin(), one.end());
  arguments.insert(arguments.end(), {"--seed", "2"});
  const Ran ran = finish(start(KVHAUL_MPIRUN, arguments));
  EXPECT_EQ(ran.code, 2) << ran.err;
  EXPECT_NE(ran.err.find("process 1 has another --seed than process 0"), std::string::npos)
      << ran.err;
#else
  GTEST_SKIP() << "built without Open MPI";
#endif
}

TEST_F(Processes, TooManyForTheNodes) {
  for (const Ran& one : both("-s incast-8to1 --rendezvous meet --node-ranks 0,0,0,0", "", ""))
    expect(one, 2, "--node-ranks: ");
  for (const Ran& one : both("-s laptop --rendezvous meet", "", ""))
    expect(one, 2, "2 processes, but only 1 nodes of the scenario have an instance");
}

}  // namespace
}  // namespace kvhaul::test
