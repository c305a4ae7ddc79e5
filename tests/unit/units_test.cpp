#include "core/units.h"

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
  EXPECT_EQ(ByteCost().of(GiB), 0);
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
  EXPECT_EQ(*parse_bytes("64 KiB"), 65'536u);
  EXPECT_EQ(*parse_bytes("80GB"), 80'000'000'000u);
  EXPECT_EQ(*parse_bytes("1.5 MiB"), 1'572'864u);
  EXPECT_EQ(*parse_bytes("0 B"), 0u);
}

TEST(ParseBytes, RefusesBareNumbersAndNonsense) {
  for (const char* text :
       {"64", "", "KiB", "64 kib", "-1 KiB", "nan KiB", "1e30 TiB", "64 KiB/s", "64  KiB"}) {
    const auto result = parse_bytes(text);
    ASSERT_FALSE(result) << text;
    EXPECT_EQ(result.error().kind, ErrorKind::bad_input);
    EXPECT_NE(result.error().message.find("expected a size"), std::string::npos);
  }
}

TEST(ParseRate, BitsAndBytes) {
  EXPECT_DOUBLE_EQ(*parse_rate("400 Gb/s"), 50e9);
  EXPECT_DOUBLE_EQ(*parse_rate("55.3 GB/s"), 55.3e9);
  EXPECT_FALSE(parse_rate("0 GB/s"));
  EXPECT_FALSE(parse_rate("55.3"));
  EXPECT_FALSE(parse_rate("55.3 GiB/s"));
}

TEST(ParseFlops, AllUnits) {
  EXPECT_DOUBLE_EQ(*parse_flops("989 TFLOPS"), 989e12);
  EXPECT_DOUBLE_EQ(*parse_flops("2.5PFLOPS"), 2.5e15);
  EXPECT_DOUBLE_EQ(*parse_flops("1 GFLOPS"), 1e9);
  EXPECT_FALSE(parse_flops("989"));
  EXPECT_FALSE(parse_flops("989 TB/s"));
  EXPECT_FALSE(parse_flops("0 TFLOPS"));
  EXPECT_FALSE(parse_flops("1001 PFLOPS"));
}

TEST(ParseDuration, AllUnits) {
  EXPECT_EQ(*parse_duration("3.1 us"), 3100);
  EXPECT_EQ(*parse_duration("250 ms"), 250 * ms_ns);
  EXPECT_EQ(*parse_duration("2 h"), 7200 * s_ns);
  EXPECT_FALSE(parse_duration("5"));
  EXPECT_FALSE(parse_duration("5 years"));
}

TEST(Text, KeepsThreeDigits) {
  EXPECT_EQ(bytes_text(4 * MiB), "4 MiB");
  EXPECT_EQ(bytes_text(605'184), "591 KiB");
  EXPECT_EQ(rate_text(55.3e9), "55.3 GB/s");
  EXPECT_EQ(rate_text(1.8e12), "1800 GB/s");
  EXPECT_EQ(duration_text(3100), "3.1 us");
  EXPECT_EQ(duration_text(3'723 * s_ns), "1 h 2 min");
  EXPECT_EQ(number_text(0.000123), "0.000123");
  EXPECT_EQ(number_text(1234.6), "1235");
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
