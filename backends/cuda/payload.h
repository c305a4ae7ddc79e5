// Patterns and checksums of ranges of one GPU's memory, computed there, on a stream of their own
// and in the order in which they are asked for.
#pragma once

#include <deque>
#include <span>
#include <vector>

#include "backends/cuda/device.h"
#include "backends/cuda/handles.h"
#include "backends/cuda/kernels.h"
#include "backends/cuda/pinned.h"
#include "backends/cuda/status.h"

namespace kvhaul::cuda {

class Payload {
 public:
  /// Blocks. Everything that will ever be needed is allocated now.
  static Result<Payload> open(const Device& device);

  /// Returns before it is done; done() tells when, by the number returned here. Waits only where
  /// very many calls are on their way.
  Result<std::uint64_t> fill(std::span<const PatternFill> fills);
  /// Writes `sums` in a later call of done(), when that returns the number returned here or more.
  Result<std::uint64_t> begin_checksums(std::span<const ChecksumRange> ranges,
                                        std::span<std::uint64_t> sums);
  /// How many calls have been answered. Never blocks.
  Result<std::uint64_t> done();
  /// Between device and host memory, either way; waits for it.
  Result<void> copy(void* to, const void* from, Bytes bytes);

 private:
  /// Work that has been given to the stream, and uses the list of its number.
  struct Call {
    std::span<std::uint64_t> sums;  // empty: a fill
  };
  explicit Payload(int device) : device_(device) {}

  /// Waits until there is a list that nobody reads.
  Result<void> make_room();
  template <class Item>
  Item* list(std::uint64_t call) const;
  std::uint64_t* sums(std::uint64_t call) const;
  template <class Launch>
  Result<void> launch(std::span<std::uint64_t> sums, Launch kernels);

  int device_;
  Stream stream_;
  std::vector<Event> events_;  // by call, in turn
  std::deque<Call> calls_;     // on their way
  std::uint64_t begun_ = 0;    // calls so far, those on their way included
  Pinned lists_, sums_, sum_copies_;
  DeviceMemory device_sums_;
};

}  // namespace kvhaul::cuda
