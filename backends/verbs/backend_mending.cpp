// Channels that break, and how they come back.
#include <algorithm>

#include "backends/verbs/verbs_backend.h"
#include "backends/verbs/wire_text.h"

namespace kvhaul::verbs {
namespace {

/// For the far end to say that it has taken its queue pair back; a packet does not live as long.
constexpr TimeNs close_within_ns = 100 * ms_ns;
constexpr TimeNs open_again_after_ns = 100 * ms_ns;
constexpr TimeNs answer_to_open_within_ns = 1 * s_ns;
/// Where the path is dead and the device keeps silent about it.
constexpr TimeNs trial_ends_within_ns = 2 * s_ns;

}  // namespace

void VerbsBackend::break_channel(ChannelId id, Outcome outcome, const char* why) {
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

void VerbsBackend::finish_closing(ChannelId id) {
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

void VerbsBackend::open_again(ChannelId id) {
  Channel& channel = channels_[id];
  if (channel.state != Channel::State::shut || channel.lost) return;
  attention_.insert(id);
  if (!nics_[channel.own_nic].up || !nics_[channel.far_nic].up ||
      lost_ranks_.count(rank_of(channel.other)) != 0) {
    channel.due_ns = never_ns;
    return;
  }
  if (!make_pair(channel)) {
    channel.due_ns = now() + open_again_after_ns;
    return;
  }
  channel.state = Channel::State::opening;
  channel.due_ns = now() + answer_to_open_within_ns;
  channel.first_packet = first_packet(id);
  tell(channel.owner, channel.other, Say::open,
       {id, channel.generation, channel.first_packet, 1, channel.pair_number});
}

void VerbsBackend::heard(Say what, const ChannelWord& word) {
  if (word.channel >= channels_.size()) return;
  Channel& channel = channels_[word.channel];
  const bool to_owner = what == Say::closed || what == Say::opened || what == Say::staged;
  if (to_owner ? !channel.owned || word.generation != channel.generation : !channel.answered)
    return;
  switch (what) {
    case Say::close:
      // Whatever it says: what cannot be reset is taken apart.
      if (channel.answering.get() != nullptr && !channel.answering.reset()) channel.answering = {};
      if (channel.staging) channel.staging->far_end.settle();
      tell(channel.other, channel.owner, Say::closed, word);
      break;
    case Say::closed:
      if (channel.state == Channel::State::closing) finish_closing(word.channel);
      break;
    case Say::open: {
      ChannelWord answer = word;
      channel.first_packet = word.first_packet;
      channel.pair_number = word.pair_number;
      channel.answering_first_packet = answer.first_packet = first_packet(word.channel);
      answer.ok = make_answering(channel) && connect_answering(channel);
      answer.pair_number = channel.answering_number;
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

void VerbsBackend::finish_opening(const ChannelWord& word) {
  Channel& channel = channels_[word.channel];
  channel.answering_first_packet = word.first_packet;
  channel.answering_number = word.pair_number;
  if (word.ok == 0 || !connect_pair(channel)) {
    channel.state = Channel::State::shut;
    channel.due_ns = now() + open_again_after_ns;
    return;
  }
  begin_trial(word.channel);
}

void VerbsBackend::begin_trial(ChannelId id) {
  Channel& channel = channels_[id];
  channel.state = Channel::State::trial;
  channel.due_ns = now() + trial_ends_within_ns;
  channel.handed = 1;
  ibv_send_wr request = {};
  request.wr_id = request_id(id, channel.generation, 0);
  request.opcode = channel.pull ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE;
  request.send_flags = IBV_SEND_SIGNALED;
  ibv_send_wr* bad = nullptr;
  if (ibv_post_send(channel.pair.get(), &request, &bad) != 0)
    break_channel(id, Outcome::path_failed, "a trial that failed");
}

void VerbsBackend::end_trial(ChannelId id) {
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

void VerbsBackend::nic_changed(std::uint32_t number, bool up) {
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

void VerbsBackend::take_down(ChannelId id, const char* why) {
  Channel& channel = channels_[id];
  if (!channel.said_down) found_.changes.push_back({id, false});
  channel.said_down = true;
  break_channel(id, Outcome::path_failed, why);
  while (channel.waiting.first != no_id) end(id, channel.waiting.pop(work_), Outcome::path_failed);
}

void VerbsBackend::rank_lost(std::uint32_t lost) {
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
  std::erase_if(heard_, [&](const Heard& heard) { return rank_of(heard.from) == lost; });
}

}  // namespace kvhaul::verbs
