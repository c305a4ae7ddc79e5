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

namespace kvhaul::cli {

inline constexpr const char* report_file = "report.html";

/// The command that makes a run or a sweep again, without what only says where it goes.
std::string command_text(const Arguments& command_line);

std::vector<report::RunContext::Fault> described_faults(const faults::FaultScript& script);

/// Writes report.html from the files of a run that has come to its end.
Result<void> write_run_report(const std::string& directory, const report::RunContext& context);

/// The data of a report from a run directory alone: scenario, faults and command are in its
/// run.yaml. Errors are bad_input and name the file.
Result<nlohmann::ordered_json> read_report_data(const std::string& directory);

}  // namespace kvhaul::cli
