// Control messages between the nodes of an emulated cluster: each takes the fixed latency of the
// fastest channel between the two nodes, and they stay in order.
#pragma once

#include <algorithm>
#include <deque>
#include <span>
#include <utility>
#include <vector>

#include "core/backend.h"
#include "core/channel_plan.h"

namespace kvhaul::emulated {

class ControlPlane {
 public:
  ControlPlane(const Cluster& cluster, std::span<const ChannelRequest> requests)
      : nodes_(cluster.nodes.size()), latency_ns_(nodes_ * nodes_, never_ns) {
    for (const ChannelRequest& request : requests) {
      const NodeId a = cluster.places[request.route.source].node;
      const NodeId b = cluster.places[request.route.target].node;
      const TimeNs fixed = numbers_of(request.route, request.costs).fixed_ns;
      latency_ns_[a * nodes_ + b] = std::min(latency_ns_[a * nodes_ + b], fixed);
      latency_ns_[b * nodes_ + a] = std::min(latency_ns_[b * nodes_ + a], fixed);
    }
  }

  void send(const ControlMessage& message, TimeNs now) {
    TimeNs latency = latency_ns_[message.from * nodes_ + message.to];
    if (latency == never_ns) latency = 0;  // no channel: the two share a process or never talk
    Waiting entry{now + latency, next_++, message};
    const auto place = std::upper_bound(
        waiting_.begin(), waiting_.end(), entry, [](const Waiting& a, const Waiting& b) {
          return std::pair(a.at_ns, a.sequence) < std::pair(b.at_ns, b.sequence);
        });
    waiting_.insert(place, entry);
  }

  void deliver(TimeNs now, std::vector<ControlMessage>& out) {
    for (; !waiting_.empty() && waiting_.front().at_ns <= now; waiting_.pop_front())
      out.push_back(waiting_.front().message);
  }

  TimeNs next_ns() const { return waiting_.empty() ? never_ns : waiting_.front().at_ns; }

 private:
  struct Waiting {
    TimeNs at_ns = 0;
    std::uint64_t sequence = 0;
    ControlMessage message;
  };
  std::size_t nodes_;
  std::vector<TimeNs> latency_ns_;  // [from][to]
  std::deque<Waiting> waiting_;     // in order of arrival
  std::uint64_t next_ = 0;
};

}  // namespace kvhaul::emulated
