// Messages over frames that are lost, doubled and swapped.
#include "backends/verbs/message_link.h"

#include <deque>

#include <gtest/gtest.h>

#include "core/random.h"

namespace kvhaul::verbs {
namespace {

constexpr std::uint32_t frame_bytes = sizeof(FrameHeader) + 100;

struct OnTheRoad {
  std::uint32_t road = 0;
  std::string frame;
};

/// Two ends and the roads between them.
struct Pair {
  explicit Pair(std::uint32_t roads, bool keep_alive = false)
      : a(0, 1, roads, frame_bytes, keep_alive), b(1, 0, roads, frame_bytes, keep_alive) {}

  MessageLink a, b;
  std::deque<OnTheRoad> to_a, to_b;
  std::vector<bool> road_lost = std::vector<bool>(8, false);
  double loss = 0, doubling = 0;
  Random random = Random(1);
  TimeNs now = 0;
  std::vector<std::string> came_to_a, came_to_b;

  void pump(MessageLink& from, std::deque<OnTheRoad>& to) {
    from.pump(now, [&](std::uint32_t road, std::string_view frame) {
      if (road_lost[road] || random.chance(loss)) return true;  // the sender does not see it
      for (int copies = random.chance(doubling) ? 2 : 1; copies > 0; --copies) {
        const auto at =
            static_cast<std::ptrdiff_t>(loss > 0 ? random.below(to.size() + 1) : to.size());
        to.insert(to.begin() + at, {road, std::string(frame)});
      }
      return true;
    });
  }
  void take_all(MessageLink& end, std::deque<OnTheRoad>& in, std::vector<std::string>& out) {
    for (; !in.empty(); in.pop_front()) end.receive(now, in.front().road, in.front().frame);
    MessageLink::Message message;
    while (end.take(message)) out.push_back(std::to_string(message.kind) + message.bytes);
  }
  void run(TimeNs until) {
    while (now < until) {
      pump(a, to_b);
      pump(b, to_a);
      take_all(b, to_b, came_to_b);
      take_all(a, to_a, came_to_a);
      now += 1 * ms_ns;
    }
  }
};

TEST(MessageLink, ArriveOnceInOrderWhateverIsLostDoubledAndSwapped) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Pair pair(2);
    pair.random = Random(seed);
    pair.loss = 0.3;
    pair.doubling = 0.2;
    std::vector<std::string> sent;
    for (int i = 0; i < 200; ++i) {
      // Up to four frames long, and empty ones.
      const std::string text(pair.random.below(380), static_cast<char>('a' + i % 26));
      pair.a.send(7, text);
      sent.push_back("7" + text);
    }
    pair.b.send(3, "back");
    pair.run(60 * s_ns);
    EXPECT_EQ(pair.came_to_b, sent) << seed;
    EXPECT_EQ(pair.came_to_a, std::vector<std::string>{"3back"}) << seed;
    EXPECT_EQ(pair.a.unanswered_since_ns(), never_ns);
    EXPECT_EQ(pair.a.next_ns(), never_ns);  // all is acknowledged, nothing is due
  }
}

TEST(MessageLink, TakesTheRoadThatWorks) {
  Pair pair(3);
  pair.road_lost[0] = pair.road_lost[1] = true;
  for (int i = 0; i < 10; ++i) pair.a.send(1, "x");
  pair.run(200 * ms_ns);
  EXPECT_EQ(pair.came_to_b.size(), 10u);
  // From then on without a detour: the answer too comes back on the road that works.
  pair.a.send(1, "y");
  pair.run(pair.now + 2 * ms_ns);
  EXPECT_EQ(pair.came_to_b.size(), 11u);
}

TEST(MessageLink, ARoadThatTakesNothingNowIsAskedAgain) {
  MessageLink link(0, 1, 2, frame_bytes, false);
  link.send(1, "x");
  int asked = 0;
  link.pump(0, [&](std::uint32_t, std::string_view) { return ++asked < 0; });
  EXPECT_EQ(asked, 2);
  EXPECT_EQ(link.next_ns(), 1 * ms_ns);
  bool taken = false;
  link.pump(1 * ms_ns, [&](std::uint32_t, std::string_view) { return taken = true; });
  EXPECT_TRUE(taken);
}

TEST(MessageLink, SilenceIsNoticedWhereTheLinkIsKeptAlive) {
  Pair pair(1, true);
  pair.run(3 * s_ns);
  EXPECT_TRUE(pair.came_to_b.empty());  // what only keeps alive is no message
  const TimeNs answered = pair.a.unanswered_since_ns();
  EXPECT_TRUE(answered == never_ns || pair.now - answered < 5 * ms_ns);
  pair.road_lost[0] = true;
  const TimeNs gone = pair.now;
  pair.run(gone + 3 * s_ns);
  EXPECT_LT(pair.a.unanswered_since_ns(), gone + 1 * s_ns);
}

TEST(MessageLink, DamagedFramesAreIgnored) {
  Pair pair(1);
  pair.a.send(1, "hello");
  pair.pump(pair.a, pair.to_b);
  const std::string whole = pair.to_b.front().frame;
  pair.to_b.clear();
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes)
    pair.b.receive(0, 0, std::string_view(whole).substr(0, bytes));
  pair.b.receive(0, 0, whole + "!");
  MessageLink::Message message;
  EXPECT_FALSE(pair.b.take(message));
  pair.b.receive(0, 0, whole);
  ASSERT_TRUE(pair.b.take(message));
  EXPECT_EQ(message.bytes, "hello");
}

}  // namespace
}  // namespace kvhaul::verbs
