// The contract over the lanes. One thread, no threads of its own: progress() and wait() ask the
// oldest chunk of every lane whether it has landed.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <deque>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <thread>
#include <variant>

#include "backends/cuda/busy.h"
#include "backends/cuda/copy_lane.h"
#include "backends/cuda/cuda.h"
#include "backends/cuda/fill_marks.h"
#include "backends/cuda/handed_over.h"
#include "backends/cuda/handoff_lane.h"
#include "backends/cuda/kernel_lane.h"
#include "backends/cuda/payload.h"
#include "backends/cuda/peer_memory.h"
#include "backends/cuda/staged_lane.h"
#include "backends/modelled/control_plane.h"
#include "backends/tickets.h"
#include "core/channel_plan.h"
#include "core/checksum.h"
#include "machine/nvml.h"

namespace kvhaul::cuda {
namespace {

using Clock = std::chrono::steady_clock;

constexpr TimeNs look_at_peers_every_ns = 1 * ms_ns;
/// A copy on its way cannot be stopped. One that has not ended so long after it was cancelled never
/// will: its channel is given up.
constexpr TimeNs cancelled_chunk_ends_within_ns = 5 * s_ns;
/// Sleeping is only exact to some tens of microseconds; what is nearer is waited for awake.
constexpr TimeNs awake_before_ns = 200 * us_ns;

using Lane = std::variant<HandoffLane, CopyLane, StagedLane, KernelLane>;

/// One GPU of the run.
struct Gpu {
  Device device;
  EventClock clock;
  Payload patterns, checksums;  // two, so that neither waits for the other
  std::optional<Busy> busy;
  std::uint64_t filled = 0;  // patterns that were done at the last look
};

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(const Options& options) : options_(options) {}
  ~CudaBackend() override {
    for (Channel& channel : channels_)
      if (auto* const lane = std::get_if<KernelLane>(&channel.lane)) lane->stop();
    // Before the memory goes that they read.
    for (auto& [place, peer] : peers_) peer.finish();
  }

  std::string description() const override {
    std::string text = "cuda, real time, payload real";
    for (const auto& [ordinal, gpu] : gpus_) {
      text += ", " + gpu->device.name + " (device " + std::to_string(ordinal) + ":";
      for (const PlaceId place : gpu_places_)
        if (device_of_[place] == ordinal) text += " " + cluster_->places[place].name;
      text += ")";
    }
    for (const auto& [place, peer] : peers_)
      text += ", " + cluster_->places[place].name + " held by another process";
    for (const std::string& loss : losses_) text += "; " + loss;
    return text;
  }
  bool moves_bytes() const override { return true; }

  Result<std::vector<ChannelNumbers>> open(const Cluster& cluster,
                                           std::span<const ChannelRequest> requests) override {
    cluster_ = &cluster;
    control_ = std::make_unique<modelled::ControlPlane>(cluster, requests);
    start_ = Clock::now();
    if (auto found = find_gpus(requests); !found) return found.error();
    if (auto joined = join_peers(); !joined) return joined.error();
    std::vector<ChannelNumbers> numbers;
    for (const ChannelRequest& request : requests) {
      auto opened = open_channel(request, numbers.emplace_back());
      if (!opened)
        return Error{opened.error().kind, cluster.places[request.route.source].name + " to " +
                                              cluster.places[request.route.target].name + ", " +
                                              request.route.name + ": " + opened.error().message};
    }
    start_ = Clock::now();
    // Once more: the run's clock begins here.
    for (auto& [ordinal, gpu] : gpus_) {
      cudaSetDevice(ordinal);
      if (auto ok = gpu->clock.start(ordinal, [this] { return now(); }); !ok) return ok.error();
    }
    return numbers;
  }

  Result<SegmentId> register_segment(PlaceId place, Bytes bytes) override {
    const Clock::time_point before = Clock::now();
    auto segment = allocate(place, bytes);
    if (!segment)
      return Error{segment.error().kind,
                   cluster_->places[place].name + ": " + segment.error().message};
    segments_.push_back(std::move(*segment));
    // The clock stands still meanwhile, and the devices' clocks go on: they are set again.
    start_ += Clock::now() - before;
    for (auto& [ordinal, gpu] : gpus_) {
      cudaSetDevice(ordinal);
      if (auto ok = gpu->clock.start(ordinal, [this] { return now(); }); !ok) return ok.error();
    }
    return static_cast<SegmentId>(segments_.size() - 1);
  }

  void post(ChannelId id, std::span<const ChunkPost> chunks) override {
    Channel& channel = channels_[id];
    const TimeNs now = this->now();
    for (const ChunkPost& chunk : chunks) {
      if (!is_sound(channel, chunk)) {
        found_.push_back({id, Outcome::invalid, chunk.chunk, now, now, now, chunk.bytes});
        continue;
      }
      const std::uint32_t number = new_ticket();
      tickets_[number] = {chunk, now, never_ns, no_id};
      ++outstanding_;
      channel.outstanding_bytes += chunk.bytes;
      channel.waiting.push(tickets_, number);
    }
    if (channel.lost)
      end_all(id, channel.waiting);
    else
      feed(id);
  }

  void cancel(ChannelId id, ChunkId chunk) override {
    Channel& channel = channels_[id];
    for (std::uint32_t n = channel.flying.first; n != no_id; n = tickets_[n].next)
      if (tickets_[n].chunk.chunk == chunk) {
        tickets_[n].cancelled_ns = now();  // it will land
        return;
      }
    const std::uint32_t number = channel.waiting.take(
        tickets_, [&](const Ticket& ticket) { return ticket.chunk.chunk == chunk; });
    if (number != no_id) end(id, number, Outcome::cancelled, now(), now());
  }

  void send(const ControlMessage& message) override { control_->send(message, now()); }

  void progress(BackendEvents& events) override {
    look();
    events.completions.insert(events.completions.end(), found_.begin(), found_.end());
    found_.clear();
    events.changes.insert(events.changes.end(), changes_.begin(), changes_.end());
    changes_.clear();
    control_->deliver(now(), events.messages);
  }

  void wait(TimeNs until_ns) override {
    const TimeNs until = std::min(until_ns, control_->next_ns());
    if (until == never_ns && outstanding_ == 0) return;
    while (true) {
      look();
      if (!found_.empty() || !changes_.empty()) return;
      const TimeNs left = until == never_ns ? never_ns : until - now();
      if (left <= 0) return;
      if (outstanding_ == 0 && left > awake_before_ns)
        std::this_thread::sleep_for(
            std::chrono::nanoseconds(std::min(left - awake_before_ns, look_at_peers_every_ns)));
    }
  }

  TimeNs now() const override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start_).count();
  }

  void occupy(PlaceId place, TimeNs duration_ns) override {
    const auto gpu = gpus_.find(device_of_[place]);
    if (gpu == gpus_.end() || !gpu->second->busy) return;
    if (auto ok = gpu->second->busy->start(duration_ns); !ok) note(ok.error().message);
  }

  void fill(SegmentId segment, Bytes offset, Bytes length, std::uint64_t seed) override {
    const SegmentRange range{offset, length, seed};
    fill_ranges(segment, {&range, 1});
  }
  void fill_ranges(SegmentId id, std::span<const SegmentRange> ranges) override {
    Segment& segment = segments_[id];
    if (segment.device < 0) {
      for (const SegmentRange& r : ranges)
        fill_pattern({segment.base + r.offset, r.length}, r.seed);
      return;
    }
    fills_.clear();
    for (const SegmentRange& r : ranges) {
      take_back(segment, r.offset, r.length);
      fills_.push_back({segment.base + r.offset, r.length, mix64(r.seed)});
    }
    const auto begun = gpu(segment.device).patterns.fill(fills_);
    if (!begun) return note(begun.error().message);
    bool marked = true;
    for (const SegmentRange& r : ranges)
      marked = marked && segment.fills.mark(r.offset, r.length, *begun);
    if (!marked) wait_until_filled(segment, *begun);
  }
  std::uint64_t checksum(SegmentId segment, Bytes offset, Bytes length) override {
    const SegmentRange range{offset, length};
    std::uint64_t sum = 0;
    checksum_ranges(segment, {&range, 1}, {&sum, 1});
    return sum;
  }
  void checksum_ranges(SegmentId id, std::span<const SegmentRange> ranges,
                       std::span<std::uint64_t> sums) override {
    const std::uint64_t number = begin_checksums(id, ranges, sums);
    while (checksums_done() < number) {
    }
  }
  std::uint64_t begin_checksums(SegmentId id, std::span<const SegmentRange> ranges,
                                std::span<std::uint64_t> sums) override {
    const Segment& segment = segments_[id];
    if (segment.device < 0) {
      for (std::size_t i = 0; i < ranges.size(); ++i)
        sums[i] = kvhaul::checksum({segment.base + ranges[i].offset, ranges[i].length});
      return sums_begun_;  // with what was begun before
    }
    // What a lost GPU never answers must not look like an answer: it differs from every other one.
    std::fill(sums.begin(), sums.end(), ++unanswered_);
    finish_filling(id, ranges);
    if (segment.holder != nullptr) {  // what that process reads there is what counts
      const std::uint64_t request = segment.holder->begin_checksums(segment.base, ranges, sums);
      sums_on_their_way_.push_back({segment.device, segment.holder, request});
      return ++sums_begun_;
    }
    sum_ranges_.clear();
    for (const SegmentRange& r : ranges)
      sum_ranges_.push_back({address(segment, r.offset, r.length), r.length});
    const auto begun = gpu(segment.device).checksums.begin_checksums(sum_ranges_, sums);
    if (!begun) {
      note(begun.error().message);
      return sums_begun_;
    }
    sums_on_their_way_.push_back({segment.device, nullptr, *begun});
    return ++sums_begun_;
  }
  std::uint64_t checksums_done() override {
    while (!sums_on_their_way_.empty()) {
      const auto answered = is_answered(sums_on_their_way_.front());
      if (!answered) note(answered.error().message);  // a lost GPU answers nothing any more
      if (answered && !*answered) break;
      sums_on_their_way_.pop_front();
    }
    return sums_begun_ - sums_on_their_way_.size();
  }
  void read(SegmentId id, Bytes offset, std::span<std::byte> into) override {
    const SegmentRange range{offset, into.size()};
    finish_filling(id, {&range, 1});
    copy(segments_[id], into.data(), address(segments_[id], offset, into.size()), into.size());
  }
  void write(SegmentId id, Bytes offset, std::span<const std::byte> from) override {
    Segment& segment = segments_[id];
    take_back(segment, offset, from.size());
    const SegmentRange range{offset, from.size()};
    finish_filling(id, {&range, 1});
    copy(segment, segment.base + offset, from.data(), from.size());
  }

 private:
  struct Segment {
    PlaceId place = 0;
    Bytes bytes = 0;
    int device = -1;  // -1: host memory
    std::byte* base = nullptr;
    DeviceMemory device_memory;  // one of these two, or a peer's
    Pinned pinned;
    PeerMemory* holder = nullptr;  // that peer
    HandedOver handed_over;
    FillMarks fills;  // by the numbers of its GPU's patterns
  };

  /// Checksums that a GPU or another process was asked for.
  struct Summing {
    int device = -1;
    PeerMemory* holder = nullptr;
    std::uint64_t number = 0;  // of the call there
  };

  /// Chunks that went as one job: the first so many of the flying tickets, when it is their turn.
  struct Flight {
    std::uint32_t chunks = 0;
    Bytes bytes = 0;
  };

  struct Channel {
    Lane lane;
    PlaceId source = 0, target = 0;
    TicketQueue waiting = {};  // posted, and not on the GPU yet
    TicketQueue flying = {};
    std::array<Flight, lane_depth> flights = {};  // jobs on the GPU, by slot
    std::uint32_t flights_count = 0;
    Bytes outstanding_bytes = 0;  // posted and not ended
    TimeNs last_started_ns = 0;
    std::uint32_t next_slot = 0, oldest_slot = 0;
    Bytes max_chunk_bytes = 0;
    std::uint32_t max_pieces = 0;
    JobSize job_size = {};
    bool lost = false;
  };

  // ---- Opening --------------------------------------------------------------------------------

  Result<void> find_gpus(std::span<const ChannelRequest> requests) {
    auto devices = find_devices();
    if (!devices) return devices.error();
    device_of_.assign(cluster_->places.size(), -1);
    for (PlaceId place = 0; place < cluster_->places.size(); ++place)
      if (cluster_->places[place].kind == PlaceKind::gpu) gpu_places_.push_back(place);
    std::set<PlaceId> used;
    for (const ChannelRequest& request : requests) {
      used.insert(request.route.source);
      used.insert(request.route.target);
    }
    for (std::size_t i = 0; i < gpu_places_.size(); ++i) {
      const PlaceId place = gpu_places_[i];
      if (!used.contains(place)) continue;
      const bool named = i < options_.devices.size();
      const int ordinal = named ? options_.devices[i] : static_cast<int>(i);
      if (ordinal < 0 || static_cast<std::size_t>(ordinal) >= devices->size())
        return Error::missing(cluster_->places[place].name + " needs CUDA device " +
                              std::to_string(ordinal) + ", and this machine has " +
                              std::to_string(devices->size()) +
                              "; --devices says which device each GPU of the scenario is, and one "
                              "device may be several");
      device_of_[place] = ordinal;
      if (auto opened = open_gpu((*devices)[static_cast<std::size_t>(ordinal)]); !opened)
        return opened;
    }
    return {};
  }

  Result<void> open_gpu(const Device& device) {
    if (gpus_.contains(device.ordinal)) return {};
    FirstError error(device.ordinal);
    error.then("cudaSetDevice", [&] { return cudaSetDevice(device.ordinal); })
        .then("cudaFuncGetAttributes", [] { return load_kernels(); });
    if (!error.ok()) return error.result();
    auto patterns = Payload::open(device);
    if (!patterns) return patterns.error();
    auto checksums = Payload::open(device);
    if (!checksums) return checksums.error();
    auto gpu =
        std::make_unique<Gpu>(Gpu{device, {}, std::move(*patterns), std::move(*checksums), {}});
    if (options_.busy) {
      auto busy = Busy::open(device);
      if (!busy) return busy.error();
      gpu->busy.emplace(std::move(*busy));
    }
    gpus_.emplace(device.ordinal, std::move(gpu));
    return {};
  }

  Result<void> join_peers() {
    for (const auto& [name, socket_path] : options_.held_by) {
      const auto place = cluster_->find_place(name);
      if (!place || device_of_[*place] < 0)
        return Error::bad_input("no GPU that this run uses is called '" + name + "'");
      auto peer = PeerMemory::connect(socket_path, options_.patience_ns);
      if (!peer) return peer.error();
      peers_.emplace(*place, std::move(*peer));
    }
    return {};
  }

  Result<void> open_channel(const ChannelRequest& request, ChannelNumbers& numbers) {
    numbers = numbers_of(request.route, request.costs);
    auto lane = open_lane(request, numbers);
    if (!lane) return lane.error();
    Channel channel{std::move(*lane)};
    channel.source = request.route.source;
    channel.target = request.route.target;
    channel.max_chunk_bytes = numbers.max_chunk_bytes;
    channel.max_pieces = numbers.max_pieces;
    channel.job_size = JobSize::of(numbers.bytes_per_s, numbers.max_chunk_bytes);
    channels_.push_back(std::move(channel));
    return {};
  }

  /// What a lane cannot do leaves the numbers, so that no scheduler counts on it.
  Result<Lane> open_lane(const ChannelRequest& request, ChannelNumbers& numbers) {
    const Route& route = request.route;
    const int from = device_of_[route.source], to = device_of_[route.target];
    const auto forget = [&](Gather gather) {
      numbers.gather[static_cast<std::size_t>(gather)].reset();
    };
    const auto lane_of = [](auto opened) -> Result<Lane> {
      if (!opened) return opened.error();
      return Lane(std::move(*opened));
    };
    switch (route.kind) {
      case RouteKind::handoff:
        return open_handoff(route);
      case RouteKind::pcie_staged: {
        if (from < 0 || to < 0) {  // one half only: straight to or from pinned host memory
          forget(Gather::pack);
          Gpu& gpu = this->gpu(from < 0 ? to : from);
          return lane_of(
              CopyLane::open(gpu.device, gpu.clock, std::max(numbers.max_pieces, job_pieces_max)));
        }
        const Bytes ring = options_.ring_bytes;
        numbers.max_chunk_bytes = std::min(numbers.max_chunk_bytes, ring / 2);
        Gpu& a = gpu(from);
        Gpu& b = gpu(to);
        const bool packs = numbers.gather[static_cast<std::size_t>(Gather::pack)].has_value();
        return lane_of(StagedLane::open({&a.device, &a.clock}, {&b.device, &b.clock}, ring,
                                        std::max(numbers.max_pieces, job_pieces_max), packs));
      }
      case RouteKind::pcie_p2p:
      case RouteKind::nvlink_copy:
      case RouteKind::nvlink_load_store: {
        for (const auto& [one, other] : {std::pair(from, to), std::pair(to, from)})
          if (auto ok = enable_peer(one, other); !ok) return ok.error();
        if (from != to)
          if (auto ok = check_road(route.kind, from, to); !ok) return ok.error();
        forget(Gather::pack);
        Gpu& owner = gpu(request.pull ? to : from);
        if (route.kind == RouteKind::nvlink_load_store)
          return lane_of(
              KernelLane::open(owner.device, std::max(numbers.max_pieces, job_pieces_max)));
        return lane_of(CopyLane::open(owner.device, owner.clock,
                                      std::max(numbers.max_pieces, job_pieces_max)));
      }
      case RouteKind::rdma:
      case RouteKind::rdma_staged:
        break;
    }
    return Error::missing("the cuda backend stays inside one machine; no NICs");
  }

  /// Whoever decodes at the target reads the source in place: over NVLink, or in one GPU's memory.
  Result<Lane> open_handoff(const Route& route) {
    const int from = device_of_[route.source], to = device_of_[route.target];
    if (from != to) {
      if (from < 0 || to < 0)
        return Error::missing("host memory and a GPU's: only GPUs read each other's in place");
      if (auto ok = enable_peer(to, from); !ok) return ok.error();
      if (auto ok = check_road(route.kind, from, to); !ok) return ok.error();
    }
    const auto holder = peers_.find(route.target);
    if (holder == peers_.end()) return Lane(HandoffLane(nullptr));
    if (route.source != route.target && peers_.contains(route.source))
      return Error::missing(
          "two other processes hold the two memories, and CUDA IPC shows only memory of one's own");
    return Lane(HandoffLane(&holder->second));
  }

  /// A peer copy takes NVLink where there is one and PCIe where not, whatever it is asked for, and
  /// would be reported as what it is not.
  Result<void> check_road(RouteKind kind, int from, int to) {
    const nvml::NvLinkAnswer answer =
        nvml::nvlink_between(gpu(from).device.pci_bus_id, gpu(to).device.pci_bus_id);
    // Virtual machines may hide NVLinks from NVML; atomics between two GPUs need one.
    int atomics = 0;
    FirstError error(from);
    error.then("cudaDeviceGetP2PAttribute", [&] {
      return cudaDeviceGetP2PAttribute(&atomics, cudaDevP2PAttrNativeAtomicSupported, from, to);
    });
    if (!error.ok()) return error.result();
    const bool joined = answer.path == nvml::NvLinkPath::direct ||
                        answer.path == nvml::NvLinkPath::through_switch || atomics != 0;
    const std::string pair = "device " + std::to_string(from) + " and device " + std::to_string(to);
    if (kind == RouteKind::pcie_p2p && joined)
      return Error::missing("NVLink joins " + pair +
                            ", and a peer copy would take that; the route is nvlink_copy");
    if (kind != RouteKind::pcie_p2p && !joined && answer.path == nvml::NvLinkPath::none)
      return Error::missing("no NVLink between " + pair + " (" + answer.reason +
                            "); pcie_p2p may work");
    return {};
  }

  Result<Segment> allocate(PlaceId place, Bytes bytes) {
    Segment segment;
    segment.place = place;
    segment.bytes = bytes;
    segment.device = device_of_[place];
    segment.fills = FillMarks(bytes);
    if (segment.device < 0) {
      auto pinned = make_pinned(bytes, numa_node_near(place));
      if (!pinned) return pinned.error();
      segment.pinned = std::move(*pinned);
      segment.base = segment.pinned.get();
      return segment;
    }
    if (const auto peer = peers_.find(place); peer != peers_.end()) {
      auto mapped = peer->second.map(bytes, segment.device);
      if (!mapped) return mapped.error();
      segment.base = *mapped;
      segment.holder = &peer->second;
      return segment;
    }
    FirstError error(segment.device);
    error.then("cudaSetDevice", [&] { return cudaSetDevice(segment.device); })
        .then("cudaMalloc", [&] { return make_device_memory(segment.device_memory, bytes); });
    if (!error.ok()) {
      cudaGetLastError();
      return error.result().error();
    }
    segment.base = segment.device_memory.get();
    for (PeerMemory* const holder : readers_of(place))
      if (auto ok = holder->show(segment.base, bytes, segment.device); !ok) return ok.error();
    return segment;
  }

  /// The processes that memory of a place is handed over to.
  std::set<PeerMemory*> readers_of(PlaceId place) const {
    std::set<PeerMemory*> readers;
    for (const Channel& channel : channels_)
      if (const auto* const lane = std::get_if<HandoffLane>(&channel.lane))
        if (channel.source == place && lane->holder() != nullptr) readers.insert(lane->holder());
    return readers;
  }

  /// Of host memory: the node of a GPU of the run that the cluster puts beside it.
  int numa_node_near(PlaceId host) const {
    const Place& place = cluster_->places[host];
    for (const kvhaul::Gpu& gpu : cluster_->nodes[place.node].gpus)
      if (gpu.host == place.index && device_of_[gpu.place] >= 0)
        return gpus_.at(device_of_[gpu.place])->device.numa_node;
    return -1;
  }

  // ---- Moving ---------------------------------------------------------------------------------

  bool is_sound(const Channel& channel, const ChunkPost& chunk) const {
    if (chunk.is_probe()) return true;
    if (chunk.source_segment >= segments_.size() || chunk.target_segment >= segments_.size())
      return false;
    const Segment& from = segments_[chunk.source_segment];
    const Segment& to = segments_[chunk.target_segment];
    if (from.place != channel.source || to.place != channel.target) return false;
    if (chunk.piece_count == 0 || chunk.piece_count > channel.max_pieces ||
        chunk.bytes > channel.max_chunk_bytes)
      return false;
    Bytes sum = 0;
    for (const Descriptor& piece : chunk.all()) {
      if (piece.length == 0 || piece.length > from.bytes || piece.length > to.bytes ||
          piece.source_offset > from.bytes - piece.length ||
          piece.target_offset > to.bytes - piece.length)
        return false;
      sum += piece.length;
    }
    return sum == chunk.bytes;
  }

  /// Gives the GPU what waits, as far as there is room.
  void feed(ChannelId id) {
    Channel& channel = channels_[id];
    if (channel.waiting.empty() || channel.flights_count == lane_depth) return;
    for (const PlaceId end : {channel.source, channel.target})
      if (device_of_[end] >= 0) look_at_patterns(gpu(device_of_[end]));
    while (!channel.waiting.empty() && channel.flights_count < lane_depth) {
      const Ticket& first = tickets_[channel.waiting.first];
      if (first.chunk.is_probe()) {  // what the lane was given before it has to land first
        if (channel.flights_count != 0) return;
        end(id, channel.waiting.pop(tickets_), Outcome::ok, first.posted_ns, now());
        continue;
      }
      if (is_being_filled(first.chunk)) return;
      const auto* const handoff = std::get_if<HandoffLane>(&channel.lane);
      if (handoff != nullptr && handoff->holder() == nullptr) {
        hand_over(first.chunk);
        end(id, channel.waiting.pop(tickets_), Outcome::ok, first.posted_ns, now());
        continue;
      }
      const auto [job, chunks] = next_job(channel);
      const std::uint32_t slot = channel.next_slot;
      const auto enqueued = std::visit(
          [&, &job = job](auto& lane) -> Result<bool> {
            if (!lane.has_room(job)) return false;
            if (auto ok = lane.enqueue(slot, job); !ok) return ok.error();
            return true;
          },
          channel.lane);
      if (!enqueued) return give_up(id, enqueued.error().message);
      if (!*enqueued) return;
      for (std::uint32_t i = 0; i < chunks; ++i) {
        const std::uint32_t number = channel.waiting.pop(tickets_);
        const ChunkPost& chunk = tickets_[number].chunk;
        if (handoff != nullptr)
          hand_over(chunk);
        else
          for (const Descriptor& piece : chunk.all())
            take_back(segments_[chunk.target_segment], piece.target_offset, piece.length);
        channel.flying.push(tickets_, number);
      }
      channel.flights[slot] = {chunks, job.bytes};
      ++channel.flights_count;
      channel.next_slot = (slot + 1) % lane_depth;
    }
  }

  /// The first chunks of those that wait, joined as far as they are moved in one way.
  std::pair<Job, std::uint32_t> next_job(const Channel& channel) {
    const Ticket& first = tickets_[channel.waiting.first];
    const SegmentId source = first.chunk.source_segment, target = first.chunk.target_segment;
    const bool alone = first.chunk.piece_count == 1;
    const Bytes most = channel.job_size.of(channel.outstanding_bytes);
    Job job{{}, 0, first.chunk.gather, first.posted_ns};
    pieces_.clear();
    std::uint32_t chunks = 0;
    for (std::uint32_t n = channel.waiting.first; n != no_id; n = tickets_[n].next) {
      const ChunkPost& chunk = tickets_[n].chunk;
      if (chunks != 0 &&
          (chunk.is_probe() || chunk.source_segment != source || chunk.target_segment != target ||
           (chunk.piece_count == 1) != alone || (!alone && chunk.gather != job.gather) ||
           job.bytes + chunk.bytes > most || pieces_.size() + chunk.piece_count > job_pieces_max ||
           is_being_filled(chunk)))
        break;
      for (const Descriptor& piece : chunk.all())
        add_piece(segments_[source], segments_[target], piece);
      job.bytes += chunk.bytes;
      ++chunks;
    }
    // Chunks of one piece each that do not follow each other in memory: one call all the same.
    if (alone && pieces_.size() > 1) job.gather = Gather::batch;
    job.pieces = pieces_;
    return {job, chunks};
  }

  /// A pattern that is still being written must not be copied, nor be written over a copy.
  bool is_being_filled(const ChunkPost& chunk) {
    return is_being_filled(chunk, segments_[chunk.source_segment], &Descriptor::source_offset) ||
           is_being_filled(chunk, segments_[chunk.target_segment], &Descriptor::target_offset);
  }
  bool is_being_filled(const ChunkPost& chunk, const Segment& segment, Bytes Descriptor::*offset) {
    return is_filling(segment) && std::ranges::any_of(chunk.all(), [&](const Descriptor& piece) {
             return segment.fills.last(piece.*offset, piece.length) > gpu(segment.device).filled;
           });
  }

  /// Joined with the one before where it goes on at both ends.
  void add_piece(const Segment& from, const Segment& to, const Descriptor& piece) {
    const PieceCopy next{to.base + piece.target_offset,
                         address(from, piece.source_offset, piece.length), piece.length};
    if (!pieces_.empty()) {
      PieceCopy& last = pieces_.back();
      if (last.to + last.bytes == next.to && last.from + last.bytes == next.from) {
        last.bytes += next.bytes;
        return;
      }
    }
    pieces_.push_back(next);
  }

  void look() {
    const TimeNs now = this->now();
    for (ChannelId id = 0; id < channels_.size(); ++id) {
      if (channels_[id].flights_count != 0) collect(id, now);
      if (!channels_[id].waiting.empty() && !channels_[id].lost) feed(id);
    }
    if (!peers_.empty() && now - looked_at_peers_ns_ >= look_at_peers_every_ns) look_at_peers(now);
  }

  /// Chunks of a lane land in the order in which it was given them.
  void collect(ChannelId id, TimeNs now) {
    Channel& channel = channels_[id];
    while (channel.flights_count != 0) {
      Times times;
      const std::uint32_t slot = channel.oldest_slot;
      const auto landed =
          std::visit([&](auto& lane) { return lane.landed(slot, now, times); }, channel.lane);
      if (!landed) return give_up(id, landed.error().message);
      if (!*landed) {
        const Ticket& oldest = tickets_[channel.flying.first];
        if (oldest.cancelled_ns != never_ns &&
            now - oldest.cancelled_ns > cancelled_chunk_ends_within_ns)
          give_up(id, "a cancelled chunk did not end");
        return;
      }
      std::visit([&](auto& lane) { lane.release(slot); }, channel.lane);
      channel.oldest_slot = (slot + 1) % lane_depth;
      --channel.flights_count;
      end_flight(id, channel.flights[slot], times);
    }
  }

  /// The chunks of a job followed each other on the way: each gets its part of the times.
  void end_flight(ChannelId id, const Flight& flight, const Times& times) {
    Channel& channel = channels_[id];
    const auto part = [&](TimeNs from, TimeNs to, Bytes bytes) {
      return from +
             static_cast<TimeNs>(static_cast<double>(to - from) * static_cast<double>(bytes) /
                                 static_cast<double>(flight.bytes));
    };
    Bytes bytes = 0;
    for (std::uint32_t i = 0; i < flight.chunks; ++i) {
      const std::uint32_t number = channel.flying.pop(tickets_);
      const Ticket& ticket = tickets_[number];
      const TimeNs started = channel.last_started_ns = std::min(
          times.done_ns, std::max({ticket.posted_ns, channel.last_started_ns,
                                   part(times.started_ns, times.first_stage_done_ns, bytes)}));
      bytes += ticket.chunk.bytes;
      const TimeNs done = part(times.last_stage_started_ns, times.done_ns, bytes);
      end(id, number, channel.lost ? Outcome::path_failed : Outcome::ok, started,
          std::max(started, done));
    }
  }

  /// The process that holds a place's memory is gone: nothing that goes there arrives any more.
  void look_at_peers(TimeNs now) {
    looked_at_peers_ns_ = now;
    for (auto& [place, peer] : peers_) {
      if (peer.alive()) continue;
      for (ChannelId id = 0; id < channels_.size(); ++id)
        if (!channels_[id].lost && (channels_[id].source == place || channels_[id].target == place))
          close(id, "the process that holds " + cluster_->places[place].name + " " + peer.end());
    }
  }

  /// Nothing is posted to the channel any more; what is on its way may still write, and is waited
  /// for.
  void close(ChannelId id, const std::string& why) {
    Channel& channel = channels_[id];
    if (channel.lost) return;
    channel.lost = true;
    changes_.push_back({id, false});
    note("channel " + std::to_string(id) + " (" + cluster_->places[channel.source].name + " to " +
         cluster_->places[channel.target].name + ") lost: " + why);
    end_all(id, channel.waiting);
  }

  /// The GPU is lost, or a copy hangs: there is nothing to wait for.
  void give_up(ChannelId id, const std::string& why) {
    close(id, why);
    end_all(id, channels_[id].flying);
    channels_[id].flights_count = 0;
  }

  void end_all(ChannelId id, TicketQueue& queue) {
    const TimeNs now = this->now();
    while (!queue.empty()) end(id, queue.pop(tickets_), Outcome::path_failed, now, now);
  }

  void end(ChannelId id, std::uint32_t number, Outcome outcome, TimeNs started_ns, TimeNs done_ns) {
    const Ticket& ticket = tickets_[number];
    found_.push_back({id, outcome, ticket.chunk.chunk, ticket.posted_ns, started_ns, done_ns,
                      ticket.chunk.bytes});
    channels_[id].outstanding_bytes -= ticket.chunk.bytes;
    free_tickets_.push_back(number);
    --outstanding_;
  }

  void hand_over(const ChunkPost& chunk) {
    const Segment& from = segments_[chunk.source_segment];
    Segment& to = segments_[chunk.target_segment];
    for (const Descriptor& piece : chunk.all())
      to.handed_over.add(piece.target_offset, piece.length,
                         address(from, piece.source_offset, piece.length));
  }

  /// The range is written at the segment's own place from now on, and read there.
  void take_back(Segment& segment, Bytes offset, Bytes length) {
    if (segment.handed_over.empty() || !segment.handed_over.remove(offset, length)) return;
    if (segment.holder != nullptr) segment.holder->take_back(segment.base, offset, length);
  }

  Result<bool> is_answered(const Summing& summing) {
    if (summing.holder != nullptr) return summing.holder->answered(summing.number);
    const auto done = gpu(summing.device).checksums.done();
    if (!done) return done.error();
    return *done >= summing.number;
  }

  std::byte* address(const Segment& segment, Bytes offset, Bytes length) const {
    if (!segment.handed_over.empty())
      if (std::byte* const elsewhere = segment.handed_over.find(offset, length)) return elsewhere;
    return segment.base + offset;
  }

  /// Of a lost GPU all patterns are done: its channels say what there is to say.
  void look_at_patterns(Gpu& gpu) {
    const auto done = gpu.patterns.done();
    if (!done) note(done.error().message);
    gpu.filled = done ? *done : std::numeric_limits<std::uint64_t>::max();
  }
  bool is_filling(const Segment& segment) {
    return segment.fills.last() != 0 && segment.fills.last() > gpu(segment.device).filled;
  }
  void wait_until_filled(const Segment& segment, std::uint64_t number) {
    if (number == 0) return;
    Gpu& filling = gpu(segment.device);
    while (filling.filled < number) look_at_patterns(filling);
  }
  /// What is read or summed up is what has been filled before. What was handed over may lie in any
  /// segment.
  void finish_filling(SegmentId id, std::span<const SegmentRange> ranges) {
    const Segment& segment = segments_[id];
    if (segment.device >= 0) look_at_patterns(gpu(segment.device));
    if (is_filling(segment)) {
      std::uint64_t number = 0;
      for (const SegmentRange& r : ranges)
        number = std::max(number, segment.fills.last(r.offset, r.length));
      wait_until_filled(segment, number);
    }
    if (segment.handed_over.empty()) return;
    for (const Segment& any : segments_) wait_until_filled(any, any.fills.last());
  }

  void copy(const Segment& segment, void* to, const void* from, Bytes bytes) {
    if (segment.device < 0) {
      std::memcpy(to, from, bytes);
      return;
    }
    if (auto ok = gpu(segment.device).checksums.copy(to, from, bytes); !ok)
      note(ok.error().message);
  }

  std::uint32_t new_ticket() {
    if (free_tickets_.empty()) {
      tickets_.emplace_back();
      return static_cast<std::uint32_t>(tickets_.size() - 1);
    }
    const std::uint32_t number = free_tickets_.back();
    free_tickets_.pop_back();
    return number;
  }

  Gpu& gpu(int ordinal) { return *gpus_.at(ordinal); }
  void note(std::string what) {
    if (std::find(losses_.begin(), losses_.end(), what) == losses_.end())
      losses_.push_back(std::move(what));
  }

  const Options options_;
  const Cluster* cluster_ = nullptr;
  std::vector<PlaceId> gpu_places_;
  std::vector<int> device_of_;  // by place; -1: host memory, or not of this run
  std::map<PlaceId, PeerMemory> peers_;
  std::map<int, std::unique_ptr<Gpu>> gpus_;  // by CUDA's number
  std::vector<Segment> segments_;
  std::vector<Channel> channels_;  // after what their lanes use: they go first
  std::unique_ptr<modelled::ControlPlane> control_;
  Clock::time_point start_;
  std::vector<Ticket> tickets_;
  std::vector<std::uint32_t> free_tickets_;
  std::size_t outstanding_ = 0;
  std::vector<Completion> found_;
  std::vector<ChannelChange> changes_;
  std::vector<std::string> losses_;  // what went wrong, for the description
  TimeNs looked_at_peers_ns_ = 0;
  std::deque<Summing> sums_on_their_way_;
  std::uint64_t sums_begun_ = 0;
  std::uint64_t unanswered_ = 0;
  std::vector<PieceCopy> pieces_;          // scratch of feed()
  std::vector<PatternFill> fills_;         // scratch
  std::vector<ChecksumRange> sum_ranges_;  // scratch
};

}  // namespace

std::string missing() {
  const auto devices = find_devices();
  return devices ? "" : devices.error().message;
}

int device_count() {
  const auto devices = find_devices();
  return devices ? static_cast<int>(devices->size()) : 0;
}

std::unique_ptr<Backend> make_backend(const Options& options) {
  return std::make_unique<CudaBackend>(options);
}

}  // namespace kvhaul::cuda
