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
    const auto next = ranges_.emplace(offset, Range{length, at}).first;
    if (next == ranges_.begin()) return;
    const auto before = std::prev(next);  // what goes on where the one before ends is one with it
    if (before->first + before->second.length != offset ||
        before->second.at + before->second.length != at)
      return;
    before->second.length += length;
    ranges_.erase(next);
  }
  /// The range is written here from now on.
  void remove(Bytes offset, Bytes length) {
    const Bytes end = offset + length;
    auto at = ranges_.upper_bound(offset);
    if (at != ranges_.begin()) --at;
    while (at != ranges_.end() && at->first < end) {
      const auto [begin, range] = *at;
      const Bytes range_end = begin + range.length;
      if (range_end <= offset) {
        ++at;
        continue;
      }
      at = ranges_.erase(at);
      if (begin < offset) ranges_.emplace(begin, Range{offset - begin, range.at});
      if (range_end > end)
        at = ranges_.emplace(end, Range{range_end - end, range.at + (end - begin)}).first;
    }
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
  std::map<Bytes, Range> ranges_;
};

}  // namespace kvhaul::cuda
