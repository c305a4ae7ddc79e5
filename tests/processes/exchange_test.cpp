// The exchange over TCP: processes are threads here, connections are real.
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "processes/rendezvous.h"
#include "processes/socket.h"
#include "processes/tcp_exchange.h"
#include "tests/support/own_folder.h"

namespace kvhaul {
namespace {

const std::string some_secret = "0123456789abcdef0123456789abcdef";

namespace fs = std::filesystem;
using Body = std::function<std::string(Exchange&)>;

class TcpExchange : public ::testing::Test {
 protected:
  std::string file() const { return folder_.file("meet"); }
  TcpMeeting meeting(std::uint32_t rank, std::uint32_t ranks) const {
    TcpMeeting meeting;
    meeting.rendezvous = file();
    meeting.version = std::string("1");
    meeting.rank = rank;
    meeting.ranks = ranks;
    meeting.join_within_ns = 10 * s_ns;
    meeting.answer_within_ns = 10 * s_ns;
    return meeting;
  }

  /// What `body` returns in each process, or the error of its meeting.
  static std::vector<std::string> run(const std::vector<TcpMeeting>& meetings, const Body& body) {
    std::vector<std::string> came(meetings.size());
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < meetings.size(); ++i)
      threads.emplace_back([&, i] {
        auto exchange = meet_over_tcp(meetings[i]);
        came[i] = exchange ? body(**exchange) : exchange.error().message;
        if (!exchange) {
          EXPECT_EQ(exchange.error().kind, ErrorKind::bad_input) << came[i];
        }
      });
    for (std::thread& thread : threads) thread.join();
    return came;
  }
  std::vector<TcpMeeting> meetings(std::uint32_t ranks) const {
    std::vector<TcpMeeting> all;
    for (std::uint32_t rank = 0; rank < ranks; ++rank) all.push_back(meeting(rank, ranks));
    return all;
  }

 private:
  test::OwnFolder folder_;
};

TEST_F(TcpExchange, EverybodyGetsWhatEverybodyHas) {
  const std::string large(5 << 20, 'x');
  const auto came = run(meetings(4), [&](Exchange& exchange) {
    const auto all = all_gather(exchange, std::to_string(exchange.rank()) + large);
    if (!all) return all.error().message;
    std::string first;
    for (const std::string& text : *all) {
      EXPECT_EQ(text.size(), large.size() + 1);
      first += text[0];
    }
    return first;
  });
  EXPECT_EQ(came, std::vector<std::string>(4, "0123"));
  EXPECT_FALSE(fs::exists(file())) << "it goes when all have come";
}

TEST_F(TcpExchange, TheFileIsForItsOwnerOnly) {
  std::thread leader([&] { run({meeting(0, 2)}, [](Exchange&) { return ""; }); });
  while (!fs::exists(file())) std::this_thread::yield();
  EXPECT_EQ(fs::status(file()).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  run({meeting(1, 2)}, [](Exchange&) { return ""; });
  leader.join();
}

TEST_F(TcpExchange, WhatIsNoRendezvousFileStays) {
  const Body nothing = [](Exchange&) { return "met"; };
  auto alone = meeting(0, 2);
  alone.join_within_ns = 50 * ms_ns;
  std::ofstream(file()) << "name: a scenario\n";
  EXPECT_EQ(run({alone}, nothing)[0],
            "--rendezvous: " + file() +
                " is there already and is no rendezvous file; expected a name that is free");
  std::ifstream in(file());
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), "name: a scenario\n");
  fs::remove(file());
  fs::create_symlink("nowhere", file());
  run({alone}, nothing);
  EXPECT_TRUE(fs::is_symlink(file()));
}

TEST_F(TcpExchange, AFileThatAnEarlierRunLeftIsReplaced) {
  std::ofstream(file()) << rendezvous_text({"h", "-", {"127.0.0.1"}, 1, some_secret});
  fs::permissions(file(), fs::perms::owner_read | fs::perms::owner_write);
  const auto came = run(meetings(2), [](Exchange&) { return "met"; });
  EXPECT_EQ(came, std::vector<std::string>(2, "met"));
  EXPECT_FALSE(fs::exists(file()));
}

TEST_F(TcpExchange, OnlyItsOwnFileGoes) {
  std::thread leader([&] { run({meeting(0, 2)}, [](Exchange&) { return ""; }); });
  while (!fs::exists(file())) std::this_thread::yield();
  fs::copy_file(file(), file() + ".other");
  fs::rename(file() + ".other", file());
  run({meeting(1, 2)}, [](Exchange&) { return ""; });
  leader.join();
  EXPECT_TRUE(fs::exists(file()));
}

TEST_F(TcpExchange, WhoLeavesIsNotHeldByOneThatTalksOn) {
  const auto came = run(meetings(2), [](Exchange& exchange) {
    if (exchange.rank() == 0) {
      exchange.abandon(Error::failed("had enough"));
      return std::string("left");
    }
    const std::string words(1 << 20, 'x');
    while (exchange.send(0, words)) {
    }
    return std::string("heard");
  });
  EXPECT_EQ(came[0], "left");
}

TEST_F(TcpExchange, ClocksAreCompared) {
  const auto came = run(meetings(3), [&](Exchange& exchange) {
    const auto now = [&] {
      const auto real = std::chrono::steady_clock::now().time_since_epoch();
      return std::chrono::nanoseconds(real).count() + TimeNs{exchange.rank()} * s_ns;
    };
    const auto offset = clock_offset(exchange, now);
    if (!offset) return offset.error().message;
    const TimeNs expected = -TimeNs{exchange.rank()} * s_ns;
    EXPECT_LE(std::abs(offset->offset_ns - expected), offset->uncertain_ns);
    return std::string("done");
  });
  EXPECT_EQ(came, std::vector<std::string>(3, "done"));
}

TEST_F(TcpExchange, WhyOneLeavesIsToldToAll) {
  const auto came = run(meetings(3), [](Exchange& exchange) {
    if (exchange.rank() == 2) {
      exchange.abandon(Error::missing("no device here"));
      return std::string("left");
    }
    const auto all = all_gather(exchange, "");
    if (all) return std::string("all came");
    EXPECT_EQ(all.error().kind, ErrorKind::missing);
    if (exchange.rank() == 0) exchange.abandon(all.error());
    return all.error().message;
  });
  EXPECT_EQ(came[0], "process 2: no device here");
  EXPECT_EQ(came[1], "process 2: no device here");
}

TEST_F(TcpExchange, WhoDiesIsMissed) {
  const auto came = run(meetings(3), [](Exchange& exchange) {
    if (exchange.rank() == 1) return std::string("dead");  // its connection closes
    const auto all = all_gather(exchange, "");
    return all ? std::string("all came") : all.error().message;
  });
  EXPECT_EQ(came[0], "process 1 is gone");
  EXPECT_EQ(came[2], "process 0 is gone");
}

TEST_F(TcpExchange, SilenceIsAnError) {
  auto both = meetings(2);
  both[0].answer_within_ns = 50 * ms_ns;
  std::atomic<bool> over = false;
  const auto came = run(both, [&](Exchange& exchange) {
    if (exchange.rank() == 1) {
      while (!over) std::this_thread::yield();
      return std::string("silent");
    }
    const auto text = exchange.receive(1);
    over = true;
    return text ? *text : text.error().message;
  });
  EXPECT_EQ(came[0], "process 1 does not answer");
}

TEST_F(TcpExchange, WhatDoesNotFitIsSaidToAll) {
  const Body nothing = [](Exchange&) { return "met"; };
  {
    auto three = meetings(3);
    three[1].version = "2";
    for (const std::string& came : run(three, nothing))
      EXPECT_EQ(came, "process 1 is kvhaul 2, process 0 is 1; expected one version");
  }
  {
    auto three = meetings(3);
    for (TcpMeeting& one : three) one.scenario = "name: one";
    three[2].scenario = "name: another";
    for (const std::string& came : run(three, nothing))
      EXPECT_EQ(
          came,
          "process 2 has another scenario than process 0; expected the same in all processes");
    three[2].scenario = "";  // it could not read it, and is let in to say so
    EXPECT_EQ(run(three, nothing), std::vector<std::string>(3, "met"));
  }
  {
    auto two = meetings(2);
    two[1].ranks = 3;
    for (const std::string& came : run(two, nothing))
      EXPECT_EQ(came, "process 1 expects 3 processes, process 0 2");
  }
}

TEST_F(TcpExchange, TheSecondProcessZeroIsRefused) {
  const Body nothing = [](Exchange&) { return "met"; };
  std::vector<std::string> first;
  std::thread leader([&] { first = run({meeting(0, 2)}, nothing); });
  while (!fs::exists(file())) std::this_thread::yield();
  EXPECT_EQ(run({meeting(0, 2)}, nothing)[0],
            "--rendezvous: " + file() +
                " is that of a process 0 which waits there now; expected another name for another "
                "run");
  EXPECT_EQ(run({meeting(1, 2)}, nothing)[0], "met");
  leader.join();
  EXPECT_EQ(first[0], "met");
}

TEST_F(TcpExchange, AMessageThatIsTooLongIsNotSent) {
  const auto came = run(meetings(2), [](Exchange& exchange) {
    if (exchange.rank() == 1) return std::to_string(exchange.receive(0)->size());
    const std::string words((64 << 20) + 1, 'x');
    EXPECT_EQ(exchange.send(1, words).error().message,
              "a message of 67108865 bytes to another process, where at most 67108864 are taken");
    EXPECT_TRUE(exchange.send(1, words.substr(1)));
    return std::string("sent");
  });
  EXPECT_EQ(came[1], "67108864");
}

TEST_F(TcpExchange, WhoWaitsInVainSaysForWhat) {
  auto alone = meeting(0, 4);
  alone.join_within_ns = 50 * ms_ns;
  const Body nothing = [](Exchange&) { return "met"; };
  EXPECT_EQ(run({alone}, nothing)[0], "process 1, 2, 3 did not come within 50 ms");
  alone = meeting(2, 4);
  alone.join_within_ns = 50 * ms_ns;
  EXPECT_EQ(run({alone}, nothing)[0],
            "--rendezvous: " + file() +
                " did not appear within 50 ms; process 0 makes it, where all processes can read "
                "it");
  const auto write = [&](const std::string& text) {
    std::ofstream(file()) << text;
    fs::permissions(file(), fs::perms::owner_read | fs::perms::owner_write);
  };
  write("kvhaul-rendezvous 2\nhost h\naddr");
  EXPECT_EQ(run({alone}, nothing)[0],
            "--rendezvous: " + file() +
                ":3: expected a line feed at its end; this is no rendezvous file, or a damaged "
                "one");
  // One of a run that is over.
  write(rendezvous_text({"h", machine_id(), {"127.0.0.1"}, 1, some_secret}));
  EXPECT_EQ(run({alone}, nothing)[0],
            "--rendezvous: no process 0 could be reached through " + file() + " within 50 ms");
  auto address = alone;
  address.rendezvous = "127.0.0.1:1";
  address.secret = some_secret;
  EXPECT_EQ(run({address}, nothing)[0],
            "--rendezvous: no process 0 could be reached through 127.0.0.1:1 within 50 ms");
}

TEST_F(TcpExchange, APortIsOne) {
  for (const std::string port : {"0", "00000", "65536", "70000", "4294967297"})
    for (const std::uint32_t rank : {0u, 1u}) {
      auto wrong = meeting(rank, 2);
      wrong.rendezvous = "127.0.0.1:" + port;
      wrong.secret = some_secret;
      EXPECT_EQ(run({wrong}, [](Exchange&) { return "met"; })[0],
                "--rendezvous: expected a port from 1 to 65535, found '" + port + "'");
    }
}

TEST_F(TcpExchange, AFileOrAnAddress) {
  for (const char* address : {"host:1", "10.0.0.1:40123", "[::1]:5"})
    EXPECT_TRUE(is_address(address)) << address;
  for (const char* path : {"meet", "./host:1", "/tmp/meet", "host:", ":1", "host:x", "a:1b"})
    EXPECT_FALSE(is_address(path)) << path;
}

}  // namespace
}  // namespace kvhaul
