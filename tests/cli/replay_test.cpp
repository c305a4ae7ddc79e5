// kvhaul replay as a user meets it: exit codes, errors, and what is left on the disk.
#include <chrono>
#include <optional>
#include <pty.h>
#include <regex>
#include <sstream>
#include <thread>

#include "tests/cli/program.h"

namespace kvhaul::test {
namespace {

/// Milliseconds of simulated work: ten requests between two PCIe GPUs, only time.
std::vector<std::string> small_replay(std::vector<std::string> more = {}) {
  std::vector<std::string> arguments = {
      "replay", source("traces/samples/chat-200.csv"), "-s", "pcie-pair", "-n", "10", "-o", "run"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

class ReplayCommand : public ProgramTest {
 protected:
  bool looks_whole(const std::string& directory) const {
    return exists(directory + "/summary.json") && !exists(directory + "/UNFINISHED");
  }
};

TEST_F(ReplayCommand, AWholeRun) {
  const Ran ran = run(small_replay());
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.err, "");
  EXPECT_NE(ran.out.find("requests    10 completed"), std::string::npos) << ran.out;
  EXPECT_TRUE(looks_whole("run"));
  for (const char* file : {"requests.csv", "transfers.csv", "links.csv", "instances.csv",
                           "timeline.json", "summary.json", "run.yaml"})
    EXPECT_TRUE(exists(std::string("run/") + file)) << file;
}

/// Runs it on both backends in virtual time, as far as they are built.
class TimeCommand : public ReplayCommand {
 protected:
  void completes(const std::string& trace, const std::vector<std::string>& more = {}) {
    for (const char* backend : {"emulated", "simgrid"}) {
      std::vector<std::string> arguments = {"replay",   trace,     "-s",     "dgx-h100-pair",
                                            "-b",       backend,   "-o",     "run",
                                            "--record", "run.log", "--force"};
      arguments.insert(arguments.end(), more.begin(), more.end());
      const Ran ran = run(arguments);
      if (ran.code == 3) continue;  // not built
      EXPECT_EQ(ran.code, 0) << ran.err;
      EXPECT_NE(ran.out.find("requests    2 completed"), std::string::npos) << ran.out;
      EXPECT_TRUE(looks_whole("run"));
      EXPECT_TRUE(exists("run/report.html"));
      EXPECT_EQ(run({"verify", "run.log"}).code, 0);
    }
  }
  void ours(const std::string& first_s, const std::string& second_s) {
    write("t.csv",
          "# kvhaul trace 1, block 0 tokens\n"
          "arrival_s,input_tokens,output_tokens,prefix_blocks\n" +
              first_s + ",64,2,\n" + second_s + ",64,2,\n");
  }
  /// The times of a row of requests.csv, from the queue on.
  std::string times(int row) const {
    std::istringstream rows(text("run/requests.csv"));
    std::string line;
    for (int i = 0; i <= row; ++i) std::getline(rows, line);
    for (int comma = 0; comma < 9; ++comma) line.erase(0, line.find(',') + 1);
    return line;
  }
};

TEST_F(TimeCommand, AGapOfAYear) {
  ours("0.000000000", "31536000.000000000");
  completes("t.csv");
  EXPECT_NE(times(1), "");
  EXPECT_EQ(times(1), times(2));  // the second finds what the first found
}

TEST_F(TimeCommand, SecondsSince1970) {
  ours("1732000000", "1732000001");
  completes("t.csv");
  EXPECT_EQ(times(1), times(2));
}

TEST_F(TimeCommand, HundredTenDaysInAFormatOfOthers) {
  write("b.csv",
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,"
        "Log Type\n19440110.0,7b,4.2,ChatGPT,350,40,390,Conversation log\n"
        "28940110.5,,0.9,ChatGPT,120,30,150,API log\n");
  completes("b.csv");
}

TEST_F(TimeCommand, AMillionTimesSlower) {
  ours("0", "4.5");
  completes("t.csv", {"--speedup", "1e-6"});
  EXPECT_NE(text("run/requests.csv").find(",4500000.000000000,"), std::string::npos);
}

TEST_F(TimeCommand, TheFirstRequestComesLate) {
  for (const char* first : {"600", "599.999", "0.3"}) {  // bins of 4096, 4096 and 2 ms
    ours(first, "601");
    completes("t.csv");
  }
}

TEST_F(TimeCommand, RefusesMoreThanCanBeCounted) {
  for (const char* last : {"2305843010", "8999999999", "1732000000000"}) {
    ours("0", last);
    const std::string error = refused(2, {"replay", "t.csv", "-s", "dgx-h100-pair", "-o", "run"});
    EXPECT_TRUE(error.starts_with("kvhaul: t.csv:4: expected ")) << error;
    EXPECT_FALSE(exists("run"));
  }
}

TEST_F(ReplayCommand, SameInputSameBytes) {
  ASSERT_EQ(run(small_replay()).code, 0);
  const std::string first = text("run/summary.json") + text("run/transfers.csv");
  ASSERT_EQ(run(small_replay({"--force"})).code, 0);
  EXPECT_EQ(text("run/summary.json") + text("run/transfers.csv"), first);
}

TEST_F(ReplayCommand, QuietAndJson) {
  EXPECT_EQ(run(small_replay({"--quiet"})).out, "");
  const Ran json = run(small_replay({"--json", "--force"}));
  EXPECT_EQ(json.out, text("run/summary.json"));
  EXPECT_TRUE(json.err.starts_with("pcie-pair: ")) << json.err;
  EXPECT_EQ(run(small_replay({"--json", "--force", "--quiet"})).err, "");
}

// 10 requests of one chunk each, 80 layers, eight ranks to eight: 6,400 transfers. Each GPU has its
// rail, and seven others to fall back on, by RDMA and staged: 8 used, 8 x 7 + 8 x 8.
TEST_F(ReplayCommand, TheStartLineSaysHowMuchThereIsToDo) {
  std::string trace = "arrived_at,num_prefill_tokens,num_decode_tokens\n";
  for (int i = 0; i < 10; ++i) trace += std::to_string(i) + ",1000,2\n";
  write("ten.csv", trace);
  const Ran ran = run({"replay", "ten.csv", "-s", "dgx-h100-pair", "-o", "run"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_TRUE(ran.out.starts_with(
      "dgx-h100-pair: 8 channels, 120 more to fall back on\n"
      "10 requests, 3.05 GiB of KV in 6400 transfers or more, each of at least one\n"
      "  chunk (by the trace's input tokens; less where a prefix is cached)\n"))
      << ran.out;
  EXPECT_NE(ran.out.find("in 6400 transfers"), std::string::npos) << ran.out;
}

// As long as the clock says: a second and a half, so that at least one line comes after one second.
TEST_F(ReplayCommand, ProgressIsSaidByTheTimeOfTheRun) {
  write("slow.csv",
        "arrived_at,num_prefill_tokens,num_decode_tokens\n0,100,10\n1.2,100,10\n1.7,100,10\n");
  const std::vector<std::string> slow = {"replay", "slow.csv", "-s", "laptop", "--time", "real"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), slow.begin(), slow.end());
    return more;
  };
  const Ran ran = run(with({"-o", "run"}));
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_NE(ran.err.find(" of 3 requests done at "), std::string::npos) << ran.err;
  EXPECT_NE(ran.err.find("the last request comes at 1.7 s\n"), std::string::npos) << ran.err;
  EXPECT_EQ(run(with({"-o", "run", "--force", "--quiet"})).err, "");
}

TEST_F(ReplayCommand, TheTableNeverGoesBelowAMicrosecond) {
  const Ran ran = run(small_replay());
  const std::string table = ran.out.substr(0, ran.out.find("requests"));
  EXPECT_FALSE(std::regex_search(table, std::regex("\\.[0-9]{4}|0\\.000"))) << table;
}

/// Two sides of many figures each, faults, what was sent again, and a name that cannot be broken.
TEST_F(ReplayCommand, NoTableIsWiderThanATerminal) {
  write("faults.yaml",
        "faults:\n  - {kind: down, where: node1/nic0, from: 1 s, until: 3 s, every: 10 s}\n"
        "  - {kind: lose, probability: 0.001}\n");
  const Ran ran = run({"replay", source("traces/samples/chat-200.csv"), "-s", "dgx-h100-pair", "-n",
                       "40", "--set", "serving.prefill.tp=4", "--set", "serving.decode.tp=4",
                       "--faults", "faults.yaml", "-o", "a-folder-with-a-rather-long-name"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_NE(ran.out.find("(instances "), std::string::npos) << ran.out;
  std::istringstream lines(ran.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
}

TEST_F(ReplayCommand, TheOutFolder) {
  std::filesystem::create_directory(folder() / "run");
  write("run/mine.txt", "keep");
  EXPECT_EQ(refused(2, small_replay()),
            "kvhaul: --out: run is not empty; --force writes over what is in it");
  EXPECT_EQ(text("run/mine.txt"), "keep");
  EXPECT_EQ(run(small_replay({"--force", "-q"})).code, 0);
  EXPECT_EQ(text("run/mine.txt"), "keep");

  write("file", "");
  EXPECT_EQ(refused(2, {"replay", source("traces/samples/chat-200.csv"), "-o", "file"}),
            "kvhaul: --out: file is not a directory");
  const std::string error = refused(2, {"replay", source("traces/samples/chat-200.csv"), "-o",
                                        "file/below", "-n", "1", "--time", "virtual"});
  EXPECT_TRUE(error.starts_with("kvhaul: --out: file/below cannot be made")) << error;
}

TEST_F(ReplayCommand, WithoutOutTheFirstFreeNameIsTaken) {
  const std::vector<std::string> arguments = {
      "replay", source("traces/samples/chat-200.csv"), "-s", "pcie-pair", "-n", "2"};
  EXPECT_EQ(run(arguments).code, 0);
  EXPECT_EQ(run(arguments).code, 0);
  EXPECT_TRUE(looks_whole("runs/pcie-pair-chat-200-1"));
  EXPECT_TRUE(looks_whole("runs/pcie-pair-chat-200-2"));
}

TEST_F(ReplayCommand, ATraceThatIsNotThere) {
  EXPECT_EQ(refused(2, {"replay", "none.csv", "-o", "run"}),
            "kvhaul: cannot open 'none.csv': No such file or directory");
  EXPECT_FALSE(exists("run"));
  EXPECT_EQ(refused(2, {"replay", ".", "-o", "run"}),
            "kvhaul: .: expected a file, found a directory");
  EXPECT_FALSE(exists("run"));
}

TEST_F(ReplayCommand, EveryKindOfDamagedTraceIsOneLineAndNoRun) {
  const std::string whole = text_of(source("traces/samples/chat-200.csv"));
  std::string binary;
  for (int i = 0; i < 5000; ++i) binary += static_cast<char>(i * 7 % 256);
  std::string flipped = whole;
  flipped[whole.size() / 2] = '\0';
  const std::vector<std::pair<std::string, std::string>> damaged = {
      {"empty", ""},
      {"newline", "\n"},
      {"truncated", whole.substr(0, whole.rfind(',', whole.size() - 30))},
      {"binary", binary},
      {"nul", flipped},
      {"huge-line", whole + std::string(std::size_t{20} << 20, '7')},
      {"wrong-format", "<html><body>404</body></html>\n"},
      {"yaml", "name: x\n"}};
  for (const auto& [name, bytes] : damaged) {
    write(name, bytes);
    const std::string error = refused(2, {"replay", name, "-s", "pcie-pair", "-o", "run"});
    EXPECT_NE(error.find(name), std::string::npos) << error;
    EXPECT_NE(error.find("expected"), std::string::npos) << error;
    EXPECT_FALSE(exists("run")) << name;
    EXPECT_FALSE(exists("runs")) << name;
  }
}

TEST_F(ReplayCommand, ADamagedScenarioOrFaultFileIsOneLineAndNoRun) {
  write("s.yaml", "name: x\ncluster: {node_types: {}}\n");
  EXPECT_NE(refused(2, {"replay", source("traces/samples/chat-200.csv"), "-s", "s.yaml"})
                .find("s.yaml:2: "),
            std::string::npos);
  write("f.yaml", "faults:\n  - {kind: down, where: node0/gpu7}\n");
  EXPECT_NE(refused(2, small_replay({"--faults", "f.yaml"})).find("f.yaml:2: 'where'"),
            std::string::npos);
  EXPECT_NE(refused(2, small_replay({"--faults", "none.yaml"})).find("none.yaml: cannot be read"),
            std::string::npos);
  EXPECT_FALSE(exists("run"));
}

TEST_F(ReplayCommand, ALogThatCannotBeWritten) {
  EXPECT_EQ(refused(2, small_replay({"--record", "none/run.log"})),
            "kvhaul: none/run.log: cannot be created: No such file or directory");
  EXPECT_FALSE(exists("run"));
}

TEST_F(ReplayCommand, ContradictionsAreSaid) {
  EXPECT_EQ(refused(2, small_replay({"--payload", "none", "--time", "real"})),
            "kvhaul: --payload none needs --time virtual: real time always moves bytes");
  EXPECT_EQ(refused(2, {"replay", "-t", source("traces/samples/chat-200.csv"), "-s", "laptop",
                        "--payload", "none"}),
            "kvhaul: --payload none needs --time virtual: real time always moves bytes");
  EXPECT_EQ(refused(2, small_replay({"--throttle"})),
            "kvhaul: --throttle is for --time real: virtual time always follows the links");
}

TEST_F(ReplayCommand, FaultsShowInTheResults) {
  write("f.yaml", "faults:\n  - {kind: fail, probability: 0.2}\n");
  const Ran ran = run(small_replay({"--faults", "f.yaml"}));
  EXPECT_EQ(ran.code, 0);
  EXPECT_NE(ran.out.find("with 1 scripted fault\n"), std::string::npos) << ran.out;
  EXPECT_TRUE(std::regex_search(ran.out, std::regex("\nfaults      everywhere: chunks fail, "
                                                    "probability 0.2, all the time: hit [0-9]+\\s+"
                                                    "chunks\n")))
      << ran.out;
  EXPECT_NE(ran.out.find("\nsent again  "), std::string::npos) << ran.out;
  EXPECT_NE(text("run/run.yaml").find("kind: fail"), std::string::npos);
}

TEST_F(ReplayCommand, LostTransfersAreExitCodeOne) {
  // The only road is gone from the beginning: every transfer fails when the stall timeout is over.
  write("f.yaml", "faults:\n  - {kind: down}\n");
  const Ran ran = run(small_replay({"--faults", "f.yaml"}));
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.err, "kvhaul: 10 requests did not get all of their KV\n");
  EXPECT_NE(ran.out.find("10 lost their KV"), std::string::npos) << ran.out;
  EXPECT_TRUE(looks_whole("run"));
}

TEST_F(ReplayCommand, MemoryThatCannotBeRegisteredIsMissing) {
  write("f.yaml", "faults:\n  - {kind: fail_registration, where: node0/gpu1}\n");
  EXPECT_EQ(refused(3, small_replay({"--faults", "f.yaml"})),
            "kvhaul: node0/gpu1: registration failed (scripted fault)");
  EXPECT_FALSE(looks_whole("run"));
}

TEST_F(ReplayCommand, AFullDiskIsAFailure) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "this machine has no /dev/full";
  const std::string full = "/dev/full: could not be written: No space left on device";
  const Ran ran = run(small_replay({"--record", "/dev/full"}));
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.err, "kvhaul: " + full + "; recording stops, the run goes on\n" +
                         "kvhaul: /dev/full was not recorded\n");
  EXPECT_TRUE(looks_whole("run"));
  // Over a whole run: it stays as it is until the new one is whole.
  const std::string before = text("run/summary.json");
  const Ran stopped =
      run(small_replay({"--record", "/dev/full", "--on-record-error", "stop", "--force"}));
  EXPECT_EQ(stopped.code, 1);
  EXPECT_EQ(stopped.err, "kvhaul: " + full + "; the run stops\n");
  EXPECT_TRUE(looks_whole("run"));
  EXPECT_EQ(text("run/summary.json"), before);
}

TEST_F(ReplayCommand, NoInputAndNoFileOfTheRunIsWrittenOver) {
  const std::string trace = text_of(source("traces/samples/chat-200.csv"));
  write("t.csv", trace);
  std::filesystem::create_symlink("t.csv", folder() / "link.csv");
  const auto record = [](const std::string& log) {
    return std::vector<std::string>{"replay", "t.csv", "-s",       "pcie-pair", "-n",     "2",
                                    "-o",     "run",   "--record", log,         "--force"};
  };
  for (const char* log : {"t.csv", "link.csv", "./t.csv"}) {
    EXPECT_NE(refused(2, record(log)).find("is read by this command"), std::string::npos);
    EXPECT_EQ(text("t.csv"), trace);
    EXPECT_FALSE(exists("run"));
  }
  EXPECT_NE(refused(2, record("run/summary.json")).find("is a file of the run itself"),
            std::string::npos);
  write("old.log", "mine");
  EXPECT_EQ(refused(2, small_replay({"--record", "old.log"})),
            "kvhaul: old.log is there already; --force writes over it");
  EXPECT_EQ(text("old.log"), "mine");
}

TEST_F(ReplayCommand, OfTwoRunsIntoOneFolderTheSecondIsRefused) {
  write("slow.csv", "arrived_at,num_prefill_tokens,num_decode_tokens\n0,100,10\n300,100,10\n");
  const pid_t child = start({"replay", "slow.csv", "-s", "laptop", "--time", "real", "-o", "run"});
  while (!exists("run/transfers.csv") && waitpid(child, nullptr, WNOHANG) == 0)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  refused(2, small_replay());
  EXPECT_EQ(refused(2, small_replay({"--force"})),
            "kvhaul: --out: another run writes into run at this moment");
  kill(child, SIGKILL);
  finish(child);
  EXPECT_FALSE(looks_whole("run"));
  // What was killed holds nothing any more.
  EXPECT_EQ(run(small_replay({"--force"})).code, 0);
  EXPECT_TRUE(looks_whole("run"));
}

/// A run in real time that lasts for minutes, interrupted once its files are there.
TEST_F(ReplayCommand, AnInterruptLeavesNothingThatLooksWhole) {
  write("slow.csv", "arrived_at,num_prefill_tokens,num_decode_tokens\n0,100,10\n300,100,10\n");
  for (const auto& [signal, code] : {std::pair{SIGINT, 130}, {SIGTERM, 143}}) {
    const std::string out = "run" + std::to_string(code);
    const pid_t child = start({"replay", "slow.csv", "-q", "-s", "laptop", "--time", "real", "-o",
                               out, "--record", out + ".log"});
    while (!exists(out + "/transfers.csv") && waitpid(child, nullptr, WNOHANG) == 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    kill(child, signal);
    const Ran ran = finish(child);
    EXPECT_EQ(ran.code, code);
    EXPECT_EQ(ran.err, "kvhaul: interrupted; " + out + " is not a whole run, " + out +
                           ".log no whole log\n");
    EXPECT_TRUE(exists(out + "/UNFINISHED"));
    EXPECT_FALSE(looks_whole(out));
    refused(2, {"verify", out + ".log"});
  }
}

/// On a terminal of its own; what it shows there. Nothing where this machine gives out none.
std::optional<std::string> on_a_terminal(const char* no_color, std::vector<std::string> arguments) {
  int terminal = -1;
  const pid_t child = forkpty(&terminal, nullptr, nullptr, nullptr);
  if (child < 0) return std::nullopt;
  if (child == 0) {
    if (no_color != nullptr)
      setenv("NO_COLOR", no_color, 1);
    else
      unsetenv("NO_COLOR");
    std::string program = KVHAUL_PROGRAM;
    std::vector<char*> argv = {program.data()};
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    execv(program.c_str(), argv.data());
    _exit(127);
  }
  std::string shown;
  char block[4096];
  for (ssize_t got; (got = read(terminal, block, sizeof block)) > 0;)
    shown.append(block, static_cast<std::size_t>(got));
  close(terminal);
  waitpid(child, nullptr, 0);
  return shown;
}

TEST_F(ReplayCommand, ColourOnATerminalOnlyAndNotAgainstNoColor) {
  const auto coloured = on_a_terminal(nullptr, {"replay", "--nonsense"});
  const auto empty = on_a_terminal("", {"replay", "--nonsense"});
  const auto plain = on_a_terminal("1", {"replay", "--nonsense"});
  if (!coloured || !empty || !plain) GTEST_SKIP() << "no pseudo-terminals here (/dev/pts)";
  EXPECT_NE(coloured->find("\x1b["), std::string::npos);
  EXPECT_NE(empty->find("\x1b["), std::string::npos);
  EXPECT_NE(plain->find("unknown option"), std::string::npos);
  EXPECT_EQ(plain->find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace kvhaul::test
