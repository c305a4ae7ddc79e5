// Runs side by side: as a table for people, as JSON, as CSV and as a report. docs/compare.md
// describes them.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "cli/run_differences.h"
#include "cli/transfer_pairs.h"
#include "results/run_directory.h"
#include "traces/output_file.h"

namespace kvhaul::cli {

/// Runs have letters as their names.
inline constexpr std::size_t compared_runs_max = 26;

struct ComparedRun {
  RunDirectory run;
  // With the first run; its own are never looked at.
  TransferPairs pairs;
  RunDifferences differences;
};

// `runs` has two or more; the first is what the others are compared with.
/// At most 80 columns wide.
std::string compare_text(const std::vector<ComparedRun>& runs);
std::string compare_json(const std::vector<ComparedRun>& runs);
std::string compare_csv(const std::vector<ComparedRun>& runs);

/// "B: no difference to A in what was run", or that there are some, before a list of them.
std::string differences_sentence(const ComparedRun& run, const std::string& name);
/// `differences` of compare_json().
nlohmann::ordered_json differences_json(const RunDifferences& differences);

/// `transfer_pairs` of compare_json().
nlohmann::ordered_json pairs_json(const TransferPairs& pairs);
/// A report (docs/report.md); reads what else it needs from the run directories.
Result<void> write_compare_report(OutputFile file, const std::vector<ComparedRun>& runs);

}  // namespace kvhaul::cli
