#include "backends/modelled/virtual_backend.h"

#include <algorithm>

#include "backends/modelled/channel_queues.h"
#include "backends/modelled/control_plane.h"
#include "backends/modelled/memory.h"
#include "core/channel_plan.h"

namespace kvhaul::modelled {
namespace {

class VirtualBackend final : public Backend {
 public:
  VirtualBackend(std::string name, bool payload, MakeWire make_wire)
      : name_(std::move(name)), make_wire_(std::move(make_wire)), memory_(payload) {}

  std::string description() const override {
    return name_ + ", virtual time, payload " + (moves_bytes() ? "real" : "none");
  }
  bool moves_bytes() const override { return memory_.with_bytes(); }

  Result<std::vector<ChannelNumbers>> open(const Cluster& cluster,
                                           std::span<const ChannelRequest> requests) override {
    cluster_ = &cluster;
    auto wire = make_wire_(cluster, requests);
    if (!wire) return wire.error();
    queues_ = std::make_unique<ChannelQueues>(cluster, requests, std::move(*wire));
    control_ = std::make_unique<ControlPlane>(cluster, requests);
    tickets_of_.resize(requests.size());
    std::vector<ChannelNumbers> numbers;
    for (const ChannelRequest& request : requests)
      numbers.push_back(numbers_of(request.route, request.costs));
    return numbers;
  }

  Result<SegmentId> register_segment(PlaceId place, Bytes bytes) override {
    return memory_.add(cluster_->places[place].name, bytes);
  }

  void post(ChannelId channel, std::span<const ChunkPost> chunks) override {
    for (const ChunkPost& chunk : chunks) {
      if (!memory_.holds(chunk)) {
        ended_.push_back({channel, Outcome::invalid, chunk.chunk, now_, now_, now_, chunk.bytes});
        continue;
      }
      const std::uint32_t ticket = new_ticket();
      tickets_[ticket] = {channel, now_, chunk};
      tickets_of_[channel].push_back(ticket);
      queues_->post(channel, ticket, chunk, now_);
    }
  }

  void cancel(ChannelId channel, ChunkId chunk) override {
    for (const std::uint32_t ticket : tickets_of_[channel]) {
      const Ticket& entry = tickets_[ticket];
      if (entry.chunk.chunk != chunk) continue;
      if (!queues_->cancel(ticket, now_)) return;  // it will land
      ended_.push_back(
          {channel, Outcome::cancelled, chunk, entry.posted_ns, now_, now_, entry.chunk.bytes});
      free_ticket(ticket);
      return;
    }
  }

  void send(const ControlMessage& message) override { control_->send(message, now_); }

  void progress(BackendEvents& events) override {
    if (!ended_.empty()) {
      events.completions.insert(events.completions.end(), ended_.begin(), ended_.end());
      ended_.clear();
    }
    control_->deliver(now_, events.messages);
    landings_.clear();
    queues_->advance(now_, landings_);
    for (const ChannelQueues::Landing& landing : landings_) {
      const Ticket& entry = tickets_[landing.ticket];
      if (memory_.with_bytes()) memory_.move(entry.chunk);
      events.completions.push_back({entry.channel, Outcome::ok, entry.chunk.chunk, entry.posted_ns,
                                    landing.started_ns, landing.done_ns, entry.chunk.bytes,
                                    landing.ready_ns});
      free_ticket(landing.ticket);
    }
  }

  void wait(TimeNs until_ns) override {
    if (!ended_.empty()) return;
    const TimeNs next = std::min({until_ns, queues_->next_ns(), control_->next_ns()});
    if (next != never_ns) now_ = std::max(now_, next);
  }

  TimeNs now() const override { return now_; }
  bool set_link_share(LinkId link, double share) override {
    return queues_->set_link_share(link, share, now_);
  }

  void fill(SegmentId segment, Bytes offset, Bytes length, std::uint64_t seed) override {
    memory_.fill(segment, offset, length, seed);
  }
  std::uint64_t checksum(SegmentId segment, Bytes offset, Bytes length) override {
    return memory_.checksum(segment, offset, length);
  }
  void read(SegmentId segment, Bytes offset, std::span<std::byte> into) override {
    memory_.read(segment, offset, into);
  }
  void write(SegmentId segment, Bytes offset, std::span<const std::byte> from) override {
    memory_.write(segment, offset, from);
  }

 private:
  struct Ticket {
    ChannelId channel = 0;
    TimeNs posted_ns = 0;
    ChunkPost chunk;
  };

  std::uint32_t new_ticket() {
    if (free_tickets_.empty()) {
      tickets_.emplace_back();
      return static_cast<std::uint32_t>(tickets_.size() - 1);
    }
    const std::uint32_t ticket = free_tickets_.back();
    free_tickets_.pop_back();
    return ticket;
  }
  void free_ticket(std::uint32_t ticket) {
    std::vector<std::uint32_t>& siblings = tickets_of_[tickets_[ticket].channel];
    siblings.erase(std::find(siblings.begin(), siblings.end(), ticket));
    free_tickets_.push_back(ticket);
  }

  std::string name_;
  MakeWire make_wire_;
  const Cluster* cluster_ = nullptr;
  Memory memory_;
  std::unique_ptr<ChannelQueues> queues_;
  std::unique_ptr<ControlPlane> control_;
  TimeNs now_ = 0;
  std::vector<Ticket> tickets_;
  std::vector<std::vector<std::uint32_t>> tickets_of_;  // by channel, those in use
  std::vector<std::uint32_t> free_tickets_;
  std::vector<Completion> ended_;  // without having been on a link
  std::vector<ChannelQueues::Landing> landings_;
};

}  // namespace

std::unique_ptr<Backend> make_virtual_backend(std::string name, bool payload, MakeWire make_wire) {
  return std::make_unique<VirtualBackend>(std::move(name), payload, std::move(make_wire));
}

}  // namespace kvhaul::modelled
