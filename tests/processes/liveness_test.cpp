// Processes of a run that stop, die and start again: nobody waits for one that has stopped, and
// nobody gives up one that is only slow.
#include <chrono>

#include <gtest/gtest.h>

#include "tests/processes/real_processes.h"

namespace kvhaul {
namespace {

using namespace test;
using std::chrono::seconds;

constexpr TimeNs soon_ns = 4 * s_ns;  // four beats

std::vector<Forked> start_all(std::uint16_t port, std::uint32_t ranks, Body body,
                              TimeNs silent_after_ns = soon_ns) {
  std::vector<Forked> all;
  for (std::uint32_t rank = 0; rank < ranks; ++rank) {
    TcpMeeting meeting = meeting_at(port, rank, ranks);
    meeting.silent_after_ns = silent_after_ns;
    all.push_back(start(meeting, body));
  }
  return all;
}

/// Waits for a word of the test's, which never comes, in all but process 0: rank 0 asks.
std::string gather_slowly(Exchange& exchange) {
  if (exchange.rank() == 1) std::this_thread::sleep_for(seconds(2) + 2 * seconds(4));
  return gather(exchange);
}

TEST(Liveness, WhoIsOnlySlowIsWaitedFor) {
  for (Forked& one : start_all(free_port(), 3, gather_slowly)) EXPECT_EQ(one.end(), "012");
}

/// What every process does when it has met, until one of them has stopped.
std::string gather_on(Exchange& exchange) {
  while (true) {
    const std::string all = gather(exchange);
    if (all != "012") return all;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

TEST(Liveness, WhoStopsIsNoticedByAll) {
  for (const std::uint32_t victim : {1u, 2u, 0u}) {
    SCOPED_TRACE(victim);
    auto all = start_all(free_port(), 3, gather_on);
    std::this_thread::sleep_for(seconds(2));
    all[victim].signal(SIGSTOP);
    const auto stopped = std::chrono::steady_clock::now();
    for (std::uint32_t rank = 0; rank < 3; ++rank)
      if (rank != victim) {
        EXPECT_EQ(all[rank].end(), "process " + std::to_string(victim) +
                                       " has stopped: nothing was heard of it for 4 s");
      }
    EXPECT_GE(std::chrono::steady_clock::now() - stopped, seconds(2));
  }
}

/// However long another one takes: process 0 waits for all at once.
TEST(Liveness, WhoStopsIsNoticedWhileAnotherIsSlow) {
  const auto body = +[](Exchange& exchange) {
    if (exchange.rank() == 1) std::this_thread::sleep_for(seconds(100));
    return gather(exchange);
  };
  auto all = start_all(free_port(), 3, body);
  std::this_thread::sleep_for(seconds(2));
  all[2].signal(SIGSTOP);
  EXPECT_EQ(all[0].end(), "process 2 has stopped: nothing was heard of it for 4 s");
}

TEST(Liveness, WhoDiesIsMissedWhenever) {
  for (const std::uint32_t victim : {0u, 1u, 2u}) {
    auto all = start_all(free_port(), 3, gather_on);
    std::this_thread::sleep_for(seconds(1));
    all[victim].kill();
    for (std::uint32_t rank = 0; rank < 3; ++rank)
      if (rank != victim) {
        EXPECT_EQ(all[rank].end(), "process " + std::to_string(victim) + " is gone");
      }
  }
}

/// Longer than a process tries before it knocks anew: what it said first is then a dead hello.
TEST(Liveness, AProcessZeroThatStandsStillIsWaitedFor) {
  const std::uint16_t port = free_port();
  Forked leader = start(meeting_at(port, 0, 3));
  wait_for_door(port);
  leader.signal(SIGSTOP);
  Forked one = start(meeting_at(port, 1, 3));
  std::this_thread::sleep_for(seconds(6));
  leader.signal(SIGCONT);
  std::this_thread::sleep_for(seconds(1));
  Forked two = start(meeting_at(port, 2, 3));
  for (Forked* process : {&leader, &one, &two}) EXPECT_EQ(process->end(), "012");
}

TEST(Liveness, WhoIsStartedAgainTakesItsPlace) {
  const std::uint16_t port = free_port();
  Forked leader = start(meeting_at(port, 0, 3));
  for (int i = 0; i < 3; ++i) {
    Forked one = start(meeting_at(port, 1, 3));
    std::this_thread::sleep_for(seconds(1));
    one.kill();
  }
  Forked one = start(meeting_at(port, 1, 3)), two = start(meeting_at(port, 2, 3));
  for (Forked* process : {&leader, &one, &two}) EXPECT_EQ(process->end(), "012");
}

/// Its connection is never closed, as when a machine has lost power.
TEST(Liveness, WhoIsStartedAgainTakesThePlaceOfOneThatHasStopped) {
  const std::uint16_t port = free_port();
  TcpMeeting first = meeting_at(port, 0, 3);
  first.silent_after_ns = soon_ns;
  Forked leader = start(first);
  Forked stopped = start(meeting_at(port, 1, 3));
  std::this_thread::sleep_for(seconds(1));
  stopped.signal(SIGSTOP);
  Forked one = start(meeting_at(port, 1, 3));
  std::this_thread::sleep_for(seconds(1));
  Forked two = start(meeting_at(port, 2, 3));
  for (Forked* process : {&leader, &one, &two}) EXPECT_EQ(process->end(), "012");
}

TEST(Liveness, ASecondLivingProcessOfARankIsRefused) {
  const std::uint16_t port = free_port();
  Forked leader = start(meeting_at(port, 0, 3));
  Forked one = start(meeting_at(port, 1, 3));
  std::this_thread::sleep_for(seconds(1));
  EXPECT_EQ(start(meeting_at(port, 1, 3)).end(),
            "process 1 is here already; expected one process of each rank");
  Forked two = start(meeting_at(port, 2, 3));
  for (Forked* process : {&leader, &one, &two}) EXPECT_EQ(process->end(), "012");
}

TEST(Liveness, AProcessZeroThatIsStartedAgainIsFound) {
  const std::uint16_t port = free_port();
  Forked first = start(meeting_at(port, 0, 3));
  Forked one = start(meeting_at(port, 1, 3));
  std::this_thread::sleep_for(seconds(1));
  first.kill();
  Forked leader = start(meeting_at(port, 0, 3)), two = start(meeting_at(port, 2, 3));
  for (Forked* process : {&leader, &one, &two}) EXPECT_EQ(process->end(), "012");
}

TEST(Liveness, AProcessZeroThatGoesAndStaysAwayIsSaid) {
  const std::uint16_t port = free_port();
  TcpMeeting other = meeting_at(port, 1, 3);
  other.join_within_ns = 4 * s_ns;
  Forked leader = start(meeting_at(port, 0, 3));
  Forked one = start(other);
  std::this_thread::sleep_for(seconds(2));
  leader.kill();
  EXPECT_EQ(one.end(), "--rendezvous: process 0 was there and went away before all had come");
}

TEST(Liveness, WhoNeverComesIsNamedToAll) {
  const std::uint16_t port = free_port();
  TcpMeeting first = meeting_at(port, 0, 3);
  first.join_within_ns = 3 * s_ns;
  Forked leader = start(first), one = start(meeting_at(port, 1, 3));
  EXPECT_EQ(leader.end(), "process 2 did not come within 3 s");
  EXPECT_EQ(one.end(), "process 2 did not come within 3 s");
}

}  // namespace
}  // namespace kvhaul
