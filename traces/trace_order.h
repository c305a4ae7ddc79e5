// Traces whose rows are not in order, or come from several files.
#pragma once

#include <string>
#include <vector>

#include "core/result.h"
#include "traces/trace.h"

namespace kvhaul {

/// The requests of a file in order of arrival, those of one time in the order of the file. Holds
/// them all in memory: about 100 bytes each, and 8 for each prefix id.
Result<TraceReaderPtr> open_sorted(const std::string& path, TraceReading reading);

/// Several files as one, by arrival time; each must be in order. Files of one clock (dates; parts
/// of one trace) keep their distance, and the earliest request becomes time 0, unless all files are
/// our own, which have a time 0. `same_ids`: equal prefix ids and sessions of two files mean the
/// same; otherwise no two files share any.
struct MergeRules {
  bool each_from_start = false;  // every file's first request is time 0, whatever its clock says
  bool same_ids = false;
};
Result<TraceReaderPtr> open_merged(const std::vector<std::string>& paths, TraceReading reading,
                                   const MergeRules& rules);

}  // namespace kvhaul
