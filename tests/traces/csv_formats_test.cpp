#include "tests/traces/trace_testing.h"

namespace kvhaul::test {
namespace {

TEST(Vidur, ReadsPythonFloats) {
  EXPECT_EQ(text_of(read_text("arrived_at,num_prefill_tokens,num_decode_tokens\n"
                              "0.0,4808,10\n1e-05,5,1\n0.052,3180,8\n3435.94823,1,1\n",
                              std::nullopt)),
            "0 4808 10\n10000 5 1\n52000000 3180 8\n3435948230000 1 1\n");
}

TEST(Vidur, ReadsLengthsWithoutTimes) {
  const WholeTrace whole = read_text(
      "num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n"
      "3772,54,3826,69.85185185185185\n2015,156,2171,12.916666666666666\n",
      std::nullopt);
  EXPECT_EQ(text_of(whole), "0 3772 54\n0 2015 156\n");
  EXPECT_FALSE(whole.info.has_arrivals);
}

TEST(Vidur, ReadsPastAnUnnamedIndexColumn) {
  EXPECT_EQ(text_of(read_text(",arrived_at,num_prefill_tokens,num_decode_tokens\n0,0.5,7,1\n",
                              std::nullopt)),
            "0 7 1\n");
}

TEST(BurstGpt, ReadsOneAndTwo) {
  EXPECT_EQ(
      text_of(read_text("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
                        "5,ChatGPT,47,18,65,Conversation log\n45,GPT-4,10,20,30,API log\n",
                        std::nullopt)),
      "0 47 18\n40000000000 10 20\n");
}

TEST(BurstGpt, ReadsThreeWithColumnsInsertedInTheMiddle) {
  EXPECT_EQ(text_of(read_text("Timestamp,Session ID,Elapsed time,Model,Request tokens,"
                              "Response tokens,Total tokens,Log Type\n"
                              "19440110.0,7b0d,4.2,ChatGPT,47,18,65,Conversation log\n"
                              "19440111.25,,0.9,GPT-4,10,20,30,API log\n",
                              std::nullopt)),
            "0 47 18\n1250000000 10 20\n");
}

TEST(BurstGpt, DropsFailedRequestsAndKeepsThoseWithoutResponse) {
  const WholeTrace whole = read_text(
      "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
      "5,ChatGPT,0,0,0,Conversation log\n6,ChatGPT,9,0,9,\n6,ChatGPT,9,1,10,API log\n",
      std::nullopt);
  EXPECT_EQ(text_of(whole), "0 9 0\n0 9 1\n");
  EXPECT_EQ(whole.counts.rows, 3u);
  EXPECT_EQ(whole.counts.requests, 2u);
  EXPECT_EQ(whole.counts.zero_input, 1u);
  EXPECT_EQ(whole.counts.zero_output, 1u);
}

TEST(Splitwise, ReadsTheSimulatorsInput) {
  EXPECT_EQ(text_of(read_text("request_id,request_type,application_id,arrival_timestamp,batch_size,"
                              "prompt_size,token_size\n0,2,0,1,1,4096,32\n1,2,0,3,1,2048,8\n",
                              std::nullopt)),
            "0 4096 32\n2000000000 2048 8\n");
}

TEST(Splitwise, RefusesRequestsOfSeveralPrompts) {
  EXPECT_EQ(
      error_of("arrival_timestamp,batch_size,prompt_size,token_size\n1,4,4096,32\n", std::nullopt),
      "t:2: expected a batch_size of 1, found '4'");
}

TEST(DistServe, ReadsAnArrayWithoutHoldingIt) {
  EXPECT_EQ(text_of(read_text(R"([ {"prompt_len": 5, "output_len": 6, "start_time": 7301.5,
      "token_timestamps": [1.0, {"a": [2]}], "text": "} ] \" { \\"}
      ,{"start_time": 7301.75, "prompt_len": 7, "output_len": 8}] )",
                              std::nullopt)),
            "0 5 6\n250000000 7 8\n");
}

TEST(DistServe, BadArrays) {
  const auto error = [](const std::string& text) { return error_of(text, TraceFormat::distserve); };
  const std::string row = R"({"prompt_len": 5, "output_len": 6, "start_time": 1})";
  EXPECT_EQ(error("[]"), "t:1: expected at least one request, found the end of the file");
  EXPECT_EQ(error("{}"), "t:1: expected '[', found '{'");
  EXPECT_EQ(error("[5]"), "t:1: expected '{', found '5'");
  EXPECT_EQ(error("[" + row + "\n" + row + "]"), "t:2: expected ',' or ']', found '{'");
  EXPECT_EQ(error("[" + row + ",\n"), "t:2: expected '{', found the end of the file");
  EXPECT_EQ(error("[" + row + ",]"), "t:1: expected '{', found ']'");
  EXPECT_EQ(error("[" + row), "t:1: expected ',' or ']', found the end of the file");
  EXPECT_EQ(error("[" + row + ",\n{\"prompt_len\": 5"),
            "t:2: expected the rest of a JSON object, found the end of the file");
  EXPECT_EQ(error("[" + row + "]\n\nx"), "t:3: expected nothing after the ']', found 'x'");
  EXPECT_EQ(error("[" + row + "]" + std::string(1, '\0')),
            "t:1: expected nothing after the ']', found '\\x00'");
  EXPECT_EQ(error("[{\"prompt_len\": 5}]"),
            "t:1: expected a key 'start_time', found "
            "'{\"prompt_len\": 5}'");
  EXPECT_EQ(error("[{,}]"), "t:1: expected a whole JSON object, found '{,'");
  EXPECT_EQ(error("[{\"a\": \"" + std::string(9 << 20, 'x') + "\"}]"),
            "t:1: expected a JSON object, found one above 8 MiB");
}

}  // namespace
}  // namespace kvhaul::test
