// Fault files: a list of what goes wrong, where and when. docs/faults.md describes every key.
#pragma once

#include <span>
#include <string>

#include "backends/faults/fault_script.h"
#include "core/backend.h"
#include "core/cluster.h"
#include "core/result.h"
#include "scenarios/scenario.h"

namespace kvhaul {

/// Errors (bad_input) name file, line, what was expected and what was found; a `where` that names
/// nothing of the cluster is one.
Result<faults::FaultScript> parse_fault_file(const std::string& text, const std::string& file,
                                             const Cluster& cluster);
/// Fits a script to a run: times that are the routes' become the longest of those that the fault is
/// on. Faults that cannot happen are errors (bad_input), which name file and line: those of
/// something that no channel of the run crosses or no instance of it has, and those that begin
/// after `over_ns`; never_ns: it is not known when all is over.
Result<void> fit_faults(faults::FaultScript& script, const std::string& file,
                        const Scenario& scenario, std::span<const ChannelRequest> channels,
                        TimeNs over_ns);
Result<faults::FaultScript> load_fault_file(const std::string& file, const Cluster& cluster);

}  // namespace kvhaul
