// The report of a sweep, for report/page/sweep.js.
#pragma once

#include <string>
#include <vector>

#include "cli/sweep_grid.h"
#include "cli/sweep_table.h"
#include "core/result.h"
#include "traces/output_file.h"

namespace kvhaul::cli {

/// `command` makes the sweep again. Rows and points have the same order.
Result<void> write_sweep_report(OutputFile file, const std::string& command,
                                const std::vector<SweepKey>& keys,
                                const std::vector<SweepPoint>& points,
                                const std::vector<SweepRow>& rows);

}  // namespace kvhaul::cli
