// How two runs differ in what they were made from: trace, options, scenario, faults.
#pragma once

#include <string>
#include <vector>

#include "results/run_directory.h"

namespace kvhaul::cli {

struct RunDifference {
  std::string what;  // "policy", "trace", or a path into the scenario
  std::string first, other;
};

/// What was run otherwise.
struct RunDifferences {
  std::vector<RunDifference> all;  // none: they are the same run
  std::string unknown;             // why scenario, options and faults are not known; else empty
};

/// From what both directories hold. What a run was made from need not be readable any more, such as
/// a timing profile beside its scenario: that is said, and is no error.
RunDifferences run_differences(const RunDirectory& first, const RunDirectory& other);

}  // namespace kvhaul::cli
