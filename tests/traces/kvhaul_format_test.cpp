#include "tests/traces/trace_testing.h"
#include "traces/generator.h"
#include "traces/trace_writer.h"

namespace kvhaul::test {
namespace {

constexpr auto ours = TraceFormat::kvhaul;
const std::string start =
    "# kvhaul trace 1, block 16 tokens\narrival_s,input_tokens,output_tokens,prefix_blocks\n";

TEST(Kvhaul, KeepsTimesAsWritten) {
  // Unlike in the formats of others, time 0 need not be the first request.
  EXPECT_EQ(text_of(read_text(start + "0.000000007,40,2,5 18446744073709551615 6\n3,1,0,\n", ours)),
            "7 40 2 5 18446744073709551615 6\n3000000000 1 0\n");
}

TEST(Kvhaul, MayNameOnlyTheSharedLeadingBlocks) {
  EXPECT_EQ(read_text(start + "0,100,2,5 6\n", ours).counts.odd_prefix, 0u);
  EXPECT_EQ(read_text(start + "0,10,2,5 6\n", ours).error,
            "t:3: expected at most 1 prefix ids of 16 tokens for 10 input tokens, found 2; the "
            "first line says how many tokens an id stands for");
}

TEST(Kvhaul, NeedsNoPrefixColumnAndNoTimes) {
  const WholeTrace whole =
      read_text("# kvhaul trace 1, block 0 tokens\noutput_tokens,input_tokens\n2,1\n", ours);
  EXPECT_EQ(text_of(whole), "0 1 2\n");
  EXPECT_FALSE(whole.info.has_arrivals);
}

TEST(Kvhaul, BadFiles) {
  const std::string expected = "t:1: expected '# kvhaul trace 1, block N tokens', found '";
  for (const std::string& line :
       {std::string("# kvhaul trace 2, block 16 tokens"), std::string("# kvhaul trace 1"),
        std::string("# kvhaul trace 1, block 16 tokens "),
        std::string("# kvhaul trace 1, block -1 tokens"),
        std::string("# kvhaul trace 1, block  tokens"),
        std::string("arrival_s,input_tokens,output_tokens,prefix_blocks")})
    EXPECT_EQ(error_of(line + "\n", ours), expected + line + "'");
  EXPECT_EQ(error_of("# kvhaul trace 1, block 16 tokens\ninput_tokens\n5\n", ours),
            "t:2: expected a column 'output_tokens', found 'input_tokens'");
  for (const char* ids : {"a", "1  2", "1,2", "-1", "1.5", "1;2", "18446744073709551616"})
    EXPECT_NE(error_of(start + "0,40,2," + ids + "\n", ours), "") << ids;
}

TEST(Kvhaul, NeedsItsFinalNewline) {
  // Otherwise 129 tokens cut to 12 would read well.
  const WholeTrace whole = read_text(start + "0,40,2,\n1,40,12", ours);
  EXPECT_EQ(whole.error,
            "t:4: expected a line of text, found no newline at its end; is the file cut?");
  EXPECT_EQ(whole.requests.size(), 1u);
}

TEST(Writer, RoundTripsEverything) {
  GeneratorOptions options;
  options.requests = 500;
  options.arrivals = GammaArrivals{3, 4};
  options.input = LognormalLength{600, 1.2, 1, 9000};
  options.output = UniformLength{0, 50};
  options.shared_prompts = SharedPrompts{3, UniformLength{16, 900}, 0.6, 32};
  const TempPath path("trace.csv");
  const Result<void> wrote = write_trace(**generate_trace(options), path.string());
  ASSERT_TRUE(wrote) << wrote.error().message;
  const WholeTrace before = read_whole(generate_trace(options));
  const WholeTrace after = read_whole(open_trace(path.string(), std::nullopt));
  EXPECT_EQ(text_of(after), text_of(before));
  EXPECT_EQ(after.info.block_tokens, 32u);
  EXPECT_EQ(after.counts.requests, before.counts.requests);
  EXPECT_EQ(after.counts.zero_output, before.counts.zero_output);
  EXPECT_EQ(after.counts.odd_prefix, 0u);
}

TEST(Writer, RoundTripsEverySample) {
  for (const char* name : {"azure-2023.csv", "azure-2024.csv", "qwen.jsonl", "vidur.csv",
                           "vidur-lengths.csv", "burstgpt-1.csv", "burstgpt-3.csv", "splitwise.csv",
                           "distserve.json", "llmservingsim.jsonl", "chat-200.csv"}) {
    const TempPath path("trace.csv");
    ASSERT_TRUE(write_trace(**open_trace(sample(name), std::nullopt), path.string())) << name;
    const WholeTrace before = read_whole(open_trace(sample(name), std::nullopt));
    const WholeTrace after = read_whole(open_trace(path.string(), ours));
    EXPECT_EQ(text_of(after), text_of(before)) << name;
    EXPECT_EQ(after.info.has_arrivals, before.info.has_arrivals) << name;
  }
}

TEST(Writer, SaysWhenItCannotWrite) {
  const auto nowhere = TraceWriter::create("/nonexistent/trace.csv", {});
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().kind, ErrorKind::bad_input);
  EXPECT_EQ(nowhere.error().message,
            "/nonexistent/trace.csv: cannot be created: No such file or directory");
}

TEST(Writer, SaysWhenTheDiskIsFull) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  const Result<void> wrote =
      write_trace(**open_trace(sample("vidur.csv"), std::nullopt), "/dev/full");
  ASSERT_FALSE(wrote);
  EXPECT_EQ(wrote.error().message, "/dev/full: could not be written: No space left on device");
}

TEST(Writer, HandsOnAReadError) {
  const TempPath path("trace.csv");
  Result<TraceReaderPtr> reader =
      read_trace(std::make_unique<std::istringstream>(start + "0,1,1,\nx,1,1,\n"), "t", ours);
  const Result<void> wrote = write_trace(**reader, path.string());
  ASSERT_FALSE(wrote);
  EXPECT_EQ(wrote.error().message.substr(0, 4), "t:4:");
  EXPECT_FALSE(std::filesystem::exists(path.string()));
}

}  // namespace
}  // namespace kvhaul::test
