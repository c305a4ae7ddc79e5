#include "cli/sweep_page.h"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "core/unit_text.h"
#include "report/page.h"

namespace kvhaul::cli {
namespace {

using Json = nlohmann::ordered_json;

bool begins_with_number(const std::string& text) {
  return !text.empty() && (text[0] >= '0' && text[0] <= '9');
}

/// The key with most values that are numbers; else the one with most values.
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

/// "count=4, streaming=request"; `but` is left out.
std::string values_text(const std::vector<std::string>& names, const SweepPoint& point,
                        std::optional<std::size_t> but = {}) {
  std::string out;
  for (std::size_t k = 0; k < names.size(); ++k)
    if (k != but) out += (out.empty() ? "" : ", ") + names[k] + "=" + point.values[k];
  return out;
}

Json figures_json(const SweepRow& row) {
  Json json = Json::object();
  const auto columns = sweep_columns();
  for (std::size_t c = 0; c < row.figures.size() && c < columns.size(); ++c) {
    if (row.figures[c].empty()) continue;
    if (columns[c].unit)
      json[columns[c].name] = std::stod(row.figures[c]);
    else
      json[columns[c].name] = row.figures[c];
  }
  return json;
}

struct Line {
  std::string name;
  std::vector<std::size_t> points;  // along the axis
};

/// A line per combination of what is not on the axis.
std::vector<Line> lines_of(const std::vector<std::string>& names,
                           const std::vector<SweepPoint>& points, std::size_t axis) {
  std::vector<Line> lines;
  for (std::size_t p = 0; p < points.size(); ++p) {
    const std::string name = values_text(names, points[p], axis);
    auto found =
        std::find_if(lines.begin(), lines.end(), [&](const Line& l) { return l.name == name; });
    if (found == lines.end()) found = lines.insert(lines.end(), {name, {}});
    found->points.push_back(p);
  }
  return lines;
}

Json knees_json(const Json& points, const Line& line) {
  Json knees = Json::object();
  for (const SweepFigure& column : sweep_columns()) {
    if (!column.drawn || column.unit != Unit::ms) continue;
    std::vector<double> curve;
    for (const std::size_t p : line.points)
      if (points[p]["figures"].contains(column.name))
        curve.push_back(points[p]["figures"][column.name].get<double>());
    if (curve.size() != line.points.size()) continue;
    if (const auto knee = knee_of(curve)) knees[column.name] = *knee;
  }
  return knees;
}

std::string sentence_of(const Json& data, const std::vector<std::string>& names,
                        const std::vector<SweepPoint>& points, std::size_t axis) {
  const Json* best = nullptr;
  for (const Json& point : data["points"])
    if (point["figures"].contains("ttft_p99_ms") &&
        (best == nullptr || point["figures"]["ttft_p99_ms"] < (*best)["figures"]["ttft_p99_ms"]))
      best = &point;
  if (best == nullptr) return "No point of the sweep left a whole run.";
  const double ms = (*best)["figures"]["ttft_p99_ms"].get<double>();
  std::string out = "The lowest p99 TTFT is " + duration_text(std::llround(ms * 1e6)) + ", at " +
                    values_text(names, points[(*best)["number"].get<std::size_t>()]);
  for (const Json& line : data["series"])
    if (line["knees"].contains("exposed_p99_ms")) {
      const auto at = line["knees"]["exposed_p99_ms"].get<std::size_t>();
      const SweepPoint& point = points[line["points"][at].get<std::size_t>()];
      const std::string of = line["name"].get<std::string>();
      return out + "; p99 exposed transfer" + (of.empty() ? "" : " (" + of + ")") +
             " has its knee at " + names[axis] + "=" + point.values[axis] + ".";
    }
  return out + ".";
}

}  // namespace

std::optional<std::size_t> knee_of(const std::vector<double>& curve) {
  constexpr double least = 0.1;
  if (curve.size() < 3) return std::nullopt;
  const auto [low, high] = std::minmax_element(curve.begin(), curve.end());
  const double height = *high - *low;
  if (!(height > 0)) return std::nullopt;
  std::size_t knee = 0;
  double farthest = 0;
  for (std::size_t i = 1; i + 1 < curve.size(); ++i) {
    const double along = static_cast<double>(i) / static_cast<double>(curve.size() - 1);
    const double line = curve.front() + (curve.back() - curve.front()) * along;
    const double distance = (line - curve[i]) / height;
    if (distance <= farthest) continue;
    farthest = distance;
    knee = i;
  }
  return farthest >= least ? std::optional(knee) : std::nullopt;
}

Result<void> write_sweep_report(OutputFile file, const std::string& command,
                                const std::vector<SweepKey>& keys,
                                const std::vector<SweepPoint>& points,
                                const std::vector<SweepRow>& rows) {
  const std::vector<std::string> names = sweep_key_names(keys);
  const std::size_t axis = axis_key(keys);
  Json data;
  data["kind"] = "sweep";
  data["command"] = command;
  data["keys"] = Json::array();
  for (std::size_t k = 0; k < keys.size(); ++k)
    data["keys"].push_back(
        {{"path", keys[k].path}, {"name", names[k]}, {"values", keys[k].values}});
  data["x_key"] = axis;
  data["columns"] = Json::array();
  for (const SweepFigure& column : sweep_columns())
    data["columns"].push_back({{"name", column.name},
                               {"title", column.title},
                               {"unit", column.unit ? unit_name(*column.unit) : "text"},
                               {"drawn", column.drawn}});
  data["points"] = Json::array();
  for (std::size_t p = 0; p < points.size(); ++p)
    data["points"].push_back({{"number", points[p].number},
                              {"values", points[p].values},
                              {"outcome", rows[p].outcome},
                              {"error", rows[p].error},
                              {"figures", figures_json(rows[p])}});
  data["series"] = Json::array();
  for (const Line& line : lines_of(names, points, axis))
    data["series"].push_back({{"name", line.name},
                              {"points", line.points},
                              {"knees", knees_json(data["points"], line)}});
  std::string title = "sweep over";
  for (std::size_t k = 0; k < keys.size(); ++k) title += (k > 0 ? ", " : " ") + keys[k].path;
  return report::write_page(std::move(file), {title, sentence_of(data, names, points, axis)}, data);
}

}  // namespace kvhaul::cli
