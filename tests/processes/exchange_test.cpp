// The exchange over TCP: processes are threads here, connections are real.
#include <arpa/inet.h>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <netinet/in.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "processes/rendezvous.h"
#include "processes/tcp_exchange.h"

namespace kvhaul {
namespace {

namespace fs = std::filesystem;
using Body = std::function<std::string(Exchange&)>;

class TcpExchange : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "/kvhaul-exchange-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string file() const { return folder_ + "/meet"; }
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

  /// A connection to process 0 from somebody who is not of the run.
  int intrude(const std::string& words) const {
    std::uint16_t port = 0;
    while (port == 0) {
      std::ifstream in(file());
      const std::string text{std::istreambuf_iterator<char>(in), {}};
      if (const auto read = parse_rendezvous(text, "file")) port = read->port;
    }
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    EXPECT_EQ(write(fd, words.data(), words.size()), static_cast<ssize_t>(words.size()));
    return fd;
  }

 private:
  std::string folder_;
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
  std::ofstream(file()) << rendezvous_text({"h", {"127.0.0.1"}, 1, "0123456789abcdef"});
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

TEST_F(TcpExchange, StrangersDoNotDisturb) {
  std::vector<std::string> came;
  std::thread others([&] {
    std::vector<int> strangers;
    strangers.push_back(intrude("GET / HTTP/1.1\r\n"));
    strangers.push_back(intrude(std::string(10'000, 'x')));
    strangers.push_back(intrude(""));  // and says nothing
    strangers.push_back(intrude(hello_line({1, "1", 1, 2, "fedcba9876543210"})));
    char answer[256] = {};
    EXPECT_GT(read(strangers.back(), answer, sizeof answer - 1), 0);
    EXPECT_STREQ(answer, "no it does not know the secret of the run\n");
    came = run({meeting(1, 2)}, [](Exchange& exchange) {
      const auto all = all_gather(exchange, "b");
      return all ? (*all)[0] + (*all)[1] : all.error().message;
    });
    for (const int fd : strangers) close(fd);
  });
  const auto first = run({meeting(0, 2)}, [](Exchange& exchange) {
    const auto all = all_gather(exchange, "a");
    return all ? (*all)[0] + (*all)[1] : all.error().message;
  });
  others.join();
  EXPECT_EQ(first[0], "ab");
  EXPECT_EQ(came[0], "ab");
}

TEST_F(TcpExchange, WhatDoesNotFitIsSaidToAll) {
  const Body nothing = [](Exchange&) { return "met"; };
  {
    auto two = meetings(2);
    two[1].version = "2";
    const auto came = run(two, nothing);
    EXPECT_EQ(came[0], "process 1 is kvhaul 2, process 0 is 1; expected one version");
    EXPECT_EQ(came[1], "process 0 refuses this one: " + came[0]);
  }
  {
    auto two = meetings(2);
    two[1].ranks = 3;
    const auto came = run(two, nothing);
    EXPECT_EQ(came[0], "process 1 expects 3 processes, process 0 2");
    EXPECT_EQ(came[1], "process 0 refuses this one: " + came[0]);
  }
  {
    auto two = meetings(2);
    two[1].rank = 0;  // two leaders: the file of the later one stands, and nobody comes
    for (TcpMeeting& one : two) one.join_within_ns = 100 * ms_ns;
    for (const std::string& came : run(two, nothing))
      EXPECT_EQ(came, "process 1 did not come within 100 ms");
  }
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
  std::ofstream(file()) << "kvhaul-rendezvous 1\nhost h\naddr";
  EXPECT_EQ(run({alone}, nothing)[0],
            "--rendezvous: " + file() +
                ":3: expected a line feed at its end; this is no rendezvous file, or a damaged "
                "one");
  // One of a run that is over.
  std::ofstream(file()) << rendezvous_text({"h", {"127.0.0.1"}, 1, "0123456789abcdef"});
  EXPECT_EQ(run({alone}, nothing)[0],
            "--rendezvous: no process 0 could be reached through " + file() + " within 50 ms");
  auto address = alone;
  address.rendezvous = "127.0.0.1:1";
  address.secret = "0123456789abcdef";
  EXPECT_EQ(run({address}, nothing)[0],
            "--rendezvous: no process 0 could be reached through 127.0.0.1:1 within 50 ms");
}

TEST_F(TcpExchange, AFileOrAnAddress) {
  for (const char* address : {"host:1", "10.0.0.1:40123", "[::1]:5"})
    EXPECT_TRUE(is_address(address)) << address;
  for (const char* path : {"meet", "./host:1", "/tmp/meet", "host:", ":1", "host:x", "a:1b"})
    EXPECT_FALSE(is_address(path)) << path;
}

}  // namespace
}  // namespace kvhaul
