// Parts of a segment that live elsewhere, because they were handed over and not copied.
#pragma once

#include <cstddef>
#include <iterator>
#include <map>

#include "core/units.h"

namespace kvhaul::cuda {

class HandedOver {
 public:
  void add(Bytes offset, Bytes length, std::byte* at) {
    remove(offset, length);
    const auto added = ranges_.emplace(offset, Range{length, at}).first;
    join(added, std::next(added));
    if (added != ranges_.begin()) join(std::prev(added), added);
  }
  /// The range is written here from now on. False: it was here before, all of it.
  bool remove(Bytes offset, Bytes length) {
    const Bytes end = offset + length;
    bool removed = false;
    auto at = ranges_.upper_bound(offset);
    if (at != ranges_.begin()) --at;
    while (at != ranges_.end() && at->first < end) {
      const auto [begin, range] = *at;
      const Bytes range_end = begin + range.length;
      if (range_end <= offset) {
        ++at;
        continue;
      }
      removed = true;
      at = ranges_.erase(at);
      if (begin < offset) ranges_.emplace(begin, Range{offset - begin, range.at});
      if (range_end > end)
        at = ranges_.emplace(end, Range{range_end - end, range.at + (end - begin)}).first;
    }
    return removed;
  }
  /// Where the range lies, if all of it was handed over in one piece.
  std::byte* find(Bytes offset, Bytes length) const {
    auto at = ranges_.upper_bound(offset);
    if (at == ranges_.begin()) return nullptr;
    --at;
    const Bytes inside = offset - at->first;
    if (inside + length > at->second.length) return nullptr;
    return at->second.at + inside;
  }
  bool empty() const { return ranges_.empty(); }

 private:
  struct Range {
    Bytes length = 0;
    std::byte* at = nullptr;
  };
  using Ranges = std::map<Bytes, Range>;

  /// One with the next where that goes on at both ends.
  void join(Ranges::iterator range, Ranges::iterator next) {
    if (next == ranges_.end() || range->first + range->second.length != next->first ||
        range->second.at + range->second.length != next->second.at)
      return;
    range->second.length += next->second.length;
    ranges_.erase(next);
  }

  Ranges ranges_;
};

}  // namespace kvhaul::cuda
