// A reliable-connected queue pair: connected once. When its path breaks it is taken back, and
// another one is made.
#pragma once

#include "backends/verbs/port.h"
#include "backends/verbs/rights.h"

namespace kvhaul::verbs {

/// How a path is used and how long it may be silent. A packet is sent again after 4.096 us x
/// 2^timeout, `retries` times; then its queue pair breaks. Facts that bind: with 7 retries
/// Soft-RoCE never gives up, with 0 it breaks for nothing, and below 14 it breaks on a busy
/// machine.
struct PathSettings {
  std::uint8_t timeout = 14;
  std::uint8_t retries = 6;
  std::uint8_t service_level = 0;
  std::uint8_t traffic_class = 0;
};

struct QueuePairSizes {
  std::uint32_t requests = 128;
  std::uint32_t pieces_of_request = 1;
  std::uint32_t inline_bytes = 0;
};

/// What the far end needs to know.
struct PairAddress {
  PortAddress port;
  std::uint32_t number = 0;
  std::uint32_t first_packet = 0;  // 24 bits; a new one for every connection
};

class QueuePair {
 public:
  QueuePair() = default;
  /// What the device does not grant (inline bytes, pieces) is less in sizes(). `rights` are those
  /// of the far end here.
  static Result<QueuePair> make(Port& port, const Rights& rights, QueuePairSizes sizes);

  ibv_qp* get() const { return pair_.get(); }
  std::uint32_t number() const { return pair_->qp_num; }
  const QueuePairSizes& sizes() const { return sizes_; }

  /// To the far end; both ends do it. After it, requests may be posted. May block for as long as
  /// the kernel looks for the far end's Ethernet address.
  Result<void> connect(const PairAddress& far, std::uint32_t first_packet,
                       const PathSettings& settings);
  /// Drops everything under way. When it returns the device touches no memory for this queue pair
  /// any more; completions may still lie in the queue.
  Result<void> reset();

 private:
  Port* port_ = nullptr;
  int access_flags_ = 0;
  QueuePairHandle pair_;
  QueuePairSizes sizes_;
};

}  // namespace kvhaul::verbs
