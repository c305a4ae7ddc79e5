// A run directory read back: its summary, checked, and what its rows say about requests and
// transfers. docs/run-directory.md describes the files.
//
// Errors are bad_input and name the file, what was expected and what was found.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/units.h"

namespace kvhaul::cli {

/// What a finished run says about itself in summary.json.
struct RunDirectory {
  struct Link {
    std::string name;
    double rate_gbytes_per_s = 0;
    double bytes = 0;
    double utilisation = 0;      // 0 to 1
    double saturated_share = 0;  // 0 to 1
  };

  std::string path;
  std::map<std::string, double> numbers;     // by dotted key: "ttft_ms.p50"; nulls are left out
  std::map<std::string, std::string> texts;  // likewise: "run.scenario"
  std::vector<Link> links;                   // most used first
  double landed_bytes = 0;                   // over all routes, bytes sent again included

  /// Keys that every summary of this schema has were looked for when it was read. Figures of
  /// requests and transfers may be null, in a run that had none: maybe_number().
  double number(const std::string& key) const { return numbers.at(key); }
  const std::string& text(const std::string& key) const { return texts.at(key); }
  std::optional<double> maybe_number(const std::string& key) const;
};

/// Reads summary.json of a run that came to its end.
Result<RunDirectory> read_run_directory(const std::string& path);

/// The same from the text of the summary of the run at `path`.
Result<RunDirectory> parse_summary(const std::string& text, const std::string& path);

/// What requests.csv says about who was served where, ordered by request.
struct RunRequests {
  struct Row {
    std::uint64_t request = 0;
    std::uint32_t input_tokens = 0;
    bool operator==(const Row&) const = default;
  };
  std::vector<Row> rows;
  bool one_pair = true;  // one prefill and one decode instance served all of them
};
Result<RunRequests> read_run_requests(const RunDirectory& run);

/// KV of one prefill chunk: the rows that transfers.csv has for it, one per route, taken together.
struct RunTransfer {
  std::uint64_t request = 0;
  std::uint32_t prefill_chunk = 0;
  bool failed = false;  // some of it did not arrive
  Bytes bytes = 0;
  TimeNs submitted_ns = 0;  // the first of them
  TimeNs reported_ns = 0;   // the last of them
  TimeNs duration_ns() const { return reported_ns - submitted_ns; }
};
/// Ordered by request and prefill chunk. Takes 40 bytes of memory per row of about 100.
Result<std::vector<RunTransfer>> read_run_transfers(const RunDirectory& run);

}  // namespace kvhaul::cli
