#include "traces/generator.h"

#include <cmath>

#include "tests/traces/trace_testing.h"
#include "traces/trace_stats.h"

namespace kvhaul::test {
namespace {

TraceStats stats_of(const GeneratorOptions& options) {
  Result<TraceReaderPtr> reader = generate_trace(options);
  EXPECT_TRUE(reader) << reader.error().message;
  return *measure_trace(**reader);
}

GeneratorOptions many(ArrivalModel arrivals) {
  GeneratorOptions options;
  options.requests = 100'000;
  options.arrivals = arrivals;
  return options;
}

// The mean of 100,000 gaps is off by cv / sqrt(100,000) = 0.3 % of cv, one standard deviation.

TEST(Generator, Poisson) {
  const TraceStats stats = stats_of(many(PoissonArrivals{5.5}));
  EXPECT_EQ(stats.requests, 100'000u);
  EXPECT_NEAR(stats.requests_per_s, 5.5, 5.5 * 0.012);
  EXPECT_NEAR(stats.gap_cv, 1, 0.02);
}

TEST(Generator, GammaHasItsCv) {
  for (const double cv : {0.5, 1.0, 3.0}) {
    const TraceStats stats = stats_of(many(GammaArrivals{20, cv}));
    EXPECT_NEAR(stats.requests_per_s, 20, 20 * 0.015 * std::max(1.0, cv)) << cv;
    EXPECT_NEAR(stats.gap_cv, cv, 0.05 * cv) << cv;
  }
}

TEST(Generator, WeibullHasItsCv) {
  for (const double cv : {0.5, 1.0, 3.0}) {
    const TraceStats stats = stats_of(many(WeibullArrivals{20, cv}));
    EXPECT_NEAR(stats.requests_per_s, 20, 20 * 0.015 * std::max(1.0, cv)) << cv;
    EXPECT_NEAR(stats.gap_cv, cv, 0.08 * cv) << cv;
  }
}

TEST(Generator, Batches) {
  GeneratorOptions options;
  options.requests = 7;
  options.arrivals = BatchArrivals{3 * s_ns, 2, 2};
  std::string times;
  for (const TraceRequest& request : read_whole(generate_trace(options)).requests)
    times += std::to_string(request.arrival_ns / s_ns) + " ";
  EXPECT_EQ(times, "0 0 3 3 6 6 9 ");
}

TEST(Generator, Lognormal) {
  GeneratorOptions options = many(PoissonArrivals{1});
  options.input = LognormalLength{1000, 0.8, 1, 8000};
  const TraceStats stats = stats_of(options);
  // Half below exp(mu); what is redrawn above 8,000, the 2.6 sigma point, moves this by 0.5 %.
  EXPECT_NEAR(stats.input.p50, 1000, 20);
  // p90 = 1000 * exp(1.2816 * 0.8) = 2788, a little less for the same reason
  EXPECT_NEAR(stats.input.p90, 2760, 60);
  EXPECT_LE(stats.input.max, 8000u);
}

TEST(Generator, UniformAndFixed) {
  GeneratorOptions options = many(PoissonArrivals{1});
  options.input = UniformLength{100, 300};
  options.output = FixedLength{7};
  const TraceStats stats = stats_of(options);
  EXPECT_EQ(stats.input.min, 100u);
  EXPECT_EQ(stats.input.max, 300u);
  EXPECT_NEAR(stats.input.mean, 200, 1);
  EXPECT_EQ(stats.output.mean, 7);
}

TEST(Generator, Table) {
  const std::pair<std::uint32_t, double> weights[] = {{10, 1}, {20, 0}, {500, 3}};
  GeneratorOptions options = many(PoissonArrivals{1});
  options.input = *LengthTable::from(weights);
  const TraceStats stats = stats_of(options);
  EXPECT_EQ(stats.input.min, 10u);
  EXPECT_NEAR(stats.input.mean, 0.25 * 10 + 0.75 * 500, 3);
}

TEST(LengthTable, RefusesNonsense) {
  using Weights = std::vector<std::pair<std::uint32_t, double>>;
  for (const Weights& weights :
       {Weights{}, Weights{{1, 0}}, Weights{{1, -1}, {2, 5}}, Weights{{1, std::nan("")}},
        Weights{{1, HUGE_VAL}}, Weights{{1, 1e308}, {2, 1e308}}, Weights{{3'000'000'000, 1}}})
    EXPECT_FALSE(LengthTable::from(weights));
}

TEST(Generator, SharesPrompts) {
  GeneratorOptions options = many(PoissonArrivals{1});
  options.input = FixedLength{1000};
  options.shared_prompts = SharedPrompts{2, FixedLength{500}, 0.25, 16};
  const TraceStats stats = stats_of(options);
  // A quarter shares 31 whole blocks of 16 tokens of 500: 0.25 * 496 / 1000 of all tokens.
  EXPECT_NEAR(stats.prefix->token_hits, 0.124, 0.002);
  EXPECT_EQ(stats.prefix->distinct_blocks, 62u);
}

TEST(Generator, LeavesATokenToComputeBehindTheSharedPrompt) {
  GeneratorOptions options;
  options.input = FixedLength{32};
  options.shared_prompts = SharedPrompts{1, FixedLength{500}, 1, 16};
  for (const TraceRequest& request : read_whole(generate_trace(options)).requests)
    EXPECT_EQ(request.prefix_blocks.size(), 1u);
}

TEST(Generator, IsTheSameForTheSameSeed) {
  GeneratorOptions options;
  options.input = LognormalLength{1000, 1};
  const std::string once = text_of(read_whole(generate_trace(options)));
  EXPECT_EQ(text_of(read_whole(generate_trace(options))), once);
  options.seed = 2;
  EXPECT_NE(text_of(read_whole(generate_trace(options))), once);
}

TEST(Generator, DrawsEachModelFromItsOwnStream) {
  GeneratorOptions options;
  const WholeTrace plain = read_whole(generate_trace(options));
  options.input = LognormalLength{1000, 1};
  const WholeTrace other = read_whole(generate_trace(options));
  for (std::size_t i = 0; i < plain.requests.size(); ++i)
    ASSERT_EQ(plain.requests[i].arrival_ns, other.requests[i].arrival_ns);
}

TEST(Generator, RefusesNonsense) {
  const auto refused = [](auto change) {
    GeneratorOptions options;
    change(options);
    const Result<TraceReaderPtr> reader = generate_trace(options);
    return !reader && reader.error().kind == ErrorKind::bad_input;
  };
  const ArrivalModel arrivals[] = {
      PoissonArrivals{0},     PoissonArrivals{-1},   PoissonArrivals{std::nan("")},
      PoissonArrivals{1e10},  GammaArrivals{1, 0},   GammaArrivals{1, 1000},
      WeibullArrivals{1, -1}, WeibullArrivals{0, 1}, BatchArrivals{0, 1, 1},
      BatchArrivals{1, 0, 1}, BatchArrivals{1, 2, 1}};
  for (const ArrivalModel& model : arrivals)
    EXPECT_TRUE(refused([&](GeneratorOptions& options) { options.arrivals = model; }));
  const LengthModel lengths[] = {FixedLength{3'000'000'000},
                                 UniformLength{2, 1},
                                 LognormalLength{0, 1},
                                 LognormalLength{10, -1},
                                 LognormalLength{10, std::nan("")},
                                 LognormalLength{10, 1, 5, 4}};
  for (const LengthModel& model : lengths) {
    EXPECT_TRUE(refused([&](GeneratorOptions& options) { options.input = model; }));
    EXPECT_TRUE(refused([&](GeneratorOptions& options) { options.output = model; }));
  }
  for (const SharedPrompts& shared :
       {SharedPrompts{0}, SharedPrompts{1, UniformLength{2, 1}},
        SharedPrompts{1, FixedLength{1}, 2}, SharedPrompts{1, FixedLength{1}, 0.5, 0}})
    EXPECT_TRUE(refused([&](GeneratorOptions& options) { options.shared_prompts = shared; }));
}

TEST(Generator, EndsWhereTimeDoes) {
  GeneratorOptions options;
  options.arrivals = PoissonArrivals{1e-8};  // a gap of 3 years
  EXPECT_NE(read_whole(generate_trace(options)).error.find("73 years"), std::string::npos);
}

}  // namespace
}  // namespace kvhaul::test
