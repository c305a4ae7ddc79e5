// The report of a run: report.html of its directory, from its files and what is known about the
// run.
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "backends/faults/fault_script.h"
#include "cli/command.h"
#include "core/result.h"
#include "report/run_data.h"
#include "results/fault_use.h"
#include "results/run_directory.h"
#include "scenarios/scenario.h"

namespace kvhaul::cli {

inline constexpr const char* report_file = "report.html";

/// The command that makes a run or a sweep again, without what only says where it goes.
std::string command_text(const Arguments& command_line);

std::vector<report::RunContext::Fault> described_faults(const faults::FaultScript& script);
/// The faults of a script as results have them, with nothing done yet.
std::vector<FaultUse> faults_to_play(const faults::FaultScript& script);

/// Writes report.html from the files of a run that has come to its end.
Result<void> write_run_report(const std::string& directory, const report::RunContext& context);

/// The same of a run that is whole, from data that has been read: the old report stands until the
/// new one does. `inputs` are files that it must not be.
Result<void> replace_run_report(const std::string& file, bool force,
                                const std::vector<std::string>& inputs,
                                const nlohmann::ordered_json& data);

/// What run.yaml of a run says.
struct RunFile {
  Arguments command;  // without the program
  std::string directory, scenario_file, scenario, faults;
  std::string version;
  std::string trace;  // an absolute path, or "standard input"
  std::string trace_bytes;
};
/// Errors are bad_input and name the file.
Result<RunFile> read_run_file(const std::string& directory);

/// What that says, read.
struct RunScenario {
  Scenario scenario;
  faults::FaultScript script;  // empty where it had none
};
Result<RunScenario> read_run_scenario(const RunDirectory& run, const RunFile& file);

/// What a run was made from, out of its directory alone.
struct RunInputs {
  RunDirectory run;
  RunFile file;
  Scenario scenario;
  ChannelPlan plan;
  faults::FaultScript script;  // empty where it had none
};
/// Errors are bad_input and name the file.
Result<RunInputs> read_run_inputs(const std::string& directory);
/// The same of a run that has been read.
Result<RunInputs> read_run_inputs(RunDirectory run);

/// The data of a report from a run directory alone: scenario, faults and command are in its
/// run.yaml. Errors are bad_input and name the file.
Result<nlohmann::ordered_json> read_report_data(const std::string& directory);

}  // namespace kvhaul::cli
