// A run before it begins: its channels, and the backend and schedulers that drive them.
#pragma once

#include <memory>
#include <vector>

#include "backends/faults/faulty_backend.h"
#include "core/backend.h"
#include "core/channel_plan.h"
#include "core/result.h"
#include "core/scheduler_setup.h"
#include "scenarios/scenario.h"

namespace kvhaul::cli {

/// The channels between all instances. Fails with bad_input where two of them have no route.
Result<ChannelPlan> plan_run(const Scenario& scenario);

struct OpenedRun {
  std::unique_ptr<Backend> backend;
  faults::FaultyBackend* faults = nullptr;  // the same, where it plays a script
  std::vector<SchedulerSetup> setups;       // of the nodes that it drives
};
/// Opens the channels of a plan on a backend. `script` may be null, and is copied.
Result<OpenedRun> open_run(const Scenario& scenario, const ChannelPlan& plan,
                           std::unique_ptr<Backend> backend, const faults::FaultScript* script);

}  // namespace kvhaul::cli
