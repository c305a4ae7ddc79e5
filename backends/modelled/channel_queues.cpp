#include "backends/modelled/channel_queues.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/channel_plan.h"

namespace kvhaul::modelled {
namespace {

constexpr TimePs ps(TimeNs time_ns) { return TimePs{time_ns} * 1000; }
/// The nanosecond in which a moment lies; rounding up keeps an event from being handled early. What
/// lies beyond all nanoseconds is never.
constexpr TimeNs ns_at(TimePs time_ps) {
  constexpr TimePs narrow_ps = std::numeric_limits<std::int64_t>::max() - 999;
  if (time_ps <= narrow_ps) [[likely]]  // up to 106 days a division takes 64 bits
    return (static_cast<std::int64_t>(time_ps) + 999) / 1000;
  return time_ps > ps(never_ns) - 999 ? never_ns : static_cast<TimeNs>((time_ps + 999) / 1000);
}

std::array<GatherCosts, gather_count> gathers_of(const ChannelNumbers& numbers) {
  std::array<GatherCosts, gather_count> gathers;
  for (std::size_t m = 0; m < gather_count; ++m)
    gathers[m] =
        numbers.gather_costs(static_cast<Gather>(m)).value_or(*numbers.gather_costs(Gather::each));
  return gathers;
}

/// What a link costs that has rested for so long.
TimePs waking_ps(const std::vector<IdleCost>& after_idle, TimePs idle) {
  TimePs cost = 0;
  for (const IdleCost& entry : after_idle)
    if (ps(entry.idle_ns) <= idle) cost = ps(entry.cost_ns);
  return cost;
}

constexpr auto later = [](const auto& a, const auto& b) {
  return a.at_ps != b.at_ps ? a.at_ps > b.at_ps : a.sequence > b.sequence;
};

}  // namespace

std::uint64_t ps_per_byte_q32(double bytes_per_s) {
  constexpr double most = 9e18;  // 477 bytes per second
  return bytes_per_s > 0 ? static_cast<std::uint64_t>(
                               std::llround(std::min(most, 1e12 / bytes_per_s * 4294967296.0)))
                         : 0;
}

ChannelQueues::ChannelQueues(const Cluster& cluster, std::span<const ChannelRequest> requests,
                             std::unique_ptr<Wire> wire)
    : wire_(std::move(wire)) {
  posters_free_ps_.assign(cluster.places.size(), 0);
  const bool rest_matters =
      std::any_of(requests.begin(), requests.end(),
                  [](const ChannelRequest& r) { return !r.costs.after_idle.empty(); });
  if (rest_matters) link_uses_.resize(cluster.links.size());
  for (const ChannelRequest& request : requests) {
    const ChannelNumbers numbers = numbers_of(request.route, request.costs);
    Channel channel;
    channel.poster = request.pull ? request.route.target : request.route.source;
    channel.ps_per_byte_q32 = modelled::ps_per_byte_q32(numbers.bytes_per_s);
    channel.fixed_ps = ps(numbers.fixed_ns);
    channel.stages = numbers.stages;
    const Gathers gathers = gathers_of(numbers);
    if (gathers_.empty() || gathers_.back() != gathers) gathers_.push_back(gathers);
    channel.gathers = static_cast<std::uint32_t>(gathers_.size() - 1);
    if (rest_matters) channel.links = request.route.hops;
    channel.after_idle = request.costs.after_idle;
    channels_.push_back(std::move(channel));
  }
}

void ChannelQueues::post(ChannelId id, std::uint32_t ticket, const ChunkPost& chunk, TimeNs now) {
  if (ticket >= tickets_.size()) tickets_.resize(ticket + 1);
  Channel& channel = channels_[id];
  const Gather method = chunk.piece_count == 1 ? Gather::each : chunk.gather;
  const GatherCosts& costs = gathers_[channel.gathers][static_cast<std::size_t>(method)];
  Ticket& entry = tickets_[ticket];
  entry.channel = id;
  ++entry.use;
  entry.charged_bytes = costs.charged_bytes(chunk.bytes, chunk.piece_count);
  entry.gather_ps =
      2 * (ps(costs.fixed_ns) + cost_ps(modelled::ps_per_byte_q32(costs.bytes_per_s), chunk.bytes));
  TimePs& poster = posters_free_ps_[channel.poster];
  poster = std::max(poster, ps(now)) + ps(costs.posting_ns(chunk.piece_count));
  entry.ready_ps = poster;
  if (channel.head >= 64 || channel.head == channel.queue.size()) {
    channel.queue.erase(channel.queue.begin(),
                        channel.queue.begin() + static_cast<std::ptrdiff_t>(channel.head));
    channel.head = 0;
  }
  channel.queue.push_back(ticket);
  try_start(id, ps(now));
}

/// The channel is free and something waits: begin, or wake up when the post is through.
void ChannelQueues::try_start(ChannelId id, TimePs now) {
  Channel& channel = channels_[id];
  if (channel.serving != no_id || channel.head == channel.queue.size()) return;
  const std::uint32_t ticket = channel.queue[channel.head++];
  channel.serving = ticket;
  channel.state = Serving::posted;
  if (tickets_[ticket].ready_ps <= now)
    start(ticket, now);
  else
    push(tickets_[ticket].ready_ps, Step::start, ticket);
}

/// When the links of a channel can be entered; they are in use from now on.
TimePs ChannelQueues::wake_links(const Channel& channel, TimePs now) {
  TimePs awake = now;
  for (const LinkId id : channel.links) {
    const LinkUse& use = link_uses_[id];
    awake = std::max(awake, use.awake_ps);
    if (use.chunks == 0)
      awake = std::max(awake, now + waking_ps(channel.after_idle, now - use.rests_since_ps));
  }
  for (const LinkId id : channel.links) {
    LinkUse& use = link_uses_[id];
    ++use.chunks;
    use.awake_ps = std::max(use.awake_ps, awake);
  }
  return awake;
}

void ChannelQueues::leave_links(const Channel& channel, TimePs now) {
  for (const LinkId id : channel.links) {
    --link_uses_[id].chunks;
    link_uses_[id].rests_since_ps = now;
  }
}

void ChannelQueues::start(std::uint32_t ticket, TimePs now) {
  Ticket& entry = tickets_[ticket];
  Channel& channel = channels_[entry.channel];
  if (channel.state == Serving::posted) {
    entry.started_ps = now;
    channel.state = Serving::waking;
    if (const TimePs awake = wake_links(channel, now); awake > now)
      return push(awake, Step::start, ticket);
  }
  channel.state = Serving::on_wire;
  wire_->enter(
      {entry.channel, cost_ps(channel.ps_per_byte_q32, entry.charged_bytes), entry.charged_bytes},
      now);
}

bool ChannelQueues::cancel(std::uint32_t ticket, TimeNs now) {
  Ticket& entry = tickets_[ticket];
  Channel& channel = channels_[entry.channel];
  if (channel.serving == ticket) {
    // What the links have carried of it cannot be taken back; the channel is free at once.
    ++entry.use;
    if (channel.state == Serving::on_wire) wire_->stop(entry.channel, ps(now));
    if (channel.state != Serving::posted) leave_links(channel, ps(now));
    channel.serving = no_id;
    try_start(entry.channel, ps(now));
    return true;
  }
  const auto begin = channel.queue.begin() + static_cast<std::ptrdiff_t>(channel.head);
  const auto waiting = std::find(begin, channel.queue.end(), ticket);
  if (waiting == channel.queue.end()) return false;
  channel.queue.erase(waiting);
  return true;
}

void ChannelQueues::left(ChannelId id, TimePs now, std::vector<Landing>& landings) {
  Channel& channel = channels_[id];
  const std::uint32_t ticket = channel.serving;
  Ticket& entry = tickets_[ticket];
  const TimePs own = cost_ps(channel.ps_per_byte_q32, entry.charged_bytes);
  const TimePs lands = now + channel.fixed_ps + (channel.stages - 1) * own + entry.gather_ps;
  // A short chunk behind a long one does not overtake it in a later stage.
  entry.done_ps = channel.last_done_ps = std::max(lands, channel.last_done_ps + own);
  channel.serving = no_id;
  leave_links(channel, now);
  if (entry.done_ps > now)
    push(entry.done_ps, Step::land, ticket);
  else
    landings.push_back(landing(ticket));
  try_start(id, now);
}

ChannelQueues::Landing ChannelQueues::landing(std::uint32_t ticket) const {
  const Ticket& entry = tickets_[ticket];
  return {ticket, ns_at(entry.ready_ps), ns_at(entry.started_ps), ns_at(entry.done_ps)};
}

void ChannelQueues::take_step(std::vector<Landing>& landings) {
  const Event event = heap_.front();
  pop();
  Ticket& entry = tickets_[event.ticket];
  if (event.use != entry.use) return;  // cancelled meanwhile
  if (event.step == Step::start)
    start(event.ticket, event.at_ps);
  else
    landings.push_back(landing(event.ticket));
}

void ChannelQueues::advance(TimeNs now, std::vector<Landing>& landings) {
  while (true) {
    const TimePs leaves = wire_->next_ps();
    const TimePs step = heap_.empty() ? never_ps : heap_.front().at_ps;
    if (std::min(leaves, step) > ps(now)) return;
    if (leaves <= step)
      left(wire_->leave(), leaves, landings);
    else
      take_step(landings);
  }
}

TimeNs ChannelQueues::next_ns() const {
  return ns_at(std::min(wire_->next_ps(), heap_.empty() ? never_ps : heap_.front().at_ps));
}

bool ChannelQueues::set_link_share(LinkId link, double share, TimeNs now) {
  return wire_->set_link_share(link, share, ps(now));
}

void ChannelQueues::push(TimePs at, Step step, std::uint32_t ticket) {
  heap_.push_back({at, next_sequence_++, ticket, tickets_[ticket].use, step});
  std::push_heap(heap_.begin(), heap_.end(), later);
}

void ChannelQueues::pop() {
  std::pop_heap(heap_.begin(), heap_.end(), later);
  heap_.pop_back();
}

}  // namespace kvhaul::modelled
