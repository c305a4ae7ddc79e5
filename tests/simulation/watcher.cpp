#include "tests/simulation/watcher.h"

#include <algorithm>
#include <tuple>

#include "core/credit.h"

namespace kvhaul::simulation {
namespace {

/// The most of each cost that any method of the channel has.
GatherCosts most_gathered(const ChannelNumbers& numbers) {
  GatherCosts most;
  for (std::size_t m = 0; m < gather_count; ++m) {
    const auto costs = numbers.gather_costs(static_cast<Gather>(m));
    if (!costs) continue;
    most.post_ns = std::max(most.post_ns, costs->post_ns);
    most.piece_post_ns = std::max(most.piece_post_ns, costs->piece_post_ns);
    most.half_bandwidth_bytes = std::max(most.half_bandwidth_bytes, costs->half_bandwidth_bytes);
    most.piece_half_bandwidth_bytes =
        std::max(most.piece_half_bandwidth_bytes, costs->piece_half_bandwidth_bytes);
    most.extra_permille = std::max(most.extra_permille, costs->extra_permille);
  }
  return most;
}

/// Turns of the loop, of which the longest of 10,000 worlds took 288,395, a dead peer that was
/// probed: a livelock of one world is told as such, with its seed, on any machine alike.
constexpr std::uint64_t most_steps = 4'000'000;

}  // namespace

Watcher::Watcher(const World& world, std::unique_ptr<Backend> inner)
    : world_(world), inner_(std::move(inner)) {}

void Watcher::blame(const std::string& what) {
  if (blame_.empty()) blame_ = what + " (at " + std::to_string(now()) + " ns)";
}

Result<std::vector<ChannelNumbers>> Watcher::open(const Cluster& cluster,
                                                  std::span<const ChannelRequest> requests) {
  auto numbers = inner_->open(cluster, requests);
  if (numbers) numbers_ = *numbers;
  in_flight_.assign(requests.size(), 0);
  towards_.assign(cluster.places.size(), 0);
  return numbers;
}

Result<SegmentId> Watcher::register_segment(PlaceId place, Bytes bytes) {
  auto segment = inner_->register_segment(place, bytes);
  if (segment) segment_of_[place] = *segment;
  return segment;
}

void Watcher::set_setups(std::span<const SchedulerSetup> setups) {
  setups_ = setups;
  channels_.resize(world_.plan.requests.size());
  schedulers_.resize(setups.size());
  scheduler_of_pair_.assign(world_.pairs.size(), 0);
  for (std::uint32_t s = 0; s < setups.size(); ++s) {
    for (const SetupLedger& ledger : setups[s].ledgers) {
      capacity_[ledger.place] = ledger.capacity_bytes;
      CreditView& credit = credits_.emplace_back();
      credit.place = ledger.place;
      credit.capacity = ledger.capacity_bytes;
      credit.min_share = ledger.min_share_bytes;
      for (const NodeId node : ledger.senders)
        credit.senders.push_back({node, credit.capacity / ledger.senders.size(), 0, false});
    }
    std::vector<std::uint32_t> count(setups[s].pairs.size(), 0);
    schedulers_[s].links.resize(setups[s].links.size());
    for (const SetupChannel& channel : setups[s].channels) {
      ChannelView& view = channels_[channel.id];
      view.scheduler = s;
      view.index = count[channel.pair]++;
      view.tier = channel.tier;
      view.links = channel.links;
      for (const std::uint32_t link : channel.links)
        schedulers_[s].links[link].channels.push_back(channel.id);
    }
    for (const SetupPair& pair : setups[s].pairs)
      for (std::size_t p = 0; p < world_.pairs.size(); ++p)
        if (world_.pairs[p] == std::pair(pair.source, pair.target)) scheduler_of_pair_[p] = s;
  }
  pair_landed_ns_.assign(world_.pairs.size(), -1);
  for (std::size_t p = 0; p < world_.pairs.size(); ++p) bound_of_pair_.push_back(end_bound_ns(p));
}

/// How often a chunk of a transfer that fails has not landed, at least. A post that the word about
/// a dead channel meets in the same moment is withdrawn, and counts as an attempt: one for each
/// word.
std::uint32_t Watcher::least_attempts() const {
  const auto words = static_cast<std::uint32_t>(std::count_if(
      world_.script.faults.begin(), world_.script.faults.end(), [](const faults::Fault& fault) {
        return fault.kind == faults::FaultKind::down && !fault.silent;
      }));
  return world_.config.max_attempts - std::min(world_.config.max_attempts, words);
}

bool Watcher::out_of_attempts(const TransferView& view) const {
  return std::any_of(view.attempts.begin(), view.attempts.end(),
                     [&](const auto& attempt) { return attempt.second >= least_attempts(); });
}

void Watcher::submitted(std::size_t work, const TransferView& view) {
  views_[work] = view;
  schedulers_[scheduler_of_pair_[view.pair]].open.insert(
      {view.submitted_ns, bound_of_pair_[view.pair]});
  const Work& from = world_.works[work];
  const SegmentId segment = segment_of_.at(world_.pairs[from.pair].second);
  for (const Descriptor& piece : from.pieces) owner_[{segment, piece.target_offset}] = work;
}

std::size_t Watcher::work_at(SegmentId target, Bytes offset) const {
  auto found = owner_.upper_bound({target, offset});
  if (found == owner_.begin()) return world_.works.size();
  --found;
  return found->first.first == target ? found->second : world_.works.size();
}

void Watcher::post(ChannelId channel, std::span<const ChunkPost> chunks) {
  for (const ChunkPost& post : chunks) {
    const ChunkPost& chunk = post;
    if (chunk.piece_count == 0) {
      post_probe(channel, chunk);
      continue;
    }
    ++chunks_posted_;
    const std::size_t work = work_at(chunk.target_segment, chunk.all().front().target_offset);
    if (work == world_.works.size() || !views_.count(work)) {
      blame("a chunk was posted to a target that nobody asked for");
      continue;
    }
    TransferView& view = views_[work];
    const Route& route = world_.plan.requests[channel].route;
    if (route.source != world_.pairs[view.pair].first ||
        route.target != world_.pairs[view.pair].second)
      blame("a chunk was posted to a channel between other places");
    if (!view.open || view.ending)
      blame("a chunk was posted for a transfer that has ended or is cancelled");
    if (channels_[channel].down_ns != never_ns)
      blame("a chunk was posted to a channel that is known to be down");
    if (channels_[channel].doubtful)
      blame("a user's chunk was sent to find out whether a channel works");
    check_way(channel);

    const ChannelNumbers& numbers = numbers_[channel];
    if (++in_flight_[channel] > numbers.max_in_flight)
      blame("more chunks in flight than a channel takes");
    if (!numbers.gather_costs(chunk.gather))
      blame("a chunk is gathered by a method that its channel lacks");
    if (chunk.piece_count == 1 && chunk.gather != Gather::each)
      blame("a chunk of one piece is gathered");
    if (chunk.bytes > numbers.max_chunk_bytes) blame("a chunk is larger than its channel takes");
    if (chunk.piece_count > numbers.max_pieces)
      blame("a chunk has more pieces than its channel takes");
    Bytes sum = 0;
    for (const Descriptor& piece : chunk.all()) sum += piece.length;
    if (sum != chunk.bytes) blame("the pieces of a chunk do not add up to its bytes");
    towards_[route.target] += chunk.bytes;
    if (auto* sender = sender_on(channel)) sender->in_flight += chunk.bytes;
    const auto capacity = capacity_.find(route.target);
    if (capacity != capacity_.end() && towards_[route.target] > capacity->second)
      blame("more in flight towards a place than its credit");

    view.issued += chunk.bytes;
    if (view.issued > view.total)
      blame("more bytes of a transfer in flight and landed than it has");
    check_order(view);
    ++view.posts;
    view.channels_used |= std::uint64_t{1} << std::min(channels_[channel].index, 63u);
    view.worst_tier = std::max(view.worst_tier, channels_[channel].tier);
    const auto failed_before = view.attempts.find(chunk.all().front().target_offset);
    if (failed_before != view.attempts.end() && failed_before->second != 0) {
      ++view.resent;
      view.resent_bytes += chunk.bytes;
      if (failed_before->second >= world_.config.max_attempts)
        blame("a chunk was sent more often than it may be");
    }

    Chunk entry;
    entry.work = work;
    entry.post = chunk;
    entry.pieces.assign(chunk.all().begin(), chunk.all().end());
    entry.posted_ns = now();
    entry.limit_ns = limit_ns(channel, chunk);
    limits_.insert({entry.limit_ns, {channel, chunk.chunk}});
    if (!chunks_.emplace(std::pair(channel, chunk.chunk), entry).second)
      blame("a chunk id was posted twice");
    inner_->post(channel, {&chunk, 1});
  }
}

/// Nothing that crosses the channel can be late, nor has failed since it was last seen to work with
/// no quarantine left.
bool Watcher::surely_works(ChannelId channel) const {
  const auto works = [&](ChannelId id) {
    const ChannelView& view = channels_[id];
    if (view.down_ns != never_ns) return false;
    if (view.failed_ns >= 0 &&
        view.landed_ns <= view.failed_ns + world_.config.quarantine_max_ns + 1 * ms_ns)
      return false;
    for (auto chunk = chunks_.lower_bound({id, 0});
         chunk != chunks_.end() && chunk->first.first == id; ++chunk)
      if (now() - chunk->second.posted_ns >= world_.config.late_floor_ns) return false;
    return true;
  };
  const std::vector<LinkView>& links = schedulers_[channels_[channel].scheduler].links;
  return works(channel) && std::all_of(channels_[channel].links.begin(),
                                       channels_[channel].links.end(), [&](std::uint32_t link) {
                                         return std::all_of(links[link].channels.begin(),
                                                            links[link].channels.end(), works);
                                       });
}

/// What has been learnt of a link holds for every channel that crosses it: after the first chunk
/// that was given up there no user's chunk goes that way while its pair has one that surely works.
void Watcher::check_way(ChannelId channel) {
  const ChannelView& view = channels_[channel];
  const std::vector<LinkView>& links = schedulers_[view.scheduler].links;
  if (std::none_of(view.links.begin(), view.links.end(),
                   [&](std::uint32_t link) { return links[link].doubtful; }))
    return;
  const Route& route = world_.plan.requests[channel].route;
  for (ChannelId other = 0; other < channels_.size(); ++other) {
    const Route& way = world_.plan.requests[other].route;
    if (other == channel || way.source != route.source || way.target != route.target) continue;
    if (surely_works(other)) {
      blame("a user's chunk went over a link that has lost one, though its pair had another way");
      return;
    }
  }
}

std::uint64_t Watcher::link_landings(ChannelId channel) const {
  std::uint64_t sum = 0;
  for (const std::uint32_t link : channels_[channel].links)
    sum += schedulers_[channels_[channel].scheduler].links[link].landings;
  return sum;
}

void Watcher::broke_silence(ChannelId channel) {
  ChannelView& view = channels_[channel];
  view.silent_since_ns = now();
  view.probes_since = 0;
  view.link_landings = link_landings(channel);
}

/// The channel itself and each of its links may ask for a probe of it, and rests for a quarantine
/// after one that fails. A link that something lands on meanwhile may be late again.
void Watcher::check_probes(ChannelId channel) {
  ChannelView& view = channels_[channel];
  const TimeNs silent = now() - view.silent_since_ns;
  const auto askers = static_cast<std::uint64_t>(1 + view.links.size());
  const auto rests = static_cast<std::uint64_t>(silent / world_.config.quarantine_ns);
  const auto relapses = static_cast<std::uint64_t>(silent / world_.config.late_floor_ns + 1);
  const std::uint64_t again =
      std::min(askers * relapses, link_landings(channel) - view.link_landings);
  if (++view.probes_since > askers * (2 + rests) + again)
    blame("a channel from which nothing comes back is probed again and again");
}

void Watcher::post_probe(ChannelId channel, const ChunkPost& chunk) {
  ++probes_posted_;
  check_probes(channel);
  if (chunk.bytes != 0) blame("a probe has bytes");
  if (channels_[channel].down_ns != never_ns)
    blame("a probe was posted to a channel that is known to be down");
  if (++in_flight_[channel] > numbers_[channel].max_in_flight)
    blame("more chunks in flight than a channel takes");
  Chunk entry;
  entry.work = Work::no_work;
  entry.post = chunk;
  entry.posted_ns = now();
  entry.limit_ns = limit_ns(channel, chunk);
  limits_.insert({entry.limit_ns, {channel, chunk.chunk}});
  if (!chunks_.emplace(std::pair(channel, chunk.chunk), entry).second)
    blame("a chunk id was posted twice");
  inner_->post(channel, {&chunk, 1});
}

/// The most that a chunk of a channel can be expected to take: at the slowest rate that can be
/// learned, a 64th of what is advertised.
TimeNs slowest_service_ns(const ChannelNumbers& numbers, Bytes bytes) {
  const GatherCosts most = most_gathered(numbers);
  const double charged = static_cast<double>(most.charged_bytes(bytes, numbers.max_pieces));
  const double slowest = numbers.bytes_per_s > 0 ? 64e9 / numbers.bytes_per_s : 0;
  return static_cast<TimeNs>(charged * slowest +
                             static_cast<double>(most.posting_ns(numbers.max_pieces))) +
         1;
}

/// By when a chunk that is posted now has landed or been cancelled.
TimeNs Watcher::limit_ns(ChannelId channel, const ChunkPost& chunk) const {
  const ChannelNumbers& numbers = numbers_[channel];
  const TimeNs service =
      slowest_service_ns(numbers, std::max(numbers.max_chunk_bytes, chunk.bytes));
  return now() + in_flight_bound_ns(world_.config, numbers, service) + 1;
}

/// By when a transfer has ended or something has landed on its scheduler.
TimeNs Watcher::end_bound_ns(std::size_t pair) const {
  const SchedulerSetup& setup = setups_[scheduler_of_pair_[pair]];
  TimeNs service = 0;
  for (const SetupChannel& channel : setup.channels)
    service =
        std::max(service, slowest_service_ns(channel.numbers, channel.numbers.max_chunk_bytes));
  std::uint32_t index = 0;
  for (std::uint32_t p = 0; p < setup.pairs.size(); ++p)
    if (setup.pairs[p].source == world_.pairs[pair].first &&
        setup.pairs[p].target == world_.pairs[pair].second)
      index = p;
  return kvhaul::end_bound_ns(setup, index, service) +
         world_.config.max_attempts * world_.weather.cancel_takes_ns;
}

/// It has waited for so long that it may have been given up for want of a way.
bool Watcher::may_have_stalled(const TransferView& view) const {
  return view.stalled || now() - std::max(view.submitted_ns, pair_landed_ns_[view.pair]) >=
                             world_.config.stall_timeout_ns;
}

/// A more urgent transfer of the same pair does not wait while a less urgent one is posted. Urgent
/// is who has the higher class, ageing counted, then the earlier deadline, then the earlier
/// submission.
void Watcher::check_order(const TransferView& posted) {
  const TimeNs time = now();
  if (word_ns_ == time) return;  // what went before may have been withdrawn
  const auto order = [&](const TransferView& v) {
    const auto risen = (time - v.submitted_ns) / world_.config.ageing_ns;
    const auto climbed = std::max<TimeNs>(0, static_cast<TimeNs>(v.priority) - risen);
    return std::tuple(climbed, v.deadline_ns, v.order);
  };
  for (const auto& [work, other] : views_) {
    if (!other.open || other.ending || other.failed_ns != never_ns) continue;
    if (may_have_stalled(other)) continue;
    if (other.pair != posted.pair || other.issued >= other.total) continue;
    // What is posted now may have been decided earlier in this very instant.
    if (work == posted.work || other.fresh_ns >= time) continue;
    if (order(other) >= order(posted)) continue;
    blame("a transfer was posted before a more urgent one: class " +
          std::to_string(static_cast<int>(posted.priority)) + " before " +
          std::to_string(static_cast<int>(other.priority)));
    return;
  }
}

void Watcher::check_timeouts() {
  while (!limits_.empty() && limits_.begin()->first < now()) {
    const auto key = limits_.begin()->second;
    limits_.erase(limits_.begin());
    const auto chunk = chunks_.find(key);
    if (chunk != chunks_.end() && !chunk->second.cancelled) blame("a chunk outlived its timeout");
  }
}

/// Whatever is lost, a transfer ends, or something lands on its scheduler, within the bound.
void Watcher::check_ends() {
  for (SchedulerView& scheduler : schedulers_) {
    if (scheduler.open.empty()) continue;
    const auto [submitted, bound] = *scheduler.open.begin();
    if (bound == never_ns) continue;
    const TimeNs waited = now() - std::max(submitted, scheduler.alive_ns);
    share_of_bound_ = std::max(share_of_bound_, static_cast<std::uint64_t>(100 * waited / bound));
    if (waited > bound) blame("a transfer is open for longer than the bound, and nothing lands");
  }
}

void Watcher::cancel(ChannelId channel, ChunkId chunk) {
  const auto found = chunks_.find({channel, chunk});
  if (found != chunks_.end()) {
    found->second.cancelled = true;
    const std::size_t work = found->second.work;
    const bool wanted = work == Work::no_work ||
                        (views_[work].open && !views_[work].ending &&
                         views_[work].failed_ns == never_ns && !may_have_stalled(views_[work]));
    // Given up, then, and not for its transfer's sake.
    if (wanted && channels_[channel].down_ns == never_ns &&
        channels_[channel].landed_ns < found->second.posted_ns) {
      channels_[channel].doubtful = true;
      for (const std::uint32_t link : channels_[channel].links) {
        LinkView& view = schedulers_[channels_[channel].scheduler].links[link];
        if (view.landed_ns < found->second.posted_ns) view.doubtful = true;
      }
    }
  } else if (!ended_chunks_.count({channel, chunk})) {  // it may have ended in this very instant
    blame("a chunk was cancelled that was never posted");
  }
  inner_->cancel(channel, chunk);
}

Watcher::CreditView::Sender* Watcher::CreditView::sender(NodeId node) {
  const auto found = std::find_if(senders.begin(), senders.end(),
                                  [&](const Sender& sender) { return sender.node == node; });
  return found == senders.end() ? nullptr : &*found;
}

Watcher::CreditView* Watcher::credit_of(PlaceId place) {
  const auto found = std::find_if(credits_.begin(), credits_.end(),
                                  [&](const CreditView& credit) { return credit.place == place; });
  return found == credits_.end() ? nullptr : &*found;
}

/// Whose credit a chunk on the channel uses.
Watcher::CreditView::Sender* Watcher::sender_on(ChannelId channel) {
  CreditView* credit = credit_of(world_.plan.requests[channel].route.target);
  return credit == nullptr ? nullptr : credit->sender(setups_[channels_[channel].scheduler].node);
}

void Watcher::send(const ControlMessage& message) {
  ++credit_messages_;
  if (CreditView* credit = credit_of(message.place)) {
    ++credit->on_the_way;
    if (message.kind == static_cast<std::uint32_t>(CreditMessage::grant))
      if (auto* sender = credit->sender(message.to)) sender->granted += message.value;
  }
  inner_->send(message);
}

/// While no message about a place is on its way, every sender that has asked for credit has its
/// share: what is left when the idle ones keep the smallest, divided evenly. Or somebody is above
/// the share that is left to it, and has all of its credit in flight: it cannot give back yet.
void Watcher::check_shares() {
  for (const CreditView& credit : credits_) {
    if (credit.on_the_way != 0) continue;
    const auto hungry = static_cast<Bytes>(
        std::count_if(credit.senders.begin(), credit.senders.end(),
                      [](const CreditView::Sender& sender) { return sender.hungry; }));
    if (hungry == 0) continue;
    if (hungry >= 3) ++crowded_moments_;
    const Bytes idle = credit.senders.size() - hungry;
    const Bytes fair = (credit.capacity - idle * credit.min_share) / hungry;
    const CreditView::Sender* poor = nullptr;
    bool later = false;
    for (const CreditView::Sender& sender : credit.senders) {
      if (sender.hungry && sender.granted < fair) poor = &sender;
      const Bytes share = sender.hungry ? fair : credit.min_share;
      later = later || (sender.granted > share && sender.in_flight >= sender.granted);
    }
    if (poor != nullptr && !later)
      blame("a sender holds " + std::to_string(poor->granted) + " bytes of credit, its share is " +
            std::to_string(fair) + ", and nobody has more to give back");
  }
}

void Watcher::progress(BackendEvents& events) {
  if (++steps_ > most_steps) throw Livelock{steps_};
  check_shares();
  const std::size_t first = events.completions.size();
  const std::size_t first_message = events.messages.size();
  inner_->progress(events);
  check_timeouts();
  check_ends();
  for (const ChannelChange& change : events.changes) {
    channels_[change.channel].down_ns = change.up ? never_ns : now();
    channels_[change.channel].failed_ns = now();
    broke_silence(change.channel);
    if (!change.up) word_ns_ = now();
  }
  for (std::size_t i = first_message; i < events.messages.size(); ++i) {
    const ControlMessage& message = events.messages[i];
    CreditView* credit = credit_of(message.place);
    if (credit == nullptr) continue;
    --credit->on_the_way;
    auto* sender = credit->sender(message.from);
    if (sender == nullptr) continue;
    if (message.kind == static_cast<std::uint32_t>(CreditMessage::ask)) sender->hungry = true;
    if (message.kind == static_cast<std::uint32_t>(CreditMessage::sated)) sender->hungry = false;
    if (message.kind == static_cast<std::uint32_t>(CreditMessage::release))
      sender->granted -= message.value;
  }
  for (std::size_t i = first; i < events.completions.size(); ++i) {
    const Completion& completion = events.completions[i];
    const auto found = chunks_.find({completion.channel, completion.chunk});
    if (found == chunks_.end()) {
      blame("the backend completed a chunk twice");
      continue;
    }
    const Chunk& chunk = found->second;
    --in_flight_[completion.channel];
    ChannelView& channel = channels_[completion.channel];
    if (completion.outcome == Outcome::ok) {
      channel.landed_ns = now();
      channel.doubtful = false;
      SchedulerView& scheduler = schedulers_[channel.scheduler];
      scheduler.alive_ns = now();
      for (const std::uint32_t link : channel.links) {
        scheduler.links[link].landed_ns = now();
        scheduler.links[link].doubtful = false;
        ++scheduler.links[link].landings;
      }
      broke_silence(completion.channel);
    } else {
      channel.failed_ns = now();
    }
    if (chunk.work == Work::no_work) {
      limits_.erase({chunk.limit_ns, found->first});
      ended_chunks_.insert(found->first);
      chunks_.erase(found);
      continue;
    }
    towards_[world_.plan.requests[completion.channel].route.target] -= chunk.post.bytes;
    if (auto* sender = sender_on(completion.channel)) sender->in_flight -= chunk.post.bytes;
    TransferView& view = views_[chunk.work];
    if (completion.outcome != Outcome::ok) {
      view.issued -= chunk.post.bytes;
      view.fresh_ns = now();
      const std::uint32_t used = ++view.attempts[chunk.pieces.front().target_offset];
      if (view.failed_ns == never_ns && used >= least_attempts()) view.failed_ns = now();
    } else {
      if (now() - pair_landed_ns_[view.pair] >= world_.config.stall_timeout_ns)
        for (auto& [work, other] : views_)
          if (other.pair == view.pair) other.stalled = may_have_stalled(other);
      pair_landed_ns_[view.pair] = now();
      view.last_landed = completion;
      for (const Descriptor& piece : chunk.pieces) {
        const Bytes end = piece.target_offset + piece.length;
        auto next = view.landed.lower_bound(piece.target_offset);
        const bool overlaps_next = next != view.landed.end() && next->first < end;
        const bool overlaps_last =
            next != view.landed.begin() && std::prev(next)->second > piece.target_offset;
        if (overlaps_next || overlaps_last) blame("bytes landed twice");
        view.landed[piece.target_offset] = end;
        view.landed_bytes += piece.length;
      }
    }
    limits_.erase({chunk.limit_ns, found->first});
    ended_chunks_.insert(found->first);
    chunks_.erase(found);
  }
}

void Watcher::ended(std::size_t work) {
  TransferView& view = views_.at(work);
  view.open = false;
  auto& open = schedulers_[scheduler_of_pair_[view.pair]].open;
  open.erase(open.find({view.submitted_ns, bound_of_pair_[view.pair]}));
  for (const auto& [key, chunk] : chunks_)
    if (chunk.work == work) blame("a transfer ended while a chunk of it is in flight");
}

}  // namespace kvhaul::simulation
