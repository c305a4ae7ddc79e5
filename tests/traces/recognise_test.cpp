// Which format a file has, and how many tokens its prefix ids stand for.
#include "tests/traces/trace_testing.h"
#include "traces/block_sizes.h"
#include "traces/trace_stats.h"

namespace kvhaul::test {
namespace {

constexpr auto mooncake = TraceFormat::mooncake;
constexpr auto qwen = TraceFormat::qwen;

std::string row(const std::string& time, std::uint64_t input, std::uint64_t first_id,
                std::uint64_t ids) {
  std::string text = "{\"timestamp\": " + time + ", \"input_length\": " + std::to_string(input) +
                     ", \"output_length\": 9, \"hash_ids\": [";
  for (std::uint64_t i = 0; i < ids; ++i)
    text += (i == 0 ? "" : ", ") + std::to_string(i == 0 ? 0 : first_id + i);
  return text + "]}\n";
}
/// Rows of 600, 700, ... tokens that share their first block alone.
std::string rows_of(std::uint64_t block) {
  std::string text;
  for (std::uint64_t i = 0; i < 12; ++i) {
    const std::uint64_t input = 600 + 100 * i;
    text += row(std::to_string(100 * i), input, 1000 * i, (input + block - 1) / block);
  }
  return text;
}

TEST(BlockSizes, OfFilesWithAnIdForAPartialBlock) {
  BlockSizes sizes;
  EXPECT_FALSE(sizes.any());
  sizes.add(9000, 18);  // ceil(9000 / size) = 18: from 500 to 8999 / 17 = 529
  EXPECT_TRUE(sizes.fits(500) && sizes.fits(512) && sizes.fits(529));
  EXPECT_FALSE(sizes.fits(530));
  EXPECT_EQ(sizes.only(), 512u);
  sizes.add(1025, 3);  // from 342 to 512
  EXPECT_TRUE(sizes.fits(512));
  EXPECT_FALSE(sizes.fits(513));
}

TEST(BlockSizes, OfFilesWithIdsForWholeBlocksOnly) {
  BlockSizes sizes;
  sizes.add(1000, 62);  // floor(1000 / 16) = 62
  sizes.add(1007, 62);
  sizes.add(1008, 63);
  EXPECT_EQ(sizes.only(), 16u);
  EXPECT_FALSE(sizes.fits(512));
}

TEST(BlockSizes, SaysWhenNoneFits) {
  BlockSizes sizes;
  sizes.add(512, 3);
  sizes.add(1025, 2);
  EXPECT_TRUE(sizes.any());
  EXPECT_TRUE(sizes.none_fits());
  EXPECT_EQ(sizes.only(), 0u);
}

TEST(BlockSizes, SaysNothingOfRowsWithoutIds) {
  BlockSizes sizes;
  sizes.add(512, 0);
  sizes.add(0, 3);
  EXPECT_FALSE(sizes.any());
}

TEST(Recognise, MooncakeByItsIds) {
  const WholeTrace whole = read_text(rows_of(512), std::nullopt);
  EXPECT_EQ(whole.error, "");
  EXPECT_EQ(whole.info.format, mooncake);
  EXPECT_EQ(whole.info.block_tokens, 512u);
  EXPECT_EQ(whole.requests[1].arrival_ns, 100 * ms_ns);
  EXPECT_EQ(whole.info.assumed,
            "taken for mooncake, whose times are in ms: prefix ids fit blocks of 512 tokens");
  EXPECT_EQ(read_text(rows_of(512), mooncake).info.assumed, "");
}

TEST(Recognise, MooncakeWithFractionsOfMilliseconds) {
  const WholeTrace whole = read_text(row("0.0", 600, 0, 2) + row("250.5", 700, 1, 2), std::nullopt);
  EXPECT_EQ(text_of(whole), "0 600 9 0 1\n250500000 700 9 0 2\n");
}

TEST(Recognise, QwensBlocksWithoutItsKeysAreSaidAndNotGuessed) {
  EXPECT_EQ(
      error_of(rows_of(16), std::nullopt),
      "t:1: expected a file that is mooncake's (times in ms) or qwen's (in s), found one whose "
      "prefix ids fit qwen's blocks of 16 tokens: --format qwen; where times are ms, --format "
      "mooncake --block-tokens 16");
}

TEST(Recognise, OtherBlocksOfMooncakesKeysAreNamed) {
  for (const std::uint64_t block : {64, 128, 256, 1024})
    EXPECT_EQ(error_of(rows_of(block), std::nullopt),
              "t:1: expected a file that is mooncake's (times in ms) or qwen's (in s), found one "
              "whose prefix ids fit blocks of " +
                  std::to_string(block) +
                  " tokens: where times are ms, --format mooncake "
                  "--block-tokens " +
                  std::to_string(block));
}

TEST(Recognise, WhatIdsDoNotTellIsSaid) {
  // One id for ten tokens: any block from 10 up.
  EXPECT_EQ(
      error_of(row("0", 10, 0, 1), std::nullopt),
      "t:1: expected a file that is mooncake's (times in ms) or qwen's (in s), found one whose "
      "prefix ids fit either: --format mooncake or --format qwen says which");
  EXPECT_EQ(
      error_of("{\"timestamp\": 0, \"input_length\": 600, \"output_length\": 5}\n", std::nullopt),
      "t:1: expected a file that is mooncake's (times in ms) or qwen's (in s), found one "
      "without prefix ids to tell: --format mooncake or --format qwen says which");
}

TEST(Mooncake, MayComeWithoutIds) {
  const std::string text =
      "{\"timestamp\": 5, \"input_length\": 600, \"output_length\": 5}\n"
      "{\"timestamp\": 7, \"input_length\": 700, \"output_length\": 6}\n";
  const WholeTrace whole = read_text(text, mooncake);
  EXPECT_EQ(text_of(whole), "0 600 5\n2000000 700 6\n");
  EXPECT_EQ(whole.info.block_tokens, 0u);
  EXPECT_EQ(whole.info.assumed, "no 'hash_ids': nothing is shared");
}

TEST(Mooncake, OfAnotherBlockSizeStopsInsteadOfCountingHitsThatCannotBe) {
  // Blocks of 16 of which one is shared: 16 / 600 of the first input. Read as blocks of 512, the
  // two ids that were left of 38 would have made it 512 / 600.
  EXPECT_EQ(error_of(rows_of(16), mooncake),
            "t: expected prefix ids for blocks of 512 tokens, found ids for blocks of 16 tokens: "
            "--block-tokens 16; should times be s, --format qwen");
  EXPECT_EQ(error_of(rows_of(64), mooncake),
            "t: expected prefix ids for blocks of 512 tokens, found ids for blocks of 64 tokens: "
            "--block-tokens 64");
  EXPECT_EQ(error_of(rows_of(512), qwen),
            "t: expected prefix ids for blocks of 16 tokens, found ids for blocks of 512 tokens: "
            "--block-tokens 512; should times be ms, --format mooncake");
  // Larger blocks would count too few.
  EXPECT_EQ(error_of(rows_of(1024), mooncake),
            "t: expected prefix ids for blocks of 512 tokens, found ids for blocks of 1024 tokens: "
            "--block-tokens 1024");
  EXPECT_EQ(error_of(rows_of(512), TraceReading{.format = mooncake, .block_tokens = 256}),
            "t: expected prefix ids for blocks of 256 tokens, found ids for blocks of 512 tokens: "
            "--block-tokens 512");
}

TEST(Mooncake, OfAnotherBlockSizeIsReadWhenTold) {
  for (const std::uint32_t block : {16u, 64u, 500u, 1024u}) {
    for (const std::optional<TraceFormat> format : {std::optional(mooncake), {}}) {
      const TraceReading reading{.format = format, .block_tokens = block};
      auto reader = read_trace(std::make_unique<std::istringstream>(rows_of(block)), "t", reading);
      ASSERT_TRUE(reader) << reader.error().message;
      EXPECT_EQ((*reader)->info().format, mooncake);
      const auto stats = measure_trace(**reader);
      ASSERT_TRUE(stats) << stats.error().message;
      // Eleven of twelve inputs, 600 to 1,700 tokens, 13,800 in all, share one block: the first has
      // nobody before it, and no input is shorter than a block but those below 1,024.
      std::uint64_t shared = 0;
      for (std::uint64_t i = 1; i < 12; ++i)
        shared += std::min<std::uint64_t>(block, 600 + 100 * i);
      EXPECT_NEAR(stats->prefix->token_hits, static_cast<double>(shared) / 13'800, 1e-9) << block;
    }
  }
}

TEST(Mooncake, ARowWithTooManyIdsStops) {
  const WholeTrace whole = read_text(row("0", 1025, 0, 3) + row("0", 512, 0, 3), mooncake);
  EXPECT_EQ(whole.requests.size(), 1u);
  EXPECT_EQ(whole.error,
            "t:2: expected at most 1 prefix ids of 512 tokens for 512 input tokens, found 3; "
            "--block-tokens N says how many tokens an id stands for");
}

TEST(BlockTokens, AreRefusedWhereAFormatHasNone) {
  const std::string vidur = "arrived_at,num_prefill_tokens,num_decode_tokens\n0,1,1\n";
  EXPECT_EQ(error_of(vidur, TraceReading{.block_tokens = 16}),
            "--block-tokens: t is read as vidur, which has no prefix ids");
  EXPECT_EQ(error_of("# kvhaul trace 1, block 16 tokens\ninput_tokens,output_tokens\n1,1\n",
                     TraceReading{.block_tokens = 16}),
            "--block-tokens: t is read as kvhaul, whose first line says it");
}

TEST(Recognise, SaysWhatToGiveForAnotherFile) {
  EXPECT_EQ(error_of("arrived_at,prefill_tokens,decode_tokens\n0,5000,500\n", std::nullopt),
            "t:1: expected the first line of a known trace format, found "
            "'arrived_at,prefill_tokens,decode_tokens'; --columns "
            "arrival=arrived_at,input=prefill_tokens,output=decode_tokens names what to read");
  EXPECT_EQ(error_of("{\"prompt_tokens\": 3, \"completion_tokens\": 4, \"t\": 0}\n", std::nullopt),
            "t:1: expected the first line of a known trace format, found "
            "'{\"prompt_tokens\": 3, \"completion_tokens\": 4, \"t\": 0}'; --columns "
            "arrival=COLUMN,input=prompt_tokens,output=completion_tokens names what to read");
  EXPECT_EQ(error_of("start;prompt;completion\n0;1;2\n", std::nullopt),
            "t:1: expected the first line of a known trace format, found "
            "'start;prompt;completion'; columns need commas between them, as 'tr' makes them");
  EXPECT_EQ(error_of("nonsense\n", std::nullopt),
            "t:1: expected the first line of a known trace format, found 'nonsense'; --format says "
            "which ('kvhaul list formats')");
}

TEST(Recognise, SaysWhatPackedAndOtherFilesAre) {
  EXPECT_EQ(error_of("\x28\xb5\x2f\xfd....", std::nullopt),
            "t:1: expected a trace as text, found zstd data: 'zstd -dc FILE | kvhaul ... -'");
  EXPECT_EQ(error_of("PAR1....", mooncake).substr(0, 46),
            "t:1: expected a trace as text, found Parquet: ");
  EXPECT_EQ(error_of(std::string("\xff\xfe{\0", 4), std::nullopt).substr(0, 45),
            "t:1: expected a trace as text, found UTF-16: ");
}

}  // namespace
}  // namespace kvhaul::test
