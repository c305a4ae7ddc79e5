// The contract over queue pairs. One thread, no threads of its own: progress() and wait() ask the
// completion queues, and wait() sleeps on their events.
//
// A channel has two ends: its owner posts RDMA WRITEs (push) or READs (pull), the other end answers
// without a processor. When a path breaks, both ends are taken back before the chunks under way are
// reported: a packet that is still on the road must not write into memory that is used again.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <poll.h>
#include <random>
#include <set>

#include "backends/tickets.h"
#include "backends/verbs/datagrams.h"
#include "backends/verbs/memory.h"
#include "backends/verbs/message_link.h"
#include "backends/verbs/queue_pair.h"
#include "backends/verbs/registration.h"
#include "backends/verbs/requests.h"
#include "backends/verbs/staging.h"
#include "backends/verbs/status.h"
#include "backends/verbs/verbs.h"
#include "backends/verbs/wire_text.h"
#include "core/channel_plan.h"
#include "core/checksum.h"
#include "core/random.h"
#include "core/unit_text.h"

namespace kvhaul::verbs {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint32_t requests_of_pair = 256;  // posted and not known to have ended
constexpr std::uint32_t pieces_of_request = 16;
constexpr std::uint32_t inline_bytes = 128;
/// Chunks below that share a completion with their successors.
constexpr Bytes bytes_without_completion = 64 * KiB;

/// A request under way cannot be stopped. One that has not ended so long after its cancel takes its
/// channel down.
constexpr TimeNs cancelled_chunk_ends_within_ns = 50 * ms_ns;
/// For the far end to say that it has taken its queue pair back; a packet does not live as long.
constexpr TimeNs close_within_ns = 100 * ms_ns;
constexpr TimeNs open_again_after_ns = 100 * ms_ns;
constexpr TimeNs answer_to_open_within_ns = 1 * s_ns;
/// Where the path is dead and the device keeps silent about it.
constexpr TimeNs trial_ends_within_ns = 2 * s_ns;
constexpr TimeNs look_at_ports_every_ns = 1 * ms_ns;
/// wait() asks the queues for so long before it sleeps; sleeping is exact to about as much.
constexpr TimeNs awake_for_ns = 50 * us_ns;

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
  explicit VerbsBackend(const Options& options) : options_(options) {}

  ~VerbsBackend() override {
    for (OpenPort& open : ports_)
      if (open.unacknowledged != 0)
        ibv_ack_cq_events(open.port->completions.get(), open.unacknowledged);
  }

  std::string description() const override {
    std::string text = "verbs, real time, payload real, ";
    const std::string used = devices() == nullptr ? "" : devices()->text();
    text += devices() == nullptr ? "GPU places in host memory" : "GPU places in GPU memory";
    if (!used.empty()) text += ", " + used;
    for (const OpenPort& open : ports_) {
      text += ", " + open.port->text() + " for";
      for (const std::uint32_t nic : open.nics)
        text += " " + cluster_->nics[nics_[nic].number].name;
    }
    text += "; registered " + bytes_text(memory_.registered_bytes()) + " in " +
            duration_text(memory_.registered_in_ns());
    for (const auto& [way, where] : ways_) {
      text += "; ";
      for (const std::string& end : where) text += (end == *where.begin() ? "" : ", ") + end;
      text += ": " + way;
    }
    for (const std::string& loss : losses_) text += "; " + loss;
    for (const auto& [why, count] : breaks_)
      text += "; queue pairs broken by " + why + ": " + std::to_string(count);
    return text;
  }
  bool moves_bytes() const override { return true; }
  bool drives(NodeId node) const override {
    return options_.rank_of_node.empty() || options_.rank_of_node[node] == rank();
  }

  Result<std::vector<ChannelNumbers>> open(const Cluster& cluster,
                                           std::span<const ChannelRequest> requests) override {
    cluster_ = &cluster;
    start_ = Clock::now();
    if (auto planned = plan(requests); !planned) return planned.error();
    if (auto opened = open_ports(); !opened) return opened.error();
    if (auto chosen = choose_ways(requests); !chosen) return chosen.error();
    if (auto made = make_ends(); !made) return made.error();
    if (auto met = meet(); !met) return met.error();
    std::vector<ChannelNumbers> numbers;
    for (const ChannelRequest& request : requests)
      numbers.push_back(numbers_with_staging(request, channels_[numbers.size()].staging.get()));
    for (ChannelId c = 0; c < channels_.size(); ++c) {
      Channel& channel = channels_[c];
      if (channel.answered)
        if (auto ok = connect_answering(channel); !ok) return ok.error();
      if (channel.owned)
        if (auto ok = connect_pair(channel); !ok) return ok.error();
    }
    start_ = Clock::now();
    return numbers;
  }

  Result<SegmentId> register_segment(PlaceId place, Bytes bytes) override {
    const Clock::time_point before = Clock::now();
    const NodeId node = cluster_->places[place].node;
    if (drives(node)) {
      std::map<std::uint32_t, Port*> ports;
      for (const std::uint32_t nic : nics_of_place_[place])
        ports.emplace(nic, ports_[nics_[nic].port].port.get());
      if (auto added = memory_.add(place, cluster_->places[place].name, bytes, ports, devices());
          !added)
        return added.error();
    } else {
      memory_.add_remote(place, bytes);
    }
    // With one process there is nobody to wait for.
    if (processes() == 1)
      if (auto known = memory_.import_keys(memory_.export_keys()); !known) return known.error();
    start_ += Clock::now() - before;
    return static_cast<SegmentId>(memory_.size() - 1);
  }

  Result<void> start() override {
    if (processes() == 1) return {};
    auto all = all_gather(*options_.exchange, memory_.export_keys());
    if (!all) return all.error();
    for (const std::string& exported : *all)
      if (auto known = memory_.import_keys(exported); !known) return known.error();
    return set_clocks();
  }

  void post(ChannelId id, std::span<const ChunkPost> chunks) override {
    Channel& channel = channels_[id];
    const TimeNs now = this->now();
    for (const ChunkPost& chunk : chunks) {
      const Outcome wrong = channel.said_down ? Outcome::path_failed : Outcome::invalid;
      if (channel.said_down || !is_sound(channel, chunk)) {
        found_.completions.push_back({id, wrong, chunk.chunk, now, now, now, chunk.bytes});
        continue;
      }
      const std::uint32_t number = new_work();
      work_[number] = {};
      work_[number].chunk = chunk;
      work_[number].posted_ns = work_[number].handed_ns = now;
      channel.waiting.push(work_, number);
    }
    feed(id);
  }

  void cancel(ChannelId id, ChunkId chunk) override {
    Channel& channel = channels_[id];
    const auto is_it = [&](const Work& work) { return work.chunk.chunk == chunk; };
    if (const std::uint32_t number = channel.waiting.take(work_, is_it); number != no_id) {
      end(id, number, Outcome::cancelled);
      return;
    }
    for (const TicketQueue* under_way : under_way_of(channel))
      for (std::uint32_t n = under_way->first; n != no_id; n = work_[n].next)
        if (is_it(work_[n]) && !work_[n].cancelled) {
          work_[n].cancelled = true;
          if (channel.cancelled++ == 0)
            channel.cancel_due_ns = now() + cancelled_chunk_ends_within_ns;
          attention_.insert(id);
        }
  }

  void send(const ControlMessage& message) override {
    if (message.from == message.to) {
      found_.messages.push_back(message);
      return;
    }
    std::string bytes;
    put(bytes, message.kind);
    put(bytes, message.place);
    put(bytes, message.value);
    put(bytes, message.value2);
    put(bytes, message.bytes);
    for (const std::uint64_t word : message.body) put(bytes, word);
    say(message.from, message.to, Say::control, bytes);
  }

  void progress(BackendEvents& events) override {
    serve(now());
    move_into(events.completions, found_.completions);
    move_into(events.changes, found_.changes);
    move_into(events.messages, found_.messages);
    move_into(events.lost_nodes, found_.lost_nodes);
  }

  void wait(TimeNs until_ns) override {
    const TimeNs begin = now();
    while (true) {
      const TimeNs now = this->now();
      serve(now);
      if (!found_.empty() || now >= until_ns) return;
      const TimeNs until = std::min(until_ns, next_ns());
      if (until == never_ns && in_use_ == 0 && remote_ranks_.empty()) return;
      if (now - begin < awake_for_ns || until - now < awake_for_ns) continue;
      sleep(until == never_ns ? never_ns : until - awake_for_ns);
    }
  }

  TimeNs now() const override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start_).count();
  }

  void fill(SegmentId segment, Bytes offset, Bytes length, std::uint64_t seed) override {
    const SegmentRange range{offset, length, seed};
    fill_ranges(segment, {&range, 1});
  }
  void fill_ranges(SegmentId segment, std::span<const SegmentRange> ranges) override {
    note(memory_.fill(segment, ranges));
  }
  std::uint64_t checksum(SegmentId segment, Bytes offset, Bytes length) override {
    const SegmentRange range{offset, length};
    std::uint64_t sum = 0;
    checksum_ranges(segment, {&range, 1}, {&sum, 1});
    return sum;
  }
  void checksum_ranges(SegmentId segment, std::span<const SegmentRange> ranges,
                       std::span<std::uint64_t> sums) override {
    // What a lost device does not answer must not look like an answer.
    std::fill(sums.begin(), sums.end(), ++unanswered_);
    note(memory_.checksum(segment, ranges, sums));
  }
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
  void note(const Result<void>& result) {
    if (result) return;
    const std::string& what = result.error().message;
    if (std::find(losses_.begin(), losses_.end(), what) == losses_.end()) losses_.push_back(what);
  }

  // ---- Opening ------------------------------------------------------------------------------

  std::uint32_t nic_of(std::uint32_t cluster_nic) {
    for (std::uint32_t n = 0; n < nics_.size(); ++n)
      if (nics_[n].number == cluster_nic) return n;
    nics_.push_back({cluster_nic, rank_of(cluster_->nics[cluster_nic].node), {}, 0, true, no_id});
    return static_cast<std::uint32_t>(nics_.size() - 1);
  }

  /// Which NICs each channel has at its ends.
  Result<void> plan(std::span<const ChannelRequest> requests) {
    for (const ChannelRequest& request : requests) {
      const Route& route = request.route;
      if (route.kind != RouteKind::rdma && route.kind != RouteKind::rdma_staged)
        return Error::missing("route '" + route.name +
                              "': the verbs backend drives rdma and "
                              "rdma_staged only");
      std::uint32_t sender = no_id, receiver = no_id;
      for (std::uint32_t n = 0; n < cluster_->nics.size(); ++n)
        for (const LinkId hop : route.hops) {
          if (hop == cluster_->nics[n].tx) sender = n;
          if (hop == cluster_->nics[n].rx) receiver = n;
        }
      check(sender != no_id && receiver != no_id, "an rdma route without NICs");
      Channel channel;
      channel.pull = request.pull;
      channel.max_pieces = request.costs.max_pieces;
      channel.source = route.source;
      channel.target = route.target;
      channel.own_nic = nic_of(request.pull ? receiver : sender);
      channel.far_nic = nic_of(request.pull ? sender : receiver);
      channel.owner = cluster_->places[request.pull ? route.target : route.source].node;
      channel.other = cluster_->places[request.pull ? route.source : route.target].node;
      channel.owned = drives(channel.owner);
      channel.answered = drives(channel.other);
      channels_.push_back(std::move(channel));
    }
    if (channels_.size() > request_mask) return Error::bad_input("more than 16777215 channels");
    for (NodeId node = 0; node < cluster_->nodes.size(); ++node)
      if (!drives(node)) remote_ranks_.insert(rank_of(node));
    return {};
  }

  /// The port that the user wants for a NIC, or the one found here that is its by number: whether a
  /// channel uses those before it makes no difference.
  Result<PortName> port_name_of(const Nic& nic, std::span<const std::string> found) const {
    const std::string& name = cluster_->nics[nic.number].name;
    if (!options_.nics.empty()) {
      if (nic.number >= options_.nics.size())
        return Error::bad_input("--nics: " + std::to_string(options_.nics.size()) + " ports for " +
                                std::to_string(cluster_->nics.size()) + " NICs of the scenario; " +
                                name + " has none");
      auto parsed = parse_port_name(options_.nics[nic.number]);
      if (!parsed) return Error::bad_input("--nics: " + parsed.error().message);
      return parsed;
    }
    const auto nth_of_ours = static_cast<std::size_t>(
        std::count_if(cluster_->nics.begin(), cluster_->nics.begin() + nic.number,
                      [&](const kvhaul::Nic& before) { return drives(before.node); }));
    if (nth_of_ours < found.size()) return PortName{found[nth_of_ours], 1, {}};
    std::string list;
    for (const std::string& device : found) list += (list.empty() ? "" : ", ") + device;
    return Error::missing(name + " has no RDMA device: here " +
                          (found.empty() ? std::string("is none") : "is " + list) +
                          "; --nics names one for each NIC, and may name one twice");
  }

  Result<void> open_ports() {
    const std::vector<std::string> found = device_names();
    // In the order of the scenario, whichever channel came first.
    std::vector<std::uint32_t> ours;
    for (std::uint32_t n = 0; n < nics_.size(); ++n)
      if (nics_[n].rank == rank()) ours.push_back(n);
    std::sort(ours.begin(), ours.end(),
              [&](auto a, auto b) { return nics_[a].number < nics_[b].number; });
    for (const std::uint32_t our : ours) {
      Nic& nic = nics_[our];
      auto name = port_name_of(nic, found);
      if (!name) return name.error();
      for (nic.port = 0; nic.port < ports_.size(); ++nic.port)
        if (ports_[nic.port].port->name == *name) break;
      if (nic.port == ports_.size()) {
        auto opened = open_port(*name);
        if (!opened)
          return Error{opened.error().kind,
                       cluster_->nics[nic.number].name + ": " + opened.error().message};
        ports_.push_back({std::move(*opened), {}, 0, {}});
      }
      ports_[nic.port].nics.push_back(our);
    }
    if (ports_.size() > 254) return Error::bad_input("more than 254 ports in one process");
    return {};
  }

  /// At each end of each channel that this process has: whether the NIC reaches the segments there,
  /// or they pass through a buffer.
  Result<void> choose_ways(std::span<const ChannelRequest> requests) {
    if (devices() != nullptr)
      if (auto opened = devices()->open(*cluster_); !opened) return opened.error();
    for (ChannelId c = 0; c < channels_.size(); ++c) {
      Channel& channel = channels_[c];
      const bool always = requests[c].route.kind == RouteKind::rdma_staged;
      for (const bool near : {true, false}) {
        if (near ? !channel.owned : !channel.answered) continue;
        const bool source = near != channel.pull;
        const PlaceId place = source ? channel.source : channel.target;
        const std::uint32_t nic = near ? channel.own_nic : channel.far_nic;
        auto way = always ? WayChoice{MemoryWay::staged, "the route is rdma_staged"}
                          : way_between(place, nic);
        if (!way)
          return Error{way.error().kind, cluster_->places[place].name + ": " + way.error().message};
        if (way->way != MemoryWay::host)
          ways_[std::string(memory_way_name(way->way)) +
                (way->why.empty() ? "" : " (" + way->why + ")")]
              .insert(cluster_->places[place].name + " on " +
                      ports_[nics_[nic].port].port->name.text());
        if (way->way != MemoryWay::staged) {
          nics_of_place_[place].insert(nic);
          continue;
        }
        Staging& staging = staging_of(channel);
        (near ? staging.near : staging.far) = true;
        auto end = StagingEnd::make(devices(), place,
                                    source ? StagingWay::from_device : StagingWay::to_device,
                                    channel.max_pieces, *ports_[nics_[nic].port].port);
        if (!end)
          return Error{end.error().kind, cluster_->places[place].name + ": " + end.error().message};
        if (!near) staging.far_keys = end->remote();
        (near ? staging.near_end : staging.far_end) = std::move(*end);
      }
    }
    return {};
  }

  static Staging& staging_of(Channel& channel) {
    if (!channel.staging) channel.staging = std::make_unique<Staging>();
    return *channel.staging;
  }

  /// Tried with a small piece of the place's memory, once for every port.
  Result<WayChoice> way_between(PlaceId place, std::uint32_t nic) {
    if (devices() == nullptr || !devices()->holds(place)) return WayChoice{};
    const std::uint32_t port = nics_[nic].port;
    const auto [known, is_new] = ways_tried_.try_emplace({place, port});
    if (!is_new) return known->second;
    constexpr Bytes probe_bytes = 2 * MiB;
    auto probe = devices()->allocate(place, probe_bytes);
    if (!probe) return probe.error();
    auto registered = register_device(*ports_[port].port, **probe, probe_bytes,
                                      devices()->peer_memory_missing(place), "");
    if (!registered) return registered.error();
    return known->second = registered->way;
  }

  /// A staged channel takes no chunk that does not fit its buffers.
  static ChannelNumbers numbers_with_staging(const ChannelRequest& request,
                                             const Staging* staging) {
    ChannelNumbers numbers = numbers_of(request.route, request.costs);
    if (staging == nullptr) return numbers;
    numbers.max_chunk_bytes = std::min(numbers.max_chunk_bytes, staged_chunk_bytes_max);
    numbers.stages = 1u + staging->near + staging->far;
    return numbers;
  }

  /// Completion queues, queue pairs, and a place for datagrams.
  Result<void> make_ends() {
    std::vector<std::uint32_t> pairs(ports_.size(), 0);
    for (const Channel& channel : channels_)
      if (channel.owned) ++pairs[nics_[channel.own_nic].port];
    std::uint32_t seed = std::random_device()();
    if (processes() > 1) {  // the datagrams' key is that of process 0
      auto keys =
          all_gather(*options_.exchange, {reinterpret_cast<const char*>(&seed), sizeof seed});
      if (!keys) return keys.error();
      std::string_view first = (*keys)[0];
      if (!take(first, seed)) return Error::failed("process 0 sent no key");
    }
    datagram_key_ = seed & 0x7fffffff;  // the other half belongs to the kernel
    for (std::uint32_t p = 0; p < ports_.size(); ++p) {
      Port& port = *ports_[p].port;
      const auto most = static_cast<std::uint32_t>(port.device.max_cqe);
      depth_.push_back(
          std::clamp((most - Datagrams::entries) / std::max(1u, pairs[p]), 16u, requests_of_pair));
      const std::uint32_t entries = Datagrams::entries + pairs[p] * depth_[p];
      if (entries > most)
        return Error::missing(port.name.text() + ": " + std::to_string(pairs[p]) +
                              " channels are more than its completion queue takes (" +
                              std::to_string(most) + " entries)");
      if (auto made = make_completion_queue(port, entries); !made) return made.error();
      auto made = Datagrams::make(port, datagram_key_, static_cast<std::uint8_t>(p + 1));
      if (!made) return made.error();
      ports_[p].datagrams = std::move(*made);
    }
    for (ChannelId c = 0; c < channels_.size(); ++c) {
      Channel& channel = channels_[c];
      channel.first_packet = first_packet(c);
      channel.answering_first_packet = first_packet(c);
      if (channel.owned) {
        const std::uint32_t port = nics_[channel.own_nic].port;
        auto made =
            QueuePair::make(*ports_[port].port, {depth_[port], pieces_of_request, inline_bytes});
        if (!made) return made.error();
        channel.pair = std::move(*made);
        channel.pair_number = channel.pair.number();
      }
      if (channel.answered) {
        auto made = QueuePair::make(*ports_[nics_[channel.far_nic].port].port, {1, 1, 0});
        if (!made) return made.error();
        channel.answering = std::move(*made);
        channel.answering_number = channel.answering.number();
      }
    }
    return {};
  }

  std::uint32_t first_packet(ChannelId) {
    return static_cast<std::uint32_t>(mix64(++packets_drawn_ ^ (std::uint64_t{rank()} << 40) ^
                                            (std::uint64_t{datagram_key_} << 8))) &
           0xffffff;
  }

  /// Tells the other processes how to reach this one's ends, and learns theirs.
  Result<void> meet() {
    std::string mine;
    for (std::uint32_t n = 0; n < nics_.size(); ++n) {
      Nic& nic = nics_[n];
      if (nic.port == no_id) continue;
      nic.address = ports_[nic.port].port->address;
      nic.datagrams = ports_[nic.port].datagrams.number();
      put(mine, std::uint8_t{'n'});
      put(mine, n);
      put(mine, nic.address);
      put(mine, nic.datagrams);
    }
    for (ChannelId c = 0; c < channels_.size(); ++c) {
      const Channel& channel = channels_[c];
      if (channel.owned) {
        put(mine, std::uint8_t{'o'});
        put(mine, c);
        put(mine, channel.pair_number);
        put(mine, channel.first_packet);
      }
      if (channel.answered) {
        put(mine, std::uint8_t{'a'});
        put(mine, c);
        put(mine, channel.answering_number);
        put(mine, channel.answering_first_packet);
      }
      if (channel.staging)
        for (const bool near : {true, false}) {
          const StagingEnd& end = near ? channel.staging->near_end : channel.staging->far_end;
          if (!end) continue;
          put(mine, std::uint8_t{'s'});
          put(mine, c);
          put(mine, near);
          put(mine, end.remote().address);
          put(mine, end.remote().keys.front());
        }
    }
    if (processes() == 1) return {};
    auto all = all_gather(*options_.exchange, mine);
    if (!all) return all.error();
    for (const std::string& text : *all)
      if (!learn(text)) return Error::failed("another process described ends that do not fit");
    for (const std::uint32_t other : remote_ranks_) link(first_node(), first_node_of(other));
    return {};
  }

  bool learn(std::string_view text) {
    while (!text.empty()) {
      std::uint8_t what = 0;
      std::uint32_t index = 0, number = 0, packet = 0;
      if (!take(text, what) || !take(text, index)) return false;
      if (what == 'n') {
        if (index >= nics_.size() || !take(text, nics_[index].address) ||
            !take(text, nics_[index].datagrams))
          return false;
        continue;
      }
      if (what == 's') {
        bool near = false;
        MemoryKeys keys{0, staging_bytes, slice_bytes, {0}};
        if (index >= channels_.size() || !take(text, near) || !take(text, keys.address) ||
            !take(text, keys.keys.front()))
          return false;
        Staging& staging = staging_of(channels_[index]);
        (near ? staging.near : staging.far) = true;
        if (!near) staging.far_keys = std::move(keys);
        continue;
      }
      if (index >= channels_.size() || !take(text, number) || !take(text, packet)) return false;
      Channel& channel = channels_[index];
      (what == 'o' ? channel.pair_number : channel.answering_number) = number;
      (what == 'o' ? channel.first_packet : channel.answering_first_packet) = packet;
    }
    return true;
  }

  PathSettings path_settings() const {
    PathSettings settings;
    settings.service_level = options_.service_level;
    settings.traffic_class = options_.traffic_class;
    return settings;
  }
  Result<void> connect_pair(Channel& channel) {
    return channel.pair.connect(
        {nics_[channel.far_nic].address, channel.answering_number, channel.answering_first_packet},
        channel.first_packet, path_settings());
  }
  Result<void> connect_answering(Channel& channel) {
    return channel.answering.connect(
        {nics_[channel.own_nic].address, channel.pair_number, channel.first_packet},
        channel.answering_first_packet, path_settings());
  }

  Result<void> set_clocks() {
    const auto raw = [] { return Clock::now().time_since_epoch(); };
    const auto ns = [&] {
      return std::chrono::duration_cast<std::chrono::nanoseconds>(raw()).count();
    };
    auto offset = clock_offset(*options_.exchange, ns);
    if (!offset) return offset.error();
    std::string begin;
    put(begin, TimeNs{ns()});
    auto begins = all_gather(*options_.exchange, begin);
    if (!begins) return begins.error();
    std::string_view of_first = (*begins)[0];
    TimeNs zero = 0;
    if (!take(of_first, zero)) return Error::failed("process 0 did not say when the run begins");
    start_ = Clock::time_point(std::chrono::nanoseconds(zero - offset->offset_ns));
    return {};
  }

  // ---- Chunks -------------------------------------------------------------------------------

  bool is_sound(const Channel& channel, const ChunkPost& chunk) const {
    if (chunk.source_segment >= memory_.size() || chunk.target_segment >= memory_.size() ||
        memory_.place(chunk.source_segment) != channel.source ||
        memory_.place(chunk.target_segment) != channel.target)
      return false;
    if (channel.staging &&
        (chunk.bytes > staged_chunk_bytes_max || chunk.piece_count > channel.max_pieces))
      return false;
    Bytes sum = 0;
    for (const Descriptor& piece : chunk.all()) {
      if (piece.length == 0 ||
          !memory_.inside(chunk.source_segment, piece.source_offset, piece.length) ||
          !memory_.inside(chunk.target_segment, piece.target_offset, piece.length))
        return false;
      sum += piece.length;
    }
    return sum == chunk.bytes && sum != 0;
  }

  std::uint32_t new_work() {
    ++in_use_;
    if (free_work_.empty()) {
      work_.emplace_back();
      return static_cast<std::uint32_t>(work_.size() - 1);
    }
    const std::uint32_t number = free_work_.back();
    free_work_.pop_back();
    return number;
  }

  void end(ChannelId id, std::uint32_t number, Outcome outcome) {
    const Work& work = work_[number];
    Channel& channel = channels_[id];
    const TimeNs done = now();
    const TimeNs started = std::clamp(channel.last_done_ns, work.handed_ns, done);
    found_.completions.push_back(
        {id, outcome, work.chunk.chunk, work.posted_ns, started, done, work.chunk.bytes});
    if (outcome == Outcome::ok) channel.last_done_ns = done;
    if (work.cancelled && --channel.cancelled == 0) channel.cancel_due_ns = never_ns;
    free_work_.push_back(number);
    --in_use_;
  }

  /// Hands over what the queue pair has room for. While it may have to be broken for the sake of
  /// cancelled chunks it is given no others.
  void feed(ChannelId id) {
    Channel& channel = channels_[id];
    if (channel.state != Channel::State::open || channel.cancelled != 0) return;
    Staging* const staging = channel.staging.get();
    if (staging != nullptr && !enter_staging(id)) return;
    TicketQueue& ready = staging != nullptr ? staging->ready : channel.waiting;
    const std::uint32_t depth = channel.pair.sizes().requests;
    std::uint32_t room =
        depth - static_cast<std::uint32_t>(requests_between(channel.ended, channel.handed));
    if (room == 0 || (ready.empty() && !channel.cutting)) return;
    requests_.clear();
    chunk_ends_.clear();
    const TimeNs now = this->now();
    while (room > requests_.size() && (channel.cutting || !ready.empty())) {
      if (!channel.cutting) {
        const std::uint32_t number = ready.pop(work_);
        channel.flying.push(work_, number);
        if (staging == nullptr) work_[number].handed_ns = now;
        channel.cut = {};
        channel.cutting = true;
      }
      Work& work = work_[channel.flying.last];
      const bool near_staged = staging != nullptr && staging->near;
      const bool far_staged = staging != nullptr && staging->far;
      const SegmentId near = channel.pull ? work.chunk.target_segment : work.chunk.source_segment;
      const SegmentId far = channel.pull ? work.chunk.source_segment : work.chunk.target_segment;
      const MemoryKeys* const remote =
          far_staged ? &staging->far_keys : memory_.remote(far, channel.far_nic);
      check(remote != nullptr, "a segment that no process has registered");
      const MemoryKeys& local =
          near_staged ? staging->near_end.local() : memory_.local(near, channel.own_nic);
      const ChunkPost& chunk = staging == nullptr
                                   ? work.chunk
                                   : staging->on_the_wire(work.chunk, channel.pull, work.staged_at);
      const RequestLimits limits = {
          room - static_cast<std::uint32_t>(requests_.size()),
          channel.pair.sizes().pieces_of_request,
          ports_[nics_[channel.own_nic].port].port->attributes.max_msg_sz};
      if (!requests_.add(chunk, !channel.pull, local, *remote, limits, channel.cut)) break;
      work.last_request = channel.handed + static_cast<std::uint32_t>(requests_.size()) - 1;
      work.handed_whole = true;
      channel.cutting = false;
      chunk_ends_.push_back({static_cast<std::uint32_t>(requests_.size() - 1), work.chunk.bytes});
    }
    if (!hand_over(channel, id)) break_channel(id, Outcome::path_failed, "a post that was refused");
  }

  bool hand_over(Channel& channel, ChannelId id) {
    const auto count = static_cast<std::uint32_t>(requests_.size());
    for (std::uint32_t i = 0; i < count; ++i)
      requests_[i].wr_id = request_id(id, channel.generation, channel.handed + i);
    // Small chunks share a completion with those behind them; the last request always has one.
    Bytes without = 0;
    for (const ChunkEnd& chunk : chunk_ends_) {
      without += chunk.bytes;
      if (without < bytes_without_completion) continue;
      requests_[chunk.request].send_flags |= IBV_SEND_SIGNALED;
      without = 0;
    }
    requests_[count - 1].send_flags |= IBV_SEND_SIGNALED;
    ibv_send_wr* const first = requests_.link();
    if (!channel.pull)
      for (std::uint32_t i = 0; i < count; ++i)
        if (requests_[i].num_sge == 1 &&
            requests_[i].sg_list->length <= channel.pair.sizes().inline_bytes)
          requests_[i].send_flags |= IBV_SEND_INLINE;
    channel.handed += count;
    ibv_send_wr* bad = nullptr;
    return ibv_post_send(channel.pair.get(), first, &bad) == 0;
  }

  void completed(const ibv_wc& completion) {
    const auto id = static_cast<ChannelId>((completion.wr_id >> 24) & request_mask);
    Channel& channel = channels_[id];
    const bool ok = completion.status == IBV_WC_SUCCESS;
    if (((completion.wr_id >> 48) & 0xff) != (channel.generation & 0xff))
      return;  // of a connection that is gone
    if (channel.state == Channel::State::trial) {
      ok ? end_trial(id) : break_channel(id, Outcome::path_failed, "a trial that failed");
      return;
    }
    if (channel.state != Channel::State::open) return;
    const auto request = static_cast<std::uint32_t>(completion.wr_id & request_mask);
    // Those before it went well, in order.
    while (channel.flying.first != no_id) {
      const Work& work = work_[channel.flying.first];
      const std::int32_t behind = requests_between(work.last_request, request);
      if (!work.handed_whole || behind < 0 || (behind == 0 && !ok)) break;
      const std::uint32_t number = channel.flying.pop(work_);
      if (!channel.staging)
        end(id, number, Outcome::ok);
      else if (!leave_wire(id, number))
        return;
    }
    if (!ok) {
      const Outcome outcome = outcome_of(completion.status);
      const char* const why = ibv_wc_status_str(completion.status);
      if (outcome == Outcome::path_failed)
        take_down(id, why);
      else
        break_channel(id, outcome, why);
      return;
    }
    const std::int32_t further = requests_between(channel.ended, request) + 1;
    channel.ended += static_cast<std::uint32_t>(further);
    feed(id);
  }

  // ---- Staging ------------------------------------------------------------------------------

  /// Gives waiting chunks places in the ring, and has the source's end copy. False: the channel
  /// has broken over it.
  bool enter_staging(ChannelId id) {
    Channel& channel = channels_[id];
    Staging& staging = *channel.staging;
    const bool copies = channel.pull ? staging.far : staging.near;
    while (!channel.waiting.empty() && staging.count < StagingBuffer::jobs_max &&
           staging.ring.room(work_[channel.waiting.first].chunk.bytes)) {
      const std::uint32_t number = channel.waiting.pop(work_);
      Work& work = work_[number];
      work.staged_at = staging.ring.take(work.chunk.bytes);
      work.handed_ns = now();
      ++staging.count;
      (copies ? staging.before : staging.ready).push(work_, number);
      if (copies && !begin_part(id, work, true)) return false;
    }
    return true;
  }

  /// The NIC is done with a chunk: the target's end copies, or it has landed.
  bool leave_wire(ChannelId id, std::uint32_t number) {
    Channel& channel = channels_[id];
    Staging& staging = *channel.staging;
    staging.after.push(work_, number);
    if (channel.pull ? staging.near : staging.far) return begin_part(id, work_[number], false);
    leave_staging(id);
    return true;
  }

  void leave_staging(ChannelId id) {
    Staging& staging = *channels_[id].staging;
    staging.ring.release();
    --staging.count;
    end(id, staging.after.pop(work_), Outcome::ok);
  }

  /// Has the source's or the target's end copy. False: the channel has broken over it.
  bool begin_part(ChannelId id, const Work& work, bool source) {
    Channel& channel = channels_[id];
    StagePart& part = channel.staging->part_of(work.chunk, source, work.staged_at);
    part.channel = id;
    part.generation = channel.generation;
    if (source == channel.pull) {  // at the far end
      if (drives(channel.other))
        do_part(part);
      else
        say(channel.owner, channel.other, Say::stage, part.text());
      return channel.state == Channel::State::open;
    }
    const auto begun = channel.staging->near_end.begin(memory_.address(part.segment), part);
    note(begun);
    if (begun)
      watch_staging(id);
    else
      lose(id);
    return static_cast<bool>(begun);
  }

  /// The far end's part.
  void do_part(const StagePart& part) {
    Channel& channel = channels_[part.channel];
    const PlaceId place = channel.pull ? channel.source : channel.target;
    Bytes sum = 0;
    bool sound = part.ranges.size() <= channel.max_pieces && part.at <= staging_bytes;
    for (const SegmentRange& range : part.ranges) {
      sound = sound && range.length <= staging_bytes &&
              memory_.inside(part.segment, range.offset, range.length) &&
              memory_.place(part.segment) == place;
      sum += range.length;
    }
    if (sound && sum <= staging_bytes - part.at) {
      const auto begun = channel.staging->far_end.begin(memory_.address(part.segment), part);
      note(begun);
      if (begun) {
        watch_staging(part.channel);
        return;
      }
    }
    tell(channel.other, channel.owner, Say::staged, {part.channel, part.generation, 0, 0});
  }

  void watch_staging(ChannelId id) {
    if (std::exchange(channels_[id].staging->watched, true)) return;
    staging_.push_back(id);
  }

  /// Copies that have been done at the ends of this process.
  void look_at_staging() {
    for (std::size_t i = 0; i < staging_.size();) {  // it may grow meanwhile
      const ChannelId id = staging_[i];
      Channel& channel = channels_[id];
      Staging& staging = *channel.staging;
      for (const bool near : {true, false}) {
        StagingEnd& end = near ? staging.near_end : staging.far_end;
        ChannelWord word{id, 0, 0, 1};
        while (true) {
          const auto finished = end.finished(word.generation);
          if (!finished) {
            note(finished.error());
            end.settle();
            word.ok = 0;
          } else if (!*finished) {
            break;
          }
          if (near)
            part_done(word, !channel.pull);
          else
            tell(channel.other, channel.owner, Say::staged, word);
          if (word.ok == 0) break;
        }
      }
      staging.watched = staging.near_end.busy() || staging.far_end.busy();
      if (staging.watched) {
        ++i;
      } else {
        staging_[i] = staging_.back();
        staging_.pop_back();
      }
    }
  }

  /// The source's or the target's end has copied the oldest chunk that waits for it.
  void part_done(const ChannelWord& word, bool source) {
    Channel& channel = channels_[word.channel];
    if (channel.state != Channel::State::open || word.generation != channel.generation) return;
    Staging& staging = *channel.staging;
    if (word.ok == 0) return lose(word.channel);
    if ((source ? staging.before : staging.after).empty()) return;
    if (source)
      staging.ready.push(work_, staging.before.pop(work_));
    else
      leave_staging(word.channel);
    feed(word.channel);
  }

  /// A device answers no more: the channel is down for good.
  void lose(ChannelId id) {
    channels_[id].lost = true;
    take_down(id, "a device that answers no more");
  }

  /// The rows of chunks that have begun and not ended.
  std::vector<TicketQueue*> under_way_of(Channel& channel) {
    if (!channel.staging) return {&channel.flying};
    Staging& staging = *channel.staging;
    return {&staging.after, &channel.flying, &staging.ready, &staging.before};
  }

  // ---- Breaking and mending -----------------------------------------------------------------

  /// The chunk under way that is oldest met with `outcome`; those behind it were not its fault.
  void break_channel(ChannelId id, Outcome outcome, const char* why) {
    Channel& channel = channels_[id];
    if (channel.state == Channel::State::opening) channel.state = Channel::State::shut;
    if (channel.state != Channel::State::open && channel.state != Channel::State::trial) return;
    if (channel.state == Channel::State::open) ++breaks_[why];
    channel.trial_failed = channel.state == Channel::State::trial;
    channel.state = Channel::State::closing;
    channel.cancel_due_ns = never_ns;
    ++channel.generation;
    if (auto reset = channel.pair.reset(); !reset) channel.pair = {};
    for (const TicketQueue* under_way : under_way_of(channel))
      for (std::uint32_t n = under_way->first; n != no_id; n = work_[n].next)
        work_[n].outcome = n == channel.flying.first ? outcome : Outcome::cancelled;
    channel.cutting = false;
    channel.handed = channel.ended = 0;
    // A far end that copies still may not have heard of it; then only its death is sure.
    channel.due_ns =
        now() + (channel.staging && channel.staging->far ? options_.patience_ns : close_within_ns);
    attention_.insert(id);
    tell(channel.owner, channel.other, Say::close, {id, channel.generation, 0, 1});
  }

  /// Nothing of the old connection can write any more.
  void finish_closing(ChannelId id) {
    Channel& channel = channels_[id];
    channel.state = Channel::State::shut;
    channel.due_ns = never_ns;
    if (channel.staging) {
      channel.staging->near_end.settle();
      channel.staging->ring = Ring(staging_bytes);
      channel.staging->count = 0;
    }
    for (TicketQueue* const under_way : under_way_of(channel))
      while (!under_way->empty()) {
        const std::uint32_t number = under_way->pop(work_);
        end(id, number, work_[number].outcome);
      }
    if (channel.trial_failed) {
      channel.due_ns = now() + open_again_after_ns;
      attention_.insert(id);
    } else {
      open_again(id);
    }
  }

  void open_again(ChannelId id) {
    Channel& channel = channels_[id];
    if (channel.state != Channel::State::shut || channel.lost) return;
    attention_.insert(id);
    if (!nics_[channel.own_nic].up || !nics_[channel.far_nic].up ||
        lost_ranks_.count(rank_of(channel.other)) != 0) {
      channel.due_ns = never_ns;
      return;
    }
    channel.state = Channel::State::opening;
    channel.due_ns = now() + answer_to_open_within_ns;
    channel.first_packet = first_packet(id);
    tell(channel.owner, channel.other, Say::open,
         {id, channel.generation, channel.first_packet, 1});
  }

  void heard(Say what, const ChannelWord& word) {
    if (word.channel >= channels_.size()) return;
    Channel& channel = channels_[word.channel];
    const bool to_owner = what == Say::closed || what == Say::opened || what == Say::staged;
    if (to_owner ? !channel.owned || word.generation != channel.generation : !channel.answered)
      return;
    switch (what) {
      case Say::close:
        // Whatever it says: what cannot be reset is taken apart.
        if (auto reset = channel.answering.reset(); !reset) channel.answering = {};
        if (channel.staging) channel.staging->far_end.settle();
        tell(channel.other, channel.owner, Say::closed, word);
        break;
      case Say::closed:
        if (channel.state == Channel::State::closing) finish_closing(word.channel);
        break;
      case Say::open: {
        ChannelWord answer = word;
        channel.first_packet = word.first_packet;
        channel.answering_first_packet = answer.first_packet = first_packet(word.channel);
        answer.ok = channel.answering.get() != nullptr && channel.answering.reset() &&
                    connect_answering(channel);
        tell(channel.other, channel.owner, Say::opened, answer);
        break;
      }
      case Say::opened:
        if (channel.state == Channel::State::opening) finish_opening(word);
        break;
      case Say::staged:
        if (channel.staging) part_done(word, channel.pull);
        break;
      default:
        break;
    }
  }

  void finish_opening(const ChannelWord& word) {
    Channel& channel = channels_[word.channel];
    channel.answering_first_packet = word.first_packet;
    if (word.ok == 0 || channel.pair.get() == nullptr || !channel.pair.reset() ||
        !connect_pair(channel)) {
      channel.state = Channel::State::shut;
      channel.due_ns = now() + open_again_after_ns;
      return;
    }
    begin_trial(word.channel);
  }

  /// Connecting says nothing about the path. A write of no bytes does, and touches no memory.
  void begin_trial(ChannelId id) {
    Channel& channel = channels_[id];
    channel.state = Channel::State::trial;
    channel.due_ns = now() + trial_ends_within_ns;
    channel.handed = 1;
    ibv_send_wr request = {};
    request.wr_id = request_id(id, channel.generation, 0);
    request.opcode = IBV_WR_RDMA_WRITE;
    request.send_flags = IBV_SEND_SIGNALED;
    ibv_send_wr* bad = nullptr;
    if (ibv_post_send(channel.pair.get(), &request, &bad) != 0)
      break_channel(id, Outcome::path_failed, "a trial that failed");
  }

  void end_trial(ChannelId id) {
    Channel& channel = channels_[id];
    channel.state = Channel::State::open;
    channel.due_ns = never_ns;
    channel.ended = 1;
    channel.trial_failed = false;
    if (channel.said_down) {
      channel.said_down = false;
      found_.changes.push_back({id, true});
    }
    feed(id);
  }

  void nic_changed(std::uint32_t number, bool up) {
    Nic& nic = nics_[number];
    if (nic.up == up) return;
    nic.up = up;
    if (nic.port != no_id) {
      std::string word;
      put(word, PortWord{number, up ? 1u : 0u});
      for (const std::uint32_t other : remote_ranks_)
        if (lost_ranks_.count(other) == 0) say(first_node(), first_node_of(other), Say::port, word);
    }
    for (ChannelId c = 0; c < channels_.size(); ++c) {
      const Channel& channel = channels_[c];
      if (!channel.owned || (channel.own_nic != number && channel.far_nic != number)) continue;
      if (up)
        open_again(c);
      else
        take_down(c, "a port that went down");
    }
  }

  void take_down(ChannelId id, const char* why) {
    Channel& channel = channels_[id];
    if (!channel.said_down) found_.changes.push_back({id, false});
    channel.said_down = true;
    break_channel(id, Outcome::path_failed, why);
    while (channel.waiting.first != no_id)
      end(id, channel.waiting.pop(work_), Outcome::path_failed);
  }

  void rank_lost(std::uint32_t lost) {
    if (!lost_ranks_.insert(lost).second) return;
    for (NodeId node = 0; node < cluster_->nodes.size(); ++node)
      if (rank_of(node) == lost) found_.lost_nodes.push_back(node);
    for (ChannelId c = 0; c < channels_.size(); ++c) {
      Channel& channel = channels_[c];
      if (!channel.owned || rank_of(channel.other) != lost) continue;
      take_down(c, "the loss of its process");
      if (channel.state == Channel::State::closing) finish_closing(c);
    }
    // It may live, out of reach, and must not write here when it comes back.
    for (Channel& channel : channels_) {
      if (!channel.answered || rank_of(channel.owner) != lost) continue;
      if (channel.answering.get() != nullptr && !channel.answering.reset()) channel.answering = {};
      if (channel.staging) channel.staging->far_end.settle();
    }
    std::erase_if(links_, [&](const auto& entry) { return rank_of(entry.first.second) == lost; });
  }

  // ---- Messages -----------------------------------------------------------------------------

  /// Of the nodes with a NIC in use, which alone can be talked to.
  NodeId first_node_of(std::uint32_t rank) const {
    NodeId first = no_id;
    for (const Nic& nic : nics_)
      if (nic.rank == rank) first = std::min(first, cluster_->nics[nic.number].node);
    return first == no_id ? 0 : first;
  }
  NodeId first_node() const { return first_node_of(rank()); }

  /// Between two ends of channels; those of one process need no message.
  void tell(NodeId from, NodeId to, Say what, const ChannelWord& word) {
    if (drives(to)) {
      heard(what, word);
      return;
    }
    std::string bytes;
    put(bytes, word);
    say(from, to, what, bytes);
  }

  void say(NodeId from, NodeId to, Say what, std::string_view bytes) {
    if (lost_ranks_.count(rank_of(to)) != 0) return;
    Link& link = this->link(from, to);
    link.messages.send(static_cast<std::uint16_t>(what), bytes);
    pump(link, now());
  }

  /// Roads of one rail; where the two nodes share no rail, all.
  Link& link(NodeId from, NodeId to) {
    const auto found = links_.find({from, to});
    if (found != links_.end()) return found->second;
    std::vector<Road> roads;
    std::uint32_t frame_bytes = ~0u;
    for (const bool same_rail : {true, false}) {
      for (const Nic& near : nics_)
        for (std::uint32_t n = 0; n < nics_.size(); ++n) {
          const kvhaul::Nic& a = cluster_->nics[near.number];
          const kvhaul::Nic& b = cluster_->nics[nics_[n].number];
          if (a.node != from || b.node != to || (same_rail && a.rail != b.rail)) continue;
          const Port& port = *ports_[near.port].port;
          ibv_ah_attr way =
              way_to(port, nics_[n].address, options_.service_level, options_.traffic_class);
          AddressHandle handle(ibv_create_ah(port.domain.get(), &way));
          if (!handle) continue;
          frame_bytes = std::min({frame_bytes, ports_[near.port].datagrams.frame_bytes(),
                                  mtu_bytes(nics_[n].address.mtu)});
          roads.push_back({near.port, n, std::move(handle)});
        }
      if (!roads.empty()) break;
    }
    const auto count = static_cast<std::uint32_t>(roads.size());
    return links_
        .emplace(std::pair(from, to),
                 Link{MessageLink(from, to, std::max(1u, count), count == 0 ? 1024 : frame_bytes,
                                  !drives(to)),
                      std::move(roads)})
        .first->second;
  }

  void pump(Link& link, TimeNs now) {
    link.messages.pump(now, [&](std::uint32_t road, std::string_view frame) {
      if (road >= link.roads.size()) return false;
      const Road& way = link.roads[road];
      if (!nics_[way.nic].up) return false;
      return ports_[way.port].datagrams.send(way.way.get(), nics_[way.nic].datagrams, frame);
    });
  }

  void frame_came(std::uint32_t port, std::string_view frame) {
    FrameHeader header;
    if (!read_header(frame, header) || header.from >= cluster_->nodes.size() ||
        header.to >= cluster_->nodes.size() || !drives(header.to) ||
        lost_ranks_.count(rank_of(header.from)) != 0)
      return;
    Link& link = this->link(header.to, header.from);
    std::uint32_t road = 0;
    while (road + 1 < link.roads.size() && link.roads[road].port != port) ++road;
    link.messages.receive(now(), road, frame);
    // Handled later: what it says may send, and this is the middle of a queue.
    MessageLink::Message message;
    while (link.messages.take(message))
      heard_.push_back({header.from, header.to, std::move(message)});
  }

  void hear(const Heard& heard) {
    std::string_view bytes = heard.message.bytes;
    const auto what = static_cast<Say>(heard.message.kind);
    if (what == Say::control) {
      ControlMessage message;
      message.from = heard.from;
      message.to = heard.to;
      if (!take(bytes, message.kind) || !take(bytes, message.place) ||
          !take(bytes, message.value) || !take(bytes, message.value2) ||
          !take(bytes, message.bytes))
        return;
      message.body.resize(bytes.size() / sizeof(std::uint64_t));
      for (std::uint64_t& word : message.body) take(bytes, word);
      found_.messages.push_back(std::move(message));
    } else if (what == Say::port) {
      PortWord word;
      if (take(bytes, word) && word.nic < nics_.size() && nics_[word.nic].port == no_id)
        nic_changed(word.nic, word.up != 0);
    } else if (what == Say::stage) {
      StagePart part;
      if (StagePart::parse(bytes, part) && part.channel < channels_.size() &&
          channels_[part.channel].staging && channels_[part.channel].staging->far_end)
        do_part(part);
    } else {
      ChannelWord word;
      if (take(bytes, word)) this->heard(what, word);
    }
  }

  // ---- Time ---------------------------------------------------------------------------------

  void serve(TimeNs now) {
    poll();
    look_at_staging();
    if (now >= next_look_ns_) {
      look_at_ports();
      next_look_ns_ = now + look_at_ports_every_ns;
    }
    for (std::size_t i = 0; i < heard_.size(); ++i) hear(heard_[i]);
    heard_.clear();
    attend(now);
    for (auto& [nodes, link] : links_)
      if (link.messages.next_ns() <= now) pump(link, now);
    for (const auto& [nodes, link] : links_)
      if (!drives(nodes.second) && link.messages.unanswered_since_ns() != never_ns &&
          now - link.messages.unanswered_since_ns() > options_.patience_ns) {
        rank_lost(rank_of(nodes.second));
        break;  // the links have changed
      }
  }

  void poll() {
    constexpr int batch = 32;
    ibv_wc completions[batch];
    for (std::uint32_t p = 0; p < ports_.size(); ++p) {
      int count = batch;
      while (count == batch) {
        count = ibv_poll_cq(ports_[p].port->completions.get(), batch, completions);
        for (int i = 0; i < count; ++i) {
          const ibv_wc& completion = completions[i];
          if (completion.wr_id >> 56 == 0)
            completed(completion);
          else
            ports_[p].datagrams.completed(completion,
                                          [&](std::string_view frame) { frame_came(p, frame); });
        }
      }
    }
  }

  /// Channels whose time has come.
  void attend(TimeNs now) {
    for (auto at = attention_.begin(); at != attention_.end();) {
      const ChannelId id = *at++;
      Channel& channel = channels_[id];
      if (now >= channel.cancel_due_ns) {
        channel.cancel_due_ns = never_ns;
        break_channel(id, Outcome::cancelled, "cancelled chunks");
      }
      if (now >= channel.due_ns) {
        if (channel.state == Channel::State::closing) {
          finish_closing(id);
        } else if (channel.state == Channel::State::trial) {
          break_channel(id, Outcome::path_failed, "a trial that failed");
        } else {
          if (channel.state == Channel::State::opening) channel.state = Channel::State::shut;
          open_again(id);
        }
      }
      if (channel.due_ns == never_ns && channel.cancel_due_ns == never_ns) attention_.erase(id);
    }
  }

  void look_at_ports() {
    for (OpenPort& open : ports_) {
      ibv_async_event event;
      while (ibv_get_async_event(open.port->context.get(), &event) == 0) {
        const bool of_port =
            event.event_type == IBV_EVENT_PORT_ACTIVE || event.event_type == IBV_EVENT_PORT_ERR;
        const int number = of_port ? event.element.port_num : 0;
        const bool up = event.event_type == IBV_EVENT_PORT_ACTIVE;
        ibv_ack_async_event(&event);
        if (number == open.port->name.port)
          for (const std::uint32_t nic : open.nics) nic_changed(nic, up);
      }
      if (open.datagrams.broken() && nics_[open.nics.front()].up)
        if (auto alive = open.datagrams.revive(); !alive) continue;  // the next look tries again
    }
  }

  TimeNs next_ns() const {
    if (!staging_.empty()) return 0;  // nobody tells when a device has copied
    TimeNs next = never_ns;
    for (const ChannelId id : attention_)
      next = std::min({next, channels_[id].due_ns, channels_[id].cancel_due_ns});
    for (const auto& [nodes, link] : links_) next = std::min(next, link.messages.next_ns());
    return next;
  }

  /// Until then, or until a completion queue or a port has something to say.
  void sleep(TimeNs until) {
    polled_.clear();
    for (OpenPort& open : ports_) {
      ibv_req_notify_cq(open.port->completions.get(), 0);
      polled_.push_back({open.port->events->fd, POLLIN, 0});
      polled_.push_back({open.port->context->async_fd, POLLIN, 0});
    }
    poll();  // what came before the queues were asked to tell
    const TimeNs now = this->now();
    if (!found_.empty() || !heard_.empty() || !staging_.empty() || until <= now) return;
    const timespec span = {(until - now) / s_ns, (until - now) % s_ns};
    ppoll(polled_.data(), polled_.size(), until == never_ns ? nullptr : &span, nullptr);
    for (std::size_t p = 0; p < ports_.size(); ++p) {
      OpenPort& open = ports_[p];
      if (polled_[2 * p].revents != 0) {
        ibv_cq* queue = nullptr;
        void* context = nullptr;
        while (ibv_get_cq_event(open.port->events.get(), &queue, &context) == 0)
          ++open.unacknowledged;
        // Acknowledging takes a lock; a few at a time will do.
        if (open.unacknowledged >= 64) {
          ibv_ack_cq_events(open.port->completions.get(), open.unacknowledged);
          open.unacknowledged = 0;
        }
      }
      if (polled_[2 * p + 1].revents != 0) next_look_ns_ = 0;
    }
  }

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
  std::map<PlaceId, std::set<std::uint32_t>> nics_of_place_;
  std::vector<Channel> channels_;
  std::map<std::pair<NodeId, NodeId>, Link> links_;  // by our node and the other one
  std::vector<Heard> heard_;
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

}  // namespace

std::string missing() {
  if (!device_names().empty()) return "";
  const std::string in_kernel = rdma_device_missing();
  return in_kernel.empty()
             ? "libibverbs knows none of the devices in /sys/class/infiniband; Debian "
               "has their drivers in ibverbs-providers"
             : in_kernel;
}

std::unique_ptr<Backend> make_backend(const Options& options) {
  return std::make_unique<VerbsBackend>(options);
}

}  // namespace kvhaul::verbs
