// A link never carries more than its rate: what the meter makes of chunks that do and do not fit.
#include <gtest/gtest.h>

#include "core/channel_plan.h"
#include "results/link_meter.h"
#include "tests/support/setups.h"

namespace kvhaul {
namespace {

class LineRate : public ::testing::Test {
 protected:
  void SetUp() override {
    RoutePlan plan;
    const std::pair<PlaceId, PlaceId> pair = {*cluster_.find_place("node0/gpu0"),
                                              *cluster_.find_place("node1/gpu0")};
    requests_ = plan_channels(cluster_, {&pair, 1}, plan)->requests;
    narrowest_ = requests_[0].route.bottleneck;
    rate_ = cluster_.links[narrowest_].bytes_per_s;
  }

  /// Twenty chunks in a row on channel 0, each taking `share` of the time that the narrowest link
  /// needs for it.
  double busiest_stretch(double share) {
    LinkMeter meter(cluster_, requests_);
    const Bytes bytes = 8 * MiB;
    const auto time = static_cast<TimeNs>(share * static_cast<double>(bytes) / rate_ * 1e9);
    for (TimeNs at = 1 * s_ns; at < 1 * s_ns + 20 * time; at += time) {
      Completion chunk;
      chunk.bytes = bytes;
      chunk.started_ns = at;
      chunk.done_ns = at + time;
      meter.chunks_ended({&chunk, 1});
    }
    for (const LinkUse& use : meter.link_use(100 * s_ns))
      if (use.link == narrowest_) return use.stretch_utilisation;
    return 0;
  }

  Cluster cluster_ = test::rail_cluster(2, 1);
  std::vector<ChannelRequest> requests_;
  LinkId narrowest_ = no_id;
  double rate_ = 0;
};

TEST_F(LineRate, AFullLinkIsAtOne) { EXPECT_NEAR(busiest_stretch(1), 1, 0.001); }

// Twice the rate for a moment is found although the whole run of 100 s is nearly idle.
TEST_F(LineRate, AMomentAboveTheRateShows) { EXPECT_NEAR(busiest_stretch(0.5), 2, 0.01); }

TEST_F(LineRate, AnOlderStretchIsRemembered) {
  LinkMeter meter(cluster_, requests_);
  // The same bytes in half the time they need, and a second later in twice that time.
  for (const auto& [at, share] : {std::pair{1 * s_ns, 0.5}, {2 * s_ns, 2.0}}) {
    Completion chunk;
    chunk.bytes = 100'000'000;
    chunk.started_ns = at;
    chunk.done_ns =
        at + static_cast<TimeNs>(share * static_cast<double>(chunk.bytes) / rate_ * 1e9);
    meter.chunks_ended({&chunk, 1});
  }
  for (const LinkUse& use : meter.link_use(100 * s_ns)) {
    if (use.link == narrowest_) {
      EXPECT_NEAR(use.stretch_utilisation, 2, 0.01);
    }
  }
}

}  // namespace
}  // namespace kvhaul
