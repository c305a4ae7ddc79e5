// Packed traces: known by their bytes, read as they are unpacked, and damage said.
#include "traces/gzip.h"

#include <zlib.h>

#include "tests/traces/trace_testing.h"

namespace kvhaul::test {
namespace {

std::string packed(const std::string& text) {
  z_stream zlib{};
  EXPECT_EQ(deflateInit2(&zlib, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&zlib, text.size()) + 32, '\0');
  std::string in = text;
  zlib.next_in = reinterpret_cast<Bytef*>(in.data());
  zlib.avail_in = static_cast<uInt>(in.size());
  zlib.next_out = reinterpret_cast<Bytef*>(out.data());
  zlib.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&zlib, Z_FINISH), Z_STREAM_END);
  out.resize(out.size() - zlib.avail_out);
  deflateEnd(&zlib);
  return out;
}

const std::string header = "arrived_at,num_prefill_tokens,num_decode_tokens\n";

std::string rows(int from, int to) {
  std::string text;
  for (int i = from; i < to; ++i)
    text += std::to_string(i) + "," + std::to_string(100 + i % 7) + ",3\n";
  return text;
}

TEST(Gzip, ReadsWhatTheTextSays) {
  for (const char* name : {"azure-2023.csv", "chat-200.csv", "distserve.json", "qwen.jsonl"}) {
    const std::string text = file_text(sample(name));
    EXPECT_EQ(text_of(read_text(packed(text), std::nullopt)),
              text_of(read_text(text, std::nullopt)))
        << name;
  }
}

TEST(Gzip, IsKnownByItsBytesNotByItsName) {
  const TempPath path("trace.csv");
  std::ofstream(path.string(), std::ios::binary) << packed(header + rows(0, 3));
  EXPECT_EQ(read_whole(open_trace(path.string(), std::nullopt)).requests.size(), 3u);
}

TEST(Gzip, MembersOneAfterTheOtherAreOneText) {
  // The second begins in the middle of a row; the zeros are what tapes pad with.
  const std::string text = header + rows(0, 5000);
  for (const std::size_t cut : {std::size_t{1}, text.size() / 2, text.size() - 1})
    EXPECT_EQ(text_of(read_text(packed(text.substr(0, cut)) + packed("") +
                                    packed(text.substr(cut)) + std::string(700, '\0'),
                                std::nullopt)),
              text_of(read_text(text, std::nullopt)));
}

TEST(Gzip, CutAnywhereIsSaid) {
  const std::string bytes = packed(header + rows(0, 300));
  for (std::size_t size = 2; size < bytes.size(); size += 3)
    EXPECT_EQ(read_text(bytes.substr(0, size), TraceFormat::vidur).error,
              "t: expected whole gzip data, found its end missing")
        << size;
}

TEST(Gzip, RowsBeforeTheCutAreGivenAndTheLastPartIsNot) {
  const std::string bytes = packed(header + rows(0, 400'000));
  const WholeTrace whole = read_text(bytes.substr(0, bytes.size() / 2), TraceFormat::vidur);
  EXPECT_EQ(whole.error, "t: expected whole gzip data, found its end missing");
  EXPECT_GT(whole.requests.size(), 1000u);
  const std::string seen = text_of(whole);
  EXPECT_NE(seen.find("\n399 "), 0u);
  for (std::size_t i = 0; i < whole.requests.size(); ++i)
    ASSERT_EQ(whole.requests[i].input_tokens, 100 + i % 7) << i;
}

TEST(Gzip, DamagedBytesAreSaid) {
  const std::string bytes = packed(header + rows(0, 300));
  std::string checksum = bytes;
  checksum[checksum.size() - 6] ^= 1;
  EXPECT_EQ(read_text(checksum, TraceFormat::vidur).error,
            "t: expected whole gzip data, found it damaged");
  for (std::size_t i = 2; i < bytes.size(); i += 3) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x55);
    const WholeTrace whole = read_text(damaged, TraceFormat::vidur);
    // Time, system and name of a member's head say nothing of the text.
    if (whole.error.empty()) {
      EXPECT_EQ(whole.requests.size(), 300u) << i;
    }
  }
}

TEST(Gzip, OtherBytesBehindItAreSaid) {
  const std::string bytes = packed(header + rows(0, 3));
  for (const char* behind : {"x", "0,1,2\n", "\x1f"})
    EXPECT_NE(read_text(bytes + behind, TraceFormat::vidur).error, "") << behind;
  EXPECT_EQ(read_text(bytes + "3,1,2\n", TraceFormat::vidur).error,
            "t: expected the end of the gzip data, found other bytes behind it");
}

TEST(Gzip, ABombStaysInBounds) {
  // 1,000 MiB of one line in 1 MB: the line is too long, and no more than that of it is held.
  z_stream zlib{};
  ASSERT_EQ(deflateInit2(&zlib, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY), Z_OK);
  std::string bomb(std::size_t{4} << 20, '\0'), zeros(std::size_t{1} << 20, '7');
  zlib.next_out = reinterpret_cast<Bytef*>(bomb.data());
  zlib.avail_out = static_cast<uInt>(bomb.size());
  for (int i = 0; i < 1000; ++i) {
    zlib.next_in = reinterpret_cast<Bytef*>(zeros.data());
    zlib.avail_in = static_cast<uInt>(zeros.size());
    ASSERT_EQ(deflate(&zlib, i == 999 ? Z_FINISH : Z_NO_FLUSH), i == 999 ? Z_STREAM_END : Z_OK);
  }
  bomb.resize(bomb.size() - zlib.avail_out);
  deflateEnd(&zlib);
  EXPECT_EQ(read_text(bomb, TraceFormat::vidur).error,
            "t:1: expected a line of text, found a line above 8 MiB");
  EXPECT_EQ(read_text(bomb, TraceFormat::qwen).error,
            "t:1: expected a JSON object, found one above 8 MiB");
  EXPECT_EQ(read_text(packed(bomb), std::nullopt).error.substr(0, 12), "t:1: expecte");
}

}  // namespace
}  // namespace kvhaul::test
