// The slowest requests of a run, for page/run.js.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "results/run_rows.h"

namespace kvhaul::report {

/// Those with the longest time to first token; of equal ones those before in the trace.
class SlowestRequests {
 public:
  static constexpr std::size_t most = 20;

  /// Of a completed request.
  void add(const RequestRecord& row);

  /// Slowest first, each with the parts of its time in milliseconds.
  nlohmann::ordered_json json() const;

 private:
  struct Row {
    RequestRecord record;  // without its link, which is gone with its line
    std::string last_link;
  };
  std::vector<Row> rows_;
};

}  // namespace kvhaul::report
