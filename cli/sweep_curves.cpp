#include "cli/sweep_curves.h"

#include <algorithm>
#include <cmath>

#include "core/result.h"
#include "core/unit_text.h"

namespace kvhaul::cli {
namespace {

bool begins_with_number(const std::string& text) {
  return !text.empty() && (text[0] >= '0' && text[0] <= '9');
}

/// "count=4, streaming=request"; `but` is left out.
std::string values_text(const std::vector<std::string>& names, const SweepPoint& point,
                        std::optional<std::size_t> but = {}) {
  std::string out;
  for (std::size_t k = 0; k < names.size(); ++k)
    if (k != but) out += (out.empty() ? "" : ", ") + names[k] + "=" + point.values[k];
  return out;
}

/// "1, 2 or 4", with what stands before the last.
std::string listed(const std::vector<std::string>& values, const std::string& last) {
  std::string out;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out += i + 1 == values.size() ? last : ", ";
    out += values[i];
  }
  return out;
}

std::string text_of(const SweepFigure& column, double value) {
  if (column.unit == Unit::ms) return duration_text(std::llround(value * 1e6));
  return value_text(*column.unit, value, 3);
}

/// Of the rows that have it, smallest and largest.
std::optional<std::pair<double, double>> range_of(const std::vector<SweepRow>& rows,
                                                  const std::vector<std::size_t>& of,
                                                  std::size_t column) {
  std::optional<std::pair<double, double>> range;
  for (const std::size_t i : of)
    if (const auto value = figure_of(rows[i], column))
      range = range ? std::pair(std::min(range->first, *value), std::max(range->second, *value))
                    : std::pair(*value, *value);
  return range;
}

/// Columns, and what they are in words; nothing where the one before says it.
constexpr std::pair<const char*, const char*> aims[] = {{"ttft_p50_ms", "TTFT"},
                                                        {"ttft_p99_ms", ""},
                                                        {"itl_p50_ms", "ITL"},
                                                        {"slo_attainment", "SLO"},
                                                        {"goodput_per_s", "goodput"},
                                                        {"completed", "completed requests"},
                                                        {"failed", ""}};

/// In what they are: "TTFT, ITL and completed requests". Nothing where they are not.
std::string equal_in(const std::vector<SweepRow>& rows, const std::vector<std::size_t>& of) {
  std::vector<std::string> words;
  for (const auto& [column, word] : aims) {
    const auto range = range_of(rows, of, sweep_column(column));
    if (!range) continue;
    if (!is_tie(range->first, range->second)) return "";
    if (*word != 0) words.emplace_back(word);
  }
  return listed(words, " and ");
}

/// "; what differs most is ..., from ... to ...", or nothing.
std::string largest_difference(const std::vector<SweepRow>& rows,
                               const std::vector<std::size_t>& of) {
  std::string out;
  double most = sweep_tie;
  const auto columns = sweep_columns();
  for (std::size_t c = 0; c < columns.size(); ++c) {
    if (!columns[c].drawn) continue;
    const auto range = range_of(rows, of, c);
    if (!range || range->second <= 0) continue;
    const double apart = 1 - range->first / range->second;
    if (apart <= most) continue;
    most = apart;
    std::string title = columns[c].title;
    title[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(title[0])));
    out = title + ", from " + text_of(columns[c], range->first) + " to " +
          text_of(columns[c], range->second);
  }
  return out;
}

/// Where the points of `best` lie in the grid: "count=2, 4 or 8 with streaming=chunk_layer" where
/// they are all combinations of some values, else one after the other.
std::string places_text(const std::vector<SweepKey>& keys, const std::vector<SweepPoint>& points,
                        const std::vector<std::size_t>& best) {
  const std::vector<std::string> names = sweep_key_names(keys);
  std::string product;
  std::size_t combinations = 1;
  for (std::size_t k = 0; k < keys.size(); ++k) {
    if (keys[k].values.size() == 1 && points.size() > 1) continue;  // that is where all are
    std::vector<std::string> values;
    for (const std::string& value : keys[k].values)
      if (std::ranges::any_of(best, [&](std::size_t p) { return points[p].values[k] == value; }))
        values.push_back(value);
    combinations *= values.size();
    if (keys[k].values.size() > 1 && values.size() == keys[k].values.size()) {
      product += (product.empty() ? "any " : ", any ") + names[k];
      continue;
    }
    product += (product.empty() ? "" : ", ") + names[k] + "=" + listed(values, " or ");
  }
  if (combinations == best.size()) return product;
  constexpr std::size_t listed_max = 3;
  std::string out;
  for (std::size_t i = 0; i < std::min(listed_max, best.size()); ++i)
    out += (i > 0 ? "; " : "") + values_text(names, points[best[i]]);
  if (best.size() > listed_max)
    out += "; and " + std::to_string(best.size() - listed_max) + " more";
  return out;
}

/// "; p99 exposed transfer (streaming=request) has its knee at count=2", or nothing.
std::string knee_text(const std::vector<SweepKey>& keys, const std::vector<SweepPoint>& points,
                      const std::vector<SweepRow>& rows) {
  const std::size_t axis = axis_key(keys);
  for (const SweepLine& line : sweep_lines(keys, points, axis))
    if (const auto at = knee_of(line, rows, sweep_column("exposed_p99_ms")))
      return "; p99 exposed transfer" + (line.name.empty() ? "" : " (" + line.name + ")") +
             " has its knee at " + sweep_key_names(keys)[axis] + "=" +
             points[line.points[*at]].values[axis];
  return "";
}

}  // namespace

bool is_tie(double first, double second) {
  return std::fabs(first - second) <= sweep_tie * std::max(std::fabs(first), std::fabs(second));
}

std::optional<std::size_t> knee_of(const std::vector<double>& curve) {
  constexpr double least = 0.1;
  if (curve.size() < 3) return std::nullopt;
  const double largest = *std::max_element(curve.begin(), curve.end());
  std::size_t knee = 0;
  double farthest = 0;
  for (std::size_t i = 1; i + 1 < curve.size(); ++i) {
    const double along = static_cast<double>(i) / static_cast<double>(curve.size() - 1);
    const double line = curve.front() + (curve.back() - curve.front()) * along;
    const double distance = line - curve[i];
    if (distance <= farthest) continue;
    farthest = distance;
    knee = i;
  }
  return farthest > 0 && farthest >= least * largest ? std::optional(knee) : std::nullopt;
}

std::size_t axis_key(const std::vector<SweepKey>& keys) {
  const auto rank = [&](const SweepKey& key) {
    const bool numbers = std::all_of(key.values.begin(), key.values.end(), begins_with_number);
    return std::pair(numbers && key.values.size() > 1, key.values.size());
  };
  std::size_t best = 0;
  for (std::size_t k = 1; k < keys.size(); ++k)
    if (rank(keys[k]) > rank(keys[best])) best = k;
  return best;
}

std::vector<SweepLine> sweep_lines(const std::vector<SweepKey>& keys,
                                   const std::vector<SweepPoint>& points, std::size_t axis) {
  const std::vector<std::string> names = sweep_key_names(keys);
  std::vector<SweepLine> lines;
  for (std::size_t p = 0; p < points.size(); ++p) {
    const std::string name = values_text(names, points[p], axis);
    auto found = std::ranges::find(lines, name, &SweepLine::name);
    if (found == lines.end()) found = lines.insert(lines.end(), {name, {}});
    found->points.push_back(p);
  }
  return lines;
}

std::optional<std::size_t> knee_of(const SweepLine& line, const std::vector<SweepRow>& rows,
                                   std::size_t column) {
  const SweepFigure& figure = sweep_columns()[column];
  if (!figure.drawn || figure.unit != Unit::ms) return std::nullopt;
  std::vector<double> curve;
  for (const std::size_t p : line.points) {
    const auto value = figure_of(rows[p], column);
    if (!value) return std::nullopt;
    curve.push_back(*value);
  }
  return knee_of(curve);
}

std::optional<double> figure_of(const SweepRow& row, std::size_t column) {
  if (column >= row.figures.size() || row.figures[column].empty() || !sweep_columns()[column].unit)
    return std::nullopt;
  return std::stod(row.figures[column]);
}

std::size_t sweep_column(const std::string& name) {
  const auto columns = sweep_columns();
  const auto found = std::ranges::find(columns, name, &SweepFigure::name);
  check(found != columns.end(), "sweep.csv has that column");
  return static_cast<std::size_t>(found - columns.begin());
}

std::string sweep_sentence(const std::vector<SweepKey>& keys, const std::vector<SweepPoint>& points,
                           const std::vector<SweepRow>& rows) {
  // Who has lost requests is not as good as the times of the others say.
  const std::size_t p99 = sweep_column("ttft_p99_ms");
  std::vector<std::size_t> whole, ok;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (!figure_of(rows[i], p99)) continue;
    whole.push_back(i);
    if (rows[i].outcome == "ok") ok.push_back(i);
  }
  if (whole.empty()) return "No point of the sweep left a whole run.";
  const std::string equal = whole.size() > 1 ? equal_in(rows, whole) : "";
  const std::vector<std::size_t>& of = ok.empty() ? whole : ok;
  const double lowest = range_of(rows, of, p99)->first;
  std::vector<std::size_t> best;
  for (const std::size_t i : of)
    if (is_tie(*figure_of(rows[i], p99), lowest)) best.push_back(i);
  const std::string p99_text = duration_text(std::llround(lowest * 1e6));
  if (!equal.empty() || (best.size() == of.size() && of.size() > 1)) {
    const std::vector<std::size_t>& all = equal.empty() ? of : whole;
    const std::string most = largest_difference(rows, all);
    std::string out = "All " + std::to_string(all.size());
    out += all.size() == rows.size() ? " points" : " points that ended well";
    out += equal.empty() ? " have the same p99 TTFT within 1%, " + p99_text
                         : " are equal within 1% in " + equal;
    return out + (most.empty() ? "" : "; what differs most is " + most) + ".";
  }
  std::string out = "The lowest p99 TTFT is " + p99_text + ", at ";
  out += places_text(keys, points, best);
  if (best.size() > 1) out += " (" + std::to_string(best.size()) + " points, equal within 1%)";
  return out + knee_text(keys, points, rows) + ".";
}

}  // namespace kvhaul::cli
