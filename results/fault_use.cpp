#include "results/fault_use.h"

#include "core/unit_text.h"

namespace kvhaul {

std::uint64_t times_begun(const FaultUse& fault, TimeNs duration_ns) {
  if (fault.from_ns > duration_ns) return 0;
  if (fault.every_ns == never_ns) return 1;
  return 1 + static_cast<std::uint64_t>((duration_ns - fault.from_ns) / fault.every_ns);
}

std::optional<TimeNs> ended_ns(const FaultUse& fault, TimeNs duration_ns) {
  const std::uint64_t times = times_begun(fault, duration_ns);
  if (times == 0 || fault.until_ns == never_ns) return std::nullopt;
  const TimeNs again =
      fault.every_ns == never_ns ? 0 : static_cast<TimeNs>(times - 1) * fault.every_ns;
  const TimeNs last = add_time(fault.until_ns, again);
  return last <= duration_ns ? std::optional(last) : std::nullopt;
}

std::string fault_when(const FaultUse& fault) {
  std::string out = fault.fault;
  if (fault.until_ns != never_ns)
    out += ", from " + duration_text(fault.from_ns) + " to " + duration_text(fault.until_ns);
  else if (fault.from_ns > 0)
    out += ", from " + duration_text(fault.from_ns) + " on";
  else
    out += ", all the time";
  if (fault.every_ns != never_ns) out += " and every " + duration_text(fault.every_ns);
  return out;
}

std::string fault_sentence(const FaultUse& fault, TimeNs duration_ns) {
  std::string out = fault_when(fault) + ": ";
  const std::uint64_t times = times_begun(fault, duration_ns);
  if (times == 0) return out + "never began, the run ended at " + duration_text(duration_ns);
  if (fault.every_ns != never_ns) out += "began " + counted(times, "time") + ", ";
  if (fault.chunks > 0) return out + "hit " + counted(fault.chunks, "chunk");
  return out + (fault.met_traffic ? "hit no chunk" : "no chunk was posted while it held");
}

}  // namespace kvhaul
