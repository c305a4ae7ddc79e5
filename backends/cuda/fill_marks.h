// Which fill of a segment was the last to touch each part of it: what is still being written must
// be neither copied nor summed. Fills are numbered upwards from 1 by whoever makes them.
//
// A part is 4 KiB: a piece that shares one with a fill counts as touched by it. Asking costs a load
// for each part, whatever has been filled; four bytes of host memory for each part that was.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>

#include "core/units.h"

namespace kvhaul::cuda {

class FillMarks {
 public:
  FillMarks() = default;
  explicit FillMarks(Bytes segment_bytes) : segment_bytes_(segment_bytes) {}

  /// Numbers never get smaller. False: there is no memory for marks, or the number has more than 32
  /// bits; then nobody may be told that this range has been filled before it is.
  bool mark(Bytes offset, Bytes length, std::uint64_t number) {
    if (number > std::numeric_limits<std::uint32_t>::max()) return false;
    if (!marks_) {
      // Zeroed by the system, page by page, when they are first touched.
      const std::size_t parts = segment_bytes_ / part_bytes + 1;
      marks_.reset(static_cast<std::uint32_t*>(std::calloc(parts, sizeof(std::uint32_t))));
      if (!marks_) return false;
    }
    std::fill(first(offset), end(offset, length), static_cast<std::uint32_t>(number));
    last_ = number;
    return true;
  }

  /// The last one that touched anything; 0: none has.
  std::uint64_t last() const { return last_; }
  /// The last one that touched the range; 0: none has.
  std::uint64_t last(Bytes offset, Bytes length) const {
    return marks_ ? *std::max_element(first(offset), end(offset, length)) : 0;
  }

 private:
  static constexpr Bytes part_bytes = 4 * KiB;
  struct Free {
    void operator()(std::uint32_t* marks) const { std::free(marks); }
  };
  std::uint32_t* first(Bytes offset) const { return marks_.get() + offset / part_bytes; }
  std::uint32_t* end(Bytes offset, Bytes length) const {
    return marks_.get() + (offset + length + part_bytes - 1) / part_bytes;
  }

  Bytes segment_bytes_ = 0;
  std::unique_ptr<std::uint32_t[], Free> marks_;
  std::uint64_t last_ = 0;
};

}  // namespace kvhaul::cuda
