// What the parts of a replay share in one process: what is fixed before it begins, and one list of
// what is to come.
//
//   front.h         reads the trace, gives requests to instances, knows what became of them
//   prefill_side.h  prefill instances: queue, pages, prefill; says what is readable
//   decode_side.h   decode instances: pages, decode steps, the end of a request
//   mover.h         transfers of what is readable, on the side that posts them
//
// Each process has the sides of the nodes that it drives, and one of them the front. Parts on
// different nodes know of each other only what messages say (replay_messages.h). A request has the
// same slot in all tables of all parts: the front gives it out, and takes it back when both sides
// are through with the request.
#pragma once

#include <memory>
#include <queue>
#include <vector>

#include "core/backend.h"
#include "core/cluster.h"
#include "core/paged_layout.h"
#include "core/runtime.h"
#include "serving/replay_config.h"
#include "serving/replay_result.h"

namespace kvhaul {

/// What is to happen at a known time, in one process; what is due at the same time goes in the
/// order in which it was added.
class Agenda {
 public:
  enum class Kind : std::uint8_t { arrival, prefill, decode, engine, failover, look };
  struct Event {
    TimeNs at_ns = 0;
    std::uint64_t sequence = 0;
    Kind kind = Kind::arrival;
    std::uint32_t index = 0;  // of an instance; engine: a slot; look: of a way between instances
    std::uint64_t other = 0;  // engine: the attempt that had the slot when this was added;
                              // prefill: a stage
    bool operator>(const Event& other) const {
      return at_ns != other.at_ns ? at_ns > other.at_ns : sequence > other.sequence;
    }
  };

  void add(TimeNs at, Kind kind, std::uint32_t index, std::uint64_t other = 0) {
    events_.push({at, next_sequence_++, kind, index, other});
  }
  TimeNs next_ns() const { return events_.empty() ? never_ns : events_.top().at_ns; }
  Event take() {
    const Event event = events_.top();
    events_.pop();
    return event;
  }
  void clear() { events_ = {}; }

 private:
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::uint64_t next_sequence_ = 0;
};

/// Places of an instance and their KV memory, by rank; all lie on nodes of one process.
struct Instance {
  std::vector<PlaceId> places;
  std::vector<SegmentId> segments;
  NodeId node = 0;    // that its messages go to
  bool here = false;  // this process drives it
};

struct ReplayParts {
  ReplayParts(const ReplayConfig& config, Backend& backend, ReplayObserver& observer)
      : config(config), backend(backend), observer(observer) {}

  const ReplayConfig& config;
  Backend& backend;
  ReplayObserver& observer;
  Runtime* runtime = nullptr;
  const Cluster* cluster = nullptr;
  std::vector<RankGeometry> source_ranks, target_ranks;
  std::vector<Lane> lanes;
  std::vector<Instance> prefill, decode;
  std::uint32_t block_tokens = 0;  // of the prefix cache; 0: none
  NodeId front_node = 0;
  ReplayCounters counters;  // of this process
  Agenda agenda;

  NodeId prefill_node(const RequestResult& request) const {
    return prefill[request.prefill_instance].node;
  }
  NodeId decode_node(const RequestResult& request) const {
    return decode[request.decode_instance].node;
  }
};

inline std::uint32_t pages_for(std::uint64_t tokens, std::uint32_t page_tokens) {
  return static_cast<std::uint32_t>((tokens + page_tokens - 1) / page_tokens);
}
inline std::uint32_t target_pages_of(const ReplayConfig& config, const RequestResult& request) {
  return pages_for(std::uint64_t{request.input_tokens} + request.output_tokens,
                   config.decode.page_tokens);
}

/// Rows by slot, which grow as slots are given out, and stay where they are.
template <class Row>
class SlotTable {
 public:
  Row& operator[](std::uint32_t slot) {
    if (slot >= rows_.size()) [[unlikely]]
      grow(slot);
    return *rows_[slot];
  }
  std::uint32_t size() const { return static_cast<std::uint32_t>(rows_.size()); }

 private:
  void grow(std::uint32_t slot) {
    while (slot >= rows_.size()) rows_.push_back(std::make_unique<Row>());
  }

  std::vector<std::unique_ptr<Row>> rows_;
};

}  // namespace kvhaul
