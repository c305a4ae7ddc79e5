#include "core/credit.h"

#include <deque>

#include <gtest/gtest.h>

#include "core/random.h"

namespace kvhaul {
namespace {

/// One receiving place, its ledger and its senders; messages are delivered when the test says so,
/// in order for each pair of nodes.
struct Incast {
  explicit Incast(std::uint32_t senders, Bytes capacity) : capacity(capacity) {
    SetupLedger setup{7, capacity, capacity / (2 * senders), {}};
    for (NodeId n = 1; n <= senders; ++n) {
      setup.senders.push_back(n);
      accounts.emplace_back(
          n, SetupAccount{7, 0, capacity / senders, setup.min_share_bytes, senders > 1});
    }
    ledger.emplace(0, setup);
  }

  void collect(std::vector<ControlMessage>& messages) {
    for (const ControlMessage& message : messages)
      queues[message.from == 0 ? message.to : 100 + message.from].push_back(message);
    messages.clear();
  }
  /// Delivers the oldest message of one queue; false when there is none.
  bool deliver(std::uint32_t queue) {
    if (queues[queue].empty()) return false;
    const ControlMessage message = queues[queue].front();
    queues[queue].pop_front();
    std::vector<ControlMessage> out;
    if (message.to == 0)
      ledger->receive(message, out);
    else
      accounts[message.to - 1].receive(message, out);
    collect(out);
    return true;
  }
  void deliver_all() {
    for (bool any = true; any;) {
      any = false;
      for (std::uint32_t q = 0; q < 200; ++q) any = deliver(q) || any;
    }
  }
  Bytes in_flight() const {
    Bytes sum = 0;
    for (const CreditAccount& account : accounts) sum += account.in_flight();
    return sum;
  }

  Bytes capacity;
  std::vector<CreditAccount> accounts;
  std::optional<CreditLedger> ledger;
  std::array<std::deque<ControlMessage>, 200> queues;
};

TEST(Credit, ALoneSenderNeverSendsAMessage) {
  Incast incast(1, 1000);
  std::vector<ControlMessage> out;
  incast.accounts[0].take(1000);
  EXPECT_FALSE(incast.accounts[0].has_room(1));
  incast.accounts[0].hold_back(out);
  EXPECT_TRUE(out.empty());
}

TEST(Credit, IdleSharesGoToWhoAsks) {
  Incast incast(4, 8000);  // 2000 each, 1000 at least
  std::vector<ControlMessage> out;
  incast.accounts[0].take(2000);
  incast.accounts[0].hold_back(out);
  incast.collect(out);
  incast.deliver_all();
  // The three idle ones keep 1000 each: 8000 - 3000 = 5000 for the one that asked.
  EXPECT_EQ(incast.accounts[0].limit(), 5000u);
  EXPECT_EQ(incast.accounts[1].limit(), 1000u);
}

TEST(Credit, TwoThatAskShareFairly) {
  Incast incast(2, 8000);
  std::vector<ControlMessage> out;
  incast.accounts[0].hold_back(out);
  incast.collect(out);
  incast.deliver_all();
  EXPECT_EQ(incast.accounts[0].limit(), 6000u);  // the idle one keeps 2000
  incast.accounts[1].hold_back(out);
  incast.collect(out);
  incast.deliver_all();
  EXPECT_EQ(incast.accounts[0].limit(), 4000u);
  EXPECT_EQ(incast.accounts[1].limit(), 4000u);
}

TEST(Credit, WhatIsInFlightIsTakenBackOnlyWhenItLands) {
  Incast incast(2, 8000);
  std::vector<ControlMessage> out;
  incast.accounts[0].take(4000);
  incast.accounts[1].hold_back(out);
  incast.collect(out);
  incast.deliver_all();
  EXPECT_EQ(incast.accounts[1].limit(), 4000u);
  EXPECT_EQ(incast.accounts[0].limit(), 2000u);  // told to shrink, still carrying 4000
  incast.accounts[0].give_back(2500, out);
  incast.collect(out);
  incast.deliver_all();
  EXPECT_EQ(incast.accounts[1].limit(), 6000u);
}

/// Whatever the order of messages: what is in flight never passes the capacity, and everyone who
/// asks can always send its smallest share in the end.
TEST(Credit, CapacityHoldsUnderAnyInterleaving) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Random random(seed);
    const auto senders = static_cast<std::uint32_t>(random.between(2, 6));
    const Bytes chunk = 100;
    Incast incast(senders, 2 * senders * chunk + random.below(1000));
    std::vector<ControlMessage> out;
    std::vector<int> open(senders, 0);
    for (int step = 0; step < 2000; ++step) {
      const auto s = static_cast<std::uint32_t>(random.below(senders));
      CreditAccount& account = incast.accounts[s];
      switch (random.below(4)) {
        case 0:
        case 1:
          if (account.has_room(chunk)) {
            account.take(chunk);
            ++open[s];
          } else {
            account.hold_back(out);
          }
          break;
        case 2:
          if (open[s] > 0) {
            account.give_back(chunk, out);
            if (--open[s] == 0) account.drained(out);
          }
          break;
        default:
          incast.deliver(static_cast<std::uint32_t>(random.below(200)));
      }
      incast.collect(out);
      ASSERT_LE(incast.in_flight(), incast.capacity) << "seed " << seed << " step " << step;
    }
    for (std::uint32_t s = 0; s < senders; ++s)
      for (; open[s] > 0; --open[s]) incast.accounts[s].give_back(chunk, out);
    incast.collect(out);
    incast.deliver_all();
    for (CreditAccount& account : incast.accounts)
      EXPECT_TRUE(account.has_room(chunk)) << "seed " << seed << ": starved";
  }
}

}  // namespace
}  // namespace kvhaul
