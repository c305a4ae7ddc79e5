// A backend that plays a fault script on another one.
//
// The inner backend stays sound: exactly one completion still follows every post. A completion that
// the script loses is made up for when the scheduler cancels the chunk. Control messages are not
// touched.
#pragma once

#include <memory>

#include "backends/faults/fault_script.h"
#include "core/backend.h"

namespace kvhaul::faults {

struct FaultCounters {
  std::uint64_t failed = 0, lost = 0, delayed = 0, corrupted = 0, degraded = 0, cut = 0;
};

class FaultyBackend : public Backend {
 public:
  /// What the script has done so far, in chunks.
  virtual const FaultCounters& fault_counters() const = 0;
  /// Whether a chunk was posted, or was under way, where and while a fault of the script held.
  virtual bool met_traffic(std::size_t fault) const = 0;
  /// How many chunks a fault of the script did something to: those that it failed, lost, delayed or
  /// damaged, and those that were under way or were posted where and while a link was slower or
  /// down.
  virtual std::uint64_t hit_chunks(std::size_t fault) const = 0;
  /// When the last chunk was posted.
  virtual TimeNs last_post_ns() const = 0;
};

std::unique_ptr<FaultyBackend> make_faulty_backend(std::unique_ptr<Backend> inner,
                                                   FaultScript script);

}  // namespace kvhaul::faults
