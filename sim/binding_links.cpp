#include "sim/binding_links.h"

#include <algorithm>
#include <map>

#include "core/channel_plan.h"

namespace kvhaul::sim {
namespace {

using Crossings = std::map<ChannelId, std::uint32_t>;  // of a link

/// `a` cannot bind where `b` does not: all that crosses a crosses b, as often for its rate.
bool covered(const Crossings& a, double a_rate, const Crossings& b, double b_rate) {
  if (a.size() > b.size()) return false;
  return std::all_of(a.begin(), a.end(), [&](const auto& entry) {
    const auto found = b.find(entry.first);
    return found != b.end() && entry.second * b_rate <= found->second * a_rate;
  });
}

}  // namespace

std::vector<bool> binding_links(const Cluster& cluster, std::span<const ChannelRequest> requests) {
  std::map<LinkId, Crossings> crossings = link_crossings(requests);
  for (auto link = crossings.begin(); link != crossings.end();) {
    // What covers it lies on the road of every channel, so also of its first.
    const std::vector<LinkId>& road = requests[link->second.begin()->first].route.hops;
    // Several readers leave such a link less than its rate.
    const bool own_limit = cluster.links[link->first].read_incast < 1;
    const bool redundant = !own_limit && std::any_of(road.begin(), road.end(), [&](LinkId other) {
      const auto found = crossings.find(other);
      return other != link->first && found != crossings.end() &&
             covered(link->second, cluster.links[link->first].bytes_per_s, found->second,
                     cluster.links[other].bytes_per_s);
    });
    link = redundant ? crossings.erase(link) : std::next(link);
  }
  std::vector<bool> binding(cluster.links.size());
  for (const auto& [link, channels] : crossings) binding[link] = true;
  return binding;
}

}  // namespace kvhaul::sim
