#include "cli/inputs.h"

#include <filesystem>

#include "cli/run_report.h"

namespace kvhaul::cli {

std::vector<std::string> inputs_of(const Scenario& scenario) {
  std::vector<std::string> inputs = scenario.profiles;
  inputs.push_back(scenario.file);
  return inputs;
}

std::vector<std::string> inputs_of_run(const std::string& directory) {
  namespace fs = std::filesystem;
  std::vector<std::string> inputs;
  std::error_code status;  // what cannot be looked into is not read either
  for (fs::directory_iterator entry(directory, status), end; !status && entry != end;
       entry.increment(status))
    if (entry->path().filename() != report_file) inputs.push_back(entry->path().string());
  return inputs;
}

}  // namespace kvhaul::cli
