// A backend around another whose control messages are held back or lost, and whose cancels take a
// while: what the contract allows, and a fault script does not touch.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/backend.h"
#include "core/random.h"
#include "tests/simulation/world.h"

namespace kvhaul::simulation {

class WeatherBackend final : public Backend {
 public:
  WeatherBackend(const Weather& weather, std::unique_ptr<Backend> inner)
      : weather_(weather), random_(weather.seed), inner_(std::move(inner)) {}

  std::string description() const override { return inner_->description(); }
  bool moves_bytes() const override { return inner_->moves_bytes(); }
  Result<std::vector<ChannelNumbers>> open(const Cluster& cluster,
                                           std::span<const ChannelRequest> requests) override {
    return inner_->open(cluster, requests);
  }
  Result<SegmentId> register_segment(PlaceId place, Bytes bytes) override {
    return inner_->register_segment(place, bytes);
  }
  void post(ChannelId channel, std::span<const ChunkPost> chunks) override {
    inner_->post(channel, chunks);
  }
  void cancel(ChannelId channel, ChunkId chunk) override {
    if (weather_.cancel_takes_ns == 0) return inner_->cancel(channel, chunk);
    late_cancels_.push_back({now() + weather_.cancel_takes_ns, {channel, chunk}});
    ++cancels_delayed;
  }

  /// Messages keep their order between two nodes: the ones behind a held one wait, too.
  void send(const ControlMessage& message) override {
    if (weather_.lost_messages > 0 && random_.chance(weather_.lost_messages)) {
      ++messages_lost;
      return;
    }
    ++messages_on_the_way;
    inner_->send(message);
  }

  void progress(BackendEvents& events) override {
    for (; !late_cancels_.empty() && late_cancels_.front().first <= now();
         late_cancels_.pop_front())
      inner_->cancel(late_cancels_.front().second.first, late_cancels_.front().second.second);
    const std::size_t first = events.messages.size();
    inner_->progress(events);
    std::vector<ControlMessage> arrived(
        events.messages.begin() + static_cast<std::ptrdiff_t>(first), events.messages.end());
    events.messages.resize(first);
    for (ControlMessage& message : arrived) held_.push_back(std::move(message));
    for (auto message = held_.begin(); message != held_.end();) {
      const TimeNs until = silent_until(message->from, message->to);
      if (until == never_ns) {
        ++messages_lost;
      } else if (until > now()) {
        ++message;
        continue;
      } else {
        events.messages.push_back(*message);
      }
      --messages_on_the_way;
      message = held_.erase(message);
    }
  }

  void wait(TimeNs until) override {
    if (!late_cancels_.empty()) until = std::min(until, late_cancels_.front().first);
    for (const ControlMessage& message : held_)
      until = std::min(until, silent_until(message.from, message.to));
    if (until > now()) inner_->wait(until);
  }
  TimeNs now() const override { return inner_->now(); }
  bool set_link_share(LinkId link, double share) override {
    return inner_->set_link_share(link, share);
  }
  void fill(SegmentId s, Bytes o, Bytes l, std::uint64_t seed) override {
    inner_->fill(s, o, l, seed);
  }
  std::uint64_t checksum(SegmentId s, Bytes o, Bytes l) override {
    return inner_->checksum(s, o, l);
  }
  void read(SegmentId s, Bytes o, std::span<std::byte> into) override { inner_->read(s, o, into); }
  void write(SegmentId s, Bytes o, std::span<const std::byte> from) override {
    inner_->write(s, o, from);
  }

  std::uint64_t messages_on_the_way = 0, messages_lost = 0, cancels_delayed = 0;

 private:
  /// Until when the two cannot talk; now or before: they can.
  TimeNs silent_until(NodeId a, NodeId b) const {
    TimeNs until = 0;
    for (const Weather::Silence& silence : weather_.silences)
      if ((silence.node == a || silence.node == b) && silence.from_ns <= now() &&
          now() < silence.until_ns)
        until = std::max(until, silence.until_ns);
    return until;
  }

  const Weather& weather_;
  Random random_;
  std::unique_ptr<Backend> inner_;
  std::deque<std::pair<TimeNs, std::pair<ChannelId, ChunkId>>> late_cancels_;
  std::vector<ControlMessage> held_;  // arrived, but for a silence; in order
};

}  // namespace kvhaul::simulation
