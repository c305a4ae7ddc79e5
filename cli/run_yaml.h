// run.yaml: everything needed to make a run again, and the only file that may hold times of day.
#pragma once

#include <ctime>
#include <optional>
#include <string>

#include "cli/replay_run.h"
#include "scenarios/scenario.h"

namespace kvhaul::cli {

/// Into the directory of the result.
Result<void> write_run_file(const std::string& directory, const ReplayRequest& request,
                            const Scenario& scenario, const std::optional<std::string>& fault_text,
                            const ReplayResult& result, std::time_t started);

}  // namespace kvhaul::cli
