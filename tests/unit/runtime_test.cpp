// The loop itself; what runs through it is tested by the simulation and the replays.
#include "core/runtime.h"

#include <gtest/gtest.h>

#include "backends/emulated/emulated.h"
#include "tests/support/setups.h"

namespace kvhaul {
namespace {

/// Waits for something that nobody will send.
struct WaitsForEver final : RuntimeClient {
  TimeNs next_ns() const override { return never_ns; }
  void run(TimeNs) override {}
  void transfer_ended(TimeNs, const TransferEnd&) override {}
  void message(TimeNs, const ControlMessage&) override {}
  bool done() const override { return false; }
};

TEST(Runtime, SaysWhenNothingCanHappenAnyMore) {
  const Cluster cluster = test::rail_cluster(1, 2);
  const std::vector<std::pair<PlaceId, PlaceId>> pairs = {
      {*cluster.find_place("node0/gpu0"), *cluster.find_place("node0/gpu1")}};
  const auto plan = plan_channels(cluster, pairs, {});
  ASSERT_TRUE(plan) << plan.error().message;
  for (const bool real_time : {false, true}) {
    const auto backend = emulated::make_backend({.real_time = real_time});
    const auto numbers = backend->open(cluster, plan->requests);
    ASSERT_TRUE(numbers);
    Runtime runtime(*backend, make_setups(cluster, plan->requests, plan->tiers, *numbers, {}),
                    nullptr);
    WaitsForEver client;
    const auto ran = runtime.run(client);
    ASSERT_FALSE(ran) << "real time: " << real_time;
    EXPECT_NE(ran.error().message.find("nothing can happen any more"), std::string::npos);
  }
}

}  // namespace
}  // namespace kvhaul
