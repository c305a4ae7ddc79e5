// The emulated backend in real time: worker threads copy real bytes.
//
// Each channel belongs to one worker, which copies its chunks in posting order. Unthrottled, a
// chunk is done when it is copied. Throttled, the link model is run by the wall clock beside the
// workers, and a chunk is done when it is both copied and due, so that its links seem to have their
// rates.
//
// Threads: the owner's thread calls every member; workers touch a ticket only while it is theirs,
// from the moment it is in their queue to the moment it is in `copied_`. Both hand-overs are under
// a mutex.
#include "backends/emulated/real_backend.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "backends/emulated/queued_wire.h"
#include "backends/modelled/channel_queues.h"
#include "backends/modelled/control_plane.h"
#include "backends/modelled/memory.h"
#include "core/channel_plan.h"

namespace kvhaul::emulated {
namespace {

using Clock = std::chrono::steady_clock;
using modelled::ChannelQueues, modelled::ControlPlane, modelled::Memory;

class RealBackend final : public Backend {
 public:
  explicit RealBackend(const Options& options)
      : throttle_(options.throttle), workers_wanted_(options.workers), memory_(true) {}

  ~RealBackend() override {
    for (Worker& worker : workers_) {
      {
        const std::lock_guard lock(worker.mutex);
        worker.stop = true;
      }
      worker.wake.notify_one();
    }
    for (Worker& worker : workers_) worker.thread.join();
  }

  std::string description() const override {
    return "emulated, real time, payload real, " +
           std::string(throttle_ ? "throttled to link rates" : "not throttled") + ", " +
           std::to_string(workers_.size()) + (workers_.size() == 1 ? " worker" : " workers");
  }
  bool moves_bytes() const override { return true; }

  Result<std::vector<ChannelNumbers>> open(const Cluster& cluster,
                                           std::span<const ChannelRequest> requests) override {
    cluster_ = &cluster;
    control_ = std::make_unique<ControlPlane>(cluster, requests);
    if (throttle_)
      queues_ = std::make_unique<ChannelQueues>(cluster, requests,
                                                std::make_unique<QueuedWire>(cluster, requests));
    std::vector<ChannelNumbers> numbers;
    for (const ChannelRequest& request : requests)
      numbers.push_back(numbers_of(request.route, request.costs));
    start_ = Clock::now();
    workers_.resize(copying_threads(requests.size(), workers_wanted_));
    for (Worker& worker : workers_) worker.thread = std::thread([this, &worker] { work(worker); });
    return numbers;
  }

  Result<SegmentId> register_segment(PlaceId place, Bytes bytes) override {
    const Clock::time_point before = Clock::now();
    auto segment = memory_.add(cluster_->places[place].name, bytes);
    start_ += Clock::now() - before;  // the clock stands still; no worker reads it before a post
    return segment;
  }

  void post(ChannelId channel, std::span<const ChunkPost> chunks) override {
    const TimeNs now = this->now();
    Worker& worker = workers_[channel % workers_.size()];
    bool any = false;
    {
      const std::lock_guard lock(worker.mutex);
      for (const ChunkPost& chunk : chunks) {
        if (!memory_.holds(chunk)) {
          ended_.push_back({channel, Outcome::invalid, chunk.chunk, now, now, now, chunk.bytes});
          continue;
        }
        const std::uint32_t ticket = new_ticket();
        Ticket& entry = tickets_[ticket];
        entry = {ticket, channel, now, 0, 0, chunk, true, false, queues_ == nullptr};
        worker.queue.push_back(&entry);
        if (queues_) queues_->post(channel, ticket, chunk, now);
        any = true;
      }
    }
    if (any) worker.wake.notify_one();
  }

  void cancel(ChannelId channel, ChunkId chunk) override {
    for (std::uint32_t ticket = 0; ticket < tickets_.size(); ++ticket) {
      Ticket& entry = tickets_[ticket];
      if (!entry.in_use || entry.channel != channel || entry.chunk.chunk != chunk) continue;
      Worker& worker = workers_[channel % workers_.size()];
      {
        const std::lock_guard lock(worker.mutex);
        const auto waiting = std::find(worker.queue.begin(), worker.queue.end(), &entry);
        if (waiting == worker.queue.end()) return;  // being copied, or copied: it will land
        worker.queue.erase(waiting);
      }
      if (queues_) queues_->cancel(ticket, now());
      ended_.push_back(
          {channel, Outcome::cancelled, chunk, entry.posted_ns, now(), now(), entry.chunk.bytes});
      free_ticket(ticket);
      return;
    }
  }

  void send(const ControlMessage& message) override { control_->send(message, now()); }

  void progress(BackendEvents& events) override {
    events.completions.insert(events.completions.end(), ended_.begin(), ended_.end());
    ended_.clear();
    const TimeNs now = this->now();
    control_->deliver(now, events.messages);
    {
      const std::lock_guard lock(copied_mutex_);
      arrived_.swap(copied_);
    }
    for (Ticket* entry : arrived_) {
      entry->copied = true;
      if (entry->landed) complete(*entry, events);
    }
    arrived_.clear();
    if (!queues_) return;
    landings_.clear();
    queues_->advance(now, landings_);
    for (const ChannelQueues::Landing& landing : landings_) {
      Ticket& entry = tickets_[landing.ticket];
      if (!entry.in_use) continue;
      entry.landed = true;
      entry.ready_ns = landing.ready_ns;
      if (!entry.copied) continue;
      entry.started_ns = std::max(landing.started_ns, entry.started_ns);
      entry.done_ns = std::max(landing.done_ns, entry.done_ns);
      complete(entry, events);
    }
  }

  void wait(TimeNs until_ns) override {
    TimeNs until = std::min(until_ns, control_->next_ns());
    if (queues_) until = std::min(until, queues_->next_ns());
    if (!ended_.empty() || until <= now()) return;
    std::unique_lock lock(copied_mutex_);
    const auto ready = [this] { return !copied_.empty(); };
    if (until != never_ns)
      landed_.wait_until(lock, start_ + std::chrono::nanoseconds(until), ready);
    else if (in_use_ != 0)
      landed_.wait(lock, ready);
  }

  TimeNs now() const override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start_).count();
  }

  /// Throttled, the links are modelled; else there are none whose rate could change.
  bool set_link_share(LinkId link, double share) override {
    return queues_ != nullptr && queues_->set_link_share(link, share, now());
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
    std::uint32_t number = 0;
    ChannelId channel = 0;
    TimeNs posted_ns = 0;
    TimeNs started_ns = 0;  // of the copy; written by the worker
    TimeNs done_ns = 0;
    ChunkPost chunk;
    bool in_use = false;
    bool copied = false;
    bool landed = false;  // due by the link model; at once without one
    TimeNs ready_ns = 0;  // by the link model
  };
  struct Worker {
    std::mutex mutex;
    std::condition_variable wake;
    std::deque<Ticket*> queue;
    bool stop = false;
    std::thread thread;
  };

  void work(Worker& worker) {
    while (true) {
      Ticket* ticket = nullptr;
      {
        std::unique_lock lock(worker.mutex);
        worker.wake.wait(lock, [&] { return worker.stop || !worker.queue.empty(); });
        if (worker.stop) return;
        ticket = worker.queue.front();
        worker.queue.pop_front();
      }
      ticket->started_ns = now();
      memory_.move(ticket->chunk);
      ticket->done_ns = now();
      {
        const std::lock_guard lock(copied_mutex_);
        copied_.push_back(ticket);
      }
      landed_.notify_one();
    }
  }

  void complete(Ticket& entry, BackendEvents& events) {
    events.completions.push_back({entry.channel, Outcome::ok, entry.chunk.chunk, entry.posted_ns,
                                  entry.started_ns, entry.done_ns, entry.chunk.bytes,
                                  entry.ready_ns});
    free_ticket(entry.number);
  }

  std::uint32_t new_ticket() {
    ++in_use_;
    if (free_tickets_.empty()) {
      tickets_.emplace_back();
      return static_cast<std::uint32_t>(tickets_.size() - 1);
    }
    const std::uint32_t ticket = free_tickets_.back();
    free_tickets_.pop_back();
    return ticket;
  }
  void free_ticket(std::uint32_t ticket) {
    --in_use_;
    tickets_[ticket].in_use = false;
    free_tickets_.push_back(ticket);
  }

  const bool throttle_;
  const unsigned workers_wanted_;
  const Cluster* cluster_ = nullptr;
  Memory memory_;
  std::unique_ptr<ChannelQueues> queues_;
  std::unique_ptr<ControlPlane> control_;
  Clock::time_point start_;
  std::deque<Ticket> tickets_;  // a deque, so that workers' pointers stay valid
  std::vector<std::uint32_t> free_tickets_;
  std::size_t in_use_ = 0;
  std::vector<Completion> ended_;
  std::vector<ChannelQueues::Landing> landings_;
  std::vector<Ticket*> arrived_;

  std::mutex copied_mutex_;
  std::condition_variable landed_;
  std::vector<Ticket*> copied_;  // guarded by copied_mutex_

  std::deque<Worker> workers_;
};

}  // namespace

unsigned copying_threads(std::size_t channels, unsigned workers) {
  const unsigned processors = std::max(2u, std::thread::hardware_concurrency());
  const unsigned most = workers != 0 ? workers : processors - 1;
  return static_cast<unsigned>(std::clamp<std::size_t>(channels, 1, most));
}

std::unique_ptr<Backend> make_real_backend(const Options& options) {
  return std::make_unique<RealBackend>(options);
}

}  // namespace kvhaul::emulated
