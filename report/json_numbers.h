// Numbers as they stand in the data of a report.
#pragma once

#include <cmath>
#include <string>

#include "core/unit_text.h"
#include "core/units.h"

namespace kvhaul::report {

/// Four digits: nobody sees more in a chart.
inline double rounded(double value) {
  return value == 0 || !std::isfinite(value) ? 0 : std::stod(number_text(value, 4));
}
inline double ms_of(TimeNs time) { return static_cast<double>(time) / 1e6; }
inline double s_of(TimeNs time) { return static_cast<double>(time) / 1e9; }

}  // namespace kvhaul::report
