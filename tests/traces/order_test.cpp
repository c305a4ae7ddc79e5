// Rows that are out of order, files that were put together, and what puts that right.
#include "tests/traces/trace_testing.h"
#include "traces/trace_order.h"
#include "traces/trace_writer.h"

namespace kvhaul::test {
namespace {

const std::string vidur = "arrived_at,num_prefill_tokens,num_decode_tokens\n";
const std::string azure = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
const std::string ours =
    "# kvhaul trace 1, block 16 tokens\narrival_s,input_tokens,output_tokens,prefix_blocks\n";

/// A file of that text for the length of a test.
class TraceFile {
 public:
  explicit TraceFile(const std::string& text) : path_("trace") {
    std::ofstream(path_.string(), std::ios::binary) << text;
  }
  std::string path() const { return path_.string(); }

 private:
  TempPath path_;
};

std::string merged(const std::vector<std::string>& texts, const MergeRules& rules = {}) {
  std::vector<std::unique_ptr<TraceFile>> files;
  std::vector<std::string> paths;
  for (const std::string& text : texts) {
    files.push_back(std::make_unique<TraceFile>(text));
    paths.push_back(files.back()->path());
  }
  return text_of(read_whole(open_merged(paths, {}, rules)));
}
std::string sorted(const std::string& text) {
  const TraceFile file(text);
  return text_of(read_whole(open_sorted(file.path(), {})));
}

TEST(TimesThatGoBack, AreClampedUpToASecond) {
  const WholeTrace whole =
      read_text(vidur + "5,1,1\n4.5,2,1\n4,3,1\n5.5,4,1\n", TraceFormat::vidur);
  EXPECT_EQ(text_of(whole), "0 1 1\n0 2 1\n0 3 1\n500000000 4 1\n");
  EXPECT_EQ(whole.counts.out_of_order, 2u);
}

TEST(TimesThatGoBack, FurtherStopTheReadingAndNameWhatToDo) {
  const std::string one = "{\"timestamp\": 0, \"input_length\": 600, \"output_length\": 5, ";
  const std::string late = "{\"timestamp\": 87000, \"input_length\": 600, \"output_length\": 5, ";
  const std::string ids = "\"hash_ids\": [0, 1]}\n";
  EXPECT_EQ(error_of(one + ids + late + ids + one + ids + late + ids, TraceFormat::mooncake),
            "t:3: expected no time before that of the row above, found '0', 87 s back: "
            "'kvhaul trace sort' puts rows in order, 'kvhaul trace merge --parts' files that were "
            "put together");
  EXPECT_NE(error_of(vidur + "5,1,1\n3.999999999,2,1\n", TraceFormat::vidur), "");
}

TEST(TwoFilesInOne, AreSeenByTheSecondHeader) {
  const std::string expected =
      "expected one trace, found the beginning of another: 'kvhaul trace merge --parts' puts the "
      "two together by time";
  EXPECT_EQ(error_of(vidur + "0,1,1\n" + vidur + "0,1,1\n", std::nullopt), "t:3: " + expected);
  // The first without its last newline.
  EXPECT_EQ(
      error_of(vidur + "0,1,1" + vidur + "0,1,1\n", std::nullopt),
      "t:2: expected a row, found one with another file's first line behind it: 'kvhaul trace "
      "merge' takes the two files themselves");
  const std::string object = R"({"timestamp": 0, "input_length": 6, "output_length": 5})";
  EXPECT_EQ(error_of(object + object, TraceFormat::mooncake),
            "t:1: expected one JSON object, found two in one line: where files were put together, "
            "'kvhaul trace merge' takes the files themselves");
  EXPECT_EQ(error_of(ours + "0,1,1,\n" + ours + "0,1,1,\n", std::nullopt), "t:4: " + expected);
  const std::string quoted = "\"TIMESTAMP\",\"ContextTokens\",\"GeneratedTokens\"\r\n";
  EXPECT_EQ(error_of(quoted + "2024-05-12 00:00:00,1,1\r\n" + quoted, std::nullopt),
            "t:3: " + expected);
  const std::string row = R"([{"prompt_len": 5, "output_len": 6, "start_time": 1}])";
  EXPECT_EQ(error_of(row + row, std::nullopt), "t:1: " + expected);
}

TEST(Sort, PutsRequestsInOrderOfArrival) {
  EXPECT_EQ(sorted(vidur + "9,1,1\n5,2,1\n9,3,1\n2,4,1\n5,5,1\n"),
            "0 4 1\n3000000000 2 1\n3000000000 5 1\n7000000000 1 1\n7000000000 3 1\n");
  // Our own format keeps its time 0, and prefix ids stay with their requests.
  EXPECT_EQ(sorted(ours + "9,40,1,5 6 7\n2,40,1,5 6 8\n"),
            "2000000000 40 1 5 6 8\n9000000000 40 1 5 6 7\n");
}

TEST(Sort, SaysWhenATraceIsTooLarge) {
  const TraceFile file(vidur + "9,1,1\n5,2,1\n");
  const auto fits = open_sorted(file.path(), {}, 2 * sizeof(TraceRequest));
  EXPECT_TRUE(fits);
  const auto one_more = open_sorted(file.path(), {}, 2 * sizeof(TraceRequest) - 1);
  ASSERT_FALSE(one_more);
  EXPECT_TRUE(one_more.error().message.starts_with(file.path() +
                                                   ":3: expected a trace that takes at most "))
      << one_more.error().message;
}

TEST(Sort, RefusesWhatItCannotSort) {
  const TraceFile lengths("num_prefill_tokens,num_decode_tokens\n5,6\n");
  EXPECT_EQ(text_of(read_whole(open_sorted(lengths.path(), {}))),
            lengths.path() + ": expected arrival times to sort by, found lengths only");
  EXPECT_NE(sorted(vidur + "9,1,1\nx,2,1\n").find(":3: expected seconds"), std::string::npos);
  EXPECT_NE(sorted(vidur + "0,1,1\n2400000000,2,1\n").find("within 73 years"), std::string::npos);
  EXPECT_EQ(sorted(vidur + "9,0,1\n"), "");
}

TEST(Merge, KeepsTheDistanceOfOneClock) {
  EXPECT_EQ(merged({azure + "2023-11-16 18:17:03,1,1\n2023-11-16 18:17:05,2,1\n",
                    azure + "2023-11-16 18:17:01,3,1\n2023-11-16 18:17:04,4,1\n"}),
            "0 3 1\n2000000000 1 1\n3000000000 4 1\n4000000000 2 1\n");
  // Ours has a time 0 of its own.
  EXPECT_EQ(merged({ours + "3,40,1,\n", ours + "1,41,1,\n"}), "1000000000 41 1\n3000000000 40 1\n");
}

TEST(Merge, FromTheStartOfEach) {
  EXPECT_EQ(merged({azure + "2023-11-16 18:17:03,1,1\n2023-11-16 18:17:05,2,1\n",
                    vidur + "100,3,1\n101,4,1\n", ours + "7,40,1,\n"},
                   {.each_from_start = true}),
            "0 1 1\n0 3 1\n0 40 1\n1000000000 4 1\n2000000000 2 1\n");
}

TEST(Merge, SaysWhenClocksCannotBeTheSame) {
  const std::string error =
      merged({azure + "2023-11-16 18:17:03,1,1\n", vidur + "100,3,1\n101,4,1\n"});
  EXPECT_NE(error.find("begins more than a year after"), std::string::npos) << error;
  EXPECT_NE(error.find("--each-from-start"), std::string::npos) << error;
}

TEST(Merge, SharesPrefixIdsOnlyWhenTold) {
  const std::vector<std::string> parts = {ours + "0,40,1,5 6 7\n", ours + "1,40,1,5 6 8\n"};
  EXPECT_EQ(merged(parts, {.same_ids = true}), "0 40 1 5 6 7\n1000000000 40 1 5 6 8\n");
  const TraceFile a(parts[0]), b(parts[1]);
  const WholeTrace apart = read_whole(open_merged({a.path(), b.path()}, {}, {}));
  ASSERT_EQ(apart.requests.size(), 2u);
  EXPECT_NE(apart.requests[0].prefix_blocks[0], apart.requests[1].prefix_blocks[0]);
}

TEST(MergeParts, TakesAFileApartWhereAFirstLineStandsAgain) {
  const std::string a = azure + "2023-11-16 18:17:03,1,1\n2023-11-16 18:17:05,2,1\n";
  const std::string b = azure + "2023-11-16 18:17:01,3,1\n2023-11-16 18:17:04,4,1\n";
  EXPECT_EQ(merged({a + b}, {.parts = true}), merged({a, b}));
  EXPECT_EQ(merged({a + b + a}, {.parts = true}), merged({a, b, a}));
  const MergeRules from_start{.each_from_start = true};
  EXPECT_EQ(merged({a + b}, {.each_from_start = true, .parts = true}), merged({a, b}, from_start));
  // A first line with nothing behind it, and files that hold one trace each.
  EXPECT_EQ(merged({azure + a + azure}, {.parts = true}), "0 1 1\n2000000000 2 1\n");
  EXPECT_EQ(merged({a, b}, {.parts = true}), merged({a, b}));
  const std::string array = R"([{"prompt_len": 5, "output_len": 6, "start_time": 1.5}])";
  EXPECT_EQ(merged({array + "\n" + R"([ {"prompt_len": 7, "output_len": 6, "start_time": 1}])"},
                   {.parts = true}),
            "0 7 6\n500000000 5 6\n");
  EXPECT_NE(merged({array + "["}, {.parts = true}).find(":1: expected '{'"), std::string::npos);
}

TEST(MergeParts, TakesAFileApartWhereTimesGoBack) {
  const std::string a = vidur + "0,1,1\n87,2,1\n";
  EXPECT_EQ(merged({a + "0,3,1\n87,4,1\n"}, {.parts = true}),
            "0 1 1\n0 3 1\n87000000000 2 1\n87000000000 4 1\n");
  const TraceFile file(a + "86.5,3,1\n5,4,1\n6,5,1\n5.5,6,1\n");  // up to 1 s back: the same
  const WholeTrace whole = read_whole(open_merged({file.path()}, {}, {.parts = true}));
  EXPECT_EQ(describe_counts(whole.counts), "6 rows, 6 requests; 1 further traces in the same file");
  EXPECT_EQ(text_of(whole),
            "0 1 1\n5000000000 4 1\n5500000000 6 1\n6000000000 5 1\n86500000000 3 1\n"
            "87000000000 2 1\n");
}

TEST(MergeParts, KeepsIdsAndSessionsApart) {
  const auto row = [](int time_ms, const char* more) {
    return "{\"timestamp\": " + std::to_string(time_ms) +
           ", \"input_length\": 600, \"output_length\": 5, \"session_id\": \"a\", "
           "\"hash_ids\": [0, " +
           more + "]}\n";
  };
  const TraceFile file(row(0, "1") + row(9000, "2") + row(0, "1"));
  const WholeTrace apart = read_whole(open_merged({file.path()}, {}, {.parts = true}));
  ASSERT_EQ(apart.requests.size(), 3u) << apart.error;
  EXPECT_EQ(apart.requests[0].prefix_blocks[0], apart.requests[2].prefix_blocks[0]);
  EXPECT_NE(apart.requests[0].prefix_blocks[0], apart.requests[1].prefix_blocks[0]);
  EXPECT_EQ(apart.requests[0].session, apart.requests[2].session);
  EXPECT_NE(apart.requests[0].session, apart.requests[1].session);
  const WholeTrace same =
      read_whole(open_merged({file.path()}, {}, {.same_ids = true, .parts = true}));
  ASSERT_EQ(same.requests.size(), 3u) << same.error;
  EXPECT_EQ(same.requests[0].prefix_blocks, same.requests[1].prefix_blocks);
  EXPECT_EQ(same.requests[0].session, same.requests[1].session);
}

TEST(MergeParts, ReadsOurOwnFormat) {
  EXPECT_EQ(merged({ours + "3,40,1,\n" + ours + "1,41,1,\n"}, {.parts = true}),
            "1000000000 41 1\n3000000000 40 1\n");
  const std::string other =
      "# kvhaul trace 1, block 64 tokens\n" + ours.substr(ours.find('\n') + 1);
  EXPECT_NE(merged({ours + "3,40,1,\n" + other + "1,41,1,\n"}, {.parts = true})
                .find(":4: expected blocks of 16 tokens, as in the first line, found '# kvhaul"),
            std::string::npos);
}

TEST(Merge, RefusesWhatItCannotMerge) {
  EXPECT_NE(merged({vidur + "0,1,1\n", "num_prefill_tokens,num_decode_tokens\n5,6\n"})
                .find("expected arrival times to merge by, found lengths only"),
            std::string::npos);
  EXPECT_NE(merged({vidur + "5,1,1\n0,1,1\n", vidur + "0,1,1\n"}).find("trace sort"),
            std::string::npos);
  EXPECT_EQ(merged({vidur + "0,0,1\n", vidur + "5,7,1\n"}), "0 7 1\n");
}

TEST(Sessions, SurviveOurFormatAndStayApartInAMerge) {
  const std::string text =
      "{\"session_id\": \"a\", \"timestamp\": 0, \"input_length\": 10, \"output_length\": 1}\n"
      "{\"session_id\": \"b\", \"timestamp\": 1, \"input_length\": 11, \"output_length\": 1}\n"
      "{\"timestamp\": 2, \"input_length\": 12, \"output_length\": 1}\n";
  const TraceFile file(text);
  const TraceReading reading{.format = TraceFormat::mooncake};
  const TempPath copy("copy.csv");
  ASSERT_TRUE(write_trace(**open_trace(file.path(), reading), copy.string()));
  const WholeTrace before = read_whole(open_trace(file.path(), reading));
  const WholeTrace after = read_whole(open_trace(copy.string(), std::nullopt));
  ASSERT_EQ(after.requests.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i)
    EXPECT_EQ(after.requests[i].session, before.requests[i].session) << i;
  EXPECT_EQ(after.requests[2].session, 0u);
  const WholeTrace both = read_whole(open_merged({copy.string(), copy.string()}, {}, {}));
  ASSERT_EQ(both.requests.size(), 6u);
  EXPECT_NE(both.requests[0].session, both.requests[1].session);
}

}  // namespace
}  // namespace kvhaul::test
