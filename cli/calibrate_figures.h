// What a calibration found, as the values of a scenario's keys.
#pragma once

#include <string>
#include <vector>

#include "calibration/calibration.h"
#include "core/result.h"
#include "scenarios/scenario.h"

namespace kvhaul::cli {

enum class FigureUnit { bytes_per_s, ns, bytes, ratio };

struct CalibratedFigure {
  std::string key;   // of the scenario, joined by dots; empty: no scenario holds it
  std::string what;  // in words, where there is no key
  FigureUnit unit = FigureUnit::ns;
  calibration::Spread value;
  std::string before;  // what the scenario had; empty: nothing

  const std::string& name() const { return key.empty() ? what : key; }
};

/// As a scenario would have it: "55.04 GB/s", "3.812 us", "121 KB".
std::string figure_text(FigureUnit unit, double value);

std::vector<CalibratedFigure> calibrated_figures(const calibration::Calibration& calibration,
                                                 const Scenario& scenario);

/// The scenario's text with the figures in place of its numbers. Files that it names by a path of
/// its own folder are named by their whole path. Fails (bad_input) when the text holds them in a
/// form that is not edited, such as an alias.
Result<std::string> calibrated_text(const Scenario& scenario,
                                    const std::vector<CalibratedFigure>& figures);

}  // namespace kvhaul::cli
