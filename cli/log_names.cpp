#include "cli/log_names.h"

#include <filesystem>

#include "cli/replay_run.h"

namespace kvhaul::cli {

std::string LogNames::place(PlaceId place) const {
  return run_ != nullptr && place < run_->scenario.cluster.places.size()
             ? run_->scenario.cluster.places[place].name
             : "place " + std::to_string(place);
}

std::string LogNames::channel(ChannelId channel) const {
  std::string name = "channel " + std::to_string(channel);
  if (run_ != nullptr && channel < run_->plan.requests.size())
    name += " (" + run_->plan.requests[channel].route.name + ")";
  return name;
}

std::string LogNames::node(NodeId node) const {
  return run_ != nullptr && node < run_->scenario.cluster.nodes.size()
             ? run_->scenario.cluster.nodes[node].name
             : "node " + std::to_string(node);
}

Result<std::string> recorded_log(const std::string& directory, const RunFile& file) {
  std::string name;
  if (file.command.size() > 1)
    if (const auto request = read_replay_request({file.command.begin() + 1, file.command.end()}))
      name = request->record.value_or("");
  if (name.empty())
    return Error::bad_input(directory +
                            ": the run recorded no event log; replay it with --record FILE");
  const std::string log = (std::filesystem::path(file.directory) / name).string();
  std::error_code status;
  if (!std::filesystem::exists(log, status))
    return Error::bad_input(directory + ": its event log " + log +
                            " has gone; --log FILE says where it is");
  return log;
}

}  // namespace kvhaul::cli
