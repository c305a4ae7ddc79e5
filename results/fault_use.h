// A fault that was played in a run, and what it did.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/units.h"

namespace kvhaul {

struct FaultUse {
  std::uint32_t line = 0;  // of the fault file
  std::string fault;       // where and what, in words: "node0/nic3: down"
  // As in the file; never_ns: it holds to the end, or comes once.
  TimeNs from_ns = 0, until_ns = never_ns, every_ns = never_ns;
  std::uint64_t chunks = 0;  // that it did something to
  bool met_traffic = false;  // any chunk was where and while it held
};

/// How often it began in a run that lasted so long.
std::uint64_t times_begun(const FaultUse& fault, TimeNs duration_ns);
/// When it ended for the last time; nothing where it did not begin, or held to the end of the run.
std::optional<TimeNs> ended_ns(const FaultUse& fault, TimeNs duration_ns);

/// "node0/nic3: down, from 4 s to 8 s: hit 12 chunks", or that it never began.
std::string fault_sentence(const FaultUse& fault, TimeNs duration_ns);
/// The first part of it: "node0/nic3: down, from 4 s to 8 s".
std::string fault_when(const FaultUse& fault);

}  // namespace kvhaul
