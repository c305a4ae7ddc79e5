// The emulated links: a link shared by several channels serves their chunks in the order in which
// they come to it, so two busy channels get half each and no link ever carries more than its rate.
// That is a coarse picture of contention (no max-min sharing, no congestion control); the SimGrid
// backend has a finer one.
//
// A link keeps two clocks: the wire's, and its own, which counts what it could have carried and
// runs at the link's share of its rate. What a chunk has been promised is a moment of the second,
// so a change of the share moves all that is under way by itself, and nothing is rounded twice.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backends/modelled/wire.h"
#include "core/backend.h"

namespace kvhaul::emulated {

class QueuedWire final : public modelled::Wire {
 public:
  QueuedWire(const Cluster& cluster, std::span<const ChannelRequest> requests);

  void enter(const modelled::Passage& passage, modelled::TimePs now) override;
  void stop(ChannelId channel, modelled::TimePs now) override;
  modelled::TimePs next_ps() override;
  ChannelId leave() override;
  bool set_link_share(LinkId link, double share, modelled::TimePs now) override;

 private:
  using TimePs = modelled::TimePs;
  struct Link {
    std::uint64_t ps_per_byte_q32 = 0;
    TimePs free_work_ps = 0;  // on its own clock
    double share = 1;
    TimePs since_ps = 0;       // it has had this share, when its own clock
    TimePs since_work_ps = 0;  // said this

    TimePs work_at(TimePs time) const;
    TimePs time_of(TimePs work) const;
    void settle(TimePs now);
  };
  struct Crossing {
    LinkId link = 0;
    TimePs passed_work_ps = 0;  // when the chunk on the wire has passed it, on the link's own clock
  };
  struct Channel {
    std::vector<Crossing> links;  // repeated crossings repeated
    TimePs alone_done_ps = 0;     // no sooner than that
    std::uint64_t sequence = 0;   // of the chunk that is on the wire
  };
  struct Leaving {
    TimePs at_ps = 0;
    std::uint64_t sequence = 0;
    ChannelId channel = 0;
  };
  TimePs leaves_at(const Channel& channel) const;
  void drop_stopped();

  std::vector<Link> links_;
  std::vector<Channel> channels_;
  std::vector<Leaving> heap_;  // earliest first, then in order of entering
  std::uint64_t next_sequence_ = 1;
};

}  // namespace kvhaul::emulated
