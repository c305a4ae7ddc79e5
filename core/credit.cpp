#include "core/credit.h"

#include <algorithm>
#include <numeric>

namespace kvhaul {

ControlMessage CreditAccount::message(CreditMessage kind, Bytes value) const {
  return {self_, setup_.ledger_node, static_cast<std::uint32_t>(kind), setup_.target, value, 0, 64};
}

void CreditAccount::hold_back(std::vector<ControlMessage>& out) {
  if (asked_ || !setup_.shared) return;
  asked_ = true;
  out.push_back(message(CreditMessage::ask, 0));
}

void CreditAccount::drained(std::vector<ControlMessage>& out) {
  if (!asked_) return;
  asked_ = false;
  out.push_back(message(CreditMessage::sated, 0));
}

void CreditAccount::receive(const ControlMessage& message, std::vector<ControlMessage>& out) {
  switch (static_cast<CreditMessage>(message.kind)) {
    case CreditMessage::grant:
      granted_ += message.value;
      limit_ = granted_;  // the receiver knows what it said before: a grant ends a shrink
      break;
    case CreditMessage::shrink:
      limit_ = std::min(limit_, message.value);
      release(out);
      break;
    default:
      break;  // the other kinds go the other way
  }
}

/// Gives back all above the limit that is not in flight. The answer to a shrink is complete only
/// when granted_ has come down to the limit; until then every ending chunk releases its part.
void CreditAccount::release(std::vector<ControlMessage>& out) {
  const Bytes keep = std::max(limit_, in_flight_);
  if (granted_ <= keep) return;
  out.push_back(message(CreditMessage::release, granted_ - keep));
  granted_ = keep;
}

CreditLedger::CreditLedger(NodeId self, const SetupLedger& setup) : self_(self), setup_(setup) {
  const Bytes share = setup.capacity_bytes / setup.senders.size();
  free_ = setup.capacity_bytes - share * setup.senders.size();
  for (const NodeId node : setup.senders) senders_.push_back({node, share, false, 0});
}

Bytes CreditLedger::granted() const {
  return std::accumulate(senders_.begin(), senders_.end(), Bytes{0},
                         [](Bytes sum, const Sender& sender) { return sum + sender.granted; });
}

void CreditLedger::receive(const ControlMessage& message, std::vector<ControlMessage>& out) {
  const auto sender =
      std::lower_bound(senders_.begin(), senders_.end(), message.from,
                       [](const Sender& entry, NodeId node) { return entry.node < node; });
  if (sender == senders_.end() || sender->node != message.from) return;
  switch (static_cast<CreditMessage>(message.kind)) {
    case CreditMessage::ask:
      sender->hungry = true;
      break;
    case CreditMessage::sated:
      sender->hungry = false;
      break;
    case CreditMessage::release: {
      const Bytes returned = std::min<Bytes>(message.value, sender->granted);
      sender->granted -= returned;
      free_ += returned;
      if (sender->granted <= sender->shrink_to) sender->shrink_to = 0;
      break;
    }
    default:
      return;
  }
  rebalance(out);
}

void CreditLedger::shrink(Sender& sender, Bytes to, std::vector<ControlMessage>& out) {
  if (sender.shrink_to != 0 || sender.granted <= to) return;
  sender.shrink_to = to;
  out.push_back({self_, sender.node, static_cast<std::uint32_t>(CreditMessage::shrink),
                 setup_.place, to, 0, 64});
}

void CreditLedger::rebalance(std::vector<ControlMessage>& out) {
  const auto hungry = static_cast<Bytes>(
      std::count_if(senders_.begin(), senders_.end(), [](const Sender& s) { return s.hungry; }));
  if (hungry == 0) return;
  // What the idle ones keep is theirs; the rest is divided between those that asked.
  const Bytes idle = senders_.size() - hungry;
  const Bytes fair = (setup_.capacity_bytes - idle * setup_.min_share_bytes) / hungry;
  for (Sender& sender : senders_) {
    if (!sender.hungry || sender.granted >= fair) continue;
    const Bytes more = std::min(free_, fair - sender.granted);
    // Below the smallest share a grant is not worth its message.
    if (more >= setup_.min_share_bytes || more == fair - sender.granted) {
      sender.granted += more;
      sender.shrink_to = 0;
      free_ -= more;
      out.push_back({self_, sender.node, static_cast<std::uint32_t>(CreditMessage::grant),
                     setup_.place, more, 0, 64});
    }
  }
  for (Sender& sender : senders_)
    shrink(sender, sender.hungry ? fair : setup_.min_share_bytes, out);
}

}  // namespace kvhaul
