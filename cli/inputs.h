// Which files a command reads: those that it may never write over (OutputRules).
#pragma once

#include <string>
#include <vector>

#include "scenarios/scenario.h"

namespace kvhaul::cli {

/// Its own file, and the timing profiles that it names. Of a shipped one there is no file.
std::vector<std::string> inputs_of(const Scenario& scenario);

/// The files of a run directory but for its report, which is made of the others.
std::vector<std::string> inputs_of_run(const std::string& directory);

}  // namespace kvhaul::cli
