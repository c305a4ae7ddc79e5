// Readers around readers: shorter, faster, smoother, or several as one. They take the reader they
// wrap, and compose; what they drop or change is in counts().
#pragma once

#include <cstdint>
#include <vector>

#include "core/result.h"
#include "core/units.h"
#include "traces/trace.h"

namespace kvhaul {

/// The first `requests` requests; the rest of the file is not read.
TraceReaderPtr limit_requests(TraceReaderPtr reader, std::uint64_t requests);

/// Arrival times divided by `factor`: 2 makes twice the load. Above 0 and finite.
Result<TraceReaderPtr> speed_up(TraceReaderPtr reader, double factor);

/// The requests that arrive from `from_ns` up to and without `to_ns`; from_ns becomes time 0.
Result<TraceReaderPtr> cut_time(TraceReaderPtr reader, TimeNs from_ns, TimeNs to_ns);

/// Spreads the requests of one time evenly over the gap up to the next time; those at the very end
/// over a gap as long as the last one. For Mooncake, whose requests come in batches every 3 s.
/// Holds one batch; one above 65,536 requests is an error, so a trace without arrival times passes
/// as is.
TraceReaderPtr spread_batches(TraceReaderPtr reader);

/// Shortens input and output so that both together fit the model's context, the input first but to
/// no less than leaves one output token where there was one. At least 2 tokens.
Result<TraceReaderPtr> clip_context(TraceReaderPtr reader, std::uint32_t context_tokens);

/// Several traces as one, by arrival time. All need arrival times, and those with prefixes the same
/// block size. Prefix ids and sessions are changed so that two traces never share any, unless with
/// `same_ids`, for parts of one trace.
Result<TraceReaderPtr> merge_traces(std::vector<TraceReaderPtr> readers, bool same_ids = false);

}  // namespace kvhaul
