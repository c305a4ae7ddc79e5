// The report of a sweep, for report/page/sweep.js.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/sweep_grid.h"
#include "cli/sweep_table.h"
#include "core/result.h"
#include "traces/output_file.h"

namespace kvhaul::cli {

/// Where a curve of costs bends most: the index of the value farthest below the straight line
/// between both ends, with the values at equal distances. Nothing for fewer than three, or where
/// that is less than a tenth of what lies between the smallest and the largest.
std::optional<std::size_t> knee_of(const std::vector<double>& curve);

/// `command` makes the sweep again. Rows and points have the same order.
Result<void> write_sweep_report(OutputFile file, const std::string& command,
                                const std::vector<SweepKey>& keys,
                                const std::vector<SweepPoint>& points,
                                const std::vector<SweepRow>& rows);

}  // namespace kvhaul::cli
