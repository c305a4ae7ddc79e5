// What instances did, for the report of a run: a row for each, and the course of both sides.
#pragma once

#include <vector>

#include <nlohmann/json.hpp>

#include "core/result.h"
#include "core/units.h"
#include "results/run_directory.h"

namespace kvhaul::report {

/// Of a completed request, in nanoseconds.
struct RequestTimes {
  TimeNs arrival = 0, queue = 0, prefill = 0, handover = 0;
  TimeNs exposed = 0;  // of the hand-over
  std::uint32_t prefill_instance = 0, decode_instance = 0;

  TimeNs ttft() const { return queue + prefill + handover; }
};

/// The data of page/instances.js; reads instances.csv. Errors are bad_input and name the file.
///
/// Instances of a side that are alike are one row with the range of each value: where utilisation
/// and KV fill of all lie within five points, and the medians of TTFT and hand-over of their
/// requests within a tenth of TTFT. Else the most used ones have a row each, and the others one.
Result<nlohmann::ordered_json> instances_json(const RunDirectory& run,
                                              const std::vector<RequestTimes>& requests);

}  // namespace kvhaul::report
