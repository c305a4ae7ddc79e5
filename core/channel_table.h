// The load a scheduler has put on each channel and on each link that channels share.
//
// All it knows is what it posted itself and what came back: queued work as time, the rate that
// completions show, and the windows. Nothing here allocates after construction.
//
// This is the scheduler's innermost loop: what choosing a channel reads is one cache line per
// channel, and eight bytes per link.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "core/scheduler_setup.h"
#include "core/units.h"

namespace kvhaul {

class ChannelTable {
 public:
  explicit ChannelTable(const SchedulerSetup& setup);

  /// What a chunk occupies a channel for, as bytes: its own, and what the method by which its
  /// pieces are gathered adds (GatherCosts).
  struct Charge {
    Bytes bytes = 0;
    TimeNs post_ns = 0;  // of the posting thread; a chunk takes no less
  };
  /// The same for all channels of a pair and tier: they are of one kind of route.
  Charge charge(std::uint32_t channel, Bytes bytes, std::uint32_t pieces, Gather gather) const {
    if (gather != Gather::each) [[unlikely]]
      return charge_gathered(channel, bytes, pieces, gather);
    const Channel& c = channels_[channel];
    return {bytes + std::uint64_t{pieces} * c.half_bandwidth_bytes,
            static_cast<TimeNs>(std::uint64_t{pieces} * c.post_ns)};
  }

  /// What a chunk costs beyond its latency, at the learned rate.
  TimeNs service_ns(std::uint32_t channel, const Charge& charge) const {
    return std::max(channels_[channel].cost.of(charge.bytes), charge.post_ns);
  }

  /// The candidate on which a chunk posted now would land first: fixed cost, what is queued on the
  /// channel or on the busiest link it shares, and its own time in every stage of the route.
  /// Candidates are channels of one pair and tier. The first of equals wins.
  std::uint32_t least_expected(std::span<const std::uint32_t> candidates,
                               const Charge& charge) const {
    const Channel& first = channels_[candidates[0]];
    TimeNs common = 0;  // links that all channels of the pair share: looked at once
    for (std::uint32_t i = first.own_links; i < first.link_count; ++i)
      common = std::max(common, link_queued_ns_[first.links[i]]);
    const TimeNs stages = first.stages;
    // Time and position in one number, so that the least of them needs no branch: which channel is
    // least loaded is nothing that a processor could predict. 2^47 ns are 39 hours.
    std::uint64_t least = ~std::uint64_t{0};
    const Channel* const channels = channels_.data();
    const TimeNs* const link_queued = link_queued_ns_.data();
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      const Channel& c = channels[candidates[i]];
      TimeNs queued = std::max(common, c.queued_ns);
      queued = std::max(queued, link_queued[c.near_links[0]]);
      queued = std::max(queued, link_queued[c.near_links[1]]);
      for (std::uint32_t k = 2; k < c.own_links; ++k)
        [[unlikely]] queued = std::max(queued, link_queued[c.links[k]]);
      const TimeNs service = std::max(c.cost.of(charge.bytes), charge.post_ns);
      const auto expected = static_cast<std::uint64_t>(c.fixed_ns + queued + service * stages);
      least = std::min(least, (expected << 16) | i);
    }
    return candidates[least & 0xffff];
  }

  bool channel_has_room(std::uint32_t channel, TimeNs service) const {
    const Channel& c = channels_[channel];
    return c.in_flight < c.max_in_flight &&
           (c.in_flight <= c.stages || c.queued_ns + service <= channel_window_ns_);
  }
  /// A link of the channel without room for that much more, or no_id. A link that carries nothing
  /// has room for anything, also while probes are on it.
  std::uint32_t full_link(std::uint32_t channel, Bytes charged) const {
    for (const std::uint16_t link : links_of(channel))
      if (link_queued_ns_[link] != 0 &&
          link_queued_ns_[link] + link_costs_[link].of(charged) > link_window_ns_) [[unlikely]]
        return link;
    return no_id;
  }
  std::span<const std::uint16_t> links_of(std::uint32_t channel) const {
    const Channel& c = channels_[channel];
    return {c.links, c.link_count};
  }
  std::uint32_t in_flight(std::uint32_t channel) const { return channels_[channel].in_flight; }
  /// Until a chunk that has just been posted should have landed: it passes what stands on its
  /// channel, or on the busiest link that it shares, itself included, then the later stages.
  TimeNs expected_ns(std::uint32_t channel, TimeNs service) const {
    const Channel& c = channels_[channel];
    TimeNs queued = c.queued_ns;
    for (std::uint32_t i = 0; i < c.link_count; ++i)
      queued = std::max(queued, link_queued_ns_[c.links[i]]);
    return c.fixed_ns + queued + service * (c.stages - 1);
  }
  const ByteCost& learned_cost(std::uint32_t channel) const { return channels_[channel].cost; }
  const ByteCost& advertised_cost(std::uint32_t channel) const {
    return rates_[channel].advertised;
  }
  bool all_idle() const;

  void posted(std::uint32_t channel, Bytes charged, TimeNs service) {
    Channel& c = channels_[channel];
    c.queued_ns += service;
    ++c.in_flight;
    for (const std::uint16_t link : links_of(channel))
      link_queued_ns_[link] += link_costs_[link].of(charged);
  }

  /// Takes back exactly what posted() added: the same two numbers.
  void ended(std::uint32_t channel, Bytes charged, TimeNs service) {
    Channel& c = channels_[channel];
    c.queued_ns -= service;
    --c.in_flight;
    for (const std::uint16_t link : links_of(channel))
      link_queued_ns_[link] -= link_costs_[link].of(charged);
  }

  /// A chunk landed: from when the channel was free for it until it was done shows the rate.
  /// Weight of a new observation: busy time / (busy time + time constant), so that the estimate
  /// follows time and not the number of chunks; what small chunks show is summed up first, which
  /// saves their divisions. Held within 1/64 to 4 times what is advertised.
  void observed(std::uint32_t channel, Bytes charged, TimeNs started_ns, TimeNs done_ns) {
    const Channel& c = channels_[channel];
    Rate& rate = rates_[channel];
    const TimeNs from = std::max(started_ns, rate.last_done_ns);
    rate.last_done_ns = std::max(rate.last_done_ns, done_ns);
    // Latency and the later stages belong to every chunk alike and cancel out between back-to-back
    // ones; the first after a pause shows them all.
    TimeNs busy = done_ns - from;
    if (from == started_ns) {
      busy -= c.fixed_ns;
      if (c.stages > 1) busy /= c.stages;
    }
    if (busy <= 0) return;
    rate.busy_ns += busy;
    rate.charged += charged;
    if (rate.busy_ns >= rate_step_ns_) [[unlikely]]
      learn(channel);
  }

 private:
  static constexpr std::uint32_t max_links = 6;

  Charge charge_gathered(std::uint32_t channel, Bytes bytes, std::uint32_t pieces,
                         Gather gather) const;
  void learn(std::uint32_t channel);

  struct alignas(64) Channel {
    TimeNs queued_ns = 0;
    ByteCost cost;  // learned
    TimeNs fixed_ns = 0;
    std::uint32_t half_bandwidth_bytes = 0;
    std::uint32_t post_ns = 0;
    std::uint32_t in_flight = 0;
    std::uint32_t max_in_flight = 0;
    std::uint16_t stages = 1;
    std::uint8_t own_links = 0;  // the first of `links`; the rest are crossed by the whole pair
    std::uint8_t link_count = 0;
    std::uint16_t links[max_links] = {};
    std::uint16_t near_links[2] = {};  // the first two own links, or the link that is never loaded
  };
  static_assert(sizeof(Channel) == 64);

  struct Rate {
    ByteCost advertised;
    std::uint64_t min_q32 = 0, max_q32 = 0;
    TimeNs last_done_ns = 0;
    TimeNs busy_ns = 0;  // since the estimate last moved
    Bytes charged = 0;   // the same
  };

  std::vector<Channel> channels_;
  std::vector<Rate> rates_;                // by channel
  std::vector<std::uint32_t> gathers_of_;  // by channel: its entry in gathers_
  std::vector<GatherTable> gathers_;       // each different one once
  std::vector<TimeNs> link_queued_ns_;     // by link, and one more that stays at zero
  std::vector<ByteCost> link_costs_;
  TimeNs channel_window_ns_;
  TimeNs link_window_ns_;
  TimeNs rate_time_constant_ns_;
  TimeNs rate_step_ns_;
};

}  // namespace kvhaul
