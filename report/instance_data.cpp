#include "report/instance_data.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "core/unit_text.h"
#include "report/json_numbers.h"
#include "results/run_rows.h"

namespace kvhaul::report {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t rows_max = 32;
constexpr std::size_t alike_from = 3;  // so many; fewer are shown as they are
constexpr double alike_points = 0.05, alike_share = 0.1;

struct Shown {
  const RunDirectory::Instance* instance = nullptr;
  std::optional<double> ttft_ms, handover_ms;  // medians
};

std::optional<double> median_ms(std::vector<TimeNs>& times) {
  if (times.empty()) return std::nullopt;
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>((times.size() - 1) / 2);
  std::nth_element(times.begin(), middle, times.end());
  return static_cast<double>(*middle) / 1e6;
}

struct Column {
  const char* key;
  std::optional<double> (*value)(const Shown&);
};
constexpr Column columns[] = {
    {"requests", [](const Shown& s) { return std::optional(s.instance->requests); }},
    {"utilisation", [](const Shown& s) { return std::optional(s.instance->utilisation); }},
    {"batch", [](const Shown& s) { return s.instance->batch; }},
    {"batch_max",
     [](const Shown& s) {
       return s.instance->batch ? std::optional(s.instance->batch_max) : std::nullopt;
     }},
    {"kv_fill", [](const Shown& s) { return std::optional(s.instance->kv_fill); }},
    {"kv_fill_max", [](const Shown& s) { return std::optional(s.instance->kv_fill_max); }},
    {"queue", [](const Shown& s) { return std::optional(s.instance->queue); }},
    {"queue_max", [](const Shown& s) { return std::optional(s.instance->queue_max); }},
    {"tokens_per_s", [](const Shown& s) { return std::optional(s.instance->tokens_per_s); }},
    {"ttft_p50_ms", [](const Shown& s) { return s.ttft_ms; }},
    {"handover_p50_ms", [](const Shown& s) { return s.handover_ms; }},
};

/// The lowest and the highest of a column; nothing where no instance has a value.
std::optional<std::pair<double, double>> range(const std::vector<Shown>& shown,
                                               const Column& column) {
  std::optional<std::pair<double, double>> both;
  for (const Shown& one : shown)
    if (const auto value = column.value(one))
      both = both ? std::pair(std::min(both->first, *value), std::max(both->second, *value))
                  : std::pair(*value, *value);
  return both;
}

bool are_alike(const std::vector<Shown>& shown) {
  if (shown.size() < alike_from) return false;
  double ttft_ms = 0;  // the longest median
  for (const Shown& one : shown) ttft_ms = std::max(ttft_ms, one.ttft_ms.value_or(0));
  for (const Column& column : columns) {
    const std::string_view key = column.key;
    const auto both = range(shown, column);
    if (!both) continue;
    if ((key == "utilisation" || key == "kv_fill") && both->second - both->first > alike_points)
      return false;
    if (key.ends_with("_ms") && both->second - both->first > alike_share * ttft_ms) return false;
  }
  return true;
}

/// A row: each value as its lowest and highest.
Json row(const std::string& name, const std::string& node, const std::vector<Shown>& shown) {
  Json json = {{"name", name}, {"node", node}};
  for (const Column& column : columns) {
    const auto both = range(shown, column);
    json[column.key] =
        both ? Json::array({rounded(both->first), rounded(both->second)}) : Json::array();
  }
  return json;
}

/// Of a side as a whole, from its figures in summary.json.
Json total_row(const RunDirectory& run, const std::string& role, const std::vector<Shown>& shown) {
  double requests = 0, tokens_per_s = 0, batch_max = 0, kv_fill_max = 0;
  for (const Shown& one : shown) {
    requests += one.instance->requests;
    tokens_per_s += one.instance->tokens_per_s;
    batch_max = std::max(batch_max, one.instance->batch_max);
    kv_fill_max = std::max(kv_fill_max, one.instance->kv_fill_max);
  }
  Json json = {{"name", "all " + std::to_string(shown.size())}, {"node", ""}, {"total", true}};
  const auto add = [&](const char* key, std::optional<double> value) {
    json[key] = value ? Json::array({rounded(*value), rounded(*value)}) : Json::array();
  };
  const auto batch = run.maybe_number(role + ".batch");
  add("requests", requests);
  add("utilisation", run.maybe_number(role + ".utilisation"));
  add("batch", batch);
  add("batch_max", batch ? std::optional(batch_max) : std::nullopt);
  add("kv_fill", run.maybe_number(role + ".kv_fill"));
  add("kv_fill_max", kv_fill_max);
  add("queue", run.maybe_number(role + ".queue"));
  add("queue_max", std::nullopt);  // each has its own at another time
  add("tokens_per_s", tokens_per_s);
  add("ttft_p50_ms", run.maybe_number("ttft_ms.p50"));
  add("handover_p50_ms", run.maybe_number("handover_ms.p50"));
  return json;
}

/// Of one side: not of those that had nothing to do, and where there are too many, of the most used
/// ones.
void add_rows(Json& rows, const RunDirectory& run, const std::string& role,
              std::vector<Shown> shown, bool alike) {
  const Json total = shown.size() > 1 ? total_row(run, role, shown) : Json();
  const auto idle = [](const Shown& one) {
    return one.instance->requests == 0 && one.instance->utilisation == 0;
  };
  std::stable_partition(shown.begin(), shown.end(), std::not_fn(idle));
  std::size_t whole = alike ? 0 : shown.size();
  if (const auto of_idle = std::ranges::count_if(shown, idle); of_idle > 1)
    whole -= alike ? 0 : static_cast<std::size_t>(of_idle);
  if (whole > rows_max / 2) {
    whole = rows_max / 2 - 2;
    std::ranges::stable_sort(shown, [](const Shown& a, const Shown& b) {
      return a.instance->utilisation > b.instance->utilisation;
    });
  }
  for (std::size_t i = 0; i < whole; ++i)
    rows.push_back(row(role + " " + std::to_string(shown[i].instance->instance),
                       shown[i].instance->node, {shown[i]}));
  shown.erase(shown.begin(), shown.begin() + static_cast<std::ptrdiff_t>(whole));
  if (!shown.empty()) {
    std::string name = std::to_string(shown.size());
    name.append(whole > 0 ? " other " : " ").append(role).append(" instances");
    if (std::ranges::all_of(shown, idle)) name += ", idle";
    rows.push_back(row(name, "", shown));
  }
  if (!total.is_null()) rows.push_back(total);
}

/// Sums over the instances of a side in a bin.
struct Bin {
  double utilisation = 0, kv_fill = 0, queue = 0, tokens_per_s = 0, sequences = 0;
  double utilisation_least = 1, utilisation_most = 0, kv_fill_least = 1, kv_fill_most = 0;
};

Json course(const std::vector<Bin>& bins, double instances) {
  Json json;
  const auto add = [&](const char* key, const auto& value) {
    json[key] = Json::array();
    for (const Bin& bin : bins) json[key].push_back(rounded(value(bin)));
  };
  add("utilisation", [&](const Bin& b) { return b.utilisation / instances; });
  add("utilisation_least", [](const Bin& b) { return b.utilisation_least; });
  add("utilisation_most", [](const Bin& b) { return b.utilisation_most; });
  add("kv_fill", [&](const Bin& b) { return b.kv_fill / instances; });
  add("kv_fill_least", [](const Bin& b) { return b.kv_fill_least; });
  add("kv_fill_most", [](const Bin& b) { return b.kv_fill_most; });
  add("queue", [](const Bin& b) { return b.queue; });
  add("tokens_per_s", [](const Bin& b) { return b.tokens_per_s; });
  add("batch", [](const Bin& b) { return b.utilisation > 0 ? b.sequences / b.utilisation : 0; });
  return json;
}

}  // namespace

Result<Json> instances_json(const RunDirectory& run, const std::vector<RequestTimes>& requests) {
  constexpr const char* role_names[] = {"prefill", "decode"};
  std::vector<std::vector<TimeNs>> ttft(run.instances.size()), handover(run.instances.size());
  std::map<std::pair<std::string, std::uint64_t>, std::size_t> places;
  for (std::size_t i = 0; i < run.instances.size(); ++i)
    places[{run.instances[i].role, run.instances[i].instance}] = i;
  for (const RequestTimes& request : requests)
    for (const auto& [role, instance] : {std::pair{role_names[0], request.prefill_instance},
                                         {role_names[1], request.decode_instance}})
      if (const auto found = places.find({role, instance}); found != places.end()) {
        ttft[found->second].push_back(request.ttft());
        handover[found->second].push_back(request.handover);
      }

  std::vector<Bin> bins[2];
  const auto bin_ns = read_instance_rows(run, [&](const InstanceRecord& r) {
    std::vector<Bin>& of_role = bins[run.instances[r.place].role == role_names[0] ? 0 : 1];
    if (of_role.size() <= r.bin) of_role.resize(r.bin + 1);
    Bin& bin = of_role[r.bin];
    bin.utilisation += r.utilisation;
    bin.utilisation_least = std::min(bin.utilisation_least, r.utilisation);
    bin.utilisation_most = std::max(bin.utilisation_most, r.utilisation);
    bin.kv_fill += r.kv_fill;
    bin.kv_fill_least = std::min(bin.kv_fill_least, r.kv_fill);
    bin.kv_fill_most = std::max(bin.kv_fill_most, r.kv_fill);
    bin.queue += r.queue;
    bin.tokens_per_s += r.tokens_per_s;
    bin.sequences += r.batch.value_or(0) * r.utilisation;
  });
  if (!bin_ns) return bin_ns.error();

  Json json;
  json["bin_s"] = static_cast<double>(*bin_ns) / 1e9;
  json["roles"] = Json::array();
  json["rows"] = Json::array();
  for (std::size_t role = 0; role < 2; ++role) {
    std::vector<Shown> shown;
    for (std::size_t i = 0; i < run.instances.size(); ++i)
      if (run.instances[i].role == role_names[role])
        shown.push_back({&run.instances[i], median_ms(ttft[i]), median_ms(handover[i])});
    const std::string name = role_names[role];
    const bool alike = are_alike(shown);
    json["roles"].push_back(
        {{"role", name},
         {"instances", shown.size()},
         {"alike", alike},
         {"course", course(bins[role], std::max(1.0, static_cast<double>(shown.size())))}});
    add_rows(json["rows"], run, name, std::move(shown), alike);
  }
  return json;
}

}  // namespace kvhaul::report
