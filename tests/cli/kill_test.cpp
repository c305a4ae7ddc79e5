// Commands that write files, killed at every system call that opens, writes, syncs, names or
// removes one, and with a disk that is full from there on (strace injects both): what stood there
// before is there still, or the new file is, whole; and nothing else reads as whole.
#include <map>
#include <sstream>

#include "tests/cli/program.h"

namespace kvhaul::test {
namespace {

constexpr const char* strace = "/usr/bin/strace";
// Not what only reads: openat() is among them, and most of its calls open libraries.
constexpr const char* calls[] = {"write",  "fsync",    "linkat", "rename",
                                 "unlink", "unlinkat", "mkdir",  "openat"};
constexpr std::size_t kills_max = 10;  // of one call, spread over the command

class Killed : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    if (access(strace, X_OK) != 0) GTEST_SKIP() << "no strace (Debian: strace)";
    write("t.csv",
          "arrived_at,num_prefill_tokens,num_decode_tokens\n0,100,10\n2,200,20\n4.5,300,30\n");
    // Without it nothing can be injected here.
    if (traced({"-e", "trace=write"}, {"list", "policies"}).code != 0)
      GTEST_SKIP() << "strace may not trace here";
  }

  Ran traced(std::vector<std::string> options, const std::vector<std::string>& command) {
    options.insert(options.begin(), {"-f", "-qq", "-o", "trace"});
    options.push_back(KVHAUL_PROGRAM);
    options.insert(options.end(), command.begin(), command.end());
    return finish(start(strace, options));
  }

  /// How often the command makes each call; of openat() those before its own files are left out.
  std::map<std::string, std::pair<std::size_t, std::size_t>> first_and_last(
      const std::vector<std::string>& command) {
    std::string all = "trace=";
    for (const char* call : calls) all += std::string(all.back() == '=' ? "" : ",") + call;
    EXPECT_EQ(traced({"-e", all}, command).code, 0);
    std::map<std::string, std::pair<std::size_t, std::size_t>> found;
    std::istringstream lines(text("trace"));
    for (std::string line; std::getline(lines, line);) {
      line.erase(0, line.find_first_not_of("0123456789 "));
      const std::string call = line.substr(0, line.find('('));
      auto& [first, last] = found[call];
      ++last;
      const bool writes = call != "openat" || line.find("O_WRONLY") != std::string::npos ||
                          line.find("O_RDWR") != std::string::npos;
      if (writes && first == 0) first = last;
    }
    return found;
  }

  /// `before` makes the state that the command finds; `after` looks at what is left.
  template <class Before, class After>
  void each_way_to_fail(const std::vector<std::string>& command, const Before& before,
                        const After& after) {
    before();
    std::size_t failures = 0;
    for (const auto& [call, range] : first_and_last(command)) {
      const auto [first, last] = range;
      if (first == 0) continue;
      const std::size_t step = std::max<std::size_t>(1, (last - first + 1) / kills_max);
      for (std::size_t at = first; at <= last; at += step)
        for (const char* how : {"signal=KILL:when=", "error=ENOSPC:when="}) {
          const std::string inject =
              "inject=" + call + ":" + how + std::to_string(at) + (how[0] == 'e' ? "+" : "");
          before();
          const Ran ran = traced({"-e", "trace=" + call, "-e", inject}, command);
          SCOPED_TRACE(inject + ", exit " + std::to_string(ran.code) + ", " + ran.err);
          EXPECT_LT(ran.code, 1000 + (how[0] == 'e' ? 0 : 65));
          after();
          ++failures;
          if (HasFailure()) return;
        }
    }
    EXPECT_GT(failures, 4u);
  }

  void expect_no_leftover_reads_as_less_than(const std::string& whole) const {
    for (const auto& entry : std::filesystem::directory_iterator(folder())) {
      const std::string name = entry.path().filename().string();
      if (name.ends_with(".part")) {
        EXPECT_EQ(text(name), whole) << name;
      }
    }
  }
};

TEST_F(Killed, ATraceIsTheOldOneOrTheNew) {
  const std::vector<std::string> convert = {"trace", "convert", "t.csv", "keep.csv", "--force"};
  ASSERT_EQ(run(convert).code, 0);
  const std::string whole = text("keep.csv");
  each_way_to_fail(
      convert, [&] { write("keep.csv", "old"); },
      [&] {
        const std::string left = text("keep.csv");
        EXPECT_TRUE(left == "old" || left == whole) << left;
        expect_no_leftover_reads_as_less_than(whole);
      });
}

TEST_F(Killed, APictureIsTheOldOneOrTheNew) {
  const std::vector<std::string> route = {"route", "node0/gpu0", "node1/gpu0",
                                          "--svg", "keep.svg",   "--force"};
  ASSERT_EQ(run(route).code, 0);
  const std::string whole = text("keep.svg");
  each_way_to_fail(
      route, [&] { write("keep.svg", "old"); },
      [&] {
        const std::string left = text("keep.svg");
        EXPECT_TRUE(left == "old" || left == whole);
        expect_no_leftover_reads_as_less_than(whole);
      });
}

TEST_F(Killed, ARunIsTheOldOneOrTheNewOrMarked) {
  const auto replay = [](const char* limit, const char* log) {
    return std::vector<std::string>{"replay",   source("traces/samples/chat-200.csv"),
                                    "-s",       "pcie-pair",
                                    "-n",       limit,
                                    "-o",       "run",
                                    "-q",       "--force",
                                    "--record", log};
  };
  ASSERT_EQ(run(replay("2", "old.log")).code, 0);
  std::filesystem::rename(folder() / "run", folder() / "old");
  ASSERT_EQ(run(replay("1", "new.log")).code, 0);
  std::filesystem::rename(folder() / "run", folder() / "new");
  const auto same_as = [&](const std::string& directory) {
    for (const char* name : {"requests.csv", "transfers.csv", "links.csv", "summary.json"})
      if (text("run/" + std::string(name)) != text(directory + "/" + name)) return false;
    return true;
  };
  each_way_to_fail(
      replay("1", "keep.log"),
      [&] {
        std::filesystem::remove_all(folder() / "run");
        std::filesystem::copy(folder() / "old", folder() / "run");
        write("keep.log", text("old.log"));
      },
      [&] {
        EXPECT_TRUE(exists("run/UNFINISHED") || same_as("old") || same_as("new"));
        EXPECT_TRUE(text("keep.log") == text("old.log") || text("keep.log") == text("new.log"));
        expect_no_leftover_reads_as_less_than(text("new.log"));
      });
}

}  // namespace
}  // namespace kvhaul::test
