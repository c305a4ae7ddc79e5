#include "tests/traces/trace_testing.h"

namespace kvhaul::test {
namespace {

constexpr auto mooncake = TraceFormat::mooncake;
constexpr auto qwen = TraceFormat::qwen;

std::string row(const std::string& time, int input, const std::string& ids) {
  return "{\"timestamp\": " + time + ", \"input_length\": " + std::to_string(input) +
         ", \"output_length\": 9, \"hash_ids\": " + ids + "}\n";
}

TEST(Mooncake, CountsInMillisecondsAndBlocksOf512) {
  const WholeTrace whole =
      read_text(row("1178625", 1025, "[0, 70875, 7]") + row("1181680", 512, "[0]"), mooncake);
  EXPECT_EQ(text_of(whole), "0 1025 9 0 70875 7\n3055000000 512 9 0\n");
  EXPECT_EQ(whole.info.block_tokens, 512u);
  EXPECT_EQ(whole.counts.odd_prefix, 0u);
}

TEST(Qwen, CountsInSecondsAndBlocksOf16) {
  const WholeTrace whole = read_text(
      R"({"chat_id": 159, "parent_chat_id": -1, "timestamp": 61.114, "input_length": 20, )"
      R"("output_length": 3, "type": "text", "turn": 1, "hash_ids": [5, 18446744073709551615]})"
      "\n"
      R"({"chat_id": 160, "parent_chat_id": 159, "timestamp": 62.0, "input_length": 16, )"
      R"("output_length": 4, "type": "file", "turn": 2, "hash_ids": [5]})"
      "\n",
      std::nullopt);
  EXPECT_EQ(text_of(whole), "0 20 3 5 18446744073709551615\n886000000 16 4 5\n");
  EXPECT_EQ(whole.info.format, qwen);
  EXPECT_EQ(whole.info.block_tokens, 16u);
}

TEST(Mooncake, ReadsFractionsOfMilliseconds) {
  EXPECT_EQ(text_of(read_text(row("0.0", 16, "[0]") + row("250.5", 16, "[0]"), mooncake)),
            "0 16 9 0\n250500000 16 9 0\n");
}

TEST(Mooncake, CountsRowsWithTooFewIds) {
  // Two of three blocks, of which the last is partial, are as many as whole blocks; one is not.
  const WholeTrace whole = read_text(row("0", 1025, "[1, 2, 3]") + row("0", 1025, "[1, 2]") +
                                         row("0", 1025, "[1]") + row("0", 1024, "[]"),
                                     mooncake);
  EXPECT_EQ(text_of(whole), "0 1025 9 1 2 3\n0 1025 9 1 2\n0 1025 9 1\n0 1024 9\n");
  EXPECT_EQ(whole.counts.odd_prefix, 2u);
}

TEST(Mooncake, CutsTheIdOfABlockThatIsStillEmpty) {
  const WholeTrace whole =
      read_text(row("0", 1024, "[1, 2, 3]") + row("0", 1025, "[1, 2, 3]"), std::nullopt);
  EXPECT_EQ(text_of(whole), "0 1024 9 1 2\n0 1025 9 1 2 3\n");
  EXPECT_EQ(whole.info.block_tokens, 512u);
  EXPECT_EQ(whole.counts.odd_prefix, 1u);
}

TEST(Mooncake, ReusesAVectorThatHeldMore) {
  Result<TraceReaderPtr> reader = read_trace(
      std::make_unique<std::istringstream>(row("0", 1536, "[1, 2, 3]") + row("0", 512, "[4]")), "t",
      mooncake);
  TraceRequest request;
  request.prefix_blocks = {9, 9, 9, 9};
  ASSERT_TRUE(*(*reader)->next(request));
  EXPECT_EQ(request.prefix_blocks, (std::vector<std::uint64_t>{1, 2, 3}));
  ASSERT_TRUE(*(*reader)->next(request));
  EXPECT_EQ(request.prefix_blocks, (std::vector<std::uint64_t>{4}));
}

TEST(Jsonl, ReadsKeysInAnyOrderAndPastOthers) {
  EXPECT_EQ(text_of(read_text(R"({"x": {"input_length": 5, "y": [[1], {}]}, "hash_ids": [1], )"
                              R"("output_length": 2, "z": null, "input_length": 3, )"
                              R"("s": "a \" } {", "": 4, "timestamp": 10, "b": true})",
                              mooncake)),
            "0 3 2 1\n");
}

TEST(Jsonl, BadRows) {
  const auto error = [](const std::string& text) { return error_of(text, mooncake); };
  EXPECT_EQ(error("nonsense\n"), "t:1: expected a whole JSON object, found 'no'");
  EXPECT_EQ(error("[]\n"), "t:1: expected a JSON object, found '['");
  EXPECT_EQ(error("5\n"), "t:1: expected a JSON object, found '5'");
  EXPECT_EQ(error(row("0", 5, "[1]") + "\n" + row("0", 5, "[1]")),
            "t:2: expected a whole JSON object, found its end");
  EXPECT_EQ(error("{}\n"), "t:1: expected a key 'timestamp', found '{}'");
  EXPECT_EQ(error(row("0", 5, "7")), "t:1: expected a list of whole numbers from 0 up, found '7'");
  EXPECT_EQ(error(row("0", 5, "[-7]")),
            "t:1: expected a list of whole numbers from 0 up, found '-7'");
  EXPECT_EQ(error(row("0", 5, "[1.5]")),
            "t:1: expected a list of whole numbers from 0 up, found '1.5'");
  EXPECT_EQ(error(row("0", 5, "[[1]]")),
            "t:1: expected a list of whole numbers from 0 up, found '['");
  EXPECT_EQ(error(row("0", 5, "[18446744073709551616]")),
            "t:1: expected a list of whole numbers from 0 up, found '18446744073709551616'");
  EXPECT_EQ(error(row("\"0\"", 5, "[1]")),
            "t:1: expected milliseconds from 0 to 9000000000000 in 'timestamp', found "
            "'\"0\"'");
  EXPECT_EQ(error(row("{}", 5, "[1]")),
            "t:1: expected milliseconds from 0 to 9000000000000 in 'timestamp', found "
            "'{'");
  EXPECT_EQ(error(row("0, \"timestamp\": 1", 5, "[1]")),
            "t:1: expected each key once, found 'timestamp'");
  EXPECT_EQ(error(row("1e999", 5, "[1]")), "t:1: expected a whole JSON object, found '1e999'");
  EXPECT_EQ(error(row("NaN", 5, "[1]")).substr(0, 42),
            "t:1: expected a whole JSON object, found '");
  EXPECT_EQ(error(row("0", -5, "[1]")),
            "t:1: expected input tokens from 0 to 2147483647 in 'input_length', found '-5'");
  EXPECT_EQ(error(row("99999999999999", 5, "[1]")).substr(0, 28), "t:1: expected milliseconds f");
  EXPECT_EQ(error(row("0", 5, "[1]") + "{\"timestamp\": 1, \"input_len"),
            "t:2: expected a whole JSON object, found '\"input_len'");
}

TEST(Jsonl, ZeroRows) {
  const WholeTrace whole = read_text(
      row("5", 0, "[]") + row("6", 1, "[3]") +
          "{\"timestamp\": 7, \"input_length\": 2, \"output_length\": 0, \"hash_ids\": [3]}\n",
      mooncake);
  EXPECT_EQ(text_of(whole), "0 1 9 3\n1000000 2 0 3\n");  // time 0 is the first request given out
  EXPECT_EQ(describe_counts(whole.counts),
            "3 rows, 2 requests; 1 dropped: no input tokens; 1 without output tokens");
}

TEST(LlmServingSim, TakesOnlyTheClockOfArrivals) {
  EXPECT_EQ(text_of(read_text(
                R"({"request_id": "a", "input_toks": 10, "output_toks": 2, "arrival_time": )"
                R"(1777142838.338653, "queued_ts": 479748.340626232})"
                "\n"
                R"({"request_id": "b", "input_toks": 11, "output_toks": 3, "arrival_time": )"
                R"(1777142838.6237123, "queued_ts": 3.5})"
                "\n",
                std::nullopt)),
            // 838.6237123 - 838.338653 s, exact though a double of this size has steps of 238 ns
            "0 10 2\n285059300 11 3\n");
}

}  // namespace
}  // namespace kvhaul::test
