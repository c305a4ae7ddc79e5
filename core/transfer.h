// What the serving side asks for, and what it is told in the end.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/ids.h"
#include "core/route.h"
#include "core/units.h"

namespace kvhaul {

/// One contiguous piece of a transfer. Offsets count from the start of the segments.
struct Descriptor {
  Bytes source_offset = 0;
  Bytes target_offset = 0;
  Bytes length = 0;

  friend bool operator==(const Descriptor&, const Descriptor&) = default;
};

/// Classes are strict: a waiting transfer of a higher class goes first, until the lower one has
/// aged enough to be promoted (SchedulerConfig::ageing_ns).
enum class Priority : std::uint8_t { high = 0, normal = 1, low = 2 };
inline constexpr std::size_t priority_count = 3;

struct TransferRequest {
  std::uint32_t pair = no_id;  // Scheduler::find_pair(source place, target place)
  SegmentId source_segment = 0;
  SegmentId target_segment = 0;
  Priority priority = Priority::normal;
  TimeNs deadline_ns = never_ns;  // when the target needs it; orders transfers of one class
  std::uint64_t tag = 0;          // handed back with the outcome; the scheduler never reads it
  /// Copied by submit(). None may be empty; targets may not overlap each other.
  std::span<const Descriptor> descriptors;
};

enum class TransferOutcome : std::uint8_t {
  delivered,  // every byte is in its place
  cancelled,  // on request; nothing of it will be written any more
  failed,     // a chunk used up its attempts, or the backend called the request invalid
  no_route,   // no channel was usable for SchedulerConfig::stall_timeout_ns
};
inline constexpr std::size_t transfer_outcome_count = 4;
std::string_view transfer_outcome_name(TransferOutcome outcome);

/// What a transfer waited for at a moment (critical_path.h).
enum class PathPart : std::uint8_t {
  post,    // the posting thread worked on its chunk, or on one before it
  wire,    // its chunk was on the links, or another one before it on the channel
  detect,  // the last chunk had landed, and the scheduler had not been told
  window,  // a window was full of chunks that had left the wire and were not back yet
  credit,  // the same with the target's credit, or more of it was to be granted
  order,   // room was kept for a more urgent transfer, or had gone to one that came later
  fault,   // an attempt was lost, or no channel was believed to work
};
inline constexpr std::size_t path_part_count = 7;
std::string_view path_part_name(PathPart part);  // "posting"

/// Time by part; each moment is in one.
struct PathParts {
  std::array<TimeNs, path_part_count> ns{};

  TimeNs& operator[](PathPart part) { return ns[static_cast<std::size_t>(part)]; }
  TimeNs operator[](PathPart part) const { return ns[static_cast<std::size_t>(part)]; }
  TimeNs sum() const;
  /// For the scheduler, whatever its reason.
  TimeNs wait_ns() const {
    return (*this)[PathPart::window] + (*this)[PathPart::credit] + (*this)[PathPart::order] +
           (*this)[PathPart::fault];
  }
  friend bool operator==(const PathParts&, const PathParts&) = default;
};

/// The end of a transfer. Once it is reported, no chunk of it touches memory any more.
/// Times are of the chunk that ended last: submitted, posted, started, done, reported.
struct TransferEnd {
  TransferId id = 0;
  std::uint64_t tag = 0;
  TransferOutcome outcome = TransferOutcome::delivered;
  std::uint8_t fallback_tier = 0;  // the worst tier of channel it used; 0 is the preferred road
  std::uint32_t pair = 0;
  std::uint32_t chunks = 0;  // posted, re-sent ones included
  std::uint32_t pieces = 0;  // descriptors after coalescing
  std::uint32_t resent_chunks = 0;
  Gather gather = Gather::each;     // of its chunks, on the channels that can
  std::uint64_t channels_used = 0;  // bit i: channel i of the pair (the 64th stands for all above)
  Bytes bytes = 0;
  Bytes resent_bytes = 0;
  TimeNs submitted_ns = 0;
  TimeNs posted_ns = 0;    // of the last chunk
  TimeNs started_ns = 0;   // when the backend began to move it
  TimeNs done_ns = 0;      // when it had landed
  TimeNs reported_ns = 0;  // when the scheduler was told

  // Set by the runtime, of delivered transfers.
  PathParts path{};               // from submitted_ns to reported_ns
  std::uint64_t last_flight = 0;  // for Runtime::critical_path()
};

}  // namespace kvhaul
