// What others do to the meeting of a run and to its processes: strangers without the secret at the
// door, strangers who play process 0, and processes with the secret that misbehave. The run lives,
// or ends with one clear line.
#include <atomic>
#include <ctime>
#include <fstream>
#include <sstream>
#include <sys/resource.h>

#include <gtest/gtest.h>

#include "processes/frames.h"
#include "processes/meeting.h"
#include "processes/rendezvous.h"
#include "tests/processes/real_processes.h"
#include "tests/support/own_folder.h"

namespace kvhaul {
namespace {

using namespace test;

/// The others of a run of three, whoever stands at the door besides.
void expect_that_all_meet(std::uint16_t port, Forked& leader) {
  Forked one = start(meeting_at(port, 1, 3)), two = start(meeting_at(port, 2, 3));
  EXPECT_EQ(one.end(), "012");
  EXPECT_EQ(two.end(), "012");
  EXPECT_EQ(leader.end(), "012");
}

bool room_for_descriptors(std::size_t count) { return bool(reserve_descriptors(count)); }

TEST(Strangers, WhoSayNothingDoNotFillTheDoor) {
  for (const std::size_t count : {60, 150, 1000}) {
    SCOPED_TRACE(count);
    ASSERT_TRUE(room_for_descriptors(count));
    const std::uint16_t port = free_port();
    Forked leader = start(meeting_at(port, 0, 3));
    std::vector<Intruder> silent;
    for (std::size_t i = 0; i < count; ++i) silent.emplace_back(port);
    expect_that_all_meet(port, leader);
  }
}

TEST(Strangers, WhoSayTheRightLineAndNoMoreDoNotFillTheDoor) {
  ASSERT_TRUE(room_for_descriptors(400));
  const std::uint16_t port = free_port();
  Forked leader = start(meeting_at(port, 0, 3));
  std::vector<Intruder> silent;
  for (int i = 0; i < 400; ++i) {
    silent.emplace_back(port);
    silent.back().say(preamble_line(preamble_at(1, 3)));
  }
  expect_that_all_meet(port, leader);
}

/// As fast as they can, and keep what they have got.
TEST(Strangers, WhoComeAllTheTimeKeepNobodyOut) {
  for (const std::string& words : {std::string(), preamble_line(preamble_at(1, 3))}) {
    const std::uint16_t port = free_port();
    Forked leader = start(meeting_at(port, 0, 3));
    wait_for_door(port);
    Forked crowd([&]() -> std::string {
      std::vector<Intruder> kept;
      for (std::size_t i = 0;; ++i) {
        Intruder next(port);
        next.say(words);
        if (kept.size() < 500)
          kept.push_back(std::move(next));
        else
          kept[i % kept.size()] = std::move(next);
      }
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    expect_that_all_meet(port, leader);
  }
}

/// A door with nobody to let in sleeps, however many stand before it.
TEST(Strangers, AFullDoorIsNotBusy) {
  for (const std::size_t count : {0, 64, 65, 300}) {
    SCOPED_TRACE(count);
    const std::uint16_t port = free_port();
    TcpMeeting meeting = meeting_at(port, 0, 2);
    meeting.join_within_ns = 3 * s_ns;
    Forked leader([meeting] {
      const auto met = meet_over_tcp(meeting);
      return std::to_string(std::clock() * 1000 / CLOCKS_PER_SEC);
    });
    std::vector<Intruder> silent;
    for (std::size_t i = 0; i < count; ++i) silent.emplace_back(port);
    EXPECT_LT(std::stoi(leader.end()), 1500) << "ms of CPU in 3 s";
  }
}

/// The limit is lowered when process 0 has begun: it cannot see that before.
TEST(Strangers, AProcessWithoutFileDescriptorsLetsTheOthersIn) {
  const std::uint16_t port = free_port();
  Forked leader = start(meeting_at(port, 0, 3));
  wait_for_door(port);
  const rlimit few{24, 24};
  ASSERT_EQ(prlimit(leader.pid(), RLIMIT_NOFILE, &few, nullptr), 0);
  std::vector<Intruder> silent;
  for (int i = 0; i < 100; ++i) silent.emplace_back(port);
  expect_that_all_meet(port, leader);
}

TEST(Strangers, LearnNothingAndDoNotDisturb) {
  const std::uint16_t port = free_port();
  Forked leader = start(meeting_at(port, 0, 3));
  const auto answer = [&](const std::string& words) {
    Intruder stranger(port);
    stranger.say(words);
    shutdown(stranger.fd(), SHUT_WR);
    return stranger.hear_all();
  };
  EXPECT_EQ(answer(""), "");
  EXPECT_EQ(answer("GET / HTTP/1.1\r\n\r\n"), "");
  EXPECT_EQ(answer(std::string(10'000, 'x')), "");
  EXPECT_EQ(answer("kvhaul-exchange 1 0.1.0 1 3 " + secret + "\n"), "");
  EXPECT_EQ(answer("kvhaul-exchange 2 " + std::string(1'000'000, '1')), "");
  EXPECT_EQ(answer(preamble_line(preamble_at(1, 3))), "");
  // TLS says that it will not, and not why: one alert of seven bytes.
  const std::string refused = answer(preamble_line(preamble_at(1, 3)) + std::string(1000, 'x'));
  EXPECT_LE(refused.size(), 7u);
  Intruder liar(port);
  EXPECT_FALSE(liar.prove(wrong_secret, preamble_at(1, 3)) && liar.hear_all_inside() != "");
  expect_that_all_meet(port, leader);
}

TEST(Strangers, AreToldFromProcessesThatDidNotCome) {
  const std::uint16_t port = free_port();
  TcpMeeting first = meeting_at(port, 0, 2), other = meeting_at(port, 1, 2);
  first.join_within_ns = 4 * s_ns;
  other.join_within_ns = 1 * s_ns;
  other.secret = wrong_secret;
  Forked leader = start(first);
  wait_for_door(port);
  EXPECT_EQ(start(other).end(),
            "--rendezvous: what answers at " + other.rendezvous +
                " does not know the secret of this run; expected process 0, of the same version of "
                "kvhaul and with the same secret");
  Intruder(port).say("kvhaul-exchange 1 0.1.0 1 2 0123456789abcdef\n");
  const std::string said = leader.end();
  EXPECT_TRUE(
      said.starts_with("process 1 did not come within 4 s; somebody who does not know the "
                       "secret of the run was refused "))
      << said;
  EXPECT_TRUE(said.ends_with("; another version of kvhaul was refused once")) << said;
}

/// Everything that passes between a process and process 0, which both think they talk to.
class Between {
 public:
  explicit Between(std::uint16_t to) : to_(to), listener_(open_port()) {}
  ~Between() { join(); }
  /// Open from the start; who calls waits until run().
  std::uint16_t port() const { return listener_.port; }
  /// Forwards in a thread until join().
  void run() {
    thread_ = std::thread([this] { forward(); });
  }
  void join() {
    over_ = true;
    if (thread_.joinable()) thread_.join();
  }
  std::string sent;  // by the process; after join()
  std::string (*change)(std::string) = [](std::string bytes) { return bytes; };

 private:
  void forward() {
    while (!over_) {
      pollfd entry{listener_.socket.fd(), POLLIN, 0};
      if (poll(&entry, 1, 50) <= 0) continue;
      Socket here(accept(listener_.socket.fd(), nullptr, nullptr));
      const Socket there = connect_to_port(to_);
      sent.clear();
      char buffer[1 << 16];
      for (bool open = true; open && !over_;) {
        pollfd both[2] = {{here.fd(), POLLIN, 0}, {there.fd(), POLLIN, 0}};
        poll(both, 2, 50);
        for (int side = 0; side < 2; ++side) {
          if (both[side].revents == 0) continue;
          const ssize_t came = recv(both[side].fd, buffer, sizeof buffer, 0);
          std::string bytes(buffer, static_cast<std::size_t>(std::max<ssize_t>(came, 0)));
          if (side == 0) sent += bytes = change(bytes);
          open = came > 0 && send(both[1 - side].fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0;
          if (!open) break;
        }
      }
    }
  }

  const std::uint16_t to_;
  Listener listener_;
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

TEST(Strangers, RecordedBytesProveNothing) {
  const std::uint16_t port = free_port();
  Forked leader = start(meeting_at(port, 0, 2));
  std::string recorded;
  {
    Between between(port);
    Forked other = start(meeting_at(between.port(), 1, 2));
    between.run();
    EXPECT_EQ(other.end(), "01");
    EXPECT_EQ(leader.end(), "01");
    between.join();
    recorded = between.sent;
  }
  ASSERT_GT(recorded.size(), 300u);
  EXPECT_EQ(recorded.find(secret), std::string::npos);
  TcpMeeting again = meeting_at(port, 0, 2);
  again.join_within_ns = 3 * s_ns;
  Forked second = start(again);
  Intruder stranger(port);
  stranger.say(recorded);
  stranger.hear_all();
  EXPECT_EQ(second.end(),
            "process 1 did not come within 3 s; somebody who does not know the secret of the run "
            "was refused once");
}

/// Rank, version and scenario of the line in clear are in the key.
TEST(Strangers, WhoChangesTheLineOnTheWayBreaksTheProof) {
  for (const auto change : {+[](std::string bytes) {
                              if (const auto at = bytes.find(" 1 1 3 "); at != bytes.npos)
                                bytes.replace(at, 7, " 1 2 3 ");
                              return bytes;
                            },
                            +[](std::string bytes) {
                              if (const auto at = bytes.find(" 1 1 3 "); at != bytes.npos)
                                bytes.replace(at, 7, " 2 1 3 ");
                              return bytes;
                            }}) {
    const std::uint16_t port = free_port();
    Forked leader = start(meeting_at(port, 0, 3));
    Between between(port);
    between.change = change;
    TcpMeeting fooled = meeting_at(between.port(), 1, 3);
    fooled.join_within_ns = 1 * s_ns;
    Forked process = start(fooled);
    between.run();
    EXPECT_NE(process.end().find("does not know the secret of this run"), std::string::npos);
    between.join();
    expect_that_all_meet(port, leader);
  }
}

// ---- Who plays process 0 ----------------------------------------------------------------------

/// What a process says at the end that meets this one, and all that it sent.
std::pair<std::string, std::string> meet_rogue(void (*rogue)(Intruder&)) {
  const Listener listener = open_port();
  TcpMeeting meeting = meeting_at(listener.port, 1, 2);
  meeting.join_within_ns = 2 * s_ns;
  meeting.scenario = "name: mine";
  Forked process = start(meeting);
  std::atomic<bool> over = false;
  std::string heard;
  std::thread thread([&] {
    while (!over) {
      pollfd entry{listener.socket.fd(), POLLIN, 0};
      if (poll(&entry, 1, 50) <= 0) continue;
      Intruder caller(Socket(accept(listener.socket.fd(), nullptr, nullptr)));
      heard += caller.hear();
      rogue(caller);
    }
  });
  const std::string said = process.end();
  over = true;
  thread.join();
  return {said, heard};
}

TEST(RogueProcessZero, GetsNoSecretAndIsNotObeyed) {
  const auto [said, heard] = meet_rogue([](Intruder& caller) {
    caller.say("ok\n");
    caller.hear_all();
  });
  EXPECT_TRUE(said.starts_with("--rendezvous: what answers at ")) << said;
  EXPECT_TRUE(heard.starts_with("kvhaul-exchange 2 1 1 2 "));
  EXPECT_EQ(heard.find(secret), std::string::npos);
  EXPECT_EQ(heard.find("mine"), std::string::npos);
  for (const auto rogue : {
           +[](Intruder& caller) { caller.say(std::string(100'000, 'n')); },
           +[](Intruder& caller) { caller.say("no go away \x1b[31m\n"); },
           // A real TLS server, whose key is another.
           +[](Intruder& caller) {
             caller.prove(TlsSide::server, wrong_secret,
                          preamble_line({exchange_protocol, "1", 1, 2, std::string(no_scenario)}));
           },
       }) {
    const std::string end = meet_rogue(rogue).first;
    EXPECT_TRUE(end.starts_with("--rendezvous: what answers at ")) << end;
    EXPECT_EQ(end.find('\x1b'), std::string::npos);
  }
}

TEST(RogueProcessZero, HoldsNobodyByBeingSlow) {
  for (const auto rogue : {
           +[](Intruder&) {},  // hangs up
           +[](Intruder& caller) { caller.hear_all(); },
           +[](Intruder& caller) {
             while (caller.say("\x16")) std::this_thread::sleep_for(std::chrono::milliseconds(200));
           },
       }) {
    const std::string end = meet_rogue(rogue).first;
    EXPECT_TRUE(end.starts_with("--rendezvous: what answers at 127.0.0.1:")) << end;
  }
}

/// A file that names another machine, or nothing but this one's loopback addresses.
TEST(RogueProcessZero, IsNotAskedAtTheOwnLoopback) {
  const Listener listener = open_port();
  const test::OwnFolder folder;
  TcpMeeting meeting = meeting_at(0, 1, 2);
  meeting.rendezvous = folder.file("meet");
  meeting.join_within_ns = 500 * ms_ns;
  std::ofstream(meeting.rendezvous) << rendezvous_text(
      {"node17", "another-machine", {"127.0.0.2", "127.0.0.1"}, listener.port, secret});
  ASSERT_EQ(chmod(meeting.rendezvous.c_str(), 0600), 0);
  EXPECT_EQ(start(meeting).end(),
            "--rendezvous: " + meeting.rendezvous +
                " names no address by which the machine of process 0 can be reached from here");
  EXPECT_LT(accept(listener.socket.fd(), nullptr, nullptr), 0) << "it came";
}

/// Of this machine's listening TCP ports: where, as the kernel writes it.
std::vector<std::string> where_listened(std::uint16_t port) {
  std::vector<std::string> found;
  char wanted[8];
  std::snprintf(wanted, sizeof wanted, ":%04X", port);
  for (const char* table : {"/proc/self/net/tcp", "/proc/self/net/tcp6"}) {
    std::ifstream file(table);
    for (std::string line; std::getline(file, line);) {
      std::istringstream words(line);
      std::string number, local, remote, state;
      words >> number >> local >> remote >> state;
      if (state == "0A" && local.ends_with(wanted))
        found.push_back(local.substr(0, local.find(':')));
    }
  }
  return found;
}

TEST(Rendezvous, ListensOnlyWhereItSays) {
  const test::OwnFolder folder;
  TcpMeeting meeting = meeting_at(0, 0, 2);
  meeting.rendezvous = folder.file("meet");
  for (const std::string& listen : {std::string(), std::string("127.0.0.1")}) {
    meeting.listen = listen;
    meeting.rank = 0;
    Forked leader = start(meeting);
    std::optional<Rendezvous> file;
    while (!file) {
      auto read = read_rendezvous(meeting.rendezvous);
      ASSERT_TRUE(read) << read.error().message;
      file = std::move(*read);
    }
    EXPECT_EQ(file->addresses, listen.empty() ? own_addresses() : std::vector<std::string>{listen});
    const auto where = where_listened(file->port);
    EXPECT_EQ(where.size(), file->addresses.size());
    for (const std::string& one : where)
      EXPECT_NE(one.find_first_not_of('0'), std::string::npos) << "everywhere";
    meeting.rank = 1;
    EXPECT_EQ(start(meeting).end(), "01");
    EXPECT_EQ(leader.end(), "01");
  }
  meeting.rank = 0;
  for (const std::string wrong : {"0.0.0.0", "::", "node17", "127.0.0.1,", "127.0.0.1:5"}) {
    meeting.listen = wrong;
    EXPECT_TRUE(start(meeting).end().starts_with("--listen: expected addresses of this machine"))
        << wrong;
  }
  meeting.listen = "192.0.2.1";
  EXPECT_TRUE(
      start(meeting).end().starts_with("--rendezvous: process 0 cannot listen at 192.0.2.1"));
}

// ---- Who knows the secret and misbehaves ------------------------------------------------------

std::string frame(char kind, std::uint32_t size, const std::string& bytes) {
  return frame_head(static_cast<FrameKind>(kind), size) + bytes;
}

/// Before all have met it has only lost its seat, and the run waits for a better one.
TEST(Misbehaviour, AtTheDoorCostsTheSeatAlone) {
  for (const std::string& bytes :
       {frame('\0', 1, "x"), frame('d', 0xffffffff, ""), frame('d', 1, "x"), frame('f', 2, "9h"),
        frame('w', 0, ""), std::string(4000, '\x81')}) {
    const std::uint16_t port = free_port();
    Forked leader = start(meeting_at(port, 0, 3));
    Intruder one(port);
    ASSERT_TRUE(one.prove(secret, preamble_at(1, 3)));
    one.say_inside(bytes);
    one.hear_all_inside();  // until it is sent away
    expect_that_all_meet(port, leader);
  }
}

TEST(Misbehaviour, AtTheDoorIsSaidWhenNobodyElseComes) {
  const std::uint16_t port = free_port();
  TcpMeeting meeting = meeting_at(port, 0, 3);
  meeting.join_within_ns = 3 * s_ns;
  Forked leader = start(meeting);
  {
    Intruder one(port);
    ASSERT_TRUE(one.prove(secret, preamble_at(1, 3)));
    one.say_inside(frame('d', 0xffffffff, ""));
    one.hear_all_inside();
  }
  EXPECT_EQ(leader.end(),
            "process 1, 2 did not come within 3 s; process 1 came and sent a message of 4294967295 "
            "bytes, where at most 67108864 are taken");
}

/// After the welcome it has a say in what all do, and its damage ends the run.
TEST(Misbehaviour, AfterTheMeetingEndsInOneLine) {
  const std::string unreadable = "process 1 sends what cannot be read: ";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {frame('\0', 1, "x"), unreadable + "a message of kind 0"},
      {frame('d', std::uint32_t{1} << 31, ""),
       unreadable + "a message of 2147483648 bytes, where at most 67108864 are taken"},
      {frame('d', 0xffffffff, ""),
       unreadable + "a message of 4294967295 bytes, where at most 67108864 are taken"},
      {frame('f', 6, "9hello"), "process 1 gave up"},
      {frame('f', 14, "1\x1b]0;owned\x07\n\xc2\x9b"),
       "process 1: \\x1b]0;owned\\x07\\x0a\\xc2\\x9b"},
      {frame('f', 1'000'001, "1" + std::string(1'000'000, 'A')),
       unreadable + "a message of 1000001 bytes, where at most 16384 are taken"},
      {frame('w', 0, ""), unreadable + "a welcome in the middle of the run"},
      {std::string(4000, '\x81'), unreadable + "a message of kind 129"},
  };
  for (const auto& [bytes, line] : cases) {
    const std::uint16_t port = free_port();
    std::vector<Forked> others;
    others.push_back(start(meeting_at(port, 0, 3)));
    others.push_back(start(meeting_at(port, 2, 3)));
    Intruder one(port);
    ASSERT_TRUE(one.prove(secret, preamble_at(1, 3)));
    ASSERT_EQ(one.hear_inside(frame_head_bytes), frame_head(FrameKind::welcome, 0));
    one.say_inside(bytes);
    for (Forked& other : others) EXPECT_EQ(other.end(), line);
  }
}

TEST(Misbehaviour, HalfAMessageAndGoneIsGone) {
  const std::uint16_t port = free_port();
  std::vector<Forked> others;
  others.push_back(start(meeting_at(port, 0, 3)));
  others.push_back(start(meeting_at(port, 2, 3)));
  Intruder one(port);
  ASSERT_TRUE(one.prove(secret, preamble_at(1, 3)));
  ASSERT_EQ(one.hear_inside(frame_head_bytes), frame_head(FrameKind::welcome, 0));
  one.say_inside(frame('d', 1000, "").substr(0, 3));
  one.leave();
  for (Forked& other : others) EXPECT_EQ(other.end(), "process 1 is gone");
}

/// A flood of whole messages that nobody asked for waits in the kernel, not in process 0.
TEST(Misbehaviour, AFloodTakesNoMemory) {
  const std::uint16_t port = free_port();
  TcpMeeting first = meeting_at(port, 0, 2);
  Forked leader = start(first, [](Exchange&) {
    rusage before{}, after{};
    getrusage(RUSAGE_SELF, &before);
    std::this_thread::sleep_for(std::chrono::seconds(3));
    getrusage(RUSAGE_SELF, &after);
    return std::to_string((after.ru_maxrss - before.ru_maxrss) / 1024);
  });
  Intruder one(port);
  ASSERT_TRUE(one.prove(secret, preamble_at(1, 2)));
  const std::string message = frame('d', 1 << 20, std::string(1 << 20, 'x'));
  const timeval soon{0, 200'000};
  setsockopt(one.fd(), SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon);
  int sent = 0;
  while (sent < 500 && one.say_inside(message)) ++sent;
  EXPECT_LT(sent, 500);
  EXPECT_LT(std::stoi(leader.end()), 64) << "MiB";
}

}  // namespace
}  // namespace kvhaul
