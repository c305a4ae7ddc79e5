// Counts calls of operator new in this program, to show what allocates and what does not.
#pragma once

#include <cstdint>

namespace kvhaul::bench {

/// Calls of any operator new since the program began.
std::uint64_t allocations();

}  // namespace kvhaul::bench
