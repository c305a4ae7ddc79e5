// What the parts of a replay say to each other. `place` of a message is the slot of a request,
// `value2` its attempt; both must fit, or the message is about one that is over.
//
// Reserve, table, readable, landed and release are part of what a serving engine says, and always
// travel through the backend at its cost. The others keep the front informed; between parts of one
// process they are calls.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/credit.h"
#include "core/paged_layout.h"
#include "serving/replay_parts.h"

namespace kvhaul {

enum class ReplayMessage : std::uint32_t {
  reserve = first_client_message,  // prefill -> decode: a request that begins
  table,                           // decode -> prefill, push: its target pages
  readable,                        // prefill -> decode, pull: so many units of a stream
  landed,                          // prefill -> decode, push
  release,                         // decode -> prefill, pull
  assign,                          // front -> prefill: a request of the trace
  withdraw,                        // front -> prefill: a request is to go elsewhere
  cancel,                          // prefill -> decode, pull: the same
  returned,                        // prefill -> front: it had not begun, and is the front's again
  prefilled,                       // prefill -> front
  source_free,                     // prefill -> front
  finished,                        // decode -> front: what came of it
  peer_lost,                       // front -> either side: the other one is gone
  node_lost,                       // a node of another process -> front: one that it lost
  way,                             // mover -> front: whether two instances reach each other
  compare,                         // mover -> the far end: checksums of what has landed
  compared,                        // and back
  end,                             // front -> every node of another process
  ended,                           // and back
};

/// What the channels between two instances are good for.
enum class WayState : std::uint8_t {
  lost,    // some two places have no usable channel
  usable,  // all have
  gone,    // lost, and not for a moment only
};

inline constexpr Bytes message_bytes = 64;
inline constexpr Bytes page_run_bytes = 8;  // of a page table on the wire

/// The words of a message's body, one after the other.
class BodyWriter {
 public:
  template <class... Words>
  BodyWriter& add(Words... words) {
    (words_.push_back(static_cast<std::uint64_t>(words)), ...);
    return *this;
  }
  BodyWriter& pages(const PageList& pages) {
    add(pages.size());
    for (const PageRun& run : pages) add(std::uint64_t{run.first} << 32 | run.count);
    return *this;
  }
  std::vector<std::uint64_t> take() { return std::move(words_); }

 private:
  std::vector<std::uint64_t> words_;
};

/// A body that is too short gives zeros, and is not whole().
class BodyReader {
 public:
  explicit BodyReader(std::span<const std::uint64_t> words) : words_(words) {}

  std::uint64_t word() {
    if (at_ == words_.size()) {
      whole_ = false;
      return 0;
    }
    return words_[at_++];
  }
  template <class... Values>
  void take(Values&... values) {
    ((values = static_cast<Values>(word())), ...);
  }
  PageList pages() {
    PageList pages;
    for (std::uint64_t left = word(); left > 0 && whole_; --left) {
      const std::uint64_t run = word();
      pages.push_back({static_cast<std::uint32_t>(run >> 32), static_cast<std::uint32_t>(run)});
    }
    return pages;
  }
  std::span<const std::uint64_t> rest() const { return words_.subspan(at_); }
  bool whole() const { return whole_; }

 private:
  std::span<const std::uint64_t> words_;
  std::size_t at_ = 0;
  bool whole_ = true;
};

void write_request(BodyWriter& body, const RequestResult& request);
RequestResult read_request(BodyReader& body);
/// With its times in the order in which they came. Each is by the clock of the process that saw it,
/// and on a busy machine clocks of processes agree within tens of milliseconds only. The parts of
/// the hand-over give way as much, so that they still add up.
RequestResult in_order(RequestResult result);
void write_handover(BodyWriter& body, const Handover& handover);
Handover read_handover(BodyReader& body);
void write_rows(BodyWriter& body, const std::vector<TransferRow>& rows);
std::vector<TransferRow> read_rows(BodyReader& body);

void send(ReplayParts& parts, NodeId from, NodeId to, ReplayMessage kind, std::uint32_t slot,
          std::uint64_t attempt, std::vector<std::uint64_t> body = {}, Bytes bytes = message_bytes);

}  // namespace kvhaul
