// Memory of another process: a child of this test holds it (main.cpp), over CUDA IPC.
#include <algorithm>
#include <chrono>
#include <sys/socket.h>
#include <thread>

#include <gtest/gtest.h>

#include "backends/cuda/cuda.h"
#include "backends/cuda/peer_messages.h"
#include "core/runtime.h"
#include "tests/cuda/holder.h"
#include "tests/support/gpu_cluster.h"

namespace kvhaul::test {
namespace {

constexpr Bytes segment_bytes = 64 * MiB;

/// Asks for transfers one after the other until it is told to stop or one is not delivered.
class Sender final : public RuntimeClient {
 public:
  Sender(Runtime& runtime, PairHandle pair, SegmentId from, SegmentId to)
      : runtime_(runtime), pair_(pair), from_(from), to_(to) {}

  TimeNs next_ns() const override { return open_ || stop ? never_ns : 0; }
  void run(TimeNs now) override {
    const Descriptor piece{0, 0, segment_bytes};
    TransferRequest request;
    request.source_segment = from_;
    request.target_segment = to_;
    request.descriptors = {&piece, 1};
    runtime_.submit(now, pair_, request);
    open_ = true;
  }
  void transfer_ended(TimeNs, const TransferEnd& end) override {
    open_ = false;
    outcomes.push_back(end.outcome);
    if (end.outcome != TransferOutcome::delivered) stop = true;
    if (on_delivered) on_delivered();
  }
  void message(TimeNs, const ControlMessage&) override {}
  bool done() const override { return stop; }

  bool stop = false;
  std::vector<TransferOutcome> outcomes;
  std::function<void()> on_delivered;

 private:
  Runtime& runtime_;
  PairHandle pair_;
  SegmentId from_, to_;
  bool open_ = false;
};

class CudaTwoProcesses : public ::testing::TestWithParam<RouteKind> {
 protected:
  void SetUp() override {
    if (const std::string why = cuda::missing(); !why.empty()) GTEST_SKIP() << why;
    cluster_ = two_gpu_cluster();
    requests_ = channel_between(cluster_, "node0/gpu0", "node0/gpu1", GetParam());
    backend_ = cuda::make_backend({.devices = {0, 0}, .held_by = {{"node0/gpu1", holder_.path()}}});
    auto numbers = backend_->open(cluster_, requests_);
    ASSERT_TRUE(numbers) << numbers.error().message;
    numbers_ = *numbers;
    from_ = *backend_->register_segment(*cluster_.find_place("node0/gpu0"), segment_bytes);
    const auto to = backend_->register_segment(*cluster_.find_place("node0/gpu1"), segment_bytes);
    ASSERT_TRUE(to) << to.error().message;
    to_ = *to;
  }
  std::unique_ptr<Runtime> runtime(TimeNs stall_timeout_ns) {
    SchedulerConfig config;
    config.stall_timeout_ns = stall_timeout_ns;
    const std::vector<std::uint32_t> tiers(requests_.size(), 0);
    return std::make_unique<Runtime>(
        *backend_, make_setups(cluster_, requests_, tiers, numbers_, config), nullptr);
  }

  Holder holder_;
  Cluster cluster_;
  std::vector<ChannelRequest> requests_;
  std::unique_ptr<Backend> backend_;
  std::vector<ChannelNumbers> numbers_;
  SegmentId from_ = 0, to_ = 0;
};

TEST_P(CudaTwoProcesses, BytesArriveInTheOtherProcessesMemory) {
  auto runtime = this->runtime(1 * s_ns);
  backend_->fill(from_, 0, segment_bytes, 3);
  backend_->fill(to_, 0, segment_bytes, 4);
  Sender sender(*runtime, *runtime->find_pair(requests_[0].route.source, requests_[0].route.target),
                from_, to_);
  sender.on_delivered = [&] { sender.stop = sender.outcomes.size() == 3; };
  ASSERT_TRUE(runtime->run(sender));
  EXPECT_EQ(sender.outcomes, std::vector(3, TransferOutcome::delivered));
  EXPECT_EQ(backend_->checksum(from_, 0, segment_bytes), backend_->checksum(to_, 0, segment_bytes));
  backend_.reset();
  EXPECT_EQ(holder_.wait_for_end(), 0);  // it saw that we left
}

TEST_P(CudaTwoProcesses, WhenTheOtherDiesTransfersFailWithinTheTimeout) {
  constexpr TimeNs timeout = 300 * ms_ns;
  auto runtime = this->runtime(timeout);
  Sender sender(*runtime, *runtime->find_pair(requests_[0].route.source, requests_[0].route.target),
                from_, to_);
  TimeNs killed = 0;
  sender.on_delivered = [&] {
    if (sender.outcomes.size() != 5) return;
    holder_.kill();
    killed = backend_->now();
  };
  ASSERT_TRUE(runtime->run(sender));  // it comes to its end
  ASSERT_FALSE(sender.outcomes.empty());
  EXPECT_EQ(sender.outcomes.back(), TransferOutcome::no_route);
  // No timed assertion beyond the promise: the timeout, and what a busy machine may add.
  EXPECT_LT(backend_->now() - killed, timeout + 5 * s_ns);
  EXPECT_NE(backend_->description().find("is gone"), std::string::npos) << backend_->description();
}

INSTANTIATE_TEST_SUITE_P(Routes, CudaTwoProcesses,
                         ::testing::Values(RouteKind::nvlink_copy, RouteKind::nvlink_load_store,
                                           RouteKind::handoff),
                         [](const auto& info) { return std::string(route_kind_name(info.param)); });

TEST(CudaHolder, NobodyThereIsSaid) {
  if (const std::string why = cuda::missing(); !why.empty()) GTEST_SKIP() << why;
  const Cluster cluster = two_gpu_cluster();
  const auto requests =
      channel_between(cluster, "node0/gpu0", "node0/gpu1", RouteKind::nvlink_copy);
  const auto backend = cuda::make_backend(
      {.devices = {0, 0}, .held_by = {{"node0/gpu1", "/nonexistent/socket"}}, .patience_ns = 0});
  const auto numbers = backend->open(cluster, requests);
  ASSERT_FALSE(numbers);
  EXPECT_EQ(numbers.error().kind, ErrorKind::missing);
  EXPECT_NE(numbers.error().message.find("/nonexistent/socket"), std::string::npos);
}

/// What a holder of this version answers to these bytes, and how it ends.
void expect_refusal(std::span<const std::byte> bytes, const std::string& expected) {
  Holder holder;
  const auto address = cuda::socket_address(holder.path());
  ASSERT_TRUE(address);
  OwnedFd fd;
  bool connected = false;
  for (int i = 0; i < 1000 && !connected; ++i) {
    fd = OwnedFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    connected =
        connect(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) == 0;
    if (!connected) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ASSERT_TRUE(connected);
  ASSERT_EQ(send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(bytes.size()));
  cuda::PeerConnection connection(std::move(fd), cuda::PeerSide::holder);
  std::string refusal;
  while (refusal.empty() && !connection.ended()) {
    connection.wait(-1);
    const auto message = connection.receive();
    ASSERT_TRUE(message) << message.error().message;
    if (!*message) continue;
    EXPECT_EQ((*message)->kind, cuda::PeerMessageKind::refused);
    for (std::size_t i = 0; i < (*message)->count; ++i) refusal += (*message)->item<char>(i);
  }
  EXPECT_NE(refusal.find(expected), std::string::npos) << refusal;
  EXPECT_EQ(holder.wait_for_end(), 1);
}

TEST(CudaHolder, WhatIsWrongIsSaidToBothSides) {
  if (const std::string why = cuda::missing(); !why.empty()) GTEST_SKIP() << why;
  const std::uint64_t earlier_version[] = {cuda::peer_protocol - 1, MiB};
  expect_refusal(std::as_bytes(std::span(earlier_version)), "no message of this version");
  // A range of memory that was never held.
  struct {
    cuda::PeerHeader header{cuda::peer_protocol, cuda::PeerMessageKind::checksum, 1};
    cuda::MemoryRange range{0, 0, 8};
  } const unknown;
  expect_refusal(std::as_bytes(std::span(&unknown, 1)), "lies in no memory");
}

}  // namespace
}  // namespace kvhaul::test
