#include "core/channel_table.h"

#include "core/result.h"

namespace kvhaul {
namespace {

bool whole_pair_crosses(const SchedulerSetup& setup, std::uint32_t pair, std::uint32_t link) {
  const auto begin = std::lower_bound(
      setup.channels.begin(), setup.channels.end(), pair,
      [](const SetupChannel& channel, std::uint32_t p) { return channel.pair < p; });
  for (auto channel = begin; channel != setup.channels.end() && channel->pair == pair; ++channel)
    if (std::find(channel->links.begin(), channel->links.end(), link) == channel->links.end())
      return false;
  return true;
}

}  // namespace

ChannelTable::ChannelTable(const SchedulerSetup& setup)
    : link_queued_ns_(setup.links.size() + 1, 0),
      channel_window_ns_(setup.config.channel_window_ns),
      link_window_ns_(setup.config.link_window_ns),
      rate_time_constant_ns_(setup.config.rate_time_constant_ns),
      rate_step_ns_(setup.config.rate_time_constant_ns / 64) {
  for (const SetupLink& from : setup.links)
    link_costs_.push_back(ByteCost::from_rate(from.bytes_per_s));
  for (const SetupChannel& from : setup.channels) {
    Rate rate;
    // A hand-off moves nothing and costs nothing per byte.
    if (from.numbers.bytes_per_s > 0)
      rate.advertised = ByteCost::from_rate(from.numbers.bytes_per_s);
    rate.min_q32 = rate.advertised.q32() / 4;
    rate.max_q32 = rate.advertised.q32() * 64;
    rates_.push_back(rate);
    Channel channel;
    channel.cost = rate.advertised;
    channel.fixed_ns = from.numbers.fixed_ns;
    channel.post_ns = static_cast<std::uint32_t>(from.numbers.post_ns);
    channel.stages = static_cast<std::uint16_t>(from.numbers.stages);
    channel.half_bandwidth_bytes = static_cast<std::uint32_t>(from.numbers.half_bandwidth_bytes);
    channel.max_in_flight = from.numbers.max_in_flight;
    check(from.links.size() <= max_links, "a channel shares more links than the table holds");
    const auto add = [&](std::uint32_t link) {
      channel.links[channel.link_count++] = static_cast<std::uint16_t>(link);
    };
    for (const std::uint32_t link : from.links)
      if (!whole_pair_crosses(setup, from.pair, link)) add(link);
    channel.own_links = channel.link_count;
    for (std::uint32_t i = 0; i < 2; ++i)
      channel.near_links[i] =
          i < channel.own_links ? channel.links[i] : static_cast<std::uint16_t>(setup.links.size());
    for (const std::uint32_t link : from.links)
      if (whole_pair_crosses(setup, from.pair, link)) add(link);
    channels_.push_back(channel);
    // Channels that follow each other are mostly of one kind of route.
    if (gathers_.empty() || gathers_.back() != from.numbers.gather)
      gathers_.push_back(from.numbers.gather);
    gathers_of_.push_back(static_cast<std::uint32_t>(gathers_.size() - 1));
  }
}

ChannelTable::Charge ChannelTable::charge_gathered(std::uint32_t channel, Bytes bytes,
                                                   std::uint32_t pieces, Gather gather) const {
  const GatherCosts& costs = *gathers_[gathers_of_[channel]][static_cast<std::size_t>(gather)];
  return {costs.charged_bytes(bytes, pieces), costs.posting_ns(pieces)};
}

void ChannelTable::learn(std::uint32_t channel) {
  Rate& rate = rates_[channel];
  const auto busy = static_cast<std::uint64_t>(rate.busy_ns);
  const Bytes charged = rate.charged;
  rate.busy_ns = 0;
  rate.charged = 0;
  if (charged == 0 || rate.advertised.q32() == 0) return;
  const auto shown = static_cast<std::uint64_t>((static_cast<Wide>(busy) << 32) / charged);
  const auto sample = static_cast<std::int64_t>(std::clamp(shown, rate.min_q32, rate.max_q32));
  const auto weight_q16 = static_cast<std::int64_t>(
      (static_cast<Wide>(busy) << 16) /
      (static_cast<Wide>(busy) + static_cast<std::uint64_t>(rate_time_constant_ns_)));
  ByteCost& cost = channels_[channel].cost;
  const auto old = static_cast<std::int64_t>(cost.q32());
  const std::int64_t step = ((sample - old) >> 8) * weight_q16 >> 8;
  cost = ByteCost::from_q32(static_cast<std::uint64_t>(old + step));
}

bool ChannelTable::all_idle() const {
  return std::all_of(channels_.begin(), channels_.end(),
                     [](const Channel& c) { return c.in_flight == 0 && c.queued_ns == 0; }) &&
         std::all_of(link_queued_ns_.begin(), link_queued_ns_.end(),
                     [](TimeNs queued) { return queued == 0; });
}

}  // namespace kvhaul
