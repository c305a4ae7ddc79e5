// When chunks land on modelled links: everything but what happens on the wire itself.
//
// A channel serves its chunks first in, first out, one at a time. A chunk of S bytes in p pieces
//
//   waits for the posting thread of its place       p x post_ns, one post after the other
//   waits for its channel
//   waits for links that have rested                RouteCosts::after_idle
//   occupies every link of its route                (S + p h) / rate of the link, or longer: the
//   wire and frees the channel when it has passed; it lands after the fixed latency, and after the
//   further stages of a store-and-forward route, which overlap with the chunks behind it.
//
// How its pieces are gathered changes these numbers, and adds to the latency (GatherCosts).
//
// Where nothing is shared, every wire gives the same times, to the picosecond.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backends/modelled/wire.h"
#include "core/backend.h"

namespace kvhaul::modelled {

/// Cost of a byte as a 32.32 fixed-point number of picoseconds; 0 for a rate of 0.
std::uint64_t ps_per_byte_q32(double bytes_per_s);
inline TimePs cost_ps(std::uint64_t ps_per_byte_q32, Bytes bytes) {
  return static_cast<TimePs>((static_cast<Wide>(bytes) * ps_per_byte_q32) >> 32);
}

class ChannelQueues {
 public:
  ChannelQueues(const Cluster& cluster, std::span<const ChannelRequest> requests,
                std::unique_ptr<Wire> wire);

  struct Landing {
    std::uint32_t ticket = 0;
    TimeNs ready_ns = 0;  // the posting thread was through with it
    TimeNs started_ns = 0;
    TimeNs done_ns = 0;
  };

  /// A chunk is posted now. `ticket` comes back in its landing; it must not be in use.
  void post(ChannelId channel, std::uint32_t ticket, const ChunkPost& chunk, TimeNs now);
  /// Stops a chunk that has not left its channel yet. False when it has: it will land.
  bool cancel(std::uint32_t ticket, TimeNs now);
  /// Appends what has landed up to `now`, in order of time, then of posting.
  void advance(TimeNs now, std::vector<Landing>& landings);
  /// When advance() will next have work, not necessarily a landing; never_ns when all is quiet.
  TimeNs next_ns() const;
  bool set_link_share(LinkId link, double share, TimeNs now);

 private:
  /// Of what the channel serves: `waking` and `on_wire` take part in the use of the links.
  enum class Serving : std::uint8_t { posted, waking, on_wire };
  struct Channel {
    std::vector<std::uint32_t> queue;  // tickets, oldest at `head`
    std::size_t head = 0;
    std::uint32_t serving = no_id;
    Serving state = Serving::posted;
    std::uint32_t poster = 0;
    std::uint64_t ps_per_byte_q32 = 0;
    TimePs fixed_ps = 0;
    TimePs last_done_ps = 0;
    std::uint32_t stages = 1;
    std::uint32_t gathers = 0;  // its entry in gathers_
    std::vector<LinkId> links;  // where some route minds how long they have rested; else none
    std::vector<IdleCost> after_idle;
  };
  struct LinkUse {
    std::uint32_t chunks = 0;  // that it carries or is woken for
    TimePs rests_since_ps = long_ago_ps;
    TimePs awake_ps = long_ago_ps;  // what comes meanwhile waits, too
  };
  static constexpr TimePs long_ago_ps = -never_ps;
  /// By Gather, with [each]; a method that the channel lacks is as [each].
  using Gathers = std::array<GatherCosts, gather_count>;
  struct Ticket {
    ChannelId channel = 0;
    std::uint32_t use = 0;  // counts the posts under this ticket; an event of an older one is void
    Bytes charged_bytes = 0;
    TimePs gather_ps = 0;  // what gathering and scattering add to its latency
    TimePs ready_ps = 0;   // the posting thread is through with it
    TimePs started_ps = 0;
    TimePs done_ps = 0;
  };
  enum class Step : std::uint8_t { start, land };
  struct Event {
    TimePs at_ps = 0;
    std::uint64_t sequence = 0;
    std::uint32_t ticket = 0;
    std::uint32_t use = 0;
    Step step = Step::start;
  };

  void push(TimePs at, Step step, std::uint32_t ticket);
  void pop();
  void try_start(ChannelId channel, TimePs now);
  void start(std::uint32_t ticket, TimePs now);
  TimePs wake_links(const Channel& channel, TimePs now);
  void leave_links(const Channel& channel, TimePs now);
  void left(ChannelId channel, TimePs now, std::vector<Landing>& landings);
  void take_step(std::vector<Landing>& landings);
  Landing landing(std::uint32_t ticket) const;

  std::unique_ptr<Wire> wire_;
  std::vector<Channel> channels_;
  std::vector<Gathers> gathers_;         // channels that follow each other mostly share one
  std::vector<TimePs> posters_free_ps_;  // by posting place
  std::vector<LinkUse> link_uses_;       // by link; none where no route minds
  std::vector<Ticket> tickets_;
  std::vector<Event> heap_;  // earliest first, then in order of pushing
  std::uint64_t next_sequence_ = 0;
};

}  // namespace kvhaul::modelled
