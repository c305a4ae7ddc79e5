// The figures of a run, in one list. From it are made the numbers of summary.json, the check of who
// reads them, the tables of replay, compare and sweep, the numbers in reports, and the table of
// docs/metrics.md.
//
// A new figure is one entry in figures.cpp, and what it is computed from. Then the table in
// docs/metrics.md is written anew: its test says how.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "core/histogram.h"
#include "results/run_summary.h"

namespace kvhaul {

/// Of the numbers in summary.json.
enum class Unit : std::uint8_t {
  count,
  bytes,
  ms,
  s,
  share,
  gbytes_per_s,
  requests_per_s,
  tokens_per_s
};
std::string_view unit_name(Unit unit);  // "ms", "GB/s", "count"

/// Of a distribution; its keys are "ttft_ms.p50" and so on.
enum class Statistic : std::uint8_t { mean, p50, p90, p99, max };
inline constexpr Statistic all_statistics[] = {Statistic::mean, Statistic::p50, Statistic::p90,
                                               Statistic::p99, Statistic::max};
std::string_view statistic_name(Statistic statistic);

/// A column of sweep.csv.
struct SweepColumn {
  int place;                             // columns stand in the order of these
  const char* name;                      // in the file
  Statistic statistic = Statistic::p50;  // of a distribution
  const char* heading = "";              // on the terminal; empty: it is not there
  bool drawn = false;                    // has a curve in the report, where times have a knee
};

struct Figure {
  /// From where and how. A whole number and a double are always there; the others are nothing, null
  /// in the file, where there was nothing to measure. Distributions are of nanoseconds.
  using Value =
      std::variant<Histogram RunSummary::*, std::uint64_t (*)(const RunSummary&),
                   double (*)(const RunSummary&), std::optional<double> (*)(const RunSummary&),
                   const Histogram& (*)(const RunSummary&)>;

  // Where it is shown; the order is that of the list.
  enum Shown : unsigned {
    in_terminal = 1,  // the table of replay
    in_tiles = 2,     // the head of a report
    in_report = 4,    // the table of a report that has all times
    // And how.
    part = 8,       // of the figure above it, and indented there
    with_slo = 16,  // the file has it only where the scenario has an SLO
    subpart = 32,   // a part of a part
  };

  const char* key;  // in summary.json, with dots
  Unit unit;
  const char* label;  // in tables; may begin with its unit
  const char* help;   // its formula, and what it tells
  Value value;
  unsigned shown = 0;
  int compared = 0;  // its place in the table of compare; 0: it is not there
  std::vector<SweepColumn> swept = {};

  bool is(Shown bit) const { return (shown & bit) != 0; }
  bool is_distribution() const { return value.index() == 0 || value.index() == 4; }
  bool is_whole() const { return value.index() == 1; }
  /// Whether it may be null.
  bool may_be_nothing() const { return is_distribution() || value.index() == 3; }
  /// Its label without the unit before it.
  std::string title() const;
};

/// In the order of summary.json.
std::span<const Figure> figures();

/// Before its label in tables of text.
std::string indent_of(const Figure& figure);

const Histogram& distribution_of(const Figure& figure, const RunSummary& summary);
/// In nanoseconds; there must be something in it.
double statistic_of(const Histogram& histogram, Statistic statistic);
/// Of a figure that is no distribution, in its unit.
std::optional<double> number_of(const Figure& figure, const RunSummary& summary);

/// A value in its unit for people: "97.5%", "4.77 requests/s".
std::string value_text(Unit unit, double value, int digits);

/// A row in the table of compare.
struct ComparedFigure {
  std::string key;       // "ttft_ms.p50"
  std::string label;     // "p50, ms", below that of the row before it where it is the same figure
  std::string name;      // "time to first token p50, ms"
  double factor = 1;     // from the unit of the summary to the one in the label
  bool part = false;     // of the figure above it
  bool subpart = false;  // of a part
};
std::span<const ComparedFigure> compared_figures();

/// A column of sweep.csv that comes from a key of summary.json.
struct SweptFigure {
  const SweepColumn* column;
  std::string key;
  std::string title;  // "Time to first token, p50"
  Unit unit;
};
std::span<const SweptFigure> swept_figures();

/// The table of docs/metrics.md.
std::string figures_markdown();

}  // namespace kvhaul
