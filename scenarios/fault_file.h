// Fault files: a list of what goes wrong, where and when. docs/faults.md describes every key.
#pragma once

#include <string>

#include "backends/faults/fault_script.h"
#include "core/cluster.h"
#include "core/result.h"

namespace kvhaul {

/// Errors (bad_input) name file, line, what was expected and what was found; a `where` that names
/// nothing of the cluster is one.
Result<faults::FaultScript> parse_fault_file(const std::string& text, const std::string& file,
                                             const Cluster& cluster);
Result<faults::FaultScript> load_fault_file(const std::string& file, const Cluster& cluster);

}  // namespace kvhaul
