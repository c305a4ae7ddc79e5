// Whether the bytes of a transfer have arrived as they were: checksums of its pieces at both ends.
//
// Where one process has both ends it compares them itself. Otherwise the end that moved them sends
// where they have landed and the checksum of what was to land there; the other end compares, and
// says what it found.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "serving/kv_move.h"

namespace kvhaul {

class PayloadChecks {
 public:
  struct Check {
    std::uint32_t slot = 0, unit = 0, lane = 0;
    std::uint8_t tier = 0;
  };
  struct Answer {
    Check check;
    bool right = true;
  };

  explicit PayloadChecks(ReplayParts& parts) : parts_(parts) {}

  /// Asks for the checksums of a transfer of that move.
  void begin(const Check& check, const KvMove& move);
  /// Something waits for the backend.
  bool running() const { return !running_.empty() || !answering_.empty(); }
  /// The next one that has been answered; false when there is none.
  bool take(Answer& answer);
  /// Nothing will come of those of that slot any more; returns how many they were.
  std::uint32_t forget(std::uint32_t slot);

  void compare(const ControlMessage& message);
  void compared(const ControlMessage& message);
  /// Sends what the backend has found out about pieces that others moved.
  void answer_others();

 private:
  struct Running {
    Check check;
    std::uint64_t attempt = 0;
    std::uint64_t number = 0;  // Backend::checksums_done() tells when it has been answered
    std::vector<std::uint64_t> near_sums, far_sums;
    std::vector<SegmentRange> far_ranges;  // where another process has that end
    NodeId near_node = 0, far_node = 0;
    std::uint32_t far_instance = 0, far_rank = 0;
    bool forgotten = false;  // the backend may still write into its sums
  };
  struct Answering {
    ControlMessage answer;
    std::uint64_t number = 0;
    std::uint64_t expected = 0;
    std::vector<std::uint64_t> sums;
  };

  std::uint64_t begin_sums(SegmentId segment, std::span<const SegmentRange> ranges,
                           std::vector<std::uint64_t>& sums);
  void ask(Running running);

  ReplayParts& parts_;
  std::deque<Running> running_;
  std::map<std::uint64_t, Check> asked_;  // of another process, by the number of the question
  std::uint64_t next_question_ = 0;
  std::deque<Answer> answered_;
  std::deque<Answering> answering_;
  std::vector<Descriptor> descriptors_;  // scratch
  std::vector<SegmentRange> ranges_;     // scratch
};

}  // namespace kvhaul
