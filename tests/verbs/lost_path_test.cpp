// A rail is lost in the middle of traffic and comes back; a process is killed. Needs the rails of
// tests/softroce/rails.sh, and root. The times are printed, not judged: how long after the last
// chunk had come through the last one was given to the lost rail, and when the first one that had
// been lost was at its target, by another rail.
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <gtest/gtest.h>

#include "backends/verbs/verbs.h"
#include "core/scheduler_setup.h"
#include "tests/verbs/pipe_exchange.h"
#include "tests/verbs/rail_traffic.h"

namespace kvhaul::test {
namespace {

constexpr double rail_bytes_per_s = 10e6;
constexpr Bytes segment_bytes = RailTraffic::slots * RailTraffic::chunk_bytes;
constexpr TimeNs never_takes_longer_ns = 60 * s_ns;

std::string no_rails() {
  if (std::string why = verbs::missing(); !why.empty()) return why;
  const std::vector<std::string> devices = verbs::device_names();
  return devices == std::vector<std::string>{"rxa0", "rxa1", "rxb0", "rxb1"}
             ? ""
             : "not the rails of tests/softroce/rails.sh";
}

/// A function of tests/softroce/rails.sh.
void in_guest(const std::string& call) {
  ASSERT_EQ(std::system(("bash -c '. /rails.sh; " + call + "'").c_str()), 0) << call;
}

void set_down(const char* netdev) {
  ifreq request = {};
  std::snprintf(request.ifr_name, sizeof request.ifr_name, "%s", netdev);
  const int any = socket(AF_INET, SOCK_DGRAM, 0);
  ASSERT_EQ(ioctl(any, SIOCGIFFLAGS, &request), 0);
  request.ifr_flags = static_cast<short>(request.ifr_flags & ~IFF_UP);
  ASSERT_EQ(ioctl(any, SIOCSIFFLAGS, &request), 0);
  close(any);
}

/// Of what side a sends on the first rail, side b hears nothing any more, and nobody is told: its
/// addresses are this machine's own, and such are taken from a wire only where that is allowed. (A
/// shell would take its time on an emulated processor, and that of the traffic.)
void let_in(bool packets) {
  std::ofstream("/proc/sys/net/ipv4/conf/b0/accept_local") << (packets ? "1" : "0");
}

struct Loss {
  std::string name;
  std::function<void()> begin, end;
};
void PrintTo(const Loss& loss, std::ostream* out) { *out << loss.name; }

class LostPath : public ::testing::TestWithParam<Loss> {};

TEST_P(LostPath, TrafficGoesOnByTheOtherRailAndComesBack) {
  if (const std::string why = no_rails(); !why.empty()) GTEST_SKIP() << why;
  in_guest("shape 0 80mbit; shape 1 80mbit");
  const Cluster cluster = slow_rails(2, rail_bytes_per_s);
  const ChannelPlan plan = one_queue_each(cluster);
  const auto backend = verbs::make_backend({});
  const auto numbers = backend->open(cluster, plan.requests);
  ASSERT_TRUE(numbers) << numbers.error().message;
  const SegmentId from = *backend->register_segment(plan.requests[0].route.source, segment_bytes);
  const SegmentId to = *backend->register_segment(plan.requests[0].route.target, segment_bytes);
  SchedulerConfig config;
  config.policy = "round_robin";  // there is always something under way on both rails
  Runtime runtime(*backend, make_setups(cluster, plan.requests, plan.tiers, *numbers, config),
                  nullptr);
  RailTraffic traffic(*backend, from, to);

  enum class Phase { before, lost, other_rail, back } phase = Phase::before;
  TimeNs lost_ns = 0, back_ns = 0;
  std::size_t looked_at = 0, both = 0, by_other = 0;
  std::thread doing;
  // Runs while traffic does; its times are those of the backend's clock.
  std::atomic<TimeNs> lose_returned_ns = 0;
  const auto meanwhile = [&](const std::function<void()>& what) {
    if (doing.joinable()) doing.join();
    doing = std::thread(what);
  };
  TimeNs first_resent_ns = 0, first_back_ns = 0, left_ns = 0, silent_ns = 0, given_up_ns = 0;
  const auto ran = traffic.run(runtime, [&](TimeNs now) {
    for (; looked_at < traffic.ends.size(); ++looked_at) {
      const TransferEnd& end = traffic.ends[looked_at];
      const bool by_first = (end.channels_used & 1) != 0;
      const bool resent = end.resent_chunks != 0;
      switch (phase) {
        case Phase::before:
          both |= by_first ? 1 : 2;
          // It has just shown that it works, and so has been given more.
          if (both != 3 || looked_at < 100 || !by_first) break;
          phase = Phase::lost;
          lost_ns = now;
          meanwhile([&] {
            GetParam().begin();
            lose_returned_ns = backend->now();
          });
          break;
        case Phase::lost:
          if (!resent) break;
          phase = Phase::other_rail;
          first_resent_ns = end.done_ns - lost_ns;
          silent_ns = end.done_ns - traffic.landed_ns[0];
          given_up_ns = traffic.lost_ns[0] - traffic.landed_ns[0];
          break;
        case Phase::other_rail:
          if (!by_first) ++by_other;
          if (by_other < 150) break;
          phase = Phase::back;
          back_ns = now;
          left_ns = traffic.posted_ns[0] - traffic.landed_ns[0];
          meanwhile(GetParam().end);
          break;
        case Phase::back:
          if (by_first && !resent && first_back_ns == 0 && end.submitted_ns > back_ns)
            first_back_ns = end.done_ns - back_ns;
          break;
      }
    }
    return first_back_ns == 0 && now < never_takes_longer_ns;
  });
  if (doing.joinable()) doing.join();
  ASSERT_TRUE(ran) << ran.error().message;
  EXPECT_TRUE(phase == Phase::back && first_back_ns != 0)
      << "in phase " << static_cast<int>(phase) << ": " << backend->description();
  for (const TransferEnd& end : traffic.ends) EXPECT_EQ(end.outcome, TransferOutcome::delivered);
  EXPECT_EQ(traffic.wrong, 0u);
  EXPECT_TRUE(traffic.nothing_came_late());
  const auto ms = [](TimeNs ns) { return static_cast<double>(ns) / ms_ns; };
  std::printf(
      "%s: first lost chunk at its target %.1f ms after the call, which took %.1f ms; after the "
      "last one had come through the rail was given chunks for %.1f ms, the first was given up "
      "%.1f ms after, and at its target %.1f ms after; used again %.1f ms after it came back; %zu "
      "transfers\n",
      GetParam().name.c_str(), ms(first_resent_ns), ms(lose_returned_ns - lost_ns), ms(left_ns),
      ms(given_up_ns), ms(silent_ns), ms(first_back_ns), traffic.ends.size());
}

const std::vector<Loss> losses = {
    {"OwnSideDown", [] { set_down("a0"); }, [] { in_guest("bring_up 0"); }},
    {"FarSideDown", [] { set_down("b0"); }, [] { in_guest("bring_up 0"); }},
    {"AllPacketsLost", [] { let_in(false); }, [] { let_in(true); }},
};
INSTANTIATE_TEST_SUITE_P(Verbs, LostPath, ::testing::ValuesIn(losses),
                         [](const auto& info) { return info.param.name; });

/// Process 1 of two: answers with its memory until it is killed or everybody else is gone.
[[noreturn]] void be_the_other_node(Exchange& exchange) {
  const Cluster cluster = slow_rails(2, rail_bytes_per_s);
  const ChannelPlan plan = one_queue_each(cluster);
  const auto backend = verbs::make_backend({.exchange = &exchange, .rank_of_node = {0, 1}});
  if (!backend->open(cluster, plan.requests)) _exit(10);
  if (!backend->register_segment(plan.requests[0].route.source, segment_bytes)) _exit(11);
  const auto to = backend->register_segment(plan.requests[0].route.target, segment_bytes);
  if (!to || !backend->start()) _exit(12);
  // Says what lies in its memory when it is asked.
  for (BackendEvents events; events.lost_nodes.empty();) {
    events.clear();
    backend->progress(events);
    for (const ControlMessage& asked : events.messages)
      backend->send({asked.to, asked.from, asked.kind, 0, asked.value,
                     backend->checksum(*to, asked.value, RailTraffic::chunk_bytes)});
    backend->wait(backend->now() + 100 * ms_ns);
  }
  _exit(0);
}

/// Sends transfers into another process, and has it say what has come.
class Asker final : public RuntimeClient {
 public:
  Asker(Backend& backend, Runtime& runtime, SegmentId from, SegmentId to, pid_t other)
      : backend_(backend), runtime_(runtime), from_(from), to_(to), other_(other) {}

  std::size_t right = 0, wrong = 0, failed = 0;
  int status = 0;  // of the other process
  TimeNs killed_ns = never_ns, lost_ns = never_ns, last_end_ns = 0;

  TimeNs next_ns() const override { return next_; }
  void run(TimeNs now) override {
    next_ = now + 100 * ms_ns;
    for (; open_ < 8 && lost_ns == never_ns; ++open_) {
      const Bytes at = (count_++ % RailTraffic::slots) * RailTraffic::chunk_bytes;
      backend_.fill(from_, at, RailTraffic::chunk_bytes, count_);
      const Descriptor piece = {at, at, RailTraffic::chunk_bytes};
      TransferRequest request;
      request.source_segment = from_;
      request.target_segment = to_;
      request.tag = at;
      request.descriptors = {&piece, 1};
      runtime_.submit(now, {0, 0}, request);
    }
  }
  void transfer_ended(TimeNs now, const TransferEnd& end) override {
    last_end_ns = now;
    if (end.outcome == TransferOutcome::delivered) {
      backend_.send({0, 1, first_client_message, 0, end.tag, 0});
      return;
    }
    ++failed;
    --open_;
  }
  void message(TimeNs now, const ControlMessage& said) override {
    const std::uint64_t sum = backend_.checksum(from_, said.value, RailTraffic::chunk_bytes);
    ++(sum == said.value2 ? right : wrong);
    --open_;
    next_ = now;
    if (right + wrong == 100) {
      kill(other_, SIGKILL);
      killed_ns = now;
      waitpid(other_, &status, 0);  // now its queue pairs are gone, too
    }
  }
  void node_lost(TimeNs now, NodeId) override { lost_ns = now; }
  bool done() const override { return lost_ns != never_ns; }

 private:
  Backend& backend_;
  Runtime& runtime_;
  SegmentId from_, to_;
  pid_t other_;
  std::size_t open_ = 0;
  std::uint64_t count_ = 0;
  TimeNs next_ = 0;
};

TEST(LostProcess, TransfersToItFailAndTheOthersEnd) {
  if (const std::string why = no_rails(); !why.empty()) GTEST_SKIP() << why;
  in_guest("shape 0 80mbit; shape 1 80mbit");
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  const pid_t other = fork();
  if (other == 0) {
    close(ends[0]);
    PipeExchange exchange(1, ends[1]);
    be_the_other_node(exchange);
  }
  close(ends[1]);
  PipeExchange exchange(0, ends[0]);
  const Cluster cluster = slow_rails(2, rail_bytes_per_s);
  const ChannelPlan plan = one_queue_each(cluster);
  const auto backend = verbs::make_backend({.exchange = &exchange, .rank_of_node = {0, 1}});
  const auto numbers = backend->open(cluster, plan.requests);
  ASSERT_TRUE(numbers) << numbers.error().message;
  const SegmentId from = *backend->register_segment(plan.requests[0].route.source, segment_bytes);
  const SegmentId to = *backend->register_segment(plan.requests[0].route.target, segment_bytes);
  const auto started = backend->start();
  ASSERT_TRUE(started) << started.error().message;
  SchedulerConfig config;
  config.stall_timeout_ns = 1 * s_ns;
  Runtime runtime(*backend, make_setups(cluster, plan.requests, plan.tiers, *numbers, config),
                  nullptr);
  Asker asker(*backend, runtime, from, to, other);
  const auto ran = runtime.run(asker);
  ASSERT_TRUE(ran) << ran.error().message;
  EXPECT_GE(asker.right, 100u);  // answers may have come before it died
  EXPECT_EQ(asker.wrong, 0u);
  EXPECT_GT(asker.failed, 0u);
  EXPECT_TRUE(WIFSIGNALED(asker.status));
  std::printf(
      "killed process: known to be gone %.0f ms after, last of %zu transfers failed %.0f ms "
      "after\n",
      static_cast<double>(asker.lost_ns - asker.killed_ns) / ms_ns, asker.failed,
      static_cast<double>(asker.last_end_ns - asker.killed_ns) / ms_ns);
}

constexpr TimeNs short_patience_ns = 2 * s_ns;

/// Process 1 of two: fills for much longer than that in one call, then says so.
[[noreturn]] void fill_for_long(Exchange& exchange) {
  const Cluster cluster = slow_rails(2, rail_bytes_per_s);
  const ChannelPlan plan = one_queue_each(cluster);
  const auto backend = verbs::make_backend({.exchange = &exchange, .rank_of_node = {0, 1}});
  if (!backend->open(cluster, plan.requests)) _exit(10);
  if (!backend->register_segment(plan.requests[0].route.source, segment_bytes)) _exit(11);
  const auto to = backend->register_segment(plan.requests[0].route.target, segment_bytes);
  if (!to) _exit(12);
  constexpr std::size_t tries = 50;
  std::vector<SegmentRange> ranges(tries, {0, segment_bytes, 1});
  backend->fill_ranges(*to, ranges);  // the first time takes longer
  const auto begin = std::chrono::steady_clock::now();
  backend->fill_ranges(*to, ranges);
  const std::chrono::nanoseconds took = std::chrono::steady_clock::now() - begin;
  const TimeNs one = std::max<TimeNs>(1, took.count() / TimeNs{tries});
  ranges.resize(static_cast<std::size_t>(3 * short_patience_ns / one + 1), ranges[0]);
  if (!backend->start()) _exit(13);
  backend->fill_ranges(*to, ranges);
  backend->send({1, 0, first_client_message, 0, 0, 0});
  for (BackendEvents events; events.lost_nodes.empty(); events.clear()) {
    backend->wait(backend->now() + 100 * ms_ns);
    backend->progress(events);
  }
  _exit(0);
}

TEST(BusyProcess, IsNotTakenForALostOne) {
  if (const std::string why = no_rails(); !why.empty()) GTEST_SKIP() << why;
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  const pid_t other = fork();
  if (other == 0) {
    close(ends[0]);
    PipeExchange exchange(1, ends[1]);
    fill_for_long(exchange);
  }
  close(ends[1]);
  PipeExchange exchange(0, ends[0]);
  const Cluster cluster = slow_rails(2, rail_bytes_per_s);
  const ChannelPlan plan = one_queue_each(cluster);
  const auto backend = verbs::make_backend(
      {.exchange = &exchange, .rank_of_node = {0, 1}, .patience_ns = short_patience_ns});
  const auto numbers = backend->open(cluster, plan.requests);
  ASSERT_TRUE(numbers) << numbers.error().message;
  ASSERT_TRUE(backend->register_segment(plan.requests[0].route.source, segment_bytes));
  ASSERT_TRUE(backend->register_segment(plan.requests[0].route.target, segment_bytes));
  const auto started = backend->start();
  ASSERT_TRUE(started) << started.error().message;
  BackendEvents events;
  while (events.messages.empty() && events.lost_nodes.empty()) {
    backend->wait(backend->now() + 100 * ms_ns);
    backend->progress(events);
  }
  EXPECT_TRUE(events.lost_nodes.empty());
  kill(other, SIGKILL);
  ASSERT_EQ(waitpid(other, nullptr, 0), other);
}

}  // namespace
}  // namespace kvhaul::test
