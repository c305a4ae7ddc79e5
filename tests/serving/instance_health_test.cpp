#include "serving/instance_health.h"

#include <gtest/gtest.h>

namespace kvhaul {
namespace {

constexpr std::uint32_t gone = InstanceHealth::gone;
constexpr TimeNs wait_ns = 100;

/// Two prefill and two decode instances.
InstanceHealth two_by_two() { return {2, 2, wait_ns}; }

TEST(InstanceHealth, NothingIsDoubtedAtFirst) {
  const InstanceHealth health = two_by_two();
  EXPECT_TRUE(health.sound());
  EXPECT_EQ(health.doubts(0, 1, 1), 0u);
  EXPECT_EQ(health.next_ns(0), never_ns);
}

TEST(InstanceHealth, ALossCutsThePairAndDoubtsBothOfIt) {
  InstanceHealth health = two_by_two();
  health.failed(1000, 900, 0, 1);
  EXPECT_FALSE(health.sound());
  EXPECT_GE(health.doubts(1000, 0, 1), gone);
  EXPECT_EQ(health.doubts(1000, 0, 0), 1u);
  EXPECT_EQ(health.doubts(1000, 1, 1), 1u);
  EXPECT_EQ(health.doubts(1000, 1, 0), 0u);
  EXPECT_EQ(health.next_ns(1000), 1000 + wait_ns);
}

TEST(InstanceHealth, WhatArrivesElsewhereClearsOneOfThem) {
  InstanceHealth health = two_by_two();
  health.failed(1000, 900, 0, 1);
  health.worked(0, 0);
  EXPECT_EQ(health.doubts(1001, 0, 0), 0u);
  EXPECT_EQ(health.doubts(1001, 1, 1), 1u);
  EXPECT_GE(health.doubts(1001, 0, 1), gone);
  health.worked(0, 1);
  EXPECT_TRUE(health.sound());
}

TEST(InstanceHealth, OneRequestAtATimeTriesWhatFailed) {
  InstanceHealth health = two_by_two();
  health.failed(1000, 900, 0, 1);
  EXPECT_GE(health.doubts(1000 + wait_ns - 1, 0, 1), gone);
  EXPECT_EQ(health.doubts(1000 + wait_ns, 0, 1), 0u);
  health.begun(1000 + wait_ns, 0, 1);
  EXPECT_GE(health.doubts(1000 + wait_ns, 0, 1), gone);
  EXPECT_EQ(health.next_ns(1000 + wait_ns), 1000 + 2 * wait_ns);
  health.begun(1000 + wait_ns + 1, 0, 0);  // others may be used meanwhile, and change nothing there
  EXPECT_EQ(health.next_ns(1000 + wait_ns + 1), 1000 + 2 * wait_ns);
}

TEST(InstanceHealth, LossesOfWhatWasBegunBeforeSayNothingNew) {
  InstanceHealth health = two_by_two();
  health.failed(1000, 900, 0, 1);
  health.failed(1050, 950, 0, 1);
  EXPECT_EQ(health.next_ns(1050), 1000 + wait_ns);
  health.failed(1150, 1120, 0, 1);
  EXPECT_EQ(health.next_ns(1150), 1150 + wait_ns);
  // Nor do they when something has arrived since.
  health.worked(0, 1);
  health.failed(1200, 1149, 0, 1);
  EXPECT_TRUE(health.sound());
}

TEST(InstanceHealth, WhoIsCutOffIsNamed) {
  InstanceHealth health = two_by_two();
  health.unreachable(1000, 0, 1, InstanceHealth::Blame::decode);
  EXPECT_GE(health.doubts(1000, 0, 1), gone);
  EXPECT_EQ(health.doubts(1000, 0, 0), 0u);
  EXPECT_EQ(health.doubts(1000, 1, 1), 1u);
  health.reachable(0, 1);
  EXPECT_TRUE(health.sound());
  health.unreachable(1000, 0, 1, InstanceHealth::Blame::prefill);
  EXPECT_EQ(health.doubts(1000, 0, 0), 1u);
  EXPECT_EQ(health.doubts(1000, 1, 1), 0u);
  // Nobody says it again: whoever did may be gone itself.
  EXPECT_GE(health.doubts(1000 + 2 * wait_ns - 1, 0, 1), gone);
  EXPECT_EQ(health.doubts(1000 + 2 * wait_ns, 0, 1), 0u);
}

}  // namespace
}  // namespace kvhaul
