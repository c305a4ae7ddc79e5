// The loop itself; what runs through it is tested by the simulation and the replays.
#include "core/runtime.h"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

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

/// A backend whose events are a script. Its clock goes to the next of them, or to where it was told
/// to wait for.
class Scripted final : public Backend {
 public:
  struct Call {
    ChannelId channel;
    std::vector<ChunkPost> chunks;
    TimeNs now_ns;
  };
  std::string description() const override { return "scripted"; }
  bool moves_bytes() const override { return false; }
  Result<std::vector<ChannelNumbers>> open(const Cluster&,
                                           std::span<const ChannelRequest>) override {
    return std::vector<ChannelNumbers>{};
  }
  Result<SegmentId> register_segment(PlaceId, Bytes) override { return SegmentId{0}; }
  void post(ChannelId channel, std::span<const ChunkPost> chunks) override {
    posts.push_back({channel, {chunks.begin(), chunks.end()}, now_ns});
    for (const ChunkPost& chunk : chunks)
      if (takes_ns != never_ns) ends(channel, chunk, Outcome::ok, now_ns + takes_ns);
  }
  void cancel(ChannelId channel, ChunkId id) override {
    cancels.push_back({channel, id});
    for (const Call& call : posts)
      for (const ChunkPost& chunk : call.chunks)
        if (call.channel == channel && chunk.chunk == id)
          ends(channel, chunk, Outcome::cancelled, now_ns);
  }
  void send(const ControlMessage& message) override { sent.push_back(message); }
  void progress(BackendEvents& events) override {
    while (!script.empty() && script.begin()->first <= now_ns) {
      const BackendEvents& due = script.begin()->second;
      const auto add = [](auto& to, const auto& from) {
        to.insert(to.end(), from.begin(), from.end());
      };
      add(events.completions, due.completions);
      add(events.changes, due.changes);
      add(events.messages, due.messages);
      add(events.lost_nodes, due.lost_nodes);
      script.erase(script.begin());
    }
  }
  void wait(TimeNs until_ns) override {
    waits.push_back(until_ns);
    const TimeNs next = script.empty() ? never_ns : script.begin()->first;
    if (std::min(until_ns, next) != never_ns) now_ns = std::max(now_ns, std::min(until_ns, next));
  }
  TimeNs now() const override { return now_ns; }
  void fill(SegmentId, Bytes, Bytes, std::uint64_t) override {}
  std::uint64_t checksum(SegmentId, Bytes, Bytes) override { return 0; }
  void read(SegmentId, Bytes, std::span<std::byte>) override {}
  void write(SegmentId, Bytes, std::span<const std::byte>) override {}

  TimeNs takes_ns = 100;  // every chunk; never_ns: none ever lands
  TimeNs now_ns = 0;
  std::map<TimeNs, BackendEvents> script;
  std::vector<Call> posts;
  std::vector<CancelAction> cancels;
  std::vector<ControlMessage> sent;
  std::vector<TimeNs> waits;

 private:
  void ends(ChannelId channel, const ChunkPost& chunk, Outcome outcome, TimeNs at) {
    script[at].completions.push_back(
        {channel, outcome, chunk.chunk, now_ns, now_ns, at, chunk.bytes});
  }
};

/// Does things at given times, and notes what it hears.
struct Noting final : RuntimeClient {
  TimeNs next_ns() const override { return todo.empty() ? never_ns : todo.begin()->first; }
  void run(TimeNs now) override {
    runs.push_back(now);
    while (next_ns() <= now) {
      const auto act = todo.begin()->second;
      todo.erase(todo.begin());
      act(now);
    }
  }
  void chunks_ended(std::span<const Completion> completions) override {
    chunks.push_back({completions.begin(), completions.end()});
  }
  void transfer_ended(TimeNs now, const TransferEnd& end) override {
    ends.emplace_back(now, end);
    if (on_end) on_end(now, end);
  }
  void message(TimeNs now, const ControlMessage& message) override {
    messages.emplace_back(now, message);
  }
  void node_lost(TimeNs now, NodeId node) override { lost.emplace_back(now, node); }
  bool done() const override { return todo.empty(); }

  std::map<TimeNs, std::function<void(TimeNs)>> todo;
  std::function<void(TimeNs, const TransferEnd&)> on_end;
  std::vector<TimeNs> runs;
  std::vector<std::vector<Completion>> chunks;
  std::vector<std::pair<TimeNs, TransferEnd>> ends;
  std::vector<std::pair<TimeNs, ControlMessage>> messages;
  std::vector<std::pair<TimeNs, NodeId>> lost;
};

/// Node 0 with places 0 and 1 and channels 0 and 1, node 1 with places 2 and 3 and channel 5; a
/// log of all of it.
struct Loop {
  static std::vector<SchedulerSetup> setups() {
    std::vector<SchedulerSetup> made = {test::one_pair(2), test::one_pair(1)};
    made[1].node = 1;
    made[1].pairs[0] = {2, 3, 0};
    made[1].accounts[0].target = 3;
    made[1].channels[0].id = 5;
    return made;
  }
  TransferHandle submit(TimeNs now, PlaceId source, Bytes bytes) {
    piece = {0, 0, bytes};
    TransferRequest request;
    request.descriptors = {&piece, 1};
    return runtime.submit(now, *runtime.find_pair(source, source + 1), request);
  }
  Result<void> run() { return runtime.run(client); }
  /// Everything that schedulers were told of is in the log, in their order.
  VerifyReport verified() {
    EXPECT_TRUE(log.close());
    const auto report = verify_log(bytes, "log");
    EXPECT_TRUE(report) << report.error().message;
    EXPECT_TRUE(report && report->identical) << report->first_difference;
    return report ? *report : VerifyReport{};
  }

  std::vector<std::uint8_t> bytes;
  EventLogWriter log{setups(), [this](std::span<const std::uint8_t> more) {
                       bytes.insert(bytes.end(), more.begin(), more.end());
                       return true;
                     }};
  Scripted backend;
  Runtime runtime{backend, setups(), &log};
  Noting client;
  Descriptor piece;
};

TEST(Runtime, TransfersGoToTheSchedulerOfTheirPair) {
  Loop loop;
  EXPECT_EQ(loop.runtime.find_pair(0, 1)->scheduler, 0u);
  EXPECT_EQ(loop.runtime.find_pair(2, 3)->scheduler, 1u);
  EXPECT_FALSE(loop.runtime.find_pair(1, 0));
  EXPECT_FALSE(loop.runtime.find_pair(0, 3));
  loop.client.todo[0] = [&](TimeNs now) { EXPECT_EQ(loop.submit(now, 2, 2000).scheduler, 1u); };
  const auto ran = loop.run();
  ASSERT_TRUE(ran) << ran.error().message;
  // Both chunks of the one channel in one call.
  ASSERT_EQ(loop.backend.posts.size(), 1u);
  EXPECT_EQ(loop.backend.posts[0].channel, 5u);
  EXPECT_EQ(loop.backend.posts[0].chunks.size(), 2u);
  ASSERT_EQ(loop.client.ends.size(), 1u);
  EXPECT_EQ(loop.client.ends[0].first, 100);
  EXPECT_EQ(loop.client.ends[0].second.outcome, TransferOutcome::delivered);
  EXPECT_EQ(loop.client.ends[0].second.chunks, 2u);
  ASSERT_EQ(loop.client.chunks.size(), 1u);
  EXPECT_EQ(loop.client.chunks[0].size(), 2u);
  const VerifyReport report = loop.verified();
  EXPECT_EQ(report.events, 3u);  // a submission, two completions
  EXPECT_EQ(report.chunks, 2u);
}

TEST(Runtime, ACallTakesWhatFollowsEachOtherOnOneChannel) {
  Loop loop;
  loop.client.todo[0] = [&](TimeNs now) {
    loop.submit(now, 0, 4000);
    loop.submit(now, 2, 1000);
  };
  ASSERT_TRUE(loop.run());
  std::size_t chunks = 0;
  for (std::size_t i = 0; i < loop.backend.posts.size(); ++i) {
    chunks += loop.backend.posts[i].chunks.size();
    EXPECT_FALSE(loop.backend.posts[i].chunks.empty());
    if (i > 0 && loop.backend.posts[i].now_ns == loop.backend.posts[i - 1].now_ns) {
      EXPECT_NE(loop.backend.posts[i].channel, loop.backend.posts[i - 1].channel);
    }
  }
  EXPECT_EQ(chunks, 5u);
  EXPECT_EQ(loop.client.ends.size(), 2u);
  EXPECT_EQ(loop.verified().events, 2u + 5);
}

TEST(Runtime, TheClientRunsWhenItWants) {
  Loop loop;
  for (const TimeNs at : {0, 700, 701, 5000}) loop.client.todo[at] = [](TimeNs) {};
  ASSERT_TRUE(loop.run());
  EXPECT_EQ(loop.client.runs, (std::vector<TimeNs>{0, 700, 701, 5000}));
  EXPECT_EQ(loop.backend.waits, (std::vector<TimeNs>{700, 701, 5000}));
}

// One that ends brings the next; the loop goes on until the last has ended, and hears of each at
// the time when it ended.
TEST(Runtime, WhatIsSubmittedAtAnEndIsCarriedOut) {
  Loop loop;
  int left = 3;
  loop.client.on_end = [&](TimeNs now, const TransferEnd&) {
    if (left-- > 0) loop.submit(now, left % 2 == 0 ? 0 : 2, 500);
  };
  loop.client.todo[0] = [&](TimeNs now) { loop.submit(now, 0, 500); };
  ASSERT_TRUE(loop.run());
  ASSERT_EQ(loop.client.ends.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i)
    EXPECT_EQ(loop.client.ends[i].first, static_cast<TimeNs>(100 * (i + 1)));
  EXPECT_EQ(loop.verified().transfers, 4u);
}

TEST(Runtime, APostThatIsCancelledAtOnceIsNotMade) {
  Loop loop;
  loop.backend.now_ns = 40;
  loop.client.todo[40] = [&](TimeNs now) {
    loop.runtime.cancel(now, loop.submit(now, 2, 900));
    loop.submit(now, 0, 800);
  };
  ASSERT_TRUE(loop.run());
  EXPECT_TRUE(loop.backend.cancels.empty());
  ASSERT_EQ(loop.backend.posts.size(), 1u);
  EXPECT_NE(loop.backend.posts[0].channel, 5u);
  // Its completion comes at once, like any other.
  ASSERT_EQ(loop.client.chunks.size(), 2u);
  const Completion& withdrawn = loop.client.chunks[0].at(0);
  EXPECT_EQ(withdrawn.channel, 5u);
  EXPECT_EQ(withdrawn.outcome, Outcome::cancelled);
  EXPECT_EQ(withdrawn.bytes, 900u);
  EXPECT_EQ(withdrawn.posted_ns, 40);
  EXPECT_EQ(withdrawn.started_ns, 40);
  EXPECT_EQ(withdrawn.done_ns, 40);
  ASSERT_EQ(loop.client.ends.size(), 2u);
  EXPECT_EQ(loop.client.ends[0].first, 40);
  EXPECT_EQ(loop.client.ends[0].second.outcome, TransferOutcome::cancelled);
  EXPECT_EQ(loop.client.ends[1].first, 140);
  EXPECT_EQ(loop.verified().events, 2u + 1 + 2);
}

// A chunk of before is stopped by the backend; another post of the same moment goes its way.
TEST(Runtime, AChunkUnderWayIsCancelledByTheBackend) {
  Loop loop;
  TransferHandle first;
  loop.client.todo[0] = [&](TimeNs now) { first = loop.submit(now, 2, 900); };
  loop.client.todo[50] = [&](TimeNs now) {
    loop.runtime.cancel(now, first);
    loop.submit(now, 2, 700);
  };
  loop.backend.takes_ns = 1000;
  ASSERT_TRUE(loop.run());
  ASSERT_EQ(loop.backend.cancels.size(), 1u);
  EXPECT_EQ(loop.backend.cancels[0].channel, 5u);
  EXPECT_EQ(loop.backend.cancels[0].chunk, loop.backend.posts[0].chunks[0].chunk);
  ASSERT_EQ(loop.backend.posts.size(), 2u);
  EXPECT_EQ(loop.backend.posts[1].chunks[0].bytes, 700u);
  ASSERT_EQ(loop.client.ends.size(), 2u);
  EXPECT_EQ(loop.client.ends[0].second.outcome, TransferOutcome::cancelled);
  EXPECT_EQ(loop.client.ends[1].second.outcome, TransferOutcome::delivered);
}

TEST(Runtime, ProbesAreNoChunksOfTheUsers) {
  Loop loop;
  const auto ended = [](ChannelId channel, Bytes bytes) {
    return Completion{channel, Outcome::ok, 0xff00000000 + bytes, 1, 2, 3, bytes};
  };
  loop.backend.script[10].completions = {ended(0, 0)};
  loop.backend.script[20].completions = {ended(0, 7), ended(5, 0), ended(1, 8)};
  loop.backend.script[30].completions = {ended(5, 9)};
  loop.client.todo[40] = [](TimeNs) {};
  ASSERT_TRUE(loop.run());
  std::vector<std::vector<Bytes>> told;
  for (const auto& completions : loop.client.chunks) {
    told.emplace_back();
    for (const Completion& completion : completions) told.back().push_back(completion.bytes);
  }
  EXPECT_EQ(told, (std::vector<std::vector<Bytes>>{{7, 8}, {9}}));
  // The schedulers hear of all, each of its own channels'.
  EXPECT_EQ(loop.runtime.schedulers()[0].counters().unexpected, 3u);
  EXPECT_EQ(loop.runtime.schedulers()[1].counters().unexpected, 2u);
  EXPECT_EQ(loop.verified().events, 5u);
}

TEST(Runtime, MessagesChangesAndLossesReachThoseWhomTheyConcern) {
  Loop loop;
  BackendEvents& events = loop.backend.script[10];
  events.messages = {{.from = 0, .to = 1, .kind = first_client_message, .value = 1},
                     {.from = 0, .to = 1, .kind = first_client_message - 1, .value = 2},
                     {.from = 0, .to = 9, .kind = 1, .value = 3},  // nobody drives node 9
                     {.from = 0, .to = 0, .kind = first_client_message + 7, .value = 4}};
  events.changes = {{5, false}};
  events.lost_nodes = {4};
  loop.client.todo[20] = [&](TimeNs now) { loop.submit(now, 2, 100); };
  loop.backend.script[2000].changes = {{5, true}};
  ASSERT_TRUE(loop.run());
  ASSERT_EQ(loop.client.messages.size(), 2u);
  EXPECT_EQ(loop.client.messages[0].first, 10);
  EXPECT_EQ(loop.client.messages[0].second.value, 1u);
  EXPECT_EQ(loop.client.messages[1].second.value, 4u);
  EXPECT_EQ(loop.client.lost, (std::vector<std::pair<TimeNs, NodeId>>{{10, 4}}));
  // The channel is down until 2000, and nothing is posted on it before.
  ASSERT_FALSE(loop.backend.posts.empty());
  for (const Scripted::Call& call : loop.backend.posts) EXPECT_GE(call.now_ns, 2000);
  EXPECT_EQ(loop.client.ends.at(0).second.outcome, TransferOutcome::delivered);
  EXPECT_GE(loop.verified().events, 5u);  // two changes, a message, a submission, a completion
}

// Credits go to the scheduler of their node, with a log and without one.
TEST(Runtime, CreditsGoToTheSchedulerOfTheirNode) {
  const auto script = [](Scripted& backend) {
    backend.script[10].messages = {{.from = 0, .to = 1, .kind = first_client_message},
                                   {.from = 1, .to = 0, .kind = first_client_message},
                                   {.from = 0, .to = 1, .kind = 1},
                                   {.from = 1, .to = 0, .kind = 1},
                                   {.from = 0, .to = 9, .kind = 1}};
  };
  Loop loop;
  script(loop.backend);
  loop.client.todo[20] = [](TimeNs) {};
  ASSERT_TRUE(loop.run());
  EXPECT_EQ(loop.client.messages.size(), 2u);
  EXPECT_EQ(loop.verified().events, 2u);
  Scripted backend;
  script(backend);
  Runtime runtime(backend, Loop::setups(), nullptr);
  Noting client;
  client.todo[20] = [](TimeNs) {};
  EXPECT_TRUE(runtime.run(client));
  EXPECT_EQ(client.messages.size(), 2u);
}

// A timer that has run out does not run out again: the loop waits for the client.
TEST(Runtime, ATimerRunsOutOnce) {
  Loop loop;
  loop.client.todo[0] = [&](TimeNs now) { loop.submit(now, 2, 100); };
  loop.client.todo[20 * s_ns] = [](TimeNs) {};
  ASSERT_TRUE(loop.run());
  EXPECT_EQ(loop.backend.waits.back(), 20 * s_ns);
  EXPECT_LT(loop.backend.waits.size(), 10u);
  EXPECT_EQ(loop.client.ends.size(), 1u);
}

// A transfer that has posted nothing ends at once when it is cancelled, also while the client hears
// of another's end: of this scheduler or of one whose ends it has heard already.
TEST(Runtime, AnEndMayBringAnEndOfTheSameMoment) {
  Loop loop;
  loop.backend.script[0].changes = {{0, false}, {1, false}};
  std::vector<TransferHandle> waiting;
  loop.client.todo[1] = [&](TimeNs now) {
    waiting.push_back(loop.submit(now, 0, 500));  // its channels are down
    loop.submit(now, 2, 2000);
    loop.submit(now, 2, 2000);
    waiting.push_back(loop.submit(now, 2, 2000));  // behind the two
  };
  loop.client.on_end = [&](TimeNs now, const TransferEnd&) {
    for (const TransferHandle& transfer : std::exchange(waiting, {}))
      loop.runtime.cancel(now, transfer);
  };
  ASSERT_TRUE(loop.run());
  ASSERT_EQ(loop.client.ends.size(), 4u);
  int cancelled = 0;
  for (const auto& [now, end] : loop.client.ends)
    if (end.outcome == TransferOutcome::cancelled) {
      ++cancelled;
      EXPECT_EQ(now, loop.client.ends[0].first);
    }
  EXPECT_EQ(cancelled, 2);
  loop.verified();
}

// Nothing lands: the schedulers' timers alone bring an end, and the log has each that ran out.
TEST(Runtime, TimersEndWhatNobodyAnswers) {
  Loop loop;
  loop.backend.takes_ns = never_ns;
  loop.client.todo[0] = [&](TimeNs now) {
    loop.submit(now, 0, 100);
    loop.submit(now, 2, 100);
  };
  ASSERT_TRUE(loop.run());
  ASSERT_EQ(loop.client.ends.size(), 2u);
  for (const auto& [now, end] : loop.client.ends) {
    EXPECT_NE(end.outcome, TransferOutcome::delivered);
    EXPECT_LE(now, 30 * s_ns);
  }
  EXPECT_FALSE(loop.backend.cancels.empty());
  for (const TimeNs until : loop.backend.waits) EXPECT_NE(until, never_ns);
  EXPECT_EQ(loop.verified().transfers, 2u);
}

TEST(Runtime, EndsWithALogThatCannotBeWrittenWhereThatIsWanted) {
  for (const bool ends : {false, true}) {
    Scripted backend;
    EventLogWriter log(Loop::setups(), [](std::span<const std::uint8_t>) { return false; });
    if (ends) log.end_run_on_failure();
    EXPECT_FALSE(log.close());  // the first bytes that it tries to write
    Runtime runtime(backend, Loop::setups(), &log);
    Noting client;
    client.todo[0] = [](TimeNs) {};
    const auto ran = runtime.run(client);
    EXPECT_EQ(static_cast<bool>(ran), !ends);
    if (ends) {
      EXPECT_EQ(ran.error().message, "the event log could not be written");
    }
  }
}

}  // namespace
}  // namespace kvhaul
