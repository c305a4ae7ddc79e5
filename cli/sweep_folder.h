// The folder of a sweep: made, or taken over from one that was interrupted (--resume). The runs in
// it are made by replays of their own.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "cli/json_text.h"
#include "cli/run_folder.h"
#include "cli/sweep_grid.h"
#include "cli/sweep_state.h"
#include "cli/sweep_table.h"
#include "core/result.h"
#include "traces/trace.h"

namespace kvhaul::cli {

/// What is asked for.
struct Sweep {
  std::vector<SweepKey> keys;
  std::vector<SweepPoint> points;
  std::string out;                      // the folder
  std::string trace;                    // that every point reads
  std::optional<TraceReading> spooled;  // that is standard_input_file(), and comes from there
  std::optional<std::string> faults;
  bool force = false;
  bool resume = false;
  std::size_t jobs = 1;
};

// Files of the folder of that name.
std::string standard_input_file(const std::string& out);
std::string result_file(const std::string& out);  // sweep.json
/// Of a point whose scenario is not the one that is there already.
std::string scenario_file(const std::string& out, const SweepPoint& point);
Result<void> write_sweep_file(const std::string& path, const std::string& text);

struct SweepFolder {
  RunFolder folder;
  SweepIdentity identity;
};
/// Makes the folder and what every point needs, or takes that of a sweep which was interrupted.
/// Fails (bad_input) where another sweep, or something else, is in it.
Result<SweepFolder> begin_sweep(const Sweep& sweep);

/// Where the sweep in the folder has come to its end, with a whole run for every point: its
/// sweep.json.
std::optional<Json> whole_sweep(const Sweep& sweep);
/// The rows of that. Fails (bad_input) where it is not the sweep that is asked for.
Result<std::vector<SweepRow>> rows_of_whole_sweep(const Sweep& sweep, const Json& json);

/// sweep.json: the table, with what it was of.
Json result_json(const Sweep& sweep, const SweepIdentity& identity,
                 const std::vector<SweepRow>& rows);
/// All files are whole. What is needed to go on stays where a point may be tried again.
Result<void> end_sweep(const Sweep& sweep, const std::vector<SweepRow>& rows, RunFolder& folder);

}  // namespace kvhaul::cli
