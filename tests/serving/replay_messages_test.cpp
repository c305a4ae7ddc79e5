// What the parts of a replay tell each other.
#include "serving/replay_messages.h"

#include <gtest/gtest.h>

namespace kvhaul {
namespace {

TEST(InOrder, NoTimeIsBeforeTheOneThatLedToIt) {
  RequestResult r;
  r.arrival_ns = 1000;
  r.prefill_start_ns = 960;  // by a clock that is 40 behind
  r.prefill_end_ns = 1500;
  r.landed_ns = 1490;
  r.finished_ns = 2000;
  const RequestResult ordered = in_order(r);
  EXPECT_EQ(ordered.arrival_ns, 1000);
  EXPECT_EQ(ordered.prefill_start_ns, 1000);
  EXPECT_EQ(ordered.prefill_end_ns, 1500);
  EXPECT_EQ(ordered.landed_ns, 1500);
  EXPECT_EQ(ordered.finished_ns, 2000);
  // Also where one error is larger than what came between.
  r = {};
  r.arrival_ns = 1000;
  r.prefill_start_ns = 900;
  r.prefill_end_ns = r.landed_ns = r.finished_ns = 950;
  EXPECT_EQ(in_order(r).prefill_end_ns, 1000);
  EXPECT_EQ(in_order(r).landed_ns, 1000);
  EXPECT_EQ(in_order(r).finished_ns, 1000);
}

}  // namespace
}  // namespace kvhaul
