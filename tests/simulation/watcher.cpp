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

void Watcher::submitted(std::size_t work, const TransferView& view) {
  views_[work] = view;
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
    const auto capacity = capacity_.find(route.target);
    if (capacity != capacity_.end() && towards_[route.target] > capacity->second)
      blame("more in flight towards a place than its credit");

    view.issued += chunk.bytes;
    if (view.issued > view.total)
      blame("more bytes of a transfer in flight and landed than it has");
    check_order(view);

    Chunk entry;
    entry.work = work;
    entry.post = chunk;
    entry.pieces.assign(chunk.all().begin(), chunk.all().end());
    entry.posted_ns = now();
    // The scheduler expects at most a full window and two chunks at the slowest rate it can learn
    // (a 64th of what is advertised); then the floor.
    const double slowest = 64.0 / numbers.bytes_per_s * 1e9;
    const double charged = static_cast<double>(most_gathered(numbers).charged_bytes(
        std::max<Bytes>(numbers.max_chunk_bytes, chunk.bytes), numbers.max_pieces));
    const double expected =
        static_cast<double>(numbers.fixed_ns + world_.config.channel_window_ns) +
        3.0 * numbers.max_in_flight *
            (charged * slowest +
             static_cast<double>(most_gathered(numbers).posting_ns(numbers.max_pieces)));
    entry.limit_ns = now() + world_.config.timeout_floor_ns +
                     static_cast<TimeNs>(std::min(1e15, world_.config.timeout_factor * expected)) +
                     1;
    limits_.insert({entry.limit_ns, {channel, chunk.chunk}});
    if (!chunks_.emplace(std::pair(channel, chunk.chunk), entry).second)
      blame("a chunk id was posted twice");
    inner_->post(channel, {&chunk, 1});
  }
}

/// A more urgent transfer of the same pair does not wait while a less urgent one is posted. Urgent
/// is who has the higher class, ageing counted, then the earlier deadline, then the earlier
/// submission.
void Watcher::check_order(const TransferView& posted) {
  const TimeNs time = now();
  const auto order = [&](const TransferView& v) {
    const auto risen = (time - v.submitted_ns) / world_.config.ageing_ns;
    const auto climbed = std::max<TimeNs>(0, static_cast<TimeNs>(v.priority) - risen);
    return std::tuple(climbed, v.deadline_ns, v.order);
  };
  for (const auto& [work, other] : views_) {
    if (!other.open || other.ending || other.failed_ns != never_ns) continue;
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

void Watcher::cancel(ChannelId channel, ChunkId chunk) {
  const auto found = chunks_.find({channel, chunk});
  if (found != chunks_.end())
    found->second.cancelled = true;
  else if (!ended_chunks_.count({channel, chunk}))  // it may have ended in this very instant
    blame("a chunk was cancelled that was never posted");
  inner_->cancel(channel, chunk);
}

void Watcher::send(const ControlMessage& message) {
  ++credit_messages_;
  inner_->send(message);
}

void Watcher::progress(BackendEvents& events) {
  const std::size_t first = events.completions.size();
  inner_->progress(events);
  check_timeouts();
  for (std::size_t i = first; i < events.completions.size(); ++i) {
    const Completion& completion = events.completions[i];
    const auto found = chunks_.find({completion.channel, completion.chunk});
    if (found == chunks_.end()) {
      blame("the backend completed a chunk twice");
      continue;
    }
    const Chunk& chunk = found->second;
    --in_flight_[completion.channel];
    towards_[world_.plan.requests[completion.channel].route.target] -= chunk.post.bytes;
    TransferView& view = views_[chunk.work];
    if (completion.outcome != Outcome::ok) {
      view.issued -= chunk.post.bytes;
      view.fresh_ns = now();
      if (++view.attempts[chunk.pieces.front().target_offset] == world_.config.max_attempts)
        view.failed_ns = now();
    } else {
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
  for (const auto& [key, chunk] : chunks_)
    if (chunk.work == work) blame("a transfer ended while a chunk of it is in flight");
}

}  // namespace kvhaul::simulation
