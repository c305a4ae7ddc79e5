// Control messages between the nodes of a modelled cluster: each takes the fixed latency of the
// quickest channel between the two nodes and its bytes at that channel's rate, one after the other.
// They do not slow the chunks on the links, and no fault script touches them.
#pragma once

#include <algorithm>
#include <deque>
#include <span>
#include <utility>
#include <vector>

#include "core/backend.h"
#include "core/channel_plan.h"

namespace kvhaul::modelled {

class ControlPlane {
 public:
  ControlPlane(const Cluster& cluster, std::span<const ChannelRequest> requests)
      : nodes_(cluster.nodes.size()), roads_(nodes_ * nodes_) {
    for (const ChannelRequest& request : requests) {
      const NodeId a = cluster.places[request.route.source].node;
      const NodeId b = cluster.places[request.route.target].node;
      const ChannelNumbers numbers = numbers_of(request.route, request.costs);
      for (Road* road : {&roads_[a * nodes_ + b], &roads_[b * nodes_ + a]}) {
        if (numbers.fixed_ns >= road->latency_ns) continue;
        road->latency_ns = numbers.fixed_ns;
        road->cost =
            numbers.bytes_per_s > 0 ? ByteCost::from_rate(numbers.bytes_per_s) : ByteCost();
      }
    }
  }

  void send(const ControlMessage& message, TimeNs now) {
    Road& road = roads_[message.from * nodes_ + message.to];
    road.free_ns = std::max(road.free_ns, now) + road.cost.of(message.bytes);
    // No channel: the two share a process or never talk.
    const TimeNs latency = road.latency_ns == never_ns ? 0 : road.latency_ns;
    Waiting entry{road.free_ns + latency, next_++, message};
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
  /// The quickest channel between two nodes; messages follow each other on it.
  struct Road {
    TimeNs latency_ns = never_ns;
    ByteCost cost;
    TimeNs free_ns = 0;
  };
  std::size_t nodes_;
  std::vector<Road> roads_;      // [from][to]
  std::deque<Waiting> waiting_;  // in order of arrival
  std::uint64_t next_ = 0;
};

}  // namespace kvhaul::modelled
