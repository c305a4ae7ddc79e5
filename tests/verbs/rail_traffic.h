// Traffic over RDMA rails that checks every byte: for tests that take a rail away while it flows.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/channel_plan.h"
#include "core/runtime.h"
#include "tests/support/setups.h"

namespace kvhaul::test {

/// Two nodes with one GPU, and that many rails between them of that rate.
inline Cluster slow_rails(std::uint32_t rails, double bytes_per_s) {
  NodeSpec node = rail_node(rails);
  for (NodeSpec::Nic& nic : node.nics) nic.wire = {bytes_per_s, bytes_per_s, 0};
  ClusterSpec spec;
  spec.nodes.assign(2, {node, 0, false});
  return *build_cluster(spec);
}

/// One queue pair on each rail from node0/gpu0 to node1/gpu0.
inline ChannelPlan one_queue_each(const Cluster& cluster) {
  const std::vector<std::pair<PlaceId, PlaceId>> pair = {
      {*cluster.find_place("node0/gpu0"), *cluster.find_place("node1/gpu0")}};
  RoutePlan plan;
  plan.order = {RouteKind::rdma};
  auto planned = plan_channels(cluster, pair, plan);
  check(static_cast<bool>(planned), "no rails between the nodes");
  return std::move(*planned);
}

/// Keeps transfers of one chunk each under way. Each goes from a place of its own to one of its
/// own, which holds the same bytes afterwards; then that is filled with others, which have to be
/// there still when its turn comes again: nothing may be written late.
class RailTraffic final : public RuntimeClient {
 public:
  static constexpr Bytes chunk_bytes = 64 * KiB;
  static constexpr std::uint32_t slots = 32;

  RailTraffic(Backend& backend, SegmentId from, SegmentId to)
      : backend_(backend), from_(from), to_(to) {
    for (std::uint32_t slot = 0; slot < slots; ++slot) {
      backend_.fill(from_, slot * chunk_bytes, chunk_bytes, slot);
      sums_.push_back(backend_.checksum(from_, slot * chunk_bytes, chunk_bytes));
      spoil(slot);
      free_.push_back(slot);
    }
  }

  /// `step` is called after every event; when it returns false no more is asked for.
  Result<void> run(Runtime& runtime, std::function<bool(TimeNs)> step) {
    runtime_ = &runtime;
    step_ = std::move(step);
    stopping_ = false;
    return runtime.run(*this);
  }

  std::vector<TransferEnd> ends;
  std::vector<NodeId> lost;
  /// By channel, of chunks that have ended, probes left out: the last post, and the last landing.
  std::map<ChannelId, TimeNs> posted_ns, landed_ns;
  std::map<ChannelId, TimeNs> lost_ns;  // the first that has not landed has ended
  std::size_t wrong = 0;  // transfers that were delivered, and whose bytes are not there
  std::size_t late = 0;   // places that something was written to after their transfer had ended

  /// Whether every place holds what it was filled with last.
  bool nothing_came_late() {
    for (std::uint32_t slot = 0; slot < slots; ++slot) look_for_late_bytes(slot);
    return late == 0;
  }

  TimeNs next_ns() const override { return stopping_ ? never_ns : next_ns_; }
  void run(TimeNs now) override {
    if (!step_(now)) stopping_ = true;
    next_ns_ = now + ms_ns;
    while (!stopping_ && !free_.empty()) {
      const std::uint32_t slot = free_.back();
      free_.pop_back();
      look_for_late_bytes(slot);
      const Descriptor piece = {slot * chunk_bytes, slot * chunk_bytes, chunk_bytes};
      const PairHandle pair = {0, 0};
      TransferRequest request;
      request.source_segment = from_;
      request.target_segment = to_;
      request.tag = slot;
      request.descriptors = {&piece, 1};
      runtime_->submit(now, pair, request);
    }
  }
  void chunks_ended(std::span<const Completion> completions) override {
    for (const Completion& chunk : completions) {
      posted_ns[chunk.channel] = std::max(posted_ns[chunk.channel], chunk.posted_ns);
      if (chunk.outcome == Outcome::ok)
        landed_ns[chunk.channel] = chunk.done_ns;
      else
        lost_ns.emplace(chunk.channel, chunk.done_ns);
    }
  }
  void transfer_ended(TimeNs, const TransferEnd& end) override {
    const auto slot = static_cast<std::uint32_t>(end.tag);
    if (end.outcome == TransferOutcome::delivered && sum_at(slot) != sums_[slot]) ++wrong;
    spoil(slot);
    free_.insert(free_.begin(), slot);
    ends.push_back(end);
    next_ns_ = 0;
  }
  void message(TimeNs, const ControlMessage&) override {}
  void node_lost(TimeNs, NodeId node) override {
    lost.push_back(node);
    stopping_ = true;
  }
  bool done() const override { return stopping_; }

 private:
  std::uint64_t sum_at(std::uint32_t slot) {
    return backend_.checksum(to_, slot * chunk_bytes, chunk_bytes);
  }
  void spoil(std::uint32_t slot) {
    backend_.fill(to_, slot * chunk_bytes, chunk_bytes, slots + slot);
    spoilt_.resize(slots);
    spoilt_[slot] = sum_at(slot);
  }
  void look_for_late_bytes(std::uint32_t slot) {
    if (sum_at(slot) != spoilt_[slot]) ++late;
  }

  Backend& backend_;
  SegmentId from_, to_;
  Runtime* runtime_ = nullptr;
  std::function<bool(TimeNs)> step_;
  std::vector<std::uint64_t> sums_, spoilt_;  // by slot
  std::vector<std::uint32_t> free_;
  TimeNs next_ns_ = 0;
  bool stopping_ = false;
};

}  // namespace kvhaul::test
