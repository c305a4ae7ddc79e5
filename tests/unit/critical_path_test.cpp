// What a transfer waited for, in made-up events whose answers are known, and against a walk that
// follows every cause one by one.
#include "core/critical_path.h"

#include <random>

#include <gtest/gtest.h>

#include "core/scheduler_setup.h"

namespace kvhaul {
namespace {

using PP = PathPart;

constexpr TimeNs fixed_ns = 3;

/// One pair with two channels.
SchedulerSetup setup() {
  SchedulerSetup setup;
  setup.pairs = {{}};
  setup.channels.resize(2);
  for (SetupChannel& channel : setup.channels) channel.numbers.fixed_ns = fixed_ns;
  setup.channels[0].id = 4;
  setup.channels[1].id = 5;
  return setup;
}

PostAction post(ChunkId chunk, PathPart held_back_by = PathPart::window, Bytes bytes = 1) {
  PostAction action;
  action.channel = 4;
  action.post.chunk = chunk;
  action.post.bytes = bytes;
  action.held_back_by = held_back_by;
  return action;
}

Completion landed(ChunkId chunk, TimeNs ready, TimeNs started, TimeNs done,
                  Outcome outcome = Outcome::ok) {
  return {4, outcome, chunk, 0, started, done, 1, ready};
}

PathParts parts(std::initializer_list<std::pair<PathPart, TimeNs>> of) {
  PathParts parts;
  for (const auto& [part, ns] : of) parts[part] = ns;
  return parts;
}

/// Posted at 100, through the posting thread at 110, begun at 130 when the channel was free, landed
/// at 150, told at 152.
TEST(CriticalPath, OfAChunkThatGoesAtOnce) {
  CriticalPath path(setup());
  path.submitted(100, 1);
  path.posted(post(7));
  path.completed(152, landed(7, 110, 130, 150));
  const std::uint64_t last = path.ended(1);
  EXPECT_EQ(path.parts(last, 100), parts({{PP::post, 10}, {PP::wire, 40}, {PP::detect, 2}}));
  EXPECT_EQ(path.parts(last, 105), parts({{PP::post, 5}, {PP::wire, 40}, {PP::detect, 2}}));
  EXPECT_EQ(path.parts(last, 140), parts({{PP::wire, 10}, {PP::detect, 2}}));
  EXPECT_EQ(path.parts(last, 151), parts({{PP::detect, 1}}));
  EXPECT_EQ(path.parts(last, 152), PathParts());
}

/// A backend that does not know when posting was through with it.
TEST(CriticalPath, PostingLastsToTheStartWhereItIsNotKnownApart) {
  CriticalPath path(setup());
  path.submitted(100, 1);
  path.posted(post(7));
  path.completed(150, landed(7, 0, 130, 150));
  EXPECT_EQ(path.parts(path.ended(1), 100), parts({{PP::post, 30}, {PP::wire, 20}}));
}

/// The second chunk waits for the first one: its posting, its time on the wire, and from there on
/// for the window, which a larger one would have spared it.
class Held : public ::testing::TestWithParam<PathPart> {};

TEST_P(Held, ByWhatTheSchedulerSays) {
  CriticalPath path(setup());
  path.submitted(100, 1);
  path.posted(post(7));
  path.submitted(110, 2);
  path.completed(152, landed(7, 120, 130, 150));
  path.posted(post(8, GetParam()));
  path.ended(1);
  path.completed(180, landed(8, 160, 170, 180));
  PathParts expected = parts({{PP::post, 10 + 8}, {PP::wire, 27 + 20}});
  expected[GetParam()] += fixed_ns + 2;
  EXPECT_EQ(path.parts(path.ended(2), 110), expected);
}

INSTANTIATE_TEST_SUITE_P(Reasons, Held,
                         ::testing::Values(PP::window, PP::credit, PP::order, PP::fault));

/// Until a message grants it; before, for what the chunk posted before it waited for.
TEST(CriticalPath, CreditThatIsGranted) {
  CriticalPath path(setup());
  path.submitted(100, 1);
  path.posted(post(7));
  path.submitted(105, 2);
  path.happened(140);
  path.posted(post(8, PP::credit));
  path.completed(150, landed(7, 101, 101, 135));
  path.ended(1);
  path.completed(160, landed(8, 140, 145, 160));
  EXPECT_EQ(path.parts(path.ended(2), 105), parts({{PP::credit, 35}, {PP::wire, 20}}));
}

TEST(CriticalPath, ALostAttemptIsAFault) {
  CriticalPath path(setup());
  path.submitted(100, 1);
  path.posted(post(7));
  path.completed(500, landed(7, 500, 500, 500, Outcome::path_failed));
  path.posted(post(1ull << 32 | 7));
  path.completed(520, landed(1ull << 32 | 7, 505, 505, 520));
  EXPECT_EQ(path.parts(path.ended(1), 100),
            parts({{PP::fault, 400}, {PP::post, 5}, {PP::wire, 15}}));
}

/// What came at 120 found room at once; what had come at 105 waited for it.
TEST(CriticalPath, WhatCameLaterWentFirst) {
  CriticalPath path(setup());
  path.submitted(105, 1);
  path.submitted(120, 2);
  path.posted(post(7));
  path.completed(150, landed(7, 130, 130, 150));
  path.posted(post(8, PP::window));
  path.ended(2);
  path.completed(170, landed(8, 150, 150, 170));
  EXPECT_EQ(path.parts(path.ended(1), 105),
            parts({{PP::order, 15}, {PP::post, 10}, {PP::wire, 17 + 20}, {PP::window, fixed_ns}}));
}

TEST(CriticalPath, ProbesAndUnknownChunksAreNothing) {
  CriticalPath path(setup());
  path.submitted(100, 1);
  path.posted(post(7));
  path.happened(101);
  path.posted(post(9, PP::window, 0));
  path.completed(110, landed(9, 105, 105, 110));
  path.completed(111, landed(77, 105, 105, 110));
  path.completed(112, landed(2ull << 32 | 7, 105, 105, 110));
  path.completed(120, landed(7, 102, 102, 120));
  EXPECT_EQ(path.parts(path.ended(1), 100), parts({{PP::post, 2}, {PP::wire, 18}}));
}

/// A backend's times may contradict each other, and the clock of the scheduler.
TEST(CriticalPath, TimesOutOfOrderStillAddUp) {
  CriticalPath path(setup());
  path.submitted(100, 1);
  path.posted(post(7));
  path.completed(120, landed(7, 500, 90, 400));
  EXPECT_EQ(path.parts(path.ended(1), 100), parts({{PP::wire, 20}}));
}

/// The channel is the one thing that everything waits for: also what was posted long before.
TEST(CriticalPath, AFullChannelIsTheWireHoweverLongPostingTook) {
  CriticalPath path(setup());
  path.submitted(100, 1);
  for (ChunkId chunk = 0; chunk < 5; ++chunk) path.posted(post(chunk));
  for (ChunkId chunk = 0; chunk < 5; ++chunk) {
    const auto n = static_cast<TimeNs>(chunk);
    const TimeNs left = 105 + 20 * (n + 1);  // posting takes 5 of every 20
    path.completed(left + fixed_ns, landed(chunk, 105 + 5 * n, left - 20, left + fixed_ns));
  }
  EXPECT_EQ(path.parts(path.ended(1), 100), parts({{PP::post, 5}, {PP::wire, 5 * 20 + fixed_ns}}));
}

TEST(CriticalPath, AndPostingWhereTheChannelWaitsForIt) {
  CriticalPath path(setup());
  path.submitted(100, 1);
  for (ChunkId chunk = 0; chunk < 5; ++chunk) path.posted(post(chunk));
  for (ChunkId chunk = 0; chunk < 5; ++chunk) {
    const TimeNs ready = 100 + 20 * static_cast<TimeNs>(chunk + 1);
    path.completed(ready + 8, landed(chunk, ready, ready, ready + 8));
  }
  EXPECT_EQ(path.parts(path.ended(1), 100), parts({{PP::post, 5 * 20}, {PP::wire, 8}}));
}

/// A run of many chunks, some of which fail. Of every transfer the parts are those of a walk from
/// cause to cause, a nanosecond at a time, and add up; also when what nobody can ask for is
/// forgotten on the way.
TEST(CriticalPath, AddsUpOverLongChains) {
  struct Seen {
    TimeNs decided = 0, ready = 0, left = 0, reported = never_ns;
    bool failed = false;
    std::size_t cause = 0;   // 0: none
    std::size_t ahead = 0;   // on its channel, and it waited for that; 0: it did not
    std::size_t before = 0;  // the same for posting
    PathPart held = PP::order;
  };
  std::mt19937_64 random(1);
  const auto up_to = [&](TimeNs most) {
    return static_cast<TimeNs>(random() % static_cast<std::uint64_t>(most + 1));
  };
  const auto id_of = [](std::uint64_t number) { return std::uint64_t{1} << 32 | number; };
  CriticalPath path(setup());
  std::vector<Seen> seen(1);
  std::vector<std::size_t> in_flight;
  std::vector<TimeNs> submitted;
  TimeNs now = 0;
  std::uint64_t transfer = 0, checked = 0, behind = 0, queued = 0;
  std::size_t left_last = 0;
  const auto submit = [&] {
    path.submitted(now, id_of(++transfer));
    submitted.push_back(now);
  };
  const auto give = [&](std::size_t cause, PathPart held) {
    path.posted(post(seen.size(), held));
    Seen next;
    next.decided = now;
    next.cause = cause;
    next.held = held;
    seen.push_back(next);
    in_flight.push_back(seen.size() - 1);
  };
  // What was waited for in the nanosecond before `at`, on the way to the moment that it leads to.
  const auto walk = [&](std::size_t number, TimeNs from) {
    PathParts parts;
    enum { wire, posting, waiting } state = wire;
    for (TimeNs at = seen[number].left; at > from;) {
      const Seen& of = seen[number];
      const Seen& cause = seen[of.cause];
      if (state == wire && at == (of.ahead != 0 ? seen[of.ahead].left : of.ready)) {
        if (of.ahead == 0) state = posting;
        if (of.ahead != 0) number = of.ahead;
      } else if (state == wire) {
        ++parts[PP::wire];
        --at;
      } else if (state == posting && at == (of.before != 0 ? seen[of.before].ready : of.decided)) {
        if (of.before == 0) state = waiting;
        if (of.before != 0) number = of.before;
      } else if (state == posting) {
        ++parts[PP::post];
        --at;
      } else if (of.cause == 0) {
        ++parts[PP::order];
        --at;
      } else if (at == (cause.failed ? cause.decided : cause.left)) {
        if (!cause.failed) state = wire;
        number = of.cause;
      } else {
        ++parts[cause.failed ? PP::fault : of.held];
        --at;
      }
    }
    return parts;
  };
  for (int round = 0; round < 4000; ++round) {
    now += 1 + up_to(19);
    if (round % 300 == 0) {  // room is found at once: a chain of its own
      submit();
      give(0, PP::order);
      continue;
    }
    if (round % 3 == 0) submit();
    const auto which = static_cast<std::size_t>(random() % in_flight.size());
    const std::size_t number = in_flight[which];
    in_flight.erase(in_flight.begin() + static_cast<std::ptrdiff_t>(which));
    Seen& back = seen[number];
    const TimeNs ready = std::max<TimeNs>(1, back.decided + up_to(now - back.decided));
    const TimeNs started = ready + up_to(now - ready), done = started + up_to(now - started);
    back.failed = random() % 20 == 0;
    back.reported = now;
    back.ready = ready;
    back.left = done - std::min(fixed_ns, done - started);
    if (!back.failed) {
      const Seen& ahead = seen[left_last];
      if (left_last != 0 && ahead.left >= ready && ahead.left <= back.left) {
        back.ahead = left_last;
        ++behind;
      }
      left_last = number;
      const Seen& before = seen[number - 1];  // all are from one place
      if (number > 1 && before.reported != never_ns && !before.failed &&
          before.ready >= back.decided && before.ready <= ready) {
        back.before = number - 1;
        ++queued;
      }
    }
    path.completed(now, landed(number, ready, started, done,
                               back.failed ? Outcome::path_failed : Outcome::ok));
    const bool failed = back.failed;
    const TimeNs left = back.left;
    give(number, failed ? PP::fault : random() % 2 == 0 ? PP::window : PP::credit);
    if (random() % 4 == 0) give(number, failed ? PP::fault : PP::window);
    const std::uint64_t id = random() % transfer + 1;  // some transfer ends with it
    const TimeNs since = submitted[id - 1];
    if (since == never_ns || failed) continue;
    submitted[id - 1] = never_ns;
    const PathParts found = path.parts(path.ended(id_of(id)), since);
    PathParts expected = walk(number, since);
    expected[PP::wire] += std::max<TimeNs>(0, done - std::max(left, since));
    expected[PP::detect] += now - std::max(done, since);
    EXPECT_EQ(found, expected) << round;
    EXPECT_EQ(found.sum(), now - since) << round;
    ++checked;
    path.forget();
  }
  EXPECT_GT(checked, 500u);
  EXPECT_GT(behind, 100u);
  EXPECT_GT(queued, 100u);
}

}  // namespace
}  // namespace kvhaul
