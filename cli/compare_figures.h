// How runs differ in a figure, and what changed the time to first token.
#pragma once

#include <optional>
#include <string>

#include "results/run_directory.h"

namespace kvhaul::cli {

/// "A" for the first.
std::string run_letter(std::size_t run);

/// Relative to the first; nothing where one has no such figure, or the first has zero.
std::optional<double> relative_difference(const RunDirectory& first, const RunDirectory& other,
                                          const std::string& key);

/// Which part of the mean time to first token changed most; nothing where a run has none.
struct TtftChange {
  double change_ms = 0;
  double relative = 0;
  std::optional<std::string> component;  // as in the table; none where the mean is the same
  double component_change_ms = 0;
};
std::optional<TtftChange> ttft_change(const RunDirectory& first, const RunDirectory& other);

}  // namespace kvhaul::cli
