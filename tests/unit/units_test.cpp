#include "core/units.h"

#include <limits>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "core/random.h"
#include "core/unit_text.h"

namespace kvhaul {
namespace {

TEST(ByteCost, CostsWhatTheRateSays) {
  // 1 GB at 50 GB/s: 1e9 / 50e9 s = 20 ms
  EXPECT_EQ(ByteCost::from_rate(50e9).of(1'000'000'000), 20 * ms_ns);
  // 64 KiB at 47 GB/s: 65536 / 47 ns = 1394.38 ns, rounded down
  EXPECT_EQ(ByteCost::from_rate(47e9).of(64 * KiB), 1394);
  EXPECT_EQ(ByteCost().of(Bytes{1} << 60), 0);
}

TEST(ByteCost, IsExactEnoughForTheFastestLink) {
  // 1 TB at 900 GB/s is 1.111... s; a 2^-32 ns step per byte is an error of 1 part in 4.7 million.
  const auto exact = 1e12 / 900.0;
  const auto got = static_cast<double>(ByteCost::from_rate(900e9).of(1'000'000'000'000));
  EXPECT_NEAR(got / exact, 1.0, 1.1e-7 + 1e-9);
}

TEST(AddTime, StopsAtNever) {
  EXPECT_EQ(add_time(never_ns, 1), never_ns);
  EXPECT_EQ(add_time(1, 2), 3);
}

TEST(ParseBytes, ReadsBinaryAndDecimalUnits) {
  const std::vector<std::pair<const char*, Bytes>> sizes = {{"0 B", 0},
                                                            {"1 B", 1},
                                                            {"64 KiB", 65'536},
                                                            {"1.5 MiB", 1'572'864},
                                                            {"3 GiB", 3'221'225'472},
                                                            {"2 TiB", 2'199'023'255'552},
                                                            {"7 KB", 7'000},
                                                            {"7 MB", 7'000'000},
                                                            {"80GB", 80'000'000'000},
                                                            {"5 TB", 5'000'000'000'000},
                                                            {"2.4 B", 2},
                                                            {"2.6 B", 3},
                                                            {"9e18 B", 9'000'000'000'000'000'000}};
  for (const auto& [text, bytes] : sizes) {
    const auto result = parse_bytes(text);
    ASSERT_TRUE(result) << text;
    EXPECT_EQ(*result, bytes) << text;
  }
}

TEST(ParseBytes, RefusesBareNumbersAndNonsense) {
  for (const char* text : {"64", "", "KiB", "64 kib", "-1 KiB", "nan KiB", "inf B", "1e400 B",
                           "9.1e18 B", "1e30 TiB", "64 KiB/s", "64  KiB", "64 KiB ", " 64 KiB"}) {
    const auto result = parse_bytes(text);
    ASSERT_FALSE(result) << text;
    EXPECT_EQ(result.error().kind, ErrorKind::bad_input);
    EXPECT_EQ(result.error().message,
              "expected a size with its unit, such as '64 KiB' or '80 GB', found '" +
                  std::string(text) + "'");
  }
}

TEST(ParseRate, BitsAndBytes) {
  const std::vector<std::pair<const char*, double>> rates = {
      {"1 B/s", 1},        {"9 KB/s", 9e3},    {"9 MB/s", 9e6},       {"55.3 GB/s", 55.3e9},
      {"1000 TB/s", 1e15}, {"8 Kb/s", 1000},   {"8 Mb/s", 1'000'000}, {"400 Gb/s", 50e9},
      {"1.6 Tb/s", 200e9}, {"8000 Tb/s", 1e15}};
  for (const auto& [text, rate] : rates) {
    const auto result = parse_rate(text);
    ASSERT_TRUE(result) << text;
    EXPECT_DOUBLE_EQ(*result, rate) << text;
  }
  for (const char* text : {"0 GB/s", "0.9 B/s", "1001 TB/s", "55.3", "55.3 GiB/s", "-1 GB/s"}) {
    const auto result = parse_rate(text);
    ASSERT_FALSE(result) << text;
    EXPECT_EQ(result.error().message,
              "expected a rate above zero with its unit, such as '55.3 GB/s' or '400 Gb/s', found "
              "'" +
                  std::string(text) + "'");
  }
}

TEST(ParseFlops, AllUnits) {
  EXPECT_DOUBLE_EQ(*parse_flops("989 TFLOPS"), 989e12);
  EXPECT_DOUBLE_EQ(*parse_flops("2.5PFLOPS"), 2.5e15);
  EXPECT_DOUBLE_EQ(*parse_flops("1 GFLOPS"), 1e9);
  EXPECT_DOUBLE_EQ(*parse_flops("1000 PFLOPS"), 1e18);
  for (const char* text : {"989", "989 TB/s", "0 TFLOPS", "0.9 GFLOPS", "1001 PFLOPS"}) {
    const auto result = parse_flops(text);
    ASSERT_FALSE(result) << text;
    EXPECT_EQ(result.error().message,
              "expected operations per second with their unit, such as '989 TFLOPS', 1 GFLOPS to "
              "1000 PFLOPS, found '" +
                  std::string(text) + "'");
  }
}

TEST(ParseDuration, AllUnits) {
  const std::vector<std::pair<const char*, TimeNs>> times = {{"0 ns", 0},
                                                             {"7 ns", 7},
                                                             {"3.1 us", 3100},
                                                             {"250 ms", 250 * ms_ns},
                                                             {"1.5 s", 1'500 * ms_ns},
                                                             {"2 min", 120 * s_ns},
                                                             {"2 h", 7200 * s_ns},
                                                             {"0.4 ns", 0},
                                                             {"0.6 ns", 1},
                                                             {"9e9 s", 9'000'000'000 * s_ns}};
  for (const auto& [text, time] : times) {
    const auto result = parse_duration(text);
    ASSERT_TRUE(result) << text;
    EXPECT_EQ(*result, time) << text;
  }
  for (const char* text : {"5", "5 years", "-1 s", "9.1e9 s"}) {
    const auto result = parse_duration(text);
    ASSERT_FALSE(result) << text;
    EXPECT_EQ(result.error().message,
              "expected a duration with its unit, such as '3.1 us' or '250 ms', found '" +
                  std::string(text) + "'");
  }
}

TEST(Text, NumbersKeepTheDigitsAskedForAndNoZerosBehind) {
  struct Case {
    double value;
    int digits;
    const char* text;
  };
  for (const Case& c : {Case{0, 3, "0"},
                        Case{-0.0, 3, "0"},
                        Case{1, 3, "1"},
                        Case{10, 3, "10"},
                        Case{100, 3, "100"},
                        Case{1.234, 3, "1.23"},
                        Case{12.34, 3, "12.3"},
                        Case{123.4, 3, "123"},
                        Case{1234.6, 3, "1235"},
                        Case{-12.34, 3, "-12.3"},
                        Case{0.5, 3, "0.5"},
                        Case{0.000123, 3, "0.000123"},
                        Case{1.999, 3, "2"},
                        Case{99.96, 3, "100"},
                        Case{12.34, 1, "12"},
                        Case{12.345678, 7, "12.34568"},
                        Case{1.23e-8, 3, "0.000000012"},  // nine decimals at most
                        Case{1e-12, 3, "0"},
                        Case{-1e-12, 3, "0"},
                        Case{1e18, 3, "1000000000000000000"},
                        Case{std::numeric_limits<double>::infinity(), 3, "-"},
                        Case{std::numeric_limits<double>::quiet_NaN(), 3, "-"}})
    EXPECT_EQ(number_text(c.value, c.digits), c.text);
  EXPECT_EQ(number_text(1.23456), "1.23");
}

TEST(Text, SizesRatesAndTimesChangeTheirUnitWhereTheHeaderSays) {
  const std::vector<std::pair<Bytes, const char*>> sizes = {{0, "0 B"},
                                                            {1023, "1023 B"},
                                                            {1024, "1 KiB"},
                                                            {605'184, "591 KiB"},
                                                            {1023 * KiB, "1023 KiB"},
                                                            {MiB, "1 MiB"},
                                                            {4 * MiB, "4 MiB"},
                                                            {1023 * MiB, "1023 MiB"},
                                                            {GiB, "1 GiB"},
                                                            {80 * GiB, "80 GiB"},
                                                            {1023 * GiB, "1023 GiB"},
                                                            {1024 * GiB, "1 TiB"},
                                                            {1536 * GiB, "1.5 TiB"},
                                                            {5000 * 1024 * GiB, "5000 TiB"}};
  for (const auto& [bytes, text] : sizes) EXPECT_EQ(bytes_text(bytes), text);

  const std::vector<std::pair<double, const char*>> rates = {
      {0, "0 B/s"},        {999, "999 B/s"},      {1000, "1 KB/s"},      {999e3, "999 KB/s"},
      {1e6, "1 MB/s"},     {999e6, "999 MB/s"},   {1e9, "1 GB/s"},       {55.3e9, "55.3 GB/s"},
      {1e12, "1000 GB/s"}, {1.8e12, "1800 GB/s"}, {7.2e12, "7200 GB/s"}, {9.999e12, "9999 GB/s"},
      {10e12, "10 TB/s"},  {999e12, "999 TB/s"},  {5e15, "5000 TB/s"}};
  for (const auto& [rate, text] : rates) EXPECT_EQ(rate_text(rate), text);

  const std::vector<std::pair<TimeNs, const char*>> times = {
      {0, "0 ns"},
      {7, "7 ns"},
      {999, "999 ns"},
      {1'000, "1 us"},
      {3'100, "3.1 us"},
      {999'000, "999 us"},
      {ms_ns, "1 ms"},
      {999 * ms_ns, "999 ms"},
      {s_ns, "1 s"},
      {61 * s_ns, "61 s"},
      {119 * s_ns, "119 s"},
      {120 * s_ns, "2 min 0 s"},
      {121'600 * ms_ns, "2 min 2 s"},
      {179'700 * ms_ns, "3 min 0 s"},  // and not "2 min 60 s"
      {3'599 * s_ns, "59 min 59 s"},
      {3'600 * s_ns, "1 h 0 min"},
      {3'723 * s_ns, "1 h 2 min"},
      {100 * 3'600 * s_ns + 59 * 60 * s_ns, "100 h 59 min"},
      {-7, "-7 ns"},
      {-3'100, "-3.1 us"},
      {-12 * ms_ns, "-12 ms"},
      {-2 * s_ns, "-2 s"},
      {-125 * s_ns, "-2 min 5 s"},
      {-3'723 * s_ns, "-1 h 2 min"},
      {never_ns, "never"}};
  for (const auto& [time, text] : times) EXPECT_EQ(duration_text(time), text);
}

TEST(Text, WhatSomebodyWroteIsShownSafelyAndShortened) {
  EXPECT_EQ(in_quotes(""), "''");
  EXPECT_EQ(in_quotes("a b~"), "'a b~'");
  EXPECT_EQ(in_quotes(std::string_view("\0\x1f\x20", 3)), R"('\x00\x1f ')");
  EXPECT_EQ(in_quotes("a\nb\x1b[31m"), R"('a\x0ab\x1b[31m')");
  EXPECT_EQ(in_quotes("\x7e\x7f\x80\xc3\xff"), R"('~\x7f\x80\xc3\xff')");
  EXPECT_EQ(in_quotes(std::string(60, 'x')), "'" + std::string(60, 'x') + "'");
  EXPECT_EQ(in_quotes(std::string(61, 'x')), "'" + std::string(60, 'x') + "...'");
}

TEST(Random, IsTheSameEverywhere) {
  Random random(1);
  EXPECT_EQ(random(), mix64(1));
  Random again(1);
  again();
  EXPECT_EQ(random(), again());
  EXPECT_NE(Random(1).derived(1)(), Random(1).derived(2)());
}

TEST(Random, StaysInRange) {
  Random random(7);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_LT(random.below(10), 10u);
    const auto value = random.between(3, 5);
    EXPECT_TRUE(value >= 3 && value <= 5);
    const double unit = random.unit();
    EXPECT_TRUE(unit >= 0 && unit < 1);
  }
}

}  // namespace
}  // namespace kvhaul
