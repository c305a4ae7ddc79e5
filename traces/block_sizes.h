// Internal to traces/: how many tokens a prefix id stands for, seen from the outside.
#pragma once

#include <algorithm>
#include <cstdint>

namespace kvhaul {

/// The block sizes at which every row so far has the right number of ids. Most files have an id for
/// a partial last block, some for whole blocks only; a file does one or the other.
class BlockSizes {
 public:
  void add(std::uint64_t input_tokens, std::uint64_t ids) {
    if (ids == 0 || input_tokens == 0) return;
    any_ = true;
    // (ids - 1) * size <= input <= ids * size
    partial_.narrow((input_tokens + ids - 1) / ids, ids == 1 ? most : input_tokens / (ids - 1));
    // ids * size <= input < (ids + 1) * size
    whole_.narrow(input_tokens / (ids + 1) + 1, input_tokens / ids);
  }

  /// False before any row had ids.
  bool any() const { return any_; }
  bool none_fits() const { return partial_.empty() && whole_.empty(); }
  bool fits(std::uint64_t size) const { return partial_.has(size) || whole_.has(size); }
  /// The one that fits: the only one, or the only power of two. 0: not known.
  std::uint64_t only() const {
    const Range& range = partial_.empty() ? whole_ : partial_;
    if (range.empty() || range.from == range.to) return range.empty() ? 0 : range.from;
    std::uint64_t found = 0;
    for (std::uint64_t size = 1; size <= std::min(range.to, most); size *= 2) {
      if (!range.has(size)) continue;
      if (found != 0) return 0;
      found = size;
    }
    return found;
  }

  static constexpr std::uint64_t most = std::uint64_t{1} << 20;

 private:
  struct Range {
    std::uint64_t from = 1, to = most;
    void narrow(std::uint64_t at_least, std::uint64_t at_most) {
      from = std::max(from, at_least);
      to = std::min(to, at_most);
    }
    bool empty() const { return from > to; }
    bool has(std::uint64_t size) const { return from <= size && size <= to; }
  };
  Range partial_, whole_;
  bool any_ = false;
};

}  // namespace kvhaul
