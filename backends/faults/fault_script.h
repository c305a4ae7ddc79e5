// A fault script: what goes wrong, where, and when. The same script plays on any backend; files of
// it are read by scenarios/fault_file.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/units.h"

namespace kvhaul::faults {

enum class FaultKind : std::uint8_t {
  fail,               // chunks end with path_failed, `delay_ns` after they were posted
  lose,               // the bytes move, the completion never comes
  delay,              // the completion comes `delay_ns` later
  corrupt,            // one byte at the target is changed; without bytes the outcome says so
  degrade,            // the link has `factor` of its rate, where the backend can change it; else
                      // chunks take 1 / `factor` of their wire time, one after the other
  down,               // the link is dead; the backend reports it, unless `silent`
  fail_registration,  // memory of the place cannot be registered
};

struct Fault {
  FaultKind kind = FaultKind::fail;
  /// A link, a node or a device ("node0/nic3/tx", "node0/nic3", "node0"): every channel that
  /// crosses a link of that name or below it. For fail_registration: a place. Empty: everything.
  std::string where;
  TimeNs from_ns = 0;
  TimeNs until_ns = never_ns;
  double probability = 1;  // per chunk, for the first four kinds
  TimeNs delay_ns = 250 * us_ns;
  double factor = 1;
  bool silent = false;
};

struct FaultScript {
  std::uint64_t seed = 1;
  std::vector<Fault> faults;
};

/// Whether `name` is `where` or lies below it.
bool lies_in(std::string_view name, std::string_view where);

}  // namespace kvhaul::faults
