#include "serving/observations.h"

#include <functional>

#include <gtest/gtest.h>

namespace kvhaul {
namespace {

struct Told final : ReplayObserver {
  std::vector<Completion> chunks;
  std::vector<TransferEnd> ends;
  std::vector<PrefillStep> prefill_steps;
  std::vector<InstanceState> states;
  void request_done(const RequestResult&, const std::vector<TransferRow>&) override {}
  void transfer_done(const TransferEnd& end) override { ends.push_back(end); }
  void chunks_ended(std::span<const Completion> more) override {
    chunks.insert(chunks.end(), more.begin(), more.end());
  }
  void progress(TimeNs, std::uint64_t) override {}
  void prefill_step(const PrefillStep& step) override { prefill_steps.push_back(step); }
  void instance_changed(const InstanceState& state) override { states.push_back(state); }
};

Completion chunk_at(TimeNs done, Bytes bytes) {
  return {3, Outcome::ok, 0, done - 9, done - 5, done, bytes};
}

/// What a process writes down to which this is told.
std::string written(const std::function<void(ReplayObserver&)>& tell) {
  auto spool = Spool::create();
  ObservationWriter writer(*spool, nullptr);
  tell(writer);
  writer.close();
  std::string all;
  while (true) {
    const auto bytes = spool->read();
    EXPECT_TRUE(bytes);
    if (!bytes || bytes->empty()) return all;
    all += *bytes;
  }
}

std::string written(const std::vector<Completion>& chunks, const std::vector<TransferEnd>& ends) {
  return written([&](ReplayObserver& observer) {
    observer.chunks_ended(chunks);
    for (const TransferEnd& end : ends) observer.transfer_done(end);
  });
}

/// Gives a text in parts of that many bytes.
ObservationSource in_parts(std::string text, std::size_t bytes) {
  return [text, bytes, at = std::size_t{0}]() mutable -> Result<std::string> {
    const std::string part = text.substr(at, bytes);
    at += part.size();
    return part;
  };
}

TEST(Observations, ComeBackAsTheyWereInTheOrderOfTime) {
  TransferEnd end;
  end.outcome = TransferOutcome::failed;
  end.gather = Gather::pack;
  end.fallback_tier = 2;
  end.chunks = 7;
  end.pieces = 300;
  end.resent_chunks = 1;
  end.bytes = Bytes{5} << 30;
  end.resent_bytes = 12;
  end.submitted_ns = 100;
  end.posted_ns = 90;  // it never was: times of such a one may stand before
  end.started_ns = 0;
  end.done_ns = 40'000'000'000;
  end.reported_ns = 25;
  for (const std::size_t part : {1, 7, 1000}) {
    const std::vector<ObservationSource> sources = {
        in_parts(written({chunk_at(10, 1), chunk_at(30, 2)}, {}), part),
        in_parts(written({chunk_at(20, 3)}, {end}), part), in_parts("", part)};
    Told told;
    EXPECT_TRUE(merge_observations(sources, 4, told).empty());
    ASSERT_EQ(told.chunks.size(), 3u);
    EXPECT_EQ(told.chunks[0].bytes, 1u);
    EXPECT_EQ(told.chunks[1].bytes, 3u);
    EXPECT_EQ(told.chunks[2].bytes, 2u);
    EXPECT_EQ(told.chunks[2].channel, 3u);
    EXPECT_EQ(told.chunks[2].done_ns, 30);
    EXPECT_EQ(told.chunks[2].started_ns, 25);
    EXPECT_EQ(told.chunks[2].posted_ns, 21);
    ASSERT_EQ(told.ends.size(), 1u);
    const TransferEnd& back = told.ends[0];
    EXPECT_EQ(back.outcome, end.outcome);
    EXPECT_EQ(back.gather, end.gather);
    EXPECT_EQ(back.fallback_tier, end.fallback_tier);
    EXPECT_EQ(back.chunks, end.chunks);
    EXPECT_EQ(back.pieces, end.pieces);
    EXPECT_EQ(back.resent_chunks, end.resent_chunks);
    EXPECT_EQ(back.bytes, end.bytes);
    EXPECT_EQ(back.resent_bytes, end.resent_bytes);
    EXPECT_EQ(back.submitted_ns, end.submitted_ns);
    EXPECT_EQ(back.posted_ns, end.posted_ns);
    EXPECT_EQ(back.started_ns, end.started_ns);
    EXPECT_EQ(back.done_ns, end.done_ns);
    EXPECT_EQ(back.reported_ns, end.reported_ns);
  }
}

TEST(Observations, OfInstancesLikewise) {
  const auto prefill = written([](ReplayObserver& observer) {
    observer.instance_changed({InstanceRole::prefill, 7, 512, 3, 5 * s_ns});
    observer.prefill_step({7, 8192, 5 * s_ns, 6 * s_ns});
  });
  const auto decode = written([](ReplayObserver& observer) {
    observer.instance_changed({InstanceRole::decode, 70'000, 1'000'000, 0, 4 * s_ns});
  });
  Told told;
  EXPECT_TRUE(merge_observations({in_parts(prefill, 3), in_parts(decode, 3)}, 4, told).empty());
  ASSERT_EQ(told.states.size(), 2u);
  EXPECT_EQ(told.states[0].role, InstanceRole::decode);
  EXPECT_EQ(told.states[0].instance, 70'000u);
  EXPECT_EQ(told.states[0].pages, 1'000'000u);
  EXPECT_EQ(told.states[0].at_ns, 4 * s_ns);
  EXPECT_EQ(told.states[1].role, InstanceRole::prefill);
  EXPECT_EQ(told.states[1].waiting, 3u);
  ASSERT_EQ(told.prefill_steps.size(), 1u);
  EXPECT_EQ(told.prefill_steps[0].instance, 7u);
  EXPECT_EQ(told.prefill_steps[0].tokens, 8192u);
  EXPECT_EQ(told.prefill_steps[0].began_ns, 5 * s_ns);
  EXPECT_EQ(told.prefill_steps[0].ended_ns, 6 * s_ns);
}

TEST(Observations, WhatIsCutOrMakesNoSenseIsNamed) {
  const std::string whole = written({chunk_at(10, 1), chunk_at(30, 2)}, {});
  for (std::size_t size = 1; size < whole.size(); ++size) {
    const bool between = size == whole.size() / 2;  // two records of one length
    Told told;
    const auto failed =
        merge_observations({in_parts(whole, 3), in_parts(whole.substr(0, size), 3)}, 4, told);
    EXPECT_EQ(failed, between ? std::vector<std::size_t>() : std::vector<std::size_t>{1}) << size;
    EXPECT_EQ(told.chunks.size(), size < whole.size() / 2 ? 2u : 3u);
  }
  Told told;
  EXPECT_EQ(merge_observations({in_parts(whole, 3)}, 3, told).size(), 1u) << "no channel 3";
  const std::vector<ObservationSource> gone = {
      []() -> Result<std::string> { return Error::failed("gone"); }};
  EXPECT_EQ(merge_observations(gone, 4, told).size(), 1u);
  EXPECT_TRUE(told.chunks.empty());
}

}  // namespace
}  // namespace kvhaul
