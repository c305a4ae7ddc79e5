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

TEST(Credit, ThreeThatAskShareFairly) {
  Incast incast(3, 9000);  // 3000 each, 1500 at least
  std::vector<ControlMessage> out;
  const auto ask = [&](std::uint32_t sender) {
    incast.accounts[sender].hold_back(out);
    incast.collect(out);
    incast.deliver_all();
  };
  ask(0);
  EXPECT_EQ(incast.accounts[0].limit(), 6000u);  // the idle ones keep 1500 each
  ask(1);
  // (9000 - 1500) / 2
  EXPECT_EQ(incast.accounts[0].limit(), 3750u);
  EXPECT_EQ(incast.accounts[1].limit(), 3750u);
  EXPECT_EQ(incast.accounts[2].limit(), 1500u);
  ask(2);  // the first is told to go down once more
  for (const CreditAccount& account : incast.accounts) EXPECT_EQ(account.limit(), 3000u);
}

TEST(Credit, WhatTheDivisionLeavesOverIsGivenOut) {
  Incast incast(3, 1000);  // 333 each and one left over; 166 at least
  std::vector<ControlMessage> out;
  incast.accounts[1].hold_back(out);
  incast.collect(out);
  incast.deliver_all();
  EXPECT_EQ(incast.accounts[1].limit(), 1000u - 2 * 166);
}

TEST(Credit, AsksOnceAndIsSatedOnce) {
  CreditAccount account(3, {7, 9, 4000, 2000, true});
  std::vector<ControlMessage> out;
  account.drained(out);  // it has not asked
  EXPECT_TRUE(out.empty());
  EXPECT_FALSE(account.asked());
  account.hold_back(out);
  account.hold_back(out);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_TRUE(account.asked());
  EXPECT_EQ(out[0].kind, static_cast<std::uint32_t>(CreditMessage::ask));
  EXPECT_EQ(out[0].from, 3u);
  EXPECT_EQ(out[0].to, 9u);
  EXPECT_EQ(out[0].place, 7u);
  EXPECT_EQ(out[0].value, 0u);
  EXPECT_EQ(out[0].bytes, 64u);
  account.drained(out);
  account.drained(out);
  ASSERT_EQ(out.size(), 2u);
  EXPECT_FALSE(account.asked());
  EXPECT_EQ(out[1].kind, static_cast<std::uint32_t>(CreditMessage::sated));
  EXPECT_EQ(out[1].value, 0u);
  account.hold_back(out);
  EXPECT_EQ(out.size(), 3u);
}

TEST(Credit, TheLastByteOfALimitMayBeUsed) {
  CreditAccount account(3, {7, 9, 4000, 2000, true});
  EXPECT_TRUE(account.has_room(4000));
  EXPECT_FALSE(account.has_room(4001));
  account.take(1500);
  EXPECT_EQ(account.in_flight(), 1500u);
  EXPECT_TRUE(account.has_room(2500));
  EXPECT_FALSE(account.has_room(2501));
  // What lands while nobody wants it back is kept, and said to nobody.
  std::vector<ControlMessage> out;
  account.give_back(1500, out);
  EXPECT_TRUE(out.empty());
  EXPECT_TRUE(account.has_room(4000));
}

TEST(Credit, WhoIsSatedIsShrunkLikeTheIdle) {
  Incast incast(2, 8000);
  std::vector<ControlMessage> out;
  for (const std::uint32_t s : {0u, 1u, 0u}) {
    incast.accounts[s].hold_back(out);
    incast.collect(out);
    incast.deliver_all();
    EXPECT_EQ(incast.accounts[s].limit(), 6000u);
    EXPECT_EQ(incast.accounts[1 - s].limit(), 2000u);
    incast.accounts[s].drained(out);
    incast.collect(out);
    incast.deliver_all();
  }
}

TEST(Credit, AGrantEndsAShrink) {
  Incast incast(2, 8000);
  std::vector<ControlMessage> out;
  incast.accounts[0].take(4000);
  incast.accounts[1].hold_back(out);
  incast.collect(out);
  incast.deliver_all();
  EXPECT_EQ(incast.accounts[0].limit(), 2000u);  // while 4000 are in flight
  incast.accounts[1].drained(out);
  incast.accounts[0].hold_back(out);
  incast.collect(out);
  incast.deliver_all();
  // The other goes down to 2000, and all the rest is the first one's again.
  EXPECT_EQ(incast.accounts[0].limit(), 6000u);
  EXPECT_EQ(incast.accounts[1].limit(), 2000u);
  incast.accounts[0].give_back(4000, out);
  EXPECT_TRUE(out.empty());
}

TEST(Credit, AShrinkInSeveralStepsIsReleasedAsItLands) {
  CreditAccount account(3, {7, 9, 4000, 1000, true});
  std::vector<ControlMessage> out;
  account.take(3500);
  account.receive({9, 3, static_cast<std::uint32_t>(CreditMessage::shrink), 7, 1000, 0, 64}, out);
  ASSERT_EQ(out.size(), 1u);  // what is not in flight, at once
  EXPECT_EQ(out[0].kind, static_cast<std::uint32_t>(CreditMessage::release));
  EXPECT_EQ(out[0].value, 500u);
  EXPECT_EQ(account.limit(), 1000u);
  account.give_back(1500, out);
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(out[1].value, 1500u);
  account.give_back(2000, out);  // nothing in flight; 1000 stay
  ASSERT_EQ(out.size(), 3u);
  EXPECT_EQ(out[2].value, 1000u);
  account.take(1000);
  account.give_back(1000, out);
  EXPECT_EQ(out.size(), 3u);
  // A later word to go down to more than it has changes nothing.
  account.receive({9, 3, static_cast<std::uint32_t>(CreditMessage::shrink), 7, 3000, 0, 64}, out);
  EXPECT_EQ(account.limit(), 1000u);
  EXPECT_EQ(out.size(), 3u);
}

TEST(Credit, SmallGrantsWaitUntilTheyAreWorthAMessage) {
  Incast incast(4, 8000);  // 2000 each, 1000 at least
  std::vector<ControlMessage> out;
  for (std::uint32_t s = 1; s < 4; ++s) incast.accounts[s].take(2000);
  incast.accounts[0].hold_back(out);
  incast.collect(out);
  incast.deliver_all();
  const auto land = [&](std::uint32_t sender, Bytes bytes) {
    incast.accounts[sender].give_back(bytes, out);
    incast.collect(out);
    incast.deliver_all();
  };
  land(1, 999);
  EXPECT_EQ(incast.accounts[0].limit(), 2000u);
  land(2, 1);
  EXPECT_EQ(incast.accounts[0].limit(), 3000u);
  land(1, 1);
  land(2, 999);
  EXPECT_EQ(incast.accounts[0].limit(), 4000u);
  land(3, 1000);
  EXPECT_EQ(incast.accounts[0].limit(), 5000u);  // 8000 - 3 x 1000: all it can have
  land(3, 1000);
  EXPECT_EQ(incast.accounts[0].limit(), 5000u);
}

TEST(Credit, ALedgerSaysWhatItHasToSayAndBelievesNoStranger) {
  CreditLedger ledger(9, {7, 8000, 2000, {3, 5}});
  std::vector<ControlMessage> out;
  const auto kind = [](CreditMessage k) { return static_cast<std::uint32_t>(k); };
  ledger.receive({4, 9, kind(CreditMessage::ask), 7, 0, 0, 64}, out);
  ledger.receive({6, 9, kind(CreditMessage::ask), 7, 0, 0, 64}, out);
  ledger.receive({3, 9, kind(CreditMessage::grant), 7, 0, 0, 64}, out);  // goes the other way
  EXPECT_TRUE(out.empty());
  ledger.receive({3, 9, kind(CreditMessage::ask), 7, 0, 0, 64}, out);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].from, 9u);
  EXPECT_EQ(out[0].to, 5u);
  EXPECT_EQ(out[0].kind, kind(CreditMessage::shrink));
  EXPECT_EQ(out[0].place, 7u);
  EXPECT_EQ(out[0].value, 2000u);
  EXPECT_EQ(out[0].bytes, 64u);
  ledger.receive({3, 9, kind(CreditMessage::ask), 7, 0, 0, 64}, out);
  EXPECT_EQ(out.size(), 1u);  // the shrink is still being obeyed
  // More than it ever had cannot come back.
  ledger.receive({5, 9, kind(CreditMessage::release), 7, 1'000'000, 0, 64}, out);
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(out[1].to, 3u);
  EXPECT_EQ(out[1].kind, kind(CreditMessage::grant));
  EXPECT_EQ(out[1].place, 7u);
  EXPECT_EQ(out[1].value, 2000u);  // to 8000 - 2000; the other 2000 stay free
  EXPECT_EQ(out[1].bytes, 64u);
  ledger.receive({5, 9, kind(CreditMessage::ask), 7, 0, 0, 64}, out);
  // 4000 each: 2000 are free, and 2000 have to come back from the first.
  ASSERT_EQ(out.size(), 4u);
  EXPECT_EQ(out[2].to, 5u);
  EXPECT_EQ(out[2].value, 2000u);
  EXPECT_EQ(out[3].to, 3u);
  EXPECT_EQ(out[3].kind, kind(CreditMessage::shrink));
  EXPECT_EQ(out[3].value, 4000u);
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
    // Nothing is lost on the way: alone, a sender gets all but what the idle ones keep.
    for (CreditAccount& account : incast.accounts) account.drained(out);
    incast.collect(out);
    incast.deliver_all();
    incast.accounts[0].hold_back(out);
    incast.collect(out);
    incast.deliver_all();
    EXPECT_EQ(incast.accounts[0].limit(),
              incast.capacity - (senders - 1) * (incast.capacity / (2 * senders)))
        << "seed " << seed;
  }
}

}  // namespace
}  // namespace kvhaul
