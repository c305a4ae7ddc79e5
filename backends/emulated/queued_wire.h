// The emulated links: a link shared by several channels serves their chunks in the order in which
// they come to it, so two busy channels get half each and no link ever carries more than its rate.
// That is a coarse picture of contention (no max-min sharing, no congestion control); the SimGrid
// backend has a finer one.
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

 private:
  struct Link {
    std::uint64_t ps_per_byte_q32 = 0;
    modelled::TimePs free_ps = 0;
  };
  struct Channel {
    std::vector<LinkId> links;   // repeated crossings repeated
    std::uint64_t sequence = 0;  // of the chunk that is on the wire
  };
  struct Leaving {
    modelled::TimePs at_ps = 0;
    std::uint64_t sequence = 0;
    ChannelId channel = 0;
  };
  void drop_stopped();

  std::vector<Link> links_;
  std::vector<Channel> channels_;
  std::vector<Leaving> heap_;  // earliest first, then in order of entering
  std::uint64_t next_sequence_ = 1;
};

}  // namespace kvhaul::emulated
