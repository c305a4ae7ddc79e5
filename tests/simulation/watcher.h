// A backend between the runtime and the one under it, which checks every call against what a sound
// scheduler may do, and every completion against what a sound backend may say.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/backend.h"
#include "tests/simulation/world.h"

namespace kvhaul::simulation {

/// A transfer as the outside sees it.
struct TransferView {
  std::size_t work = 0;
  std::size_t pair = 0;
  std::uint64_t order = 0;  // of submission in its pair
  TimeNs submitted_ns = 0;
  TimeNs fresh_ns = 0;  // when it last began to have something to post
  TimeNs deadline_ns = never_ns;
  Priority priority = Priority::normal;
  Bytes total = 0;
  Bytes issued = 0;  // in flight or landed
  bool open = false;
  bool ending = false;                      // cancelled; nothing of it may be posted any more
  std::map<Bytes, std::uint32_t> attempts;  // that did not land, by first target offset
  /// When it may have run out of attempts; its end waits for what is still in flight.
  TimeNs failed_ns = never_ns;
  std::map<Bytes, Bytes> landed;  // by target offset: end
  Bytes landed_bytes = 0;
};

class Watcher final : public Backend {
 public:
  Watcher(const World& world, std::unique_ptr<Backend> inner);

  std::string description() const override { return inner_->description(); }
  bool moves_bytes() const override { return inner_->moves_bytes(); }
  Result<std::vector<ChannelNumbers>> open(const Cluster& cluster,
                                           std::span<const ChannelRequest> requests) override;
  Result<SegmentId> register_segment(PlaceId place, Bytes bytes) override;
  void post(ChannelId channel, std::span<const ChunkPost> chunks) override;
  void cancel(ChannelId channel, ChunkId chunk) override;
  void send(const ControlMessage& message) override;
  void progress(BackendEvents& events) override;
  void wait(TimeNs until_ns) override { inner_->wait(until_ns); }
  TimeNs now() const override { return inner_->now(); }
  void fill(SegmentId s, Bytes o, Bytes l, std::uint64_t seed) override {
    inner_->fill(s, o, l, seed);
  }
  std::uint64_t checksum(SegmentId s, Bytes o, Bytes l) override {
    return inner_->checksum(s, o, l);
  }
  void read(SegmentId s, Bytes o, std::span<std::byte> into) override { inner_->read(s, o, into); }
  void write(SegmentId s, Bytes o, std::span<const std::byte> from) override {
    inner_->write(s, o, from);
  }

  // The client tells what it asks for.
  void submitted(std::size_t work, const TransferView& view);
  void cancelling(std::size_t work) { views_.at(work).ending = true; }
  void ended(std::size_t work);
  const TransferView& view(std::size_t work) const { return views_.at(work); }

  void set_credit_capacity(PlaceId place, Bytes capacity) { capacity_[place] = capacity; }
  SegmentId segment_of(PlaceId place) const { return segment_of_.at(place); }

  void blame(const std::string& what);
  const std::string& first_blame() const { return blame_; }
  std::uint64_t credit_messages() const { return credit_messages_; }

 private:
  struct Chunk {
    std::size_t work = 0;
    ChunkPost post;
    std::vector<Descriptor> pieces;
    TimeNs posted_ns = 0;
    TimeNs limit_ns = never_ns;  // by when it has landed or been cancelled
    bool cancelled = false;
  };

  std::size_t work_at(SegmentId target, Bytes offset) const;
  void check_order(const TransferView& posted);
  void check_timeouts();

  const World& world_;
  std::unique_ptr<Backend> inner_;
  std::vector<ChannelNumbers> numbers_;
  std::vector<std::uint32_t> in_flight_;  // chunks, by channel
  std::vector<Bytes> towards_;            // in flight, by target place
  std::map<PlaceId, Bytes> capacity_;
  std::map<PlaceId, SegmentId> segment_of_;
  std::map<std::pair<ChannelId, ChunkId>, Chunk> chunks_;
  std::set<std::pair<ChannelId, ChunkId>> ended_chunks_;
  std::map<std::size_t, TransferView> views_;                 // by work
  std::map<std::pair<SegmentId, Bytes>, std::size_t> owner_;  // first target offset: work
  std::set<std::pair<TimeNs, std::pair<ChannelId, ChunkId>>> limits_;
  std::string blame_;
  std::uint64_t credit_messages_ = 0;
};

}  // namespace kvhaul::simulation
