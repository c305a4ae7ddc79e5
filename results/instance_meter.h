// What the instances of a run did, over time: computing, KV pages held, requests waiting, tokens.
//
// A pipeline stage of a prefill instance has one chunk at a time, and a decode instance one step,
// so that no share of time can be above 1. All attempts count, those of requests that were lost
// too.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/cluster.h"
#include "results/time_bins.h"
#include "serving/replay_config.h"
#include "serving/replay_result.h"

namespace kvhaul {

/// Of a stretch of time: means over it, but for the batch, which is that of the decode steps in it.
struct InstanceLoad {
  double utilisation = 0;   // prefill: computing stages / stages; decode: time with a step
  double batch = 0;         // sequences in a decode step, by time; 0: there was none
  double kv_fill = 0;       // KV pages held for requests / pages of the instance
  double queue = 0;         // requests waiting (InstanceState)
  double tokens_per_s = 0;  // prefill: computed, not found in a cache; decode: of its steps
};

struct InstanceUse {
  InstanceRole role = InstanceRole::prefill;
  std::uint32_t instance = 0;
  std::string nodes;           // that it has places on; several are joined by a bar
  std::uint64_t requests = 0;  // completed ones
  InstanceLoad mean;
  std::uint32_t batch_max = 0, queue_max = 0;
  double kv_fill_max = 0;
  std::vector<InstanceLoad> bins;
};

/// Of all instances of a role together.
struct RoleUse {
  InstanceLoad mean;  // queue and tokens are sums; the others means
  std::uint64_t gpus = 0;
};

class InstanceMeter {
 public:
  static constexpr std::size_t bins_max = 128;

  InstanceMeter(const Cluster& cluster, const ReplayConfig& config);

  void prefill_step(const PrefillStep& step);
  void decode_step(const DecodeStep& step);
  void changed(const InstanceState& state);
  void completed(const RequestResult& request);

  /// The last thing that an instance did.
  TimeNs last_ns() const { return last_ns_; }

  /// No call of the above may follow.
  struct Uses {
    std::vector<InstanceUse> instances;  // prefill, then decode, by number
    RoleUse prefill, decode;
    TimeNs bin_ns = 0;
    TimeNs end_ns = 0;  // of the last bin, which may be shorter than the others
  };
  /// Of a run that ended then; last_ns() or later, above 0.
  Uses uses(TimeNs end_ns);

 private:
  /// Multiplied with nanoseconds.
  struct Amounts {
    double computing = 0;  // stages
    double sequences = 0;
    double pages = 0;
    double waiting = 0;
    double tokens = 0;  // per nanosecond, so that they are added up as they are

    Amounts& operator+=(const Amounts& more);
    Amounts operator*(double factor) const;
  };
  struct Instance {
    std::string nodes;
    TimeBins<Amounts, bins_max> bins;
    InstanceState state;  // and since when
    std::uint64_t requests = 0;
    std::uint32_t batch_max = 0, queue_max = 0, pages_max = 0;
  };
  struct Role {
    std::vector<Instance> instances;
    std::uint32_t stages = 1;  // that compute at the same time
    std::uint32_t pages = 1;   // of an instance
    std::uint64_t gpus = 0;
  };

  Role& role(InstanceRole role) { return roles_[static_cast<std::size_t>(role)]; }
  void count_state(Instance& instance, TimeNs until_ns);
  InstanceLoad load(const Role& role, const Amounts& sum, double time_ns) const;

  std::array<Role, 2> roles_;
  TimeNs last_ns_ = 0;
};

}  // namespace kvhaul
