// Frames to and from any number of far ports: one unreliable-datagram queue pair of a port.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "backends/verbs/port.h"

namespace kvhaul::verbs {

class Datagrams {
 public:
  /// `key` is that of the run: datagrams of who does not know it never arrive. `tag` marks the
  /// upper 8 bits of its completions' wr_id.
  static Result<Datagrams> make(Port& port, std::uint32_t key, std::uint8_t tag);

  static constexpr std::uint32_t entries = 384;  // of a completion queue, at most

  std::uint32_t number() const { return pair_->qp_num; }
  std::uint32_t frame_bytes() const { return frame_bytes_; }

  /// False: nothing can be sent now.
  bool send(ibv_ah* way, std::uint32_t far_number, std::string_view frame);
  /// A completion with its tag. Calls on_frame(frame) when it is one that came in.
  template <class OnFrame>
  void completed(const ibv_wc& completion, OnFrame on_frame);

  /// Something failed, and it has to be revived before it works again.
  bool broken() const { return broken_; }
  Result<void> revive();

 private:
  static constexpr std::uint32_t sends = 64;
  static constexpr std::uint32_t receives = 256;
  static constexpr std::uint32_t route_header_bytes = 40;  // in front of what comes in
  static_assert(sends + receives <= entries);

  std::uint64_t id(std::uint32_t buffer) const {
    return (std::uint64_t{tag_} << 56) | (std::uint64_t{generation_ & 0xffffffu} << 32) | buffer;
  }
  std::byte* buffer(std::uint32_t number) {
    return memory_.data() + std::size_t{number} * (route_header_bytes + frame_bytes_);
  }
  bool receive_into(std::uint32_t number);

  Port* port_ = nullptr;
  std::uint32_t key_ = 0;
  std::uint8_t tag_ = 0;
  std::uint32_t generation_ = 0;  // counts revivals; completions of an earlier one are void
  std::uint32_t frame_bytes_ = 0;
  bool broken_ = true;
  std::vector<std::byte> memory_;  // buffers 0 to sends - 1 go out, the others come in
  MemoryRegion region_;
  QueuePairHandle pair_;
  std::vector<std::uint32_t> free_;  // of those that go out
};

template <class OnFrame>
void Datagrams::completed(const ibv_wc& completion, OnFrame on_frame) {
  if (((completion.wr_id >> 32) & 0xffffffu) != (generation_ & 0xffffffu)) return;
  const auto number = static_cast<std::uint32_t>(completion.wr_id);
  if (completion.status != IBV_WC_SUCCESS) {
    broken_ = true;
    return;
  }
  if (number < sends) {
    free_.push_back(number);
    return;
  }
  if (completion.byte_len >= route_header_bytes)
    on_frame(std::string_view(reinterpret_cast<const char*>(buffer(number)) + route_header_bytes,
                              completion.byte_len - route_header_bytes));
  receive_into(number);
}

}  // namespace kvhaul::verbs
