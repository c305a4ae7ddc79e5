// summary.json, from the sums of a run.
#include <cmath>

#include <nlohmann/json.hpp>

#include "core/unit_text.h"
#include "results/figures.h"
#include "results/limits.h"
#include "results/run_files.h"

namespace kvhaul {
namespace {

using Json = nlohmann::ordered_json;

double rounded(double value) {
  return value == 0 || !std::isfinite(value) ? 0 : std::stod(number_text(value, 6));
}

/// The place of a dotted key; groups on the way to it are made.
Json& at(Json& json, std::string_view key) {
  const std::size_t dot = key.find('.');
  Json& here = json[std::string(key.substr(0, dot))];
  return dot == std::string_view::npos ? here : at(here, key.substr(dot + 1));
}

/// A figure of nothing is null: 0 ms would be a very good one.
Json statistics(const Histogram& histogram) {
  Json json;
  for (const Statistic statistic : all_statistics)
    json[std::string(statistic_name(statistic))] =
        histogram.count() == 0 ? Json() : Json(rounded(statistic_of(histogram, statistic) / 1e6));
  return json;
}

Json value_of(const Figure& figure, const RunSummary& summary) {
  if (figure.is_distribution()) return statistics(distribution_of(figure, summary));
  if (figure.is_whole())
    return std::get<std::uint64_t (*)(const RunSummary&)>(figure.value)(summary);
  const auto number = number_of(figure, summary);
  return number ? Json(rounded(*number)) : Json();
}

Json by_size(const RunSummary& s) {
  Json json = Json::array();
  for (std::size_t b = 0; b < s.sizes.size(); ++b) {
    const Histogram& time = s.sizes[b].time_ns;
    if (time.count() == 0) continue;
    const auto mean = static_cast<double>(s.sizes[b].bytes) / static_cast<double>(time.count());
    json.push_back({{"from_bytes", RunSummary::SizeBucket::low(b)},
                    {"count", time.count()},
                    {"mean_bytes", rounded(mean)},
                    {"min_ms", rounded(static_cast<double>(time.least()) / 1e6)},
                    {"p50_ms", rounded(time.percentile(0.5) / 1e6)},
                    {"p90_ms", rounded(time.percentile(0.9) / 1e6)},
                    {"p99_ms", rounded(time.percentile(0.99) / 1e6)},
                    {"max_ms", rounded(static_cast<double>(time.most()) / 1e6)}});
  }
  return json;
}

Json fault_json(const FaultUse& fault, TimeNs duration) {
  const auto s_of = [](std::optional<TimeNs> time) {
    return time ? Json(rounded(static_cast<double>(*time) / 1e9)) : Json();
  };
  const std::uint64_t times = times_begun(fault, duration);
  return {{"line", fault.line},
          {"fault", fault.fault},
          {"began_s", times > 0 ? s_of(fault.from_ns) : Json()},
          {"ended_s", s_of(ended_ns(fault, duration))},
          {"times", times},
          {"chunks", fault.chunks},
          {"met_traffic", fault.met_traffic},
          {"sentence", fault_sentence(fault, duration)}};
}

}  // namespace

std::string summary_json(const RunSummary& s, const Cluster& cluster) {
  Json json;
  json["schema"] = 3;
  Json& run = json["run"];
  run["scenario"] = s.labels.scenario;
  run["model"] = s.labels.model;
  run["trace"] = s.labels.trace;
  run["trace_format"] = s.labels.trace_format;
  run["backend"] = s.labels.backend;
  run["time"] = s.labels.time;
  run["payload"] = s.labels.payload;
  run["policy"] = s.labels.policy;
  run["streaming"] = s.labels.streaming;
  run["direction"] = s.labels.direction;
  run["seed"] = s.labels.seed;
  for (const auto& [name, value] : s.notes) run["backend_notes"][name] = value;

  json["warnings"] = s.warnings;

  for (const Figure& figure : figures()) {
    const std::string_view key = figure.key;
    // Two lists stand among them.
    if (key == "requests.input_tokens") json["requests"]["notes"] = s.trace_notes;
    if (key == "transfers.wire_busy_s") json["transfers"]["by_size"] = by_size(s);
    if (!figure.is(Figure::with_slo) || s.has_slo) at(json, key) = value_of(figure, s);
  }

  json["limit_sentence"] = limit_sentence(s, cluster);
  json["limits"] = Json::array();
  for (const LimitShare& limit : s.limits)
    json["limits"].push_back({{"limit", limit_name(limit.limit)},
                              {"label", limit_label(limit, s, cluster)},
                              {"share", rounded(limit.share)}});

  json["instance_bin_ns"] = s.uses.bin_ns;
  json["instances"] = Json::array();
  for (const InstanceUse& use : s.uses.instances)
    json["instances"].push_back(
        {{"role", instance_role_name(use.role)},
         {"instance", use.instance},
         {"node", use.nodes},
         {"requests", use.requests},
         {"utilisation", rounded(use.mean.utilisation)},
         {"batch", use.mean.batch > 0 ? Json(rounded(use.mean.batch)) : Json()},
         {"batch_max", use.batch_max},
         {"kv_fill", rounded(use.mean.kv_fill)},
         {"kv_fill_max", rounded(use.kv_fill_max)},
         {"queue", rounded(use.mean.queue)},
         {"queue_max", use.queue_max},
         {"tokens_per_s", rounded(use.mean.tokens_per_s)}});
  json["faults"] = Json::array();
  for (const FaultUse& fault : s.faults) json["faults"].push_back(fault_json(fault, s.duration_ns));

  json["routes"] = Json::array();
  for (const RunSummary::RouteUse& use : s.routes)
    json["routes"].push_back({{"kind", use.kind}, {"tier", use.tier}, {"bytes", use.bytes}});
  json["link_bin_ns"] = s.link_bin_ns;
  json["links"] = Json::array();
  for (const LinkUse& use : s.links) {
    const Link& link = cluster.links[use.link];
    json["links"].push_back({{"link", link.name},
                             {"kind", link_kind_name(link.kind)},
                             {"rate_gbytes_per_s", rounded(link.bytes_per_s / 1e9)},
                             {"bytes", use.bytes},
                             {"utilisation", rounded(use.utilisation)},
                             {"peak_utilisation", rounded(use.peak_utilisation)},
                             {"busy_share", rounded(use.busy_share)},
                             {"saturated_share", rounded(use.saturated_share)}});
  }
  return json.dump(2) + "\n";
}

Result<void> write_summary(const std::string& directory, const RunSummary& summary,
                           const Cluster& cluster) {
  auto file = OutputFile::create(directory + "/summary.json");
  if (!file) return file.error();
  file->text(summary_json(summary, cluster));
  return file->close();
}

}  // namespace kvhaul
