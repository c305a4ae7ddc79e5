#include "cli/open_run.h"

#include <utility>

namespace kvhaul::cli {

Result<ChannelPlan> plan_run(const Scenario& scenario) {
  auto plan = plan_channels(scenario.cluster, place_pairs(scenario.serving), scenario.routes);
  if (!plan) return Error::bad_input(scenario.file + ": " + plan.error().message);
  return plan;
}

Result<OpenedRun> open_run(const Scenario& scenario, const ChannelPlan& plan,
                           std::unique_ptr<Backend> backend, const faults::FaultScript* script) {
  OpenedRun run{std::move(backend), nullptr, {}};
  if (script != nullptr) {
    auto faulty = faults::make_faulty_backend(std::move(run.backend), *script);
    run.faults = faulty.get();
    run.backend = std::move(faulty);
  }
  auto numbers = run.backend->open(scenario.cluster, plan.requests);
  if (!numbers) return numbers.error();
  run.setups =
      make_setups(scenario.cluster, plan.requests, plan.tiers, *numbers, scenario.scheduler);
  for (const SchedulerSetup& setup : run.setups)
    if (auto ok = check_setup(setup); !ok)
      return Error::bad_input(scenario.file + ": " + ok.error().message);
  std::erase_if(run.setups,
                [&](const SchedulerSetup& setup) { return !run.backend->drives(setup.node); });
  return run;
}

}  // namespace kvhaul::cli
