// The front of a replay: reads the trace, gives each request to a prefill and a decode instance,
// and hears what became of it. One process of a run has it.
//
// It knows the load of an instance from what it has given out and has been told of since, and in
// the same way which instances are gone (instance_health.h). A request whose KV was lost is given
// out again when both sides are through with it, up to Failover::retries times; where there is no
// instance to give it to, it waits for one, for Failover::wait_max_ns() at most. A request that two
// instances have which do not reach each other any more is taken back where there are others: its
// transfers would wait for as long as the scheduler hopes.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "serving/instance_health.h"
#include "serving/replay_messages.h"
#include "serving/replay_parts.h"
#include "traces/trace.h"

namespace kvhaul {

class PrefillSide;
class DecodeSide;

class Front {
 public:
  Front(ReplayParts& parts, TraceReader& trace);

  /// The sides of this process, to which it talks directly; then it reads the first request.
  void start(PrefillSide& prefill, DecodeSide& decode);

  void arrive(TimeNs at, TimeNs now);
  /// Time to look after the requests that wait for an instance.
  void wake(TimeNs at, TimeNs now);
  void message(TimeNs now, const ControlMessage& message);
  /// Its requests are given up, and it gets no more.
  void node_lost(TimeNs now, NodeId node);
  /// The two do not reach each other any more: the same for requests between them.
  void nodes_parted(TimeNs now, NodeId a, NodeId b);

  // What the sides say of a request.
  void prefilled(std::uint32_t slot, std::uint64_t attempt);
  /// It was taken away from a prefill instance before that had begun.
  void returned(TimeNs now, std::uint32_t slot, std::uint64_t attempt);
  /// `moved`: its KV has all arrived; else some was lost.
  void source_free(TimeNs now, std::uint32_t slot, std::uint64_t attempt, bool moved);
  void finished(TimeNs now, std::uint32_t slot, const RequestResult& result,
                const std::vector<TransferRow>& rows);
  /// Whether the channels between two instances are usable. `blame_prefill`: where they are not,
  /// nor are those between this prefill instance and any other; false: this decode instance.
  void way(TimeNs now, std::uint32_t prefill, std::uint32_t decode, WayState state,
           bool blame_prefill);

  /// Nothing more will come, and nothing is open.
  bool all_over() const { return trace_ended_ && open_requests_ == 0 && waiting_.empty(); }
  /// An error in the trace ends it.
  const std::optional<Error>& trace_error() const { return trace_error_; }

 private:
  /// One attempt of a request, in its slot.
  struct Request {
    RequestResult result;
    std::vector<std::uint64_t> prefix_blocks;
    std::vector<TransferRow> rows;  // of the attempts before
    TimeNs begun_ns = 0;
    bool open = false;  // the slot is given out
    bool prefilled = false;
    bool source_free = false;
    bool withdrawn = false;
    bool over = false;
  };
  /// A request that waits for an instance.
  struct Waiting {
    RequestResult result;  // of its last attempt, if there was one
    std::vector<std::uint64_t> prefix_blocks;
    std::vector<TransferRow> rows;
    TimeNs since_ns = 0;
    bool again = false;  // its KV was lost before
  };
  struct Load {
    std::uint64_t tokens = 0;  // prefill: queued and being computed
    std::uint64_t pages = 0;   // decode: reserved and wanted
  };

  void read_next();
  std::uint32_t new_slot();
  bool begin(TimeNs at, TimeNs now, Waiting& waiting);
  void wait(TimeNs now, Waiting waiting);
  void wake_at(TimeNs at);
  void lose(TimeNs now, Waiting waiting);
  std::optional<std::uint32_t> choose_prefill(TimeNs now, const RequestResult& request,
                                              const std::vector<std::uint64_t>& prefix_blocks);
  std::uint32_t choose_decode(TimeNs now, std::uint32_t prefill);
  void end(const RequestResult& result, const std::vector<TransferRow>& rows);
  void withdraw_from(TimeNs now, std::uint32_t prefill, std::uint32_t decode);
  void part_sides(TimeNs now, std::uint32_t slot);
  void give_up(TimeNs now, std::uint32_t slot);
  void tell_peer_lost(NodeId to, std::uint32_t slot, const RequestResult& result);
  void close_if_over(TimeNs now, std::uint32_t slot);
  bool is_lost(const Instance& instance) const { return lost_nodes_.count(instance.node) != 0; }
  std::uint32_t doubts(TimeNs now, std::uint32_t prefill, std::uint32_t decode) const;
  std::uint32_t least_doubts(TimeNs now, std::uint32_t prefill) const;
  Request* find(std::uint32_t slot, std::uint64_t attempt);

  ReplayParts& parts_;
  TraceReader& trace_;
  PrefillSide* prefill_ = nullptr;
  DecodeSide* decode_ = nullptr;
  std::vector<Load> prefill_loads_, decode_loads_;  // by instance
  InstanceHealth health_;
  std::deque<Waiting> waiting_;  // longest first
  TimeNs wake_ns_ = never_ns;
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
