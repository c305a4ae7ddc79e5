// A replay put together: scenario, trace, backend, faults, log and files; and run to its end.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/backends.h"
#include "cli/command.h"
#include "cli/run_processes.h"
#include "cli/scenario_edit.h"
#include "core/result.h"
#include "results/run_files.h"
#include "traces/trace.h"

namespace kvhaul::cli {

struct ReplayRequest {
  std::string trace;  // "-": standard input
  TraceReading reading;
  std::string scenario = "laptop";
  std::vector<ScenarioSetting> settings;  // in place of what the scenario says there
  std::string backend = "emulated";
  std::optional<bool> real_time, payload, throttle;  // else as the scenario says
  BackendOptions devices;                            // only what read_device_options() reads
  ProcessOptions processes;
  std::optional<std::uint64_t> limit;
  double speedup = 1;
  bool spread_batches = false;
  std::optional<std::string> faults, policy, record;
  std::optional<Streaming> streaming;
  std::optional<bool> pull;
  std::optional<std::uint64_t> seed;
  std::string out;                        // empty: the first free runs/SCENARIO-TRACE-N
  bool force = false;                     // write over a run, and over a log, that is there
  bool stop_without_log = false;          // when `record` cannot be written; else only say it
  std::vector<std::string> command_line;  // for run.yaml
  /// Told once, before the run begins: what may not be meant.
  std::function<void(const std::string&)> on_warning;
  /// Told once, before anything is posted: how many channels, and about how much will be moved.
  std::function<void(const std::string&)> on_start;
  /// Told now and then, when `progress_due` says so (or always, without one): share done (negative
  /// when not known), and what is going on.
  std::function<bool()> progress_due;
  std::function<void(double, const std::string&)> on_progress;
};

/// From the arguments of `kvhaul replay`, with every option checked by itself.
Result<ReplayRequest> read_replay_request(const Arguments& arguments);

/// One of the processes of a run, for run.yaml.
struct RunProcess {
  std::string host;
  std::string nodes;  // names, with commas between
  std::string backend;
  ClockOffset clock;  // against process 0, at the end
  bool lost = false;  // it did not come to the end
};

struct ReplayResult {
  bool leads = true;  // else another process writes the files, and has the figures
  RunSummary summary;
  Cluster cluster;
  std::string directory;
  std::string backend;  // Backend::description()
  double wall_s = 0;
  bool complete = true;               // every replayed request got all its KV, none was lost
  std::string missing;                // what not, in words; the same in all processes
  std::vector<RunProcess> processes;  // by rank; empty: one
  std::string limit_sentence;         // that rests on a proof; empty: there is none
};

/// What the command line says in place of the scenario, and what follows from the backend.
void apply_overrides(const ReplayRequest& request, const BackendEntry& backend, Scenario& scenario);

/// bad_input for a name that no policy has.
Result<void> check_policy(const std::optional<std::string>& policy);

/// Checks everything that can be checked, makes the directory, then runs.
Result<ReplayResult> run_replay(const ReplayRequest& request);

/// The table that people look at first; at most 80 columns wide.
std::string replay_table(const ReplayResult& result);

}  // namespace kvhaul::cli
