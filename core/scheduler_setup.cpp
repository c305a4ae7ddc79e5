#include "core/scheduler_setup.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "core/policy/all.h"
#include "core/unit_text.h"

namespace kvhaul {
namespace {

constexpr std::size_t links_per_channel = 6;  // what ChannelTable holds
constexpr double slowest_rate = 1e6;          // 1 MB/s: below it the fixed-point rates lose meaning

class SetupMaker {
 public:
  SetupMaker(const Cluster& cluster, std::span<const ChannelRequest> requests,
             std::span<const std::uint32_t> tiers, std::span<const ChannelNumbers> numbers,
             const SchedulerConfig& config)
      : cluster_(cluster), requests_(requests), tiers_(tiers), numbers_(numbers), config_(config) {}

  std::vector<SchedulerSetup> make() {
    for (const ChannelRequest& request : requests_) {
      senders_[request.route.target].insert(request.owner);
      nodes_.insert(request.owner);
      nodes_.insert(cluster_.places[request.route.target].node);
    }
    std::vector<SchedulerSetup> setups;
    for (const NodeId node : nodes_) {
      SchedulerSetup setup;
      setup.node = node;
      setup.config = config_;
      add_channels(setup);
      add_links(setup);
      add_ledgers(setup);
      setups.push_back(std::move(setup));
    }
    return setups;
  }

 private:
  struct Share {
    Bytes capacity, initial, smallest;
  };

  /// The credit of one place, the same however often and wherever it is computed.
  Share share_of(PlaceId target) const {
    const auto senders = static_cast<Bytes>(senders_.at(target).size());
    constexpr Bytes unlimited = Bytes{1} << 60;
    if (senders == 1 && config_.credit_bytes == 0) return {unlimited, unlimited, unlimited};
    Bytes capacity = config_.credit_bytes;
    if (capacity == 0) {
      Bytes window = 0, chunk = config_.chunk_bytes;
      for (std::size_t i = 0; i < requests_.size(); ++i) {
        if (requests_[i].route.target != target) continue;
        const double bytes_per_ns = numbers_[i].bytes_per_s * 1e-9;
        const auto in = [&](TimeNs time) {
          return static_cast<Bytes>(bytes_per_ns * static_cast<double>(time));
        };
        window = std::max(window, in(config_.channel_window_ns));
        if (config_.chunk_bytes == 0)
          chunk = std::max({chunk, in(config_.chunk_time_ns), config_.chunk_floor_bytes});
      }
      capacity = std::max(4 * window, 2 * senders * chunk);
    }
    if (senders == 1) return {capacity, capacity, capacity};
    return {capacity, capacity / senders, capacity / (2 * senders)};
  }

  void add_channels(SchedulerSetup& setup) const {
    std::map<std::pair<PlaceId, PlaceId>, std::uint32_t> pair_of;
    std::map<PlaceId, std::uint32_t> account_of;
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      if (requests_[i].owner != setup.node) continue;
      const Route& route = requests_[i].route;
      const auto [account, new_account] =
          account_of.try_emplace(route.target, static_cast<std::uint32_t>(setup.accounts.size()));
      if (new_account) {
        const Share share = share_of(route.target);
        setup.accounts.push_back({route.target, cluster_.places[route.target].node, share.initial,
                                  share.smallest, senders_.at(route.target).size() > 1});
      }
      const auto [pair, new_pair] = pair_of.try_emplace(
          {route.source, route.target}, static_cast<std::uint32_t>(setup.pairs.size()));
      if (new_pair) setup.pairs.push_back({route.source, route.target, account->second});
      setup.channels.push_back(
          {static_cast<ChannelId>(i), pair->second, tiers_[i], numbers_[i], {}});
    }
    std::stable_sort(setup.channels.begin(), setup.channels.end(),
                     [](const SetupChannel& a, const SetupChannel& b) {
                       return std::tie(a.pair, a.tier, a.numbers.distance, a.id) <
                              std::tie(b.pair, b.tier, b.numbers.distance, b.id);
                     });
  }

  /// A link matters to the scheduler when several of its channels cross it. Links crossed by the
  /// same channels are one, as slow as the slowest of them.
  void add_links(SchedulerSetup& setup) const {
    struct Crossing {
      std::vector<std::uint32_t> channels;
      double bytes_per_s = std::numeric_limits<double>::infinity();
    };
    std::map<LinkId, Crossing> crossings;
    for (std::uint32_t c = 0; c < setup.channels.size(); ++c) {
      std::map<LinkId, int> times;
      for (const LinkId link : requests_[setup.channels[c].id].route.hops) ++times[link];
      for (const auto& [link, count] : times) {
        Crossing& crossing = crossings[link];
        const double rate = cluster_.links[link].bytes_per_s / count;
        crossing.bytes_per_s = std::min(crossing.bytes_per_s, rate);
        crossing.channels.push_back(c);
      }
    }
    std::map<std::vector<std::uint32_t>, double> merged;
    for (const auto& [link, crossing] : crossings) {
      if (crossing.channels.size() < 2) continue;
      const auto [entry, is_new] = merged.try_emplace(crossing.channels, crossing.bytes_per_s);
      if (!is_new) entry->second = std::min(entry->second, crossing.bytes_per_s);
    }
    for (const auto& [channels, rate] : merged) {
      const auto link = static_cast<std::uint32_t>(setup.links.size());
      setup.links.push_back({rate});
      for (const std::uint32_t c : channels) setup.channels[c].links.push_back(link);
    }
    // More than the table holds: the slowest ones decide. The slowest of those that a whole tier of
    // a pair crosses, such as the GPU's own port, stays all the same: it says how many channels of
    // the pair can run side by side, and chunks are cut for so many.
    const auto slower = [&](std::uint32_t a, std::uint32_t b) {
      return setup.links[a].bytes_per_s < setup.links[b].bytes_per_s;
    };
    for (auto first = setup.channels.begin(); first != setup.channels.end();) {
      const auto last = std::find_if(first, setup.channels.end(), [&](const SetupChannel& c) {
        return c.pair != first->pair || c.tier != first->tier;
      });
      std::vector<std::uint32_t> common = first->links;
      for (auto channel = first; channel != last; ++channel)
        std::erase_if(common, [&](std::uint32_t link) {
          return std::find(channel->links.begin(), channel->links.end(), link) ==
                 channel->links.end();
        });
      const auto narrowest = std::min_element(common.begin(), common.end(), slower);
      for (; first != last; ++first) {
        std::vector<std::uint32_t>& links = first->links;
        if (links.size() <= links_per_channel) continue;
        std::stable_sort(links.begin(), links.end(), slower);
        links.resize(links_per_channel);
        if (narrowest != common.end() &&
            std::find(links.begin(), links.end(), *narrowest) == links.end())
          links.back() = *narrowest;
      }
    }
  }

  void add_ledgers(SchedulerSetup& setup) const {
    for (const auto& [place, senders] : senders_) {
      if (cluster_.places[place].node != setup.node || senders.size() < 2) continue;
      const Share share = share_of(place);
      setup.ledgers.push_back(
          {place, share.capacity, share.smallest, {senders.begin(), senders.end()}});
    }
  }

  const Cluster& cluster_;
  std::span<const ChannelRequest> requests_;
  std::span<const std::uint32_t> tiers_;
  std::span<const ChannelNumbers> numbers_;
  const SchedulerConfig& config_;
  std::map<PlaceId, std::set<NodeId>> senders_;
  std::set<NodeId> nodes_;
};

Error wrong(const std::string& what) { return Error::bad_input("scheduler setup: " + what); }

Result<void> check_config(const SchedulerConfig& config) {
  const bool known = std::any_of(all_policies.begin(), all_policies.end(),
                                 [&](const PolicyName& p) { return p.name == config.policy; });
  if (!known) {
    std::string names;
    for (const PolicyName& policy : all_policies)
      names += (names.empty() ? "" : ", ") + std::string(policy.name);
    return wrong("expected a policy out of " + names + ", found " + in_quotes(config.policy));
  }
  constexpr TimeNs longest = 1'000'000 * s_ns;
  const auto in_range = [](TimeNs time) { return time > 0 && time <= longest; };
  for (const TimeNs time :
       {config.ageing_ns, config.default_slack_ns, config.chunk_time_ns, config.channel_window_ns,
        config.link_window_ns, config.rate_time_constant_ns, config.late_floor_ns,
        config.timeout_floor_ns, config.timeout_cold_ns, config.quarantine_ns,
        config.quarantine_max_ns, config.stall_timeout_ns})
    if (!in_range(time)) return wrong("expected times above zero and below a million seconds");
  if (config.chunks_per_transfer == 0 || config.max_attempts == 0 || config.quarantine_errors == 0)
    return wrong("expected chunks per transfer, attempts and quarantine errors above zero");
  if (config.timeout_factor > 100) return wrong("expected a timeout factor up to 100");
  return {};
}

Result<void> check_gather(const GatherTable& table) {
  if (table[static_cast<std::size_t>(Gather::each)])
    return wrong("a channel's costs of single pieces stand in its table of gather methods");
  const auto in_range = [](TimeNs time, TimeNs most) { return time >= 0 && time <= most; };
  for (const std::optional<GatherCosts>& costs : table) {
    if (!costs) continue;
    if (!in_range(costs->fixed_ns, 1000 * s_ns) || !in_range(costs->post_ns, 1 * s_ns) ||
        !in_range(costs->piece_post_ns, 1 * s_ns) || costs->half_bandwidth_bytes > GiB ||
        costs->piece_half_bandwidth_bytes > GiB || costs->extra_permille > 99'000)
      return wrong("a gather method's costs are out of range");
    if (costs->bytes_per_s != 0 &&
        !(costs->bytes_per_s >= slowest_rate && costs->bytes_per_s <= 1e15))
      return wrong("expected a gather method's rate from 1 MB/s to 1 PB/s, or none");
  }
  return {};
}

Result<void> check_numbers(const ChannelNumbers& numbers) {
  const bool moves = numbers.bytes_per_s != 0;
  if (moves && !(numbers.bytes_per_s >= slowest_rate && numbers.bytes_per_s <= 1e15))
    return wrong("expected a channel rate from 1 MB/s to 1 PB/s, or none");
  if (numbers.max_in_flight == 0 || numbers.max_chunk_bytes == 0 || numbers.max_pieces == 0 ||
      numbers.stages == 0)
    return wrong("expected at least one chunk in flight, byte, piece and stage for every channel");
  if (numbers.max_chunk_bytes > 64 * GiB || numbers.max_pieces > 4096 || numbers.stages > 16)
    return wrong("expected chunks up to 64 GiB and 4096 pieces, and up to 16 stages");
  if (numbers.fixed_ns < 0 || numbers.post_ns < 0 || numbers.fixed_ns > 1000 * s_ns ||
      numbers.post_ns > 1 * s_ns || numbers.half_bandwidth_bytes > GiB)
    return wrong("a channel's fixed cost, post cost or half-bandwidth size is out of range");
  return check_gather(numbers.gather);
}

}  // namespace

Result<void> check_setup(const SchedulerSetup& setup) {
  if (auto ok = check_config(setup.config); !ok) return ok;
  std::tuple<std::uint32_t, std::uint32_t> last{0, 0};
  std::vector<bool> pair_seen(setup.pairs.size(), false);
  std::set<ChannelId> ids;
  const SetupChannel* previous = nullptr;
  for (const SetupChannel& channel : setup.channels) {
    if (channel.pair >= setup.pairs.size()) return wrong("a channel belongs to no pair");
    const std::tuple order{channel.pair, channel.tier};
    if (order < last) return wrong("channels are not in the order of their pairs and tiers");
    last = order;
    pair_seen[channel.pair] = true;
    if (!ids.insert(channel.id).second) return wrong("two channels have one id");
    if (channel.links.size() > links_per_channel) return wrong("a channel shares too many links");
    for (const std::uint32_t link : channel.links)
      if (link >= setup.links.size()) return wrong("a channel crosses a link that is not there");
    if (auto ok = check_numbers(channel.numbers); !ok) return ok;
    if (previous != nullptr && previous->pair == channel.pair && previous->tier == channel.tier &&
        (previous->numbers.post_ns != channel.numbers.post_ns ||
         previous->numbers.half_bandwidth_bytes != channel.numbers.half_bandwidth_bytes ||
         previous->numbers.stages != channel.numbers.stages ||
         previous->numbers.gather != channel.numbers.gather))
      return wrong(
          "channels of one pair and tier differ in post cost, half-bandwidth size, stages or "
          "gather methods");
    previous = &channel;
  }
  if (!ids.empty() && *ids.rbegin() - *ids.begin() > 10'000'000)
    return wrong("channel ids are too far apart");
  if (std::find(pair_seen.begin(), pair_seen.end(), false) != pair_seen.end())
    return wrong("a pair has no channel");
  for (const SetupPair& pair : setup.pairs)
    if (pair.account >= setup.accounts.size()) return wrong("a pair has no credit account");
  if (setup.links.size() >= 0xffff || setup.pairs.size() >= 0xffff)
    return wrong("expected fewer than 65,535 pairs and shared links for one node");
  for (const SetupLink& link : setup.links)
    if (!(link.bytes_per_s >= slowest_rate && link.bytes_per_s <= 1e15))
      return wrong("expected a link rate from 1 MB/s to 1 PB/s");
  for (const SetupAccount& account : setup.accounts)
    if (account.min_share_bytes == 0 || account.granted_bytes < account.min_share_bytes)
      return wrong("expected a credit of at least one byte for every sender; credit is too small");
  for (const SetupLedger& ledger : setup.ledgers) {
    if (ledger.senders.empty() || !std::is_sorted(ledger.senders.begin(), ledger.senders.end()))
      return wrong("a ledger needs senders in ascending order");
    if (ledger.min_share_bytes == 0 ||
        ledger.capacity_bytes / ledger.senders.size() < ledger.min_share_bytes)
      return wrong("expected a credit of at least one byte for every sender; credit is too small");
  }
  return {};
}

std::vector<SchedulerSetup> make_setups(const Cluster& cluster,
                                        std::span<const ChannelRequest> requests,
                                        std::span<const std::uint32_t> tiers,
                                        std::span<const ChannelNumbers> numbers,
                                        const SchedulerConfig& config) {
  return SetupMaker(cluster, requests, tiers, numbers, config).make();
}

}  // namespace kvhaul
