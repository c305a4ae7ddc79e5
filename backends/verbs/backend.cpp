// The calls of the contract, and what wakes up when.
#include <algorithm>
#include <cerrno>

#include "backends/verbs/verbs_backend.h"
#include "backends/verbs/wire_text.h"
#include "core/checksum.h"
#include "core/unit_text.h"

namespace kvhaul::verbs {
namespace {

/// A request under way cannot be stopped. One that has not ended so long after its cancel takes its
/// channel down; where nothing at all has come back for so long, such as after a timeout, at once.
constexpr TimeNs cancelled_chunk_ends_within_ns = 50 * ms_ns;
constexpr TimeNs look_at_ports_every_ns = 1 * ms_ns;
/// Sleeping is exact to about as much.
constexpr TimeNs awake_before_ns = 50 * us_ns;
/// Asking the queues takes tens of nanoseconds. Looking at all else reads the clock, which may take
/// a microsecond: with 32 polls to a look an emulated machine moved an eighth less (docs/rdma.md).
constexpr int polls_per_look = 256;
/// Filled or summed between two looks at the links: far below what the patience of other processes
/// allows, and far above what a look costs, or one more call to a device.
constexpr Bytes served_every_bytes = 16 * MiB;

}  // namespace

std::string VerbsBackend::description() const {
  std::string text = "verbs, real time, payload real, ";
  const std::string used = devices() == nullptr ? "" : devices()->text();
  text += devices() == nullptr ? "GPU places in host memory" : "GPU places in GPU memory";
  if (!used.empty()) text += ", " + used;
  for (const OpenPort& open : ports_) {
    text += ", " + open.port->text() + " for";
    for (const std::uint32_t nic : open.nics) text += " " + cluster_->nics[nics_[nic].number].name;
  }
  text += ", service level " + std::to_string(options_.service_level);
  if (std::any_of(ports_.begin(), ports_.end(),
                  [](const OpenPort& open) { return open.port->address.roce; }))
    text += ", traffic class " + std::to_string(options_.traffic_class);
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

Result<std::vector<ChannelNumbers>> VerbsBackend::open(const Cluster& cluster,
                                                       std::span<const ChannelRequest> requests) {
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

Result<SegmentId> VerbsBackend::register_segment(PlaceId place, Bytes bytes) {
  const Clock::time_point before = Clock::now();
  const NodeId node = cluster_->places[place].node;
  if (drives(node)) {
    std::map<MemoryUse, Port*> uses;
    for (const MemoryUse& use : uses_of_place_[place])
      uses.emplace(use, ports_[nics_[use.nic].port].port.get());
    if (auto added = memory_.add(place, cluster_->places[place].name, bytes, uses, devices());
        !added)
      return added.error();
  } else {
    memory_.add_remote(place, bytes);
  }
  start_ += Clock::now() - before;
  return static_cast<SegmentId>(memory_.size() - 1);
}

Result<void> VerbsBackend::start() {
  if (processes() == 1) return {};
  std::vector<std::string> keys;
  for (std::uint32_t other = 0; other < processes(); ++other) keys.push_back(keys_for(other));
  auto told = all_to_all(*options_.exchange, keys);
  if (!told) return told.error();
  for (std::uint32_t other = 0; other < processes(); ++other)
    if (other != rank())
      if (auto known = learn_keys((*told)[other]); !known) return known.error();
  if (auto set = set_clocks(); !set) return set.error();
  started_ = true;
  return {};
}

void VerbsBackend::post(ChannelId id, std::span<const ChunkPost> chunks) {
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

void VerbsBackend::cancel(ChannelId id, ChunkId chunk) {
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

void VerbsBackend::send(const ControlMessage& message) {
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

void VerbsBackend::progress(BackendEvents& events) {
  serve(now());
  move_into(events.completions, found_.completions);
  move_into(events.changes, found_.changes);
  move_into(events.messages, found_.messages);
  move_into(events.lost_nodes, found_.lost_nodes);
}

void VerbsBackend::wait(TimeNs until_ns) {
  const TimeNs begin = now();
  while (true) {
    const TimeNs now = this->now();
    serve(now);
    if (!found_.empty() || now >= until_ns) return;
    const TimeNs until = std::min(until_ns, next_ns());
    if (until == never_ns && in_use_ == 0 && remote_ranks_.empty()) return;
    if (until - now < awake_before_ns) continue;  // by the clock, to be exact
    if (now - begin < options_.awake_for_ns)
      for (int i = 0; i < polls_per_look && nothing_to_look_at(); ++i) poll();
    else
      sleep(until == never_ns ? never_ns : until - awake_before_ns);
  }
}

void VerbsBackend::fill_ranges(SegmentId segment, std::span<const SegmentRange> ranges) {
  while (!ranges.empty()) {
    const auto part = ranges.first(at_a_time(ranges));
    note(memory_.fill(segment, part));
    worked(part);
    ranges = ranges.subspan(part.size());
  }
}

void VerbsBackend::fill(SegmentId segment, Bytes offset, Bytes length, std::uint64_t seed) {
  const SegmentRange range{offset, length, seed};
  fill_ranges(segment, {&range, 1});
}

std::uint64_t VerbsBackend::checksum(SegmentId segment, Bytes offset, Bytes length) {
  const SegmentRange range{offset, length};
  std::uint64_t sum = 0;
  checksum_ranges(segment, {&range, 1}, {&sum, 1});
  return sum;
}

void VerbsBackend::checksum_ranges(SegmentId segment, std::span<const SegmentRange> ranges,
                                   std::span<std::uint64_t> sums) {
  // What a lost device does not answer must not look like an answer.
  std::fill(sums.begin(), sums.end(), ++unanswered_);
  while (!ranges.empty()) {
    const auto part = ranges.first(at_a_time(ranges));
    note(memory_.checksum(segment, part, sums.first(part.size())));
    worked(part);
    ranges = ranges.subspan(part.size());
    sums = sums.subspan(part.size());
  }
}

std::size_t VerbsBackend::at_a_time(std::span<const SegmentRange> ranges) {
  std::size_t count = 0;
  for (Bytes bytes = 0; count < ranges.size() && bytes < served_every_bytes; ++count)
    bytes += ranges[count].length;
  return count;
}

void VerbsBackend::worked(std::span<const SegmentRange> ranges) {
  for (const SegmentRange& range : ranges) worked_bytes_ += range.length;
  if (worked_bytes_ < served_every_bytes || !started_) return;
  worked_bytes_ = 0;
  serve(now());  // what it finds waits for progress(), as what wait() finds
}

void VerbsBackend::note(const Result<void>& result) {
  if (result) return;
  const std::string& what = result.error().message;
  if (std::find(losses_.begin(), losses_.end(), what) == losses_.end()) losses_.push_back(what);
}

void VerbsBackend::serve(TimeNs now) {
  poll();
  look_at_staging();
  if (now >= next_look_ns_) {
    look_at_ports();
    next_look_ns_ = now + look_at_ports_every_ns;
  }
  hear_all();
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

void VerbsBackend::hear_all() {
  bool connected = false;
  while (!heard_.empty()) {
    const auto what = static_cast<Say>(heard_.front().message.kind);
    const bool connects = what == Say::open || what == Say::opened;
    if (connects && std::exchange(connected, true)) return;
    hear(heard_.front());
    heard_.pop_front();
  }
}

void VerbsBackend::poll() {
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

void VerbsBackend::attend(TimeNs now) {
  for (auto at = attention_.begin(); at != attention_.end();) {
    const ChannelId id = *at++;
    Channel& channel = channels_[id];
    if (now >= cancelled_by_ns(channel)) {
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

void VerbsBackend::look_at_ports() {
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

TimeNs VerbsBackend::cancelled_by_ns(const Channel& channel) const {
  if (channel.cancel_due_ns == never_ns || channel.flying.empty()) return channel.cancel_due_ns;
  const TimeNs silent_since_ns =
      std::max(channel.last_done_ns, work_[channel.flying.first].handed_ns);
  return std::min(channel.cancel_due_ns, silent_since_ns + cancelled_chunk_ends_within_ns);
}

TimeNs VerbsBackend::next_ns() const {
  if (!staging_.empty()) return 0;  // nobody tells when a device has copied
  if (!heard_.empty()) return 0;    // hear_all() has left something
  TimeNs next = never_ns;
  for (const ChannelId id : attention_)
    next = std::min({next, channels_[id].due_ns, cancelled_by_ns(channels_[id])});
  for (const auto& [nodes, link] : links_) next = std::min(next, link.messages.next_ns());
  return next;
}

void VerbsBackend::sleep(TimeNs until) {
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
