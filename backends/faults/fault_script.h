// A fault script: what goes wrong, where, and when. The same script plays on any backend; files of
// it are read by scenarios/fault_file.h.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/cluster.h"
#include "core/route.h"
#include "core/units.h"

namespace kvhaul::faults {

enum class FaultKind : std::uint8_t {
  fail,               // chunks end with path_failed, `delay_ns` after they were posted
  lose,               // the bytes move, the completion never comes
  delay,              // the completion comes `delay_ns` later
  corrupt,            // one byte at the target is changed; without bytes the outcome says so
  degrade,            // the link has `factor` of its rate, where the backend can change it; else
                      // chunks take 1 / `factor` of their wire time, one after the other
  down,               // the link is dead; the backend reports it after `noticed_ns`, unless
                      // `silent`
  fail_registration,  // memory of the place cannot be registered
};

/// The time is that of the routes which the fault is on.
inline constexpr TimeNs of_route = -1;

/// What an outage of a kind of route takes besides its own time.
struct OutageTimes {
  TimeNs noticed_ns = 0;    // until whoever posts to it is told
  TimeNs reconnect_ns = 0;  // from when its links are back to when it is used again
};
using OutageTable = std::array<OutageTimes, route_kind_count>;  // by RouteKind

struct Fault {
  FaultKind kind = FaultKind::fail;
  /// A link, a node or a device ("node0/nic3/tx", "node0/nic3", "node0"): every channel that
  /// crosses a link of that name or below it. For fail_registration: a place. Empty: everything.
  std::string where;
  TimeNs from_ns = 0;
  TimeNs until_ns = never_ns;
  /// The same again so much after each beginning; never_ns: it comes once. Above until - from, and
  /// for `down` above what it takes to connect again as well.
  TimeNs every_ns = never_ns;
  double probability = 1;  // per chunk, for the first four kinds
  TimeNs delay_ns = 250 * us_ns;
  double factor = 1;
  bool silent = false;
  /// down: until then what is on the link, or is posted to it, hangs. A link that is back by then
  /// was never noticed to be gone: what it had is late by as much.
  TimeNs noticed_ns = of_route;
  /// down: the channels are up again so much after the link.
  TimeNs reconnect_ns = of_route;
  std::uint32_t line = 0;  // of the fault file

  /// Whether it holds at that time.
  bool active(TimeNs time) const {
    if (time < from_ns) return false;
    if (every_ns == never_ns) return time < until_ns;
    return (time - from_ns) % every_ns < until_ns - from_ns;
  }
  /// down: it lasts long enough for the backend to notice.
  bool is_noticed() const { return !silent && noticed_ns < until_ns - from_ns; }
  /// Whether it can do something to the chunks of a channel of that route.
  bool touches(const Cluster& cluster, const Route& route) const;
};

struct FaultScript {
  std::uint64_t seed = 1;
  std::vector<Fault> faults;
};

/// Whether `name` is `where` or lies below it.
bool lies_in(std::string_view name, std::string_view where);

}  // namespace kvhaul::faults
