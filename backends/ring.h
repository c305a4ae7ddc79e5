// Places in a ring of bytes, taken in order and given back in the same order.
#pragma once

#include <deque>
#include <optional>

#include "core/units.h"

namespace kvhaul {

/// A place never wraps around the end: what does not fit before it begins at the start again, and
/// the bytes between are lost until the place behind them is given back.
class Ring {
 public:
  /// Places begin at multiples of `unit`.
  explicit Ring(Bytes bytes, Bytes unit = 256) : bytes_(bytes), unit_(unit) {}

  /// Where the next place of that size would begin; nothing when there is no room.
  std::optional<Bytes> room(Bytes bytes) const {
    const Bytes size = rounded(bytes);
    if (ends_.empty()) return size <= bytes_ ? std::optional<Bytes>(0) : std::nullopt;
    const Bytes next = ends_.back();
    if (next > oldest_) {
      if (next + size <= bytes_) return next;
      return size <= oldest_ ? std::optional<Bytes>(0) : std::nullopt;
    }
    return next + size <= oldest_ ? std::optional(next) : std::nullopt;
  }
  /// Takes the place that room() names.
  Bytes take(Bytes bytes) {
    const Bytes at = *room(bytes);
    if (ends_.empty()) oldest_ = at;
    ends_.push_back(at + rounded(bytes));
    return at;
  }
  /// Gives the oldest place back.
  void release() {
    oldest_ = ends_.front();
    ends_.pop_front();
  }

 private:
  Bytes rounded(Bytes bytes) const { return (bytes + unit_ - 1) / unit_ * unit_; }

  Bytes bytes_, unit_;
  Bytes oldest_ = 0;        // where the oldest place begins, or what was lost before it
  std::deque<Bytes> ends_;  // of the places, oldest first
};

}  // namespace kvhaul
