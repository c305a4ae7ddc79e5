// Every kind of damage, in every format: one clear line each, never a crash.
#include <algorithm>
#include <array>
#include <cctype>

#include "core/random.h"
#include "tests/traces/trace_testing.h"
#include "traces/fields.h"

namespace kvhaul::test {
namespace {

struct Sample {
  TraceFormat format;
  const char* file;
};
constexpr std::array samples = {
    Sample{TraceFormat::azure, "azure-2023.csv"},
    Sample{TraceFormat::azure, "azure-2024.csv"},
    Sample{TraceFormat::mooncake, "mooncake.jsonl"},
    Sample{TraceFormat::qwen, "qwen.jsonl"},
    Sample{TraceFormat::vidur, "vidur.csv"},
    Sample{TraceFormat::vidur, "vidur-lengths.csv"},
    Sample{TraceFormat::burstgpt, "burstgpt-1.csv"},
    Sample{TraceFormat::burstgpt, "burstgpt-3.csv"},
    Sample{TraceFormat::splitwise, "splitwise.csv"},
    Sample{TraceFormat::distserve, "distserve.json"},
    Sample{TraceFormat::llmservingsim, "llmservingsim.jsonl"},
    Sample{TraceFormat::llmservingsim_input, "llmservingsim-input.jsonl"},
    Sample{TraceFormat::kvhaul, "chat-200.csv"},
};

std::string csv(const std::string& rows) {
  return "arrived_at,num_prefill_tokens,num_decode_tokens\n" + rows;
}
std::string csv_error(const std::string& rows) { return error_of(csv(rows), TraceFormat::vidur); }

/// One line, printable, with file and line in front.
void expect_clear(const std::string& error) {
  EXPECT_TRUE(error.starts_with("t:")) << error;
  EXPECT_NE(error.find(": expected "), std::string::npos) << error;
  EXPECT_NE(error.find(", found "), std::string::npos) << error;
  EXPECT_LT(error.size(), 250u) << error;
  for (const char c : error) EXPECT_TRUE(c >= ' ' && c <= '~') << error;
}

class EveryFormat : public ::testing::TestWithParam<Sample> {
 protected:
  TraceFormat format() const { return GetParam().format; }
  std::string text() const { return file_text(sample(GetParam().file)); }
};

TEST_P(EveryFormat, Whole) {
  const WholeTrace whole = read_text(text(), format());
  EXPECT_EQ(whole.error, "");
  EXPECT_GE(whole.requests.size(), 9u);
}

TEST_P(EveryFormat, Empty) { expect_clear(error_of("", format())); }

TEST_P(EveryFormat, OneNewline) { expect_clear(error_of("\n", format())); }

TEST_P(EveryFormat, AnotherFormat) {
  for (const Sample& other : samples) {
    // A file of Mooncake's is also one of Qwen's, and the other way round.
    const auto like_mooncake = [](TraceFormat f) {
      return f == TraceFormat::mooncake || f == TraceFormat::qwen;
    };
    const bool fits =
        other.format == format() || (like_mooncake(format()) && like_mooncake(other.format));
    if (!fits) expect_clear(error_of(file_text(sample(other.file)), format()));
  }
}

TEST_P(EveryFormat, BinaryBytes) {
  std::string bytes;
  Random random(3);
  for (int i = 0; i < 100'000; ++i) bytes += static_cast<char>(random.below(256));
  expect_clear(error_of(bytes, format()));
}

TEST_P(EveryFormat, NulByteInTheMiddle) {
  std::string bytes = text();
  bytes[bytes.size() / 2] = '\0';
  expect_clear(error_of(bytes, format()));
}

TEST_P(EveryFormat, HugeLine) {
  expect_clear(error_of(std::string(trace_record_bytes_max + 100, 'x'), format()));
  // Also after good rows, and in a row that goes on.
  const std::string head = text();
  expect_clear(error_of(head + std::string(std::size_t{40} << 20, '7'), format()));
  expect_clear(error_of(head + "\"\n" + std::string(std::size_t{20} << 20, '7'), format()));
}

TEST_P(EveryFormat, CutIsAnErrorOrEndsInTheSameRows) {
  const std::string bytes = text();
  const std::string all = text_of(read_text(bytes, format()));
  for (std::size_t size = 0; size < std::min<std::size_t>(bytes.size(), 700); size += 7) {
    const WholeTrace cut = read_text(bytes.substr(0, size), format());
    if (!cut.error.empty()) {
      expect_clear(cut.error);
      continue;
    }
    // Only the last number of a CSV may have lost digits unseen: all rows before it are right.
    std::string seen = text_of(cut);
    seen.resize(seen.find_last_of('\n', seen.size() - 2) + 1);
    EXPECT_TRUE(all.starts_with(seen)) << size;
  }
}

TEST_P(EveryFormat, BytesChanged) {
  const std::string bytes = text();
  for (std::size_t i = 0; i < std::min<std::size_t>(bytes.size(), 700); i += 7) {
    for (const char c : {'\0', '-', ',', '"', '\n'}) {
      std::string damaged = bytes;
      damaged[i] = c;
      const std::string error = error_of(damaged, format());
      if (!error.empty()) expect_clear(error);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Damage, EveryFormat, ::testing::ValuesIn(samples),
                         [](const auto& param_info) {
                           std::string name = param_info.param.file;
                           for (char& c : name)
                             if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
                           return name;
                         });

TEST(Damage, HeaderOnly) {
  EXPECT_EQ(csv_error(""), "t:1: expected at least one request, found the end of the file");
}

TEST(Damage, BlankLine) {
  EXPECT_EQ(csv_error("0,1,2\n\n1,1,2\n"),
            "t:3: expected as many columns as the header has, found fewer");
}

TEST(Damage, CutInTheMiddleOfARow) {
  EXPECT_EQ(csv_error("0,1,2\n1,1"),
            "t:3: expected as many columns as the header has, found fewer; is the file cut?");
}

TEST(Damage, TooManyColumns) {
  EXPECT_EQ(csv_error("0,1,2,3\n"), "t:2: expected as many columns as the header has, found more");
}

TEST(Damage, ColumnMissingFromTheHeader) {
  EXPECT_EQ(error_of("TIMESTAMP,ContextTokens\n2024-05-12 00:00:00,5\n", TraceFormat::azure),
            "t:1: expected a column 'GeneratedTokens', found 'TIMESTAMP,ContextTokens'");
}

TEST(Damage, ColumnTwiceInTheHeader) {
  EXPECT_EQ(error_of("arrived_at,num_prefill_tokens,arrived_at,num_decode_tokens\n0,1,2,3\n",
                     TraceFormat::vidur),
            "t:1: expected each column once, found 'arrived_at' twice");
}

TEST(Damage, TokensOutOfRange) {
  EXPECT_EQ(csv_error("0,2147483648,1\n"),
            "t:2: expected input tokens from 0 to 2147483647 in 'num_prefill_tokens', found "
            "'2147483648'");
  for (const char* tokens :
       {"-1", "+1", "1.0", "1e3", "", " ", "0x10", "nan", "99999999999999999999", "1 2", "1\r"}) {
    expect_clear(csv_error(std::string("0,") + tokens + ",1\n"));
    expect_clear(csv_error(std::string("0,1,") + tokens + ",\n"));
  }
  EXPECT_EQ(text_of(read_text(csv("0,2147483647,2147483647\n"), TraceFormat::vidur)),
            "0 2147483647 2147483647\n");
}

TEST(Damage, TimesOutOfRange) {
  EXPECT_EQ(csv_error("9000000001,1,1\n"),
            "t:2: expected seconds from 0 to 9000000000 in 'arrived_at', found '9000000001'");
  for (const char* time :
       {"-1", "-0.5", "+1", "nan", "NaN", "inf", "1e99", "1e400", "1.", ".5", "1..5", "1.5.5",
        "1,5", "0x1p3", "", "1e", "18446744073709551616", "5s"}) {
    expect_clear(csv_error(std::string(time) + ",1,1\n"));
  }
}

TEST(Damage, ControlCharactersStayOffTheTerminal) {
  EXPECT_EQ(csv_error("\x1b[31mred\x07,1,1\n"),
            "t:2: expected seconds from 0 to 9000000000 in 'arrived_at', found "
            "'\\x1b[31mred\\x07'");
}

TEST(Damage, LongTextsAreShortened) {
  const std::string error = csv_error(std::string(5000, 'a') + ",1,1\n");
  EXPECT_TRUE(error.ends_with("'" + std::string(60, 'a') + "...'")) << error;
}

TEST(Damage, NulByteNamesItsLine) {
  std::string text = csv("0,1,1\n1,1,1\n");
  text[text.size() - 4] = '\0';
  EXPECT_EQ(error_of(text, TraceFormat::vidur), "t:3: expected a line of text, found a NUL byte");
}

TEST(Damage, RowsBeforeTheDamageAreGiven) {
  const WholeTrace whole = read_text(csv("0,1,1\n1,1,1\n2,x,1\n3,1,1\n"), TraceFormat::vidur);
  EXPECT_EQ(whole.requests.size(), 2u);
  EXPECT_EQ(whole.counts.requests, 2u);
}

TEST(Damage, ReadsFilesOfManyBlocks) {
  // Over 50 MiB, ending without a newline where an earlier block had one.
  std::string text = csv("");
  std::uint64_t rows = 0;
  while (text.size() < (std::size_t{50} << 20)) {
    text += std::to_string(rows) + ".25,1000000,1000000" + std::string(rows % 7, ' ') + "\n";
    ++rows;
  }
  text.pop_back();
  Result<TraceReaderPtr> reader =
      read_trace(std::make_unique<std::istringstream>(text), "t", TraceFormat::vidur);
  TraceRequest request;
  std::uint64_t read = 0;
  while (true) {
    const Result<bool> more = (*reader)->next(request);
    ASSERT_TRUE(more) << more.error().message;
    if (!*more) break;
    ASSERT_EQ(request.arrival_ns, static_cast<TimeNs>(read++) * s_ns);
    ASSERT_EQ(request.output_tokens, 1'000'000u);
  }
  EXPECT_EQ(read, rows);
}

TEST(Sniff, KnowsEverySample) {
  for (const Sample& one : samples) {
    const WholeTrace whole = read_whole(open_trace(sample(one.file), std::nullopt));
    EXPECT_EQ(whole.error, "") << one.file;
    EXPECT_EQ(whole.info.format, one.format) << one.file;
  }
}

TEST(Open, SaysWhyAFileCannotBeRead) {
  const auto missing = open_trace("/nonexistent/trace.csv", std::nullopt);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().kind, ErrorKind::bad_input);
  EXPECT_EQ(missing.error().message,
            "cannot open '/nonexistent/trace.csv': No such file or directory");
  for (std::size_t i = 0; i < trace_format_count; ++i) {
    const WholeTrace folder = read_whole(open_trace("/", static_cast<TraceFormat>(i)));
    EXPECT_EQ(folder.error, "/: expected a file, found a directory");
  }
}

TEST(Formats, HaveNamesThatAreFoundAgain) {
  for (std::size_t i = 0; i < trace_format_count; ++i) {
    const auto format = static_cast<TraceFormat>(i);
    EXPECT_EQ(find_trace_format(trace_format_name(format)), format);
    EXPECT_FALSE(trace_format_summary(format).empty());
  }
  EXPECT_FALSE(find_trace_format("Azure"));
}

}  // namespace
}  // namespace kvhaul::test
