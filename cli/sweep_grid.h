// The grid of a sweep: every combination of values as the command line of one replay.
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"
#include "core/result.h"

namespace kvhaul::cli {

struct SweepKey {
  std::string path;  // into the scenario, or an option of replay: "@policy"
  std::vector<std::string> values;
};

/// Reads "KEY=V1,V2,...". Commas inside brackets, braces and quotes belong to a value.
Result<std::vector<SweepKey>> read_sweep_keys(const std::vector<std::string>& texts);

struct SweepPoint {
  std::size_t number = 0;           // from 0; the last key varies fastest
  std::vector<std::string> values;  // one per key
  std::string name;                 // "003-count=4-chunk=1_MiB": of its run directory
  Arguments arguments;              // of its replay, but for --out, and --scenario if it was edited
  std::string scenario_text;        // empty: as it is
  std::string scenario_digest;      // of the text that is run, and of the profiles that it names
  bool real_time = false;
};

struct SweepBase {
  std::string scenario;  // unless a key sweeps over it
  Arguments arguments;   // of every replay: "--limit=10"
};

/// Reads the scenario and the options of every point, so that what is wrong is said before anything
/// runs.
Result<std::vector<SweepPoint>> make_sweep_points(const std::vector<SweepKey>& keys,
                                                  const SweepBase& base);

}  // namespace kvhaul::cli
