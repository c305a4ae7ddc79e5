// A machine as a scenario file: what was read as it was read, and published figures, each with its
// source, for what only a measurement can tell.
#pragma once

#include <string>

#include "machine/machine.h"
#include "serving/model.h"

namespace kvhaul {

/// Llama-3.1-8B where every GPU has 40 GB, else Qwen2.5-7B.
const ModelShape& model_for(const Machine& machine);

/// The text of a scenario that load_scenario() reads. `model` is a built-in one.
std::string topo_scenario(const Machine& machine, const ModelShape& model);

}  // namespace kvhaul
