// Every policy against the brute-force reference: random channels, transfers, completions in any
// order, cancels. Each chunk must belong to the transfer that the reference calls the most urgent,
// go where the reference sees room, and be left out only where it sees none.
#include <map>

#include <gtest/gtest.h>

#include "core/policy/all.h"
#include "core/random.h"
#include "tests/support/reference_scheduler.h"
#include "tests/support/scheduler_driver.h"
#include "tests/support/setups.h"

namespace kvhaul::test {
namespace {

constexpr Bytes chunk_bytes = 1000;

SchedulerSetup random_setup(Random& random, const std::string& policy) {
  SchedulerSetup setup = one_pair(static_cast<std::uint32_t>(random.between(1, 6)));
  setup.config.policy = policy;
  setup.config.ageing_ns = static_cast<TimeNs>(random.between(1'000, 50'000));
  setup.config.channel_window_ns = static_cast<TimeNs>(random.between(500, 9'000));
  setup.config.link_window_ns = static_cast<TimeNs>(random.between(500, 20'000));
  setup.config.rate_time_constant_ns = 1000 * s_ns;  // nothing is learned
  setup.links = {{byte_per_ns}, {2 * byte_per_ns}};
  for (SetupChannel& channel : setup.channels) {
    channel.numbers.bytes_per_s = byte_per_ns * static_cast<double>(random.between(1, 4)) / 2;
    channel.numbers.fixed_ns = static_cast<TimeNs>(random.between(0, 3'000));
    channel.numbers.half_bandwidth_bytes = 100;
    channel.numbers.max_in_flight = static_cast<std::uint32_t>(random.between(1, 8));
    for (std::uint32_t link = 0; link < 2; ++link)
      if (random.chance(0.4)) channel.links.push_back(link);
  }
  return setup;
}

class Comparison {
 public:
  Comparison(std::uint64_t seed, const std::string& policy)
      : random_(seed),
        policy_(policy),
        setup_(random_setup(random_, policy)),
        driver_(setup_),
        reference_(setup_) {}

  void run() {
    for (int step = 0; step < 300 && !::testing::Test::HasFailure(); ++step) {
      const std::uint64_t what = random_.below(10);
      if (what < 4)
        submit();
      else if (what < 9 && !reference_.flying.empty())
        land(random_.below(reference_.flying.size()));
      else if (!submitted_.empty())
        cancel(submitted_[random_.below(submitted_.size())]);
      driver_.now += static_cast<TimeNs>(random_.below(3'000));
    }
    while (!reference_.flying.empty() && !::testing::Test::HasFailure()) land(0);
    if (::testing::Test::HasFailure()) return;
    EXPECT_TRUE(driver_.scheduler.idle());
    EXPECT_EQ(driver_.ends.size(), submitted_.size());
    for (const TransferEnd& end : driver_.ends) {
      if (end.outcome == TransferOutcome::delivered) {
        EXPECT_EQ(landed_[end.id], end.bytes);
      }
    }
  }

 private:
  void submit() {
    TransferRequest request;
    request.priority = static_cast<Priority>(random_.below(priority_count));
    request.deadline_ns = driver_.now + static_cast<TimeNs>(random_.below(20'000));
    const Bytes bytes = chunk_bytes * random_.between(1, 6);
    const TransferId id = driver_.submit(bytes, request);
    reference_.waiting.push_back(
        {id, sequence_++, request.priority, driver_.now, request.deadline_ns, bytes});
    submitted_.push_back(id);
    compare();
  }

  void land(std::size_t which) {
    const ReferenceScheduler::Flying flown = reference_.flying[which];
    reference_.flying.erase(reference_.flying.begin() + static_cast<std::ptrdiff_t>(which));
    landed_[flown.transfer] += flown.bytes;
    std::erase_if(driver_.in_flight,
                  [&](const PostAction& p) { return p.post.chunk == flown.chunk; });
    driver_.complete({.channel = flown.channel, .chunk = flown.chunk, .done_ns = driver_.now});
    compare();
  }

  void cancel(TransferId id) {
    std::erase_if(reference_.waiting, [&](const auto& w) { return w.id == id; });
    driver_.cancel(id);
    compare();
  }

  /// Takes what the scheduler has just posted, one by one, as the reference would have.
  void compare() {
    for (std::size_t i = reference_.flying.size(); i < driver_.in_flight.size(); ++i) {
      const PostAction& post = driver_.in_flight[i];
      const ReferenceScheduler::Waiting* head = reference_.head(driver_.now);
      ASSERT_NE(head, nullptr) << "posted what nobody waits for";
      EXPECT_EQ(post.post.bytes, chunk_bytes);
      EXPECT_TRUE(reference_.has_room(post.channel, chunk_bytes)) << "no room on " << post.channel;
      if (policy_ == "least_finish") {
        EXPECT_EQ(post.channel, reference_.least_expected(chunk_bytes));
      }
      reference_.flying.push_back({post.post.chunk, head->id, post.channel, chunk_bytes});
      const auto index = static_cast<std::size_t>(head - reference_.waiting.data());
      reference_.waiting[index].left -= chunk_bytes;
      std::erase_if(reference_.waiting, [](const auto& w) { return w.left == 0; });
    }
    const ReferenceScheduler::Waiting* head = reference_.head(driver_.now);
    if (head == nullptr) return;
    // Something waits: then there is no room, on the one channel that the policy wants or on some.
    if (policy_ == "least_finish") {
      EXPECT_FALSE(reference_.has_room(reference_.least_expected(chunk_bytes), chunk_bytes));
    } else {
      bool full = false;
      for (std::uint32_t c = 0; c < setup_.channels.size(); ++c)
        full |= !reference_.has_room(c, chunk_bytes);
      EXPECT_TRUE(full) << "a transfer waits though every channel has room";
    }
  }

  Random random_;
  std::string policy_;
  SchedulerSetup setup_;
  SchedulerDriver driver_;
  ReferenceScheduler reference_;
  std::uint64_t sequence_ = 0;
  std::vector<TransferId> submitted_;
  std::map<TransferId, Bytes> landed_;
};

class Reference : public ::testing::TestWithParam<std::string_view> {};

TEST_P(Reference, AgreesOnEveryChunk) {
  for (std::uint64_t seed = 1; seed <= 200 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Comparison(seed, std::string(GetParam())).run();
  }
}

std::vector<std::string_view> policy_names() {
  std::vector<std::string_view> names;
  for (const PolicyName& policy : all_policies) names.push_back(policy.name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(EveryPolicy, Reference, ::testing::ValuesIn(policy_names()),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace kvhaul::test
