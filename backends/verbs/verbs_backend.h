// The contract over queue pairs. One thread, no threads of its own: progress() and wait() ask the
// completion queues, and wait() sleeps on their events.
//
// A channel has two ends: its owner posts RDMA WRITEs (push) or READs (pull), the other end answers
// without a processor. When a path breaks, both ends are taken back before the chunks under way are
// reported: a packet that is still on the road must not write into memory that is used again.
//
// One class over several files, each named at its part of the declaration. Nobody else includes
// this.
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <poll.h>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backends/tickets.h"
#include "backends/verbs/datagrams.h"
#include "backends/verbs/memory.h"
#include "backends/verbs/message_link.h"
#include "backends/verbs/queue_pair.h"
#include "backends/verbs/registration.h"
#include "backends/verbs/requests.h"
#include "backends/verbs/rights.h"
#include "backends/verbs/staging.h"
#include "backends/verbs/verbs.h"

namespace kvhaul::verbs {

/// Kinds of messages between nodes; 0 is the link's own.
enum class Say : std::uint16_t {
  control = 1,  // a ControlMessage
  close = 2,    // owner to other end of a channel: take your queue pair back
  closed = 3,
  open = 4,  // connect it again
  opened = 5,
  port = 6,   // to another process: a port of ours went down or came up
  stage = 7,  // owner to other end of a staged channel: your part of a chunk (StagePart)
  staged = 8,
};

/// What close, closed, open, opened and staged say.
struct ChannelWord {
  ChannelId channel = 0;
  std::uint32_t generation = 0;
  std::uint32_t first_packet = 0;
  std::uint32_t ok = 1;
  std::uint32_t pair_number = 0;  // of the one who says it
};
struct PortWord {
  std::uint32_t nic = 0;
  std::uint32_t up = 0;
};

/// A NIC that some channel uses, of this process or another.
struct Nic {
  std::uint32_t number = 0;  // in Cluster::nics
  std::uint32_t rank = 0;
  PortAddress address;
  std::uint32_t datagrams = 0;  // the queue pair that takes them
  bool up = true;
  std::uint32_t port = no_id;  // of ours; else no_id
};

struct OpenPort {
  std::unique_ptr<Port> port;
  Datagrams datagrams;
  std::uint32_t unacknowledged = 0;  // events of its completion queue
  std::vector<std::uint32_t> nics;   // that it stands for
};

struct Work {
  ChunkPost chunk;
  TimeNs posted_ns = 0;
  TimeNs handed_ns = 0;  // to the queue pair
  std::uint32_t next = no_id;
  std::uint32_t last_request = 0;
  bool handed_whole = false;
  bool cancelled = false;                // while it flies
  Outcome outcome = Outcome::cancelled;  // while its channel is closing
  Bytes staged_at = 0;                   // of a staged channel: its place in the ring
};

struct Channel {
  //        breaks          far end is back      connected       an empty write has landed
  //   open -------> closing -------> shut, opening -------> trial -------------------> open
  enum class State : std::uint8_t { open, closing, shut, opening, trial };

  std::uint32_t own_nic = 0, far_nic = 0;  // of the owner, and of the other end
  NodeId owner = 0, other = 0;
  PlaceId source = no_id, target = no_id;
  std::uint32_t max_pieces = 0;  // of a chunk
  bool pull = false;
  bool owned = false, answered = false;  // which ends this process has
  std::unique_ptr<Staging> staging;      // null: NICs reach the segments at both ends
  QueuePair pair, answering;
  std::uint32_t pair_number = 0, answering_number = 0;
  std::uint32_t first_packet = 0, answering_first_packet = 0;

  // The owner's.
  State state = State::open;
  bool said_down = false;
  bool trial_failed = false;  // since it was open
  bool lost = false;          // a device of its staging answers no more
  std::uint32_t generation = 0;
  TimeNs due_ns = never_ns;         // of the state
  std::uint32_t cancelled = 0;      // of those that fly
  TimeNs cancel_due_ns = never_ns;  // they have to have ended
  TicketQueue waiting, flying;
  bool cutting = false;  // the last one that flies is not handed over whole
  Cut cut;
  std::uint32_t handed = 0, ended = 0;  // requests
  TimeNs last_done_ns = 0;

  /// What its near or far end, of the owner and of the other, has to have to do with a segment.
  MemoryUse use(bool near) const {
    if (near) return {own_nic, no_id, pull ? Access::local_write : Access::local_read};
    return {far_nic, owner, pull ? Access::remote_read : Access::remote_write};
  }
};

struct Road {
  std::uint32_t port = 0;  // of ours
  std::uint32_t nic = 0;   // far one
  AddressHandle way;
};
struct Link {
  MessageLink messages;
  std::vector<Road> roads;
};
struct Heard {
  NodeId from = 0, to = 0;
  MessageLink::Message message;
};

/// 8 bits of tag (0: a channel, else datagrams of port tag - 1), 8 of generation, 24 of channel, 24
/// of request.
constexpr std::uint64_t request_mask = (1u << 24) - 1;
constexpr std::uint64_t request_id(ChannelId channel, std::uint32_t generation,
                                   std::uint32_t request) {
  return (std::uint64_t{generation & 0xff} << 48) | (std::uint64_t{channel} << 24) |
         (request & request_mask);
}
/// Requests from a to b, counted modulo 2^24.
constexpr std::int32_t requests_between(std::uint32_t a, std::uint32_t b) {
  return static_cast<std::int32_t>((b - a) << 8) >> 8;
}

class VerbsBackend final : public Backend {
 public:
  using Clock = std::chrono::steady_clock;
  explicit VerbsBackend(const Options& options) : options_(options) {}

  ~VerbsBackend() override {
    for (OpenPort& open : ports_)
      if (open.unacknowledged != 0)
        ibv_ack_cq_events(open.port->completions.get(), open.unacknowledged);
  }

  std::string description() const override;
  bool moves_bytes() const override { return true; }
  bool drives(NodeId node) const override {
    return options_.rank_of_node.empty() || options_.rank_of_node[node] == rank();
  }

  Result<std::vector<ChannelNumbers>> open(const Cluster& cluster,
                                           std::span<const ChannelRequest> requests) override;
  Result<SegmentId> register_segment(PlaceId place, Bytes bytes) override;
  Result<void> start() override;
  void post(ChannelId id, std::span<const ChunkPost> chunks) override;
  void cancel(ChannelId id, ChunkId chunk) override;
  void send(const ControlMessage& message) override;
  void progress(BackendEvents& events) override;
  void wait(TimeNs until_ns) override;
  TimeNs now() const override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start_).count();
  }

  void fill(SegmentId segment, Bytes offset, Bytes length, std::uint64_t seed) override;
  void fill_ranges(SegmentId segment, std::span<const SegmentRange> ranges) override;
  std::uint64_t checksum(SegmentId segment, Bytes offset, Bytes length) override;
  void checksum_ranges(SegmentId segment, std::span<const SegmentRange> ranges,
                       std::span<std::uint64_t> sums) override;
  void read(SegmentId segment, Bytes offset, std::span<std::byte> into) override {
    note(memory_.read(segment, offset, into));
  }
  void write(SegmentId segment, Bytes offset, std::span<const std::byte> from) override {
    note(memory_.write(segment, offset, from));
  }

 private:
  template <class T>
  static void move_into(std::vector<T>& to, std::vector<T>& from) {
    to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
    from.clear();
  }

  std::uint32_t rank() const { return options_.exchange ? options_.exchange->rank() : 0; }
  std::uint32_t processes() const { return options_.exchange ? options_.exchange->size() : 1; }
  std::uint32_t rank_of(NodeId node) const {
    return options_.rank_of_node.empty() ? 0 : options_.rank_of_node[node];
  }

  DeviceMemorySource* devices() const { return options_.devices.get(); }
  void note(const Result<void>& result);

  // ---- backend_opening.cpp

  std::uint32_t nic_of(std::uint32_t cluster_nic);

  /// Which NICs each channel has at its ends.
  Result<void> plan(std::span<const ChannelRequest> requests);

  /// The port that the user wants for a NIC, or the one found here that is its by number: whether a
  /// channel uses those before it makes no difference.
  Result<PortName> port_name_of(const Nic& nic, std::span<const std::string> found) const;
  Result<void> open_ports();

  /// At each end of each channel that this process has: whether the NIC reaches the segments there,
  /// or they pass through a buffer.
  Result<void> choose_ways(std::span<const ChannelRequest> requests);
  static Staging& staging_of(Channel& channel);

  /// What a channel's near or far end of this process allows.
  Result<Rights> rights_of(const Channel& channel, bool near);

  /// Tried with a small piece of the place's memory, once for every port.
  Result<WayChoice> way_between(PlaceId place, std::uint32_t nic);

  /// A staged channel takes no chunk that does not fit its buffers.
  static ChannelNumbers numbers_with_staging(const ChannelRequest& request, const Staging* staging);

  /// Completion queues, queue pairs, and a place for datagrams.
  Result<void> make_ends();
  std::uint32_t first_packet(ChannelId);

  /// Tells the other processes how to reach this one's ends, and learns theirs.
  Result<void> meet();
  bool learn(std::string_view text);

  /// The keys that the channels of another process need to this one's memory and buffers; and what
  /// another process has told of its own.
  std::string keys_for(std::uint32_t rank) const;
  Result<void> learn_keys(std::string_view text);
  PathSettings path_settings() const;
  Result<void> connect_pair(Channel& channel);
  Result<void> connect_answering(Channel& channel);
  /// A connection that begins has new queue pairs, and the old ones go. Soft-RoCE keeps something
  /// of a read that was cut off: over the same ones, reset, no read came through any more in 7 of
  /// 72 channels.
  Result<void> make_pair(Channel& channel);
  Result<void> make_answering(Channel& channel);
  Result<void> set_clocks();

  // ---- backend_chunks.cpp

  bool is_sound(const Channel& channel, const ChunkPost& chunk) const;
  std::uint32_t new_work();
  void end(ChannelId id, std::uint32_t number, Outcome outcome);

  /// Hands over what the queue pair has room for. While it may have to be broken for the sake of
  /// cancelled chunks it is given no others.
  void feed(ChannelId id);
  bool hand_over(Channel& channel, ChannelId id);
  void completed(const ibv_wc& completion);

  // ---- backend_staging.cpp

  /// Gives waiting chunks places in the ring, and has the source's end copy. False: the channel
  /// has broken over it.
  bool enter_staging(ChannelId id);

  /// The NIC is done with a chunk: the target's end copies, or it has landed.
  bool leave_wire(ChannelId id, std::uint32_t number);
  void leave_staging(ChannelId id);

  /// Has the source's or the target's end copy. False: the channel has broken over it.
  bool begin_part(ChannelId id, const Work& work, bool source);

  /// The far end's part.
  void do_part(const StagePart& part);
  void watch_staging(ChannelId id);

  /// Copies that have been done at the ends of this process.
  void look_at_staging();

  /// The source's or the target's end has copied the oldest chunk that waits for it.
  void part_done(const ChannelWord& word, bool source);

  /// A device answers no more: the channel is down for good.
  void lose(ChannelId id);

  /// The rows of chunks that have begun and not ended.
  std::vector<TicketQueue*> under_way_of(Channel& channel);

  // ---- backend_mending.cpp

  /// The chunk under way that is oldest met with `outcome`; those behind it were not its fault.
  void break_channel(ChannelId id, Outcome outcome, const char* why);

  /// Nothing of the old connection can write any more.
  void finish_closing(ChannelId id);
  void open_again(ChannelId id);
  void heard(Say what, const ChannelWord& word);
  void finish_opening(const ChannelWord& word);

  /// Connecting says nothing about the path. A write of no bytes does, and touches no memory.
  void begin_trial(ChannelId id);
  void end_trial(ChannelId id);
  void nic_changed(std::uint32_t number, bool up);
  void take_down(ChannelId id, const char* why);
  void rank_lost(std::uint32_t lost);

  // ---- backend_messages.cpp

  /// Of the nodes with a NIC in use, which alone can be talked to.
  NodeId first_node_of(std::uint32_t rank) const;
  NodeId first_node() const { return first_node_of(rank()); }

  /// Between two ends of channels; those of one process need no message.
  void tell(NodeId from, NodeId to, Say what, const ChannelWord& word);
  void say(NodeId from, NodeId to, Say what, std::string_view bytes);

  /// Roads of one rail; where the two nodes share no rail, all.
  Link& link(NodeId from, NodeId to);
  void pump(Link& link, TimeNs now);
  void frame_came(std::uint32_t port, std::string_view frame);
  void hear(const Heard& heard);

  // ---- backend.cpp

  void serve(TimeNs now);
  /// Nobody tells when a device has copied: that has to be looked at.
  bool nothing_to_look_at() const { return found_.empty() && heard_.empty() && staging_.empty(); }
  void poll();

  /// What the others have said. A queue pair may take a second to connect where nobody answers for
  /// the address, and the links wait meanwhile: at most one in a call.
  void hear_all();

  /// The first of the ranges, of which one call may fill or sum so many: other processes hear
  /// nothing of this one meanwhile.
  static std::size_t at_a_time(std::span<const SegmentRange> ranges);

  /// So many bytes were filled or summed; now and then the other processes are served.
  void worked(std::span<const SegmentRange> ranges);

  /// Channels whose time has come.
  void attend(TimeNs now);
  void look_at_ports();
  TimeNs next_ns() const;
  /// When the channel's cancelled chunks have to have ended; never_ns without any.
  TimeNs cancelled_by_ns(const Channel& channel) const;

  /// Until then, or until a completion queue or a port has something to say.
  void sleep(TimeNs until);

  struct ChunkEnd {
    std::uint32_t request = 0;
    Bytes bytes = 0;
  };

  Options options_;
  const Cluster* cluster_ = nullptr;
  Clock::time_point start_;
  std::vector<OpenPort> ports_;  // first, so that all made from them goes before
  Memory memory_;
  std::vector<std::uint32_t> depth_;  // of a queue pair, by port
  std::vector<Nic> nics_;
  std::map<PlaceId, std::set<MemoryUse>> uses_of_place_;
  std::vector<Channel> channels_;
  std::map<std::pair<NodeId, NodeId>, Link> links_;  // by our node and the other one
  std::deque<Heard> heard_;
  bool started_ = false;    // the others have, too
  Bytes worked_bytes_ = 0;  // since they were served last
  std::set<std::uint32_t> remote_ranks_, lost_ranks_;
  std::uint32_t datagram_key_ = 0;
  std::uint64_t packets_drawn_ = 0;
  std::map<std::string, std::uint64_t> breaks_;  // of queue pairs, by what broke them
  std::map<std::pair<PlaceId, std::uint32_t>, WayChoice> ways_tried_;  // by place and port
  std::map<std::string, std::set<std::string>> ways_;  // in words, and who takes them
  std::vector<std::string> losses_;                    // what went wrong, for the description
  std::uint64_t unanswered_ = 0;

  std::vector<Work> work_;
  std::vector<std::uint32_t> free_work_;
  std::size_t in_use_ = 0;
  std::set<ChannelId> attention_;   // channels with a time to keep
  std::vector<ChannelId> staging_;  // channels with copies under way
  BackendEvents found_;
  TimeNs next_look_ns_ = 0;
  RequestList requests_;              // scratch of feed()
  std::vector<ChunkEnd> chunk_ends_;  // the same
  std::vector<pollfd> polled_;        // scratch of sleep()
};

}  // namespace kvhaul::verbs
