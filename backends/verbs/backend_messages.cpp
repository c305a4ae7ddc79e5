// What nodes and the ends of channels say to each other.
#include <algorithm>

#include "backends/verbs/verbs_backend.h"
#include "backends/verbs/wire_text.h"

namespace kvhaul::verbs {

NodeId VerbsBackend::first_node_of(std::uint32_t rank) const {
  NodeId first = no_id;
  for (const Nic& nic : nics_)
    if (nic.rank == rank) first = std::min(first, cluster_->nics[nic.number].node);
  return first == no_id ? 0 : first;
}

void VerbsBackend::tell(NodeId from, NodeId to, Say what, const ChannelWord& word) {
  if (drives(to)) {
    heard(what, word);
    return;
  }
  std::string bytes;
  put(bytes, word);
  say(from, to, what, bytes);
}

void VerbsBackend::say(NodeId from, NodeId to, Say what, std::string_view bytes) {
  if (lost_ranks_.count(rank_of(to)) != 0) return;
  Link& link = this->link(from, to);
  link.messages.send(static_cast<std::uint16_t>(what), bytes);
  pump(link, now());
}

Link& VerbsBackend::link(NodeId from, NodeId to) {
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
      .emplace(std::pair(from, to), Link{MessageLink(from, to, std::max(1u, count),
                                                     count == 0 ? 1024 : frame_bytes, !drives(to)),
                                         std::move(roads)})
      .first->second;
}

void VerbsBackend::pump(Link& link, TimeNs now) {
  link.messages.pump(now, [&](std::uint32_t road, std::string_view frame) {
    if (road >= link.roads.size()) return false;
    const Road& way = link.roads[road];
    if (!nics_[way.nic].up) return false;
    return ports_[way.port].datagrams.send(way.way.get(), nics_[way.nic].datagrams, frame);
  });
}

void VerbsBackend::frame_came(std::uint32_t port, std::string_view frame) {
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

void VerbsBackend::hear(const Heard& heard) {
  std::string_view bytes = heard.message.bytes;
  const auto what = static_cast<Say>(heard.message.kind);
  if (what == Say::control) {
    ControlMessage message;
    message.from = heard.from;
    message.to = heard.to;
    if (!take(bytes, message.kind) || !take(bytes, message.place) || !take(bytes, message.value) ||
        !take(bytes, message.value2) || !take(bytes, message.bytes))
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

}  // namespace kvhaul::verbs
