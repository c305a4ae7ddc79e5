// What one pair's scheduler should do, as plainly as it can be said: nothing is kept but the list
// of what waits and the list of what is in flight, and every question is answered by looking at all
// of them again. Rates are as advertised; every chunk is one piece.
#pragma once

#include <algorithm>
#include <tuple>
#include <vector>

#include "core/scheduler_setup.h"
#include "core/transfer.h"

namespace kvhaul::test {

class ReferenceScheduler {
 public:
  struct Waiting {
    TransferId id = 0;
    std::uint64_t sequence = 0;
    Priority priority = Priority::normal;
    TimeNs submitted_ns = 0, deadline_ns = 0;
    Bytes left = 0;
  };
  struct Flying {
    ChunkId chunk = 0;
    TransferId transfer = 0;
    std::uint32_t channel = 0;
    Bytes bytes = 0;
  };

  explicit ReferenceScheduler(const SchedulerSetup& setup) : setup_(setup) {}
  std::vector<Waiting> waiting;
  std::vector<Flying> flying;

  /// The most urgent: class, risen by one for every ageing_ns since submission; deadline; age.
  const Waiting* head(TimeNs now) const {
    const auto rank = [&](const Waiting& w) {
      const TimeNs risen = (now - w.submitted_ns) / setup_.config.ageing_ns;
      return std::tuple(std::max<TimeNs>(0, static_cast<TimeNs>(w.priority) - risen), w.deadline_ns,
                        w.sequence);
    };
    const auto least =
        std::min_element(waiting.begin(), waiting.end(),
                         [&](const Waiting& a, const Waiting& b) { return rank(a) < rank(b); });
    return least == waiting.end() ? nullptr : &*least;
  }

  bool has_room(std::uint32_t channel, Bytes bytes) const {
    const SetupChannel& c = setup_.channels[channel];
    const std::size_t here = std::count_if(flying.begin(), flying.end(),
                                           [&](const Flying& f) { return f.channel == channel; });
    if (here >= c.numbers.max_in_flight) return false;
    if (here >= 2 &&
        queued_ns(channel) + service_ns(channel, bytes) > setup_.config.channel_window_ns)
      return false;
    return std::all_of(c.links.begin(), c.links.end(), [&](std::uint32_t link) {
      const TimeNs queued = link_queued_ns(link);
      return queued == 0 || queued + link_ns(link, channel, bytes) <= setup_.config.link_window_ns;
    });
  }

  /// Where it would land first: queue of the channel or of its fullest link, and its own time.
  std::uint32_t least_expected(Bytes bytes) const {
    const auto finish = [&](std::uint32_t channel) {
      TimeNs queued = queued_ns(channel);
      for (const std::uint32_t link : setup_.channels[channel].links)
        queued = std::max(queued, link_queued_ns(link));
      return setup_.channels[channel].numbers.fixed_ns + queued + service_ns(channel, bytes);
    };
    std::uint32_t best = 0;
    for (std::uint32_t c = 1; c < setup_.channels.size(); ++c)
      if (finish(c) < finish(best)) best = c;
    return best;
  }

 private:
  TimeNs service_ns(std::uint32_t channel, Bytes bytes) const {
    const ChannelNumbers& n = setup_.channels[channel].numbers;
    return std::max(ByteCost::from_rate(n.bytes_per_s).of(bytes + n.half_bandwidth_bytes),
                    n.post_ns);
  }
  TimeNs link_ns(std::uint32_t link, std::uint32_t channel, Bytes bytes) const {
    return ByteCost::from_rate(setup_.links[link].bytes_per_s)
        .of(bytes + setup_.channels[channel].numbers.half_bandwidth_bytes);
  }
  TimeNs queued_ns(std::uint32_t channel) const {
    TimeNs sum = 0;
    for (const Flying& f : flying)
      if (f.channel == channel) sum += service_ns(channel, f.bytes);
    return sum;
  }
  TimeNs link_queued_ns(std::uint32_t link) const {
    TimeNs sum = 0;
    for (const Flying& f : flying) {
      const auto& links = setup_.channels[f.channel].links;
      if (std::find(links.begin(), links.end(), link) != links.end())
        sum += link_ns(link, f.channel, f.bytes);
    }
    return sum;
  }

  const SchedulerSetup& setup_;
};

}  // namespace kvhaul::test
