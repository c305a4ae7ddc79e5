// One world of the simulation test: everything that a seed draws.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "backends/faults/fault_script.h"
#include "core/channel_plan.h"
#include "core/cluster.h"
#include "core/scheduler_setup.h"

namespace kvhaul::simulation {

struct Work {
  TimeNs at_ns = 0;
  std::size_t pair = 0;  // into World::pairs
  Priority priority = Priority::normal;
  TimeNs deadline_ns = never_ns;
  TimeNs cancel_ns = never_ns;     // cancelled then, if it is still open
  std::vector<Descriptor> pieces;  // targets of all works of a place are disjoint
};

struct World {
  std::uint64_t seed = 0;
  Cluster cluster;
  std::vector<std::pair<PlaceId, PlaceId>> pairs;
  ChannelPlan plan;
  SchedulerConfig config;
  faults::FaultScript script;
  TimeNs faults_end_ns = 0;
  Bytes segment_bytes = 0;  // targets lie below it, sources above; a segment has twice as much
  std::vector<Work> works;  // by time

  std::string describe() const;
  /// Channels are back by then: the last fault, the longest quarantine, and a probe.
  TimeNs settled_ns() const {
    return faults_end_ns + 2 * config.quarantine_max_ns + 40 * config.timeout_floor_ns;
  }
};

World draw_world(std::uint64_t seed);

/// Faults of the scheduler that the simulation must find. They are planted from outside, by
/// changing what the scheduler is told or what becomes of its actions; nothing of them is in the
/// product.
enum class PlantedBug {
  none,
  ignores_lost_completions,
  posts_twice_after_a_retry,
  starves_low_class
};

struct Verdict {
  bool ok = true;
  std::string what;  // the first broken invariant, with its time
  std::uint64_t chunks = 0;
  std::uint64_t resent = 0;
  std::uint64_t delivered = 0, cancelled = 0, failed = 0;
  std::uint64_t late_delivered = 0;  // asked for when all faults were over
  std::uint64_t credit_messages = 0;
  std::uint64_t faults = 0;
  std::uint64_t log_bytes = 0;  // recorded, and replayed with identical decisions
  TimeNs end_ns = 0;
};

/// Runs a world in virtual time and checks every invariant of watcher.h and simulate.cpp.
Verdict simulate(const World& world, PlantedBug bug = PlantedBug::none);

}  // namespace kvhaul::simulation
