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
#include "core/scheduler.h"
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
  std::uint32_t posts = 0;
  std::uint32_t resent = 0;
  Bytes resent_bytes = 0;
  std::uint64_t channels_used = 0;  // bit i: channel i of its pair
  std::uint32_t worst_tier = 0;
  Completion last_landed;  // the chunk that landed last
  bool stalled = false;  // it may have run out of time without a way, before its pair had one again
  /// When it may have run out of attempts; its end waits for what is still in flight.
  TimeNs failed_ns = never_ns;
  std::map<Bytes, Bytes> landed;  // by target offset: end
  Bytes landed_bytes = 0;
};

/// Thrown out of the loop by a world that takes more turns than any sound one.
struct Livelock {
  std::uint64_t steps = 0;
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

  /// What the schedulers are told: which channels belong together, and the credit of places.
  void set_setups(std::span<const SchedulerSetup> setups);
  /// Whether some chunk of a transfer has not landed as often as it may be sent.
  bool out_of_attempts(const TransferView& view) const;
  bool may_have_stalled(const TransferView& view) const;
  /// When bytes of a pair landed last, or never yet: -1.
  SegmentId segment_of(PlaceId place) const { return segment_of_.at(place); }

  void blame(const std::string& what);
  const std::string& first_blame() const { return blame_; }
  std::uint64_t credit_messages() const { return credit_messages_; }
  std::uint64_t chunks_posted() const { return chunks_posted_; }
  std::uint64_t probes_posted() const { return probes_posted_; }
  std::uint64_t steps() const { return steps_; }
  /// The longest wait of an open transfer for its end, or for anything to land on its scheduler, in
  /// percent of what the scheduler promises.
  std::uint64_t share_of_bound() const { return share_of_bound_; }
  /// How often three senders or more asked one place for credit while no message was on its way.
  std::uint64_t crowded_moments() const { return crowded_moments_; }

 private:
  struct Chunk {
    std::size_t work = 0;  // no_work: a probe
    ChunkPost post;
    std::vector<Descriptor> pieces;
    TimeNs posted_ns = 0;
    TimeNs limit_ns = never_ns;  // by when it has landed or been cancelled
    bool cancelled = false;
  };

  struct ChannelView {
    std::uint32_t scheduler = 0;
    std::uint32_t index = 0;  // in its pair
    std::uint32_t tier = 0;
    TimeNs down_ns = never_ns;  // since then it is down, so the backend says
    bool doubtful = false;      // it has lost a chunk, and nothing has landed since that was posted
    TimeNs landed_ns = -1;
    std::vector<std::uint32_t> links;  // of its scheduler
    TimeNs failed_ns = -1;             // something on it did not land, or its link went up or down
    TimeNs silent_since_ns = 0;        // nothing has landed, nor was its link said to be up
    std::uint64_t probes_since = 0;
    std::uint64_t link_landings = 0;  // on all of its links, until then
  };
  struct LinkView {
    std::vector<ChannelId> channels;
    bool doubtful = false;  // as of a channel
    TimeNs landed_ns = -1;
    std::uint64_t landings = 0;
  };
  struct SchedulerView {
    std::vector<LinkView> links;
    std::multiset<std::pair<TimeNs, TimeNs>> open;  // submitted, bound
    TimeNs alive_ns = 0;                            // something landed
  };

  /// The credit of a place, as its messages show it.
  struct CreditView {
    struct Sender {
      NodeId node = 0;
      Bytes granted = 0;  // what the ledger has said, less what has come back
      Bytes in_flight = 0;
      bool hungry = false;  // so it has told the ledger
    };
    PlaceId place = no_id;
    Bytes capacity = 0;
    Bytes min_share = 0;
    std::vector<Sender> senders;
    std::uint64_t on_the_way = 0;  // messages; those that are lost stay there

    Sender* sender(NodeId node);
  };

  std::uint32_t least_attempts() const;
  void post_probe(ChannelId channel, const ChunkPost& chunk);
  TimeNs limit_ns(ChannelId channel, const ChunkPost& chunk) const;
  TimeNs end_bound_ns(std::size_t pair) const;
  std::size_t work_at(SegmentId target, Bytes offset) const;
  void check_order(const TransferView& posted);
  void check_timeouts();
  void check_ends();
  void check_way(ChannelId channel);
  bool surely_works(ChannelId channel) const;
  void check_probes(ChannelId channel);
  void broke_silence(ChannelId channel);
  std::uint64_t link_landings(ChannelId channel) const;
  void check_shares();
  CreditView* credit_of(PlaceId place);
  CreditView::Sender* sender_on(ChannelId channel);

  const World& world_;
  std::unique_ptr<Backend> inner_;
  std::vector<ChannelNumbers> numbers_;
  std::vector<std::uint32_t> in_flight_;  // chunks, by channel
  std::vector<Bytes> towards_;            // in flight, by target place
  std::map<PlaceId, Bytes> capacity_;
  std::vector<CreditView> credits_;
  std::span<const SchedulerSetup> setups_;
  std::vector<ChannelView> channels_;
  std::vector<SchedulerView> schedulers_;
  std::vector<TimeNs> pair_landed_ns_;            // by pair of the world
  std::vector<std::uint32_t> scheduler_of_pair_;  // the same
  std::vector<TimeNs> bound_of_pair_;             // the same
  std::map<PlaceId, SegmentId> segment_of_;
  std::map<std::pair<ChannelId, ChunkId>, Chunk> chunks_;
  std::set<std::pair<ChannelId, ChunkId>> ended_chunks_;
  std::map<std::size_t, TransferView> views_;                 // by work
  std::map<std::pair<SegmentId, Bytes>, std::size_t> owner_;  // first target offset: work
  std::set<std::pair<TimeNs, std::pair<ChannelId, ChunkId>>> limits_;
  std::string blame_;
  std::uint64_t credit_messages_ = 0;
  std::uint64_t chunks_posted_ = 0, probes_posted_ = 0;
  TimeNs word_ns_ = -1;  // when a channel was last said to be down
  std::uint64_t steps_ = 0;
  std::uint64_t share_of_bound_ = 0;
  std::uint64_t crowded_moments_ = 0;
};

}  // namespace kvhaul::simulation
