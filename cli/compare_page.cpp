// The report of runs side by side, for report/page/compare.js.
#include <cmath>

#include <nlohmann/json.hpp>

#include "cli/compare_figures.h"
#include "cli/compare_report.h"
#include "cli/run_report.h"
#include "core/unit_text.h"
#include "report/page.h"
#include "results/figures.h"

namespace kvhaul::cli {
namespace {

using Json = nlohmann::ordered_json;

std::vector<double> rounded(std::vector<double> values) {
  for (double& value : values) value = std::stod(number_text(value, 6));
  return values;
}

/// What compare --json says of the pairs, and the distribution of their differences.
Json pairs_of(const TransferPairs& pairs) {
  Json json = pairs_json(pairs);
  json["quantiles"] = rounded(pairs.error.quantiles);
  if (pairs.formula) json["formula"]["quantiles"] = rounded(pairs.formula->error.quantiles);
  return json;
}

std::string ms_words(double ms) {
  return duration_text(static_cast<TimeNs>(std::llround(std::fabs(ms) * 1e6)));
}

std::string why_sentence(const RunDirectory& first, const RunDirectory& other,
                         const std::string& name) {
  const auto found = ttft_change(first, other);
  if (!found) return name + ": in one of the two no request was completed.";
  const TtftChange& change = *found;
  if (change.change_ms == 0) return name + ": the mean TTFT is the same as in A.";
  return name + ": the mean TTFT is " + ms_words(change.change_ms) +
         (change.change_ms < 0 ? " shorter" : " longer") +
         " than in A; what changed most in it is " + *change.component + " (" +
         (change.component_change_ms < 0 ? "-" : "+") + ms_words(change.component_change_ms) + ").";
}

std::string sentence(const std::vector<ComparedRun>& runs) {
  std::string out;
  const RunDirectory& first = runs[0].run;
  for (std::size_t i = 1; i < runs.size(); ++i) {
    const RunDirectory& other = runs[i].run;
    const auto p50_words = [](const RunDirectory& run, const std::string& name) {
      const auto p50 = run.maybe_number("ttft_ms.p50");
      return p50 ? name + ms_words(*p50) : std::string("no request completed");
    };
    if (i > 1) out += ' ';
    out += run_letter(i) + " (" + other.text("run.scenario") + ", " + other.text("run.backend") +
           "): " + p50_words(other, "p50 TTFT ");
    if (const auto relative = relative_difference(first, other, "ttft_ms.p50"))
      out += *relative == 0 ? ", the same as A"
             : std::fabs(*relative) <= 0.01
                 ? ", the same as A within 1%"
                 : ", " + number_text(100 * std::fabs(*relative)) + "% " +
                       (*relative < 0 ? "shorter" : "longer") + " than A";
    out += " (" + first.text("run.scenario") + ", " + first.text("run.backend") + ", " +
           p50_words(first, "") + ").";
    const TransferPairs& pairs = runs[i].pairs;
    if (pairs.pairs > 0)
      out += " Its transfers differ by " + number_text(100 * pairs.error.median) + "% (median of " +
             std::to_string(pairs.pairs) + ").";
  }
  return out;
}

}  // namespace

Result<void> write_compare_report(OutputFile file, const std::vector<ComparedRun>& runs) {
  Json json;
  json["kind"] = "compare";
  json["runs"] = Json::array();
  std::string title = "compared:";
  for (std::size_t i = 0; i < runs.size(); ++i) {
    auto data = read_report_data(runs[i].run.path);
    if (!data) return data.error();
    data->erase("picture");
    Json item;
    item["name"] = run_letter(i);
    item["data"] = std::move(*data);
    if (i > 0) {
      item["why"] = why_sentence(runs[0].run, runs[i].run, run_letter(i));
      item["pairs"] = pairs_of(runs[i].pairs);
      item["differences"] = differences_json(runs[i].differences);
      item["differences_sentence"] = differences_sentence(runs[i], run_letter(i));
    }
    json["runs"].push_back(std::move(item));
    title.append(i > 0 ? ", " : " ").append(run_letter(i)).append(" ");
    title += runs[i].run.text("run.scenario");
  }
  json["figures"] = Json::array();
  for (const ComparedFigure& figure : compared_figures()) {
    Json item = {{"key", figure.key},
                 {"label", figure.name},
                 {"factor", figure.factor},
                 {"part", figure.part},
                 {"subpart", figure.subpart}};
    for (const ComparedRun& run : runs) {
      const auto value = run.run.maybe_number(figure.key);
      item["values"].push_back(value ? Json(*value) : Json());
      const auto relative = relative_difference(runs[0].run, run.run, figure.key);
      item["relative"].push_back(relative ? Json(std::stod(number_text(*relative, 6))) : Json());
    }
    json["figures"].push_back(std::move(item));
  }
  return report::write_page(std::move(file), {title, sentence(runs)}, json);
}

}  // namespace kvhaul::cli
