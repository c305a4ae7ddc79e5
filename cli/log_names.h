// Names for the numbers of an event log, from the run that it was recorded in.
#pragma once

#include <optional>
#include <string>

#include "cli/run_report.h"
#include "core/ids.h"

namespace kvhaul::cli {

class LogNames {
 public:
  /// Numbers stay numbers.
  LogNames() = default;
  /// The inputs must outlive this.
  explicit LogNames(const RunInputs& run) : run_(&run) {}

  std::string place(PlaceId place) const;        // "node0/gpu1", or "place 1"
  std::string channel(ChannelId channel) const;  // "channel 3 (rdma node0/nic0 node1/nic0)"
  std::string node(NodeId node) const;

 private:
  const RunInputs* run_ = nullptr;
};

/// The event log that a run was asked to record, as a path that is good here. Fails with bad_input
/// where there is none.
Result<std::string> recorded_log(const std::string& directory, const RunFile& file);

}  // namespace kvhaul::cli
