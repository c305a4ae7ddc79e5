// The parts of the CUDA backend that need no GPU.
#include <deque>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "backends/cuda/fill_marks.h"
#include "backends/cuda/handed_over.h"
#include "backends/cuda/peer_messages.h"
#include "backends/cuda/timer_clock.h"
#include "backends/ring.h"
#include "backends/tickets.h"
#include "core/random.h"

namespace kvhaul::cuda {
namespace {

TEST(CudaRing, PlacesFollowEachOtherAndWrap) {
  Ring ring(1000, 100);
  EXPECT_EQ(ring.take(250), 0u);  // 300 of 1000
  EXPECT_EQ(ring.take(400), 300u);
  EXPECT_EQ(ring.room(301), std::nullopt);  // 300 are left
  EXPECT_EQ(ring.take(300), 700u);
  EXPECT_EQ(ring.room(1), std::nullopt);  // full
  ring.release();
  EXPECT_EQ(ring.room(301), std::nullopt);
  EXPECT_EQ(ring.take(300), 0u);  // where the oldest was
  ring.release();
  EXPECT_EQ(ring.take(100), 300u);
  EXPECT_EQ(ring.room(400), std::nullopt);
  EXPECT_EQ(ring.take(300), 400u);
  EXPECT_EQ(ring.room(1), std::nullopt);
}

TEST(CudaRing, AsLargeAsTheRingAndNoLarger) {
  Ring ring(1000, 100);
  EXPECT_EQ(ring.room(1001), std::nullopt);
  EXPECT_EQ(ring.take(1000), 0u);
  EXPECT_EQ(ring.room(1), std::nullopt);
  ring.release();
  EXPECT_EQ(ring.take(1), 0u);
}

// Against a list of what is taken: no two places ever overlap, and an empty ring takes anything.
TEST(CudaRing, PlacesNeverOverlap) {
  Random random(5);
  Ring ring(64'000);
  std::deque<std::pair<Bytes, Bytes>> taken;
  std::size_t refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    const Bytes bytes = random.between(1, 30'000);
    const auto room = ring.room(bytes);
    if (!room) ++refused;
    ASSERT_TRUE(room || !taken.empty());
    if (room && random.chance(0.6)) {
      ASSERT_EQ(ring.take(bytes), *room);
      ASSERT_LE(*room + bytes, 64'000u);
      for (const auto& [begin, end] : taken) ASSERT_TRUE(*room + bytes <= begin || *room >= end);
      taken.emplace_back(*room, *room + bytes);
    } else if (!taken.empty()) {
      ring.release();
      taken.pop_front();
    }
  }
  EXPECT_GT(refused, 0u);
}

class CudaHandedOver : public ::testing::Test {
 protected:
  std::byte* at(std::size_t i) { return memory_ + i; }
  std::byte memory_[1000];
};

TEST_F(CudaHandedOver, WhatGoesOnAtBothEndsIsOneRange) {
  HandedOver table;
  EXPECT_TRUE(table.empty());
  table.add(100, 50, at(500));
  table.add(150, 50, at(550));
  EXPECT_EQ(table.find(120, 60), at(520));
  table.add(200, 50, at(900));  // elsewhere
  EXPECT_EQ(table.find(190, 20), nullptr);
  EXPECT_EQ(table.find(190, 10), at(590));
  EXPECT_EQ(table.find(99, 2), nullptr);
  EXPECT_EQ(table.find(249, 2), nullptr);
}

// In whatever order the chunks of a transfer come, and when they come once more.
TEST_F(CudaHandedOver, RangesJoinWithBothNeighbours) {
  HandedOver table;
  for (const Bytes part : {0, 2, 1, 0, 2}) {
    table.add(100 + 50 * part, 50, at(500 + 50 * part));
    if (part == 1) {
      EXPECT_EQ(table.find(100, 150), at(500));
    }
  }
  EXPECT_EQ(table.find(100, 150), at(500));
}

TEST_F(CudaHandedOver, WhatIsWrittenHereIsHereAgain) {
  HandedOver table;
  table.add(100, 100, at(0));
  EXPECT_FALSE(table.remove(90, 10));
  EXPECT_TRUE(table.remove(130, 20));
  EXPECT_FALSE(table.remove(130, 20));
  EXPECT_EQ(table.find(100, 30), at(0));
  EXPECT_EQ(table.find(130, 1), nullptr);
  EXPECT_EQ(table.find(149, 1), nullptr);
  EXPECT_EQ(table.find(150, 50), at(50));
  table.add(90, 30, at(700));  // over the begin of what is left
  EXPECT_EQ(table.find(90, 30), at(700));
  EXPECT_EQ(table.find(120, 10), at(20));
  table.remove(0, 1000);
  EXPECT_TRUE(table.empty());
}

/// A holder's end and a user's, joined; and the user's raw.
class CudaPeerMessages : public ::testing::Test {
 protected:
  CudaPeerMessages() {
    int ends[2];
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "no sockets");
    holder_.emplace(OwnedFd(ends[0]), PeerSide::user);
    user_ = ends[1];
  }
  ~CudaPeerMessages() override { hang_up(); }

  template <class T>
  void say(const T& bytes, std::size_t count = sizeof(T)) {
    ASSERT_EQ(::send(user_, &bytes, count, MSG_NOSIGNAL), static_cast<ssize_t>(count));
  }
  void hang_up() { OwnedFd(std::exchange(user_, -1)); }
  /// What the holder has against what was said; empty: nothing yet.
  std::string complaint() {
    const auto message = holder_->receive();
    return message ? "" : message.error().message;
  }

  std::optional<PeerConnection> holder_;
  int user_ = -1;
};

TEST_F(CudaPeerMessages, ArriveWholeAndInOrderHoweverTheyAreCut) {
  PeerConnection user(OwnedFd(std::exchange(user_, -1)), PeerSide::holder);
  const std::vector<TableEntry> table(peer_items_max, {1, 2, 3, 4, 5});  // more than a socket takes
  const MemoryRange range{7, 8, 9};
  for (int i = 0; i < 3; ++i) user.send<TableEntry>(PeerMessageKind::hand_over, table);
  user.send<MemoryRange>(PeerMessageKind::checksum, {&range, 1});
  user.send(PeerMessageKind::unmap);
  std::vector<PeerMessageKind> kinds;
  while (kinds.size() < 5) {
    const auto message = holder_->receive();
    ASSERT_TRUE(message) << message.error().message;
    if (!*message) {
      user.wait(0);
      continue;
    }
    kinds.push_back((*message)->kind);
    if (kinds.size() <= 3) {
      ASSERT_EQ((*message)->count, peer_items_max);
      EXPECT_EQ((*message)->item<TableEntry>(peer_items_max - 1).length, 5u);
    } else if (kinds.size() == 4) {
      EXPECT_EQ((*message)->item<MemoryRange>(0).length, 9u);
    }
  }
  EXPECT_EQ(kinds, (std::vector{PeerMessageKind::hand_over, PeerMessageKind::hand_over,
                                PeerMessageKind::hand_over, PeerMessageKind::checksum,
                                PeerMessageKind::unmap}));
  const std::uint64_t sum = 42;
  holder_->send<std::uint64_t>(PeerMessageKind::checksum, {&sum, 1});
  const auto answer = user.receive();
  ASSERT_TRUE(answer && *answer);
  EXPECT_EQ((*answer)->item<std::uint64_t>(0), 42u);
}

TEST_F(CudaPeerMessages, AnEarlierVersionIsToldFromItsFirstBytes) {
  say(peer_protocol - 1);
  EXPECT_NE(complaint().find("version"), std::string::npos);
}

TEST_F(CudaPeerMessages, UnknownKindsAndCountsAreRefused) {
  const auto length = [](PeerMessageKind kind, std::uint32_t count, PeerSide from) {
    const PeerHeader header{peer_protocol, kind, count};
    return peer_message_bytes(std::as_bytes(std::span(&header, 1)), from);
  };
  for (const auto& [kind, count] : {std::pair(PeerMessageKind::hold, 0u),
                                    {PeerMessageKind::hold, 2u},
                                    {PeerMessageKind::checksum, 0u},
                                    {PeerMessageKind::hand_over, peer_items_max + 1},
                                    {PeerMessageKind::checksum, ~0u},
                                    {PeerMessageKind::unmap, 1u},
                                    {PeerMessageKind::refused, 1u},
                                    {static_cast<PeerMessageKind>(7), 0u}})
    EXPECT_FALSE(length(kind, count, PeerSide::user)) << static_cast<int>(kind) << " " << count;
  EXPECT_FALSE(
      length(PeerMessageKind::hand_over, 1, PeerSide::holder));  // it answers without items
  EXPECT_EQ(**length(PeerMessageKind::hand_over, 2, PeerSide::user), 16u + 2 * 40);
  EXPECT_EQ(**length(PeerMessageKind::checksum, 2, PeerSide::holder), 16u + 2 * 8);
  say(PeerHeader{peer_protocol, PeerMessageKind::checksum, ~0u});
  EXPECT_NE(complaint().find("with 4294967295 items"), std::string::npos);
}

TEST_F(CudaPeerMessages, AnEndInsideAMessageIsNoEnd) {
  say(PeerHeader{peer_protocol, PeerMessageKind::checksum, 1});
  EXPECT_EQ(complaint(), "");
  EXPECT_FALSE(holder_->ended());
  hang_up();
  EXPECT_NE(complaint().find("in the middle of a message"), std::string::npos);
}

TEST_F(CudaPeerMessages, AnEndBetweenMessagesComesAfterThem) {
  say(PeerHeader{peer_protocol, PeerMessageKind::unmap, 0});
  hang_up();
  const auto last = holder_->receive();
  ASSERT_TRUE(last && *last);
  EXPECT_EQ((*last)->kind, PeerMessageKind::unmap);
  holder_->send(PeerMessageKind::unmap);  // to nobody
  EXPECT_EQ(complaint(), "");
  EXPECT_TRUE(holder_->ended());
}

/// Anybody may connect to this socket; a real one is its owner's alone from the start.
TEST(CudaPeerSockets, OnlyAProcessOfTheSameUserIsHeard) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can be another user";
  std::string folder = "/tmp/kvhaul-peer-XXXXXX";  // the other user may not enter a TMPDIR of ours
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  ASSERT_EQ(chmod(folder.c_str(), 0755), 0);
  const std::string path = folder + "/socket";
  const auto address = socket_address(path);
  ASSERT_TRUE(address);
  const auto* const at = reinterpret_cast<const sockaddr*>(&*address);
  OwnedFd listening(socket(AF_UNIX, SOCK_STREAM, 0));
  ASSERT_EQ(bind(listening.get(), at, sizeof *address), 0);
  ASSERT_EQ(chmod(path.c_str(), 0777), 0);
  ASSERT_EQ(listen(listening.get(), 4), 0);
  const pid_t foreign = fork();
  if (foreign == 0) {
    const OwnedFd user(socket(AF_UNIX, SOCK_STREAM, 0));
    char byte = 0;
    const bool came = setuid(65534) == 0 && connect(user.get(), at, sizeof *address) == 0;
    // It does not believe the holder either, and is hung up on.
    _exit(came && !is_of_this_user(user.get()) && recv(user.get(), &byte, 1, 0) <= 0 ? 0 : 1);
  }
  pollfd entry{listening.get(), POLLIN, 0};
  ASSERT_EQ(poll(&entry, 1, 60'000), 1);  // the other user came first
  const OwnedFd own(socket(AF_UNIX, SOCK_STREAM, 0));
  ASSERT_EQ(connect(own.get(), at, sizeof *address), 0);
  EXPECT_TRUE(is_of_this_user(own.get()));
  const OwnedFd heard = accept_from_this_user(listening.get());
  ASSERT_EQ(send(own.get(), "x", 1, 0), 1);
  char byte = 0;
  EXPECT_EQ(recv(heard.get(), &byte, 1, 0), 1);
  int status = 0;
  waitpid(foreign, &status, 0);
  EXPECT_EQ(status, 0);
  unlink(path.c_str());
  rmdir(folder.c_str());
}

TEST(CudaPeerRanges, LieInsideAMemoryOrNowhere) {
  const std::vector<Bytes> memories = {100, 0};
  EXPECT_TRUE(is_inside({0, 0, 100}, memories));
  EXPECT_TRUE(is_inside({0, 99, 1}, memories));
  EXPECT_FALSE(is_inside({0, 99, 2}, memories));
  EXPECT_FALSE(is_inside({0, ~Bytes{0}, 2}, memories));
  EXPECT_FALSE(is_inside({0, 1, ~Bytes{0}}, memories));
  EXPECT_FALSE(is_inside({1, 0, 1}, memories));
  EXPECT_FALSE(is_inside({2, 0, 1}, memories));
}

TEST(CudaTickets, RowsKeepTheirOrderWhenOneIsTakenOut) {
  std::vector<Ticket> tickets(5);
  for (ChunkId i = 0; i < 5; ++i) tickets[i].chunk.chunk = i;
  TicketQueue row;
  for (const std::uint32_t n : {3u, 1u, 4u, 0u}) row.push(tickets, n);
  const auto take = [&](ChunkId chunk) {
    return row.take(tickets, [&](const Ticket& t) { return t.chunk.chunk == chunk; });
  };
  EXPECT_EQ(take(2), no_id);
  EXPECT_EQ(take(0), 0u);  // the last
  row.push(tickets, 2);
  EXPECT_EQ(take(3), 3u);  // the first
  EXPECT_EQ(row.pop(tickets), 1u);
  EXPECT_EQ(row.pop(tickets), 4u);
  EXPECT_EQ(row.pop(tickets), 2u);
  EXPECT_TRUE(row.empty());
  row.push(tickets, 1);
  EXPECT_EQ(row.pop(tickets), 1u);
}

// A GPU's timer runs 999,000 ns ahead of the run's clock. Its times are seen 4000, 0 and 4000 ns
// late.
TEST(CudaTimerClock, TheLeastDelayIsTheDistance) {
  TimerClock clock;
  clock.seen(1'000'000, 5000);
  EXPECT_EQ(clock.time_of(1'000'000), 5000);
  clock.seen(1'010'000, 11'000);
  EXPECT_EQ(clock.time_of(1'010'000), 11'000);
  EXPECT_EQ(clock.time_of(1'000'000), 1000);
  clock.seen(1'020'000, 25'000);  // seen late: no news
  EXPECT_EQ(clock.time_of(1'020'000), 21'000);
}

// Against a list of all fills: never an earlier one than the last that touched the range, and never
// one that no part of it shares.
TEST(CudaFillMarks, KnowTheLastFillOfEveryRange) {
  constexpr Bytes bytes = 1 * MiB, part = 4 * KiB;
  FillMarks marks(bytes);
  EXPECT_EQ(marks.last(0, bytes), 0u);
  Random random(17);
  std::vector<std::pair<Bytes, Bytes>> fills;
  const auto range = [&] {
    const Bytes offset = random.below(bytes);
    return std::pair(offset, random.between(1, std::min<Bytes>(bytes - offset, 40'000)));
  };
  for (std::uint64_t number = 1; number <= 500; ++number) {
    const auto [at, length] = range();
    ASSERT_TRUE(marks.mark(at, length, number));
    EXPECT_EQ(marks.last(), number);
    fills.emplace_back(at, length);
    const auto [asked, asked_length] = range();
    std::uint64_t exact = 0, by_part = 0;
    for (std::uint64_t n = 1; n <= fills.size(); ++n) {
      const auto& [begin, size] = fills[n - 1];
      if (begin < asked + asked_length && asked < begin + size) exact = n;
      if (begin / part <= (asked + asked_length - 1) / part &&
          asked / part <= (begin + size - 1) / part)
        by_part = n;
    }
    EXPECT_LE(exact, marks.last(asked, asked_length));
    EXPECT_EQ(by_part, marks.last(asked, asked_length));
  }
}

}  // namespace
}  // namespace kvhaul::cuda
