// What has to lie in the memory of each GPU, beside what it has: weights and KV of every instance
// on it. Instances that share a GPU have weights of their own each.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/cluster.h"
#include "serving/replay_config.h"

namespace kvhaul {

/// What no machine could hold, by the bytes that the configuration states: KV of all instances on a
/// GPU and the weights that are given, where any are. Nothing where all fits.
struct MemoryExcess {
  bool of_decode = false;  // decode's weights are among it, and prefill's are not
  std::string text;        // with the figures
};
std::optional<MemoryExcess> memory_excess(const ReplayConfig& config, const Cluster& cluster);

/// What a run should say, for it may not be meant: weights and KV that exceed a GPU's memory, with
/// weights that are not given taken as total parameters x 2 bytes (bf16) / GPUs of an instance; and
/// GPUs that prefill and decode share, which neither slows the other on. A sentence each.
std::vector<std::string> memory_warnings(const ReplayConfig& config, const Cluster& cluster);

}  // namespace kvhaul
