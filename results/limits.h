// What limits a run: the one rule by which table, report, compare and sweep name it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/cluster.h"
#include "results/run_summary.h"

namespace kvhaul {

inline constexpr std::size_t limit_count = 9;

/// What some requests of a run waited for: of so many that memory does not grow with the run, every
/// n-th one.
class LimitSample {
 public:
  static constexpr std::size_t requests_max = 1 << 16;

  void add(const RequestResult& completed);

  /// By how much of the median time to first token each limit is waited for, largest first: were
  /// each wait for it a tenth shorter, the median would be by a tenth of this share. Limits for
  /// which it would not be are left out.
  ///
  /// The wait for pages of a prefill instance counts for what the requests that held them waited
  /// for, and so does that for pages of a decode instance, but for those that decoded with them.
  std::vector<LimitShare> limits(const RunSummary& summary) const;

 private:
  struct Request {
    std::uint64_t number = 0;
    float ttft_ns = 0;
    float pages_ns = 0;  // of the prefill instance
    std::array<float, limit_count> parts_ns{};
  };
  std::uint64_t every_ = 1;
  std::vector<Request> requests_;
};

std::string_view limit_name(Limit limit);  // "decode_memory", in summary.json

/// Limits of this share or more are named beside the first: a tenth less waiting for them gains a
/// hundredth, and more where a queue gets shorter.
inline constexpr double limit_share_min = 0.1;

/// "Limited by decode memory: 62% of the median time to first token; then prefill and its queue
/// (35%); exposed transfer is 0.07% of it and does not matter here: ..." From summary.limits.
std::string limit_sentence(const RunSummary& summary, const Cluster& cluster);
/// "decode memory", or the link's name.
std::string limit_label(const LimitShare& limit, const RunSummary& summary, const Cluster& cluster);

}  // namespace kvhaul
