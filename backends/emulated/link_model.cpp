#include "backends/emulated/link_model.h"

#include <algorithm>
#include <cmath>

#include "core/channel_plan.h"

namespace kvhaul::emulated {
namespace {

std::uint64_t ps_per_byte_q32(double bytes_per_s) {
  return bytes_per_s > 0
             ? static_cast<std::uint64_t>(std::llround(1e12 / bytes_per_s * 4294967296.0))
             : 0;
}

constexpr std::int64_t ps(TimeNs time_ns) { return time_ns * 1000; }
/// The nanosecond in which a moment lies; rounding up keeps an event from being handled early.
constexpr TimeNs ns_at(std::int64_t time_ps) { return (time_ps + 999) / 1000; }

}  // namespace

LinkModel::LinkModel(const Cluster& cluster, std::span<const ChannelRequest> requests) {
  for (const kvhaul::Link& link : cluster.links)
    links_.push_back({ps_per_byte_q32(link.bytes_per_s)});
  posters_free_ps_.assign(cluster.places.size(), 0);
  for (const ChannelRequest& request : requests) {
    const ChannelNumbers numbers = numbers_of(request.route, request.costs);
    Channel channel;
    channel.links = request.route.hops;
    channel.poster = request.pull ? request.route.target : request.route.source;
    channel.ps_per_byte_q32 = ps_per_byte_q32(numbers.bytes_per_s);
    channel.fixed_ps = ps(numbers.fixed_ns);
    channel.post_ps = ps(numbers.post_ns);
    channel.half_bandwidth_bytes = numbers.half_bandwidth_bytes;
    channel.stages = numbers.stages;
    if (numbers.pack) {
      channel.pack_fixed_ps = ps(numbers.pack->fixed_ns);
      channel.pack_ps_per_byte_q32 = ps_per_byte_q32(numbers.pack->bytes_per_s);
    }
    channels_.push_back(std::move(channel));
  }
}

void LinkModel::post(ChannelId id, std::uint32_t ticket, const ChunkPost& chunk, TimeNs now) {
  if (ticket >= tickets_.size()) tickets_.resize(ticket + 1);
  Channel& channel = channels_[id];
  const std::uint32_t writes = chunk.packed ? 1 : chunk.piece_count;
  Ticket& entry = tickets_[ticket];
  entry.channel = id;
  ++entry.use;
  entry.packed = chunk.packed;
  entry.bytes = chunk.bytes;
  entry.charged_bytes = chunk.bytes + writes * channel.half_bandwidth_bytes;
  TimePs& poster = posters_free_ps_[channel.poster];
  poster = std::max(poster, ps(now)) + writes * channel.post_ps;
  entry.ready_ps = poster;
  if (channel.head >= 64 || channel.head == channel.queue.size()) {
    channel.queue.erase(channel.queue.begin(),
                        channel.queue.begin() + static_cast<std::ptrdiff_t>(channel.head));
    channel.head = 0;
  }
  channel.queue.push_back(ticket);
  try_start(channel, ps(now));
}

/// The channel is free and something waits: begin, or wake up when the post is through.
void LinkModel::try_start(Channel& channel, TimePs now) {
  if (channel.serving != no_id || channel.head == channel.queue.size()) return;
  const std::uint32_t ticket = channel.queue[channel.head++];
  channel.serving = ticket;
  if (tickets_[ticket].ready_ps <= now)
    start(channel, ticket, now);
  else
    push(tickets_[ticket].ready_ps, Step::start, ticket);
}

void LinkModel::start(Channel& channel, std::uint32_t ticket, TimePs now) {
  Ticket& entry = tickets_[ticket];
  entry.started_ps = now;
  const TimePs own = cost(channel.ps_per_byte_q32, entry.charged_bytes);
  TimePs leaves = now + own;
  for (const std::uint32_t id : channel.links) {
    Link& link = links_[id];
    link.free_ps = std::max(link.free_ps, now) + cost(link.ps_per_byte_q32, entry.charged_bytes);
    leaves = std::max(leaves, link.free_ps);
  }
  TimePs lands = leaves + channel.fixed_ps + (channel.stages - 1) * own;
  if (entry.packed)
    lands += 2 * (channel.pack_fixed_ps + cost(channel.pack_ps_per_byte_q32, entry.bytes));
  // A short chunk behind a long one does not overtake it in a later stage.
  entry.done_ps = channel.last_done_ps = std::max(lands, channel.last_done_ps + own);
  push(leaves, Step::leave, ticket);
}

bool LinkModel::cancel(std::uint32_t ticket, TimeNs now) {
  Ticket& entry = tickets_[ticket];
  Channel& channel = channels_[entry.channel];
  if (channel.serving == ticket) {
    // What the links have carried of it cannot be taken back; the channel is free at once.
    ++entry.use;
    channel.serving = no_id;
    try_start(channel, ps(now));
    return true;
  }
  const auto begin = channel.queue.begin() + static_cast<std::ptrdiff_t>(channel.head);
  const auto waiting = std::find(begin, channel.queue.end(), ticket);
  if (waiting == channel.queue.end()) return false;
  channel.queue.erase(waiting);
  return true;
}

void LinkModel::advance(TimeNs now, std::vector<Landing>& landings) {
  while (!heap_.empty() && ns_at(heap_.front().at_ps) <= now) {
    const Event event = heap_.front();
    pop();
    Ticket& entry = tickets_[event.ticket];
    if (event.use != entry.use) continue;  // cancelled meanwhile
    Channel& channel = channels_[entry.channel];
    switch (event.step) {
      case Step::start:
        start(channel, event.ticket, event.at_ps);
        break;
      case Step::leave:
        channel.serving = no_id;
        if (entry.done_ps > event.at_ps) {
          push(entry.done_ps, Step::land, event.ticket);
          try_start(channel, event.at_ps);
          break;
        }
        landings.push_back({event.ticket, ns_at(entry.started_ps), ns_at(entry.done_ps)});
        try_start(channel, event.at_ps);
        break;
      case Step::land:
        landings.push_back({event.ticket, ns_at(entry.started_ps), ns_at(entry.done_ps)});
        break;
    }
  }
}

TimeNs LinkModel::next_ns() const { return heap_.empty() ? never_ns : ns_at(heap_.front().at_ps); }

namespace {
constexpr auto later = [](const auto& a, const auto& b) {
  return a.at_ps != b.at_ps ? a.at_ps > b.at_ps : a.sequence > b.sequence;
};
}  // namespace

void LinkModel::push(TimePs at, Step step, std::uint32_t ticket) {
  heap_.push_back({at, next_sequence_++, ticket, tickets_[ticket].use, step});
  std::push_heap(heap_.begin(), heap_.end(), later);
}

void LinkModel::pop() {
  std::pop_heap(heap_.begin(), heap_.end(), later);
  heap_.pop_back();
}

}  // namespace kvhaul::emulated
