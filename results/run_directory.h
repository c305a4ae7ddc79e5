// A run directory read back: summary.json, checked against the list of figures, with the proof of
// its limits where there is one (limit_proof.h), and the rows of requests.csv, transfers.csv,
// links.csv and instances.csv (run_rows.h). docs/run-directory.md describes the files.
//
// Texts are as the file has them: who shows them on a terminal escapes them. Errors are bad_input
// and name the file, what was expected and what was found.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/result.h"
#include "core/units.h"
#include "results/limit_proof.h"

namespace kvhaul {

/// What a finished run says about itself in summary.json.
struct RunDirectory {
  struct Route {
    std::string kind;
    std::uint32_t tier = 0;
    double bytes = 0;
  };
  struct Link {
    std::string name, kind;
    double rate_gbytes_per_s = 0;
    double bytes = 0;
    double utilisation = 0;       // 0 to 1, like the others
    double peak_utilisation = 0;  // of the busiest bin
    double saturated_share = 0;
    double busy_share = 0;
  };
  struct Instance {
    std::string role, node;  // "prefill" or "decode"; its nodes, joined by a bar
    std::uint32_t instance = 0;
    double requests = 0;  // completed ones
    double utilisation = 0, kv_fill = 0, kv_fill_max = 0;
    std::optional<double> batch;  // none of prefill instances, or where there was no step
    double batch_max = 0, queue = 0, queue_max = 0, tokens_per_s = 0;
  };
  struct Limit {
    std::string limit;  // "decode_memory", "link"
    std::string label;  // "decode memory", or the link's name
    double share = 0;   // of the median time to first token
  };

  std::string path;
  std::map<std::string, double> numbers;     // by dotted key: "ttft_ms.p50"; nulls are left out
  std::map<std::string, std::string> texts;  // likewise: "run.scenario"
  std::vector<std::string> warnings, notes;  // of the run, and of its trace
  std::vector<std::string> faults;           // that were played, a sentence each
  std::vector<Route> routes;
  std::vector<Link> links;                // most used first
  std::vector<Instance> instances;        // prefill, then decode, by number
  std::vector<Limit> limits;              // largest first; none where no request was completed
  std::optional<LimitProof> limit_proof;  // where it has one, `limit_sentence` rests on it
  double landed_bytes = 0;                // over all routes, bytes sent again included
  TimeNs link_bin_ns = 0;                 // width of the bins of links.csv; 0 where it has none
  TimeNs instance_bin_ns = 0;             // of instances.csv, likewise
  /// All of it but the lists of links and instances, for the pages of reports.
  nlohmann::ordered_json summary;

  /// Of a figure that is never nothing, and of a label of the run: looked for when it was read.
  double number(const std::string& key) const { return numbers.at(key); }
  const std::string& text(const std::string& key) const { return texts.at(key); }
  /// Of any figure: nothing where there was nothing to measure.
  std::optional<double> maybe_number(const std::string& key) const;
};

/// Reads a run that came to its end, with the proof of its limits where there is one.
Result<RunDirectory> read_run_directory(const std::string& path);
/// Without the proof: what it said when it ended.
Result<RunDirectory> read_run_as_made(const std::string& path);

/// The same of a run whose files are whole, though its folder may not say so yet.
Result<RunDirectory> read_run_summary(const std::string& path);

/// The same from the text of the summary of the run at `path`.
Result<RunDirectory> parse_summary(const std::string& text, const std::string& path);

}  // namespace kvhaul
