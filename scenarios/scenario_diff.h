// How two scenarios differ in what they mean: key by key, with the defaults filled in.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "scenarios/scenario.h"

namespace kvhaul {

struct ScenarioDifference {
  /// Joined by dots, as --set takes it. Of a node type that has another name in the second one:
  /// "cluster.node_types.dgx_h100/dgx_b200.nics.count".
  std::string path;
  std::optional<ReadValue> first, second;  // none: the key says nothing there
};

/// In the order of the first one's keys. Not compared: comments and order, in which of several ways
/// a value is written, and what is a name only: of the scenario, of node types, their titles. Node
/// types of one name are compared with each other, then the others in their order.
Result<std::vector<ScenarioDifference>> scenario_differences(const Scenario& first,
                                                             const Scenario& second);

}  // namespace kvhaul
