#include "sim/simgrid_wire.h"

#include <algorithm>
#include <cmath>

#include "sim/binding_links.h"

namespace kvhaul::sim {
namespace {

using modelled::TimePs;

/// SimGrid's solution is floating point: a flow that gets all of what it could is told so exactly.
constexpr double whole_from = 1 - 1e-9;
constexpr double least_share = 1e-12;
/// What is on a link that is down to nothing ends all the same: after 11 days, or the time it takes
/// alone where that is longer.
constexpr double longest_ps = 1e18;

TimePs slowed(double alone_ps, double slowdown) {
  return static_cast<TimePs>(
      std::round(std::min(alone_ps * slowdown, std::max(alone_ps, longest_ps))));
}

}  // namespace

SimgridWire::SimgridWire(const Cluster& cluster, std::span<const ChannelRequest> requests)
    : cluster_(cluster),
      requests_(requests.begin(), requests.end()),
      channels_(requests.size()),
      users_(cluster.links.size()),
      used_(cluster.links.size()) {
  for (ChannelId id = 0; id < requests.size(); ++id) {
    const Route& route = requests[id].route;
    Channel& channel = channels_[id];
    channel.links = route.hops;
    std::sort(channel.links.begin(), channel.links.end());
    channel.links.erase(std::unique(channel.links.begin(), channel.links.end()),
                        channel.links.end());
    for (const LinkId link : channel.links) used_[link] = true;
    if (requests[id].pull)
      for (const LinkId link : channel.links)
        if (cluster.links[link].read_incast < 1) channel.reads.push_back(link);
    if (!route.hops.empty()) channel.alone_bytes_per_s = route.bytes_per_s;
  }
  build(binding_links(cluster, requests));
}

/// With its share of the rate, and less while several GPUs are read into it.
double SimgridWire::rate_now(LinkId link) const {
  double rate = cluster_.links[link].bytes_per_s;
  if (!shares_.empty()) rate *= shares_[link];
  const auto readers = readers_.find(link);
  if (readers != readers_.end() && readers->second.places > 1)
    rate *= cluster_.links[link].read_incast;
  return rate;
}

/// A channel that pulls begins (1) or ends (-1) to read into a port. True if its rate has changed.
bool SimgridWire::count_reader(ChannelId id, LinkId link, int step) {
  Readers& readers = readers_[link];
  const bool several = readers.places > 1;
  int& channels = readers.channels[requests_[id].route.source];
  const bool read_before = channels > 0;
  channels += step;
  readers.places += static_cast<int>(channels > 0) - static_cast<int>(read_before);
  if (several == (readers.places > 1)) return false;
  platform_->set_link_rate(link, rate_now(link));
  return true;
}

/// A platform of those links; the others bind nowhere. Flows begin anew.
void SimgridWire::build(const std::vector<bool>& links) {
  platform_ = std::make_unique<SimgridPlatform>(channels_.size());
  for (LinkId link = 0; link < links.size(); ++link)
    if (links[link]) platform_->add_link(link, rate_now(link));
  std::vector<LinkId> road;
  for (ChannelId id = 0; id < channels_.size(); ++id) {
    road.clear();
    for (const LinkId link : requests_[id].route.hops)
      if (links[link]) road.push_back(link);
    if (!road.empty()) platform_->add_flow(id, road);
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
  channel.busy_at = busy_.size();
  busy_.push_back(passage.channel);
  if (channel.alone_bytes_per_s == 0) channel.done_ps = now + passage.alone_ps;
}

void SimgridWire::stop(ChannelId id, TimePs now) {
  touch(id, now);
  Channel& channel = channels_[id];
  channel.busy = false;
  busy_[channel.busy_at] = busy_.back();  // their order means nothing
  channels_[busy_.back()].busy_at = channel.busy_at;
  busy_.pop_back();
}

ChannelId SimgridWire::leave() {
  next_ps();
  const ChannelId id = next_;
  stop(id, channels_[id].done_ps);
  return id;
}

bool SimgridWire::set_link_share(LinkId link, double share, TimePs now) {
  // Nothing crosses it, or nothing changes: asking whether it can be done must cost nothing.
  if (!used_[link] || (shares_.empty() && share == 1)) return true;
  // For SimGrid a rate of 0 is no limit at all.
  share = std::max(share, least_share);
  apply_changes();
  changed_ps_ = now;
  next_known_ = false;
  rates_changed_ = true;
  if (shares_.empty()) {
    shares_.assign(cluster_.links.size(), 1);
    shares_[link] = share;
    build(used_);
    for (const ChannelId id : busy_) {
      channels_[id].flowing = false;
      if (channels_[id].alone_bytes_per_s != 0) flow(id);
    }
    return true;
  }
  shares_[link] = share;
  platform_->set_link_rate(link, rate_now(link));
  return true;
}

/// Work done since the last time, at the rate since then.
void SimgridWire::settle(Channel& channel, TimePs now) const {
  channel.left_ps -= static_cast<double>(now - channel.settled_ps) / channel.slowdown;
  channel.left_ps = std::max(channel.left_ps, 0.0);
  channel.settled_ps = now;
}

void SimgridWire::flow(ChannelId id) {
  platform_->run_flow(id);
  channels_[id].flowing = true;
}

/// The channel has become idle. True if the links have to be shared anew.
bool SimgridWire::end(ChannelId id) {
  Channel& channel = channels_[id];
  channel.counted = false;
  bool changed = channel.flowing;
  for (const LinkId link : channel.links) {
    --users_[link].count;
    users_[link].mixed ^= id;
  }
  for (const LinkId link : channel.reads) changed = count_reader(id, link, -1) || changed;
  if (channel.flowing) platform_->pause_flow(id);
  channel.flowing = false;
  return changed;
}

/// The channel has become busy. True if flows have begun: its own, and those it has met.
bool SimgridWire::begin(ChannelId id) {
  Channel& channel = channels_[id];
  channel.counted = true;
  channel.slowdown = 1;
  bool shares = !shares_.empty();
  for (const LinkId link : channel.links) {
    Users& users = users_[link];
    if (users.count == 1 && !channels_[users.mixed].flowing) flow(users.mixed);
    shares = shares || users.count > 0;
    ++users.count;
    users.mixed ^= id;
  }
  for (const LinkId link : channel.reads) count_reader(id, link, 1);
  if (shares) flow(id);
  return shares;
}

/// Takes in which channels have become busy or idle for longer than a moment, and lets SimGrid
/// share the links anew where that matters.
void SimgridWire::apply_changes() {
  bool share = rates_changed_;
  rates_changed_ = false;
  for (const ChannelId id : touched_)
    if (channels_[id].counted && !channels_[id].busy) share = end(id) || share;
  for (const ChannelId id : touched_) {
    Channel& channel = channels_[id];
    channel.touched = false;
    if (!channel.busy || channel.alone_bytes_per_s == 0) continue;
    if (!channel.counted) share = begin(id) || share;
    channel.done_ps = channel.settled_ps + slowed(channel.left_ps, channel.slowdown);
  }
  touched_.clear();
  if (!share) return;
  platform_->share();
  for (const ChannelId id : busy_) {
    Channel& channel = channels_[id];
    if (!channel.flowing) continue;
    const double share_of_alone = platform_->rate(id) / channel.alone_bytes_per_s;
    const double slowdown = share_of_alone >= whole_from ? 1 : 1 / std::max(share_of_alone, 1e-12);
    if (slowdown == channel.slowdown) continue;
    settle(channel, changed_ps_);
    channel.slowdown = slowdown;
    channel.done_ps = channel.settled_ps + slowed(channel.left_ps, slowdown);
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
