// What this computer can do without us: a plain memcpy loop, the yardstick of the emulated backend.
#pragma once

#include "core/units.h"

namespace kvhaul::emulated {

/// Bytes per second that `threads` threads copy in pieces of `chunk_bytes`, each between two
/// buffers of its own of `buffer_bytes`, for about `time_ns`. Blocks for that long. 0 without the
/// memory.
double memcpy_bytes_per_s(Bytes chunk_bytes, Bytes buffer_bytes, unsigned threads, TimeNs time_ns);

}  // namespace kvhaul::emulated
