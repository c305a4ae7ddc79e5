// The prefill instances of this process: a queue each, their KV pages and prefix caches, and
// prefill, prefill chunk by prefill chunk. What has been computed is announced to who moves it.
//
// With pipeline stages (pp) a prefill chunk passes them one after another, and a stage has one
// chunk at a time: while it is in the second, the next one, of this prompt or of the next, is in
// the first (GPipe, NeurIPS'19; chunks of one prompt: Mooncake, FAST'25, section 3.3).
//
//   start(k, s) = max(end(k, s - 1), end(k - 1, s))
//   end(k, s)   = start(k, s) + t0 where s is the first + t_layer(k) x layers of s
//
// A layer's KV is readable when its stage has computed it.
//
// The source pages of a request are free again when all of it has been moved.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "serving/kv_move.h"
#include "serving/mover.h"
#include "serving/prefix_cache.h"

namespace kvhaul {

class Front;

class PrefillSide final : public MoverOwner {
 public:
  /// `front` is null where another process has it.
  PrefillSide(ReplayParts& parts, Front* front);
  ~PrefillSide() override;
  /// In push.
  void use(Mover& mover) { mover_ = &mover; }

  /// The front gives a request to one of the instances, at `at`.
  void assign(TimeNs at, TimeNs now, std::uint32_t slot, const RequestResult& request,
              std::vector<std::uint64_t>& prefix_blocks);
  /// Tokens of a prompt that an instance has already.
  std::uint64_t cached_tokens(std::uint32_t instance,
                              std::span<const std::uint64_t> prefix_blocks) const;
  /// A request is to go elsewhere: one that waits at once, another when nothing of it is moved any
  /// more.
  void withdraw(TimeNs now, std::uint32_t slot, std::uint64_t attempt);
  /// The decode side of a request is gone.
  void peer_lost(TimeNs now, std::uint32_t slot, std::uint64_t attempt);

  /// The pages of a prompt whose prefill has begun are still to be filled. Calling fill_one() soon
  /// is only for real time: when nothing is waiting to leave, so that filling does not hold up what
  /// just became readable. They are filled before they become readable in any case.
  bool fill_due() const;
  void fill_one();

  void step(TimeNs at, TimeNs now, std::uint32_t instance, std::uint32_t stage);
  void message(TimeNs now, const ControlMessage& message);
  void moved(TimeNs now, std::uint32_t slot, KvMove move) override;  // push

 private:
  struct Request;
  struct State;

  bool take_source_pages(State& state, Request& request, std::uint32_t hits) const;
  void start_prefill(TimeNs at, TimeNs now, std::uint32_t instance);
  TimeNs enter_stages(State& state, std::uint32_t slot, std::uint32_t chunk, TimeNs at);
  void begin_move(std::uint32_t slot);
  void schedule(std::uint32_t instance, std::uint32_t stage);
  void fill_prompt(State& state);
  void readable(TimeNs now, std::uint32_t slot, std::uint32_t stream, std::uint32_t units);
  void release_source(TimeNs now, std::uint32_t slot, bool moved);
  void tell_state(TimeNs now, std::uint32_t instance);

  ReplayParts& parts_;
  Mover* mover_ = nullptr;  // null where the other side moves
  Front* front_;
  std::vector<std::unique_ptr<State>> states_;  // by instance; null where another process has it
  SlotTable<Request> requests_;
  std::vector<Descriptor> descriptors_;  // scratch
  std::vector<SegmentRange> ranges_;     // scratch
};

}  // namespace kvhaul
