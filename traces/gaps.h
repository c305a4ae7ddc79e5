// Internal to traces/: random gaps between arrivals, the same on every machine.
#pragma once

#include <variant>

#include <boost/random/exponential_distribution.hpp>
#include <boost/random/gamma_distribution.hpp>
#include <boost/random/weibull_distribution.hpp>

#include "core/random.h"

namespace kvhaul {

// Where the unit is a second, so is that of the scale and of what is drawn.
using ExponentialGaps = boost::random::exponential_distribution<double>;  // (1 / mean)
using GammaGaps = boost::random::gamma_distribution<double>;              // (shape, scale)
using WeibullGaps = boost::random::weibull_distribution<double>;          // (shape, scale)
using GapDistribution = std::variant<ExponentialGaps, GammaGaps, WeibullGaps>;

inline double draw_gap(GapDistribution& gaps, Random& random) {
  return std::visit([&](auto& distribution) { return distribution(random); }, gaps);
}

}  // namespace kvhaul
