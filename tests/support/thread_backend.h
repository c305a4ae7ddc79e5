// Nodes of several processes that are threads of one: a chunk is a copy, a message goes into the
// other one's box, and a process that leaves is lost to the others. Real bytes, real time.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "core/backend.h"
#include "core/channel_plan.h"
#include "core/checksum.h"

namespace kvhaul::test {

/// What the processes of one run share.
struct ThreadMachine {
  explicit ThreadMachine(std::vector<std::uint32_t> ranks)
      : rank_of_node(std::move(ranks)),
        processes(*std::max_element(rank_of_node.begin(), rank_of_node.end()) + 1) {}

  struct Process {
    std::deque<ControlMessage> inbox;
    std::vector<NodeId> lost;
    bool gone = false;
  };

  /// This process is dead: nothing goes to it any more, and the others hear of it.
  void leave(std::uint32_t rank) {
    const std::lock_guard lock(mutex);
    processes[rank].gone = true;
    for (Process& process : processes)
      for (NodeId node = 0; node < rank_of_node.size(); ++node)
        if (rank_of_node[node] == rank) process.lost.push_back(node);
    wake.notify_all();
  }

  /// The two live, and do not reach each other any more.
  void part(std::uint32_t a, std::uint32_t b) {
    const std::lock_guard lock(mutex);
    if (!parted.insert(std::minmax({a, b})).second) return;
    for (NodeId node = 0; node < rank_of_node.size(); ++node) {
      if (rank_of_node[node] == a) processes[b].lost.push_back(node);
      if (rank_of_node[node] == b) processes[a].lost.push_back(node);
    }
    wake.notify_all();
  }
  bool reaches(std::uint32_t from, std::uint32_t to) const {
    return !processes[to].gone && parted.count(std::minmax({from, to})) == 0;
  }

  std::vector<std::uint32_t> rank_of_node;
  std::uint64_t damaged_chunk = 0;  // the n-th copy loses a bit on its way; 0: none

  std::mutex mutex;  // guards what follows, the bytes included
  std::condition_variable wake;
  std::vector<Process> processes;
  std::set<std::pair<std::uint32_t, std::uint32_t>> parted;  // lower one first
  std::vector<std::vector<std::byte>> segments;
  std::uint64_t copies = 0;
  const std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
};

class ThreadBackend final : public Backend {
 public:
  ThreadBackend(ThreadMachine& machine, std::uint32_t rank) : machine_(machine), rank_(rank) {}

  std::string description() const override { return "threads"; }
  bool moves_bytes() const override { return true; }
  bool drives(NodeId node) const override { return machine_.rank_of_node[node] == rank_; }

  Result<std::vector<ChannelNumbers>> open(const Cluster& cluster,
                                           std::span<const ChannelRequest> requests) override {
    std::vector<ChannelNumbers> numbers;
    for (const ChannelRequest& request : requests) {
      numbers.push_back(numbers_of(request.route, request.costs));
      const PlaceId far = request.pull ? request.route.source : request.route.target;
      far_ranks_.push_back(machine_.rank_of_node[cluster.places[far].node]);
    }
    return numbers;
  }

  Result<SegmentId> register_segment(PlaceId, Bytes bytes) override {
    const std::lock_guard lock(machine_.mutex);
    if (machine_.segments.size() == segments_) machine_.segments.emplace_back(bytes);
    return segments_++;
  }

  void post(ChannelId channel, std::span<const ChunkPost> chunks) override {
    const TimeNs now = this->now();
    const std::lock_guard lock(machine_.mutex);
    const bool reached = machine_.reaches(rank_, far_ranks_[channel]);
    for (const ChunkPost& chunk : chunks) {
      if (reached) copy(chunk);
      const Outcome outcome = reached ? Outcome::ok : Outcome::path_failed;
      found_.completions.push_back({channel, outcome, chunk.chunk, now, now, now, chunk.bytes});
    }
  }
  void cancel(ChannelId, ChunkId) override {}

  void send(const ControlMessage& message) override {
    const std::lock_guard lock(machine_.mutex);
    const std::uint32_t to = machine_.rank_of_node[message.to];
    if (machine_.reaches(rank_, to)) machine_.processes[to].inbox.push_back(message);
    machine_.wake.notify_all();
  }

  void progress(BackendEvents& events) override {
    const std::lock_guard lock(machine_.mutex);
    ThreadMachine::Process& own = machine_.processes[rank_];
    events.messages.insert(events.messages.end(), own.inbox.begin(), own.inbox.end());
    events.lost_nodes.insert(events.lost_nodes.end(), own.lost.begin(), own.lost.end());
    events.completions.insert(events.completions.end(), found_.completions.begin(),
                              found_.completions.end());
    own.inbox.clear();
    own.lost.clear();
    found_.clear();
  }

  void wait(TimeNs until_ns) override {
    std::unique_lock lock(machine_.mutex);
    const ThreadMachine::Process& own = machine_.processes[rank_];
    const auto ready = [&] { return !own.inbox.empty() || !own.lost.empty() || !found_.empty(); };
    if (until_ns == never_ns)
      machine_.wake.wait(lock, ready);
    else
      machine_.wake.wait_until(lock, machine_.start + std::chrono::nanoseconds(until_ns), ready);
  }

  TimeNs now() const override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() -
                                                                machine_.start)
        .count();
  }

  void fill(SegmentId segment, Bytes offset, Bytes length, std::uint64_t seed) override {
    const std::lock_guard lock(machine_.mutex);
    fill_pattern(bytes(segment, offset, length), seed);
  }
  std::uint64_t checksum(SegmentId segment, Bytes offset, Bytes length) override {
    const std::lock_guard lock(machine_.mutex);
    return kvhaul::checksum(bytes(segment, offset, length));
  }
  void read(SegmentId, Bytes, std::span<std::byte>) override {}
  void write(SegmentId, Bytes, std::span<const std::byte>) override {}

 private:
  std::span<std::byte> bytes(SegmentId segment, Bytes offset, Bytes length) {
    return std::span(machine_.segments[segment]).subspan(offset, length);
  }
  void copy(const ChunkPost& chunk) {
    for (const Descriptor& piece : chunk.all())
      std::memcpy(bytes(chunk.target_segment, piece.target_offset, piece.length).data(),
                  bytes(chunk.source_segment, piece.source_offset, piece.length).data(),
                  piece.length);
    if (++machine_.copies == machine_.damaged_chunk)
      bytes(chunk.target_segment, chunk.all()[0].target_offset, 1)[0] ^= std::byte{1};
  }

  ThreadMachine& machine_;
  std::uint32_t rank_;
  std::vector<std::uint32_t> far_ranks_;  // by channel
  SegmentId segments_ = 0;
  BackendEvents found_;
};

}  // namespace kvhaul::test
