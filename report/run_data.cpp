#include "report/run_data.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include <nlohmann/json.hpp>

#include "core/unit_text.h"
#include "report/cluster_picture.h"
#include "report/instance_data.h"
#include "report/json_numbers.h"
#include "report/slowest.h"
#include "results/figures.h"
#include "results/run_rows.h"

namespace kvhaul::report {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t links_shown = 32;
constexpr std::size_t nodes_pictured = 4;
constexpr std::size_t time_bins_max = 120;
/// Percentiles of the time to first token between which requests are taken together.
constexpr std::array bands = {0., .1, .2, .3, .4, .5, .6, .7, .8, .9, .95, .99, 1.};

/// Nearest rank; the values are sorted.
TimeNs at_rank(const std::vector<TimeNs>& sorted, double share) {
  const double rank = std::ceil(share * static_cast<double>(sorted.size()));
  return sorted[static_cast<std::size_t>(std::max(1.0, rank)) - 1];
}

/// Equal stretches of the run whose width is a round number, at most time_bins_max of them.
struct TimeAxis {
  TimeNs bin_ns = ms_ns;
  std::size_t bins = 1;

  explicit TimeAxis(TimeNs duration) {
    for (TimeNs unit = 1; unit < never_ns / 100; unit *= 10)
      for (const TimeNs step : {1, 2, 5})
        if (duration / (unit * step) < static_cast<TimeNs>(time_bins_max)) {
          bin_ns = unit * step;
          bins = static_cast<std::size_t>(duration / bin_ns) + 1;
          return;
        }
    bin_ns = duration;
  }
  std::size_t of(TimeNs at) const {
    return std::min(bins - 1, static_cast<std::size_t>(std::max<TimeNs>(0, at) / bin_ns));
  }
};

Result<std::vector<RequestTimes>> read_requests(const RunDirectory& run, SlowestRequests& slowest) {
  std::vector<RequestTimes> requests;
  const auto read = read_request_rows(run, [&](const RequestRecord& row) {
    if (!row.completed) return;
    requests.push_back({row.arrival_ns, row.queue_ns, row.prefill_ns, row.handover_ns,
                        row.exposed_ns, static_cast<std::uint32_t>(row.prefill_instance),
                        static_cast<std::uint32_t>(row.decode_instance)});
    slowest.add(row);
  });
  if (!read) return read.error();
  return requests;
}

/// The split of the time to first token, by percentile of it.
Json ttft_json(std::vector<RequestTimes>& requests) {
  Json json;
  json["count"] = requests.size();
  json["bands"] = Json::array();
  if (requests.empty()) return json;
  std::vector<TimeNs> sorted;
  for (const RequestTimes& request : requests) sorted.push_back(request.ttft());
  std::sort(sorted.begin(), sorted.end());
  std::stable_sort(requests.begin(), requests.end(),
                   [](const auto& a, const auto& b) { return a.ttft() < b.ttft(); });
  const auto count = static_cast<double>(requests.size());
  for (std::size_t b = 0; b + 1 < bands.size(); ++b) {
    const auto from = static_cast<std::size_t>(std::round(bands[b] * count));
    const auto to = static_cast<std::size_t>(std::round(bands[b + 1] * count));
    if (to == from) continue;
    std::array<double, 4> sums{};
    for (std::size_t i = from; i < to; ++i) {
      sums[0] += ms_of(requests[i].queue);
      sums[1] += ms_of(requests[i].prefill);
      sums[2] += ms_of(requests[i].exposed);
      sums[3] += ms_of(requests[i].handover - requests[i].exposed);
    }
    const auto here = static_cast<double>(to - from);
    // Seven digits: the bands together give the mean of the summary.
    const auto mean = [&](double sum) { return std::stod(number_text(sum / here, 7)); };
    json["bands"].push_back({{"from", bands[b]},
                             {"to", bands[b + 1]},
                             {"count", to - from},
                             {"queue_ms", mean(sums[0])},
                             {"prefill_ms", mean(sums[1])},
                             {"exposed_ms", mean(sums[2])},
                             {"decode_ms", mean(sums[3])}});
  }
  // Any two runs can be laid over each other at the same shares.
  json["quantiles_ms"] = Json::array();
  for (int percent = 0; percent <= 100; ++percent)
    json["quantiles_ms"].push_back(rounded(ms_of(at_rank(sorted, percent / 100.0))));
  return json;
}

/// What happened when: arrivals, exposed transfer, what was sent again.
Result<Json> time_json(const std::vector<RequestTimes>& requests, const RunDirectory& run,
                       TimeNs duration) {
  const TimeAxis axis(duration);
  std::vector<std::vector<TimeNs>> ttft(axis.bins), exposed(axis.bins);
  for (const RequestTimes& r : requests) {
    ttft[axis.of(r.arrival)].push_back(r.ttft());
    exposed[axis.of(r.arrival)].push_back(r.exposed);
  }
  std::vector<std::uint64_t> resent(axis.bins), failed(axis.bins), repeated(axis.bins);
  const auto read = read_transfer_rows(run, [&](const TransferRecord& row) {
    const std::size_t bin = axis.of(row.submitted_ns);
    resent[bin] += row.resent_chunks;
    failed[bin] += row.failed_transfers;
    repeated[bin] += row.damaged_transfers;
  });
  if (!read) return read.error();
  Json json;
  json["bin_s"] = s_of(axis.bin_ns);
  for (const char* name :
       {"requests", "ttft_p50_ms", "ttft_p99_ms", "exposed_p50_ms", "exposed_p99_ms"})
    json[name] = Json::array();
  for (std::size_t b = 0; b < axis.bins; ++b) {
    json["requests"].push_back(ttft[b].size());
    for (const auto& [name, times] : {std::pair{"ttft", &ttft[b]}, {"exposed", &exposed[b]}}) {
      std::sort(times->begin(), times->end());
      for (const auto& [suffix, share] : {std::pair{"_p50_ms", 0.5}, {"_p99_ms", 0.99}})
        json[std::string(name) + suffix].push_back(
            times->empty() ? Json() : Json(rounded(ms_of(at_rank(*times, share)))));
    }
  }
  json["resent_chunks"] = resent;
  json["failed_transfers"] = failed;
  json["damaged_transfers"] = repeated;
  return json;
}

/// Use of links over time: a row for each of the most used, and one per kind for the others.
Result<Json> heat_json(const RunDirectory& run, Json& others) {
  const std::size_t shown_links = std::min(links_shown, run.links.size());
  std::map<std::string, std::size_t, std::less<>> shown;
  for (std::size_t i = 0; i < shown_links; ++i) shown[run.links[i].name] = i;
  std::map<std::string, std::size_t> count_of_kind;
  for (std::size_t i = shown_links; i < run.links.size(); ++i) ++count_of_kind[run.links[i].kind];

  std::vector<std::vector<double>> rows(shown_links);
  std::map<std::string, std::vector<double>> sums;
  std::size_t bins = 0;
  const auto read = read_link_rows(run, [&](const LinkRecord& record) {
    const auto found = shown.find(record.link);
    std::vector<double>& row =
        found != shown.end() ? rows[found->second] : sums[std::string(record.kind)];
    bins = std::max(bins, record.bin + 1);
    if (row.size() <= record.bin) row.resize(record.bin + 1, 0);
    row[record.bin] += record.utilisation;
  });
  if (!read) return read.error();
  const TimeNs bin_ns = *read;
  Json json;
  json["bin_s"] = s_of(bin_ns);
  json["bins"] = bins;
  json["rows"] = Json::array();
  const auto values = [&](std::vector<double>& row, double divisor) {
    row.resize(bins, 0);
    Json list = Json::array();
    for (const double value : row) list.push_back(rounded(value / divisor));
    return list;
  };
  for (std::size_t i = 0; i < rows.size(); ++i)
    json["rows"].push_back({{"link", run.links[i].name}, {"values", values(rows[i], 1)}});
  others = Json::array();
  for (auto& [kind, count] : count_of_kind) {
    const std::string name = std::to_string(count) + " other " + kind + " links, mean";
    double bytes = 0, most = 0;
    for (std::size_t i = shown_links; i < run.links.size(); ++i) {
      if (run.links[i].kind != kind) continue;
      bytes += run.links[i].bytes;
      most = std::max(most, run.links[i].utilisation);
    }
    others.push_back({{"name", name}, {"bytes", bytes}, {"utilisation_max", most}});
    json["rows"].push_back(
        {{"link", name}, {"values", values(sums[kind], static_cast<double>(count))}});
  }
  return json;
}

/// One chunk alone on the first choice of route, for the sizes that were moved.
Json ideal_json(const RunContext& context, const Json& sizes) {
  Json json;
  // The fastest of the preferred routes: of equal ones the first.
  const ChannelRequest* best = nullptr;
  for (std::size_t i = 0; i < context.plan.requests.size(); ++i) {
    const ChannelRequest& request = context.plan.requests[i];
    if (context.plan.tiers[i] != 0 || request.route.hops.empty()) continue;
    if (best == nullptr || request.route.bytes_per_s > best->route.bytes_per_s) best = &request;
  }
  if (best == nullptr) return json;
  json["route"] = best->route.name;
  json["rate_gbytes_per_s"] = rounded(best->route.bytes_per_s / 1e9);
  json["times"] = Json::array();
  for (const Json& size : sizes) {
    const double bytes = size.at("mean_bytes").get<double>();
    json["times"].push_back(
        {{"bytes", bytes},
         {"ms", rounded(ms_of(unloaded_ns(best->route, best->costs, static_cast<Bytes>(bytes))))}});
  }
  return json;
}

/// The busiest nodes of each side, so that a large cluster has a picture, too.
Json picture_json(const RunContext& context, const std::vector<RunDirectory::Link>& links) {
  std::map<std::string, double> bytes_of_node;
  for (const RunDirectory::Link& link : links)
    bytes_of_node[link.name.substr(0, link.name.find('/'))] += link.bytes;
  std::size_t active = 0;
  for (const Node& node : context.cluster.nodes) active += bytes_of_node.count(node.name);
  const auto busiest = [&](const RoleConfig& role) {
    std::set<NodeId> of_role;
    for (const auto& instance : role.instances)
      for (const PlaceId place : instance) of_role.insert(context.cluster.places[place].node);
    std::vector<NodeId> sorted(of_role.begin(), of_role.end());
    std::erase_if(
        sorted, [&](NodeId n) { return bytes_of_node.count(context.cluster.nodes[n].name) == 0; });
    std::stable_sort(sorted.begin(), sorted.end(), [&](NodeId a, NodeId b) {
      return bytes_of_node[context.cluster.nodes[a].name] >
             bytes_of_node[context.cluster.nodes[b].name];
    });
    return sorted;
  };
  // Those that face each other in the picture are a sender and a receiver.
  const std::vector<NodeId> senders = busiest(context.serving.prefill);
  const std::vector<NodeId> receivers = busiest(context.serving.decode);
  std::vector<NodeId> nodes;
  for (std::size_t i = 0; i < std::max(senders.size(), receivers.size()); ++i)
    for (const auto* side : {&senders, &receivers})
      if (i < side->size() && nodes.size() < nodes_pictured &&
          std::find(nodes.begin(), nodes.end(), (*side)[i]) == nodes.end())
        nodes.push_back((*side)[i]);
  Json json;
  json["nodes"] = context.cluster.nodes.size();
  json["active_nodes"] = active;
  json["shown_nodes"] = nodes.size();
  json["svg"] = nodes.empty() ? "" : cluster_picture(context.cluster, nodes, nullptr);
  // Loads of everything in the picture, which may be more than the links listed.
  std::set<std::string> pictured;
  for (const NodeId n : nodes) pictured.insert(context.cluster.nodes[n].name);
  json["load"] = Json::object();
  for (const RunDirectory::Link& link : links)
    if (pictured.count(link.name.substr(0, link.name.find('/'))) != 0)
      json["load"][link.name] = link.utilisation;
  return json;
}

/// Figures that a report shows as numbers, for page/run.js.
Json figures_json() {
  Json json = Json::array();
  for (const Figure& figure : figures())
    if (figure.is(Figure::in_tiles) || figure.is(Figure::in_report))
      json.push_back({{"key", figure.key},
                      {"title", figure.title()},
                      {"unit", unit_name(figure.unit)},
                      {"times", figure.is_distribution()},
                      {"tile", figure.is(Figure::in_tiles)},
                      {"listed", figure.is(Figure::in_report)},
                      {"part", figure.is(Figure::part)},
                      {"subpart", figure.is(Figure::subpart)}});
  return json;
}

Json link_json(const RunDirectory::Link& link) {
  return {{"link", link.name},
          {"kind", link.kind},
          {"rate_gbytes_per_s", link.rate_gbytes_per_s},
          {"bytes", link.bytes},
          {"utilisation", link.utilisation},
          {"peak_utilisation", link.peak_utilisation},
          {"busy_share", link.busy_share},
          {"saturated_share", link.saturated_share}};
}

std::vector<std::string> assumptions(const RunDirectory& run, const RunContext& context) {
  const auto label = [&](const char* key) { return run.text("run." + std::string(key)); };
  std::vector<std::string> out;
  out.push_back(
      "Rates, latencies and costs of links are those of the scenario; each names its "
      "source there (text below).");
  out.push_back("Prefill and decode take the time that the scenario's timing says for " +
                label("model") + "; no model computes.");
  out.push_back(
      "The first token counts as given out when decode takes the request on: all KV has landed, "
      "and "
      "a step begins in which it has a place.");
  out.push_back(
      "Streaming " + label("streaming") + ", " + label("direction") + ": " +
      (label("direction") == "push" ? "the prefill side writes." : "the decode side reads."));
  if (context.serving.prefix_cache)
    out.push_back(
        "Prefixes that the trace names are found in the prefix cache: not computed again, "
        "but moved.");
  if (label("payload") == "none")
    out.push_back("No bytes were moved: what a transfer takes is computed from the links.");
  for (const std::string& warning : run.warnings) out.push_back("Warning: " + warning + ".");
  for (const std::string& note : run.notes) out.push_back("Trace: " + note + ".");
  return out;
}

std::vector<std::string> limits(const RunDirectory& run, const RunContext& context) {
  const std::string& backend = run.text("run.backend");
  const bool simulated = run.text("run.time") == "virtual";
  std::vector<std::string> out;
  if (backend == "emulated" && simulated)
    out.push_back(
        "A shared link serves its channels in turn: no max-min sharing, and no congestion "
        "control. The SimGrid backend models sharing.");
  if (backend == "simgrid")
    out.push_back(
        "Links are fluids that are shared max-min: no PFC pauses, no DCQCN transients, no "
        "packet reordering.");
  if (simulated) {
    out.push_back(
        "Nothing but these requests uses the cluster: no other jobs, no operating system "
        "noise.");
    if (context.cluster.spines > 0 && context.cluster.routing == FabricRouting::adaptive)
      out.push_back(
          "Adaptive routing is ideal: no flow meets another before all uplinks are full.");
    out.push_back("Errors against published measurements are printed in docs/validation.md.");
  } else {
    out.push_back("Times are of this machine and this run: what else it did then is in them.");
    if (backend == "emulated")
      out.push_back(
          "Copies in host memory stand for GPUs and NICs: their rates are those of this "
          "computer's memory.");
  }
  return out;
}

}  // namespace

Result<Json> run_data(const RunDirectory& run, const RunContext& context) {
  Json data;
  data["kind"] = "run";
  data["summary"] = run.summary;
  data["figures"] = figures_json();
  if (run.limit_proof) data["limit_proof"] = Json::parse(limit_proof_json(*run.limit_proof));
  data["links"] = Json::array();
  for (std::size_t i = 0; i < std::min(links_shown, run.links.size()); ++i)
    data["links"].push_back(link_json(run.links[i]));
  SlowestRequests slowest;
  auto requests = read_requests(run, slowest);
  if (!requests) return requests.error();
  data["slowest"] = slowest.json();
  data["ttft"] = ttft_json(*requests);
  const auto duration = static_cast<TimeNs>(std::clamp(run.number("duration_s") * 1e9, 0.0, 9e18));
  auto time = time_json(*requests, run, std::max<TimeNs>(1, duration));
  if (!time) return time.error();
  data["time"] = std::move(*time);
  Json others;
  auto heat = heat_json(run, others);
  if (!heat) return heat.error();
  data["other_links"] = std::move(others);
  auto instances = instances_json(run, *requests);
  if (!instances) return instances.error();
  data["instances"] = std::move(*instances);
  data["heat"] = std::move(*heat);
  data["ideal"] = ideal_json(context, run.summary.at("transfers").value("by_size", Json::array()));
  data["faults"] = Json::array();
  for (const RunContext::Fault& fault : context.faults)
    data["faults"].push_back(
        {{"text", fault.text},
         {"from_s", s_of(fault.from_ns)},
         {"until_s", fault.until_ns == never_ns ? Json() : Json(s_of(fault.until_ns))}});
  data["picture"] = picture_json(context, run.links);
  data["assumed"] = assumptions(run, context);
  data["not_shown"] = limits(run, context);
  data["reproduce"] = {{"command", context.command},
                       {"scenario_file", context.scenario_file},
                       {"scenario", context.scenario_text},
                       {"faults", context.fault_text}};
  return data;
}

std::string run_title(const Json& data) {
  const Json& labels = data.at("summary").at("run");
  return labels.at("scenario").get<std::string>() + ", " + labels.at("trace").get<std::string>();
}

std::string run_sentence(const Json& data) {
  const Json& summary = data.at("summary");
  const Json& requests = summary.at("requests");
  std::string out = summary.at("limit_sentence").get<std::string>();
  // "; 3 chunks were sent again", or nothing where there is none.
  const auto counted = [&](const Json& list, const char* key, const char* one, const char* more) {
    const double count = list.value(key, 0.0);
    if (count > 0) out += "; " + number_text(count, 15) + (count == 1 ? one : more);
  };
  counted(requests, "transfer_failed", " request lost their KV", " requests lost their KV");
  counted(requests, "retried", " request was prefilled again", " requests were prefilled again");
  counted(requests, "too_large", " request fits no instance", " requests fit no instance");
  counted(summary.at("transfers"), "resent_chunks", " chunk was sent again",
          " chunks were sent again");
  return out + ".";
}

}  // namespace kvhaul::report
