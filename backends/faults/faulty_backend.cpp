#include "backends/faults/faulty_backend.h"

#include <algorithm>
#include <map>
#include <queue>
#include <tuple>
#include <utility>

#include "core/random.h"
#include "core/unit_text.h"

namespace kvhaul::faults {
namespace {

class Player final : public FaultyBackend {
 public:
  Player(std::unique_ptr<Backend> inner, FaultScript script)
      : inner_(std::move(inner)), script_(std::move(script)), random_(script_.seed) {}

  std::string description() const override {
    return inner_->description() + ", with " + counted(script_.faults.size(), "scripted fault");
  }
  bool moves_bytes() const override { return inner_->moves_bytes(); }
  const FaultCounters& fault_counters() const override { return counters_; }
  bool met_traffic(std::size_t fault) const override { return met_[fault]; }
  std::uint64_t hit_chunks(std::size_t fault) const override { return hit_[fault]; }
  TimeNs last_post_ns() const override { return last_post_ns_; }

  Result<std::vector<ChannelNumbers>> open(const Cluster& cluster,
                                           std::span<const ChannelRequest> requests) override {
    cluster_ = &cluster;
    auto numbers = inner_->open(cluster, requests);
    if (!numbers) return numbers;
    channels_.resize(requests.size());
    for (std::size_t c = 0; c < requests.size(); ++c)
      for (std::size_t f = 0; f < script_.faults.size(); ++f)
        // Other processes play the script on the channels of their nodes.
        if (inner_->drives(requests[c].owner) &&
            script_.faults[f].touches(cluster, requests[c].route))
          channels_[c].faults.push_back(f);
    for (Fault& fault : script_.faults) {
      fault.noticed_ns = std::max<TimeNs>(0, fault.noticed_ns);
      fault.reconnect_ns = std::max<TimeNs>(0, fault.reconnect_ns);
    }
    met_.assign(script_.faults.size(), false);
    hit_.assign(script_.faults.size(), 0);
    for (const Fault& fault : script_.faults)
      if (fault.kind == FaultKind::degrade && !links_can_change_)
        links_can_change_ = change_links(fault, -1);  // before all faults: whole
    for (std::size_t f = 0; f < script_.faults.size(); ++f)
      if (changes_links(script_.faults[f])) plan_changes(f, script_.faults[f].from_ns);
    return numbers;
  }

  Result<SegmentId> register_segment(PlaceId place, Bytes bytes) override {
    const std::string& name = cluster_->places[place].name;
    for (const Fault& fault : script_.faults)
      if (fault.kind == FaultKind::fail_registration && fault.active(now()) &&
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
    if (!changes_.empty()) until = std::min(until, changes_.top().at_ns);
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
    // How many `down` faults hold it:
    int dead = 0;  // all of them but silent ones, noticed or not
    int down = 0;  // of those, noticed, and until it is connected again
    int silent_down = 0;
    TimeNs noticed_ns = 0;        // of the one that began last
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
    TimeNs told_ns = 0;      // which is said then
    bool cancelled = false;  // by the scheduler
    bool corrupt = false;
    TimeNs delay_ns = 0;
    double factor = 1;
    SegmentId target_segment = 0;
    Descriptor first_piece;
  };
  using Key = std::pair<ChannelId, ChunkId>;

  /// What a fault does to links and channels at one time, in this order where two come together.
  struct Change {
    enum class What : std::uint8_t { connected, ends, begins, noticed };
    TimeNs at_ns = 0;
    What what = What::begins;
    std::size_t fault = 0;
    TimeNs began_ns = 0;
    bool operator>(const Change& other) const {
      return std::tie(at_ns, what, fault) > std::tie(other.at_ns, other.what, other.fault);
    }
  };

  /// All changes of a fault that begins then.
  void plan_changes(std::size_t f, TimeNs begin) {
    const Fault& fault = script_.faults[f];
    changes_.push({begin, Change::What::begins, f, begin});
    const bool reported = fault.kind == FaultKind::down && fault.is_noticed();
    if (reported)
      changes_.push({add_time(begin, fault.noticed_ns), Change::What::noticed, f, begin});
    if (fault.until_ns == never_ns) return;
    const TimeNs end = add_time(begin, fault.until_ns - fault.from_ns);
    changes_.push({end, Change::What::ends, f, begin});
    if (reported)
      changes_.push({add_time(end, fault.reconnect_ns), Change::What::connected, f, begin});
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
        if (fault.kind == FaultKind::degrade && fault.active(time) && lies_in(name, fault.where))
          share *= fault.factor;
      if (!inner_->set_link_share(link, share)) return false;
      could = true;
    }
    return could;
  }

  /// A link that is down turns traffic away, so that any chunk will do then.
  void look_at_traffic(const Channel& channel, TimeNs time) {
    last_post_ns_ = time;
    if (all_met_) return;
    all_met_ = true;
    for (std::size_t f = 0; f < script_.faults.size(); ++f) {
      const Fault& fault = script_.faults[f];
      met_[f] = met_[f] || (fault.active(time) &&
                            (fault.kind == FaultKind::down ||
                             std::ranges::find(channel.faults, f) != channel.faults.end()));
      all_met_ = all_met_ && met_[f];
    }
  }

  void post_one(ChannelId id, const ChunkPost& chunk) {
    const TimeNs time = now();
    Channel& channel = channels_[id];
    look_at_traffic(channel, time);
    Outstanding entry;
    entry.posted_ns = time;
    entry.bytes = chunk.bytes;
    entry.target_segment = chunk.target_segment;
    entry.first_piece = chunk.all().empty() ? Descriptor{} : chunk.all().front();
    bool fails = false;
    TimeNs fails_after = 0;
    for (const std::size_t f : channel.faults) {
      const Fault& fault = script_.faults[f];
      if (!fault.active(time)) continue;
      if (fault.kind == FaultKind::down && !fault.silent && !fault.is_noticed()) {
        entry.delay_ns += left_of(fault, time);
        ++counters_.cut;
      }
      const bool on_links = changes_links(fault);
      if (!on_links && fault.kind != FaultKind::degrade && !random_.chance(fault.probability))
        continue;
      ++hit_[f];
      if (on_links) continue;
      switch (fault.kind) {
        case FaultKind::fail:
          fails = true;
          fails_after = fault.delay_ns;
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
    } else if (channel.down > 0 || channel.dead > 0 || fails) {
      ++(fails ? counters_.failed : counters_.cut);
      TimeNs at = fails ? add_time(time, fails_after) : time;
      if (channel.down == 0 && channel.dead > 0) at = std::max(time, channel.noticed_ns);
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
        if (entry.told_ns > now()) {
          completion.done_ns = entry.told_ns;
          held_.emplace(entry.told_ns, completion);
          return;
        }
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

  /// What is left of an outage.
  static TimeNs left_of(const Fault& fault, TimeNs time) {
    const TimeNs lasts = fault.until_ns - fault.from_ns, since = time - fault.from_ns;
    return lasts - (fault.every_ns == never_ns ? since : since % fault.every_ns);
  }

  /// Links that go down, are noticed to be, or come back by now.
  void apply_changes(BackendEvents& events) {
    const TimeNs time = now();
    while (!changes_.empty() && changes_.top().at_ns <= time) {
      const Change change = changes_.top();
      changes_.pop();
      const Fault& fault = script_.faults[change.fault];
      if (change.what == Change::What::begins && fault.every_ns != never_ns)
        plan_changes(change.fault, add_time(change.began_ns, fault.every_ns));
      if (fault.kind == FaultKind::degrade) {
        change_links(fault, change.at_ns);
        continue;
      }
      for (ChannelId id = 0; id < channels_.size(); ++id)
        if (std::ranges::find(channels_[id].faults, change.fault) != channels_[id].faults.end())
          apply(change, fault, id, events);
    }
  }

  void apply(const Change& change, const Fault& fault, ChannelId id, BackendEvents& events) {
    Channel& channel = channels_[id];
    switch (change.what) {
      case Change::What::begins:
        if (fault.silent) {
          ++channel.silent_down;
        } else if (fault.is_noticed()) {
          ++channel.dead;
          channel.noticed_ns = add_time(change.began_ns, fault.noticed_ns);
        }
        return cut(id, change.fault, change.began_ns);
      case Change::What::noticed:
        if (channel.down++ == 0) events.changes.push_back({id, false});
        return;
      case Change::What::ends:
        if (fault.silent)
          --channel.silent_down;
        else if (fault.is_noticed())
          --channel.dead;
        return;
      case Change::What::connected:
        if (--channel.down == 0) events.changes.push_back({id, true});
        return;
    }
  }

  /// What is under way there when the link goes.
  void cut(ChannelId id, std::size_t number, TimeNs began_ns) {
    const Fault& fault = script_.faults[number];
    for (auto entry = outstanding_.lower_bound({id, 0});
         entry != outstanding_.end() && entry->first.first == id; ++entry) {
      Outstanding& chunk = entry->second;
      if (!chunk.forwarded || chunk.inner_done || chunk.cut) continue;
      ++counters_.cut;
      met_[number] = true;
      ++hit_[number];
      if (!fault.silent && !fault.is_noticed()) {
        chunk.delay_ns = add_time(chunk.delay_ns, fault.until_ns - fault.from_ns);
        continue;
      }
      chunk.cut = true;
      chunk.lost = chunk.lost || fault.silent;
      chunk.told_ns = fault.silent ? 0 : add_time(began_ns, fault.noticed_ns);
      inner_->cancel(id, entry->first.second);
    }
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
  std::priority_queue<Change, std::vector<Change>, std::greater<>> changes_;
  bool links_can_change_ = false;
  std::vector<bool> met_;           // by fault
  std::vector<std::uint64_t> hit_;  // likewise
  bool all_met_ = false;
  TimeNs last_post_ns_ = 0;
  BackendEvents inner_events_;
  FaultCounters counters_;
};

}  // namespace

bool Fault::touches(const Cluster& cluster, const Route& route) const {
  if (kind == FaultKind::fail_registration) return false;
  if (where.empty()) return true;
  return std::any_of(route.hops.begin(), route.hops.end(),
                     [&](LinkId link) { return lies_in(cluster.links[link].name, where); });
}

bool lies_in(std::string_view name, std::string_view where) {
  return where.empty() || name == where || (name.starts_with(where) && name[where.size()] == '/');
}

std::unique_ptr<FaultyBackend> make_faulty_backend(std::unique_ptr<Backend> inner,
                                                   FaultScript script) {
  return std::make_unique<Player>(std::move(inner), std::move(script));
}

}  // namespace kvhaul::faults
