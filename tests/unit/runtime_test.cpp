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

/// Sends one message to the other node at time 0, and ends when it arrives.
struct SendsOnce final : RuntimeClient {
  explicit SendsOnce(Backend& to) : backend(to) {}
  TimeNs next_ns() const override { return sent ? never_ns : 0; }
  void run(TimeNs) override {
    sent = true;
    backend.send({.from = 0, .to = 1, .kind = first_client_message, .bytes = 40'000});
  }
  void transfer_ended(TimeNs, const TransferEnd&) override {}
  void message(TimeNs now, const ControlMessage&) override { arrived_ns = now; }
  bool done() const override { return arrived_ns != never_ns; }

  Backend& backend;
  bool sent = false;
  TimeNs arrived_ns = never_ns;
};

// With nothing else under way the loop waits for the message, and says when it came and not when it
// began to wait: 40,000 B at the 40 GB/s of the rail take 1 us, less the rounding of one byte's
// cost.
TEST(Runtime, AMessageArrivesAtItsOwnTime) {
  const Cluster cluster = test::rail_cluster(2, 1);
  const std::vector<std::pair<PlaceId, PlaceId>> pairs = {
      {*cluster.find_place("node0/gpu0"), *cluster.find_place("node1/gpu0")}};
  const auto plan = plan_channels(cluster, pairs, {});
  ASSERT_TRUE(plan) << plan.error().message;
  const auto backend = emulated::make_backend({});
  const auto numbers = backend->open(cluster, plan->requests);
  ASSERT_TRUE(numbers);
  Runtime runtime(*backend, make_setups(cluster, plan->requests, plan->tiers, *numbers, {}),
                  nullptr);
  SendsOnce client(*backend);
  const auto ran = runtime.run(client);
  ASSERT_TRUE(ran) << ran.error().message;
  EXPECT_NEAR(static_cast<double>(client.arrived_ns - (*numbers)[0].fixed_ns), 1'000, 1);
}

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
