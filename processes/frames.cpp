#include "processes/frames.h"

#include <algorithm>

namespace kvhaul {

std::string frame_head(FrameKind kind, std::size_t bytes) {
  std::string head(1, static_cast<char>(kind));
  for (int shift = 0; shift < 32; shift += 8) head += static_cast<char>(bytes >> shift & 0xff);
  return head;
}

bool FrameReader::feed(std::string_view bytes) {
  while (damage_.empty() && !bytes.empty()) {
    if (!in_frame_) {
      const std::size_t part = std::min(frame_head_bytes - head_.size(), bytes.size());
      head_ += bytes.substr(0, part);
      bytes.remove_prefix(part);
      if (head_.size() == frame_head_bytes && !begin_frame()) return false;
    } else {
      const std::size_t part = std::min(missing_, bytes.size());
      frame_.bytes += bytes.substr(0, part);
      bytes.remove_prefix(part);
      missing_ -= part;
    }
    if (in_frame_ && missing_ == 0) {
      in_frame_ = false;
      head_.clear();
      waiting_bytes_ += frame_.bytes.size();
      if (frame_.kind != FrameKind::beat) frames_.push_back(std::move(frame_));
      frame_ = {};
    }
  }
  return damage_.empty();
}

bool FrameReader::begin_frame() {
  std::uint32_t size = 0;
  for (int i = 0; i < 4; ++i)
    size |= std::uint32_t{static_cast<unsigned char>(head_[1 + i])} << 8 * i;
  const auto kind = static_cast<FrameKind>(head_[0]);
  std::size_t most = 0;
  switch (kind) {
    case FrameKind::data:
      most = frame_bytes_max;
      break;
    case FrameKind::farewell:
      most = farewell_bytes_max;
      break;
    case FrameKind::beat:
    case FrameKind::welcome:
      break;
    default:
      damage_ = "a message of kind " + std::to_string(static_cast<unsigned char>(head_[0]));
      return false;
  }
  if (size > most) {
    damage_ = "a message of " + std::to_string(size) + " bytes, where at most " +
              std::to_string(most) + " are taken";
    return false;
  }
  frame_.kind = kind;
  missing_ = size;
  in_frame_ = true;
  return true;
}

std::optional<Frame> FrameReader::take() {
  if (frames_.empty()) return std::nullopt;
  Frame frame = std::move(frames_.front());
  frames_.pop_front();
  waiting_bytes_ -= frame.bytes.size();
  return frame;
}

}  // namespace kvhaul
