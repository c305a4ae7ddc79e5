// Moves the KV of requests, unit by unit, and finds out whether it arrived as it was. It is on the
// side that posts: prefill in push, decode in pull.
//
// It sees first that two instances do not reach each other any more, and tells the front: at once,
// and again while it lasts (WayState), so that a moment's outage takes no request away.
//
// Where the serving engine has a cost of its own, a unit's transfers are submitted that much after
// they could have been.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "serving/kv_move.h"
#include "serving/payload_checks.h"

namespace kvhaul {

/// The side that the mover works for.
class MoverOwner {
 public:
  virtual ~MoverOwner() = default;
  /// Nothing of it is under way any more: all is there, or it failed. The slot is free.
  virtual void moved(TimeNs now, std::uint32_t slot, KvMove move) = 0;
};

class Front;

/// Of a request, in the tag of each of its transfers (RequestResult::slot).
constexpr std::uint32_t slot_of_tag(std::uint64_t tag) {
  return static_cast<std::uint32_t>(tag >> 40);
}

class Mover {
 public:
  /// `front` is null where another process has it.
  Mover(ReplayParts& parts, MoverOwner& owner, Front* front)
      : parts_(parts), owner_(owner), front_(front), checks_(parts) {}

  /// Fails with bad_input when a request can have more units or lanes than a tag can name.
  static Result<void> check_limits(const ReplayParts& parts);
  /// Finds the channels between all instances that this process posts for.
  void prepare();

  void begin(std::uint32_t slot, KvMove move) { moves_[slot] = std::move(move); }
  bool moves(std::uint32_t slot, std::uint64_t attempt) {
    return slot < moves_.size() && moves_[slot].attempt == attempt;
  }
  void target_known(TimeNs now, std::uint32_t slot, const PageList& pages);
  /// So many units of one of its streams are readable; all of it is once prefill has ended (else
  /// 0).
  void announce(TimeNs now, std::uint32_t slot, std::uint32_t stream, std::uint32_t units,
                TimeNs prefill_end_ns);
  /// The other side is gone: no more is moved. `all`: nor announced.
  void peer_lost(TimeNs now, std::uint32_t slot, bool all);
  /// It is to be moved between others: what is under way is cancelled, and no more submitted. It
  /// has failed when nothing can be written any more.
  void withdraw(TimeNs now, std::uint32_t slot);

  /// The engine is through with the next unit of a request; the slot may have a new one by now.
  void engine_done(TimeNs now, std::uint32_t slot, std::uint64_t attempt);
  void transfer_ended(TimeNs now, const TransferEnd& end);
  void compare(const ControlMessage& message) { checks_.compare(message); }
  void compared(TimeNs now, const ControlMessage& message);

  /// Checks that can be done now; each takes its time in real time, so one at a time.
  bool checks_due() const;
  bool checks_running() const { return checks_.running(); }
  void check_one(TimeNs now);

  /// Time to look again at a way between two instances that was not usable.
  void look(TimeNs now, std::size_t way);

 private:
  /// All channels between a prefill and a decode instance, as far as this process posts to them.
  struct Way {
    bool lost = false;     // some two places of theirs had no usable channel; the front is told
    bool gone = false;     // at the next look, too; the front is told that at every one
    bool cut_off = false;  // then no other of the instance at this end was usable either
    bool watched = false;  // look() will come
    TimeNs lost_ns = 0;
    TimeNs told_ns = 0;
  };

  std::size_t way_of(std::uint32_t prefill, std::uint32_t decode) const {
    return std::size_t{prefill} * parts_.decode.size() + decode;
  }
  PairHandle pair_of(std::size_t way, std::uint32_t lane) const {
    return pairs_[way * parts_.lanes.size() + lane];
  }
  bool is_usable(std::size_t way) const;
  bool posts(std::size_t way) const;
  void way_lost(TimeNs now, std::size_t way);
  void watch(TimeNs now, std::size_t way);
  void look_at_way(TimeNs now, std::size_t way);
  void look_at_all(TimeNs now);
  void tell_of_way(TimeNs now, std::size_t way);
  void cancel(TimeNs now, KvMove& move);
  void submit_units(TimeNs now, std::uint32_t slot);
  void submit_unit(TimeNs now, std::uint32_t slot, std::uint32_t unit);
  void submit_lane(TimeNs now, std::uint32_t slot, std::uint32_t unit, std::uint32_t lane);
  void trace_handover(KvMove& move, PairHandle pair, const TransferEnd& end) const;
  TransferRow& row_of(KvMove& move, std::uint32_t chunk, std::uint8_t tier) const;
  void settle_checks(TimeNs now);
  void maybe_done(TimeNs now, std::uint32_t slot);

  ReplayParts& parts_;
  MoverOwner& owner_;
  Front* front_;
  std::vector<PairHandle> pairs_;  // [prefill instance][decode instance][lane]
  std::vector<Way> ways_;          // [prefill instance][decode instance]
  TimeNs looked_at_all_ns_ = 0;    // when look_at_all() was last called
  SlotTable<KvMove> moves_;
  TimeNs decode_layer_ns_ = 0;  // of a lone sequence; spaces the deadlines of layers
  PayloadChecks checks_;
  std::deque<PayloadChecks::Check> waiting_checks_;  // of what has landed, oldest first
  std::size_t open_transfers_ = 0;
  std::vector<Descriptor> descriptors_;  // scratch
};

}  // namespace kvhaul
