#include "backends/faults/faulty_backend.h"

#include <algorithm>
#include <map>
#include <utility>

#include "core/random.h"

namespace kvhaul::faults {
namespace {

class Player final : public FaultyBackend {
 public:
  Player(std::unique_ptr<Backend> inner, FaultScript script)
      : inner_(std::move(inner)), script_(std::move(script)), random_(script_.seed) {}

  std::string description() const override {
    return inner_->description() + ", with " + std::to_string(script_.faults.size()) +
           " scripted faults";
  }
  bool moves_bytes() const override { return inner_->moves_bytes(); }
  const FaultCounters& fault_counters() const override { return counters_; }

  Result<std::vector<ChannelNumbers>> open(const Cluster& cluster,
                                           std::span<const ChannelRequest> requests) override {
    cluster_ = &cluster;
    auto numbers = inner_->open(cluster, requests);
    if (!numbers) return numbers;
    channels_.resize(requests.size());
    for (std::size_t c = 0; c < requests.size(); ++c)
      for (std::size_t f = 0; f < script_.faults.size(); ++f)
        // Other processes play the script on the channels of their nodes.
        if (inner_->drives(requests[c].owner) && touches(script_.faults[f], requests[c].route))
          channels_[c].faults.push_back(f);
    for (const Fault& fault : script_.faults)
      if (fault.kind == FaultKind::degrade && !links_can_change_)
        links_can_change_ = change_links(fault, -1);  // before all faults: whole
    for (const Fault& fault : script_.faults) {
      if (!changes_links(fault)) continue;
      changes_at_.push_back(fault.from_ns);
      if (fault.until_ns != never_ns) changes_at_.push_back(fault.until_ns);
    }
    std::sort(changes_at_.begin(), changes_at_.end());
    return numbers;
  }

  Result<SegmentId> register_segment(PlaceId place, Bytes bytes) override {
    const std::string& name = cluster_->places[place].name;
    for (const Fault& fault : script_.faults)
      if (fault.kind == FaultKind::fail_registration && active(fault, now()) &&
          lies_in(name, fault.where))
        return Error::missing(name + ": registration failed (scripted fault)");
    return inner_->register_segment(place, bytes);
  }

  bool drives(NodeId node) const override { return inner_->drives(node); }
  Result<void> start() override { return inner_->start(); }

  void post(ChannelId channel, std::span<const ChunkPost> chunks) override {
    for (const ChunkPost& chunk : chunks) post_one(channel, chunk);
  }

  void cancel(ChannelId channel, ChunkId chunk) override {
    const auto found = outstanding_.find({channel, chunk});
    if (found == outstanding_.end()) return;
    Outstanding& entry = found->second;
    if (entry.inner_done || !entry.forwarded) {
      // Nothing is under way any more: what is missing is only the word.
      drop_held(channel, chunk);
      ready_.push_back(
          {channel, Outcome::cancelled, chunk, entry.posted_ns, now(), now(), entry.bytes});
      outstanding_.erase(found);
      return;
    }
    entry.cancelled = true;
    inner_->cancel(channel, chunk);
  }

  void send(const ControlMessage& message) override { inner_->send(message); }

  void progress(BackendEvents& events) override {
    apply_changes(events);
    inner_events_.clear();
    inner_->progress(inner_events_);
    for (const Completion& completion : inner_events_.completions) inner_completed(completion);
    append(events.changes, inner_events_.changes);
    append(events.messages, inner_events_.messages);
    append(events.lost_nodes, inner_events_.lost_nodes);
    const TimeNs time = now();
    for (; !held_.empty() && held_.begin()->first <= time; held_.erase(held_.begin())) {
      const Completion& completion = held_.begin()->second;
      outstanding_.erase({completion.channel, completion.chunk});
      ready_.push_back(completion);
    }
    append(events.completions, ready_);
    ready_.clear();
  }

  void wait(TimeNs until_ns) override {
    if (!ready_.empty()) return;
    TimeNs until = until_ns;
    if (!held_.empty()) until = std::min(until, held_.begin()->first);
    if (next_change_ < changes_at_.size()) until = std::min(until, changes_at_[next_change_]);
    inner_->wait(until);
  }

  TimeNs now() const override { return inner_->now(); }
  bool set_link_share(LinkId link, double share) override {
    return inner_->set_link_share(link, share);
  }

  void fill(SegmentId segment, Bytes offset, Bytes length, std::uint64_t seed) override {
    inner_->fill(segment, offset, length, seed);
  }
  std::uint64_t checksum(SegmentId segment, Bytes offset, Bytes length) override {
    return inner_->checksum(segment, offset, length);
  }
  void fill_ranges(SegmentId segment, std::span<const SegmentRange> ranges) override {
    inner_->fill_ranges(segment, ranges);
  }
  void checksum_ranges(SegmentId segment, std::span<const SegmentRange> ranges,
                       std::span<std::uint64_t> sums) override {
    inner_->checksum_ranges(segment, ranges, sums);
  }
  std::uint64_t begin_checksums(SegmentId segment, std::span<const SegmentRange> ranges,
                                std::span<std::uint64_t> sums) override {
    return inner_->begin_checksums(segment, ranges, sums);
  }
  std::uint64_t checksums_done() override { return inner_->checksums_done(); }
  void occupy(PlaceId place, TimeNs duration_ns) override { inner_->occupy(place, duration_ns); }
  void read(SegmentId segment, Bytes offset, std::span<std::byte> into) override {
    inner_->read(segment, offset, into);
  }
  void write(SegmentId segment, Bytes offset, std::span<const std::byte> from) override {
    inner_->write(segment, offset, from);
  }

 private:
  struct Channel {
    std::vector<std::size_t> faults;  // that can touch it
    int down = 0;                     // how many `down` faults hold it
    int silent_down = 0;
    TimeNs degraded_free_ns = 0;  // when a degraded chunk before has left
  };

  /// A chunk between post() and its completion, and what the script has drawn for it.
  struct Outstanding {
    TimeNs posted_ns = 0;
    Bytes bytes = 0;
    bool forwarded = false;
    bool inner_done = false;
    bool lost = false;
    bool cut = false;        // its link went down under it
    bool cancelled = false;  // by the scheduler
    bool corrupt = false;
    TimeNs delay_ns = 0;
    double factor = 1;
    SegmentId target_segment = 0;
    Descriptor first_piece;
  };
  using Key = std::pair<ChannelId, ChunkId>;

  static bool active(const Fault& fault, TimeNs time) {
    return fault.from_ns <= time && time < fault.until_ns;
  }

  /// Whether a fault acts at its two ends, on what is under way, and not on single chunks. Where
  /// the backend cannot change a link, degraded chunks are told of late instead.
  bool changes_links(const Fault& fault) const {
    return fault.kind == FaultKind::down || (fault.kind == FaultKind::degrade && links_can_change_);
  }

  /// Gives the links of a `degrade` fault the share that all such faults leave them at that time.
  bool change_links(const Fault& changed, TimeNs time) {
    bool could = false;
    for (LinkId link = 0; link < cluster_->links.size(); ++link) {
      const std::string& name = cluster_->links[link].name;
      if (!lies_in(name, changed.where)) continue;
      double share = 1;
      for (const Fault& fault : script_.faults)
        if (fault.kind == FaultKind::degrade && active(fault, time) && lies_in(name, fault.where))
          share *= fault.factor;
      if (!inner_->set_link_share(link, share)) return false;
      could = true;
    }
    return could;
  }

  bool touches(const Fault& fault, const Route& route) const {
    if (fault.kind == FaultKind::fail_registration) return false;
    if (fault.where.empty()) return true;
    return std::any_of(route.hops.begin(), route.hops.end(), [&](LinkId link) {
      return lies_in(cluster_->links[link].name, fault.where);
    });
  }

  void post_one(ChannelId id, const ChunkPost& chunk) {
    const TimeNs time = now();
    Channel& channel = channels_[id];
    Outstanding entry;
    entry.posted_ns = time;
    entry.bytes = chunk.bytes;
    entry.target_segment = chunk.target_segment;
    entry.first_piece = chunk.all().empty() ? Descriptor{} : chunk.all().front();
    bool fails = false;
    TimeNs fails_after = 0;
    for (const std::size_t f : channel.faults) {
      const Fault& fault = script_.faults[f];
      if (changes_links(fault) || !active(fault, time)) continue;
      if (fault.kind != FaultKind::degrade && !random_.chance(fault.probability)) continue;
      switch (fault.kind) {
        case FaultKind::fail:
          fails = true, fails_after = fault.delay_ns;
          break;
        case FaultKind::lose:
          entry.lost = true;
          break;
        case FaultKind::delay:
          entry.delay_ns += fault.delay_ns;
          break;
        case FaultKind::corrupt:
          entry.corrupt = true;
          break;
        case FaultKind::degrade:
          entry.factor *= fault.factor;
          break;
        default:
          break;
      }
    }
    if (channel.silent_down > 0) {
      entry.lost = true;  // and nothing moves
      ++counters_.cut;
    } else if (channel.down > 0 || fails) {
      ++(fails ? counters_.failed : counters_.cut);
      const TimeNs at = add_time(time, fails ? fails_after : 0);
      held_.emplace(at,
                    Completion{id, Outcome::path_failed, chunk.chunk, time, time, at, chunk.bytes});
    } else {
      entry.forwarded = true;
    }
    outstanding_[{id, chunk.chunk}] = entry;
    if (entry.forwarded) inner_->post(id, {&chunk, 1});
  }

  void inner_completed(Completion completion) {
    const auto found = outstanding_.find({completion.channel, completion.chunk});
    if (found == outstanding_.end()) return;
    Outstanding& entry = found->second;
    entry.inner_done = true;
    if (completion.outcome != Outcome::ok || entry.cancelled) {
      if (entry.cut && !entry.cancelled && completion.outcome == Outcome::cancelled) {
        if (entry.lost) return;
        completion.outcome = Outcome::path_failed;
      }
      outstanding_.erase(found);
      ready_.push_back(completion);
      return;
    }
    if (entry.corrupt && entry.bytes != 0) {
      ++counters_.corrupted;
      if (inner_->moves_bytes())
        damage(entry);
      else
        completion.outcome = Outcome::corrupted;
    }
    if (entry.lost) {
      ++counters_.lost;
      return;  // until cancel() asks for it
    }
    TimeNs at = completion.done_ns;
    if (entry.factor < 1) {
      ++counters_.degraded;
      Channel& channel = channels_[completion.channel];
      const TimeNs wire = completion.done_ns - completion.started_ns;
      // It begins when the one before has left: were it said to begin when the sound link began
      // it, the scheduler would count the wait for that one into the rate that it learns.
      completion.started_ns = std::max(channel.degraded_free_ns, completion.started_ns);
      at = add_time(completion.started_ns,
                    static_cast<TimeNs>(static_cast<double>(wire) / entry.factor));
      channel.degraded_free_ns = at;
    }
    if (entry.delay_ns > 0) {
      ++counters_.delayed;
      at = add_time(at, entry.delay_ns);
    }
    if (at <= now()) {
      outstanding_.erase(found);
      ready_.push_back(completion);
      return;
    }
    completion.done_ns = at;
    held_.emplace(at, completion);
  }

  /// One byte of the first piece, at a place that the seed decides.
  void damage(const Outstanding& entry) {
    const Bytes offset = entry.first_piece.target_offset +
                         random_.below(std::max<Bytes>(1, entry.first_piece.length));
    std::byte value{};
    inner_->read(entry.target_segment, offset, {&value, 1});
    value ^= std::byte{0x40};
    inner_->write(entry.target_segment, offset, {&value, 1});
  }

  void drop_held(ChannelId channel, ChunkId chunk) {
    for (auto entry = held_.begin(); entry != held_.end(); ++entry)
      if (entry->second.channel == channel && entry->second.chunk == chunk) {
        held_.erase(entry);
        return;
      }
  }

  /// Links that go down or come back by now.
  void apply_changes(BackendEvents& events) {
    const TimeNs time = now();
    for (; next_change_ < changes_at_.size() && changes_at_[next_change_] <= time; ++next_change_) {
      const TimeNs at = changes_at_[next_change_];
      if (next_change_ > 0 && changes_at_[next_change_ - 1] == at) continue;  // seen with its twin
      for (const Fault& fault : script_.faults)
        if (fault.kind == FaultKind::degrade && changes_links(fault) &&
            (fault.from_ns == at || fault.until_ns == at))
          change_links(fault, at);
      for (ChannelId id = 0; id < channels_.size(); ++id)
        for (const std::size_t f : channels_[id].faults) {
          const Fault& fault = script_.faults[f];
          if (fault.kind != FaultKind::down) continue;
          if (fault.from_ns == at) cut(id, fault, events);
          if (fault.until_ns == at) restore(id, fault, events);
        }
    }
  }

  void cut(ChannelId id, const Fault& fault, BackendEvents& events) {
    Channel& channel = channels_[id];
    int& count = fault.silent ? channel.silent_down : channel.down;
    const bool first = count++ == 0;
    if (!fault.silent && first) events.changes.push_back({id, false});
    for (auto entry = outstanding_.lower_bound({id, 0});
         entry != outstanding_.end() && entry->first.first == id; ++entry) {
      Outstanding& chunk = entry->second;
      if (!chunk.forwarded || chunk.inner_done || chunk.cut) continue;
      chunk.cut = true;
      chunk.lost = chunk.lost || fault.silent;
      ++counters_.cut;
      inner_->cancel(id, entry->first.second);
    }
  }

  void restore(ChannelId id, const Fault& fault, BackendEvents& events) {
    Channel& channel = channels_[id];
    int& count = fault.silent ? channel.silent_down : channel.down;
    if (count > 0 && --count == 0 && !fault.silent) events.changes.push_back({id, true});
  }

  template <class T>
  static void append(std::vector<T>& to, const std::vector<T>& from) {
    to.insert(to.end(), from.begin(), from.end());
  }

  std::unique_ptr<Backend> inner_;
  FaultScript script_;
  Random random_;
  const Cluster* cluster_ = nullptr;
  std::vector<Channel> channels_;
  std::map<Key, Outstanding> outstanding_;
  std::multimap<TimeNs, Completion> held_;  // by the time at which they are told
  std::vector<Completion> ready_;
  std::vector<TimeNs> changes_at_;  // of links, ascending
  std::size_t next_change_ = 0;
  bool links_can_change_ = false;
  BackendEvents inner_events_;
  FaultCounters counters_;
};

}  // namespace

bool lies_in(std::string_view name, std::string_view where) {
  return where.empty() || name == where || (name.starts_with(where) && name[where.size()] == '/');
}

std::unique_ptr<FaultyBackend> make_faulty_backend(std::unique_ptr<Backend> inner,
                                                   FaultScript script) {
  return std::make_unique<Player>(std::move(inner), std::move(script));
}

}  // namespace kvhaul::faults
