#include "sim/simgrid_wire.h"

#include <algorithm>
#include <cmath>

namespace kvhaul::sim {
namespace {

using modelled::TimePs;

/// SimGrid's solution is floating point: a flow that gets all of what it could is told so exactly.
constexpr double whole_from = 1 - 1e-9;
/// A link that is down to nothing still ends a run: 30 years.
constexpr double longest_ps = 1e18;

}  // namespace

SimgridWire::SimgridWire(const Cluster& cluster, std::span<const ChannelRequest> requests)
    : platform_(requests.size()), channels_(requests.size()), link_used_(cluster.links.size()) {
  for (const Link& link : cluster.links) link_bytes_per_s_.push_back(link.bytes_per_s);
  for (ChannelId id = 0; id < requests.size(); ++id) {
    const Route& route = requests[id].route;
    if (route.hops.empty()) continue;
    for (const LinkId link : route.hops) {
      if (link_used_[link]) continue;
      link_used_[link] = true;
      platform_.add_link(link, cluster.links[link].bytes_per_s, 1);
    }
    platform_.add_flow(id, route.hops);
    channels_[id].alone_bytes_per_s = route.bytes_per_s;
  }
}

void SimgridWire::touch(ChannelId id, TimePs now) {
  if (now != changed_ps_) apply_changes();  // of an earlier moment
  changed_ps_ = now;
  next_known_ = false;
  Channel& channel = channels_[id];
  if (channel.touched) return;
  channel.touched = true;
  touched_.push_back(id);
}

void SimgridWire::enter(const modelled::Passage& passage, TimePs now) {
  touch(passage.channel, now);
  Channel& channel = channels_[passage.channel];
  channel.left_ps = static_cast<double>(passage.alone_ps);
  channel.settled_ps = now;
  channel.sequence = next_sequence_++;
  channel.done_ps = now;  // until its rate is known
  channel.busy = true;
  busy_.push_back(passage.channel);
  if (channel.alone_bytes_per_s == 0) channel.done_ps = now + passage.alone_ps;
}

void SimgridWire::stop(ChannelId id, TimePs now) {
  touch(id, now);
  channels_[id].busy = false;
  std::erase(busy_, id);
}

ChannelId SimgridWire::leave() {
  next_ps();
  const ChannelId id = next_;
  stop(id, channels_[id].done_ps);
  return id;
}

bool SimgridWire::set_link_share(LinkId link, double share, TimePs now) {
  if (!link_used_[link]) return true;
  apply_changes();
  changed_ps_ = now;
  platform_.set_link_rate(link, share * link_bytes_per_s_[link]);
  rates_changed_ = true;
  next_known_ = false;
  return true;
}

/// Work done since the last time, at the rate since then.
void SimgridWire::settle(Channel& channel, TimePs now) const {
  channel.left_ps -= static_cast<double>(now - channel.settled_ps) / channel.slowdown;
  channel.left_ps = std::max(channel.left_ps, 0.0);
  channel.settled_ps = now;
}

/// Begins and ends flows where channels have become busy or idle for longer than a moment, and lets
/// SimGrid share the links anew if any did.
void SimgridWire::apply_changes() {
  bool share = rates_changed_;
  rates_changed_ = false;
  for (const ChannelId id : touched_) {
    Channel& channel = channels_[id];
    channel.touched = false;
    if (channel.alone_bytes_per_s == 0) continue;
    if (channel.busy != channel.flowing) {
      channel.busy ? platform_.run_flow(id) : platform_.pause_flow(id);
      channel.flowing = channel.busy;
      channel.slowdown = 1;
      share = true;
    }
    if (channel.busy)
      channel.done_ps = channel.settled_ps +
                        std::llround(std::min(channel.left_ps * channel.slowdown, longest_ps));
  }
  touched_.clear();
  if (!share) return;
  platform_.share();
  for (const ChannelId id : busy_) {
    Channel& channel = channels_[id];
    if (channel.alone_bytes_per_s == 0) continue;
    const double share_of_alone = platform_.rate(id) / channel.alone_bytes_per_s;
    const double slowdown = share_of_alone >= whole_from ? 1 : 1 / std::max(share_of_alone, 1e-12);
    if (slowdown == channel.slowdown) continue;
    settle(channel, changed_ps_);
    channel.slowdown = slowdown;
    channel.done_ps =
        channel.settled_ps + std::llround(std::min(channel.left_ps * slowdown, longest_ps));
  }
}

void SimgridWire::find_next() {
  next_ = no_id;
  for (const ChannelId id : busy_) {
    if (next_ == no_id) {
      next_ = id;
      continue;
    }
    const Channel& a = channels_[id];
    const Channel& b = channels_[next_];
    if (a.done_ps != b.done_ps ? a.done_ps < b.done_ps : a.sequence < b.sequence) next_ = id;
  }
  next_known_ = true;
}

TimePs SimgridWire::next_ps() {
  if (!next_known_) {
    apply_changes();
    find_next();
  }
  return next_ == no_id ? modelled::never_ps : channels_[next_].done_ps;
}

}  // namespace kvhaul::sim
