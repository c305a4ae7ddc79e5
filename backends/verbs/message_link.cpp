#include "backends/verbs/message_link.h"

#include "backends/verbs/wire_text.h"

namespace kvhaul::verbs {
namespace {

constexpr std::uint16_t nothing_kind = 0;  // of frames that only keep alive

}  // namespace

bool read_header(std::string_view frame, FrameHeader& header) {
  return take(frame, header) && header.bytes == frame.size();
}

/// A frame that only says what has come.
std::string MessageLink::answer() const {
  std::string frame;
  put(frame, FrameHeader{0, has_all_to_, self_, other_, nothing_kind, 0, 0});
  return frame;
}

void MessageLink::send(std::uint16_t kind, std::string_view bytes) {
  const std::size_t room = frame_bytes_ - sizeof(FrameHeader);
  do {
    const std::string_view part = bytes.substr(0, room);
    bytes.remove_prefix(part.size());
    Frame& frame = sending_.emplace_back();
    const FrameHeader header = {first_number_ + sending_.size() - 1,
                                has_all_to_,
                                self_,
                                other_,
                                kind,
                                static_cast<std::uint16_t>(bytes.empty() ? 0 : 1),
                                static_cast<std::uint32_t>(part.size())};
    put(frame.bytes, header);
    frame.bytes += part;
  } while (!bytes.empty());
}

/// Says something when it has been quiet for long.
void MessageLink::begin(TimeNs now) {
  if (!keep_alive_ || !sending_.empty() || now < heard_ns_ + silence_ns) return;
  send(nothing_kind, {});
}

void MessageLink::receive(TimeNs now, std::uint32_t road, std::string_view frame) {
  FrameHeader header;
  if (!read_header(frame, header)) return;
  heard_ns_ = now;
  while (!sending_.empty() && first_number_ <= header.has_all_to) {
    sending_.pop_front();
    ++first_number_;
    unanswered_since_ns_ = never_ns;
  }
  if (!sending_.empty() && unanswered_since_ns_ == never_ns && sending_.front().tries != 0)
    unanswered_since_ns_ = now;
  if (header.number == 0) return;
  // Back on the road that it came by: the other one may be what lost the last answer.
  road_ = road;
  answer_due_ = true;
  if (header.number <= has_all_to_ || header.number > has_all_to_ + 2 * window_frames) return;
  early_.emplace(header.number, frame);
  for (auto next = early_.begin(); next != early_.end() && next->first == has_all_to_ + 1;
       next = early_.erase(next)) {
    ++has_all_to_;
    std::string_view part = next->second;
    kvhaul::verbs::take(part, header);
    if (!growing_) messages_.push_back({header.kind, {}});
    messages_.back().bytes += part;
    growing_ = header.more != 0;
    if (!growing_ && header.kind == nothing_kind) messages_.pop_back();
  }
}

bool MessageLink::take(Message& message) {
  if (messages_.size() <= (growing_ ? 1u : 0u)) return false;
  message = std::move(messages_.front());
  messages_.pop_front();
  return true;
}

TimeNs MessageLink::next_ns() const {
  if (answer_due_) return 0;
  TimeNs next = keep_alive_ && sending_.empty() ? heard_ns_ + silence_ns : never_ns;
  for (std::size_t i = 0; i < std::min(sending_.size(), window_frames); ++i)
    next = std::min(next, sending_[i].due_ns);
  return next;
}

}  // namespace kvhaul::verbs
