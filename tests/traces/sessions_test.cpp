// Rows that are turns of a conversation, and rows that hold one whole.
#include <set>

#include "tests/traces/trace_testing.h"

namespace kvhaul::test {
namespace {

constexpr auto input = TraceFormat::llmservingsim_input;

std::string turn(const std::string& session, const std::string& when, int tokens) {
  return "{\"session_id\": \"" + session + "\", " + when +
         ", \"input_length\": " + std::to_string(tokens) + ", \"output_length\": 1}\n";
}

TEST(MooncakeSessions, LaterTurnsComeTheirPauseAfterTheTurnBefore) {
  const WholeTrace whole =
      read_text(turn("a", "\"timestamp\": 1000", 10) + turn("b", "\"timestamp\": 1500", 20) +
                    turn("a", "\"delay\": 1200.5", 11) + turn("a", "\"delay\": 100", 12) +
                    turn("c", "\"timestamp\": 2250", 30) + turn("b", "\"delay\": 0", 21),
                TraceFormat::mooncake);
  // Session a at 1000, 2200.5 and 2300.5. The second turn of b would be at 1500, but rows up to
  // 2250 have been given out when it is read.
  EXPECT_EQ(text_of(whole),
            "0 10 1\n500000000 20 1\n1200500000 11 1\n1250000000 30 1\n1250000000 21 1\n"
            "1300500000 12 1\n");
  EXPECT_EQ(whole.counts.later_turns, 3u);
  EXPECT_EQ(whole.counts.out_of_order, 1u);
}

TEST(MooncakeSessions, TurnsFarBehindTheirTimeAreForSort) {
  const std::string text = turn("a", "\"timestamp\": 0", 10) +
                           turn("b", "\"timestamp\": 5000", 20) + turn("a", "\"delay\": 100", 11);
  EXPECT_EQ(
      error_of(text, TraceFormat::mooncake),
      "t:3: expected no time before that of the row above, found '100', 4.9 s back: 'kvhaul "
      "trace sort' puts rows in order, 'kvhaul trace merge --parts' files that were put together");
  EXPECT_EQ(
      text_of(read_text(text, TraceReading{.format = TraceFormat::mooncake, .any_order = true})),
      "0 10 1\n5000000000 20 1\n100000000 11 1\n");
}

TEST(MooncakeSessions, Damage) {
  const auto error = [](const std::string& text) { return error_of(text, TraceFormat::mooncake); };
  EXPECT_EQ(error(turn("a", "\"timestamp\": 1", 10) + turn("b", "\"delay\": 1", 11)),
            "t:2: expected a key 'timestamp' in the first row of a session, found 'delay' alone");
  EXPECT_EQ(error(turn("a", "\"timestamp\": 1", 10) + turn("a", "\"delay\": -1", 11)),
            "t:2: expected milliseconds from 0 to 9000000000000 in 'delay', found '-1'");
  EXPECT_EQ(error(turn("a", "\"x\": 1", 10)).substr(0, 31), "t:1: expected a key 'timestamp'");
  // Pauses add up.
  EXPECT_NE(error(turn("a", "\"timestamp\": 1", 10) + turn("a", "\"delay\": 2000000000000", 11) +
                  turn("a", "\"delay\": 2000000000000", 11))
                .find("within 73 years"),
            std::string::npos);
}

TEST(LlmServingSimInput, ReadsRequestsAndSessions) {
  const WholeTrace whole =
      read_text(R"({"input_toks": 2300, "output_toks": 530, "arrival_time_ns": 4000000, "x": [1]})"
                "\n"
                R"({"session_id": "a", "arrival_time_ns": 9000000, "sub_requests": [)"
                R"({"input_toks": 1400, "output_toks": 130, "tool_duration_ns": 127000000}, )"
                R"({"input_toks": 1600, "output_toks": 80}]})"
                "\n"
                R"({"input_toks": 5, "output_toks": 6, "arrival_time_ns": 100000000})"
                "\n",
                std::nullopt);
  EXPECT_EQ(text_of(whole), "0 2300 530\n5000000 1400 130\n96000000 5 6\n132000000 1600 80\n");
  EXPECT_EQ(whole.info.format, input);
  EXPECT_EQ(describe_counts(whole.counts),
            "4 rows, 4 requests; 1 later turns of sessions: each its pause after the turn before "
            "came, however long that took");
  ASSERT_EQ(whole.requests.size(), 4u);
  EXPECT_EQ(whole.requests[0].session, 0u);
  EXPECT_NE(whole.requests[1].session, 0u);
  EXPECT_EQ(whole.requests[1].session, whole.requests[3].session);
}

TEST(LlmServingSimInput, AFileOfSessionsAloneIsRecognised) {
  EXPECT_EQ(text_of(read_text(
                R"({"session_id": "a", "sub_requests": [{"output_toks": 2, "input_toks": 0}, )"
                R"({"input_toks": 3, "output_toks": 0}], "arrival_time_ns": 5})"
                "\n",
                std::nullopt)),
            "0 3 0\n");
}

TEST(LlmServingSimInput, TurnsOfOneMomentKeepTheirOrder) {
  std::string turns;
  for (int i = 1; i <= 40; ++i)
    turns += std::string(i > 1 ? ", " : "") + "{\"input_toks\": " + std::to_string(i) +
             ", \"output_toks\": 1}";
  const WholeTrace whole =
      read_text("{\"arrival_time_ns\": 7, \"sub_requests\": [" + turns + "]}\n", input);
  ASSERT_EQ(whole.requests.size(), 40u);
  for (std::uint32_t i = 0; i < 40; ++i) EXPECT_EQ(whole.requests[i].input_tokens, i + 1);
}

/// A request of these tokens, or one in a session.
std::string request(int count, const std::string& tokens, const std::string& more) {
  return "{\"input_toks\": " + std::to_string(count) + ", \"output_toks\": 1" + more +
         ", \"input_tok_ids\": [" + tokens + "]}";
}

TEST(LlmServingSimInput, TokenIdsTellWhichPrefixesAreShared) {
  const std::string text = request(5, "7, 8, 9, 4, 1", ", \"arrival_time_ns\": 0") + "\n" +
                           request(4, "7, 8, 4, 9", ", \"arrival_time_ns\": 1") + "\n" +
                           R"({"session_id": "a", "arrival_time_ns": 2, "sub_requests": [)" +
                           request(4, "7, 8, 9, 4", "") + ", " + request(3, "8, 7, 9", "") +
                           "]}\n{\"input_toks\": 9, \"output_toks\": 1, \"arrival_time_ns\": 3}\n";
  const WholeTrace whole = read_text(text, TraceReading{.format = input, .block_tokens = 2});
  ASSERT_EQ(whole.requests.size(), 5u) << whole.error;
  EXPECT_EQ(whole.info.block_tokens, 2u);
  EXPECT_EQ(whole.counts.odd_prefix, 0u);
  const auto& ids = [&](std::size_t i) { return whole.requests[i].prefix_blocks; };
  ASSERT_EQ(ids(0).size(), 2u);  // whole blocks alone
  ASSERT_EQ(ids(1).size(), 2u);
  EXPECT_EQ(ids(0)[0], ids(1)[0]);
  EXPECT_NE(ids(0)[1], ids(1)[1]);  // the same two tokens in another order
  EXPECT_EQ(ids(2), ids(0));
  ASSERT_EQ(ids(3).size(), 1u);
  EXPECT_NE(ids(3)[0], ids(0)[0]);
  EXPECT_TRUE(ids(4).empty());
  const WholeTrace zeros = read_text(request(4, "0, 0, 0, 0", ", \"arrival_time_ns\": 0") + "\n",
                                     TraceReading{.format = input, .block_tokens = 1});
  ASSERT_EQ(zeros.requests.size(), 1u) << zeros.error;
  EXPECT_EQ(std::set<std::uint64_t>(zeros.requests[0].prefix_blocks.begin(),
                                    zeros.requests[0].prefix_blocks.end())
                .size(),
            4u);
  // Not told, the blocks are those of the simulator.
  EXPECT_EQ(read_text(text, input).info.assumed,
            "prefixes are shared in blocks of 16 tokens of 'input_tok_ids'");
  EXPECT_EQ(read_text("{\"input_toks\": 9, \"output_toks\": 1, \"arrival_time_ns\": 3}\n", input)
                .info.block_tokens,
            0u);
}

TEST(LlmServingSimInput, TokenIdsThatCannotBeRight) {
  const std::string at = ", \"arrival_time_ns\": 0";
  EXPECT_EQ(error_of(request(3, "1, 2", at), input),
            "t:1: expected as many 'input_tok_ids' as 'input_toks' says, 3, found 2");
  EXPECT_EQ(error_of(R"({"arrival_time_ns": 0, "sub_requests": [)" + request(1, "1, 2", "") + "]}",
                     input),
            "t:1: expected as many 'input_tok_ids' as 'input_toks' says, 1, found 2");
  for (const char* token : {"-1", "1.5", "\"a\"", "[1]", "{}", "null"})
    EXPECT_TRUE(error_of(request(1, token, at), input)
                    .starts_with("t:1: expected a list of whole numbers from 0 up, found "))
        << token;
  EXPECT_TRUE(error_of(R"({"arrival_time_ns": 0, "input_toks": 1, "output_toks": 1, )"
                       R"("input_tok_ids": 5})",
                       input)
                  .starts_with("t:1: expected a list of whole numbers"));
  EXPECT_EQ(error_of(R"({"arrival_time_ns": 0, "sub_requests": [{"input_toks": 1, "output_toks": )"
                     R"(1, "input_tok_ids": [1], "input_tok_ids": [1]}]})",
                     input),
            "t:1: expected each key once, found 'input_tok_ids'");
}

TEST(LlmServingSimInput, Damage) {
  const auto error = [](const std::string& turns) {
    return error_of("{\"arrival_time_ns\": 5, \"sub_requests\": " + turns + "}\n", input);
  };
  EXPECT_EQ(error("[]"), "t:1: expected a request in 'sub_requests', found none");
  EXPECT_EQ(error("5"), "t:1: expected a list of objects, found '5'");
  EXPECT_EQ(error("[5]"), "t:1: expected a list of objects, found '5'");
  EXPECT_EQ(error("[[]]"), "t:1: expected a list of objects, found '['");
  EXPECT_EQ(error("[{}]"),
            "t:1: expected a key 'input_toks' in each of 'sub_requests', found one without");
  EXPECT_EQ(error(R"([{"input_toks": 1, "output_toks": 1}, {"input_toks": 1}])"),
            "t:1: expected a key 'output_toks' in each of 'sub_requests', found one without");
  EXPECT_EQ(error(R"([{"input_toks": 1, "input_toks": 2, "output_toks": 1}])"),
            "t:1: expected each key once, found 'input_toks'");
  EXPECT_EQ(error(R"([{"input_toks": [1], "output_toks": 1}])").substr(0, 27),
            "t:1: expected input tokens ");
  EXPECT_EQ(
      error(R"([{"input_toks": 1, "output_toks": 1, "tool_duration_ns": -5}])"),
      "t:1: expected nanoseconds from 0 to 9000000000000000000 in 'tool_duration_ns', found '-5'");
  EXPECT_NE(
      error(R"([{"input_toks": 1, "output_toks": 1, "tool_duration_ns": 2000000000000000000},)"
            R"({"input_toks": 1, "output_toks": 1, "tool_duration_ns": 2000000000000000000},)"
            R"({"input_toks": 1, "output_toks": 1}])")
          .find("within 73 years"),
      std::string::npos);
  EXPECT_EQ(error_of("{\"arrival_time_ns\": 5, \"input_toks\": 1}\n", input).substr(0, 33),
            "t:1: expected a key 'output_toks'");
}

}  // namespace
}  // namespace kvhaul::test
