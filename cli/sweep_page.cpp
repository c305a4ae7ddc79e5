#include "cli/sweep_page.h"

#include <nlohmann/json.hpp>

#include "cli/sweep_curves.h"
#include "report/page.h"

namespace kvhaul::cli {
namespace {

using Json = nlohmann::ordered_json;

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

/// By column: the place of the knee in the line.
Json knees_json(const SweepLine& line, const std::vector<SweepRow>& rows) {
  Json knees = Json::object();
  const auto columns = sweep_columns();
  for (std::size_t c = 0; c < columns.size(); ++c)
    if (const auto knee = knee_of(line, rows, c)) knees[columns[c].name] = *knee;
  return knees;
}

}  // namespace

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
  for (const SweepLine& line : sweep_lines(keys, points, axis))
    data["series"].push_back(
        {{"name", line.name}, {"points", line.points}, {"knees", knees_json(line, rows)}});
  std::string title = "sweep over";
  for (std::size_t k = 0; k < keys.size(); ++k) title += (k > 0 ? ", " : " ") + keys[k].path;
  return report::write_page(std::move(file), {title, sweep_sentence(keys, points, rows)}, data);
}

}  // namespace kvhaul::cli
