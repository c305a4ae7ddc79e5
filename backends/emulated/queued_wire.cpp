#include "backends/emulated/queued_wire.h"

#include <algorithm>

#include "backends/modelled/channel_queues.h"

namespace kvhaul::emulated {
namespace {

constexpr auto later = [](const auto& a, const auto& b) {
  return a.at_ps != b.at_ps ? a.at_ps > b.at_ps : a.sequence > b.sequence;
};

}  // namespace

QueuedWire::QueuedWire(const Cluster& cluster, std::span<const ChannelRequest> requests) {
  for (const kvhaul::Link& link : cluster.links)
    links_.push_back({modelled::ps_per_byte_q32(link.bytes_per_s)});
  for (const ChannelRequest& request : requests) channels_.push_back({request.route.hops});
}

void QueuedWire::enter(const modelled::Passage& passage, modelled::TimePs now) {
  Channel& channel = channels_[passage.channel];
  modelled::TimePs leaves = now + passage.alone_ps;
  for (const LinkId id : channel.links) {
    Link& link = links_[id];
    link.free_ps = std::max(link.free_ps, now) +
                   modelled::cost_ps(link.ps_per_byte_q32, passage.charged_bytes);
    leaves = std::max(leaves, link.free_ps);
  }
  channel.sequence = next_sequence_++;
  heap_.push_back({leaves, channel.sequence, passage.channel});
  std::push_heap(heap_.begin(), heap_.end(), later);
}

/// The links stay occupied: they have been promised to the chunk.
void QueuedWire::stop(ChannelId channel, modelled::TimePs) { channels_[channel].sequence = 0; }

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
