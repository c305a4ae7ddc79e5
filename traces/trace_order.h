// Traces whose rows are not in order, or come from several files.
#pragma once

#include <string>
#include <vector>

#include "core/result.h"
#include "traces/trace.h"

namespace kvhaul {

/// What sorting may hold: all requests of Azure's week of 27 million and half as many again.
inline constexpr std::uint64_t sort_bytes_max = std::uint64_t{4} << 30;

/// The requests of a file in order of arrival, those of one time in the order of the file. Holds
/// them all in memory: about 70 bytes each, and 8 for each prefix id. More than `bytes_max` is an
/// error.
Result<TraceReaderPtr> open_sorted(const std::string& path, TraceReading reading,
                                   std::uint64_t bytes_max = sort_bytes_max);

/// Several files as one, by arrival time; each must be in order. Files of one clock (dates; parts
/// of one trace) keep their distance, and the earliest request becomes time 0, unless all files are
/// our own, which have a time 0. `same_ids`: equal prefix ids and sessions of two files mean the
/// same; otherwise no two files share any.
struct MergeRules {
  bool each_from_start = false;  // every file's first request is time 0, whatever its clock says
  bool same_ids = false;
  bool parts = false;  // a file may hold several, one behind the other; it is held in memory
};
Result<TraceReaderPtr> open_merged(const std::vector<std::string>& paths, TraceReading reading,
                                   const MergeRules& rules);

}  // namespace kvhaul
