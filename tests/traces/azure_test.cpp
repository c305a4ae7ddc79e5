#include "tests/traces/trace_testing.h"

namespace kvhaul::test {
namespace {

constexpr auto azure = TraceFormat::azure;
const std::string header = "TIMESTAMP,ContextTokens,GeneratedTokens\n";

TEST(Azure, ReadsSevenDigitsWithoutZone) {
  EXPECT_EQ(text_of(read_text(header + "2023-11-16 18:15:46.6805900,374,44\n"
                                       "2023-11-16 18:15:50.9951690,396,109\n",
                              azure)),
            "0 374 44\n4314579000 396 109\n");
}

TEST(Azure, ReadsSixDigitsWithZone) {
  EXPECT_EQ(text_of(read_text(header + "2024-05-10 00:00:00.009930+00:00,2162,5\n"
                                       "2024-05-10 00:00:00.017335+00:00,2399,6\n",
                              azure)),
            "0 2162 5\n7405000 2399 6\n");
}

TEST(Azure, ReadsWholeSecondsThatDroppedTheirFraction) {
  EXPECT_EQ(text_of(read_text(header + "2024-05-11 23:59:59.999999+00:00,5,1\n"
                                       "2024-05-12 00:00:00+00:00,6,1\n"
                                       "2024-05-12 00:00:01,7,1\n",
                              azure)),
            "0 5 1\n1000 6 1\n1000001000 7 1\n");
}

TEST(Azure, ReadsOtherZones) {
  // 01:30 at +01:30 and 19:00 the day before at -05:00 are both 00:00 UTC.
  EXPECT_EQ(text_of(read_text(header + "2024-05-12 01:30:00+01:30,5,1\n"
                                       "2024-05-11 19:00:00.5-05:00,6,1\n",
                              azure)),
            "0 5 1\n500000000 6 1\n");
}

TEST(Azure, ReadsIso8601) {
  EXPECT_EQ(text_of(read_text(header + "2024-05-10T00:00:00.009930Z,10,2\n"
                                       "2024-05-10T00:00:01Z,11,2\n"
                                       "2024-05-10t00:00:01.5z,12,2\n"
                                       "\"2024-05-10T00:00:01,75\",13,2\n"
                                       "2024-05-10T02:00:02+0200,14,2\n"
                                       "2024-05-09T23:00:03-01,15,2\n",
                              std::nullopt)),
            "0 10 2\n990070000 11 2\n1490070000 12 2\n1740070000 13 2\n1990070000 14 2\n"
            "2990070000 15 2\n");
}

TEST(Azure, CountsDaysOverTheEndOfFebruary) {
  // 2024 is a leap year: two days from the 28th to March 1st.
  EXPECT_EQ(
      text_of(read_text(header + "2024-02-28 00:00:00,5,1\n2024-03-01 00:00:00,6,1\n", azure)),
      "0 5 1\n172800000000000 6 1\n");
}

TEST(Azure, ReadsCarriageReturnsAndNoFinalNewline) {
  EXPECT_EQ(text_of(read_text("TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
                              "2023-11-16 18:17:03.9799600,4808,10\r\n"
                              "2023-11-16 18:17:04.0319600,3180,8",
                              azure)),
            "0 4808 10\n52000000 3180 8\n");
}

TEST(Azure, ReadsAByteOrderMark) {
  EXPECT_EQ(text_of(read_text("\xef\xbb\xbf" + header + "2024-05-12 00:00:00,5,1\n", std::nullopt)),
            "0 5 1\n");
}

TEST(Azure, FindsColumnsByName) {
  EXPECT_EQ(text_of(read_text("GeneratedTokens,NumImages,TIMESTAMP,ContextTokens\n"
                              "7,1,2025-10-15 00:00:00,900\n",
                              azure)),
            "0 900 7\n");
}

TEST(Azure, GivesARowOutOfOrderTheTimeOfTheRowBefore) {
  const WholeTrace whole = read_text(header +
                                         "2024-05-12 00:00:05,5,1\n"
                                         "2024-05-12 00:00:04,6,1\n"
                                         "2024-05-12 00:00:06,7,1\n",
                                     azure);
  EXPECT_EQ(text_of(whole), "0 5 1\n0 6 1\n1000000000 7 1\n");
  EXPECT_EQ(whole.counts.out_of_order, 1u);
}

TEST(Azure, GivesTheLineOfEachRequest) {
  const WholeTrace whole =
      read_text(header + "2024-05-12 00:00:05,0,1\n2024-05-12 00:00:05,6,1\n", azure);
  ASSERT_EQ(whole.requests.size(), 1u);
  EXPECT_EQ(whole.requests[0].line, 3u);
}

TEST(Azure, BadTimes) {
  const std::string expected =
      "t:2: expected a time such as 2023-11-16 18:17:03.9799600 in "
      "'TIMESTAMP', found '";
  for (const char* time : {
           "",
           "2023-11-16",
           "2023-11-16 18:15",
           "2023-02-29 00:00:00",
           "2023-13-01 00:00:00",
           "2023-00-10 00:00:00",
           "2023-11-31 00:00:00",
           "2023-11-16 24:00:00",
           "2023-11-16 18:60:00",
           "2023-11-16 18:15:60",
           "2023-11-16 18:15:46.",
           "2023-11-16 18:15:46.1234567890",
           "2023-11-16 18:15:46+24:00",
           "2023-11-16 18:15:46+00:60",
           "2023-11-16 18:15:46.5 ?",
           "2023-11-16X18:15:46",
           "2023-11-16T 18:15:46",
           "2023-11-16 18:15:46Z1",
           "2023-11-16 18:15:46ZZ",
           "2023-11-16 18:15:46+0",
           "2023-11-16 18:15:46+00:",
           "2023-11-16 18:15:46+000",
           "2023-11-16 18:15:46+00:0",
           "2023-11-16 18:15:46Z+00:00",
           "20231116T181546Z",
           "1969-12-31 23:59:59",
           "2201-01-01 00:00:00",
           "-023-11-16 18:15:46",
           "2023-11-16 18:15:4x",
           "12345.6",
           "NaN",
       }) {
    EXPECT_EQ(error_of(header + time + ",5,1\n", azure), expected + time + "'") << time;
  }
}

}  // namespace
}  // namespace kvhaul::test
