// What processes of one run tell each other, against a script of what the other end says.
#include "core/exchange.h"

#include <cstring>
#include <deque>

#include <gtest/gtest.h>

namespace kvhaul {
namespace {

class Scripted final : public Exchange {
 public:
  Scripted(std::uint32_t rank, std::uint32_t size) : rank_(rank), size_(size) {}
  std::uint32_t rank() const override { return rank_; }
  std::uint32_t size() const override { return size_; }
  Result<void> send(std::uint32_t to, std::string_view bytes) override {
    if (sent.size() == sends) return Error::failed("cannot be sent");
    sent.emplace_back(to, bytes);
    return {};
  }
  Result<std::string> receive(std::uint32_t from) override {
    if (says.empty()) return Error::failed("nothing comes");
    EXPECT_EQ(says.front().first, from);
    std::string text = says.front().second;
    says.pop_front();
    return text;
  }
  std::deque<std::pair<std::uint32_t, std::string>> says;
  std::vector<std::pair<std::uint32_t, std::string>> sent;
  std::size_t sends = 1000;  // so many work

 private:
  std::uint32_t rank_, size_;
};

std::string with_length(std::string_view text) {
  const std::uint64_t bytes = text.size();
  return std::string(reinterpret_cast<const char*>(&bytes), sizeof bytes) + std::string(text);
}
std::string time_text(TimeNs time) { return {reinterpret_cast<const char*>(&time), sizeof time}; }

using Texts = std::vector<std::string>;

template <class T>
std::string error_of(const Result<T>& result) {
  return result ? "none" : result.error().message;
}

TEST(AllGather, ProcessZeroCollectsByRankAndTellsAll) {
  Scripted zero(0, 3);
  zero.says = {{1, "one"}, {2, ""}};
  const auto all = all_gather(zero, "zero");
  ASSERT_TRUE(all) << all.error().message;
  EXPECT_EQ(*all, (Texts{"zero", "one", ""}));
  const std::string list = with_length("zero") + with_length("one") + with_length("");
  ASSERT_EQ(zero.sent.size(), 2u);
  EXPECT_EQ(zero.sent[0], std::pair(1u, list));
  EXPECT_EQ(zero.sent[1], std::pair(2u, list));
  Scripted deaf(0, 3);
  deaf.says = {{1, "one"}};
  EXPECT_EQ(error_of(all_gather(deaf, "zero")), "nothing comes");
  Scripted mute(0, 3);
  mute.says = {{1, "one"}, {2, "two"}};
  mute.sends = 1;
  EXPECT_EQ(error_of(all_gather(mute, "zero")), "cannot be sent");
}

TEST(AllGather, OthersSayTheirsAndReadTheList) {
  const auto told = [](const std::string& list, std::uint32_t size = 2) {
    Scripted other(1, size);
    other.says = {{0, list}};
    auto all = all_gather(other, "one");
    EXPECT_EQ(other.sent, (std::vector{std::pair(0u, std::string("one"))}));
    return all;
  };
  const auto all = told(with_length("zero") + with_length("one"));
  ASSERT_TRUE(all) << all.error().message;
  EXPECT_EQ(*all, (Texts{"zero", "one"}));
  EXPECT_EQ(*told(with_length("") + with_length("")), (Texts{"", ""}));
  // Cut off, in a text, in a length, and a process short.
  const std::string whole = with_length("zero") + with_length("one");
  for (const std::size_t bytes :
       {whole.size() - 1, std::size_t{15}, std::size_t{12}, std::size_t{0}})
    EXPECT_EQ(error_of(told(whole.substr(0, bytes))), "process 0 sent a list that is cut off")
        << bytes;
  EXPECT_EQ(error_of(told(whole, 3)), "process 0 sent a list that is cut off");
  Scripted mute(1, 2);
  mute.sends = 0;
  mute.says = {{0, whole}};
  EXPECT_EQ(error_of(all_gather(mute, "one")), "cannot be sent");
  Scripted deaf(1, 2);
  EXPECT_EQ(error_of(all_gather(deaf, "one")), "nothing comes");
}

TEST(AllToAll, ProcessZeroHandsEachItsOwn) {
  Scripted zero(0, 3);
  zero.says = {{1, with_length("1 to 0") + with_length("1 to 1") + with_length("1 to 2")},
               {2, with_length("2 to 0") + with_length("") + with_length("2 to 2")}};
  const auto mine = all_to_all(zero, {"0 to 0", "0 to 1", "0 to 2"});
  ASSERT_TRUE(mine) << mine.error().message;
  EXPECT_EQ(*mine, (Texts{"0 to 0", "1 to 0", "2 to 0"}));
  ASSERT_EQ(zero.sent.size(), 2u);
  EXPECT_EQ(zero.sent[0],
            std::pair(1u, with_length("0 to 1") + with_length("1 to 1") + with_length("")));
  EXPECT_EQ(zero.sent[1],
            std::pair(2u, with_length("0 to 2") + with_length("1 to 2") + with_length("2 to 2")));

  Scripted cut(0, 2);
  cut.says = {{1, with_length("1 to 0") + with_length("1 to 1").substr(0, 9)}};
  const auto wrong = all_to_all(cut, {"", ""});
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().message, "process 1 sent a list that is cut off");
  EXPECT_TRUE(cut.sent.empty());
  Scripted deaf(0, 2);
  EXPECT_EQ(error_of(all_to_all(deaf, {"", ""})), "nothing comes");
  Scripted mute(0, 2);
  mute.says = {{1, with_length("") + with_length("")}};
  mute.sends = 0;
  EXPECT_EQ(error_of(all_to_all(mute, {"", ""})), "cannot be sent");
  Alone alone;
  EXPECT_EQ(*all_to_all(alone, {"me"}), Texts{"me"});
}

TEST(AllToAll, OthersSayTheirsAndReadTheirs) {
  Scripted other(1, 2);
  other.says = {{0, with_length("0 to 1") + with_length("1 to 1")}};
  const auto mine = all_to_all(other, {"1 to 0", "1 to 1"});
  ASSERT_TRUE(mine) << mine.error().message;
  EXPECT_EQ(*mine, (Texts{"0 to 1", "1 to 1"}));
  EXPECT_EQ(other.sent,
            (std::vector{std::pair(0u, with_length("1 to 0") + with_length("1 to 1"))}));
  Scripted cut(1, 2);
  cut.says = {{0, with_length("0 to 1")}};
  EXPECT_EQ(error_of(all_to_all(cut, {"", ""})), "process 0 sent a list that is cut off");
  Scripted deaf(1, 2);
  EXPECT_EQ(error_of(all_to_all(deaf, {"", ""})), "nothing comes");
  Scripted mute(1, 2);
  mute.sends = 0;
  mute.says = {{0, with_length("") + with_length("")}};
  EXPECT_EQ(error_of(all_to_all(mute, {"", ""})), "cannot be sent");
}

TEST(Clocks, TheQuickestRoundTripCounts) {
  Scripted other(1, 2);
  // The k-th question is asked at 1000 k and answered after 100, but for the 11th, after 21.
  for (int k = 0; k < 64; ++k) other.says.emplace_back(0, time_text(1000 * k + 5000));
  int call = 0;
  const auto now = [&] {
    const int k = call / 2;
    return TimeNs{1000} * k + (call++ % 2 == 0 ? 0 : k == 10 ? 21 : 100);
  };
  const auto offset = clock_offset(other, now);
  ASSERT_TRUE(offset) << offset.error().message;
  EXPECT_EQ(offset->uncertain_ns, 11);  // half of 21, rounded up
  EXPECT_EQ(offset->offset_ns, 5000 - 11);
  EXPECT_EQ(other.sent.size(), 64u);
  EXPECT_EQ(call, 128);
  for (const auto& [to, text] : other.sent) EXPECT_EQ(to, 0u);
  // Of equally quick ones the first.
  Scripted same(1, 2);
  for (int k = 0; k < 64; ++k) same.says.emplace_back(0, time_text(k));
  EXPECT_EQ(clock_offset(same, [] { return TimeNs{0}; })->offset_ns, 0);

  Scripted wrong(1, 2);
  wrong.says = {{0, "noon"}};
  EXPECT_EQ(error_of(clock_offset(wrong, now)), "a process sent something else than a time");
  // Too short or too long in any round is no time.
  for (const std::size_t bytes : {7, 9}) {
    Scripted late(1, 2);
    late.says.assign(64, {0, time_text(1)});
    late.says[40].second = std::string(bytes, '\0');
    EXPECT_EQ(error_of(clock_offset(late, now)), "a process sent something else than a time");
  }
  Scripted deaf(1, 2);
  EXPECT_EQ(error_of(clock_offset(deaf, now)), "nothing comes");
  Scripted mute(1, 2);
  mute.sends = 63;  // all but the last
  mute.says.assign(64, {0, time_text(1)});
  EXPECT_EQ(error_of(clock_offset(mute, now)), "cannot be sent");
}

TEST(Clocks, ProcessZeroAnswersAllAndHasNoOffset) {
  Scripted zero(0, 3);
  for (const std::uint32_t rank : {1u, 2u})
    for (int k = 0; k < 64; ++k) zero.says.emplace_back(rank, "time");
  TimeNs time = 0;
  const auto offset = clock_offset(zero, [&] { return ++time; });
  ASSERT_TRUE(offset) << offset.error().message;
  EXPECT_EQ(offset->offset_ns, 0);
  EXPECT_EQ(offset->uncertain_ns, 0);
  ASSERT_EQ(zero.sent.size(), 128u);
  EXPECT_TRUE(zero.says.empty());
  EXPECT_EQ(zero.sent[0], std::pair(1u, time_text(1)));
  EXPECT_EQ(zero.sent[127], std::pair(2u, time_text(128)));
  Scripted deaf(0, 2);
  EXPECT_EQ(error_of(clock_offset(deaf, [&] { return ++time; })), "nothing comes");
  Scripted mute(0, 2);
  mute.sends = 63;  // all but the last
  mute.says.assign(64, {1, "time"});
  EXPECT_EQ(error_of(clock_offset(mute, [&] { return ++time; })), "cannot be sent");
}

/// It goes to a terminal of somebody else.
TEST(Farewell, IsOnePrintableLineOfBoundedLength) {
  EXPECT_EQ(farewell_in("1\x1b]0;owned\x07\n\x9b", 4).message,
            "process 4: \\x1b]0;owned\\x07\\x0a\\x9b");
  EXPECT_EQ(farewell_in("1 ~\x7f", 4).message, "process 4:  ~\\x7f");
  EXPECT_EQ(farewell_in("1" + std::string(1000, 'A'), 4).message,
            "process 4: " + std::string(1000, 'A'));
  EXPECT_EQ(farewell_in("1" + std::string(1 << 20, 'A'), 4).message,
            "process 4: " + std::string(1000, 'A') + "...");
}

TEST(Farewell, KeepsTheErrorAndSaysWhose) {
  for (const ErrorKind kind : {ErrorKind::failed, ErrorKind::bad_input, ErrorKind::missing}) {
    const Error there = farewell_in(farewell_of({kind, "no NIC"}), 4);
    EXPECT_EQ(there.kind, kind);
    EXPECT_EQ(there.message, "process 4: no NIC");
    // Passed on by process 0 it says already whose it is.
    EXPECT_EQ(farewell_in(farewell_of(there), 0).message, "process 4: no NIC");
  }
  for (const std::string text : {"", "0x", "4x", "x"}) {
    const Error there = farewell_in(text, 4);
    EXPECT_EQ(there.kind, ErrorKind::failed) << text;
    EXPECT_EQ(there.message, "process 4 gave up") << text;
  }
}

TEST(Alone, HasNobodyToTalkTo) {
  Alone alone;
  EXPECT_EQ(alone.rank(), 0u);
  EXPECT_EQ(alone.size(), 1u);
  EXPECT_EQ(error_of(alone.send(0, "x")), "there is no other process");
  EXPECT_EQ(error_of(alone.receive(0)), "there is no other process");
  EXPECT_EQ(*all_gather(alone, "me"), Texts{"me"});
}

}  // namespace
}  // namespace kvhaul
