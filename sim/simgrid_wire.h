// Chunks on links that SimGrid shares: max-min, re-shared whenever a flow begins or ends.
//
// A chunk's work is the time it would take alone. It is done at (rate now / rate alone) of the
// clock; whenever SimGrid gives a channel another rate, what is left is converted. A chunk that was
// never slowed down is done after exactly the time it takes alone, to the picosecond, whatever the
// floating point in between: that is what makes decisions equal to the emulated backend's.
//
// Sharing is what costs, so SimGrid is asked only where there is something to share:
//   a channel whose next chunk is ready when one leaves keeps its flow;
//   a channel that has its links to itself needs no flow;
//   a link that can never be the narrowest of any road over it is left out (sim/binding_links.h).
// None of these changes a result. After a link's rate has been changed, all links and flows are
// SimGrid's.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <vector>

#include "backends/modelled/wire.h"
#include "core/backend.h"
#include "sim/simgrid_calls.h"

namespace kvhaul::sim {

class SimgridWire final : public modelled::Wire {
 public:
  /// The cluster must outlive it.
  SimgridWire(const Cluster& cluster, std::span<const ChannelRequest> requests);

  void enter(const modelled::Passage& passage, modelled::TimePs now) override;
  void stop(ChannelId channel, modelled::TimePs now) override;
  modelled::TimePs next_ps() override;
  ChannelId leave() override;
  bool set_link_share(LinkId link, double share, modelled::TimePs now) override;

 private:
  using TimePs = modelled::TimePs;
  struct Channel {
    double alone_bytes_per_s = 0;  // 0: it crosses no link
    double slowdown = 1;           // rate alone / rate now
    double left_ps = 0;            // work left at `settled_ps`, as time alone
    TimePs settled_ps = 0;
    TimePs done_ps = 0;
    std::uint64_t sequence = 0;  // of entering
    bool busy = false;           // a chunk is on it
    bool counted = false;        // so do users_ say
    bool flowing = false;        // its flow runs in SimGrid
    bool touched = false;        // in touched_
    std::size_t busy_at = 0;     // in busy_
    std::vector<LinkId> links;   // each once
    std::vector<LinkId> reads;   // those of them that give less to several readers
  };
  /// Channels with a chunk on the link. One of them alone is told by the exclusive or of all.
  struct Users {
    std::uint32_t count = 0;
    ChannelId mixed = 0;
  };

  struct Readers {
    std::map<PlaceId, int> channels;  // busy ones, by the place they read
    int places = 0;                   // with any
  };

  void build(const std::vector<bool>& links);
  double rate_now(LinkId link) const;
  bool count_reader(ChannelId id, LinkId link, int step);
  void touch(ChannelId id, TimePs now);
  bool end(ChannelId id);
  bool begin(ChannelId id);
  void flow(ChannelId id);
  void apply_changes();
  void settle(Channel& channel, TimePs now) const;
  void find_next();

  const Cluster& cluster_;
  std::vector<ChannelRequest> requests_;
  std::unique_ptr<SimgridPlatform> platform_;
  std::vector<Channel> channels_;
  std::vector<double> shares_;         // of each link's rate; empty before the first change
  std::vector<Users> users_;           // by link
  std::vector<bool> used_;             // by link: some channel crosses it
  std::map<LinkId, Readers> readers_;  // of ports that give less to several
  std::vector<ChannelId> busy_;        // those with a chunk
  std::vector<ChannelId> touched_;     // whose flow may have to begin or end
  TimePs changed_ps_ = 0;              // when
  bool rates_changed_ = false;
  bool next_known_ = false;
  ChannelId next_ = no_id;
  std::uint64_t next_sequence_ = 1;
};

}  // namespace kvhaul::sim
