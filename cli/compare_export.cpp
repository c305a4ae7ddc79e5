// JSON and CSV of runs side by side; docs/compare.md names every key.
#include <nlohmann/json.hpp>

#include "cli/compare_figures.h"
#include "cli/compare_report.h"
#include "core/unit_text.h"
#include "results/figures.h"

namespace kvhaul::cli {
namespace {

using Json = nlohmann::ordered_json;

Json spread_json(const ErrorSpread& error) {
  return {{"median", error.median},
          {"p95", error.p95},
          {"max", error.max},
          {"signed_median", error.signed_median}};
}

}  // namespace

Json differences_json(const RunDifferences& differences) {
  Json json = {{"all", Json::array()}, {"unknown", Json()}};
  for (const RunDifference& difference : differences.all)
    json["all"].push_back(
        {{"what", difference.what}, {"first", difference.first}, {"other", difference.other}});
  if (!differences.unknown.empty()) json["unknown"] = differences.unknown;
  return json;
}

Json pairs_json(const TransferPairs& pairs) {
  if (!pairs.obstacle.empty()) return {{"none_because", pairs.obstacle}};
  Json json;
  json["count"] = pairs.pairs;
  json["in_one_run_only"] = pairs.in_one_run_only;
  json["failed"] = pairs.failed;
  json["of_other_size"] = pairs.of_other_size;
  json["without_time"] = pairs.without_time;
  json["duration_error"] = pairs.pairs > 0 ? spread_json(pairs.error) : Json();
  json["makespan_difference"] = pairs.makespan_difference;
  json["worst"] = Json::array();
  for (const TransferPair& pair : pairs.worst)
    json["worst"].push_back({{"request", pair.request},
                             {"prefill_chunk", pair.prefill_chunk},
                             {"first_ms", static_cast<double>(pair.first_ns) / 1e6},
                             {"second_ms", static_cast<double>(pair.second_ns) / 1e6},
                             {"difference", pair.difference}});
  if (!pairs.formula) {
    json["formula"] = Json();
    json["no_formula"] = pairs.no_formula;
    return json;
  }
  json["formula"] = {{"link", pairs.formula->link},
                     {"share_of_bytes", pairs.formula->share},
                     {"rate_gbytes_per_s", pairs.formula->gbytes_per_s},
                     {"error", spread_json(pairs.formula->error)}};
  return json;
}

std::string compare_json(const std::vector<ComparedRun>& runs) {
  Json json;
  json["schema"] = 2;
  json["runs"] = Json::array();
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const RunDirectory& run = runs[i].run;
    Json item;
    item["name"] = run_letter(i);
    item["directory"] = run.path;
    for (const char* label :
         {"scenario", "model", "trace", "backend", "time", "policy", "streaming"})
      item[label] = run.text("run." + std::string(label));
    for (const ComparedFigure& figure : compared_figures()) {
      const auto value = run.maybe_number(figure.key);
      item["figures"][figure.key] = value ? Json(*value) : Json();
    }
    item["most_used_link"] = Json();
    if (!run.links.empty())
      item["most_used_link"] = {{"link", run.links[0].name},
                                {"rate_gbytes_per_s", run.links[0].rate_gbytes_per_s},
                                {"utilisation", run.links[0].utilisation},
                                {"saturated_share", run.links[0].saturated_share}};
    item["limit_sentence"] = run.text("limit_sentence");
    item["limits"] = Json::array();
    for (const RunDirectory::Limit& limit : run.limits)
      item["limits"].push_back(
          {{"limit", limit.limit}, {"label", limit.label}, {"share", limit.share}});
    item["faults"] = run.summary.value("faults", Json::array());
    if (i > 0) {
      for (const ComparedFigure& figure : compared_figures()) {
        const auto relative = relative_difference(runs[0].run, run, figure.key);
        item["difference"][figure.key] = relative ? Json(*relative) : Json();
      }
      item["why"] = Json();
      if (const auto change = ttft_change(runs[0].run, run))
        item["why"] = {{"mean_ttft_change_ms", change->change_ms},
                       {"mean_ttft_difference", change->relative},
                       {"component", change->component ? Json(*change->component) : Json()},
                       {"component_change_ms",
                        change->component ? Json(change->component_change_ms) : Json()}};
      item["differences"] = differences_json(runs[i].differences);
      item["transfer_pairs"] = pairs_json(runs[i].pairs);
    }
    json["runs"].push_back(std::move(item));
  }
  // Names of files may hold any bytes.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string compare_csv(const std::vector<ComparedRun>& runs) {
  std::string out = "figure";
  for (std::size_t i = 0; i < runs.size(); ++i) {
    out.append(",").append(run_letter(i));
    if (i > 0) out.append(",").append(run_letter(i)).append("_difference");
  }
  out += "\n";
  const auto cell = [&](std::optional<double> value) {
    out += ",";
    if (value) out += number_text(*value, 6);
  };
  for (const ComparedFigure& figure : compared_figures()) {
    out += figure.key;
    for (std::size_t i = 0; i < runs.size(); ++i) {
      cell(runs[i].run.maybe_number(figure.key));
      if (i > 0) cell(relative_difference(runs[0].run, runs[i].run, figure.key));
    }
    out += "\n";
  }
  return out;
}

}  // namespace kvhaul::cli
