// Messages between two nodes over datagrams that may be lost, doubled and swapped: each arrives
// once, whole and in order, as long as any road between the two works.
//
// A state machine without devices or clock, so that a test can lose what it likes. Messages are cut
// into frames; each frame has a number, and is sent again on the next road until the other side has
// said that it has all up to it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "core/ids.h"
#include "core/units.h"

namespace kvhaul::verbs {

/// In front of every frame.
struct FrameHeader {
  std::uint64_t number = 0;  // from 1; 0: nothing but the acknowledgement
  std::uint64_t has_all_to = 0;
  NodeId from = 0;
  NodeId to = 0;
  std::uint16_t kind = 0;
  std::uint16_t more = 0;  // the message goes on in the next frame
  std::uint32_t bytes = 0;
};

/// The header of a frame that is whole; false for anything else.
bool read_header(std::string_view frame, FrameHeader& header);

class MessageLink {
 public:
  struct Message {
    std::uint16_t kind = 0;
    std::string bytes;
  };

  /// `frame_bytes` with header. A link that is kept alive says something when it has heard nothing
  /// for a while, so that it notices when the other side is gone.
  MessageLink(NodeId self, NodeId other, std::uint32_t roads, std::uint32_t frame_bytes,
              bool keep_alive)
      : self_(self),
        other_(other),
        roads_(roads),
        frame_bytes_(frame_bytes),
        keep_alive_(keep_alive) {}

  void send(std::uint16_t kind, std::string_view bytes);

  /// Transmits what is due. transmit(road, frame) returns false when that road takes nothing now.
  template <class Transmit>
  void pump(TimeNs now, Transmit transmit);

  /// A frame of the other side came over that road.
  void receive(TimeNs now, std::uint32_t road, std::string_view frame);
  /// The next message that is whole and in order; false when there is none.
  bool take(Message& message);

  /// When pump() has something to do; never_ns when not.
  TimeNs next_ns() const;
  /// Since when it waits in vain for an answer; never_ns: it does not.
  TimeNs unanswered_since_ns() const { return unanswered_since_ns_; }

 private:
  struct Frame {
    std::string bytes;
    TimeNs due_ns = 0;
    std::uint32_t tries = 0;
  };

  void begin(TimeNs now);
  std::string answer() const;

  static constexpr std::size_t window_frames = 64;
  static constexpr TimeNs again_after_ns = 20 * ms_ns;  // doubles with every try, up to
  static constexpr TimeNs again_after_max_ns = 320 * ms_ns;
  static constexpr TimeNs road_is_full_ns = 1 * ms_ns;
  static constexpr TimeNs silence_ns = 500 * ms_ns;

  NodeId self_, other_;
  std::uint32_t roads_;
  std::uint32_t frame_bytes_;
  bool keep_alive_;
  std::uint32_t road_ = 0;
  std::deque<Frame> sending_;       // not acknowledged, in order
  std::uint64_t first_number_ = 1;  // of sending_
  std::uint64_t has_all_to_ = 0;    // of the other side's frames
  std::map<std::uint64_t, std::string> early_;
  std::deque<Message> messages_;  // whole ones, and behind them the one that is growing
  bool growing_ = false;
  bool answer_due_ = false;
  TimeNs heard_ns_ = 0;
  TimeNs unanswered_since_ns_ = never_ns;
};

template <class Transmit>
void MessageLink::pump(TimeNs now, Transmit transmit) {
  begin(now);
  // The road that worked last comes first.
  const auto over_any_road = [&](std::string_view frame) {
    for (std::uint32_t i = 0; i < roads_; ++i)
      if (transmit((road_ + i) % roads_, frame)) {
        road_ = (road_ + i) % roads_;
        return true;
      }
    return false;
  };
  bool changed_road = false;  // once for all that were lost, so that they go the same way
  for (std::size_t i = 0; i < std::min(sending_.size(), window_frames); ++i) {
    Frame& frame = sending_[i];
    if (frame.due_ns > now) continue;
    if (frame.tries != 0 && !std::exchange(changed_road, true)) road_ = (road_ + 1) % roads_;
    std::memcpy(frame.bytes.data() + offsetof(FrameHeader, has_all_to), &has_all_to_,
                sizeof has_all_to_);
    if (unanswered_since_ns_ == never_ns) unanswered_since_ns_ = now;
    if (!over_any_road(frame.bytes)) {
      frame.due_ns = now + road_is_full_ns;
      break;
    }
    frame.due_ns = now + std::min(again_after_max_ns, again_after_ns << std::min(frame.tries, 8u));
    ++frame.tries;
    answer_due_ = false;
  }
  if (!answer_due_) return;
  if (over_any_road(answer())) answer_due_ = false;
}

}  // namespace kvhaul::verbs
