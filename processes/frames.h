// Messages between two processes that have proved themselves: a byte that says what it is, four
// bytes of length (little-endian), and so many bytes. Read from a process that may be anything
// else than well.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

namespace kvhaul {

enum class FrameKind : char {
  data = 'd',
  farewell = 'f',  // the sender leaves, and why (farewell_of())
  beat = 'b',      // nothing but that the sender is alive
  welcome = 'w',   // process 0, once: all are here
};
struct Frame {
  FrameKind kind = FrameKind::data;
  std::string bytes;
};

/// Of one message. The largest are the lists of what every process has; those of 4,096 processes
/// with 16 KB each fit.
inline constexpr std::size_t frame_bytes_max = std::size_t{64} << 20;
inline constexpr std::size_t farewell_bytes_max = 16 << 10;
inline constexpr std::size_t frame_head_bytes = 5;

/// `bytes`: at most frame_bytes_max.
std::string frame_head(FrameKind kind, std::size_t bytes);

/// Takes bytes as they come and gives frames. Memory grows with what came, never with a length.
class FrameReader {
 public:
  /// False for what is no frame; nothing is read after it.
  bool feed(std::string_view bytes);
  /// What was wrong, for an error: "a message of kind 0".
  const std::string& damage() const { return damage_; }

  /// The next whole frame. Beats are left out.
  std::optional<Frame> take();
  /// Of frames that wait to be taken.
  std::size_t waiting_bytes() const { return waiting_bytes_; }
  std::size_t waiting() const { return frames_.size(); }

 private:
  bool begin_frame();

  std::string head_;
  Frame frame_;
  std::size_t missing_ = 0;  // bytes of the frame that has begun
  bool in_frame_ = false;
  std::deque<Frame> frames_;
  std::size_t waiting_bytes_ = 0;
  std::string damage_;
};

}  // namespace kvhaul
