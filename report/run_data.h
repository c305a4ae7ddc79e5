// What a report says about one run: read from the files of its directory, and aggregated so that
// the report of an hour stays small. Nothing is left out silently: `rules` in the data names every
// rule.
//
// Errors are bad_input and name the file, what was expected and what was found. Takes 80 bytes of
// memory per request.
#pragma once

#include <string>
#include <vector>

#include "core/channel_plan.h"
#include "core/cluster.h"
#include "core/result.h"
#include "results/run_directory.h"
#include "serving/replay_config.h"

namespace kvhaul::report {

/// What its files do not say by themselves.
struct RunContext {
  const Cluster& cluster;
  const ReplayConfig& serving;
  const ChannelPlan& plan;
  struct Fault {
    std::string text;
    TimeNs from_ns = 0, until_ns = never_ns;
  };
  std::vector<Fault> faults;
  // How to make it again.
  std::string command, scenario_file, scenario_text, fault_text;
};

/// The data of page/run.js; reads the rows of the run.
Result<nlohmann::ordered_json> run_data(const RunDirectory& run, const RunContext& context);

/// What limits it (results/limits.h), and what went wrong: "Limited by prefill: 97% of ...; 3
/// chunks were sent again."
std::string run_sentence(const nlohmann::ordered_json& data);

/// "dgx-h100-pair, azure.csv": what was run.
std::string run_title(const nlohmann::ordered_json& data);

}  // namespace kvhaul::report
