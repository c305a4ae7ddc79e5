// summary.json, from the sums of a run.
#include <cmath>

#include <nlohmann/json.hpp>

#include "core/unit_text.h"
#include "results/run_files.h"

namespace kvhaul {
namespace {

using Json = nlohmann::ordered_json;

double rounded(double value) {
  return value == 0 || !std::isfinite(value) ? 0 : std::stod(number_text(value, 6));
}

/// A figure of nothing is null: 0 ms would be a very good one.
Json percentiles(const Histogram& h, double unit) {
  Json json;
  if (h.count() == 0) {
    for (const char* name : {"mean", "p50", "p90", "p99", "max"}) json[name] = Json();
    return json;
  }
  json["mean"] = rounded(h.mean() / unit);
  for (const auto& [name, share] : {std::pair{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}})
    json[name] = rounded(h.percentile(share) / unit);
  json["max"] = rounded(static_cast<double>(h.most()) / unit);
  return json;
}

double per_second(double amount, TimeNs time_ns) {
  return time_ns > 0 ? amount / (static_cast<double>(time_ns) * 1e-9) : 0;
}

}  // namespace

std::optional<double> slo_attainment(const RunSummary& s) {
  const std::uint64_t served = s.requests.completed + s.requests.transfer_failed;
  if (!s.has_slo || served == 0) return std::nullopt;
  return static_cast<double>(s.slo_attained) / static_cast<double>(served);
}

std::string summary_json(const RunSummary& s, const Cluster& cluster) {
  Json json;
  json["schema"] = 1;
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

  json["duration_s"] = rounded(static_cast<double>(s.duration_ns) / 1e9);
  json["registration_s"] = rounded(static_cast<double>(s.requests.registration_ns) / 1e9);
  Json& requests = json["requests"];
  requests["rows"] = s.trace.rows;
  requests["replayed"] = s.requests.requests;
  requests["completed"] = s.requests.completed;
  requests["transfer_failed"] = s.requests.transfer_failed;
  requests["retried"] = s.requests.retried;
  requests["retries"] = s.requests.retries;
  requests["too_large"] = s.requests.too_large;
  requests["failed_in_trace"] = s.requests.failed_in_trace;
  requests["zero_input_dropped"] = s.trace.zero_input;
  requests["notes"] = s.trace_notes;
  requests["input_tokens"] = s.requests.input_tokens;
  requests["cached_tokens"] = s.requests.cached_tokens;
  requests["output_tokens"] = s.output_tokens;
  requests["completed_per_s"] =
      rounded(per_second(static_cast<double>(s.requests.completed), s.duration_ns));

  json["ttft_ms"] = percentiles(s.ttft_ns, 1e6);
  json["queue_ms"] = percentiles(s.queue_ns, 1e6);
  json["prefill_ms"] = percentiles(s.prefill_ns, 1e6);
  json["exposed_transfer_ms"] = percentiles(s.exposed_ns, 1e6);
  json["itl_ms"] = percentiles(s.itl_ns, 1e6);
  json["e2e_ms"] = percentiles(s.e2e_ns, 1e6);
  json["exposed_transfer_share_of_ttft"] =
      s.ttft_ns.sum() > 0 ? Json(rounded(s.exposed_ns.sum() / s.ttft_ns.sum())) : Json();
  if (s.has_slo)
    json["slo_attainment"] = slo_attainment(s) ? Json(rounded(*slo_attainment(s))) : Json();

  Json& transfers = json["transfers"];
  transfers["count"] = s.transfers;
  for (std::size_t i = 0; i < transfer_outcome_count; ++i)
    transfers[std::string(transfer_outcome_name(static_cast<TransferOutcome>(i)))] =
        s.transfers_by_outcome[i];
  transfers["bytes"] = s.delivered_bytes;
  transfers["chunks"] = s.scheduler.chunks_posted;
  transfers["pieces"] = s.pieces;
  transfers["packed"] = s.packed_transfers;
  transfers["on_fallback_route"] = s.fallback_transfers;
  transfers["resent_chunks"] = s.scheduler.chunks_resent;
  transfers["resent_bytes"] = s.resent_bytes;
  transfers["mean_bytes"] =
      s.transfer_bytes.count() > 0 ? Json(rounded(s.transfer_bytes.mean())) : Json();
  transfers["time_ms"] = percentiles(s.transfer_ns, 1e6);
  transfers["wait_ms"] = percentiles(s.wait_ns, 1e6);
  transfers["post_ms"] = percentiles(s.post_ns, 1e6);
  transfers["wire_ms"] = percentiles(s.wire_ns, 1e6);
  transfers["detect_ms"] = percentiles(s.detect_ns, 1e6);
  transfers["by_size"] = Json::array();
  for (std::size_t b = 0; b < s.sizes.size(); ++b) {
    const Histogram& time = s.sizes[b].time_ns;
    if (time.count() == 0) continue;
    const auto mean = static_cast<double>(s.sizes[b].bytes) / static_cast<double>(time.count());
    transfers["by_size"].push_back({{"from_bytes", RunSummary::SizeBucket::low(b)},
                                    {"count", time.count()},
                                    {"mean_bytes", rounded(mean)},
                                    {"min_ms", rounded(static_cast<double>(time.least()) / 1e6)},
                                    {"p50_ms", rounded(time.percentile(0.5) / 1e6)},
                                    {"p90_ms", rounded(time.percentile(0.9) / 1e6)},
                                    {"p99_ms", rounded(time.percentile(0.99) / 1e6)},
                                    {"max_ms", rounded(static_cast<double>(time.most()) / 1e6)}});
  }
  transfers["wire_busy_s"] = rounded(static_cast<double>(s.wire_busy_ns) / 1e9);
  transfers["gbytes_per_s_while_busy"] =
      s.wire_busy_ns > 0
          ? Json(rounded(per_second(static_cast<double>(s.landed_bytes), s.wire_busy_ns) / 1e9))
          : Json();

  Json& contiguity = json["page_runs_per_request"];
  const double attempts = std::max<double>(
      1,
      static_cast<double>(s.requests.completed + s.requests.transfer_failed + s.requests.retries));
  contiguity["source"] = rounded(static_cast<double>(s.requests.source_runs) / attempts);
  contiguity["target"] = rounded(static_cast<double>(s.requests.target_runs) / attempts);

  Json& health = json["channels"];
  health["probes"] = s.scheduler.probes;
  health["late"] = s.scheduler.late;
  health["timeouts"] = s.scheduler.timeouts;
  health["errors"] = s.scheduler.errors;
  health["quarantines"] = s.scheduler.quarantines;
  health["readmissions"] = s.scheduler.readmissions;
  health["unexpected_completions"] = s.scheduler.unexpected;
  json["rows"] = {
      {"requests", s.rows.requests}, {"transfers", s.rows.transfers}, {"links", s.rows.links}};
  json["payload"]["checked_transfers"] = s.requests.checked_transfers;
  json["payload"]["damaged_transfers"] = s.requests.damaged_transfers;

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
