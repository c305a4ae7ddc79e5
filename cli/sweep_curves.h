// What a sweep has found, in words and curves: which points are equal, which is best, where a curve
// has its knee. Rows and points have the same order.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/sweep_grid.h"
#include "cli/sweep_table.h"

namespace kvhaul::cli {

/// Values that lie no farther apart, as a share of the larger, are called equal: what a request or
/// two more in a percentile changes is no answer to what was swept over.
inline constexpr double sweep_tie = 0.01;
bool is_tie(double first, double second);

/// Where a curve of costs bends most: the index of the value farthest below the straight line
/// between both ends, with the values at equal distances. Nothing for fewer than three, or where
/// that is less than a tenth of the largest value.
std::optional<std::size_t> knee_of(const std::vector<double>& curve);

/// The key that curves are drawn over: that with most values that are numbers; else the one with
/// most values.
std::size_t axis_key(const std::vector<SweepKey>& keys);

/// The points of one combination of all other keys, along that one.
struct SweepLine {
  std::string name;  // "streaming=request, chunk=1 MiB"
  std::vector<std::size_t> points;
};
std::vector<SweepLine> sweep_lines(const std::vector<SweepKey>& keys,
                                   const std::vector<SweepPoint>& points, std::size_t axis);
/// The place of the knee in the line, for times that are drawn.
std::optional<std::size_t> knee_of(const SweepLine& line, const std::vector<SweepRow>& rows,
                                   std::size_t column);

/// A figure that is a number; nothing where the row has none.
std::optional<double> figure_of(const SweepRow& row, std::size_t column);
/// The place of a column of sweep.csv.
std::size_t sweep_column(const std::string& name);

/// "All 8 points are equal within 1%: ...", or which of them have the lowest p99 TTFT.
std::string sweep_sentence(const std::vector<SweepKey>& keys, const std::vector<SweepPoint>& points,
                           const std::vector<SweepRow>& rows);

}  // namespace kvhaul::cli
