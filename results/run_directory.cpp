#include "results/run_directory.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/unit_text.h"
#include "results/figures.h"
#include "traces/text_file.h"

namespace kvhaul {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int known_schema = 3;
/// 262,144 links take 60 MB.
constexpr std::size_t summary_bytes_max = 256 * MiB;

/// `what` goes on after "expected".
Error damaged(const std::string& file, const std::string& what) {
  return Error::bad_input(file + ": expected " + what);
}

/// Objects in objects become dotted keys; lists are read by who knows them. False when they are
/// nested deeper than any summary is.
bool flatten(const Json& json, const std::string& path, int depth, RunDirectory& run) {
  constexpr int depth_max = 8;
  if (depth > depth_max) return false;
  for (const auto& [key, value] : json.items()) {
    const std::string name = path.empty() ? key : path + "." + key;
    if (value.is_object() && !flatten(value, name, depth + 1, run)) return false;
    if (value.is_number()) run.numbers[name] = value.get<double>();
    if (value.is_string()) run.texts[name] = value.get<std::string>();
  }
  return true;
}

/// A number of an object in a list, or NaN.
double number_of(const Json& item, const char* key) {
  const auto found = item.find(key);
  return found != item.end() && found->is_number() ? found->get<double>() : std::nan("");
}

/// A text of an object in a list; empty when it is none.
std::string text_of(const Json& item, const char* key) {
  const auto found = item.find(key);
  return found != item.end() && found->is_string() ? found->get<std::string>() : "";
}

/// What stands at a dotted key; null when nothing does.
const Json* at(const Json& json, const std::string& key) {
  const std::size_t dot = key.find('.');
  const auto found = json.is_object() ? json.find(key.substr(0, dot)) : json.end();
  if (!json.is_object() || found == json.end()) return nullptr;
  return dot == std::string::npos ? &*found : at(*found, key.substr(dot + 1));
}

Result<void> check_number(const Json& json, const std::string& key, bool may_be_nothing,
                          bool may_lack, const std::string& file) {
  const Json* found = at(json, key);
  if (found == nullptr && may_lack) return {};
  if (found != nullptr && (found->is_number() || (may_be_nothing && found->is_null()))) return {};
  return damaged(file, "a number '" + key + "', found " +
                           (found == nullptr   ? "none"
                            : found->is_null() ? "null"
                                               : "something else"));
}

/// Every figure with its type.
Result<void> check_figures(const Json& json, const std::string& file) {
  for (const Figure& figure : figures()) {
    const bool may_lack = figure.is(Figure::with_slo);
    const std::string key = figure.key;
    if (!figure.is_distribution()) {
      if (auto ok = check_number(json, key, figure.may_be_nothing(), may_lack, file); !ok)
        return ok;
      continue;
    }
    const bool lacks = may_lack && at(json, key) == nullptr;
    for (const Statistic statistic : all_statistics)
      if (auto ok = check_number(json, key + "." + std::string(statistic_name(statistic)), true,
                                 lacks, file);
          !ok)
        return ok;
  }
  return {};
}

Result<void> check_labels(const RunDirectory& run, const std::string& file) {
  for (const char* label : {"scenario", "model", "trace", "backend", "time", "payload", "policy",
                            "streaming", "direction"}) {
    const std::string key = "run." + std::string(label);
    if (run.texts.count(key) == 0) return damaged(file, "a text '" + key + "', found none");
  }
  if (run.texts.count("limit_sentence") == 0)
    return damaged(file, "a text 'limit_sentence', found none");
  return {};
}

Result<std::vector<std::string>> read_sentences(const Json& json, const std::string& key,
                                                const std::string& file) {
  std::vector<std::string> sentences;
  const Json* list = at(json, key);
  if (list != nullptr && list->is_array() &&
      std::all_of(list->begin(), list->end(), [](const Json& item) { return item.is_string(); })) {
    for (const Json& item : *list) sentences.push_back(item.get<std::string>());
    return sentences;
  }
  return damaged(file, "a list of texts '" + key + "', found none");
}

Result<void> check_sizes(const Json& json, const std::string& file) {
  const Json* sizes = at(json, "transfers.by_size");
  const auto is_whole = [](const Json& item) {
    for (const char* key :
         {"from_bytes", "count", "mean_bytes", "min_ms", "p50_ms", "p90_ms", "p99_ms", "max_ms"})
      if (!item.is_object() || !(number_of(item, key) >= 0)) return false;
    return true;
  };
  if (sizes != nullptr && sizes->is_array() && std::all_of(sizes->begin(), sizes->end(), is_whole))
    return {};
  return damaged(file,
                 "'from_bytes', 'count', 'mean_bytes' and times in every item of "
                 "'transfers.by_size'");
}

Result<void> read_lists(const Json& json, const std::string& file, RunDirectory& run) {
  for (const char* list : {"links", "routes", "limits", "instances"})
    if (!json.contains(list) || !json[list].is_array())
      return damaged(file, "a list '" + std::string(list) + "', found none");
  for (const Json& item : json["routes"]) {
    const bool whole = item.is_object() && !text_of(item, "kind").empty() &&
                       number_of(item, "tier") >= 0 && number_of(item, "tier") < 256 &&
                       number_of(item, "bytes") >= 0;
    if (!whole) return damaged(file, "'kind', 'tier' and 'bytes' in every item of 'routes'");
    run.routes.push_back({text_of(item, "kind"),
                          static_cast<std::uint32_t>(number_of(item, "tier")),
                          number_of(item, "bytes")});
    run.landed_bytes += run.routes.back().bytes;
  }
  for (const Json& item : json["links"]) {
    RunDirectory::Link link;
    if (item.is_object()) {
      link.name = text_of(item, "link");
      link.kind = text_of(item, "kind");
      link.rate_gbytes_per_s = number_of(item, "rate_gbytes_per_s");
      link.bytes = number_of(item, "bytes");
      link.utilisation = number_of(item, "utilisation");
      link.peak_utilisation = number_of(item, "peak_utilisation");
      link.saturated_share = number_of(item, "saturated_share");
      link.busy_share = number_of(item, "busy_share");
    }
    if (link.name.empty() || link.kind.empty() || !(link.rate_gbytes_per_s > 0) ||
        !(link.bytes >= 0) || !(link.utilisation >= 0) || !(link.peak_utilisation >= 0) ||
        !(link.saturated_share >= 0) || !(link.busy_share >= 0))
      return damaged(file,
                     "'link', 'kind', 'rate_gbytes_per_s', 'bytes', 'utilisation', "
                     "'peak_utilisation', 'busy_share' and 'saturated_share' in every item of "
                     "'links'");
    run.links.push_back(std::move(link));
  }
  for (const Json& item : json["instances"]) {
    RunDirectory::Instance instance;
    bool whole = item.is_object();
    const auto number = [&](const char* key) {
      const double value = whole ? number_of(item, key) : -1;
      whole = whole && value >= 0;
      return value;
    };
    instance.role = whole ? text_of(item, "role") : "";
    instance.node = whole ? text_of(item, "node") : "";
    const double index = number("instance");
    instance.requests = number("requests");
    instance.utilisation = number("utilisation");
    instance.batch_max = number("batch_max");
    instance.kv_fill = number("kv_fill");
    instance.kv_fill_max = number("kv_fill_max");
    instance.queue = number("queue");
    instance.queue_max = number("queue_max");
    instance.tokens_per_s = number("tokens_per_s");
    if (whole && item.contains("batch") && !item["batch"].is_null())
      instance.batch = number("batch");
    if (!whole || index > 0xffffffff || instance.node.empty() ||
        (instance.role != "prefill" && instance.role != "decode"))
      return damaged(file,
                     "'role', 'instance', 'node', 'requests', 'utilisation', 'batch', 'batch_max', "
                     "'kv_fill', 'kv_fill_max', 'queue', 'queue_max' and 'tokens_per_s' in every "
                     "item of 'instances'");
    instance.instance = static_cast<std::uint32_t>(index);
    run.instances.push_back(std::move(instance));
  }
  for (const Json& item : json["limits"]) {
    if (!item.is_object() || text_of(item, "limit").empty() || text_of(item, "label").empty() ||
        !(number_of(item, "share") >= 0))
      return damaged(file, "'limit', 'label' and 'share' in every item of 'limits'");
    run.limits.push_back(
        {text_of(item, "limit"), text_of(item, "label"), number_of(item, "share")});
  }
  return {};
}

Result<void> read_all_of(const Json& json, const std::string& file, RunDirectory& run) {
  const double schema = number_of(json, "schema");
  if (schema != known_schema)
    return damaged(file, "schema " + std::to_string(known_schema) + ", found " +
                             (std::isnan(schema) ? "none" : number_text(schema, 9)) +
                             (schema < known_schema ? "; make the run again" : ""));
  if (!flatten(json, "", 0, run)) return damaged(file, "objects of a few levels, found more");
  if (auto ok = read_lists(json, file, run); !ok) return ok;
  if (auto ok = check_labels(run, file); !ok) return ok;
  if (auto ok = check_figures(json, file); !ok) return ok;
  if (auto ok = check_sizes(json, file); !ok) return ok;
  auto warnings = read_sentences(json, "warnings", file);
  if (!warnings) return warnings.error();
  run.warnings = std::move(*warnings);
  auto notes = read_sentences(json, "requests.notes", file);
  if (!notes) return notes.error();
  run.notes = std::move(*notes);
  for (const Json& fault : json.value("faults", Json::array())) {  // an older kvhaul had none
    if (!fault.is_object() || text_of(fault, "sentence").empty())
      return damaged(file, "'sentence' in every item of 'faults'");
    run.faults.push_back(text_of(fault, "sentence"));
  }
  for (const auto& [key, bin_ns] :
       {std::pair{"link_bin_ns", &run.link_bin_ns}, {"instance_bin_ns", &run.instance_bin_ns}}) {
    const Json* width = at(json, key);
    if (width == nullptr) continue;
    if (!width->is_number_unsigned() ||
        width->get<std::uint64_t>() > static_cast<std::uint64_t>(never_ns))
      return damaged(file,
                     "a number of nanoseconds '" + std::string(key) + "', found something else");
    *bin_ns = width->get<TimeNs>();
  }
  return {};
}

}  // namespace

std::optional<double> RunDirectory::maybe_number(const std::string& key) const {
  const auto found = numbers.find(key);
  return found == numbers.end() ? std::nullopt : std::optional(found->second);
}

Result<RunDirectory> parse_summary(const std::string& text, const std::string& path) {
  const std::string file = path + "/summary.json";
  RunDirectory run;
  run.path = path;
  try {
    run.summary = Json::parse(text);
    if (!run.summary.is_object()) return damaged(file, "an object, found something else");
    if (auto ok = read_all_of(run.summary, file, run); !ok) return ok.error();
    run.summary.erase("links");
    run.summary.erase("instances");
  } catch (const Json::parse_error& problem) {
    const std::size_t bytes = std::min(problem.byte, text.size());
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<long>(bytes), '\n');
    return Error::bad_input(file + ":" + std::to_string(line) +
                            ": expected JSON, it is damaged here");
  } catch (const Json::exception&) {
    return damaged(file, "numbers that a double can hold");
  }
  return run;
}

Result<RunDirectory> read_run_summary(const std::string& path) {
  const std::string file = path + "/summary.json";
  std::error_code status;
  if (!fs::is_regular_file(file, status))
    return damaged(path, "a run directory, found no summary.json in it");
  auto input = open_text(file);
  if (!input) return input.error();
  auto text = read_all(*input, summary_bytes_max);
  if (!text) return text.error();
  return parse_summary(*text, path);
}

Result<RunDirectory> read_run_as_made(const std::string& path) {
  std::error_code status;
  if (!fs::is_directory(path, status))
    return damaged(path, std::string("a run directory, found ") +
                             (fs::exists(path, status) ? "a file" : "nothing of that name"));
  if (fs::exists(path + "/UNFINISHED", status))
    return damaged(path, "a whole run, found the mark UNFINISHED of one that did not end");
  return read_run_summary(path);
}

Result<RunDirectory> read_run_directory(const std::string& path) {
  auto run = read_run_as_made(path);
  const std::string file = path + "/" + limit_proof_file;
  std::error_code status;
  if (!run || !fs::is_regular_file(file, status)) return run;
  auto input = open_text(file);
  if (!input) return input.error();
  auto text = read_all(*input, summary_bytes_max);
  if (!text) return text.error();
  auto proof = parse_limit_proof(*text, file);
  if (!proof) return proof.error();
  run->limit_proof = std::move(*proof);
  apply_limit_proof(*run->limit_proof, *run);
  return run;
}

}  // namespace kvhaul
