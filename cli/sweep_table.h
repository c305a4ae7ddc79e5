// What a sweep found, one row per point: on the terminal and as sweep.csv (docs/sweep.md).
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/child_runs.h"
#include "cli/json_text.h"
#include "cli/sweep_grid.h"
#include "results/figures.h"

namespace kvhaul::cli {

struct SweepRow {
  std::size_t point = 0;
  std::string outcome;               // "ok", or what went wrong in a word
  std::string error;                 // in words
  std::vector<std::string> figures;  // in the order of sweep.csv; none where the run is not whole
};

/// Looks at how the replay ended and, where it left a whole run, into its directory.
SweepRow sweep_row(std::size_t point, const ChildEnd& end, const std::string& directory);
/// Of a point that could not even be started.
SweepRow failed_row(std::size_t point, const std::string& error);

/// Rows as one text and back, for the way between ranks.
std::string rows_text(const std::vector<SweepRow>& rows);
std::vector<SweepRow> rows_of(const std::string& text);

/// A column of sweep.csv that says something about the run.
struct SweepFigure {
  std::string name;
  std::string key;           // in summary.json; empty: of its most used link, or a sum
  std::string heading;       // on the terminal; empty: it is not there
  std::string title;         // in the report
  std::optional<Unit> unit;  // none: a text
  bool drawn = false;        // has a curve in the report, where times have a knee
};
/// In their order.
std::span<const SweepFigure> sweep_columns();
/// What tells keys apart: their last parts, or all of them where those are the same.
std::vector<std::string> sweep_key_names(const std::vector<SweepKey>& keys);

// Rows and points have the same order.
std::string sweep_csv(const std::vector<SweepKey>& keys, const std::vector<SweepPoint>& points,
                      const std::vector<SweepRow>& rows);
/// The same for programs, without what the sweep was of.
Json sweep_json(const std::vector<SweepKey>& keys, const std::vector<SweepPoint>& points,
                const std::vector<SweepRow>& rows);
/// The rows of that, in the order of its points.
Result<std::vector<SweepRow>> sweep_rows_of(const Json& json);
/// At most 80 columns as long as names and values of the keys leave room for two figures.
std::string sweep_text(const std::vector<SweepKey>& keys, const std::vector<SweepPoint>& points,
                       const std::vector<SweepRow>& rows);

}  // namespace kvhaul::cli
