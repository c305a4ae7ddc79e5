// Fits against times that were made from known numbers.
#include "calibration/fits.h"

#include <gtest/gtest.h>

#include "core/random.h"

namespace kvhaul::calibration {
namespace {

TEST(SpreadOf, IsTheMiddleAndBothEnds) {
  const Spread odd = spread_of({3, 1, 9});
  EXPECT_EQ(odd.median, 3);
  EXPECT_EQ(odd.least, 1);
  EXPECT_EQ(odd.most, 9);
  EXPECT_EQ(spread_of({4, 1, 2, 9}).median, 3);
}

/// Of a route of rate B and k stages; nothing is rounded.
struct Made {
  double bytes_per_s = 50e9, half = 100'000, fixed = 4000, post = 1500;
  std::uint32_t stages = 2;
  double noise = 0;  // relative, either way

  std::vector<Times> singles() const {
    Random random(7);
    std::vector<Times> times;
    for (Bytes size = 4 * KiB; size <= 16 * MiB; size *= 2) {
      const double wire = (static_cast<double>(size) + half) / bytes_per_s * 1e9;
      const auto off = [&] { return 1 + noise * (2 * random.unit() - 1); };
      times.push_back(
          {size, 1, std::max(post, wire) * off(), (fixed + post + stages * wire) * off(), post});
    }
    return times;
  }
  /// (post + n piece_post, S + H + n h, fixed + S / pass on each side)
  std::vector<Times> gathered(const GatherCosts& costs) const {
    std::vector<Times> times;
    for (const Bytes size : {4 * KiB, 16 * KiB, 64 * KiB})
      for (const std::uint32_t n : {4u, 16u, 64u, 256u}) {
        const double bytes = static_cast<double>(size * n);
        const double wire =
            static_cast<double>(costs.charged_bytes(size * n, n)) / bytes_per_s * 1e9;
        const auto posting = static_cast<double>(costs.posting_ns(n));
        const double pass = costs.bytes_per_s > 0 ? bytes / costs.bytes_per_s * 1e9 : 0;
        times.push_back(
            {size, n, std::max(posting, wire),
             fixed + posting + stages * wire + 2 * (static_cast<double>(costs.fixed_ns) + pass),
             posting});
      }
    return times;
  }
};

TEST(FitStream, FindsWhatTheTimesWereMadeFrom) {
  const Made made;
  const auto fit = fit_stream(made.singles(), made.stages);
  ASSERT_TRUE(fit);
  EXPECT_NEAR(fit->bytes_per_s, 50e9, 1);
  EXPECT_NEAR(fit->half_bandwidth_bytes, 100'000, 0.01);
  EXPECT_NEAR(fit->fixed_ns, 4000, 0.01);
  EXPECT_EQ(fit->post_ns, 1500);
  EXPECT_LT(fit->worst, 1e-9);
}

TEST(FitStream, LeavesOutWhatPostingHoldsUp) {
  Made made;
  // Up to 400,000 B posting takes longer: (300,000 + 100,000) / 50 B/ns = 8000 ns.
  made.post = 8000;
  const auto fit = fit_stream(made.singles(), made.stages);
  ASSERT_TRUE(fit);
  EXPECT_NEAR(fit->bytes_per_s, 50e9, 1);
  EXPECT_NEAR(fit->half_bandwidth_bytes, 100'000, 1);
  EXPECT_NEAR(fit->fixed_ns, 4000, 0.01);
}

// Errors of 2% at most. The line is made from 4, 8 and 16 MiB: (S + h) / B with B = 50 GB/s and h =
// 100 KB; through 0.98 and 1.02 of its ends it would be off by 5% in B and by 6% of 4 MiB in h.
TEST(FitStream, StaysNearTheRateUnderNoise) {
  Made made;
  made.noise = 0.02;
  const auto fit = fit_stream(made.singles(), made.stages);
  ASSERT_TRUE(fit);
  EXPECT_NEAR(fit->bytes_per_s, 50e9, 0.05 * 50e9);
  EXPECT_LT(fit->half_bandwidth_bytes, 100'000 + 260'000);
  EXPECT_LT(fit->worst, 0.05);
}

// A backend that joins small chunks moves them faster than their line says; large ones keep theirs.
TEST(FitStream, WhatHelpsSmallChunksDoesNotBendTheLine) {
  const Made made;
  std::vector<Times> times = made.singles();
  for (Times& t : times)
    if (t.bytes() < 4 * MiB) t.stream_ns /= 2;
  const auto fit = fit_stream(times, made.stages);
  ASSERT_TRUE(fit);
  EXPECT_NEAR(fit->bytes_per_s, 50e9, 1e6);
  EXPECT_NEAR(fit->half_bandwidth_bytes, 100'000, 10);
}

TEST(IdleCosts, ListsWhatAddsATenth) {
  const auto measured = [](TimeNs idle, double ns) {
    return AfterIdle{idle, {ns, ns - 500, ns + 500}};
  };
  const std::vector<AfterIdle> times = {measured(0, 10'000),      measured(1000, 10'900),
                                        measured(2000, 12'000),   measured(3000, 11'000),
                                        measured(4000, 13'000),   measured(5000, 13'300),
                                        measured(50'000, 190'000)};
  const std::vector<IdleFigure> costs = idle_costs(times);
  ASSERT_EQ(costs.size(), 3u);
  EXPECT_EQ(costs[0].idle_ns, 2000);
  EXPECT_EQ(costs[0].cost_ns.median, 2000);
  EXPECT_EQ(costs[0].cost_ns.least, 1500);
  EXPECT_EQ(costs[0].cost_ns.most, 2500);
  EXPECT_EQ(costs[1].idle_ns, 5000);  // a tenth above 12; 13 is not
  EXPECT_EQ(costs[2].cost_ns.median, 180'000);
  EXPECT_TRUE(idle_costs({}).empty());
}

TEST(FitStream, NothingWithoutGrowth) {
  std::vector<Times> times = Made().singles();
  for (Times& t : times) t.stream_ns = 5000;
  EXPECT_FALSE(fit_stream(times, 1));
  for (Times& t : times) t.post_ns = 5000;
  EXPECT_FALSE(fit_stream(times, 1));
}

TEST(FitGather, FindsWhatTheTimesWereMadeFrom) {
  const Made made;
  const auto route = fit_stream(made.singles(), made.stages);
  const GatherCosts batch{.post_ns = 3000,
                          .piece_post_ns = 40,
                          .half_bandwidth_bytes = 90'000,
                          .piece_half_bandwidth_bytes = 2'000};
  auto fit = fit_gather(made.gathered(batch), made.stages, *route, false);
  ASSERT_TRUE(fit);
  EXPECT_NEAR(fit->post_ns, 3000, 0.01);
  EXPECT_NEAR(fit->piece_post_ns, 40, 0.01);
  EXPECT_TRUE(fit->occupancy_seen);
  EXPECT_NEAR(fit->half_bandwidth_bytes, 90'000, 1);
  EXPECT_NEAR(fit->piece_half_bandwidth_bytes, 2'000, 0.1);
  EXPECT_NEAR(fit->fixed_ns, 0, 0.1);
  EXPECT_EQ(fit->bytes_per_s, 0);

  const GatherCosts pack{
      .fixed_ns = 5000, .post_ns = 6000, .half_bandwidth_bytes = 120'000, .bytes_per_s = 1e12};
  fit = fit_gather(made.gathered(pack), made.stages, *route, true);
  ASSERT_TRUE(fit);
  EXPECT_NEAR(fit->post_ns, 6000, 0.01);
  EXPECT_NEAR(fit->piece_post_ns, 0, 0.01);
  EXPECT_NEAR(fit->half_bandwidth_bytes, 120'000, 1);
  EXPECT_NEAR(fit->piece_half_bandwidth_bytes, 0, 0.1);
  EXPECT_NEAR(fit->fixed_ns, 5000, 0.1);
  EXPECT_NEAR(fit->bytes_per_s, 1e12, 1e8);
}

TEST(FitGather, SaysWhenTheRouteNeverShows) {
  const Made made;
  const auto route = fit_stream(made.singles(), made.stages);
  // 100 us per piece: 64 KiB of the route take 1.3 us.
  const auto fit =
      fit_gather(made.gathered({.piece_post_ns = 100'000}), made.stages, *route, false);
  ASSERT_TRUE(fit);
  EXPECT_FALSE(fit->occupancy_seen);
  EXPECT_NEAR(fit->piece_post_ns, 100'000, 1);
}

Cluster three_links() {
  Cluster cluster;
  cluster.links.resize(3);
  cluster.links[0].bytes_per_s = 50e9;
  cluster.links[1].bytes_per_s = 90e9;
  cluster.links[2].bytes_per_s = 50e9;
  return cluster;
}

std::vector<std::pair<LinkId, double>> rates(const Route& route, double measured) {
  std::vector<std::pair<LinkId, double>> out;
  for (const LinkRate& rate : link_rates(three_links(), route, measured))
    out.emplace_back(rate.link, rate.bytes_per_s / 1e9);
  return out;
}

TEST(LinkRates, TheNarrowestGetTheMeasuredRate) {
  Route route;
  route.hops = {0, 1, 2};
  route.bytes_per_s = 50e9;
  using Rates = std::vector<std::pair<LinkId, double>>;
  EXPECT_EQ(rates(route, 48e9), (Rates{{0, 48}, {2, 48}}));
  EXPECT_EQ(rates(route, 55e9), (Rates{{0, 55}, {2, 55}}));
  // More than a wider link was said to have: it is wider, too.
  EXPECT_EQ(rates(route, 95e9), (Rates{{0, 95}, {1, 95}, {2, 95}}));
  // Crossed twice, link 1 is the narrowest, with 45.
  route.hops = {0, 1, 1, 2};
  route.bytes_per_s = 45e9;
  EXPECT_EQ(rates(route, 42e9), (Rates{{1, 84}}));
}

}  // namespace
}  // namespace kvhaul::calibration
