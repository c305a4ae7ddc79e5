// The front of a replay: reads the trace, gives each request to a prefill and a decode instance,
// and hears what became of it. One process of a run has it.
//
// It knows the load of an instance from what it has given out and has been told of since.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "serving/replay_parts.h"
#include "traces/trace.h"

namespace kvhaul {

class PrefillSide;
class DecodeSide;

class Front {
 public:
  Front(ReplayParts& parts, TraceReader& trace) : parts_(parts), trace_(trace) {}

  /// The sides of this process, to which it talks directly; then it reads the first request.
  void start(PrefillSide& prefill, DecodeSide& decode);

  void arrive(TimeNs at, TimeNs now);
  void message(TimeNs now, const ControlMessage& message);
  /// Its requests are given up, and it gets no more.
  void node_lost(TimeNs now, NodeId node);
  /// The two do not reach each other any more: the same for requests between them.
  void nodes_parted(TimeNs now, NodeId a, NodeId b);

  // What the sides say of a request.
  void prefilled(std::uint32_t slot, std::uint64_t request);
  void source_free(std::uint32_t slot, std::uint64_t request);
  void finished(TimeNs now, std::uint32_t slot, const RequestResult& result,
                const std::vector<TransferRow>& rows);

  /// Nothing more will come, and nothing is open.
  bool all_over() const { return trace_ended_ && open_requests_ == 0; }
  /// An error in the trace ends it.
  const std::optional<Error>& trace_error() const { return trace_error_; }

 private:
  struct Request {
    RequestResult result;
    bool open = false;  // the slot is given out
    bool prefilled = false;
    bool source_free = false;
    bool over = false;
  };
  struct Load {
    std::uint64_t tokens = 0;  // prefill: queued and being computed
    std::uint64_t pages = 0;   // decode: reserved and wanted
  };

  void read_next();
  std::uint32_t new_slot();
  std::optional<std::uint32_t> choose_prefill(const RequestResult& request,
                                              const std::vector<std::uint64_t>& prefix_blocks);
  std::optional<std::uint32_t> choose_decode(std::uint32_t prefill);
  void end_without_replay(RequestResult result, RequestOutcome outcome);
  void part_sides(TimeNs now, std::uint32_t slot);
  void give_up(TimeNs now, std::uint32_t slot);
  void tell_peer_lost(NodeId to, std::uint32_t slot, const RequestResult& result);
  void free_if_over(std::uint32_t slot);
  bool is_lost(const Instance& instance) const { return lost_nodes_.count(instance.node) != 0; }
  bool can_reach(const Instance& prefill, const Instance& decode) const;
  bool is_usable(const Instance& prefill) const;
  Request* find(std::uint32_t slot, std::uint64_t request);

  ReplayParts& parts_;
  TraceReader& trace_;
  PrefillSide* prefill_ = nullptr;
  DecodeSide* decode_ = nullptr;
  std::vector<Load> prefill_loads_, decode_loads_;  // by instance
  std::set<NodeId> lost_nodes_;
  std::set<std::pair<NodeId, NodeId>> parted_;  // lower one first
  SlotTable<Request> requests_;
  std::vector<std::uint32_t> free_slots_;
  std::size_t open_requests_ = 0;
  TraceRequest next_request_;
  bool trace_ended_ = false;
  std::optional<Error> trace_error_;
  std::uint64_t next_number_ = 0;
  std::uint32_t next_prefill_ = 0, next_decode_ = 0;  // round robin
  std::uint64_t requests_done_ = 0;
};

}  // namespace kvhaul
