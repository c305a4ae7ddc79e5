// Receiver credits: how much may be in flight towards one place, shared between its senders.
//
// Every sender starts with an equal share of the place's credit and keeps what it has, so that two
// nodes talking alone never exchange a message about it. A sender that runs into its limit asks;
// the receiver then takes back what the idle ones hold and gives it to the ones that asked.
// Messages travel through the backend at its cost, in order for each pair of nodes.
//
//   sender -> receiver   ask       I am held back by credit       (kind 1)
//                        sated     I am no longer                 (kind 2)
//                        release   here are `value` bytes back    (kind 3)
//   receiver -> sender   grant     `value` bytes more             (kind 4)
//                        shrink    go down to `value` bytes       (kind 5)
//
// Invariant: granted to senders + on the way + free = capacity, hence bytes in flight towards a
// place never pass its capacity. Guarded by tests/unit/credit_test.cpp and the simulation test.
#pragma once

#include <cstdint>
#include <vector>

#include "core/backend.h"
#include "core/scheduler_setup.h"

namespace kvhaul {

enum class CreditMessage : std::uint32_t { ask = 1, sated = 2, release = 3, grant = 4, shrink = 5 };
inline constexpr std::uint32_t first_client_message = 16;

/// The sender's half, for one target place.
class CreditAccount {
 public:
  CreditAccount(NodeId self, const SetupAccount& setup)
      : self_(self), setup_(setup), granted_(setup.granted_bytes), limit_(setup.granted_bytes) {}

  PlaceId target() const { return setup_.target; }
  Bytes in_flight() const { return in_flight_; }
  Bytes limit() const { return limit_; }
  Bytes granted() const { return granted_; }  // what the ledger counts as this sender's
  bool has_room(Bytes bytes) const { return in_flight_ + bytes <= limit_; }
  void take(Bytes bytes) { in_flight_ += bytes; }
  /// A chunk ended. May release what a shrink asked for.
  void give_back(Bytes bytes, std::vector<ControlMessage>& out) {
    in_flight_ -= bytes;
    if (granted_ > limit_) [[unlikely]]
      release(out);
  }
  /// A chunk did not fit. Asks once.
  void hold_back(std::vector<ControlMessage>& out);
  bool asked() const { return asked_; }
  /// Nothing waits for this place any more.
  void drained(std::vector<ControlMessage>& out);
  void receive(const ControlMessage& message, std::vector<ControlMessage>& out);

 private:
  void release(std::vector<ControlMessage>& out);
  ControlMessage message(CreditMessage kind, Bytes value) const;

  NodeId self_;
  SetupAccount setup_;
  Bytes granted_;  // what the ledger counts as ours
  Bytes limit_;    // granted_, or less while a shrink is being obeyed
  Bytes in_flight_ = 0;
  bool asked_ = false;
};

/// The receiver's half, for one of its places.
class CreditLedger {
 public:
  CreditLedger(NodeId self, const SetupLedger& setup);

  PlaceId place() const { return setup_.place; }
  Bytes capacity() const { return setup_.capacity_bytes; }
  Bytes free() const { return free_; }
  Bytes granted() const;  // to all senders together
  void receive(const ControlMessage& message, std::vector<ControlMessage>& out);

 private:
  struct Sender {
    NodeId node = 0;
    Bytes granted = 0;
    bool hungry = false;
    Bytes shrink_to = 0;  // what it was told to go down to, until it has; 0: nothing outstanding
  };
  void rebalance(std::vector<ControlMessage>& out);
  void shrink(Sender& sender, Bytes to, std::vector<ControlMessage>& out);

  NodeId self_;
  SetupLedger setup_;
  Bytes free_ = 0;
  std::vector<Sender> senders_;
};

}  // namespace kvhaul
