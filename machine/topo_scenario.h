// A machine as a scenario file: what was read as it was read, and published figures, each with its
// source, for what only a measurement can tell.
#pragma once

#include <string>
#include <vector>

#include "machine/machine.h"
#include "machine/nic_choice.h"
#include "serving/model.h"

namespace kvhaul {

/// Llama-3.1-8B where every GPU has 40 GB, else Qwen2.5-7B.
const ModelShape& model_for(const Machine& machine);

struct TopoScenario {
  std::string text;  // that load_scenario() reads
  /// What the machine does not tell and the text assumes, or leaves to be filled in; the text says
  /// it, too. One clause each.
  std::vector<std::string> not_known;
};

/// `model` is a built-in one; `nics` are those of choose_nics().
TopoScenario topo_scenario(const Machine& machine, const ModelShape& model, const NicChoice& nics);

}  // namespace kvhaul
