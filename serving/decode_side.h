// The decode instances of this process: KV pages for requests that come, decode steps for those
// whose KV is here, and the end of a request.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "serving/kv_move.h"
#include "serving/mover.h"

namespace kvhaul {

class Front;

class DecodeSide final : public MoverOwner {
 public:
  /// `front` is null where another process has it.
  DecodeSide(ReplayParts& parts, Front* front);
  ~DecodeSide() override;
  /// In pull.
  void use(Mover& mover) { mover_ = &mover; }

  void step(TimeNs at, TimeNs now, std::uint32_t instance);
  void message(TimeNs now, const ControlMessage& message);
  void moved(TimeNs now, std::uint32_t slot, KvMove move) override;  // pull
  /// The prefill side of a request is gone. What has landed goes on.
  void peer_lost(TimeNs now, std::uint32_t slot, const RequestResult& request);

 private:
  struct Request;
  struct State;

  void begin(TimeNs now, std::uint32_t slot, const ControlMessage& message);
  void reserve(TimeNs now, std::uint32_t instance);
  void landed(TimeNs now, std::uint32_t slot, bool failed, TimeNs handed_over_ns);
  void begin_steps(TimeNs at, std::uint32_t instance);
  void count_waits(TimeNs now, State& state);
  void finish(TimeNs now, std::uint32_t slot);
  void tell_state(TimeNs now, std::uint32_t instance);

  ReplayParts& parts_;
  Mover* mover_ = nullptr;  // null where the other side moves
  Front* front_;
  std::vector<std::unique_ptr<State>> states_;  // by instance; null where another process has it
  SlotTable<Request> requests_;
};

}  // namespace kvhaul
