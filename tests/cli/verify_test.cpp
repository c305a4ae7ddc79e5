// kvhaul verify: whole logs, damaged ones, and files that are none.
#include "tests/cli/program.h"

namespace kvhaul::test {
namespace {

class VerifyCommand : public ProgramTest {
 protected:
  void record() {
    ASSERT_EQ(run({"replay", source("traces/samples/chat-200.csv"), "-s", "pcie-pair", "-n", "2",
                   "--streaming", "request", "-o", "run", "--record", "run.log", "-q"})
                  .code,
              0);
  }
};

TEST_F(VerifyCommand, AWholeLogIsIdentical) {
  record();
  const Ran ran = run({"verify", "run.log"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(ran.err, "");
  EXPECT_TRUE(ran.out.starts_with("identical: ")) << ran.out;
  EXPECT_TRUE(ran.out.ends_with(" chunks), 1 scheduler in 1 log\n")) << ran.out;
}

TEST_F(VerifyCommand, LogsBehindEachOtherAreCounted) {
  record();
  write("three.log", text("run.log") + text("run.log") + text("run.log"));
  const Ran ran = run({"verify", "three.log"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_TRUE(ran.out.ends_with(" chunks), 3 schedulers in 3 logs\n")) << ran.out;
}

TEST_F(VerifyCommand, RecordingChangesNothing) {
  record();
  const std::string first = text("run.log");
  std::filesystem::remove_all(folder() / "run");
  std::filesystem::remove(folder() / "run.log");
  record();
  EXPECT_EQ(text("run.log"), first);
}

TEST_F(VerifyCommand, TruncatedAnywhere) {
  record();
  const std::string log = text("run.log");
  for (std::size_t i = 0; i < 20; ++i) {
    write("cut.log", log.substr(0, log.size() * i / 20));
    const std::string error = refused(2, {"verify", "cut.log"});
    EXPECT_TRUE(error.starts_with("kvhaul: cut.log: byte ")) << error;
  }
}

TEST_F(VerifyCommand, AFlippedBitIsSeen) {
  record();
  const std::string log = text("run.log");
  for (std::size_t i = 0; i < 40; ++i) {
    std::string flipped = log;
    const std::size_t at = log.size() * i / 40;
    flipped[at] = static_cast<char>(flipped[at] ^ 0x04);
    write("flipped.log", flipped);
    const std::string error = refused(2, {"verify", "flipped.log"});
    EXPECT_NE(error.find(": damaged: "), std::string::npos) << error;
  }
}

TEST_F(VerifyCommand, FilesThatAreNoLogs) {
  write("empty.log", "");
  EXPECT_EQ(refused(2, {"verify", "empty.log"}),
            "kvhaul: empty.log: byte 0: damaged: the log is truncated in its head");
  EXPECT_EQ(refused(2, {"verify", source("traces/samples/chat-200.csv")}),
            "kvhaul: " + source("traces/samples/chat-200.csv") +
                ": byte 0: expected a log written by 'kvhaul replay --record', found something "
                "else");
  EXPECT_EQ(refused(2, {"verify", "none.log"}),
            "kvhaul: none.log: cannot be read: No such file or directory");
  refused(2, {"verify", "."});
  record();
  std::string other = text("run.log");
  other[std::string("kvhaul-log\n").size()] = 99;
  write("newer.log", other);
  EXPECT_EQ(refused(2, {"verify", "newer.log"}),
            "kvhaul: newer.log: byte 0: damaged: expected log format version 4, found version 99");
}

}  // namespace
}  // namespace kvhaul::test
