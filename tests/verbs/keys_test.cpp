// Keys open what they are for, in one direction, for one peer, and nothing else: what a process is
// told, and what becomes of a chunk that comes with another key. Needs the rails of
// tests/softroce/rails.sh, or two RDMA devices that reach each other.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "backends/verbs/memory.h"
#include "backends/verbs/queue_pair.h"
#include "backends/verbs/verbs.h"
#include "backends/verbs/wire_text.h"
#include "core/channel_plan.h"
#include "tests/support/setups.h"
#include "tests/verbs/thread_exchange.h"

namespace kvhaul::verbs {
namespace {

constexpr Bytes segment_bytes = 1 * MiB;
constexpr Bytes chunk_bytes = 64 * KiB;

std::string no_devices() {
  if (std::string why = missing(); !why.empty()) return why;
  return device_names().size() < 2 ? "one RDMA device: two are needed" : "";
}
std::string first_device() { return device_names().front(); }
std::string far_device() { return device_names()[device_names().size() / 2]; }

/// A key as one process tells it to another.
struct Told {
  SegmentId segment = 0;
  MemoryUse use;
  std::uint64_t address = 0;
  Bytes bytes = 0;
  std::uint32_t keys = 1;
  std::uint32_t key = 0;
};

/// The keys in what a process says for another one; no staging buffers, and one slice.
std::vector<Told> keys_in(std::string_view text) {
  std::uint64_t buffers = 1;
  EXPECT_TRUE(take(text, buffers));
  EXPECT_EQ(buffers, 0u);
  std::vector<Told> all;
  while (!text.empty()) {
    Told& told = all.emplace_back();
    const bool whole = take(text, told.segment) && take(text, told.use.nic) &&
                       take(text, told.use.peer) && take(text, told.use.access) &&
                       take(text, told.address) && take(text, told.bytes) &&
                       take(text, told.keys) && take(text, told.key);
    EXPECT_TRUE(whole && told.keys == 1);
    if (!whole) break;
  }
  return all;
}
std::string text_of(const std::vector<Told>& keys) {
  std::string text;
  put(text, std::uint64_t{0});
  for (const Told& told : keys) {
    put(text, told.segment);
    put(text, told.use.nic);
    put(text, told.use.peer);
    put(text, told.use.access);
    put(text, told.address);
    put(text, told.bytes);
    put(text, told.keys);
    put(text, told.key);
  }
  return text;
}

/// Process 0's exchange: what process 1 tells of keys is written down, and changed on the way.
class Changing final : public test::ThreadExchange {
 public:
  using Change = std::function<void(std::vector<Told>&)>;
  Changing(test::Mailboxes& boxes, Change change)
      : ThreadExchange(boxes, 0), change_(std::move(change)) {}

  Result<std::string> receive(std::uint32_t from) override {
    auto text = ThreadExchange::receive(from);
    if (!text || ++received_ != of_keys) return text;
    const auto lists = texts_in(*text);
    told = keys_in(lists[0]);
    std::vector<Told> changed = told;
    change_(changed);
    return with_length(text_of(changed)) + with_length(lists[1]);
  }
  Result<void> send(std::uint32_t to, std::string_view bytes) override {
    if (++sent_ == of_keys) own = keys_in(texts_in(bytes)[0]);
    return ThreadExchange::send(to, bytes);
  }

  std::vector<Told> told;  // by process 1 to process 0
  std::vector<Told> own;   // the other way

 private:
  /// Before it come the datagrams' key and the addresses.
  static constexpr int of_keys = 3;

  static std::string with_length(std::string_view text) {
    std::string out;
    put(out, std::uint64_t{text.size()});
    return out.append(text);
  }
  static std::vector<std::string> texts_in(std::string_view all) {
    std::vector<std::string> texts;
    for (std::uint64_t bytes = 0; take(all, bytes); all.remove_prefix(bytes))
      texts.emplace_back(all.substr(0, bytes));
    EXPECT_EQ(texts.size(), 2u);
    texts.resize(2);
    return texts;
  }

  Change change_;
  int received_ = 0, sent_ = 0;
};

/// Two nodes of process 0 push to one of process 1, and the first pulls from it, too.
struct ThreeNodes {
  Cluster cluster = test::rail_cluster(3, 1);
  std::vector<ChannelRequest> requests;
  std::vector<PlaceId> places;

  static constexpr ChannelId push = 0, push_of_other = 1, pull = 2;
  // Segments: one at each of the first nodes, two at the third.
  static constexpr SegmentId here = 0, at_other = 1, there = 2, there_too = 3;

  ThreeNodes() {
    for (const char* name : {"node0/gpu0", "node1/gpu0", "node2/gpu0", "node2/gpu0"})
      places.push_back(*cluster.find_place(name));
    for (const bool pulls : {false, true}) {
      std::vector<std::pair<PlaceId, PlaceId>> pairs = {{places[0], places[2]},
                                                        {places[1], places[2]}};
      if (pulls) pairs = {{places[2], places[0]}};
      RoutePlan plan;
      plan.order = {RouteKind::rdma};
      plan.pull = pulls;
      const auto planned = plan_channels(cluster, pairs, plan);
      requests.insert(requests.end(), planned->requests.begin(), planned->requests.end());
    }
  }

  std::unique_ptr<Backend> registered(Exchange& exchange) const {
    Options options;
    options.nics = {first_device(), first_device(), far_device()};
    options.exchange = &exchange;
    options.rank_of_node = {0, 0, 1};
    auto backend = make_backend(options);
    const auto numbers = backend->open(cluster, requests);
    EXPECT_TRUE(numbers) << numbers.error().message;
    if (!numbers) return nullptr;
    for (std::size_t s = 0; s < places.size(); ++s) {
      const auto segment = backend->register_segment(places[s], segment_bytes);
      EXPECT_TRUE(segment) << segment.error().message;
      if (!segment) return nullptr;
      if ((exchange.rank() == 0) == (s < 2)) backend->fill(*segment, 0, segment_bytes, 100 + s);
    }
    return backend;
  }
  std::unique_ptr<Backend> start(Exchange& exchange) const {
    auto backend = registered(exchange);
    const auto started = backend ? backend->start() : Error::failed("not registered");
    EXPECT_TRUE(started) << started.error().message;
    return started ? std::move(backend) : nullptr;
  }
};

struct KeyCase {
  std::string name;
  ChannelId channel;
  SegmentId source, target;  // of the chunk with that key
  /// The key that a chunk needs, and what it gets in its place.
  std::function<std::uint32_t(const std::vector<Told>&, std::uint32_t)> other;
};
void PrintTo(const KeyCase& c, std::ostream* out) { *out << c.name; }

std::uint32_t key_of(const std::vector<Told>& told, SegmentId segment, NodeId peer, Access access) {
  for (const Told& key : told)
    if (key.segment == segment && key.use.peer == peer && key.use.access == access) return key.key;
  ADD_FAILURE() << "no such key was told";
  return 0;
}

class WrongKeys : public ::testing::TestWithParam<KeyCase> {};

TEST_P(WrongKeys, MoveNothingAndTheRunGoesOn) {
  if (const std::string why = no_devices(); !why.empty()) GTEST_SKIP() << why;
  const KeyCase& wrong = GetParam();
  const ThreeNodes nodes;
  const bool pull = wrong.channel == ThreeNodes::pull;
  const SegmentId region = pull ? wrong.source : wrong.target;
  const NodeId peer = wrong.channel == ThreeNodes::push_of_other ? 1 : 0;
  test::Mailboxes boxes;
  Changing exchange(boxes, [&](std::vector<Told>& keys) {
    for (Told& key : keys)
      if (key.segment == region && key.use.peer == peer &&
          key.use.access == (pull ? Access::remote_read : Access::remote_write)) {
        const std::uint32_t right = key.key;
        key.key = wrong.other(keys, right);
        EXPECT_NE(key.key, right);
      }
  });

  std::uint64_t before[2] = {}, after[2] = {};  // of process 1's segments
  std::thread other([&] {
    test::ThreadExchange exchange(boxes, 1);
    const auto backend = nodes.start(exchange);
    if (!backend) return;
    for (SegmentId s = 0; s < 2; ++s)
      before[s] = backend->checksum(ThreeNodes::there + s, 0, segment_bytes);
    BackendEvents events;
    const TimeNs deadline = backend->now() + 60 * s_ns;
    while (events.messages.empty() && backend->now() < deadline) {
      backend->wait(backend->now() + 100 * ms_ns);
      backend->progress(events);
    }
    EXPECT_FALSE(events.messages.empty());
    for (SegmentId s = 0; s < 2; ++s)
      after[s] = backend->checksum(ThreeNodes::there + s, 0, segment_bytes);
  });

  const auto backend = nodes.start(exchange);
  ASSERT_NE(backend, nullptr);
  const std::uint64_t here = backend->checksum(ThreeNodes::here, 0, segment_bytes);
  const auto move = [&](ChunkId chunk, SegmentId source, SegmentId target) {
    ChunkPost post;
    post.chunk = chunk;
    post.source_segment = source;
    post.target_segment = target;
    post.bytes = chunk_bytes;
    post.piece_count = 1;
    post.piece = {chunk * chunk_bytes, chunk * chunk_bytes, chunk_bytes};
    backend->post(wrong.channel, {&post, 1});
    BackendEvents events;
    const TimeNs deadline = backend->now() + 30 * s_ns;
    while (events.completions.empty() && backend->now() < deadline) {
      backend->wait(deadline);
      backend->progress(events);
    }
    EXPECT_EQ(events.completions.size(), 1u);
    EXPECT_TRUE(events.lost_nodes.empty());
    return events.completions.empty() ? Outcome::cancelled : events.completions[0].outcome;
  };
  EXPECT_EQ(move(1, wrong.source, wrong.target), Outcome::invalid);
  EXPECT_EQ(backend->checksum(ThreeNodes::here, 0, segment_bytes), here);
  EXPECT_NE(backend->description().find("queue pairs broken by remote access error: 1"),
            std::string::npos)
      << backend->description();
  // By the same channel, to or from the other region, whose keys are as they should be.
  EXPECT_EQ(move(2, pull ? ThreeNodes::there_too : wrong.source,
                 pull ? wrong.target : ThreeNodes::there_too),
            Outcome::ok);
  if (pull) {
    EXPECT_NE(backend->checksum(ThreeNodes::here, 0, segment_bytes), here);
  }
  backend->send({.from = 0, .to = 2, .kind = 20});
  backend->wait(backend->now() + 200 * ms_ns);  // the message has to leave
  other.join();
  EXPECT_EQ(after[0], before[0]);
  EXPECT_EQ(after[1] == before[1], pull);
}

using Nodes = ThreeNodes;
INSTANTIATE_TEST_SUITE_P(
    Verbs, WrongKeys,
    ::testing::Values(KeyCase{"NeverGiven", Nodes::push, Nodes::here, Nodes::there,
                              [](const auto&, std::uint32_t right) { return right ^ 0x7fff00; }},
                      KeyCase{"OfThatRegionBefore", Nodes::push, Nodes::here, Nodes::there,
                              [](const auto&, std::uint32_t right) { return right ^ 1; }},
                      KeyCase{"OfAnotherRegion", Nodes::push, Nodes::here, Nodes::there,
                              [](const auto& told, std::uint32_t) {
                                return key_of(told, Nodes::there_too, 0, Access::remote_write);
                              }},
                      KeyCase{"ForReading", Nodes::push, Nodes::here, Nodes::there,
                              [](const auto& told, std::uint32_t) {
                                return key_of(told, Nodes::there, 0, Access::remote_read);
                              }},
                      KeyCase{"ForWriting", Nodes::pull, Nodes::there, Nodes::here,
                              [](const auto& told, std::uint32_t) {
                                return key_of(told, Nodes::there, 0, Access::remote_write);
                              }},
                      KeyCase{"OfAnotherPeer", Nodes::push, Nodes::here, Nodes::there,
                              [](const auto& told, std::uint32_t) {
                                return key_of(told, Nodes::there, 1, Access::remote_write);
                              }},
                      KeyCase{"OfAnotherPeerToo", Nodes::push_of_other, Nodes::at_other,
                              Nodes::there,
                              [](const auto& told, std::uint32_t) {
                                return key_of(told, Nodes::there, 0, Access::remote_write);
                              }}),
    [](const auto& info) { return info.param.name; });

TEST(ToldKeys, AreThoseThatAPeerNeeds) {
  if (const std::string why = no_devices(); !why.empty()) GTEST_SKIP() << why;
  const ThreeNodes nodes;
  test::Mailboxes boxes;
  Changing exchange(boxes, [](auto&) {});
  std::thread other([&] {
    test::ThreadExchange exchange(boxes, 1);
    nodes.start(exchange);
  });
  const auto backend = nodes.start(exchange);
  other.join();
  // Nobody reads or writes what process 0 pushes from and pulls into.
  EXPECT_TRUE(exchange.own.empty());
  std::vector<std::tuple<SegmentId, NodeId, Access>> uses;
  std::vector<std::uint32_t> keys;
  for (const Told& told : exchange.told) {
    uses.emplace_back(told.segment, told.use.peer, told.use.access);
    keys.push_back(told.key);
  }
  std::sort(uses.begin(), uses.end());
  EXPECT_EQ(uses, (std::vector<std::tuple<SegmentId, NodeId, Access>>{
                      {ThreeNodes::there, 0, Access::remote_read},
                      {ThreeNodes::there, 0, Access::remote_write},
                      {ThreeNodes::there, 1, Access::remote_write},
                      {ThreeNodes::there_too, 0, Access::remote_read},
                      {ThreeNodes::there_too, 0, Access::remote_write},
                      {ThreeNodes::there_too, 1, Access::remote_write}}));
  std::sort(keys.begin(), keys.end());
  EXPECT_EQ(std::unique(keys.begin(), keys.end()), keys.end());
}

/// A process that tells keys of the other one's memory would have that write where it wants.
TEST(ToldKeys, OfOnesOwnMemoryAreRefused) {
  if (const std::string why = no_devices(); !why.empty()) GTEST_SKIP() << why;
  const ThreeNodes nodes;
  test::Mailboxes boxes;
  test::ThreadExchange exchange(boxes, 0);
  std::thread other([&] {
    test::ThreadExchange exchange(boxes, 1);
    const auto backend = nodes.registered(exchange);
    ASSERT_TRUE(backend != nullptr);
    ASSERT_TRUE(all_to_all(
        exchange,
        {text_of({{ThreeNodes::here, {2, 0, Access::remote_write}, 0, segment_bytes, 1, 7}}), ""}));
  });
  const auto backend = nodes.registered(exchange);
  ASSERT_NE(backend, nullptr);
  const auto started = backend->start();
  other.join();
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().message, "another process has told keys of a segment of this one");
}

/// What comes back for a request of no bytes, which no key can allow or forbid.
std::optional<ibv_wc_status> status_of(Access near, Access far, bool far_asks, ibv_wr_opcode what) {
  auto a = open_port({first_device(), 1, {}}), b = open_port({far_device(), 1, {}});
  if (!a || !b || !make_completion_queue(**a, 16) || !make_completion_queue(**b, 16)) return {};
  auto first = QueuePair::make(**a, {*(*a)->domain_of(no_id), near}, {4, 1, 0});
  auto second = QueuePair::make(**b, {*(*b)->domain_of(0), far}, {4, 1, 0});
  if (!first || !second || !first->connect({(*b)->address, second->number(), 7}, 9, {}) ||
      !second->connect({(*a)->address, first->number(), 9}, 7, {}))
    return {};
  ibv_send_wr request = {}, *bad = nullptr;
  request.opcode = what;
  request.send_flags = IBV_SEND_SIGNALED;
  if (ibv_post_send((far_asks ? *second : *first).get(), &request, &bad) != 0) return {};
  ibv_wc completion = {};
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (std::chrono::steady_clock::now() < until)
    if (ibv_poll_cq((far_asks ? *b : *a)->completions.get(), 1, &completion) == 1)
      return completion.status;
  return {};
}

TEST(QueuePairs, AnswerWhatTheirChannelAsksFor) {
  if (const std::string why = no_devices(); !why.empty()) GTEST_SKIP() << why;
  const auto write = IBV_WR_RDMA_WRITE, read = IBV_WR_RDMA_READ;
  EXPECT_EQ(status_of(Access::local_read, Access::remote_write, false, write), IBV_WC_SUCCESS);
  EXPECT_EQ(status_of(Access::local_write, Access::remote_read, false, read), IBV_WC_SUCCESS);
  EXPECT_EQ(status_of(Access::local_read, Access::remote_write, false, read),
            IBV_WC_REM_INV_REQ_ERR);
  EXPECT_EQ(status_of(Access::local_write, Access::remote_read, false, write),
            IBV_WC_REM_INV_REQ_ERR);
  // Nobody writes or reads through the end that posts.
  EXPECT_EQ(status_of(Access::local_read, Access::remote_write, true, write),
            IBV_WC_REM_INV_REQ_ERR);
  EXPECT_EQ(status_of(Access::local_write, Access::remote_read, true, read),
            IBV_WC_REM_INV_REQ_ERR);
}

/// Printed, not judged: what a further peer costs.
TEST(Registrations, AreOneForEachPeer) {
  if (const std::string why = no_devices(); !why.empty()) GTEST_SKIP() << why;
  constexpr Bytes bytes = 128 * MiB;
  for (const std::uint32_t peers : {1u, 2u, 4u, 8u}) {
    auto port = open_port({first_device(), 1, {}});
    ASSERT_TRUE(port) << port.error().message;
    std::map<MemoryUse, Port*> uses;
    for (NodeId peer = 0; peer < peers; ++peer) uses[{0, peer, Access::remote_write}] = port->get();
    Memory memory;
    const auto added = memory.add(0, "node0/gpu0", bytes, uses, nullptr);
    ASSERT_TRUE(added) << added.error().message;
    EXPECT_EQ(memory.registered_bytes(), peers * bytes);
    std::printf("128 MiB of host memory for %u peers: registered in %.1f ms\n", peers,
                static_cast<double>(memory.registered_in_ns()) / ms_ns);
  }
}

}  // namespace
}  // namespace kvhaul::verbs
