// The program one would write with SimGrid alone: an actor per channel that sends its chunks one
// after the other, each as a flow of its own, and SimGrid's clock telling when each has arrived.
// The SimGrid backend's answers and its speed are held against it.
#pragma once

#include <span>
#include <vector>

#include "backends/modelled/wire.h"
#include "core/backend.h"

namespace kvhaul::test {

struct Job {
  ChannelId channel = 0;
  modelled::TimePs ready_ps = 0;  // not sent before; jobs of a channel are sent in order
  modelled::TimePs alone_ps = 0;
  Bytes bytes = 0;
};

struct PlainRun {
  std::vector<double> done_s;  // by job
  double wall_s = 0;           // of the simulation, building the platform not counted
};

// Both run in a child process, because SimGrid's engine is one per process and runs once. The
// calling process must not have used SimGrid. An empty result: the child did not finish.

PlainRun run_plain_s4u(const Cluster& cluster, std::span<const ChannelRequest> requests,
                       std::span<const Job> jobs);
/// The same jobs on the backend's wire.
PlainRun run_backend_wire(const Cluster& cluster, std::span<const ChannelRequest> requests,
                          std::span<const Job> jobs);

}  // namespace kvhaul::test
