// --columns: files whose columns the user names.
#include "tests/traces/trace_testing.h"

namespace kvhaul::test {
namespace {

TraceReading named(std::string columns, std::optional<TraceFormat> format = {}) {
  return {.format = format, .columns = std::move(columns)};
}
const std::string blis = "arrived_at,prefill_tokens,decode_tokens\n0,5000,500\n0.5,4900,400\n";
const std::string blis_names = "arrival=arrived_at,input=prefill_tokens,output=decode_tokens";

TEST(NamedColumns, OfACsv) {
  const WholeTrace whole = read_text(blis, named(blis_names));
  EXPECT_EQ(text_of(whole), "0 5000 500\n500000000 4900 400\n");
  EXPECT_EQ(whole.info.format, TraceFormat::columns);
}

TEST(NamedColumns, InAnyOrderAndWithBlanksAndCommasInTheirNames) {
  EXPECT_EQ(text_of(read_text("\"Out, tokens\",x,\"In tokens\",When\n7,?,5,1.5\n8,?,6,2\n",
                              named("output=Out, tokens,input=In tokens,arrival=When"))),
            "0 5 7\n500000000 6 8\n");
}

TEST(NamedColumns, OfJson) {
  const std::string names = "arrival_us=t,input=usage_in,output=usage_out,session=chat";
  const std::string rows[] = {R"({"t": 10, "chat": "x", "usage_in": 5, "usage_out": 6})",
                              R"({"usage_in": 7, "t": 1010, "chat": "x", "usage_out": 8})"};
  for (const std::string& text :
       {rows[0] + "\n" + rows[1] + "\n", "[\n" + rows[0] + ",\n" + rows[1] + "]\n"}) {
    const WholeTrace whole = read_text(text, named(names));
    EXPECT_EQ(text_of(whole), "0 5 6\n1000000 7 8\n");
    ASSERT_EQ(whole.requests.size(), 2u);
    EXPECT_NE(whole.requests[0].session, 0u);
    EXPECT_EQ(whole.requests[0].session, whole.requests[1].session);
  }
}

TEST(NamedColumns, TimesAreSecondsDatesOrOfTheUnitThatIsNamed) {
  const auto at = [](const std::string& key, const std::string& times) {
    std::string text = "t,i,o\n";
    for (std::size_t from = 0, to = 0; to != std::string::npos; from = to + 1) {
      to = times.find(' ', from);
      text += times.substr(from, to - from) + ",1,1\n";
    }
    return text_of(read_text(text, named(key + "=t,input=i,output=o")));
  };
  EXPECT_EQ(at("arrival", "1700000000 1700000000.25"), "0 1 1\n250000000 1 1\n");
  EXPECT_EQ(at("arrival_ms", "5 6.5"), "0 1 1\n1500000 1 1\n");
  EXPECT_EQ(at("arrival_us", "5 6.5"), "0 1 1\n1500 1 1\n");
  EXPECT_EQ(at("arrival_ns", "5 7"), "0 1 1\n2 1 1\n");
  EXPECT_EQ(at("arrival", "2024-05-10T00:00:00.009930Z 2024-05-10T00:00:01Z"),
            "0 1 1\n990070000 1 1\n");
  EXPECT_EQ(at("arrival", "5 x").substr(0, 95),
            "0 1 1\nt:3: expected seconds from 0 to 9000000000, or a time such as 2023-11-16 "
            "18:17:03.9799600");
}

TEST(NamedColumns, WithoutArrivalAreLengthsOnly) {
  const WholeTrace whole = read_text(blis, named("input=prefill_tokens,output=decode_tokens"));
  EXPECT_EQ(text_of(whole), "0 5000 500\n0 4900 400\n");
  EXPECT_FALSE(whole.info.has_arrivals);
}

TEST(NamedColumns, TakeThePlaceOfAFormatsOwn) {
  // Mooncake's keys and unit, but for one.
  EXPECT_EQ(text_of(read_text("{\"timestamp\": 5, \"input_tokens\": 600, \"output_length\": 1, "
                              "\"hash_ids\": [3, 4]}\n"
                              "{\"timestamp\": 7, \"input_tokens\": 100, \"output_length\": 1, "
                              "\"hash_ids\": [3]}\n",
                              named("input=input_tokens", TraceFormat::mooncake))),
            "0 600 1 3 4\n2000000 100 1 3\n");
}

TEST(NamedColumns, PrefixIdsNeedToBeKnownBlocks) {
  const std::string csv = "t,i,o,p\n0,40,1,5 6 7\n1,40,1,5 6 8\n";
  EXPECT_EQ(
      error_of(csv, named("arrival=t,input=i,output=o,prefix=p")),
      "t: expected --block-tokens N, how many tokens a prefix id stands for, found prefix ids "
      "without it");
  TraceReading told = named("arrival=t,input=i,output=o,prefix=p");
  told.block_tokens = 16;
  EXPECT_EQ(text_of(read_text(csv, told)), "0 40 1 5 6 7\n1000000000 40 1 5 6 8\n");
  // In JSON rows the first of them say it themselves.
  std::string json;
  for (int i = 0; i < 20; ++i)
    json += "{\"t\": " + std::to_string(i) + ", \"i\": " + std::to_string(60 + i) +
            ", \"o\": 1, \"p\": [" + (60 + i > 64 ? "1, 2, 3, 4, 5" : "1, 2, 3, 4") + "]}\n";
  const WholeTrace whole = read_text(json, named("arrival=t,input=i,output=o,prefix=p"));
  EXPECT_EQ(whole.error, "");
  EXPECT_EQ(whole.info.block_tokens, 16u);
  EXPECT_EQ(whole.info.assumed, "prefix ids taken for blocks of 16 tokens");
}

TEST(NamedColumns, ThatAreMissingOrTwice) {
  EXPECT_EQ(error_of(blis, named("arrival=arrived_at,input=prefill,output=decode_tokens")),
            "t:1: expected a column 'prefill', found 'arrived_at,prefill_tokens,decode_tokens'");
  EXPECT_EQ(error_of(blis, named(blis_names + ",session=chat")),
            "t:1: expected a column 'chat', found 'arrived_at,prefill_tokens,decode_tokens'");
  EXPECT_EQ(error_of("a,b,b\n1,2,3\n", named("input=a,output=b")),
            "t:1: expected each column once, found 'b' twice");
  EXPECT_EQ(error_of("{\"a\": 1}\n", named("input=a,output=b")),
            "t:1: expected a key 'b', found '{\"a\": 1}'");
}

TEST(NamedColumns, BadOptions) {
  const auto error = [](const std::string& columns) { return error_of(blis, named(columns)); };
  EXPECT_EQ(error("input=a"),
            "--columns: expected input=COLUMN and output=COLUMN, found 'input=a'");
  EXPECT_EQ(error("input=a,input=b,output=c"),
            "--columns: expected one column for input, found 'a' and 'b'");
  EXPECT_EQ(error("arrival=a,arrival_ms=b,input=c,output=d"),
            "--columns: expected one column for arrival, found 'a' and 'b'");
  EXPECT_EQ(error("input=a,output=a"),
            "--columns: expected a column for one thing, found 'a' for input and output");
  EXPECT_EQ(error("inputs=a,output=b").substr(0, 21), "--columns: expected a");
  EXPECT_TRUE(error("inputs=a,output=b").ends_with("or prefix=, found 'inputs'"));
  EXPECT_TRUE(error("a,b,c").ends_with("or prefix=, found 'a'"));
  EXPECT_EQ(error("input=,output=b"), "--columns: expected a name behind input=, found none");
  EXPECT_EQ(error("input=a,output=b,").substr(0, 19), "t:1: expected a col");
  EXPECT_EQ(error_of(blis, TraceFormat::columns),
            "--format columns: expected --columns " + blis_names);
}

}  // namespace
}  // namespace kvhaul::test
