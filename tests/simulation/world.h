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
  /// Layer-wise streaming: asked for when this work has ended, in place of at_ns. Its deadline then
  /// counts from there.
  std::size_t after = no_work;
  static constexpr std::size_t no_work = ~std::size_t{0};
};

/// What the nodes' messages and the backend's cancels meet; the fault script does not touch them.
struct Weather {
  /// Messages from and to a node: held back until it is over, or lost where it is never over.
  struct Silence {
    NodeId node = 0;
    TimeNs from_ns = 0;
    TimeNs until_ns = never_ns;
  };
  std::vector<Silence> silences;
  double lost_messages = 0;    // share of all messages
  TimeNs cancel_takes_ns = 0;  // until the backend begins to look at a cancel
  std::uint64_t seed = 1;
};

struct World {
  std::uint64_t seed = 0;
  Cluster cluster;
  std::vector<std::pair<PlaceId, PlaceId>> pairs;
  ChannelPlan plan;
  SchedulerConfig config;
  faults::FaultScript script;
  Weather weather;
  TimeNs faults_end_ns = 0;  // of those that end, and the beginning of those that do not
  Bytes segment_bytes = 0;   // targets lie below it, sources above; a segment has twice as much
  std::vector<Work> works;   // by time

  std::string describe() const;
  bool is_cut_for_ever(LinkId link) const;
  /// Whether a pair has a road that nothing has cut for ever.
  bool has_a_way(std::size_t pair) const;
  /// Links on the roads of a pair that something has cut for ever.
  std::size_t cut_links(std::size_t pair) const;
  /// Channels are back by then: the last fault, the longest quarantine, and a probe.
  TimeNs settled_ns() const {
    return faults_end_ns + 2 * config.quarantine_max_ns + 10 * config.timeout_cold_ns +
           40 * config.timeout_floor_ns;
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
  std::uint64_t lost_messages = 0;
  std::uint64_t late_cancels = 0;
  std::uint64_t probes = 0;
  std::uint64_t faults = 0;
  std::uint64_t steps = 0;            // turns of the loop
  std::uint64_t share_of_bound = 0;   // the longest wait for an end or a sign of life, in percent
  std::uint64_t crowded_moments = 0;  // whose shares of credit were compared, of three or more
  std::uint64_t log_bytes = 0;        // recorded, and replayed with identical decisions
  std::uint64_t log_checksum = 0;     // of all that its schedulers heard and decided
  TimeNs end_ns = 0;
};

/// Runs a world in virtual time and checks every invariant of watcher.h and simulate.cpp.
Verdict simulate(const World& world, PlantedBug bug = PlantedBug::none);

}  // namespace kvhaul::simulation
