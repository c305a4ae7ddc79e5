// Times of chunks on channels, taken through the backend contract: what is measured is what a
// scheduler would see.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "calibration/fits.h"
#include "core/backend.h"

namespace kvhaul::calibration {

/// A channel to measure, with memory for it at both ends.
struct Lane {
  ChannelId channel = 0;
  std::string name;  // for errors
  ChannelNumbers numbers;
  SegmentId source = 0, target = 0;
  Bytes segment_bytes = 0;  // of each
  TimeNs window_ns = 0;     // of work on the channel at a time, as the scheduler has it
};

struct Shape {
  Bytes piece_bytes = 0;
  std::uint32_t pieces = 1;
  Gather gather = Gather::each;

  Bytes bytes() const { return piece_bytes * pieces; }
};

/// Errors (failed): a chunk did not land, or nothing came for ten seconds.
class Probe {
 public:
  explicit Probe(Backend& backend);

  /// Its clock runs by itself; else waiting moves it, and posting takes no time of it.
  bool real_time() const { return real_time_; }
  /// Whether the channel takes such a chunk, and so many of them fit into the lane's memory that
  /// they can follow each other.
  static bool fits(const Lane& lane, const Shape& shape);

  Result<Times> measure(const Lane& lane, const Shape& shape, bool alone);
  /// Of a chunk alone, from its post to its landing, after each of these times without traffic;
  /// once each.
  Result<std::vector<double>> after_idle(const Lane& lane, const Shape& shape,
                                         std::span<const TimeNs> idle_ns);
  /// Bytes per second of each lane while all of them are busy.
  Result<std::vector<double>> together(std::span<const Lane> lanes, const Shape& shape);

 private:
  struct Run;
  Result<void> stream(std::span<Run> runs);
  void post(Run& run);
  Result<void> take(Run& run, const Completion& completion);
  void abandon(std::span<Run> runs);
  std::vector<Completion> next_completions();

  Backend& backend_;
  bool real_time_ = false;
  ChunkId next_chunk_ = 1;
};

}  // namespace kvhaul::calibration
