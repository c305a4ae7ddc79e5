#include "results/link_meter.h"

#include <algorithm>
#include <iterator>

#include "core/channel_plan.h"

namespace kvhaul {

LinkMeter::LinkMeter(const Cluster& cluster, std::span<const ChannelRequest> requests)
    : cluster_(cluster),
      requests_(requests),
      bins_(requests.size()),
      load_of_link_(cluster.links.size(), no_id),
      crossings_(requests.size()) {
  std::map<std::map<ChannelId, std::uint32_t>, std::uint32_t> loads;
  for (const auto& [link, channels] : link_crossings(requests)) {
    const auto [found, is_new] =
        loads.try_emplace(channels, static_cast<std::uint32_t>(loads_.size()));
    load_of_link_[link] = found->second;
    const double rate = cluster.links[link].bytes_per_s;
    if (is_new) {
      loads_.emplace_back().bytes_per_s = rate;
      for (const auto& [channel, times] : channels)
        crossings_[channel].push_back({found->second, times});
    }
    double& narrowest = loads_[found->second].bytes_per_s;
    narrowest = std::min(narrowest, rate);
  }
}

void LinkMeter::chunks_ended(std::span<const Completion> completions) {
  for (const Completion& completion : completions) {
    if (completion.outcome != Outcome::ok) continue;
    ++landed_chunks_;
    landed_bytes_ += completion.bytes;
    last_landed_ns_ = std::max(last_landed_ns_, completion.done_ns);
    add_busy(completion.started_ns, completion.done_ns);
    for (const Crossing& crossing : crossings_[completion.channel])
      add_to_load(loads_[crossing.load], completion.started_ns, completion.done_ns,
                  completion.bytes * crossing.times);
    while (completion.done_ns / bin_ns_ >= static_cast<TimeNs>(bins_max)) {
      for (std::vector<double>& bins : bins_) widen(bins);
      for (LinkLoad& load : loads_) widen(load.saturated_bins);
      bin_ns_ *= 2;
    }
    add(bins_[completion.channel], completion.started_ns, completion.done_ns,
        static_cast<double>(completion.bytes));
  }
}

void LinkMeter::add_to_load(LinkLoad& load, TimeNs from, TimeNs to, Bytes bytes) {
  // Nearly always it belongs to the last one, or begins a new one behind it.
  std::uint32_t at = load.count;
  while (at > 0 && load.at(at - 1).from_ns > to) --at;
  if (at == 0 || load.at(at - 1).to_ns < from) {
    if (load.count == latest_max) {
      settle(load);
      at = at == 0 ? 0 : at - 1;
    }
    for (std::uint32_t i = load.count++; i > at; --i) load.at(i) = load.at(i - 1);
    load.at(at) = {from, to, bytes};
    return;
  }
  Stretch& stretch = load.at(at - 1);
  stretch.from_ns = std::min(stretch.from_ns, from);
  stretch.to_ns = std::max(stretch.to_ns, to);
  stretch.bytes += bytes;
  for (; at >= 2 && load.at(at - 2).to_ns >= load.at(at - 1).from_ns; --at) {  // now they touch
    Stretch& before = load.at(at - 2);
    before.from_ns = std::min(before.from_ns, load.at(at - 1).from_ns);
    before.to_ns = std::max(before.to_ns, load.at(at - 1).to_ns);
    before.bytes += load.at(at - 1).bytes;
    for (std::uint32_t i = at; i < load.count; ++i) load.at(i - 1) = load.at(i);
    --load.count;
  }
}

/// Takes the oldest stretch into the sums. Start and landing are whole nanoseconds: together they
/// may be off by one.
void LinkMeter::settle(LinkLoad& load) {
  const Stretch stretch = load.at(0);
  load.begin = (load.begin + 1) % latest_max;
  --load.count;
  const TimeNs length_ns = stretch.to_ns - stretch.from_ns;
  const double utilisation = static_cast<double>(stretch.bytes) /
                             (load.bytes_per_s * static_cast<double>(length_ns + 1) * 1e-9);
  load.busiest = std::max(load.busiest, utilisation);
  load.busy_ns += length_ns;
  if (utilisation < saturated_from || length_ns == 0) return;
  load.saturated_ns += static_cast<double>(length_ns);
  add(load.saturated_bins, stretch.from_ns, stretch.to_ns, static_cast<double>(length_ns));
}

void LinkMeter::add_busy(TimeNs from, TimeNs to) {
  from = std::max(from, settled_ns_);
  if (to <= from) return;
  if (!busy_.empty()) {  // nearly always it begins inside the latest stretch
    auto& [latest_from, latest_to] = *busy_.rbegin();
    if (from >= latest_from && from <= latest_to) {
      busy_ns_ += std::max<TimeNs>(0, to - latest_to);
      latest_to = std::max(latest_to, to);
      return;
    }
  }
  auto next = busy_.upper_bound(from);
  if (next != busy_.begin() && std::prev(next)->second >= from) --next;
  while (next != busy_.end() && next->first <= to) {  // absorb what it touches
    from = std::min(from, next->first);
    to = std::max(to, next->second);
    busy_ns_ -= next->second - next->first;
    next = busy_.erase(next);
  }
  busy_[from] = to;
  busy_ns_ += to - from;
  if (busy_.size() <= stretches_max) return;
  settled_ns_ = busy_.begin()->second;
  busy_.erase(busy_.begin());
}

void LinkMeter::add(std::vector<double>& bins, TimeNs from, TimeNs to, double bytes) {
  const auto last = static_cast<std::size_t>(to / bin_ns_);
  if (last >= bins.size()) bins.resize(last + 1, 0);
  auto bin = static_cast<std::size_t>(from / bin_ns_);
  if (bin == last) {
    bins[bin] += bytes;
    return;
  }
  const double per_ns = bytes / static_cast<double>(to - from);
  for (TimeNs at = from; bin <= last; ++bin) {
    const TimeNs end = std::min(to, static_cast<TimeNs>(bin + 1) * bin_ns_);
    bins[bin] += per_ns * static_cast<double>(end - at);
    at = end;
  }
}

/// Joins neighbours.
void LinkMeter::widen(std::vector<double>& bins) {
  for (std::size_t i = 0; 2 * i < bins.size(); ++i)
    bins[i] = bins[2 * i] + (2 * i + 1 < bins.size() ? bins[2 * i + 1] : 0);
  bins.resize((bins.size() + 1) / 2);
}

Bytes LinkMeter::channel_bytes(ChannelId channel) const {
  double sum = 0;
  for (const double bytes : bins_[channel]) sum += bytes;
  return static_cast<Bytes>(sum + 0.5);
}

std::vector<LinkUse> LinkMeter::link_use(TimeNs end_ns) {
  std::map<LinkId, std::vector<double>> by_link;
  for (ChannelId channel = 0; channel < bins_.size(); ++channel)
    for (const LinkId link : requests_[channel].route.hops) {
      std::vector<double>& bins = by_link[link];
      bins.resize(std::max(bins.size(), bins_[channel].size()), 0);
      for (std::size_t b = 0; b < bins_[channel].size(); ++b) bins[b] += bins_[channel][b];
    }
  std::vector<LinkUse> uses;
  for (auto& [link, bins] : by_link) {
    LinkUse use;
    use.link = link;
    const double rate = cluster_.links[link].bytes_per_s;
    double sum = 0;
    for (std::size_t b = 0; b < bins.size(); ++b) {
      const TimeNs start = static_cast<TimeNs>(b) * bin_ns_;
      const auto width =
          static_cast<double>(std::min(bin_ns_, std::max<TimeNs>(1, end_ns - start)));
      const double utilisation = bins[b] / (rate * width * 1e-9);
      use.peak_utilisation = std::max(use.peak_utilisation, utilisation);
      sum += bins[b];
    }
    if (sum == 0) continue;
    use.bytes = static_cast<Bytes>(sum + 0.5);
    use.utilisation = sum / (rate * static_cast<double>(end_ns) * 1e-9);
    LinkLoad& load = loads_[load_of_link_[link]];
    while (load.count > 0) settle(load);
    const double share_of_narrowest = load.bytes_per_s / rate;
    use.stretch_utilisation = load.busiest * share_of_narrowest;
    use.busy_share = static_cast<double>(load.busy_ns) / static_cast<double>(end_ns);
    if (share_of_narrowest >= saturated_from) {
      use.saturated_share = load.saturated_ns / static_cast<double>(end_ns);
      use.bin_saturated_ns = load.saturated_bins;
    }
    use.bin_bytes = std::move(bins);
    uses.push_back(std::move(use));
  }
  std::stable_sort(uses.begin(), uses.end(), [](const LinkUse& a, const LinkUse& b) {
    return a.utilisation > b.utilisation;
  });
  return uses;
}

}  // namespace kvhaul
