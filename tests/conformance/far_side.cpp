// far_side PORT: the second process of the backend contract over two processes (two_processes.h).
// Listens, and serves one connection until its end.
#include <cstdio>
#include <cstdlib>
#include <deque>

#include "core/channel_plan.h"
#include "tests/conformance/backends.h"
#include "tests/conformance/two_processes.h"

namespace kvhaul::test {
namespace {

int accept_one(std::uint16_t port) {
  const int listening = socket(AF_INET, SOCK_STREAM, 0);
  const int yes = 1;
  setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (bind(listening, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(listening, 1) != 0)
    return -1;
  const int connection = accept(listening, nullptr, nullptr);
  close(listening);
  return connection;
}

/// One backend, from its opening to its end.
class Half {
 public:
  Half(FarConnection& near, const std::string& name) : near_(near) {
    for (const BackendUnderTest& entry : backends_under_test())
      if (entry.name == name) entry_ = entry;
    surroundings_ = entry_.surroundings();
    backend_ = entry_.half(&near_.exchange());
    for (const auto& [source, target] : surroundings_.pairs) {
      const std::vector<std::pair<PlaceId, PlaceId>> places = {{place(source), place(target)}};
      const auto plan = plan_channels(surroundings_.cluster, places, surroundings_.plan);
      requests_.insert(requests_.end(), plan->requests.begin(), plan->requests.end());
    }
    if (auto opened = backend_->open(surroundings_.cluster, requests_); !opened)
      std::fprintf(stderr, "far_side: %s\n", opened.error().message.c_str());
  }

  /// False: the other side has ended it, or is gone.
  bool serve() {
    if (started_ && !near_.readable()) {
      report();
      backend_->wait(backend_->now() + ms_ns);
      return true;
    }
    auto asked = near_.hear();
    if (!asked || asked->first == Ask::end) return false;
    report();  // what came before goes first
    answer(asked->first, asked->second);
    return true;
  }

 private:
  PlaceId place(const std::string& name) const { return *surroundings_.cluster.find_place(name); }

  void report() {
    if (!started_) return;
    BackendEvents events;
    backend_->progress(events);
    if (events.empty()) return;
    Words words;
    words.put_all(events.completions.data(), events.completions.size());
    words.put_all(events.changes.data(), events.changes.size());
    words.put(events.messages.size());
    for (const ControlMessage& message : events.messages) words.put_message(message);
    near_.say(Ask::events, words);
  }

  void answer(Ask what, Words& words) {
    const auto segment = [&] { return words.get<SegmentId>(); };
    const auto bytes = [&] { return words.get<Bytes>(); };
    switch (what) {
      case Ask::add_segment: {
        const auto at = words.get<PlaceId>();
        const auto made = backend_->register_segment(at, bytes());
        const std::string error = made ? "" : made.error().message;
        return near_.say(Ask::answer, Words().put_all(error.data(), error.size()));
      }
      case Ask::start:
        started_ = true;
        if (auto ok = backend_->start(); !ok)
          std::fprintf(stderr, "far_side: %s\n", ok.error().message.c_str());
        return;
      case Ask::post: {
        const auto channel = words.get<ChannelId>();
        std::vector<ChunkPost> chunks(words.get<std::size_t>());
        for (ChunkPost& chunk : chunks) {
          chunk = words.get<ChunkPost>();
          auto& pieces = pieces_.emplace_back(words.get_all<Descriptor>());
          chunk.pieces = pieces.data();
        }
        return backend_->post(channel, chunks);
      }
      case Ask::cancel: {
        const auto channel = words.get<ChannelId>();
        return backend_->cancel(channel, words.get<ChunkId>());
      }
      case Ask::message:
        return backend_->send(words.get_message());
      case Ask::fill: {
        const SegmentId id = segment();
        const Bytes offset = bytes(), length = bytes();
        return backend_->fill(id, offset, length, words.get<std::uint64_t>());
      }
      case Ask::checksum: {
        const SegmentId id = segment();
        const Bytes offset = bytes(), length = bytes();
        return near_.say(Ask::answer, Words().put(backend_->checksum(id, offset, length)));
      }
      case Ask::read: {
        const SegmentId id = segment();
        const Bytes offset = bytes();
        std::vector<std::byte> into(words.get<std::size_t>());
        backend_->read(id, offset, into);
        return near_.say(Ask::answer, Words().put_all(into.data(), into.size()));
      }
      case Ask::write: {
        const SegmentId id = segment();
        const Bytes offset = bytes();
        return backend_->write(id, offset, words.get_all<std::byte>());
      }
      default:
        return;
    }
  }

  FarConnection& near_;
  BackendUnderTest entry_;
  Surroundings surroundings_;
  std::vector<ChannelRequest> requests_;
  std::unique_ptr<Backend> backend_;
  std::deque<std::vector<Descriptor>> pieces_;  // of all chunks: they have to stay
  bool started_ = false;
};

int run(std::uint16_t port) {
  const int socket = accept_one(port);
  if (socket < 0) {
    std::fprintf(stderr, "far_side: cannot listen at port %u\n", port);
    return 1;
  }
  FarConnection near(1, socket);
  int backends = 0;
  while (auto asked = near.hear()) {
    if (asked->first != Ask::open) break;
    {
      Half half(near, asked->second.text());
      while (half.serve()) {
      }
    }
    near.say(Ask::answer);
    ++backends;
  }
  std::printf("far_side: %d backends served\n", backends);
  return backends > 0 ? 0 : 1;
}

}  // namespace
}  // namespace kvhaul::test

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "far_side: expected PORT\n");
    return 2;
  }
  return kvhaul::test::run(static_cast<std::uint16_t>(std::atoi(arguments[1])));
}
