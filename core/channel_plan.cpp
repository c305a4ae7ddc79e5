#include "core/channel_plan.h"

#include <algorithm>
#include <set>

namespace kvhaul {
namespace {

Error no_route(const Cluster& cluster, PlaceId source, PlaceId target,
               const std::vector<Route>& routes) {
  std::string message =
      "no usable route from " + cluster.places[source].name + " to " + cluster.places[target].name;
  if (routes.empty()) return Error::bad_input(message + ": nothing joins the two");
  constexpr std::size_t most = 4;
  for (std::size_t i = 0; i < routes.size() && i < most; ++i) {
    const Route& route = routes[i];
    message += (i == 0 ? ": " : "; ") + route.name + ": " +
               (route.usable ? "not in the scenario's route order" : route.reason);
  }
  if (routes.size() > most) message += "; and " + std::to_string(routes.size() - most) + " more";
  return Error::bad_input(std::move(message));
}

/// How many queues of a route may differ in their path: all of them where ECMP hashes each.
std::uint32_t flow_count(const Cluster& cluster, const RoutePlan& plan) {
  std::uint32_t flows = 1;
  if (cluster.spines == 0 || cluster.routing != FabricRouting::ecmp) return flows;
  for (const RouteKind kind : plan.order)
    if (kind == RouteKind::rdma || kind == RouteKind::rdma_staged)
      flows = std::max(flows, plan.costs[static_cast<std::size_t>(kind)].queues);
  return flows;
}

/// What they carry for one pair, filled one after the other.
double carried_bytes_per_s(const Cluster& cluster, std::span<const Route* const> routes) {
  std::map<LinkId, double> left;
  double sum = 0;
  for (const Route* route : routes) {
    double rate = route->bytes_per_s;
    const auto crossings = [&](LinkId hop) {
      return static_cast<double>(std::count(route->hops.begin(), route->hops.end(), hop));
    };
    for (const LinkId hop : route->hops) {
      const double room = left.try_emplace(hop, cluster.links[hop].bytes_per_s).first->second;
      rate = std::min(rate, room / crossings(hop));
    }
    for (const LinkId hop : route->hops) left[hop] -= rate;
    sum += rate;
  }
  return sum;
}

/// The wires of its two NICs, tx and rx; nothing when it takes none.
std::vector<LinkId> nic_links(const Cluster& cluster, const Route& route) {
  std::vector<LinkId> nics;
  for (const LinkId hop : route.hops)
    if (cluster.links[hop].kind == LinkKind::nic) nics.push_back(hop);
  return nics;
}

/// The routes of one kind for a pair, nearest first, as those used at once and those behind them.
struct Rails {
  std::vector<const Route*> used, spare;
};

Rails choose_rails(const Cluster& cluster, std::vector<const Route*> routes,
                   const RoutePlan& plan) {
  if (plan.rails != 0) routes.resize(std::min<std::size_t>(routes.size(), plan.rails));
  if (plan.rails != 0 || !plan.near_first || routes.empty() ||
      nic_links(cluster, *routes[0]).empty())
    return {std::move(routes), {}};
  const double enough = 0.8 * carried_bytes_per_s(cluster, routes);
  std::size_t used = 0;
  while (carried_bytes_per_s(cluster, std::span(routes).first(used)) < enough) {
    const Route& first = *routes[used];
    while (used < routes.size() && routes[used]->distance == first.distance &&
           routes[used]->bytes_per_s == first.bytes_per_s)
      ++used;
  }
  Rails rails{{routes.begin(), routes.begin() + static_cast<std::ptrdiff_t>(used)}, {}};
  std::set<LinkId> taken;
  for (const Route* route : rails.used)
    for (const LinkId nic : nic_links(cluster, *route)) taken.insert(nic);
  // Pairs of NICs that are both new first: a rail may be gone at both ends. Then what is left.
  for (const std::ptrdiff_t new_nics : {2, 1})
    for (std::size_t r = used; r < routes.size(); ++r) {
      const std::vector<LinkId> nics = nic_links(cluster, *routes[r]);
      if (std::count_if(nics.begin(), nics.end(),
                        [&](LinkId nic) { return taken.count(nic) == 0; }) < new_nics)
        continue;
      taken.insert(nics.begin(), nics.end());
      rails.spare.push_back(routes[r]);
    }
  return rails;
}

}  // namespace

Result<ChannelPlan> plan_channels(const Cluster& cluster,
                                  std::span<const std::pair<PlaceId, PlaceId>> pairs,
                                  const RoutePlan& plan) {
  ChannelPlan out;
  const std::uint32_t flows = flow_count(cluster, plan);
  for (const auto& [source, target] : pairs) {
    const std::vector<Route> routes = find_routes(cluster, source, target, plan.paths);
    // The same routes in the same order, each on the path that a later queue of it draws.
    std::vector<std::vector<Route>> redrawn;
    for (std::uint32_t flow = 1; flow < flows; ++flow) {
      PathChoice paths = plan.paths;
      paths.flow += flow;
      redrawn.push_back(find_routes(cluster, source, target, paths));
    }
    std::uint32_t tier = 0;
    for (const RouteKind kind : plan.order) {
      std::vector<const Route*> usable;
      for (const Route& route : routes)
        if (route.kind == kind && route.usable) usable.push_back(&route);
      const RouteCosts& costs = plan.costs[static_cast<std::size_t>(kind)];
      const NodeId owner = cluster.places[plan.pull ? target : source].node;
      const auto open = [&](const std::vector<const Route*>& rails, std::uint32_t queues) {
        for (const Route* route : rails)
          for (std::uint32_t queue = 0; queue < queues; ++queue) {
            const bool again = queue != 0 && queue < flows;
            out.requests.push_back(
                {again ? redrawn[queue - 1][static_cast<std::size_t>(route - routes.data())]
                       : *route,
                 costs, owner, plan.pull});
            out.tiers.push_back(tier);
          }
        if (!rails.empty()) ++tier;
      };
      const Rails rails = choose_rails(cluster, std::move(usable), plan);
      open(rails.used, std::max(1u, costs.queues));
      open(rails.spare, 1);
    }
    if (tier == 0) return no_route(cluster, source, target, routes);
  }
  return out;
}

std::map<LinkId, std::map<ChannelId, std::uint32_t>> link_crossings(
    std::span<const ChannelRequest> requests) {
  std::map<LinkId, std::map<ChannelId, std::uint32_t>> crossings;
  for (ChannelId id = 0; id < requests.size(); ++id)
    for (const LinkId link : requests[id].route.hops) ++crossings[link][id];
  return crossings;
}

ChannelNumbers numbers_of(const Route& route, const RouteCosts& costs) {
  ChannelNumbers numbers;
  numbers.fixed_ns = route.latency_ns + costs.fixed_ns;
  numbers.post_ns = costs.post_ns;
  numbers.bytes_per_s = route.bytes_per_s;
  numbers.half_bandwidth_bytes = costs.half_bandwidth_bytes;
  numbers.max_in_flight = costs.max_in_flight;
  numbers.max_chunk_bytes = costs.max_chunk_bytes;
  numbers.max_pieces = costs.max_pieces;
  numbers.stages = route.stages;
  numbers.distance = route.distance;
  numbers.gather = costs.gather;
  return numbers;
}

}  // namespace kvhaul
