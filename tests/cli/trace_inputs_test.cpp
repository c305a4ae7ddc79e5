// Traces as people have them: other columns, packed, from a pipe, out of order, several in one.
#include <fcntl.h>

#include "tests/cli/program.h"

namespace kvhaul::test {
namespace {

class TraceInputs : public ProgramTest {
 protected:
  /// The program behind a shell's pipe or redirection: "cat t.csv | %s trace ..." with %s for it.
  Ran shell(std::string line) {
    const std::size_t at = line.find("%s");
    if (at != std::string::npos) line.replace(at, 2, KVHAUL_PROGRAM);
    return finish(start("/bin/sh", {"-c", line}));
  }
};

constexpr const char* three =
    "arrived_at,num_prefill_tokens,num_decode_tokens\n"
    "0,100,10\n2,200,20\n4.5,300,30\n";
const std::string mooncake_rows =
    "{\"timestamp\": 0.0, \"input_length\": 600, \"output_length\": 5, \"hash_ids\": [0, 1]}\n"
    "{\"timestamp\": 3000.5, \"input_length\": 1700, \"output_length\": 5, \"hash_ids\": [0, 2, 3, "
    "4]}\n";

TEST_F(TraceInputs, MooncakeIsRecognisedAndWhatWasAssumedIsSaid) {
  write("m.jsonl", mooncake_rows);
  const std::string assumed =
      "taken for mooncake, whose times are in ms: prefix ids fit blocks of 512 tokens\n";
  const Ran described = run({"trace", "describe", "m.jsonl"});
  EXPECT_TRUE(described.out.starts_with(
      "m.jsonl: mooncake, 2 rows, 2 requests\nassumed: " + assumed + "span 3 s"))
      << described.out;
  EXPECT_NE(described.out.find("22.3% of the input tokens"), std::string::npos)  // 512 of 2,300
      << described.out;
  const Ran ran = run({"replay", "m.jsonl", "-s", "dgx-h100-pair", "-o", "r"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_NE((ran.out + ran.err).find("trace taken for mooncake"), std::string::npos)
      << ran.out << ran.err;
  EXPECT_NE(text("r/summary.json").find("taken for mooncake"), std::string::npos);
}

TEST_F(TraceInputs, OtherBlockSizesAreRefusedUntilTold) {
  std::string rows;
  for (int i = 0; i < 20; ++i) {
    rows += "{\"timestamp\": " + std::to_string(100 * i) +
            ", \"input_length\": " + std::to_string(640 + i) +
            ", \"output_length\": 5, \"hash_ids\": [0";
    for (int b = 1; b < (640 + i + 63) / 64; ++b) rows += ", " + std::to_string(100 * i + b);
    rows += "]}\n";
  }
  write("m.jsonl", rows);
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"trace", "describe", "m.jsonl"},
        {"trace", "describe", "m.jsonl", "--format", "mooncake"},
        {"replay", "m.jsonl", "--format", "mooncake", "-s", "dgx-h100-pair"},
        {"sweep", "m.jsonl", "--format", "mooncake", "-s", "dgx-h100-pair", "--set", "@speedup=1,2",
         "-o", "s"}})
    EXPECT_NE(refused(2, command).find("--block-tokens 64"), std::string::npos);
  EXPECT_NE(
      run({"trace", "describe", "m.jsonl", "--block-tokens", "64"}).out.find("blocks of 64 tokens"),
      std::string::npos);
  EXPECT_EQ(run({"replay", "m.jsonl", "--block-tokens", "64", "-s", "dgx-h100-pair", "-q"}).code,
            0);
  EXPECT_NE(refused(2, {"trace", "describe", "m.jsonl", "--block-tokens", "0"})
                .find("--block-tokens: expected a whole number from 1"),
            std::string::npos);
}

TEST_F(TraceInputs, ColumnsAreNamed) {
  write("b.csv", "arrived_at,prefill_tokens,decode_tokens\n0,5000,500\n0.5,4900,400\n");
  const std::string error = refused(2, {"trace", "describe", "b.csv"});
  const std::size_t at = error.find("--columns ");
  ASSERT_NE(at, std::string::npos) << error;
  // What the error says can be given.
  const std::size_t end = error.find(' ', at + 10);
  const std::string columns = error.substr(at + 10, end - at - 10);
  EXPECT_EQ(columns, "arrival=arrived_at,input=prefill_tokens,output=decode_tokens");
  const Ran ran = run({"trace", "describe", "b.csv", "--columns", columns});
  EXPECT_TRUE(ran.out.starts_with("b.csv: columns, 2 rows, 2 requests\nspan 500 ms")) << ran.out;
  EXPECT_EQ(run({"replay", "b.csv", "--columns", columns, "-s", "dgx-h100-pair", "-q"}).code, 0);
  EXPECT_EQ(run({"sweep", "b.csv", "--columns", columns, "-s", "dgx-h100-pair", "--set",
                 "@speedup=1,2", "-o", "s", "-q"})
                .code,
            0);
}

TEST_F(TraceInputs, StandardInputAndGzip) {
  write("t.csv", three);
  ASSERT_EQ(run({"trace", "convert", "t.csv", "a.csv"}).code, 0);
  EXPECT_EQ(shell("gzip -c t.csv | %s trace convert - b.csv").code, 0);
  EXPECT_EQ(text("b.csv"), text("a.csv"));
  EXPECT_EQ(shell("gzip -c t.csv > t.packed && %s trace convert t.packed c.csv").code, 0);
  EXPECT_EQ(text("c.csv"), text("a.csv"));
  for (const char* action :
       {"cut - d.csv --from '1 s'", "scale - e.csv --speedup 2", "sort - f.csv", "describe -"})
    EXPECT_EQ(shell("%s trace " + std::string(action) + " < t.csv").code, 0) << action;
  const Ran replayed = shell("cat t.csv | %s replay - -s dgx-h100-pair");
  EXPECT_EQ(replayed.code, 0) << replayed.err;
  EXPECT_TRUE(exists("runs/dgx-h100-pair-stdin-1/summary.json")) << replayed.out;
  EXPECT_NE(text("runs/dgx-h100-pair-stdin-1/run.yaml").find("standard input"), std::string::npos);
  const Ran swept = shell("gzip -c t.csv | %s sweep - -s dgx-h100-pair --set @speedup=1,2 -o s");
  EXPECT_EQ(swept.code, 0) << swept.err << swept.out;
  EXPECT_EQ(text("s/standard-input"), three);
}

TEST_F(TraceInputs, StandardInputThatWillNotDo) {
  write("t.csv", three);
  Ran ran = shell("%s trace merge - - m.csv < t.csv");
  EXPECT_EQ(ran.code, 2);
  EXPECT_EQ(ran.err, "kvhaul: standard input ('-') can be read only once\n");
  EXPECT_FALSE(exists("m.csv"));
  ran = shell("%s trace describe - < /dev/null");
  EXPECT_EQ(ran.code, 2);
  EXPECT_TRUE(ran.err.starts_with("kvhaul: standard input:1: expected ")) << ran.err;
  ran = shell("head -c 60 t.csv | gzip -c | head -c 40 | %s trace describe - --format vidur");
  EXPECT_EQ(ran.code, 2);
  EXPECT_EQ(ran.err, "kvhaul: standard input: expected whole gzip data, found its end missing\n");
  // What is read is not written over, also where it comes by redirection.
  ran = shell("%s trace convert - t.csv --force < t.csv");
  EXPECT_EQ(ran.code, 2);
  EXPECT_NE(ran.err.find("is read by this command"), std::string::npos) << ran.err;
  EXPECT_EQ(text("t.csv"), three);
  ran = shell("%s sweep - --set @speedup=1,2 -o s -s dgx-h100-pair < /dev/null");
  EXPECT_EQ(ran.code, 2);
}

TEST_F(TraceInputs, ATerminalIsNoTrace) {
  const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
  if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0)
    GTEST_SKIP() << "no pseudo-terminal here";
  const Ran ran = shell("%s trace describe - < " + std::string(ptsname(terminal)));
  close(terminal);
  EXPECT_EQ(ran.code, 2);
  EXPECT_NE(ran.err.find("found a terminal"), std::string::npos) << ran.err;
}

TEST_F(TraceInputs, TwoFilesInOneAreSaidSortedAndMerged) {
  std::string rows;
  for (int i = 0; i < 20; ++i)
    rows += "{\"timestamp\": " + std::to_string(3000 * i) +
            ", \"input_length\": " + std::to_string(1024 + i) +
            ", \"output_length\": 5, \"hash_ids\": [0, " + std::to_string(i + 1) + ", " +
            std::to_string(900 + i) + "]}\n";
  write("one.jsonl", rows);
  write("both.jsonl", rows + rows);
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"replay", "both.jsonl", "-s", "dgx-h100-pair"},
        {"replay", "both.jsonl", "--format", "mooncake", "-s", "dgx-h100-pair"},
        {"trace", "describe", "both.jsonl"},
        {"trace", "convert", "both.jsonl", "a.csv"}}) {
    const std::string error = refused(2, command);
    EXPECT_NE(error.find("both.jsonl:21: "), std::string::npos) << error;
    EXPECT_NE(error.find("kvhaul trace sort"), std::string::npos) << error;
    EXPECT_NE(error.find("kvhaul trace merge"), std::string::npos) << error;
  }
  EXPECT_FALSE(exists("runs"));
  EXPECT_EQ(run({"trace", "sort", "both.jsonl", "sorted.csv"}).code, 0);
  EXPECT_EQ(run({"trace", "merge", "one.jsonl", "one.jsonl", "merged.csv"}).out,
            "merged.csv: 40 rows, 40 requests; 2 with a number of prefix ids that does not fit the "
            "input\nassumed: taken for mooncake, whose times are in ms: "
            "prefix ids fit blocks of 512 tokens\n");
  EXPECT_EQ(run({"trace", "merge", "one.jsonl", "one.jsonl", "same.csv", "--same-ids"}).code, 0);
  EXPECT_EQ(text("same.csv"), text("sorted.csv"));
  EXPECT_TRUE(run({"trace", "merge", "--parts", "both.jsonl", "parts.csv"})
                  .out.starts_with("parts.csv: 40 rows, 40 requests; 1 further traces in the same "
                                   "file; "));
  const auto seen_in = [&](const char* file) {  // but for the names of prefix ids
    const std::string out = run({"trace", "describe", file}).out;
    return out.substr(out.find("span"));
  };
  EXPECT_EQ(seen_in("parts.csv"), seen_in("merged.csv"));
  EXPECT_NE(text("same.csv"), text("merged.csv"));
  const Ran described = run({"trace", "describe", "sorted.csv"});
  EXPECT_NE(described.out.find("span 57 s"), std::string::npos) << described.out;
  EXPECT_NE(described.out.find("busiest second 2,"), std::string::npos) << described.out;

  write("cat.csv", std::string(three) + three);
  EXPECT_NE(refused(2, {"trace", "describe", "cat.csv"}).find("kvhaul trace merge"),
            std::string::npos);
}

TEST_F(TraceInputs, SortAndMergeWriteAsAllOthersDo) {
  write("t.csv", three);
  write("u.csv", three);
  write("keep.csv", "mine");
  EXPECT_NE(refused(2, {"trace", "sort", "t.csv", "keep.csv"}).find("--force writes over it"),
            std::string::npos);
  EXPECT_NE(
      refused(2, {"trace", "merge", "t.csv", "u.csv", "keep.csv"}).find("--force writes over it"),
      std::string::npos);
  // The last of the names is the file to write, and never one that is read.
  EXPECT_NE(refused(2, {"trace", "merge", "t.csv", "u.csv", "t.csv", "--force"})
                .find("is read by this command"),
            std::string::npos);
  EXPECT_NE(
      refused(2, {"trace", "sort", "t.csv", "t.csv", "--force"}).find("is read by this command"),
      std::string::npos);
  EXPECT_NE(refused(2, {"trace", "merge", "t.csv", "u.csv"}).find("(or --parts and one)"),
            std::string::npos);
  refused(2, {"trace", "merge", "--parts", "t.csv"});
  EXPECT_NE(refused(2, {"trace", "merge", "--parts", "t.csv", "t.csv", "--force"})
                .find("is read by this command"),
            std::string::npos);
  refused(2, {"trace", "sort", "t.csv"});
  write("bad.csv", std::string(three) + "5,broken,1\n");
  refused(2, {"trace", "sort", "bad.csv", "keep.csv", "--force"});
  refused(2, {"trace", "merge", "t.csv", "bad.csv", "keep.csv", "--force"});
  EXPECT_EQ(text("keep.csv"), "mine");
  EXPECT_EQ(text("t.csv"), three);
  EXPECT_EQ(run({"trace", "merge", "t.csv", "u.csv", "keep.csv", "--force"}).code, 0);
}

TEST_F(TraceInputs, LlmServingSimsOwnInput) {
  write("w.jsonl",
        "{\"input_toks\": 2300, \"output_toks\": 530, \"arrival_time_ns\": 4000000}\n"
        "{\"session_id\": \"a\", \"arrival_time_ns\": 9000000, \"sub_requests\": [{\"input_toks\": "
        "1400, \"output_toks\": 130, \"tool_duration_ns\": 127000000}, {\"input_toks\": 1600, "
        "\"output_toks\": 80}]}\n");
  const Ran ran = run({"trace", "describe", "w.jsonl"});
  EXPECT_TRUE(
      ran.out.starts_with("w.jsonl: llmservingsim-input, 3 rows, 3 requests; 1 later turns"))
      << ran.out;
  EXPECT_NE(ran.out.find("span 132 ms"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("1 sessions, of up to 2 requests"), std::string::npos) << ran.out;
}

}  // namespace
}  // namespace kvhaul::test
