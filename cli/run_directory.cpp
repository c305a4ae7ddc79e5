#include "cli/run_directory.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <tuple>

#include <nlohmann/json.hpp>

#include "cli/terminal.h"
#include "core/unit_text.h"
#include "report/run_rows.h"
#include "traces/fields.h"

namespace kvhaul::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using report::check_rows;
using report::damaged;
using report::open_rows;
using report::summary_bytes_max;

constexpr int known_schema = 1;

/// Objects in objects become dotted keys; lists are read by who knows them. False when they are
/// nested deeper than any summary is.
bool flatten(const Json& json, const std::string& path, int depth, RunDirectory& run) {
  constexpr int depth_max = 8;
  if (depth > depth_max) return false;
  for (const auto& [key, value] : json.items()) {
    const std::string name = path.empty() ? key : path + "." + key;
    if (value.is_object() && !flatten(value, name, depth + 1, run)) return false;
    if (value.is_number()) run.numbers[name] = value.get<double>();
    if (value.is_string()) run.texts[name] = printable(value.get<std::string>());
  }
  return true;
}

/// A number of an object in a list, or NaN: "links[3].bytes" has to be one.
double number_of(const Json& item, const char* key) {
  const auto found = item.find(key);
  return found != item.end() && found->is_number() ? found->get<double>() : std::nan("");
}

/// Whether null stands at a dotted key.
bool is_null_at(const Json& json, const std::string& key) {
  const std::size_t dot = key.find('.');
  const auto found = json.find(key.substr(0, dot));
  if (found == json.end()) return false;
  if (dot == std::string::npos) return found->is_null();
  return found->is_object() && is_null_at(*found, key.substr(dot + 1));
}

Result<void> read_lists(const Json& json, const std::string& file, RunDirectory& run) {
  for (const char* list : {"links", "routes"})
    if (!json.contains(list) || !json[list].is_array())
      return damaged(file, "a list '" + std::string(list) + "', found none");
  for (const Json& item : json["routes"]) {
    if (!item.is_object() || !(number_of(item, "bytes") >= 0))
      return damaged(file, "'bytes' in every item of 'routes'");
    run.landed_bytes += number_of(item, "bytes");
  }
  for (const Json& item : json["links"]) {
    RunDirectory::Link link;
    if (item.is_object() && item.contains("link") && item["link"].is_string()) {
      link.name = printable(item["link"].get<std::string>());
      link.rate_gbytes_per_s = number_of(item, "rate_gbytes_per_s");
      link.bytes = number_of(item, "bytes");
      link.utilisation = number_of(item, "utilisation");
      link.saturated_share = number_of(item, "saturated_share");
    }
    if (link.name.empty() || !(link.rate_gbytes_per_s > 0) || !(link.bytes >= 0) ||
        !(link.utilisation >= 0) || !(link.saturated_share >= 0))
      return damaged(file,
                     "'link', 'rate_gbytes_per_s', 'bytes', 'utilisation' and 'saturated_share' "
                     "in every item of 'links'");
    run.links.push_back(std::move(link));
  }
  return {};
}

/// Every group and number that comparisons are made of.
Result<void> check_keys(const RunDirectory& run, const Json& json, const std::string& file) {
  for (const char* key :
       {"scenario", "model", "trace", "backend", "time", "policy", "streaming", "direction"})
    if (run.texts.count("run." + std::string(key)) == 0)
      return damaged(file, "a text 'run." + std::string(key) + "', found none");
  for (const char* key : {"duration_s", "requests.completed", "requests.replayed",
                          "requests.transfer_failed", "requests.too_large", "transfers.bytes",
                          "transfers.resent_chunks", "requests.cached_tokens"})
    if (run.numbers.count(key) == 0)
      return damaged(file, "a number '" + std::string(key) + "', found none");
  // Null in a run in which there was nothing to measure.
  std::vector<std::string> figures = {"exposed_transfer_share_of_ttft",
                                      "transfers.gbytes_per_s_while_busy"};
  for (const char* group :
       {"ttft_ms", "queue_ms", "prefill_ms", "exposed_transfer_ms", "itl_ms", "transfers.time_ms",
        "transfers.wait_ms", "transfers.post_ms", "transfers.wire_ms"})
    for (const char* figure : {".mean", ".p50", ".p99"})
      figures.push_back(std::string(group) + figure);
  for (const std::string& key : figures)
    if (run.numbers.count(key) == 0 && !is_null_at(json, key))
      return damaged(file, "a number '" + key + "', found none");
  return {};
}

/// Rows by whatever the key says; a file says the same twice only when it is damaged.
template <class Row, class Key>
Result<void> order(std::vector<Row>& rows, const std::string& file, const Key& key) {
  std::sort(rows.begin(), rows.end(), [&](const Row& a, const Row& b) { return key(a) < key(b); });
  const auto twice = std::adjacent_find(
      rows.begin(), rows.end(), [&](const Row& a, const Row& b) { return key(a) == key(b); });
  if (twice == rows.end()) return {};
  return damaged(file, "each request once, found " + std::to_string(twice->request) + " twice");
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
  Json json;
  try {
    json = Json::parse(text);
    if (!json.is_object()) return damaged(file, "an object, found something else");
    const double schema = number_of(json, "schema");
    if (schema != known_schema)
      return damaged(file, "schema " + std::to_string(known_schema) + ", found " +
                               (std::isnan(schema) ? "none" : number_text(schema, 9)));
    if (!flatten(json, "", 0, run)) return damaged(file, "objects of a few levels, found more");
    if (auto ok = read_lists(json, file, run); !ok) return ok.error();
  } catch (const Json::parse_error& problem) {
    const std::size_t bytes = std::min(problem.byte, text.size());
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<long>(bytes), '\n');
    return Error::bad_input(file + ":" + std::to_string(line) +
                            ": expected JSON, it is damaged here");
  } catch (const Json::exception&) {
    return damaged(file, "numbers that a double can hold");
  }
  if (auto ok = check_keys(run, json, file); !ok) return ok.error();
  return run;
}

Result<RunDirectory> read_run_directory(const std::string& path) {
  std::error_code status;
  if (!fs::is_directory(path, status))
    return damaged(path, std::string("a run directory, found ") +
                             (fs::exists(path, status) ? "a file" : "nothing of that name"));
  if (fs::exists(path + "/UNFINISHED", status))
    return damaged(path, "a whole run, found the mark UNFINISHED of one that did not end");
  const std::string file = path + "/summary.json";
  if (!fs::is_regular_file(file, status))
    return damaged(path, "a run directory, found no summary.json in it");
  auto input = open_text(file);
  if (!input) return input.error();
  auto text = read_all(*input, summary_bytes_max);
  if (!text) return text.error();
  return parse_summary(*text, path);
}

Result<RunRequests> read_run_requests(const RunDirectory& run) {
  const std::string path = run.path + "/requests.csv";
  auto file = open_rows(path, {"request", "input_tokens", "prefill_instance", "decode_instance"});
  if (!file) return file.error();
  RunRequests requests;
  std::string first_pair;
  while (true) {
    auto more = file->next_row();
    if (!more) return more.error();
    if (!*more) break;
    const auto request = parse_whole(file->field(0));
    if (!request) return expected_at(path, file->line(), "a request's number", file->field(0));
    const auto tokens = parse_tokens(file->field(1));
    if (!tokens) return expected_at(path, file->line(), "a number of tokens", file->field(1));
    requests.rows.push_back({*request, *tokens});
    // Both are empty for what was not replayed.
    if (file->field(2).empty()) continue;
    const std::string pair = std::string(file->field(2)) + " " + std::string(file->field(3));
    if (first_pair.empty()) first_pair = pair;
    requests.one_pair = requests.one_pair && pair == first_pair;
  }
  const auto key = [](const RunRequests::Row& row) { return row.request; };
  if (auto ok = order(requests.rows, path, key); !ok) return ok.error();
  if (auto ok = check_rows(path, requests.rows.size(), run.maybe_number("rows.requests")); !ok)
    return ok.error();
  return requests;
}

Result<std::vector<RunTransfer>> read_run_transfers(const RunDirectory& run) {
  const std::string path = run.path + "/transfers.csv";
  auto file = open_rows(path, {"request", "prefill_chunk", "bytes", "failed_transfers",
                               "submitted_s", "duration_ms"});
  if (!file) return file.error();
  std::vector<RunTransfer> rows;
  while (true) {
    auto more = file->next_row();
    if (!more) return more.error();
    if (!*more) break;
    std::array<std::uint64_t, 4> whole{};
    for (std::size_t i = 0; i < whole.size(); ++i) {
      const auto value = parse_whole(file->field(i));
      if (!value || (i == 1 && *value > 0xffffffffu))
        return expected_at(path, file->line(), "a whole number", file->field(i));
      whole[i] = *value;
    }
    const auto submitted_ns = parse_seconds(file->field(4));
    if (!submitted_ns) return expected_at(path, file->line(), "seconds", file->field(4));
    const auto duration = parse_time(file->field(5), ms_ns);
    if (!duration) return expected_at(path, file->line(), "milliseconds", file->field(5));
    rows.push_back({whole[0], static_cast<std::uint32_t>(whole[1]), whole[3] != 0, whole[2],
                    *submitted_ns, add_time(*submitted_ns, *duration)});
  }
  if (auto ok = check_rows(path, rows.size(), run.maybe_number("rows.transfers")); !ok)
    return ok.error();
  std::sort(rows.begin(), rows.end(), [](const RunTransfer& a, const RunTransfer& b) {
    return std::tie(a.request, a.prefill_chunk) < std::tie(b.request, b.prefill_chunk);
  });
  // Routes of one prefill chunk become one.
  std::size_t kept = 0;
  for (const RunTransfer& row : rows) {
    if (kept > 0 && rows[kept - 1].request == row.request &&
        rows[kept - 1].prefill_chunk == row.prefill_chunk) {
      RunTransfer& whole = rows[kept - 1];
      whole.failed = whole.failed || row.failed;
      whole.bytes += row.bytes;
      whole.submitted_ns = std::min(whole.submitted_ns, row.submitted_ns);
      whole.reported_ns = std::max(whole.reported_ns, row.reported_ns);
    } else {
      rows[kept++] = row;
    }
  }
  rows.resize(kept);
  return rows;
}

}  // namespace kvhaul::cli
