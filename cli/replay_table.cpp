#include <algorithm>
#include <cmath>

#include "cli/replay_run.h"
#include "cli/run_report.h"
#include "cli/terminal.h"
#include "core/unit_text.h"
#include "results/figures.h"
#include "results/limits.h"

namespace kvhaul::cli {
namespace {

/// Where values begin.
constexpr std::size_t margin = 12;

/// Milliseconds with four digits; nothing finer than a microsecond is worth reading.
std::string ms_text(double ns) {
  if (ns > 0 && ns < 1000) return "<0.001";
  return number_text(std::round(ns / 1000) / 1000, 4);
}

std::string count_text(double count) {
  return count < 1e6 ? number_text(count) : number_text(count / 1e6) + " million";
}

std::string times_text(const RunSummary& summary) {
  std::vector<std::string> header = {"ms"};
  for (const Statistic statistic : all_statistics) header.emplace_back(statistic_name(statistic));
  TextTable times(std::move(header));
  for (const Figure& figure : figures()) {
    if (!figure.is(Figure::in_terminal) || !figure.is_distribution()) continue;
    const Histogram& histogram = distribution_of(figure, summary);
    std::vector<std::string> row = {indent_of(figure) + figure.label};
    for (const Statistic statistic : all_statistics)
      row.push_back(histogram.count() == 0 ? "-" : ms_text(statistic_of(histogram, statistic)));
    times.add(std::move(row));
  }
  return times.text();
}

/// "SLO         98.5% attained": the first word of the label, the value, and the other words.
std::string numbers_text(const RunSummary& summary) {
  std::string out;
  for (const Figure& figure : figures()) {
    if (!figure.is(Figure::in_terminal) || figure.is_distribution()) continue;
    const auto value = number_of(figure, summary);
    if (!value) continue;
    const std::string label = figure.label;
    const std::size_t word = std::min(label.find(' '), label.size());
    out += label.substr(0, word) + std::string(margin - std::min(margin - 1, word), ' ') +
           value_text(figure.unit, *value, 4) + label.substr(word) + "\n";
  }
  return out;
}

/// "prefill 43.4% (instances 40.8% to 45.9%), 1.75 requests waiting, KV memory 0.24% full"
std::string role_text(const RunSummary& s, InstanceRole role, const RoleUse& use) {
  const auto share = [](double value) { return number_text(100 * value) + "%"; };
  double least = 1, most = 0;
  for (const InstanceUse& one : s.uses.instances)
    if (one.role == role) {
      least = std::min(least, one.mean.utilisation);
      most = std::max(most, one.mean.utilisation);
    }
  std::string out(instance_role_name(role));
  out.append(" ").append(share(use.mean.utilisation));
  if (constexpr double alike = 0.02; most - least > alike)
    out.append(" (instances ").append(share(least)).append(" to ").append(share(most)).append(")");
  if (use.mean.batch > 0) out.append(", batch ").append(number_text(use.mean.batch));
  out.append(", ").append(number_text(use.mean.queue)).append(" requests waiting, KV memory ");
  return out.append(share(use.mean.kv_fill)).append(" full\n");
}

/// What was busy.
std::string instances_text(const RunSummary& s) {
  std::string out = "busy        " + role_text(s, InstanceRole::prefill, s.uses.prefill) +
                    "            " + role_text(s, InstanceRole::decode, s.uses.decode);
  const auto gpus = std::max<std::uint64_t>(1, s.uses.prefill.gpus + s.uses.decode.gpus);
  const double duration_s = static_cast<double>(std::max<TimeNs>(1, s.duration_ns)) * 1e-9;
  const auto rate = [&](std::uint64_t tokens, std::uint64_t among) {
    return number_text(static_cast<double>(tokens) / duration_s / static_cast<double>(among));
  };
  return out + "tokens/s    " + rate(s.input_tokens, 1) + " in, " + rate(s.output_tokens, 1) +
         " out, " + rate(s.output_tokens, gpus) + " out per GPU\n";
}

}  // namespace

std::string replay_table(const ReplayResult& result) {
  const RunSummary& s = result.summary;
  const std::string head =
      fitted(s.labels.scenario + ": " + s.labels.model + ", " + s.labels.trace + "\n" +
                 result.backend + "\npolicy " + s.labels.policy + ", streaming " +
                 s.labels.streaming + ", " + s.labels.direction + "\n",
             2) +
      "\n" + times_text(s) + "\n";
  std::string out;
  // "limited by  decode memory: ...", or that nothing limits it by itself
  const std::string limited =
      result.limit_sentence.empty() ? limit_sentence(s, result.cluster) : result.limit_sentence;
  if (constexpr std::string_view by = "Limited by "; limited.starts_with(by))
    out += "limited by  " + limited.substr(by.size()) + "\n";
  if (constexpr std::string_view none = "Nothing limits it "; limited.starts_with(none))
    out += "limited by  nothing " + limited.substr(none.size()) + "\n";

  out += "requests    " + std::to_string(s.requests.completed) + " completed";
  if (s.requests.transfer_failed)
    out +=
        toned(Tone::warning, ", " + std::to_string(s.requests.transfer_failed) + " lost their KV");
  if (s.requests.too_large)
    out += ", " + std::to_string(s.requests.too_large) + " too large for an instance";
  if (s.requests.failed_in_trace)
    out += ", " + std::to_string(s.requests.failed_in_trace) + " without output in the trace";
  out += " in " + duration_text(s.duration_ns) + "\n";
  if (const std::uint64_t retried = s.requests.retried; retried != 0)
    out +=
        "failover    " +
        toned(Tone::warning, std::to_string(retried) + (retried == 1 ? " request" : " requests") +
                                 " lost KV on the way and " + (retried == 1 ? "was" : "were") +
                                 " prefilled again") +
        ", " + std::to_string(s.requests.retries) + (s.requests.retries == 1 ? " time" : " times") +
        " in all\n";
  for (const std::string& note : s.trace_notes) out += "            " + note + "\n";
  if (s.requests.registration_ns > 0)
    out += "            before that, KV memory is registered in " +
           duration_text(s.requests.registration_ns) + "\n";
  if (s.requests.cached_tokens)
    out += "            " +
           number_text(100.0 * static_cast<double>(s.requests.cached_tokens) /
                       static_cast<double>(s.requests.input_tokens)) +
           "% of input tokens came from the prefix cache\n";
  out += numbers_text(s);
  out += instances_text(s);
  out += "KV moved    " + bytes_text(s.delivered_bytes) + " in " + std::to_string(s.transfers) +
         " transfers, " + std::to_string(s.scheduler.chunks_posted) + " chunks; " +
         std::to_string(s.pieces) + " pieces\n";
  for (const FaultUse& fault : s.faults)
    out += wrapped(std::string(&fault == &s.faults[0] ? "faults      " : "            ") +
                       printable(fault_sentence(fault, s.duration_ns)),
                   margin + 2);
  if (s.scheduler.chunks_resent || s.scheduler.quarantines)
    out += "sent again  " + std::to_string(s.scheduler.chunks_resent) + " chunks (" +
           bytes_text(s.resent_bytes) + "), " + std::to_string(s.scheduler.timeouts) +
           " timed out; " + std::to_string(s.scheduler.quarantines) + " quarantines, " +
           std::to_string(s.scheduler.readmissions) + " taken back\n";
  if (s.requests.checked_transfers)
    out += "payload     " + std::to_string(s.requests.checked_transfers) + " checksums compared, " +
           std::to_string(s.requests.damaged_transfers) + " wrong" +
           (s.requests.damaged_transfers ? " and sent again" : "") + "\n";
  for (const RunSummary::RouteUse& use : s.routes)
    out += (use.tier == 0 ? "route       " : toned(Tone::warning, "FALLBACK    ")) + use.kind +
           "  " + bytes_text(use.bytes) + "\n";
  for (std::size_t i = 0; i < std::min<std::size_t>(3, s.links.size()); ++i) {
    const LinkUse& use = s.links[i];
    out += std::string(i == 0 ? "busiest     " : "            ") +
           result.cluster.links[use.link].name + "  " + number_text(100 * use.utilisation) +
           "% of " + rate_text(result.cluster.links[use.link].bytes_per_s) + ", saturated " +
           number_text(100 * use.saturated_share) + "% of the time\n";
  }
  for (const auto& [name, value] : s.notes) {
    if (name == "moved_gbytes_per_s") out += "copy rate   " + value + " GB/s while copying";
    if (name == "plain_memcpy_gbytes_per_s") out += ", plain memcpy loop " + value + " GB/s";
    if (name == "moved_by_memcpy") out += ", ratio " + value + "\n";
  }
  for (const std::string& warning : s.warnings) out += "note        " + warning + "\n";
  out += "\nreplayed in " + number_text(result.wall_s) + " s";
  if (s.labels.time == "virtual")
    out += " (" + count_text(static_cast<double>(s.requests.requests) / result.wall_s) +
           " requests/s, " +
           count_text(static_cast<double>(s.scheduler.chunks_posted) / result.wall_s) +
           " chunks/s)";
  out += "; files in " + result.directory + "/\n";
  out += "to look at: " + result.directory + "/" + report_file + "\n";
  return head + fitted(out, margin);
}

}  // namespace kvhaul::cli
