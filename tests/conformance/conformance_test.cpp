// The backend contract (core/backend.h), sentence by sentence, against every backend.
#include <algorithm>
#include <map>

#include <gtest/gtest.h>

#include "core/channel_plan.h"
#include "core/random.h"
#include "tests/conformance/backends.h"
#include "tests/support/setups.h"

namespace kvhaul {
namespace {

constexpr Bytes segment_bytes = 4 * MiB;

class Conformance : public ::testing::TestWithParam<test::BackendUnderTest> {
 protected:
  void SetUp() override {
    if (!GetParam().missing.empty()) GTEST_SKIP() << GetParam().missing;
    const test::Surroundings surroundings = GetParam().surroundings();
    cluster_ = surroundings.cluster;
    backend_ = GetParam().make();
    for (std::uint32_t pair = 0; pair < surroundings.pairs.size(); ++pair) {
      const auto& [source, target] = surroundings.pairs[pair];
      const std::vector<std::pair<PlaceId, PlaceId>> places = {{place(source), place(target)}};
      const auto plan = plan_channels(cluster_, places, surroundings.plan);
      ASSERT_TRUE(plan) << plan.error().message;
      requests_.insert(requests_.end(), plan->requests.begin(), plan->requests.end());
      pair_of_.resize(requests_.size(), pair);
    }
    auto numbers = backend_->open(cluster_, requests_);
    ASSERT_TRUE(numbers) << numbers.error().message;
    numbers_ = *numbers;
    for (const auto& [source, target] : surroundings.pairs)
      for (const std::string& name : {source, target}) {
        const auto segment = backend_->register_segment(place(name), segment_bytes);
        ASSERT_TRUE(segment) << segment.error().message;
        segments_.push_back(*segment);
      }
  }

  PlaceId place(const std::string& name) const { return *cluster_.find_place(name); }
  NodeId node_of(PlaceId id) const { return cluster_.places[id].node; }

  /// Between the segments of the pair that the channel joins.
  ChunkPost piece(Bytes from, Bytes to, Bytes length, ChannelId channel = 0) {
    ChunkPost post;
    post.chunk = next_chunk_++;
    post.source_segment = segments_[2 * pair_of_[channel]];
    post.target_segment = segments_[2 * pair_of_[channel] + 1];
    post.bytes = length;
    post.piece_count = 1;
    post.piece = {from, to, length};
    return post;
  }

  void post(ChannelId channel, const ChunkPost& chunk) { backend_->post(channel, {&chunk, 1}); }

  /// Runs until that many completions have come in all, or so much time has passed that they never
  /// will, however slow the machine.
  void run_until(std::size_t completions) {
    const TimeNs end = backend_->now() + 30 * s_ns;
    while (seen_.size() < completions && backend_->now() < end) {
      BackendEvents events;
      backend_->progress(events);
      seen_.insert(seen_.end(), events.completions.begin(), events.completions.end());
      messages_.insert(messages_.end(), events.messages.begin(), events.messages.end());
      if (seen_.size() < completions) backend_->wait(end);
    }
    ASSERT_EQ(seen_.size(), completions);
  }

  std::vector<std::byte> bytes_at(SegmentId segment, Bytes offset, Bytes length) {
    std::vector<std::byte> bytes(length);
    backend_->read(segment, offset, bytes);
    return bytes;
  }

  Cluster cluster_;
  std::unique_ptr<Backend> backend_;
  std::vector<ChannelRequest> requests_;
  std::vector<ChannelNumbers> numbers_;
  std::vector<std::uint32_t> pair_of_;  // by channel
  std::vector<SegmentId> segments_;     // source and target of pair 0, then of pair 1
  std::vector<Completion> seen_;
  std::vector<ControlMessage> messages_;
  ChunkId next_chunk_ = 1;
};

#define SKIP_WITHOUT_PAYLOAD() \
  if (!backend_->moves_bytes()) GTEST_SKIP() << "this backend only takes time, it moves no bytes"

TEST_P(Conformance, AdvertisesNumbersForEveryChannel) {
  ASSERT_EQ(numbers_.size(), requests_.size());
  for (const ChannelNumbers& numbers : numbers_) {
    EXPECT_GT(numbers.bytes_per_s, 0);
    EXPECT_GT(numbers.max_in_flight, 0u);
    EXPECT_GT(numbers.max_chunk_bytes, 0u);
    EXPECT_GE(numbers.fixed_ns, 0);
  }
  EXPECT_FALSE(backend_->description().empty());
}

TEST_P(Conformance, AProbeComesBackAmongChunksOnEveryChannel) {
  for (ChannelId channel = 0; channel < requests_.size(); ++channel) {
    ChunkPost probe;
    probe.chunk = next_chunk_++;
    post(channel, probe);
  }
  post(0, piece(0, 0, 1000));
  ChunkPost last;
  last.chunk = next_chunk_++;
  post(0, last);
  run_until(requests_.size() + 2);
  for (const Completion& completion : seen_) {
    EXPECT_EQ(completion.outcome, Outcome::ok);
    EXPECT_TRUE(completion.bytes == 0 || completion.bytes == 1000);
  }
}

TEST_P(Conformance, MovesAPieceAndNothingElse) {
  SKIP_WITHOUT_PAYLOAD();
  backend_->fill(segments_[0], 0, segment_bytes, 7);
  backend_->fill(segments_[1], 0, segment_bytes, 8);
  const auto before = bytes_at(segments_[1], 0, segment_bytes);
  post(0, piece(1000, 5001, 777));
  run_until(1);
  EXPECT_EQ(seen_[0].outcome, Outcome::ok);
  const auto source = bytes_at(segments_[0], 1000, 777);
  const auto after = bytes_at(segments_[1], 0, segment_bytes);
  EXPECT_TRUE(std::equal(source.begin(), source.end(), after.begin() + 5001));
  EXPECT_TRUE(std::equal(after.begin(), after.begin() + 5001, before.begin()));
  EXPECT_TRUE(std::equal(after.begin() + 5778, after.end(), before.begin() + 5778));
}

/// Pieces of one length, and pieces of odd lengths at odd places, by every method: the ones that a
/// channel lacks it has to move all the same.
TEST_P(Conformance, MovesScatteredPiecesByEveryMethod) {
  SKIP_WITHOUT_PAYLOAD();
  const std::uint32_t count = std::min(50u, numbers_[0].max_pieces);
  std::vector<Descriptor> even, uneven;
  Random random(5);
  for (Bytes i = 0; i < count; ++i) {
    even.push_back({i * 8192, (49 - i) * 6000, 4096});
    // The first ones are shorter than anything a kernel might move at a time.
    const Bytes length = i < 20 ? i + 1 : random.between(1, 9000);
    uneven.push_back(
        {i * 20'000 + random.below(11'000), (49 - i) * 9100 + random.below(100), length});
  }
  backend_->fill(segments_[0], 0, segment_bytes, 7);
  const auto source = bytes_at(segments_[0], 0, segment_bytes);
  std::size_t posted = 0;
  for (std::size_t m = 0; m < gather_count; ++m)
    for (const std::vector<Descriptor>& pieces : {even, uneven}) {
      backend_->fill(segments_[1], 0, segment_bytes, 9);
      auto expected = bytes_at(segments_[1], 0, segment_bytes);
      ChunkPost chunk = piece(0, 0, 0);
      chunk.piece_count = static_cast<std::uint32_t>(pieces.size());
      chunk.piece = pieces.front();
      chunk.pieces = pieces.data();
      chunk.gather = static_cast<Gather>(m);
      for (const Descriptor& p : pieces) {
        chunk.bytes += p.length;
        std::copy_n(source.begin() + static_cast<std::ptrdiff_t>(p.source_offset), p.length,
                    expected.begin() + static_cast<std::ptrdiff_t>(p.target_offset));
      }
      post(0, chunk);
      run_until(++posted);
      EXPECT_EQ(seen_.back().outcome, Outcome::ok) << gather_name(chunk.gather);
      EXPECT_TRUE(bytes_at(segments_[1], 0, segment_bytes) == expected)
          << gather_name(chunk.gather);
    }
}

TEST_P(Conformance, ExactlyOneCompletionFollowsEveryPost) {
  Random random(3);
  std::map<ChunkId, int> count;
  std::size_t posted = 0;
  for (int round = 0; round < 40; ++round) {
    const auto channel = static_cast<ChannelId>(random.below(requests_.size()));
    std::vector<ChunkPost> batch;
    for (std::uint64_t i = 0; i <= random.below(8); ++i) {
      const Bytes length = random.between(1, 60'000);
      // What is in flight on two channels must not overlap: each has a part of the target.
      const Bytes part = segment_bytes / requests_.size();
      batch.push_back(piece(random.below(segment_bytes - length),
                            channel * part + random.below(part - length), length, channel));
    }
    posted += batch.size();
    backend_->post(channel, batch);
    if (random.chance(0.5)) run_until(posted);
  }
  run_until(posted);
  for (const Completion& completion : seen_) ++count[completion.chunk];
  EXPECT_EQ(count.size(), posted);
  EXPECT_TRUE(std::all_of(count.begin(), count.end(), [](const auto& c) { return c.second == 1; }));
  backend_->wait(backend_->now() + 1 * ms_ns);
  BackendEvents events;
  backend_->progress(events);
  EXPECT_TRUE(events.empty());
}

TEST_P(Conformance, ChunksOfAChannelStartInPostingOrder) {
  std::vector<ChunkPost> batch;
  for (int i = 0; i < 20; ++i) batch.push_back(piece(0, 0, i % 2 == 0 ? 200'000 : 100, 1));
  backend_->post(1, batch);
  run_until(20);
  std::sort(seen_.begin(), seen_.end(),
            [](const Completion& a, const Completion& b) { return a.chunk < b.chunk; });
  for (std::size_t i = 1; i < seen_.size(); ++i)
    EXPECT_LE(seen_[i - 1].started_ns, seen_[i].started_ns);
}

TEST_P(Conformance, TimesFollowEachOther) {
  const TimeNs before = backend_->now();
  for (ChannelId c = 0; c < requests_.size(); ++c) post(c, piece(0, 100'000 * c, 100'000, c));
  run_until(requests_.size());
  for (const Completion& completion : seen_) {
    EXPECT_LE(before, completion.posted_ns);
    EXPECT_LE(completion.posted_ns, completion.started_ns);
    EXPECT_LE(completion.started_ns, completion.done_ns);
    EXPECT_LE(completion.done_ns, backend_->now());
    EXPECT_EQ(completion.bytes, 100'000u);
  }
}

TEST_P(Conformance, PostingReturnsBeforeAnythingMoves) {
  // A full channel's worth; post() must take it all and progress() must not be needed in between.
  std::vector<ChunkPost> batch;
  for (std::uint32_t i = 0; i < numbers_[0].max_in_flight; ++i) batch.push_back(piece(0, 0, 4096));
  backend_->post(0, batch);
  run_until(batch.size());
}

TEST_P(Conformance, WhatDoesNotFitIsInvalidAndTouchesNothing) {
  if (backend_->moves_bytes()) backend_->fill(segments_[1], 0, segment_bytes, 5);
  const std::uint64_t sum =
      backend_->moves_bytes() ? backend_->checksum(segments_[1], 0, segment_bytes) : 0;
  std::vector<ChunkPost> wrong = {piece(segment_bytes - 10, 0, 11),
                                  piece(0, segment_bytes, 1),
                                  piece(~Bytes{0} - 4, 0, 8),
                                  piece(0, 0, 8),
                                  piece(0, 0, 8),
                                  piece(0, 0, 0)};
  wrong[3].target_segment = static_cast<SegmentId>(segments_.size());  // the first that is not
  wrong[4].bytes = 9;                                                  // does not equal its piece
  for (const ChunkPost& chunk : wrong) post(0, chunk);
  run_until(wrong.size());
  for (const Completion& completion : seen_) EXPECT_EQ(completion.outcome, Outcome::invalid);
  // Nothing of them moves later, either.
  backend_->wait(backend_->now() + 1 * ms_ns);
  BackendEvents events;
  backend_->progress(events);
  EXPECT_TRUE(events.completions.empty());
  if (!backend_->moves_bytes()) return;
  EXPECT_EQ(backend_->checksum(segments_[1], 0, segment_bytes), sum);
}

TEST_P(Conformance, ACancelledChunkEndsOnceAndLeavesItsTargetAlone) {
  // A full channel, cancelled from its far end. Where time is real, this thread may be held up
  // until all of it has landed: then once more.
  std::size_t cancelled = 0;
  for (int round = 0; round < 100 && cancelled == 0; ++round) {
    std::vector<ChunkPost> batch;
    for (std::uint32_t i = 0; i < numbers_[0].max_in_flight; ++i) batch.push_back(piece(0, 0, MiB));
    seen_.clear();
    backend_->post(0, batch);
    for (auto chunk = batch.rbegin(); chunk != batch.rend(); ++chunk)
      backend_->cancel(0, chunk->chunk);
    run_until(batch.size());
    for (const Completion& completion : seen_) {
      EXPECT_TRUE(completion.outcome == Outcome::ok || completion.outcome == Outcome::cancelled);
      cancelled += completion.outcome == Outcome::cancelled ? 1 : 0;
    }
  }
  EXPECT_GT(cancelled, 0u);
  if (!backend_->moves_bytes()) return;
  backend_->fill(segments_[1], 0, MiB, 99);
  const std::uint64_t sum = backend_->checksum(segments_[1], 0, MiB);
  backend_->wait(backend_->now() + 20 * ms_ns);
  EXPECT_EQ(backend_->checksum(segments_[1], 0, MiB), sum);
}

TEST_P(Conformance, TheChannelWorksOnAfterACancel) {
  const ChunkPost first = piece(0, 0, MiB);
  post(0, first);
  backend_->cancel(0, first.chunk);
  // Where the first one could not be stopped, its channel was torn down, and for a while takes
  // others with it.
  std::size_t posted = 1;
  for (bool landed = false; !landed && posted < 100; ++posted) {
    post(0, piece(0, 0, 1000));
    run_until(posted + 1);
    const Completion& last = *std::max_element(
        seen_.begin(), seen_.end(), [](const auto& a, const auto& b) { return a.chunk < b.chunk; });
    landed = last.outcome == Outcome::ok;
    if (!landed) backend_->wait(backend_->now() + 20 * ms_ns);
  }
  EXPECT_LT(posted, 100u);
}

TEST_P(Conformance, CancellingWhatIsNotThereIsIgnored) {
  backend_->cancel(0, 424242);
  post(0, piece(0, 0, 1000));
  run_until(1);
  backend_->cancel(0, seen_[0].chunk);
  BackendEvents events;
  backend_->wait(backend_->now() + 1 * ms_ns);
  backend_->progress(events);
  EXPECT_TRUE(events.completions.empty());
}

TEST_P(Conformance, ControlMessagesArriveInOrder) {
  const NodeId from = node_of(requests_[0].route.source);
  const NodeId to = node_of(requests_[0].route.target);
  for (std::uint64_t i = 0; i < 100; ++i) backend_->send({from, to, 20, 0, i, 2 * i, 64});
  const TimeNs end = backend_->now() + 30 * s_ns;
  while (messages_.size() < 100 && backend_->now() < end) {
    BackendEvents events;
    backend_->progress(events);
    messages_.insert(messages_.end(), events.messages.begin(), events.messages.end());
    if (messages_.size() < 100) backend_->wait(end);
  }
  ASSERT_EQ(messages_.size(), 100u);
  for (std::uint64_t i = 0; i < 100; ++i) {
    EXPECT_EQ(messages_[i].value, i);
    EXPECT_EQ(messages_[i].value2, 2 * i);
    EXPECT_EQ(messages_[i].to, to);
  }
}

TEST_P(Conformance, WaitEndsAtItsTimeAndTheClockNeverGoesBack) {
  const TimeNs start = backend_->now();
  backend_->wait(start + 3 * ms_ns);
  EXPECT_GE(backend_->now(), start + 3 * ms_ns);
  const TimeNs later = backend_->now();
  backend_->wait(start);
  EXPECT_GE(backend_->now(), later);
  backend_->wait(never_ns);  // nothing is outstanding: returns
}

TEST_P(Conformance, PayloadCallsAgree) {
  SKIP_WITHOUT_PAYLOAD();
  const std::vector<std::byte> bytes(1001, std::byte{42});
  backend_->write(segments_[2], 17, bytes);
  EXPECT_EQ(bytes_at(segments_[2], 17, 1001), bytes);
  backend_->fill(segments_[2], 0, 4096, 1);
  backend_->fill(segments_[3], 8192, 4096, 1);
  EXPECT_EQ(backend_->checksum(segments_[2], 0, 4096),
            backend_->checksum(segments_[3], 8192, 4096));
  backend_->fill(segments_[3], 8192, 4096, 2);
  EXPECT_NE(backend_->checksum(segments_[2], 0, 4096),
            backend_->checksum(segments_[3], 8192, 4096));
}

TEST_P(Conformance, ManyRangesAreAsManyCalls) {
  SKIP_WITHOUT_PAYLOAD();
  const std::vector<SegmentRange> ranges = {{0, 4096, 11}, {10'000, 777, 12}, {20'000, 1, 13}};
  backend_->fill(segments_[2], 0, 30'000, 1);
  backend_->fill_ranges(segments_[2], ranges);
  for (const SegmentRange& range : ranges)
    backend_->fill(segments_[3], range.offset, range.length, range.seed);
  std::vector<std::uint64_t> sums(3, 0), later(3, 0);
  backend_->checksum_ranges(segments_[2], ranges, sums);
  const std::uint64_t number = backend_->begin_checksums(segments_[2], ranges, later);
  const TimeNs end = backend_->now() + 30 * s_ns;
  while (backend_->checksums_done() < number && backend_->now() < end)
    backend_->wait(backend_->now() + 1 * ms_ns);
  EXPECT_GE(backend_->checksums_done(), number);
  EXPECT_EQ(later, sums);
  for (std::size_t i = 0; i < ranges.size(); ++i)
    EXPECT_EQ(sums[i], backend_->checksum(segments_[3], ranges[i].offset, ranges[i].length)) << i;
}

TEST_P(Conformance, MemoryThatIsNotThereIsSaidToBeMissing) {
  SKIP_WITHOUT_PAYLOAD();
  const PlaceId place = requests_[0].route.source;
  const auto segment = backend_->register_segment(place, Bytes{1} << 55);
  ASSERT_FALSE(segment);
  EXPECT_EQ(segment.error().kind, ErrorKind::missing);
  EXPECT_NE(segment.error().message.find(cluster_.places[place].name), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(AllBackends, Conformance, ::testing::ValuesIn(test::backends_under_test()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace kvhaul
