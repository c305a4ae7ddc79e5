// A node with a host and GPU places, which on a machine with one GPU lie all in its memory.
#pragma once

#include <utility>
#include <vector>

#include "core/channel_plan.h"
#include "core/result.h"

namespace kvhaul::test {

inline Cluster gpu_cluster(std::size_t gpus) {
  NodeSpec node;
  node.hosts = {{200e9, 0}};
  NodeSpec::Gpu gpu;
  gpu.memory_bytes = 64 * GiB;
  gpu.host_link = {55e9, 55e9, 0};
  gpu.nvlink = PortRates{400e9, 400e9, 0};
  node.gpus.assign(gpus, gpu);
  node.peer_to_peer = true;
  ClusterSpec spec;
  spec.nodes.push_back({node, 0, false});
  return *build_cluster(spec);
}
inline Cluster two_gpu_cluster() { return gpu_cluster(2); }

/// Costs as measured on an H100; for tests they need only be of the right size.
inline RoutePlan plan_of(RouteKind kind) {
  RoutePlan plan;
  plan.order = {kind};
  plan.paths.read_in_place = kind == RouteKind::handoff;
  RouteCosts& costs = plan.costs[static_cast<std::size_t>(kind)];
  costs.fixed_ns = 4000;
  costs.post_ns = 2000;
  costs.half_bandwidth_bytes = 121'000;
  costs.max_pieces = 4096;
  costs.max_chunk_bytes = 32 * MiB;
  for (const Gather gather : {Gather::batch, Gather::pack, Gather::through})
    costs.gather[static_cast<std::size_t>(gather)] =
        GatherCosts{.fixed_ns = 4400, .post_ns = 4000, .bytes_per_s = 1e12};
  return plan;
}

/// The one channel between two places of a cluster by a kind of route.
inline std::vector<ChannelRequest> channel_between(const Cluster& cluster, const char* source,
                                                   const char* target, RouteKind kind,
                                                   bool pull = false) {
  const std::vector<std::pair<PlaceId, PlaceId>> pair = {
      {*cluster.find_place(source), *cluster.find_place(target)}};
  RoutePlan plan = plan_of(kind);
  plan.pull = pull;
  auto planned = plan_channels(cluster, pair, plan);
  check(static_cast<bool>(planned), "no such route");
  planned->requests.resize(1);
  return planned->requests;
}

}  // namespace kvhaul::test
