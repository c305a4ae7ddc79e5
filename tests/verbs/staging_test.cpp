// Chunks through pinned host memory: what is said about them, and, where there are RDMA devices,
// two processes (threads here) that move them, a device that is lost, and what is said of the ways.
#include "backends/verbs/staging.h"

#include <optional>
#include <thread>

#include <gtest/gtest.h>

#include "backends/verbs/verbs.h"
#include "core/channel_plan.h"
#include "core/exchange.h"
#include "tests/support/host_device_memory.h"
#include "tests/support/setups.h"
#include "tests/verbs/thread_exchange.h"

namespace kvhaul::verbs {
namespace {

using test::HostDeviceOptions;
using test::HostDevices;
using test::Mailboxes;
using test::ThreadExchange;

TEST(StagePart, IsReadAsItWasWrittenAndNothingElseIs) {
  const StagePart part{7, 3, 2, 4096, {{10, 20}, {30, 1}}};
  StagePart read;
  ASSERT_TRUE(StagePart::parse(part.text(), read));
  EXPECT_EQ(read.channel, 7u);
  EXPECT_EQ(read.generation, 3u);
  EXPECT_EQ(read.segment, 2u);
  EXPECT_EQ(read.at, 4096u);
  ASSERT_EQ(read.ranges.size(), 2u);
  EXPECT_EQ(read.ranges[0].offset, 10u);
  EXPECT_EQ(read.ranges[1].length, 1u);
  const std::string text = part.text();
  for (std::size_t bytes = 0; bytes < text.size(); ++bytes) {
    const bool whole = bytes == text.size() - 16 || bytes == text.size() - 32;  // fewer ranges
    EXPECT_EQ(StagePart::parse(text.substr(0, bytes), read), whole) << bytes;
  }
}

TEST(Staging, PiecesOfAStagedEndLieBehindEachOther) {
  const Descriptor pieces[] = {{100, 5000, 10}, {300, 6000, 20}};
  ChunkPost chunk;
  chunk.bytes = 30;
  chunk.piece_count = 2;
  chunk.pieces = pieces;
  Staging staging;
  const auto seen = [&](bool near, bool far, bool pull) {
    staging.near = near;
    staging.far = far;
    const auto all = staging.on_the_wire(chunk, pull, 4096).all();
    return std::vector<Descriptor>(all.begin(), all.end());
  };
  using Pieces = std::vector<Descriptor>;
  EXPECT_EQ(seen(true, true, false), (Pieces{{4096, 4096, 30}}));
  EXPECT_EQ(seen(true, false, false), (Pieces{{4096, 5000, 10}, {4106, 6000, 20}}));
  EXPECT_EQ(seen(false, true, false), (Pieces{{100, 4096, 10}, {300, 4106, 20}}));
  EXPECT_EQ(seen(true, false, true), (Pieces{{100, 4096, 10}, {300, 4106, 20}}));
  EXPECT_EQ(seen(false, true, true), (Pieces{{4096, 5000, 10}, {4106, 6000, 20}}));
}

struct Surroundings {
  Cluster cluster;
  std::vector<ChannelRequest> requests;
  PlaceId source = *cluster.find_place("node0/gpu0"), target = *cluster.find_place("node1/gpu0");

  explicit Surroundings(bool pull, std::uint32_t rails = 1)
      : cluster(test::rail_cluster(2, rails)) {
    RoutePlan plan;
    plan.order = {RouteKind::rdma};
    plan.pull = pull;
    RouteCosts& costs = plan.costs[static_cast<std::size_t>(RouteKind::rdma)];
    costs.max_pieces = 300;  // their list is longer than a datagram
    const std::vector<std::pair<PlaceId, PlaceId>> pair = {{source, target}};
    requests = plan_channels(cluster, pair, plan)->requests;
  }
};

constexpr Bytes segment_bytes = 24 * MiB;

/// Chunks of many sizes; together they go around the ring.
std::vector<std::vector<Descriptor>> chunks_of_a_run() {
  std::vector<std::vector<Descriptor>> chunks;
  Bytes at = 0;
  for (std::uint32_t c = 0; c < 24; ++c) {
    auto& pieces = chunks.emplace_back();
    const std::uint32_t count = c % 3 == 0 ? 300 : c % 3;
    for (std::uint32_t p = 0; p < count; ++p) {
      const Bytes length = c % 3 == 0 ? 700 + p : 700'000 + c;
      pieces.push_back({at, segment_bytes - at - length, length});
      at += length;
    }
  }
  check(at <= segment_bytes, "the segments are too small");
  return chunks;
}

/// One of the two processes: the owner posts, and tells the other one when all has ended.
void take_part(std::uint32_t rank, Exchange& exchange, bool pull, bool staged_here,
               std::vector<Completion>& completions, std::vector<std::byte>& bytes,
               std::string& description) {
  const Surroundings setup(pull);
  Options options;
  const auto names = device_names();
  options.nics = {names.front(), names[names.size() / 2]};
  options.exchange = &exchange;
  options.rank_of_node = {0, 1};
  if (staged_here) options.devices = std::make_shared<HostDevices>();
  const auto backend = make_backend(options);
  const auto numbers = backend->open(setup.cluster, setup.requests);
  ASSERT_TRUE(numbers) << numbers.error().message;
  const auto from = backend->register_segment(setup.source, segment_bytes);
  ASSERT_TRUE(from) << from.error().message;
  const auto to = backend->register_segment(setup.target, segment_bytes);
  ASSERT_TRUE(to) << to.error().message;
  backend->fill(rank == 0 ? *from : *to, 0, segment_bytes, 5 + rank);
  const auto started = backend->start();
  ASSERT_TRUE(started) << started.error().message;
  const auto chunks = chunks_of_a_run();
  const bool owns = rank == (pull ? 1u : 0u);
  if (owns)
    for (const auto& pieces : chunks) {
      ChunkPost post;
      post.chunk = static_cast<ChunkId>(&pieces - chunks.data() + 1);
      post.source_segment = *from;
      post.target_segment = *to;
      post.piece_count = static_cast<std::uint32_t>(pieces.size());
      post.piece = pieces.front();
      post.pieces = pieces.data();
      for (const Descriptor& piece : pieces) post.bytes += piece.length;
      backend->post(0, {&post, 1});
    }
  bool ended = false;
  const TimeNs deadline = backend->now() + 60 * s_ns;
  while (!ended && backend->now() < deadline) {
    BackendEvents events;
    backend->wait(backend->now() + s_ns);
    backend->progress(events);
    completions.insert(completions.end(), events.completions.begin(), events.completions.end());
    if (owns && completions.size() == chunks.size()) {
      backend->send({.from = rank, .to = 1 - rank, .kind = 20});
      // The message has to leave.
      backend->wait(backend->now() + 200 * ms_ns);
      ended = true;
    }
    if (!owns && !events.messages.empty()) ended = true;
  }
  EXPECT_TRUE(ended);
  if (rank == 1) {
    bytes.resize(segment_bytes);
    backend->read(*to, 0, bytes);
  }
  description = backend->description();
}

class StagedProcesses : public ::testing::TestWithParam<std::tuple<bool, bool, bool>> {};

TEST_P(StagedProcesses, EveryByteArrivesAtItsPlace) {
  if (const std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
  if (device_names().size() < 2) GTEST_SKIP() << "one RDMA device: two are needed";
  const auto [pull, staged0, staged1] = GetParam();
  Mailboxes boxes;
  ThreadExchange first(boxes, 0), second(boxes, 1);
  std::vector<Completion> completions[2];
  std::vector<std::byte> bytes[2];
  std::string descriptions[2];
  std::thread other([&, pull = pull, staged = staged1] {
    take_part(1, second, pull, staged, completions[1], bytes[1], descriptions[1]);
  });
  take_part(0, first, pull, staged0, completions[0], bytes[0], descriptions[0]);
  other.join();

  const auto chunks = chunks_of_a_run();
  const auto& seen = completions[pull ? 1 : 0];
  ASSERT_EQ(seen.size(), chunks.size());
  for (const Completion& completion : seen) EXPECT_EQ(completion.outcome, Outcome::ok);
  std::vector<std::byte> source(segment_bytes), expected(segment_bytes);
  fill_pattern(source, 5);
  fill_pattern(expected, 6);
  for (const auto& pieces : chunks)
    for (const Descriptor& piece : pieces)
      std::copy_n(source.begin() + static_cast<std::ptrdiff_t>(piece.source_offset), piece.length,
                  expected.begin() + static_cast<std::ptrdiff_t>(piece.target_offset));
  EXPECT_TRUE(bytes[1] == expected);
  const std::string said =
      "staged through pinned host memory (no dma-buf: the test's device "
      "exports none; no nvidia-peermem: the test's device has no such module)";
  EXPECT_EQ(descriptions[0].find(said) != std::string::npos, staged0) << descriptions[0];
  EXPECT_EQ(descriptions[1].find(said) != std::string::npos, staged1) << descriptions[1];
}

INSTANTIATE_TEST_SUITE_P(
    Ends, StagedProcesses,
    ::testing::Values(std::tuple(false, true, true), std::tuple(false, true, false),
                      std::tuple(false, false, true), std::tuple(true, true, true),
                      std::tuple(true, true, false), std::tuple(true, false, true)));

/// One process with both nodes, on the first two devices.
class DeviceMemoryWays : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
    if (device_names().size() < 2) GTEST_SKIP() << "one RDMA device: two are needed";
  }
  /// Every NIC of a node is the same port.
  void open(HostDeviceOptions device_options, std::uint32_t rails = 1) {
    surroundings_.emplace(false, rails);
    const Surroundings& setup = *surroundings_;
    Options options;
    const auto names = device_names();
    for (const std::string& name : {names.front(), names[names.size() / 2]})
      options.nics.insert(options.nics.end(), rails, name);
    options.devices = std::make_shared<HostDevices>(std::move(device_options));
    backend_ = make_backend(options);
    const auto numbers = backend_->open(setup.cluster, setup.requests);
    ASSERT_TRUE(numbers) << numbers.error().message;
    for (const PlaceId place : {setup.source, setup.target}) {
      const auto segment = backend_->register_segment(place, segment_bytes);
      ASSERT_TRUE(segment) << segment.error().message;
      segments_.push_back(*segment);
    }
  }

  std::optional<Surroundings> surroundings_;
  std::unique_ptr<Backend> backend_;
  std::vector<SegmentId> segments_;
};

/// As a scenario says it, by `gpudirect` of its nodes: the other end's segment is registered, and
/// no byte passes through host memory there.
TEST_F(DeviceMemoryWays, ARouteIsStagedAtTheSideThatHasToBe) {
  for (const bool at_source : {true, false}) {
    ClusterSpec spec;
    spec.nodes.assign(2, {test::rail_node(1), 0, false});
    spec.nodes[at_source ? 0 : 1].spec.gpudirect = false;
    const Cluster cluster = *build_cluster(spec);
    const PlaceId ends[] = {*cluster.find_place("node0/gpu0"), *cluster.find_place("node1/gpu0")};
    RoutePlan plan;
    plan.order = {RouteKind::rdma_staged};
    const std::vector<std::pair<PlaceId, PlaceId>> pair = {{ends[0], ends[1]}};
    const auto requests = plan_channels(cluster, pair, plan)->requests;
    Options options;
    const auto names = device_names();
    options.nics = {names.front(), names[names.size() / 2]};
    const auto backend = make_backend(options);
    const auto numbers = backend->open(cluster, requests);
    ASSERT_TRUE(numbers) << numbers.error().message;
    EXPECT_EQ(numbers->front().stages, 2u);
    for (const PlaceId end : ends) ASSERT_TRUE(backend->register_segment(end, segment_bytes));
    const std::string text = backend->description();
    const std::string here = at_source ? "; node0/gpu0 on " + names.front()
                                       : "; node1/gpu0 on " + names[names.size() / 2];
    EXPECT_NE(text.find(here + ":1: staged through pinned host memory (the route is staged here)"),
              std::string::npos)
        << text;
    EXPECT_EQ(text.find(" on ", text.find(here) + here.size()), std::string::npos) << text;
    EXPECT_NE(text.find("registered 24 MiB"), std::string::npos) << text;
  }
}

/// The file is no dma-buf. A driver that takes such files refuses it as well.
TEST_F(DeviceMemoryWays, ARefusedDmaBufIsSaidAndTheNextWayIsTaken) {
  open({.exports = true, .peer_memory = ""});
  const std::string text = backend_->description();
  EXPECT_NE(text.find("nvidia-peermem (no dma-buf: ibv_reg_dmabuf_mr"), std::string::npos) << text;
  EXPECT_EQ(text.find("staged"), std::string::npos) << text;
}

TEST_F(DeviceMemoryWays, OneRegistrationForEveryProtectionDomain) {
  open({.exports = false, .peer_memory = ""}, 2);
  EXPECT_NE(backend_->description().find("registered 48 MiB"), std::string::npos)
      << backend_->description();
}

/// Chunks end, none of them as landed, and the channel stays down.
TEST_F(DeviceMemoryWays, ALostDeviceTakesItsChannelDown) {
  open({.lost_after_jobs = 2});
  for (ChunkId chunk = 1; chunk <= 8; ++chunk) {
    ChunkPost post;
    post.chunk = chunk;
    post.source_segment = segments_[0];
    post.target_segment = segments_[1];
    post.bytes = 100'000;
    post.piece_count = 1;
    post.piece = {chunk * 100'000, chunk * 100'000, 100'000};
    backend_->post(0, {&post, 1});
  }
  BackendEvents events;
  const TimeNs deadline = backend_->now() + 20 * s_ns;
  while (events.completions.size() < 8 && backend_->now() < deadline) {
    backend_->wait(deadline);
    backend_->progress(events);
  }
  ASSERT_EQ(events.completions.size(), 8u);
  std::size_t landed = 0;
  for (const Completion& completion : events.completions)
    landed += completion.outcome == Outcome::ok;
  EXPECT_LE(landed, 2u);
  ASSERT_EQ(events.changes.size(), 1u);
  EXPECT_FALSE(events.changes[0].up);
  EXPECT_NE(backend_->description().find("the test's device is lost"), std::string::npos)
      << backend_->description();
}

}  // namespace
}  // namespace kvhaul::verbs
