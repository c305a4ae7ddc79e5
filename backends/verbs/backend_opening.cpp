// Ports, ends of channels and the ways to memory; how the processes of a run learn of each other's.
#include <algorithm>
#include <random>

#include "backends/verbs/verbs_backend.h"
#include "backends/verbs/wire_text.h"
#include "core/channel_plan.h"
#include "core/random.h"

namespace kvhaul::verbs {
namespace {

constexpr std::uint32_t requests_of_pair = 256;  // posted and not known to have ended
constexpr std::uint32_t pieces_of_request = 16;
constexpr std::uint32_t inline_bytes = 128;

}  // namespace

std::uint32_t VerbsBackend::nic_of(std::uint32_t cluster_nic) {
  for (std::uint32_t n = 0; n < nics_.size(); ++n)
    if (nics_[n].number == cluster_nic) return n;
  nics_.push_back({cluster_nic, rank_of(cluster_->nics[cluster_nic].node), {}, 0, true, no_id});
  return static_cast<std::uint32_t>(nics_.size() - 1);
}

Result<void> VerbsBackend::plan(std::span<const ChannelRequest> requests) {
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

Result<PortName> VerbsBackend::port_name_of(const Nic& nic,
                                            std::span<const std::string> found) const {
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

Result<void> VerbsBackend::open_ports() {
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

Result<void> VerbsBackend::choose_ways(std::span<const ChannelRequest> requests) {
  if (devices() != nullptr)
    if (auto opened = devices()->open(*cluster_); !opened) return opened.error();
  for (ChannelId c = 0; c < channels_.size(); ++c) {
    Channel& channel = channels_[c];
    const Route& route = requests[c].route;
    for (const bool near : {true, false}) {
      if (near ? !channel.owned : !channel.answered) continue;
      const bool source = near != channel.pull;
      const PlaceId place = source ? channel.source : channel.target;
      const std::uint32_t nic = near ? channel.own_nic : channel.far_nic;
      auto way = (source ? route.staged_source : route.staged_target)
                     ? WayChoice{MemoryWay::staged, "the route is staged here"}
                     : way_between(place, nic);
      if (!way)
        return Error{way.error().kind, cluster_->places[place].name + ": " + way.error().message};
      if (way->way != MemoryWay::host)
        ways_[std::string(memory_way_name(way->way)) +
              (way->why.empty() ? "" : " (" + way->why + ")")]
            .insert(cluster_->places[place].name + " on " +
                    ports_[nics_[nic].port].port->name.text());
      if (way->way != MemoryWay::staged) {
        uses_of_place_[place].insert(channel.use(near));
        continue;
      }
      Staging& staging = staging_of(channel);
      (near ? staging.near : staging.far) = true;
      const auto rights = rights_of(channel, near);
      if (!rights) return rights.error();
      auto end = StagingEnd::make(devices(), place,
                                  source ? StagingWay::from_device : StagingWay::to_device,
                                  channel.max_pieces, *ports_[nics_[nic].port].port, *rights);
      if (!end)
        return Error{end.error().kind, cluster_->places[place].name + ": " + end.error().message};
      if (!near) staging.far_keys = end->remote();
      (near ? staging.near_end : staging.far_end) = std::move(*end);
    }
  }
  return {};
}

Staging& VerbsBackend::staging_of(Channel& channel) {
  if (!channel.staging) channel.staging = std::make_unique<Staging>();
  return *channel.staging;
}

Result<Rights> VerbsBackend::rights_of(const Channel& channel, bool near) {
  const MemoryUse use = channel.use(near);
  const auto domain = ports_[nics_[use.nic].port].port->domain_of(use.peer);
  if (!domain) return domain.error();
  return Rights{*domain, use.access};
}

Result<WayChoice> VerbsBackend::way_between(PlaceId place, std::uint32_t nic) {
  if (devices() == nullptr || !devices()->holds(place)) return WayChoice{};
  const std::uint32_t port = nics_[nic].port;
  const auto [known, is_new] = ways_tried_.try_emplace({place, port});
  if (!is_new) return known->second;
  constexpr Bytes probe_bytes = 2 * MiB;
  auto probe = devices()->allocate(place, probe_bytes);
  if (!probe) return probe.error();
  // What a peer may write to can be had for less, too.
  const Rights rights{ports_[port].port->domain.get(), Access::remote_write};
  auto registered = register_device(*ports_[port].port, rights, **probe, probe_bytes,
                                    devices()->peer_memory_missing(place), "");
  if (!registered) return registered.error();
  return known->second = registered->way;
}

ChannelNumbers VerbsBackend::numbers_with_staging(const ChannelRequest& request,
                                                  const Staging* staging) {
  ChannelNumbers numbers = numbers_of(request.route, request.costs);
  if (staging == nullptr) return numbers;
  numbers.max_chunk_bytes = std::min(numbers.max_chunk_bytes, staged_chunk_bytes_max);
  numbers.stages = 1u + staging->near + staging->far;
  return numbers;
}

Result<void> VerbsBackend::make_ends() {
  std::vector<std::uint32_t> pairs(ports_.size(), 0);
  for (const Channel& channel : channels_)
    if (channel.owned) ++pairs[nics_[channel.own_nic].port];
  std::uint32_t seed = std::random_device()();
  if (processes() > 1) {  // the datagrams' key is that of process 0
    auto keys = all_gather(*options_.exchange, {reinterpret_cast<const char*>(&seed), sizeof seed});
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
    if (channel.owned)
      if (auto made = make_pair(channel); !made) return made.error();
    if (channel.answered)
      if (auto made = make_answering(channel); !made) return made.error();
  }
  return {};
}

Result<void> VerbsBackend::make_pair(Channel& channel) {
  const std::uint32_t port = nics_[channel.own_nic].port;
  channel.pair = {};
  const auto rights = rights_of(channel, true);
  if (!rights) return rights.error();
  auto made =
      QueuePair::make(*ports_[port].port, *rights, {depth_[port], pieces_of_request, inline_bytes});
  if (!made) return made.error();
  channel.pair = std::move(*made);
  channel.pair_number = channel.pair.number();
  return {};
}

Result<void> VerbsBackend::make_answering(Channel& channel) {
  channel.answering = {};
  const auto rights = rights_of(channel, false);
  if (!rights) return rights.error();
  auto made = QueuePair::make(*ports_[nics_[channel.far_nic].port].port, *rights, {1, 1, 0});
  if (!made) return made.error();
  channel.answering = std::move(*made);
  channel.answering_number = channel.answering.number();
  return {};
}

std::uint32_t VerbsBackend::first_packet(ChannelId) {
  return static_cast<std::uint32_t>(mix64(++packets_drawn_ ^ (std::uint64_t{rank()} << 40) ^
                                          (std::uint64_t{datagram_key_} << 8))) &
         0xffffff;
}

Result<void> VerbsBackend::meet() {
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
        if (!(near ? channel.staging->near_end : channel.staging->far_end)) continue;
        put(mine, std::uint8_t{'s'});
        put(mine, c);
        put(mine, near);
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

bool VerbsBackend::learn(std::string_view text) {
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
      if (index >= channels_.size() || !take(text, near)) return false;
      Staging& staging = staging_of(channels_[index]);
      (near ? staging.near : staging.far) = true;
      continue;
    }
    if (index >= channels_.size() || !take(text, number) || !take(text, packet)) return false;
    Channel& channel = channels_[index];
    (what == 'o' ? channel.pair_number : channel.answering_number) = number;
    (what == 'o' ? channel.first_packet : channel.answering_first_packet) = packet;
  }
  return true;
}

std::string VerbsBackend::keys_for(std::uint32_t rank) const {
  std::string buffers;
  for (ChannelId c = 0; c < channels_.size(); ++c) {
    const Channel& channel = channels_[c];
    if (rank_of(channel.owner) != rank || !channel.staging || !channel.staging->far_end) continue;
    const MemoryKeys& keys = channel.staging->far_end.remote();
    put(buffers, c);
    put(buffers, keys.address);
    put(buffers, keys.keys.front());
  }
  std::set<NodeId> peers;
  for (NodeId node = 0; node < cluster_->nodes.size(); ++node)
    if (rank_of(node) == rank) peers.insert(node);
  std::string out;
  put(out, std::uint64_t{buffers.size()});
  return out + buffers + memory_.export_keys(peers);
}

Result<void> VerbsBackend::learn_keys(std::string_view text) {
  std::uint64_t bytes = 0;
  bool fits = take(text, bytes) && bytes <= text.size();
  std::string_view buffers = text.substr(0, fits ? bytes : 0);
  while (fits && !buffers.empty()) {
    ChannelId c = 0;
    MemoryKeys keys{0, staging_bytes, slice_bytes, {0}};
    fits = take(buffers, c) && take(buffers, keys.address) && take(buffers, keys.keys.front()) &&
           c < channels_.size() && !channels_[c].answered && channels_[c].staging &&
           channels_[c].staging->far;
    if (fits) channels_[c].staging->far_keys = std::move(keys);
  }
  if (!fits) return Error::failed("another process told keys of buffers that do not fit");
  return memory_.import_keys(text.substr(bytes));
}

PathSettings VerbsBackend::path_settings() const {
  PathSettings settings;
  settings.service_level = options_.service_level;
  settings.traffic_class = options_.traffic_class;
  return settings;
}

Result<void> VerbsBackend::connect_pair(Channel& channel) {
  return channel.pair.connect(
      {nics_[channel.far_nic].address, channel.answering_number, channel.answering_first_packet},
      channel.first_packet, path_settings());
}

Result<void> VerbsBackend::connect_answering(Channel& channel) {
  return channel.answering.connect(
      {nics_[channel.own_nic].address, channel.pair_number, channel.first_packet},
      channel.answering_first_packet, path_settings());
}

Result<void> VerbsBackend::set_clocks() {
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

}  // namespace kvhaul::verbs
