#include "serving/instance_health.h"

#include <algorithm>

namespace kvhaul {

std::uint32_t InstanceHealth::doubts(TimeNs now, std::size_t prefill, std::size_t decode) const {
  if (sound()) return 0;
  const Entry& way = pairs_[prefill * decode_.size() + decode];
  return (way.doubted(now) ? gone : 0) + (prefill_[prefill].doubted(now) ? 1 : 0) +
         (decode_[decode].doubted(now) ? 1 : 0);
}

void InstanceHealth::begun(TimeNs now, std::size_t prefill, std::size_t decode) {
  if (sound()) return;
  for (Entry* entry : {&prefill_[prefill], &decode_[decode], &pair(prefill, decode)})
    if (entry->until_ns >= 0 && !entry->doubted(now))
      entry->until_ns = add_time(now, probe_after_ns_);
}

void InstanceHealth::worked(std::size_t prefill, std::size_t decode) {
  if (sound()) return;
  for (Entry* entry : {&prefill_[prefill], &decode_[decode], &pair(prefill, decode)})
    change(*entry, [](Entry& e) { e.until_ns = -1; });
}

/// What was given to them before something failed there says nothing new.
void InstanceHealth::failed(TimeNs now, TimeNs begun_ns, std::size_t prefill, std::size_t decode) {
  for (Entry* entry : {&prefill_[prefill], &decode_[decode], &pair(prefill, decode)}) {
    if (begun_ns < entry->failed_ns) continue;
    change(*entry, [&](Entry& e) {
      e.failed_ns = now;
      e.until_ns = add_time(now, probe_after_ns_);
    });
  }
}

void InstanceHealth::unreachable(TimeNs now, std::size_t prefill, std::size_t decode, Blame blame) {
  Entry& instance = blame == Blame::prefill ? prefill_[prefill] : decode_[decode];
  for (Entry* entry : {&instance, &pair(prefill, decode)})
    change(*entry, [&](Entry& e) {
      e.failed_ns = now;
      e.until_ns = add_time(now, 2 * probe_after_ns_);
    });
}

TimeNs InstanceHealth::next_ns(TimeNs now) const {
  TimeNs next = never_ns;
  for (const Entry& entry : pairs_)
    if (entry.doubted(now)) next = std::min(next, entry.until_ns);
  return next;
}

}  // namespace kvhaul
