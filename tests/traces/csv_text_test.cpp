// CSV as RFC 4180 has it, and as spreadsheets and databases write it.
#include "tests/traces/trace_testing.h"

namespace kvhaul::test {
namespace {

constexpr auto burstgpt = TraceFormat::burstgpt;
const std::string header = R"("Timestamp","Model","Request tokens","Response tokens")"
                           "\n";
const std::string plain = "arrived_at,num_prefill_tokens,num_decode_tokens\n";

std::string vidur_error(const std::string& rows) {
  return error_of(plain + rows, TraceFormat::vidur);
}

TEST(QuotedCsv, IsRecognisedAndRead) {
  EXPECT_EQ(text_of(read_text(header + R"("5","GPT-4, turbo","472","18")"
                                       "\n"
                                       R"(7,"says ""no""",10,"2")"
                                       "\n",
                              std::nullopt)),
            "0 472 18\n2000000000 10 2\n");
}

TEST(QuotedCsv, FieldsMayHoldLineEnds) {
  const WholeTrace whole = read_text(header +
                                         "\"5\",\"a\nb\r\n\nc,\"\"\",1,2\r\n"
                                         "6,x,3,4\n7,y,bad,4\n",
                                     burstgpt);
  ASSERT_EQ(whole.requests.size(), 2u);
  EXPECT_EQ(whole.requests[0].line, 2u);
  EXPECT_EQ(whole.requests[1].line, 6u);  // counted in lines of the file
  EXPECT_TRUE(whole.error.starts_with("t:7: expected input tokens")) << whole.error;
}

TEST(QuotedCsv, BlanksAroundQuotesAndEmptyFields) {
  EXPECT_EQ(text_of(read_text("arrived_at,num_prefill_tokens,num_decode_tokens,\"\"\n"
                              " \"1\" ,\t\"2\"\t,3,\"\"\n",
                              TraceFormat::vidur)),
            "0 2 3\n");
}

TEST(QuotedCsv, AQuoteInsideAPlainFieldIsItself) {
  EXPECT_EQ(text_of(read_text(header + "5,3.5\" disk,1,2\n6,a\"b\"c,3,4\n", burstgpt)),
            "0 1 2\n1000000000 3 4\n");
}

TEST(QuotedCsv, Damage) {
  EXPECT_EQ(vidur_error("0,\"1,2\n1,2,3\n"),
            "t:2: expected a closing '\"' in this row, found the end of the file");
  EXPECT_EQ(vidur_error("0,\"1\"2,3\n"),
            "t:2: expected a comma after a closing '\"', found other text");
  EXPECT_EQ(vidur_error("0,\"1\"2\"\n3\",3\n"),
            "t:2: expected a comma after a closing '\"', found other text");
  EXPECT_EQ(vidur_error("0,\"1\n\n\n\",3\n").substr(0, 24), "t:2: expected input toke");
  EXPECT_EQ(vidur_error("0,1,2\n1,\"" + std::string(std::size_t{9} << 20, '\n')),
            "t:3: expected a row of text, found one above 8 MiB; does a '\"' close nowhere?");
  EXPECT_EQ(vidur_error("0,\"a\n\0b\",3\n" + std::string(1, '\0')).substr(0, 2), "t:");
}

TEST(QuotedCsv, ManyLinesInOneFieldTakeNoTimeToSpeakOf) {
  // Eight million line ends in one field: with the record split anew at each this would take days.
  const std::string text = header + "5,\"" + std::string(8'000'000, '\n') + "\",1,2\n6,x,3,4\n";
  EXPECT_EQ(text_of(read_text(text, burstgpt)), "0 1 2\n1000000000 3 4\n");
}

TEST(Csv, OneColumnMayBeNamedTwiceWhereNobodyAsksForIt) {
  EXPECT_EQ(text_of(read_text("x,arrived_at,x,num_prefill_tokens,num_decode_tokens\n,1,,2,3\n",
                              std::nullopt)),
            "0 2 3\n");
}

TEST(Csv, ReadsCarriageReturnsAndAByteOrderMarkInFrontOfQuotes) {
  EXPECT_EQ(text_of(read_text("\xef\xbb\xbf\"Timestamp\",\"Request tokens\",\"Response tokens\"\r\n"
                              "\"5\",\"1\",\"2\"\r\n",
                              std::nullopt)),
            "0 1 2\n");
}

}  // namespace
}  // namespace kvhaul::test
