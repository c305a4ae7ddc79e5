// Transfers that begin together, through the scheduler and the SimGrid backend: what a benchmark
// like nvbandwidth, perftest or nccl-tests does, on the cluster of a scenario. As those do, it
// posts to all peers at once, whatever is queued on a link, and packs nothing.
#pragma once

#include <vector>

#include "core/route.h"
#include "scenarios/scenario.h"

namespace kvhaul::test {

struct Flow {
  PlaceId from = 0;
  PlaceId to = 0;
  Bytes bytes = 0;
  std::uint32_t pieces = 1;  // of equal size, apart from each other at both ends
};

struct FlowOptions {
  RouteKind kind = RouteKind::rdma;
  bool pull = false;
  std::uint32_t rails = 0;  // 0: as the scenario says
};

/// When each flow was delivered, from the common start; empty when something failed.
std::vector<TimeNs> run_flows(const Scenario& scenario, const std::vector<Flow>& flows,
                              FlowOptions options);

}  // namespace kvhaul::test
