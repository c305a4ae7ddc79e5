// The backend contract over two processes, in two machines if need be: the suite runs in one of
// them and sees one backend. What concerns the other one's node is done there (far_side.cpp), on
// request over a TCP connection that bytes of chunks never take.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <optional>
#include <poll.h>
#include <span>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/backend.h"
#include "tests/verbs/pipe_exchange.h"

namespace kvhaul::test {

/// What one process asks of the other, and `events`, which comes unasked.
enum class Ask : char {
  open,  // the name of the backend under test
  add_segment,
  start,
  post,
  cancel,
  message,
  fill,
  checksum,
  read,
  write,
  end,
  answer,
  events,
};

/// Values as they lie in memory, one behind the other; both processes are the same program.
class Words {
 public:
  Words() = default;
  explicit Words(std::string bytes) : bytes_(std::move(bytes)) {}

  template <class T>
  Words& put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  template <class T>
  Words& put_all(const T* values, std::size_t count) {
    put(count);
    bytes_.append(reinterpret_cast<const char*>(values), count * sizeof(T));
    return *this;
  }
  template <class T>
  T get() {
    T value{};
    std::memcpy(&value, bytes_.data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  template <class T>
  std::vector<T> get_all() {
    std::vector<T> values(get<std::size_t>());
    std::memcpy(values.data(), bytes_.data() + at_, values.size() * sizeof(T));
    at_ += values.size() * sizeof(T);
    return values;
  }
  std::string text() {
    const std::vector<char> letters = get_all<char>();
    return {letters.begin(), letters.end()};
  }
  const std::string& bytes() const { return bytes_; }

  void put_message(const ControlMessage& m) {
    put(m.from).put(m.to).put(m.kind).put(m.place).put(m.value).put(m.value2).put(m.bytes);
    put_all(m.body.data(), m.body.size());
  }
  ControlMessage get_message() {
    ControlMessage m;
    m.from = get<NodeId>(), m.to = get<NodeId>(), m.kind = get<std::uint32_t>();
    m.place = get<std::uint32_t>(), m.value = get<std::uint64_t>();
    m.value2 = get<std::uint64_t>(), m.bytes = get<Bytes>(), m.body = get_all<std::uint64_t>();
    return m;
  }

 private:
  std::string bytes_;
  std::size_t at_ = 0;
};

/// The connection between the two: the exchange of their backends while these open and start, and
/// the way for requests otherwise.
class FarConnection {
 public:
  FarConnection(std::uint32_t rank, int socket) : exchange_(rank, socket), socket_(socket) {
    const int yes = 1;  // every question waits for its answer
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  }

  Exchange& exchange() { return exchange_; }
  bool readable() const {
    pollfd wanted = {socket_, POLLIN, 0};
    return poll(&wanted, 1, 0) > 0;
  }
  void say(Ask what, const Words& words = {}) {
    std::string bytes(1, static_cast<char>(what));
    // Who has gone is missed by whoever waits for an answer.
    static_cast<void>(exchange_.send(1 - exchange_.rank(), bytes + words.bytes()));
  }
  std::optional<std::pair<Ask, Words>> hear() {
    auto bytes = exchange_.receive(1 - exchange_.rank());
    if (!bytes || bytes->empty()) return std::nullopt;
    return std::pair(static_cast<Ask>(bytes->front()), Words(bytes->substr(1)));
  }

 private:
  PipeExchange exchange_;
  int socket_;
};

/// To ADDRESS:PORT, where a far side listens, or will soon; null when there is none.
inline std::unique_ptr<FarConnection> connect_far_side(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  addrinfo hints = {}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (colon == std::string::npos ||
      getaddrinfo(address.substr(0, colon).c_str(), address.substr(colon + 1).c_str(), &hints,
                  &found) != 0)
    return nullptr;
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> freed(found, freeaddrinfo);
  for (int attempt = 0; attempt < 100; ++attempt) {
    const int fd = socket(found->ai_family, SOCK_STREAM, 0);
    if (fd < 0) return nullptr;
    if (connect(fd, found->ai_addr, found->ai_addrlen) == 0)
      return std::make_unique<FarConnection>(0, fd);
    close(fd);
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
  }
  return nullptr;
}

class TwoProcesses final : public Backend {
 public:
  /// `half` drives node 0, and the far side a backend of that name for node 1.
  TwoProcesses(const std::string& name, FarConnection& far, std::unique_ptr<Backend> half)
      : far_(far), half_(std::move(half)) {
    far_.say(Ask::open, Words().put_all(name.data(), name.size()));
  }
  ~TwoProcesses() override {
    half_.reset();
    far_.say(Ask::end);
    answer();
  }

  std::string description() const override { return half_->description(); }
  bool moves_bytes() const override { return half_->moves_bytes(); }

  Result<std::vector<ChannelNumbers>> open(const Cluster& cluster,
                                           std::span<const ChannelRequest> requests) override {
    cluster_ = &cluster;
    for (const ChannelRequest& request : requests) owners_.push_back(request.owner);
    return half_->open(cluster, requests);
  }
  Result<SegmentId> register_segment(PlaceId place, Bytes bytes) override {
    auto segment = half_->register_segment(place, bytes);
    if (!segment) return segment;
    far_.say(Ask::add_segment, Words().put(place).put(bytes));
    const std::string error = answer().text();
    if (!error.empty()) return Error::missing(error);
    segments_.push_back(cluster_->places[place].node);
    return segment;
  }

  void post(ChannelId channel, std::span<const ChunkPost> chunks) override {
    begin();
    if (half_->drives(owners_[channel])) return half_->post(channel, chunks);
    Words words;
    words.put(channel).put(chunks.size());
    for (const ChunkPost& chunk : chunks) {
      words.put(chunk);  // its pointer means nothing there; the pieces follow
      words.put_all(chunk.all().data(), chunk.all().size());
    }
    far_.say(Ask::post, words);
  }
  void cancel(ChannelId channel, ChunkId chunk) override {
    begin();
    if (half_->drives(owners_[channel])) return half_->cancel(channel, chunk);
    far_.say(Ask::cancel, Words().put(channel).put(chunk));
  }
  void send(const ControlMessage& message) override {
    begin();
    if (half_->drives(message.from)) return half_->send(message);
    Words words;
    words.put_message(message);
    far_.say(Ask::message, words);
  }

  void progress(BackendEvents& events) override {
    begin();
    half_->progress(events);
    while (far_.readable()) {
      auto heard = far_.hear();
      if (!heard) return;
      if (heard->first == Ask::events) take(heard->second);
    }
    events.completions.insert(events.completions.end(), found_.completions.begin(),
                              found_.completions.end());
    events.changes.insert(events.changes.end(), found_.changes.begin(), found_.changes.end());
    events.messages.insert(events.messages.end(), found_.messages.begin(), found_.messages.end());
    found_.clear();
  }
  /// Another process can always still say something; the suite asks for what it waits for.
  void wait(TimeNs until_ns) override {
    begin();
    if (until_ns == never_ns) until_ns = now() + 20 * ms_ns;
    while (found_.empty() && !far_.readable() && now() < until_ns) {
      const TimeNs step_ns = std::min(until_ns, now() + ms_ns);
      half_->wait(step_ns);
      if (now() < step_ns) return;  // it has something
    }
  }
  TimeNs now() const override {
    begin();
    return half_->now();
  }

  void fill(SegmentId segment, Bytes offset, Bytes length, std::uint64_t seed) override {
    begin();
    if (!is_far(segment)) return half_->fill(segment, offset, length, seed);
    far_.say(Ask::fill, Words().put(segment).put(offset).put(length).put(seed));
  }
  std::uint64_t checksum(SegmentId segment, Bytes offset, Bytes length) override {
    begin();
    if (!is_far(segment)) return half_->checksum(segment, offset, length);
    far_.say(Ask::checksum, Words().put(segment).put(offset).put(length));
    return answer().get<std::uint64_t>();
  }
  void read(SegmentId segment, Bytes offset, std::span<std::byte> into) override {
    begin();
    if (!is_far(segment)) return half_->read(segment, offset, into);
    far_.say(Ask::read, Words().put(segment).put(offset).put(into.size()));
    const std::vector<std::byte> bytes = answer().get_all<std::byte>();
    std::copy_n(bytes.begin(), std::min(bytes.size(), into.size()), into.begin());
  }
  void write(SegmentId segment, Bytes offset, std::span<const std::byte> from) override {
    begin();
    if (!is_far(segment)) return half_->write(segment, offset, from);
    far_.say(Ask::write, Words().put(segment).put(offset).put_all(from.data(), from.size()));
  }

 private:
  bool is_far(SegmentId segment) const { return !half_->drives(segments_[segment]); }

  /// The suite knows of no start: whatever it does first after opening and registering is that.
  void begin() const {
    if (std::exchange(started_, true)) return;
    far_.say(Ask::start);
    static_cast<void>(half_->start());
  }
  /// Keeps what comes before it.
  Words answer() {
    while (auto heard = far_.hear()) {
      if (heard->first == Ask::answer) return std::move(heard->second);
      if (heard->first == Ask::events) take(heard->second);
    }
    // Gone: zeros, which no test takes for right.
    return Words(std::string(64, '\0'));
  }
  void take(Words& words) {
    const auto completions = words.get_all<Completion>();
    const auto changes = words.get_all<ChannelChange>();
    found_.completions.insert(found_.completions.end(), completions.begin(), completions.end());
    found_.changes.insert(found_.changes.end(), changes.begin(), changes.end());
    for (auto left = words.get<std::size_t>(); left > 0; --left)
      found_.messages.push_back(words.get_message());
  }

  FarConnection& far_;
  std::unique_ptr<Backend> half_;
  const Cluster* cluster_ = nullptr;
  std::vector<NodeId> owners_;    // by channel
  std::vector<NodeId> segments_;  // whose each is
  BackendEvents found_;           // of the far side
  mutable bool started_ = false;
};

}  // namespace kvhaul::test
