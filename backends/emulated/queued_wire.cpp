#include "backends/emulated/queued_wire.h"

#include <algorithm>
#include <cmath>

#include "backends/modelled/channel_queues.h"

namespace kvhaul::emulated {
namespace {

constexpr auto later = [](const auto& a, const auto& b) {
  return a.at_ps != b.at_ps ? a.at_ps > b.at_ps : a.sequence > b.sequence;
};

}  // namespace

/// What the link could have carried by then, as time at its whole rate.
modelled::TimePs QueuedWire::Link::work_at(TimePs time) const {
  if (share == 1) return since_work_ps + (time - since_ps);
  return since_work_ps +
         static_cast<TimePs>(std::round(static_cast<double>(time - since_ps) * share));
}

/// When it will have carried that much, should its share stay.
modelled::TimePs QueuedWire::Link::time_of(TimePs work) const {
  if (share == 1) return since_ps + (work - since_work_ps);
  constexpr double longest_ps = 1e18;  // 11 days; as SimGrid's wire has it
  const double more = static_cast<double>(work - since_work_ps);
  if (more <= 0) return since_ps;  // passed before the share changed
  return since_ps + static_cast<TimePs>(
                        std::round(share > 0 ? std::min(more / share, longest_ps) : longest_ps));
}

void QueuedWire::Link::settle(TimePs now) {
  since_work_ps = work_at(now);
  since_ps = now;
}

QueuedWire::QueuedWire(const Cluster& cluster, std::span<const ChannelRequest> requests) {
  for (const kvhaul::Link& link : cluster.links)
    links_.push_back({modelled::ps_per_byte_q32(link.bytes_per_s)});
  for (const ChannelRequest& request : requests) {
    Channel& channel = channels_.emplace_back();
    for (const LinkId link : request.route.hops) channel.links.push_back({link});
  }
}

void QueuedWire::enter(const modelled::Passage& passage, TimePs now) {
  Channel& channel = channels_[passage.channel];
  channel.alone_done_ps = now + passage.alone_ps;
  for (Crossing& crossing : channel.links) {
    Link& link = links_[crossing.link];
    if (link.share != 1) link.settle(now);  // long ago, a double would have lost digits
    link.free_work_ps = std::max(link.free_work_ps, link.work_at(now)) +
                        modelled::cost_ps(link.ps_per_byte_q32, passage.charged_bytes);
    crossing.passed_work_ps = link.free_work_ps;
  }
  channel.sequence = next_sequence_++;
  heap_.push_back({leaves_at(channel), channel.sequence, passage.channel});
  std::push_heap(heap_.begin(), heap_.end(), later);
}

modelled::TimePs QueuedWire::leaves_at(const Channel& channel) const {
  TimePs leaves = channel.alone_done_ps;
  for (const Crossing& crossing : channel.links)
    leaves = std::max(leaves, links_[crossing.link].time_of(crossing.passed_work_ps));
  return leaves;
}

bool QueuedWire::set_link_share(LinkId id, double share, TimePs now) {
  Link& link = links_[id];
  if (share == link.share) return true;
  link.settle(now);
  link.share = share;
  drop_stopped();
  for (Leaving& leaving : heap_) {
    const Channel& channel = channels_[leaving.channel];
    // What has passed already, or is not on the wire any more, does not come back.
    if (leaving.at_ps > now && channel.sequence == leaving.sequence)
      leaving.at_ps = std::max(now, leaves_at(channel));
  }
  std::make_heap(heap_.begin(), heap_.end(), later);
  return true;
}

/// The links stay occupied: they have been promised to the chunk.
void QueuedWire::stop(ChannelId channel, TimePs) { channels_[channel].sequence = 0; }

void QueuedWire::drop_stopped() {
  while (!heap_.empty() && channels_[heap_.front().channel].sequence != heap_.front().sequence) {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    heap_.pop_back();
  }
}

modelled::TimePs QueuedWire::next_ps() {
  drop_stopped();
  return heap_.empty() ? modelled::never_ps : heap_.front().at_ps;
}

ChannelId QueuedWire::leave() {
  drop_stopped();
  const ChannelId channel = heap_.front().channel;
  std::pop_heap(heap_.begin(), heap_.end(), later);
  heap_.pop_back();
  channels_[channel].sequence = 0;
  return channel;
}

}  // namespace kvhaul::emulated
