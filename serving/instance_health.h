// Which instances can be given requests, as far as the front knows it: from KV that arrived and KV
// that was lost, and from those who move it, who say when there is no usable channel.
//
// When KV is lost between a prefill and a decode instance, their pair gets no more requests for
// `probe_after`, and both are doubted for as long, since either may be gone: others are preferred.
// KV that arrives clears what it passed through. After that time one request may try, and until its
// fate is known, or the time has passed again, no other.
//
// Values only: no clock, no I/O. One owner calls it.
#pragma once

#include <cstdint>
#include <vector>

#include "core/units.h"

namespace kvhaul {

class InstanceHealth {
 public:
  InstanceHealth(std::size_t prefill, std::size_t decode, TimeNs probe_after_ns)
      : probe_after_ns_(probe_after_ns),
        prefill_(prefill),
        decode_(decode),
        pairs_(prefill * decode) {}

  /// How little is to be hoped from giving a request to these two: 0, they work as far as is known;
  /// `gone` or more, it would be lost.
  std::uint32_t doubts(TimeNs now, std::size_t prefill, std::size_t decode) const;
  static constexpr std::uint32_t gone = 4;
  /// There is nothing to doubt anywhere.
  bool sound() const { return troubled_ == 0; }

  /// They are given a request.
  void begun(TimeNs now, std::size_t prefill, std::size_t decode);
  /// All KV of a request has arrived.
  void worked(std::size_t prefill, std::size_t decode);
  /// That of a request which they were given at `begun_ns` was lost.
  void failed(TimeNs now, TimeNs begun_ns, std::size_t prefill, std::size_t decode);
  /// No channel between them is usable; to be said again before twice `probe_after` has passed.
  /// `blame_prefill`: nor between this prefill instance and any other.
  enum class Blame : std::uint8_t { prefill, decode };
  void unreachable(TimeNs now, std::size_t prefill, std::size_t decode, Blame blame);
  /// The channels are usable again.
  void reachable(std::size_t prefill, std::size_t decode) { worked(prefill, decode); }

  /// When a pair that gets no requests may have one again; never_ns when all get them.
  TimeNs next_ns(TimeNs now) const;

 private:
  /// Of an instance or a pair.
  struct Entry {
    TimeNs failed_ns = -1;  // when that was last heard
    TimeNs until_ns = -1;   // it is doubted till then; -1: there is nothing to doubt
    bool doubted(TimeNs now) const { return now < until_ns; }
  };

  template <class Change>
  void change(Entry& entry, Change change_until) {
    troubled_ -= entry.until_ns >= 0 ? 1 : 0;
    change_until(entry);
    troubled_ += entry.until_ns >= 0 ? 1 : 0;
  }
  Entry& pair(std::size_t prefill, std::size_t decode) {
    return pairs_[prefill * decode_.size() + decode];
  }

  TimeNs probe_after_ns_;
  std::vector<Entry> prefill_, decode_, pairs_;  // pairs: [prefill][decode]
  std::size_t troubled_ = 0;                     // entries with something to doubt
};

}  // namespace kvhaul
