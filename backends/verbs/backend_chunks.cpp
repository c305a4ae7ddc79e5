// A chunk's way from its post to its completion.
#include <algorithm>

#include "backends/verbs/status.h"
#include "backends/verbs/verbs_backend.h"

namespace kvhaul::verbs {
namespace {

/// Chunks below that share a completion and a doorbell with their successors. Above, a NIC has
/// little to gain: 64 KiB take 1.3 us at 400 Gb/s. In Soft-RoCE a doorbell is what sends on the
/// caller's processor while another one receives (docs/rdma.md).
constexpr Bytes bytes_together = 64 * KiB;

}  // namespace

bool VerbsBackend::is_sound(const Channel& channel, const ChunkPost& chunk) const {
  if (chunk.is_probe()) return true;
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

std::uint32_t VerbsBackend::new_work() {
  ++in_use_;
  if (free_work_.empty()) {
    work_.emplace_back();
    return static_cast<std::uint32_t>(work_.size() - 1);
  }
  const std::uint32_t number = free_work_.back();
  free_work_.pop_back();
  return number;
}

void VerbsBackend::end(ChannelId id, std::uint32_t number, Outcome outcome) {
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

void VerbsBackend::feed(ChannelId id) {
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
    if (work.chunk.is_probe()) {
      requests_.add_probe(!channel.pull);
      work.last_request = channel.handed + static_cast<std::uint32_t>(requests_.size()) - 1;
      work.handed_whole = true;
      channel.cutting = false;
      chunk_ends_.push_back({static_cast<std::uint32_t>(requests_.size() - 1), 0});
      continue;
    }
    const bool near_staged = staging != nullptr && staging->near;
    const bool far_staged = staging != nullptr && staging->far;
    const SegmentId near = channel.pull ? work.chunk.target_segment : work.chunk.source_segment;
    const SegmentId far = channel.pull ? work.chunk.source_segment : work.chunk.target_segment;
    const MemoryKeys* const remote =
        far_staged ? &staging->far_keys : memory_.remote(far, channel.use(false));
    check(remote != nullptr, "a segment that no process has registered");
    const MemoryKeys& local =
        near_staged ? staging->near_end.local() : memory_.local(near, channel.use(true));
    const ChunkPost& chunk = staging == nullptr
                                 ? work.chunk
                                 : staging->on_the_wire(work.chunk, channel.pull, work.staged_at);
    const Bytes longest = ports_[nics_[channel.own_nic].port].port->attributes.max_msg_sz;
    const RequestLimits limits = {
        room - static_cast<std::uint32_t>(requests_.size()), channel.pair.sizes().pieces_of_request,
        channel.pull ? longest : std::min(longest, longest_write(chunk.bytes, depth))};
    if (!requests_.add(chunk, !channel.pull, local, *remote, limits, channel.cut)) break;
    work.last_request = channel.handed + static_cast<std::uint32_t>(requests_.size()) - 1;
    work.handed_whole = true;
    channel.cutting = false;
    chunk_ends_.push_back({static_cast<std::uint32_t>(requests_.size() - 1), work.chunk.bytes});
  }
  if (!hand_over(channel, id)) break_channel(id, Outcome::path_failed, "a post that was refused");
}

bool VerbsBackend::hand_over(Channel& channel, ChannelId id) {
  const auto count = static_cast<std::uint32_t>(requests_.size());
  for (std::uint32_t i = 0; i < count; ++i)
    requests_[i].wr_id = request_id(id, channel.generation, channel.handed + i);
  Bytes together = 0;
  for (const ChunkEnd& chunk : chunk_ends_) {
    together += chunk.bytes;
    if (together < bytes_together) continue;
    requests_[chunk.request].send_flags |= IBV_SEND_SIGNALED;
    together = 0;
  }
  requests_[count - 1].send_flags |= IBV_SEND_SIGNALED;
  requests_.link();
  // The processor copies what goes inline, and cannot read a device's memory.
  const bool in_device = devices() != nullptr && (!channel.staging || !channel.staging->near) &&
                         cluster_->places[channel.source].kind == PlaceKind::gpu;
  if (!channel.pull && !in_device)
    for (std::uint32_t i = 0; i < count; ++i)
      if (requests_[i].num_sge == 1 &&
          requests_[i].sg_list->length <= channel.pair.sizes().inline_bytes)
        requests_[i].send_flags |= IBV_SEND_INLINE;
  channel.handed += count;
  ibv_send_wr* first = &requests_[0];
  for (std::uint32_t i = 0; i < count; ++i) {
    if (requests_[i].next != nullptr) continue;
    ibv_send_wr* bad = nullptr;
    if (ibv_post_send(channel.pair.get(), first, &bad) != 0) return false;
    first = &requests_[i] + 1;
  }
  return true;
}

void VerbsBackend::completed(const ibv_wc& completion) {
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
    if (!channel.staging || work_[number].chunk.is_probe())
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

}  // namespace kvhaul::verbs
