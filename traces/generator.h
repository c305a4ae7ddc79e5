// Synthetic traces, seeded: the same options give the same requests on every machine (to the last
// bit as far as its C library computes log, exp and pow alike).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "core/random.h"
#include "core/result.h"
#include "core/units.h"
#include "traces/trace.h"

namespace kvhaul {

// Arrivals. Rates are above 0 and at most 1e9 requests per second. cv is the standard deviation of
// the gaps over their mean, from 0.1 to 50: 1 is Poisson, above is burstier.
struct PoissonArrivals {
  double requests_per_s = 1;
};
struct GammaArrivals {
  double requests_per_s = 1;
  double cv = 1;
};
struct WeibullArrivals {
  double requests_per_s = 1;
  double cv = 1;
};
/// A batch of requests_min to requests_max, each number as likely, every gap_ns.
struct BatchArrivals {
  TimeNs gap_ns = 3 * s_ns;
  std::uint32_t requests_min = 1, requests_max = 1;
};
using ArrivalModel = std::variant<PoissonArrivals, GammaArrivals, WeibullArrivals, BatchArrivals>;

/// How likely each length is.
class LengthTable {
 public:
  using Weights = std::span<const std::pair<std::uint32_t, double>>;  // tokens, weight

  /// Nothing unless the weights are finite, none is negative and their sum is above 0.
  static std::optional<LengthTable> from(Weights weights);
  std::uint32_t draw(Random& random) const;

 private:
  std::vector<std::uint32_t> tokens_;
  std::vector<double> weight_up_to_;  // sums; the last is all
};

// Lengths in tokens, at most trace_tokens_max.
struct FixedLength {
  std::uint32_t tokens = 1;
};
struct UniformLength {
  std::uint32_t min = 1, max = 1;
};
/// Half are below the median; exp(sigma) is the factor of one standard deviation. What would fall
/// outside min and max is drawn again, at most a few times, and then becomes the nearer of them.
struct LognormalLength {
  double median = 1000, sigma = 1;
  std::uint32_t min = 1, max = trace_tokens_max;
};
using LengthModel = std::variant<FixedLength, UniformLength, LognormalLength, LengthTable>;

/// Some requests begin with one of a few system prompts. Only whole blocks are shared, and an input
/// always has at least one token more than its shared prefix.
struct SharedPrompts {
  std::uint32_t prompts = 4;  // each as likely
  LengthModel tokens = FixedLength{512};
  double share = 0.5;  // of the requests, 0 to 1
  std::uint32_t block_tokens = 16;
};

struct GeneratorOptions {
  std::uint64_t seed = 1;
  std::uint64_t requests = 1000;
  ArrivalModel arrivals = PoissonArrivals{};
  LengthModel input = FixedLength{1000};
  LengthModel output = FixedLength{100};
  std::optional<SharedPrompts> shared_prompts = {};
};

/// The first request arrives at 0. Errors (bad_input) name the option that is out of range. Inputs
/// of 0 tokens are drawn as 1.
Result<TraceReaderPtr> generate_trace(GeneratorOptions options);

}  // namespace kvhaul
