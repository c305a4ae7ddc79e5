// Bytes per channel and link over time, and time during which something was moving.
#include "results/link_meter.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "core/random.h"

namespace kvhaul::test {
namespace {

/// Links of 1 GB/s, a byte per nanosecond. Channel 0 crosses link 0, channel 1 links 0 and 1, and
/// channel 2 link 1 twice.
struct Meter {
  void landed(ChannelId channel, TimeNs from, TimeNs to, Bytes bytes,
              Outcome outcome = Outcome::ok) {
    Completion completion;
    completion.channel = channel;
    completion.outcome = outcome;
    completion.started_ns = from;
    completion.done_ns = to;
    completion.bytes = bytes;
    meter.chunks_ended({&completion, 1});
  }

  static Cluster two_links() {
    Cluster cluster;
    cluster.links = {{.name = "a", .bytes_per_s = 1e9}, {.name = "b", .bytes_per_s = 1e9}};
    return cluster;
  }
  static std::vector<ChannelRequest> three_channels() {
    std::vector<ChannelRequest> requests(3);
    requests[0].route.hops = {0};
    requests[1].route.hops = {0, 1};
    requests[2].route.hops = {1, 1};
    return requests;
  }
  Cluster cluster = two_links();
  std::vector<ChannelRequest> requests = three_channels();
  LinkMeter meter{cluster, requests};
};

TEST(LinkMeter, BytesPerChannelAndLink) {
  Meter m;
  m.landed(0, 0, 1000, 500);
  m.landed(1, 0, 1000, 200);
  m.landed(2, 0, 1000, 100);
  m.landed(2, 0, 1000, 999, Outcome::path_failed);  // did not land
  EXPECT_EQ(m.meter.channel_bytes(0), 500u);
  EXPECT_EQ(m.meter.channel_bytes(2), 100u);
  EXPECT_EQ(m.meter.landed_bytes(), 800u);
  EXPECT_EQ(m.meter.landed_chunks(), 3u);
  EXPECT_EQ(m.meter.last_landed_ns(), 1000);
  // Link a: 500 + 200 in 1,000 ns; link b: 200 + 2 x 100.
  const auto uses = m.meter.link_use(1000);
  ASSERT_EQ(uses.size(), 2u);
  EXPECT_EQ(uses[0].link, 0u);
  EXPECT_EQ(uses[0].bytes, 700u);
  EXPECT_DOUBLE_EQ(uses[0].utilisation, 0.7);
  EXPECT_EQ(uses[1].bytes, 400u);
  EXPECT_DOUBLE_EQ(uses[1].utilisation, 0.4);
}

// 4 ms at full rate, then 4 ms of nothing, in bins of 1 ms.
TEST(LinkMeter, SpreadOverTheBins) {
  Meter m;
  m.landed(0, 0, 4 * ms_ns, 4'000'000);
  m.landed(2, 0, 1, 0);
  const auto uses = m.meter.link_use(8 * ms_ns);
  ASSERT_EQ(uses.size(), 1u);  // link b carried nothing
  EXPECT_DOUBLE_EQ(uses[0].utilisation, 0.5);
  EXPECT_DOUBLE_EQ(uses[0].peak_utilisation, 1);
  EXPECT_DOUBLE_EQ(uses[0].saturated_share, 0.5);
  ASSERT_GE(uses[0].bin_bytes.size(), 4u);
  for (int bin = 0; bin < 4; ++bin) EXPECT_DOUBLE_EQ(uses[0].bin_bytes[bin], 1'000'000);
}

// One that took long lands after short ones that began after it: 10 x 25 + 750 B in 1,000 ns.
TEST(LinkMeter, LandingsOutOfTheOrderOfStarts) {
  Meter m;
  for (TimeNs i = 0; i < 10; ++i) m.landed(0, 100 * i, 100 * i + 50, 25);
  m.landed(1, 0, 1000, 750);
  const auto uses = m.meter.link_use(2000);
  EXPECT_EQ(uses[0].link, 0u);
  EXPECT_DOUBLE_EQ(uses[0].utilisation, 0.5);
  EXPECT_DOUBLE_EQ(uses[0].busy_share, 0.5);
  EXPECT_DOUBLE_EQ(uses[0].saturated_share, 0.5);
}

// From 0.5 to 2.5 ms: a quarter, a half, a quarter.
TEST(LinkMeter, PartsOfBins) {
  Meter m;
  m.landed(0, ms_ns / 2, 5 * ms_ns / 2, 400);
  const auto uses = m.meter.link_use(3 * ms_ns);
  EXPECT_DOUBLE_EQ(uses[0].bin_bytes[0], 100);
  EXPECT_DOUBLE_EQ(uses[0].bin_bytes[1], 200);
  EXPECT_DOUBLE_EQ(uses[0].bin_bytes[2], 100);
}

// 256 bins of 1 ms, then of 2, 4, ... ms: 1 s needs bins of 4 ms. No byte is lost on the way.
TEST(LinkMeter, BinsGetWiderInLongRuns) {
  Meter m;
  Bytes sum = 0;
  for (TimeNs at = 0; at < 1000 * ms_ns; at += 7 * ms_ns) {
    m.landed(0, at, at + 3 * ms_ns, 1000);
    sum += 1000;
  }
  EXPECT_EQ(m.meter.bin_ns(), 4 * ms_ns);
  EXPECT_EQ(m.meter.channel_bytes(0), sum);
  m.landed(0, 3600 * s_ns, 3600 * s_ns + 1, 1000);
  EXPECT_LE(m.meter.link_use(3600 * s_ns)[0].bin_bytes.size(), LinkMeter::bins_max);
  EXPECT_EQ(m.meter.channel_bytes(0), sum + 1000);
}

// A chunk that began first but ends last covers the whole time.
TEST(LinkMeter, BusyWhileAnythingMoves) {
  Meter m;
  m.landed(0, 10, 20, 1);
  EXPECT_EQ(m.meter.busy_ns(), 10);
  m.landed(1, 15, 25, 1);
  EXPECT_EQ(m.meter.busy_ns(), 15);
  m.landed(2, 0, 30, 1);
  EXPECT_EQ(m.meter.busy_ns(), 30);
  m.landed(0, 40, 50, 1);
  EXPECT_EQ(m.meter.busy_ns(), 40);
  m.landed(0, 30, 40, 1);
  EXPECT_EQ(m.meter.busy_ns(), 50);
}

TEST(LinkMeter, BusyTimeOfRandomChunks) {
  Meter m;
  std::vector<bool> busy(20'000);
  Random random(2);
  for (int i = 0; i < 3000; ++i) {
    const auto to = static_cast<TimeNs>(6 * i + random.below(20));
    const TimeNs from = std::max<TimeNs>(0, to - static_cast<TimeNs>(random.below(i % 50 + 1)));
    m.landed(static_cast<ChannelId>(random.below(3)), from, to, 1);
    for (TimeNs at = from; at < to; ++at) busy[static_cast<std::size_t>(at)] = true;
  }
  EXPECT_EQ(m.meter.busy_ns(), std::count(busy.begin(), busy.end(), true));
}

}  // namespace
}  // namespace kvhaul::test
