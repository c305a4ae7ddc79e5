#include "sim/binding_links.h"

#include <algorithm>
#include <map>

namespace kvhaul::sim {
namespace {

/// How often each channel crosses a link.
using Crossings = std::map<ChannelId, double>;

std::map<LinkId, Crossings> crossings_of(std::span<const ChannelRequest> requests) {
  std::map<LinkId, Crossings> crossings;
  for (ChannelId id = 0; id < requests.size(); ++id)
    for (const LinkId link : requests[id].route.hops) ++crossings[link][id];
  return crossings;
}

/// `a` cannot bind where `b` does not: all that crosses a crosses b, as often for its rate.
bool covered(const Crossings& a, double a_rate, const Crossings& b, double b_rate) {
  if (a.size() > b.size()) return false;
  return std::all_of(a.begin(), a.end(), [&](const auto& entry) {
    const auto found = b.find(entry.first);
    return found != b.end() && entry.second * b_rate <= found->second * a_rate;
  });
}

}  // namespace

std::vector<LinkId> used_links(std::span<const ChannelRequest> requests) {
  std::vector<LinkId> links;
  for (const auto& [link, channels] : crossings_of(requests)) links.push_back(link);
  return links;
}

std::vector<LinkId> binding_links(const Cluster& cluster,
                                  std::span<const ChannelRequest> requests) {
  std::map<LinkId, Crossings> crossings = crossings_of(requests);
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
  std::vector<LinkId> links;
  for (const auto& [link, channels] : crossings) links.push_back(link);
  return links;
}

}  // namespace kvhaul::sim
