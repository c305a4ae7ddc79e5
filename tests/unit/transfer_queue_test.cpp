// Who is served first among the transfers of a pair that wait.
#include "core/transfer_queue.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/random.h"

namespace kvhaul {
namespace {

constexpr TimeNs ageing_ns = 1000;

struct Waiting {
  QueueHook& hook(std::uint32_t slot) { return hooks[slot]; }

  /// Submits a transfer now; its slot.
  std::uint32_t submit(std::uint8_t priority_class, TimeNs deadline_ns) {
    QueueHook hook;
    hook.sequence = hooks.size();
    hook.deadline_ns = deadline_ns;
    hook.class_since_ns = now;
    hook.priority_class = priority_class;
    hooks.push_back(hook);
    const auto slot = static_cast<std::uint32_t>(hooks.size() - 1);
    became_head = queue.push(*this, slot, now);
    return slot;
  }
  std::uint32_t head() { return queue.head(*this, now); }
  std::uint32_t take() {
    const std::uint32_t slot = head();
    if (slot != no_id) queue.remove(*this, slot);
    return slot;
  }

  TimeNs now = 0;
  bool became_head = false;
  std::vector<QueueHook> hooks;
  TransferQueue<Waiting> queue{ageing_ns};
};

TEST(TransferQueue, GoesByClassThenDeadlineThenAge) {
  Waiting w;
  EXPECT_EQ(w.head(), no_id);
  EXPECT_TRUE(w.queue.empty());
  const std::uint32_t late = w.submit(1, 900), soon = w.submit(1, 300), tie = w.submit(1, 300);
  const std::uint32_t low = w.submit(2, 1), high = w.submit(0, never_ns);
  for (const std::uint32_t slot : {high, soon, tie, late, low}) EXPECT_EQ(w.take(), slot);
  EXPECT_TRUE(w.queue.empty());
  EXPECT_EQ(w.head(), no_id);
}

TEST(TransferQueue, SaysWhoBecomesTheHead) {
  Waiting w;
  w.submit(1, 500);
  EXPECT_TRUE(w.became_head);
  w.submit(1, 500);
  EXPECT_FALSE(w.became_head);
  w.submit(1, 499);
  EXPECT_TRUE(w.became_head);
  w.submit(2, 1);
  EXPECT_FALSE(w.became_head);
  w.submit(0, 10'000);
  EXPECT_TRUE(w.became_head);
  // After the head has gone, whoever comes is compared with those that stay.
  w.take();
  w.submit(1, 499);
  EXPECT_FALSE(w.became_head);
  w.take();
  w.submit(1, 100);
  EXPECT_TRUE(w.became_head);
}

TEST(TransferQueue, PromotesWhatHasWaitedForLong) {
  Waiting w;
  const std::uint32_t low = w.submit(2, 5);
  w.now = ageing_ns - 1;
  const std::uint32_t normal = w.submit(1, 900);
  EXPECT_EQ(w.head(), normal);
  w.now = ageing_ns;  // low is normal now, and due sooner
  EXPECT_EQ(w.head(), low);
  const std::uint32_t high = w.submit(0, never_ns);
  EXPECT_EQ(w.head(), high);
  w.now = 2 * ageing_ns - 2;
  EXPECT_EQ(w.head(), high);
  w.now = 2 * ageing_ns - 1;
  EXPECT_EQ(w.head(), normal);
  w.now = 2 * ageing_ns;  // and now as high as any
  EXPECT_EQ(w.head(), low);
  // Whoever looks late does not make it wait longer: both steps are taken at once.
  Waiting rare;
  const std::uint32_t old = rare.submit(2, 5);
  rare.submit(0, 900);
  rare.now = 2 * ageing_ns;
  EXPECT_EQ(rare.head(), old);
}

/// Something that comes back keeps the age it has.
TEST(TransferQueue, WhatComesBackHasAgedMeanwhile) {
  Waiting w;
  const std::uint32_t low = w.submit(2, 5);
  w.queue.remove(w, low);
  w.now = 2 * ageing_ns;
  w.submit(0, 900);
  EXPECT_TRUE(w.queue.push(w, low, w.now));
  EXPECT_EQ(w.hooks[low].priority_class, 0);
  EXPECT_EQ(w.head(), low);
}

/// Against a list that is searched from end to end.
TEST(TransferQueue, AnyOrderOfComingAndGoing) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Random random(seed);
    Waiting w;
    std::vector<std::uint32_t> waiting;
    std::vector<TimeNs> since;
    std::vector<std::uint8_t> as_submitted;
    const auto order = [&](std::uint32_t slot) {
      const TimeNs steps = (w.now - since[slot]) / ageing_ns;
      const TimeNs now_in = std::max<TimeNs>(0, as_submitted[slot] - steps);
      return TransferOrder{static_cast<std::uint8_t>(now_in), w.hooks[slot].deadline_ns, slot};
    };
    for (int step = 0; step < 400; ++step) {
      w.now += static_cast<TimeNs>(random.below(300));
      if (random.below(3) != 0 || waiting.empty()) {
        const auto priority_class = static_cast<std::uint8_t>(random.below(priority_count));
        since.push_back(w.now);
        as_submitted.push_back(priority_class);
        waiting.push_back(w.submit(priority_class, static_cast<TimeNs>(random.below(5000))));
      } else {
        const std::size_t which = random.below(waiting.size());
        w.queue.remove(w, waiting[which]);
        waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(which));
      }
      ASSERT_EQ(w.queue.empty(), waiting.empty());
      const auto first = std::min_element(
          waiting.begin(), waiting.end(),
          [&](std::uint32_t a, std::uint32_t b) { return order(a) < order(b); });
      ASSERT_EQ(w.head(), first == waiting.end() ? no_id : *first) << "seed " << seed;
      std::size_t visited = 0;
      w.queue.for_each(w, [&](std::uint32_t slot) {
        ++visited;
        EXPECT_TRUE(w.hooks[slot].waiting);
      });
      ASSERT_EQ(visited, waiting.size());
    }
  }
}

}  // namespace
}  // namespace kvhaul
