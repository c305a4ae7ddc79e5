#include "cli/sweep_table.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <string_view>

#include "cli/sweep_curves.h"
#include "cli/terminal.h"
#include "core/unit_text.h"
#include "results/run_directory.h"

namespace kvhaul::cli {
namespace {

constexpr std::size_t columns_max = 80;

/// Of the most used link, what limits the run, and what is the sum of two figures: what the list of
/// figures does not have.
struct OwnColumn {
  int place;  // among those of the figures
  const char* name;
  const char* heading;
  const char* title;
  std::optional<Unit> unit;  // none: a text
  bool drawn;
};
constexpr OwnColumn own_columns[] = {
    {25, "limit", "limit", "", std::nullopt, false},
    {110, "busiest_link", "", "", std::nullopt, false},
    {120, "utilisation", "link use", "Use of the busiest link", Unit::share, true},
    {130, "saturated_share", "", "Saturation of the busiest link", Unit::share, false},
    {145, "faults", "", "", std::nullopt, false},
    {150, "failed", "failed", "Failed", Unit::count, false},
};

/// As in the files: six significant digits.
std::string cell(double value) { return number_text(value, 6); }

/// What stands in a column of our own; empty where there is nothing.
std::string own_cell(const std::string& name, const RunDirectory& run) {
  if (name == "failed")
    return cell(run.number("requests.transfer_failed") + run.number("requests.too_large"));
  if (name == "faults") {
    std::string all;
    for (const std::string& fault : run.faults) all += (all.empty() ? "" : "; ") + fault;
    return all;
  }
  if (name == "limit") {
    if (run.limits.empty()) return run.limit_proof ? "nothing" : "";
    // Short, so that a table has room for it.
    return run.limits[0].limit == "link" ? run.limits[0].label : run.limits[0].limit;
  }
  if (run.links.empty()) return "";
  const RunDirectory::Link& link = run.links[0];
  if (name == "busiest_link") return link.name;
  return cell(name == "utilisation" ? link.utilisation : link.saturated_share);
}

std::vector<std::string> figures_of(const RunDirectory& run) {
  std::vector<std::string> figures;
  for (const SweepFigure& column : sweep_columns()) {
    if (column.key.empty()) {
      figures.push_back(own_cell(column.name, run));
      continue;
    }
    const auto value = run.maybe_number(column.key);
    figures.push_back(value ? cell(*value) : "");
  }
  return figures;
}

/// A field of a CSV file, quoted where it has to be.
std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) out.append(c == '"' ? 2 : 1, c);
  return out + "\"";
}

std::size_t widest_line(const std::string& text) {
  std::size_t widest = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    widest = std::max(widest, end - at);
    at = end + 1;
  }
  return widest;
}

std::string shown(std::size_t column, const SweepRow& row) {
  const auto columns = sweep_columns();
  if (row.figures.size() != columns.size() || row.figures[column].empty()) return "-";
  const std::string& text = row.figures[column];
  if (!columns[column].unit) return printable(text);
  const double value = std::stod(text);
  return *columns[column].unit == Unit::share ? number_text(100 * value) + "%"
                                              : number_text(value, 4);
}

/// Columns of the terminal: what users see and the SLO is about, what they wait for, then the
/// others.
std::vector<std::size_t> by_weight() {
  static constexpr std::string_view first[] = {"ttft_p50_ms",   "ttft_p99_ms",    "slo_attainment",
                                               "failed",        "exposed_p50_ms", "limit",
                                               "goodput_per_s", "itl_p50_ms",     "exposed_p99_ms"};
  const auto columns = sweep_columns();
  std::vector<std::size_t> sorted;
  for (std::size_t c = 0; c < columns.size(); ++c)
    if (!columns[c].heading.empty()) sorted.push_back(c);
  std::ranges::stable_sort(sorted, {}, [&](std::size_t c) {
    return std::ranges::find(first, columns[c].name) - std::begin(first);
  });
  return sorted;
}

/// Keys with several values tell points apart; all of them where none has.
std::vector<std::size_t> telling_keys(const std::vector<SweepKey>& keys) {
  std::vector<std::size_t> several, all;
  for (std::size_t k = 0; k < keys.size(); ++k) {
    all.push_back(k);
    if (keys[k].values.size() > 1) several.push_back(k);
  }
  return several.empty() ? all : several;
}

bool differs(const std::vector<SweepRow>& rows, std::size_t column) {
  const SweepRow* first = nullptr;
  for (const SweepRow& row : rows) {
    if (row.figures.empty()) continue;
    if (first == nullptr) first = &row;
    const auto was = figure_of(*first, column), is = figure_of(row, column);
    if (was && is ? !is_tie(*was, *is) : first->figures[column] != row.figures[column]) return true;
  }
  return false;
}

/// "SLO 100%"; nothing of what no row has, or has none of.
std::string said_once(const std::vector<SweepRow>& rows, std::size_t column) {
  const auto row = std::ranges::find_if(rows, [&](const SweepRow& r) {
    return column < r.figures.size() && !r.figures[column].empty();
  });
  if (row == rows.end() || row->figures[column] == "0") return "";
  return sweep_columns()[column].heading + " " + shown(column, *row);
}

/// A text of each row that has one, once for all points where it is the same: "point 0, 3:".
std::string by_points(const std::vector<SweepPoint>& points, const std::vector<SweepRow>& rows,
                      const std::string& before,
                      const std::function<std::string(const SweepRow&)>& text_of) {
  std::vector<std::pair<std::string, std::string>> texts;  // what, and at which points
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::string text = text_of(rows[i]), number = std::to_string(points[i].number);
    if (text.empty()) continue;
    const auto known = std::ranges::find(texts, text, &std::pair<std::string, std::string>::first);
    if (known == texts.end())
      texts.emplace_back(text, number);
    else
      known->second.append(", ").append(number);
  }
  std::string out;
  for (const auto& [text, at] : texts)
    out += wrapped("\n" + before + (before.empty() ? "" : " ") + "point " + at + ":", 2) +
           wrapped("  " + printable(text), 2);
  return out;
}

std::string table_text(const std::vector<SweepKey>& keys, const std::vector<SweepPoint>& points,
                       const std::vector<SweepRow>& rows, std::vector<std::size_t> figures) {
  std::sort(figures.begin(), figures.end());
  const bool all_ok = std::all_of(rows.begin(), rows.end(),
                                  [](const SweepRow& row) { return row.outcome == "ok"; });
  std::vector<std::string> header = {"#"};
  const std::vector<std::string> names = sweep_key_names(keys);
  const std::vector<std::size_t> telling = telling_keys(keys);
  for (const std::size_t k : telling) header.push_back(names[k]);
  if (!all_ok) header.emplace_back("outcome");
  for (const std::size_t figure : figures) header.push_back(sweep_columns()[figure].heading);
  TextTable table(std::move(header));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::vector<std::string> line = {std::to_string(points[i].number)};
    for (const std::size_t k : telling) line.push_back(printable(points[i].values[k]));
    if (!all_ok) line.push_back(rows[i].outcome);
    for (const std::size_t figure : figures) line.push_back(shown(figure, rows[i]));
    table.add(std::move(line));
  }
  return table.text();
}

}  // namespace

std::span<const SweepFigure> sweep_columns() {
  static const std::vector<SweepFigure> columns = [] {
    std::vector<std::pair<int, SweepFigure>> placed;
    for (const SweptFigure& f : swept_figures())
      placed.push_back(
          {f.column->place,
           {f.column->name, f.key, f.column->heading, f.title, f.unit, f.column->drawn}});
    for (const OwnColumn& c : own_columns)
      placed.push_back({c.place, {c.name, "", c.heading, c.title, c.unit, c.drawn}});
    std::ranges::stable_sort(placed, {}, [](const auto& column) { return column.first; });
    std::vector<SweepFigure> sorted;
    for (auto& [place, column] : placed) sorted.push_back(std::move(column));
    return sorted;
  }();
  return columns;
}

std::vector<std::string> sweep_key_names(const std::vector<SweepKey>& keys) {
  std::vector<std::string> names;
  for (const SweepKey& key : keys)
    names.push_back(key.path.substr(key.path.find_last_of(".@") + 1));
  for (std::size_t i = 0; i < keys.size(); ++i)
    if (std::count(names.begin(), names.end(), names[i]) > 1) {
      for (std::size_t j = 0; j < keys.size(); ++j) names[j] = keys[j].path;
      break;
    }
  return names;
}

SweepRow sweep_row(std::size_t point, const ChildEnd& end, const std::string& directory) {
  SweepRow row;
  row.point = point;
  row.error = end.errors;
  if (end.signal != 0) {
    row.outcome = "crashed";
    const char* name = sigabbrev_np(end.signal);
    row.error = "ended by SIG" + std::string(name != nullptr ? name : "?") +
                (end.errors.empty() ? "" : ": " + end.errors);
    return row;
  }
  row.outcome = end.code == 0   ? "ok"
                : end.code == 1 ? "failed"
                : end.code == 2 ? "bad_input"
                : end.code == 3 ? "missing"
                                : "crashed";
  if (end.code > 1) return row;
  // A run that lost transfers is whole, too; one that failed on the way left no summary.
  auto run = read_run_directory(directory);
  if (run) {
    row.figures = figures_of(*run);
    if (end.code == 1) row.outcome = "incomplete";
  } else if (end.code == 0) {
    row.outcome = "failed";
    row.error = run.error().message;
  }
  return row;
}

SweepRow failed_row(std::size_t point, const std::string& error) {
  return {point, "failed", error, {}};
}

std::string rows_text(const std::vector<SweepRow>& rows) {
  Json json = Json::array();
  for (const SweepRow& row : rows) json.push_back({row.point, row.outcome, row.error, row.figures});
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::vector<SweepRow> rows_of(const std::string& text) {
  std::vector<SweepRow> rows;
  for (const Json& item : Json::parse(text))
    rows.push_back({item[0].get<std::size_t>(), item[1].get<std::string>(),
                    item[2].get<std::string>(), item[3].get<std::vector<std::string>>()});
  return rows;
}

std::string sweep_csv(const std::vector<SweepKey>& keys, const std::vector<SweepPoint>& points,
                      const std::vector<SweepRow>& rows) {
  std::string out = "point";
  for (const SweepKey& key : keys) out.append(",").append(quoted(key.path));
  out += ",outcome";
  for (const SweepFigure& column : sweep_columns()) out.append(",").append(column.name);
  out += ",error\n";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    out += std::to_string(points[i].number);
    for (const std::string& value : points[i].values) out.append(",").append(quoted(value));
    out.append(",").append(rows[i].outcome);
    for (std::size_t c = 0; c < sweep_columns().size(); ++c) {
      out += ",";
      if (c < rows[i].figures.size()) out += quoted(rows[i].figures[c]);
    }
    out.append(",").append(quoted(rows[i].error)).append("\n");
  }
  return out;
}

Json sweep_json(const std::vector<SweepKey>& keys, const std::vector<SweepPoint>& points,
                const std::vector<SweepRow>& rows) {
  Json json = {{"sentence", sweep_sentence(keys, points, rows)},
               {"keys", Json::array()},
               {"points", Json::array()}};
  for (const SweepKey& key : keys)
    json["keys"].push_back({{"path", key.path}, {"values", key.values}});
  for (std::size_t i = 0; i < rows.size(); ++i) {
    Json point = {{"point", points[i].number}, {"run", points[i].name}, {"values", Json::object()}};
    for (std::size_t k = 0; k < keys.size(); ++k)
      point["values"][keys[k].path] = points[i].values[k];
    point["outcome"] = rows[i].outcome;
    point["error"] = rows[i].error.empty() ? Json() : Json(rows[i].error);
    point["figures"] = nullptr;
    const auto columns = sweep_columns();
    for (std::size_t c = 0; c < rows[i].figures.size() && c < columns.size(); ++c) {
      const std::string& figure = rows[i].figures[c];
      point["figures"][columns[c].name] = figure.empty()    ? Json()
                                          : columns[c].unit ? Json(std::stod(figure))
                                                            : Json(figure);
    }
    json["points"].push_back(std::move(point));
  }
  return json;
}

Result<std::vector<SweepRow>> sweep_rows_of(const Json& json) {
  try {
    std::vector<SweepRow> rows;
    for (const Json& point : json.at("points")) {
      SweepRow row;
      row.point = point.at("point").get<std::size_t>();
      row.outcome = point.at("outcome").get<std::string>();
      if (!point.at("error").is_null()) row.error = point.at("error").get<std::string>();
      if (!point.at("figures").is_null())
        for (const SweepFigure& column : sweep_columns()) {
          const Json& figure = point.at("figures").at(column.name);
          row.figures.push_back(figure.is_null()     ? ""
                                : figure.is_string() ? figure.get<std::string>()
                                                     : cell(figure.get<double>()));
        }
      rows.push_back(std::move(row));
    }
    return rows;
  } catch (const Json::exception&) {
    return Error::bad_input("expected what a sweep writes there, found something else");
  }
}

std::string sweep_text(const std::vector<SweepKey>& keys, const std::vector<SweepPoint>& points,
                       const std::vector<SweepRow>& rows) {
  // What does not differ is said once; of the others those in front have room first.
  std::vector<std::size_t> figures;
  std::vector<std::string> everywhere;
  const std::vector<std::size_t> telling = telling_keys(keys);
  for (std::size_t k = 0; k < keys.size(); ++k)
    if (std::ranges::find(telling, k) == telling.end())
      everywhere.push_back(sweep_key_names(keys)[k] + " " + printable(keys[k].values[0]));
  for (const std::size_t column : by_weight()) {
    const bool always = figures.size() < 2;  // a table has something in it
    if (always || differs(rows, column))
      figures.push_back(column);
    else if (const std::string text = said_once(rows, column); !text.empty())
      everywhere.push_back(text);
  }
  std::string table = table_text(keys, points, rows, figures);
  while (widest_line(table) > columns_max && figures.size() > 2) {
    figures.pop_back();
    table = table_text(keys, points, rows, figures);
  }
  std::string out = wrapped(printable(sweep_sentence(keys, points, rows)), 0) + "\n" + table;
  std::string same;
  for (const std::string& text : everywhere) same += (same.empty() ? " " : ", ") + text;
  out += "\n" + wrapped((same.empty() ? "" : "at every point (within 1%):" + same + "; ") +
                            "times in ms, goodput in requests/s",
                        0);
  const std::size_t faults = sweep_column("faults");
  out += by_points(points, rows, "faults at", [&](const SweepRow& row) {
    return faults < row.figures.size() ? row.figures[faults] : std::string();
  });
  out += by_points(points, rows, "", [](const SweepRow& row) { return row.error; });
  return out;
}

}  // namespace kvhaul::cli
