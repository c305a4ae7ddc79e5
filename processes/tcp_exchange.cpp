#include "processes/tcp_exchange.h"

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <thread>

#include "core/unit_text.h"
#include "processes/meeting.h"
#include "processes/private_file.h"
#include "processes/rendezvous.h"

namespace kvhaul {
namespace {

class TcpExchange final : public Exchange {
 public:
  /// Connections by rank; that of this process is empty, and so are those between two others.
  TcpExchange(const TcpMeeting& meeting, Connections peers)
      : rank_(meeting.rank),
        answer_within_ns_(meeting.answer_within_ns),
        silent_after_ns_(meeting.silent_after_ns),
        peers_(std::move(peers)) {
    // Signals are for the thread that made this one.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    beating_ = std::thread([this] { keep_beating(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  TcpExchange(const TcpExchange&) = delete;
  TcpExchange& operator=(const TcpExchange&) = delete;
  ~TcpExchange() override {
    {
      const std::lock_guard lock(ending_mutex_);
      ending_ = true;
    }
    ending_changed_.notify_all();
    beating_.join();
  }

  std::uint32_t rank() const override { return rank_; }
  std::uint32_t size() const override { return static_cast<std::uint32_t>(peers_.size()); }

  Result<void> send(std::uint32_t to, std::string_view bytes) override {
    if (bytes.size() > frame_bytes_max)
      return Error::failed("a message of " + std::to_string(bytes.size()) +
                           " bytes to another process, where at most " +
                           std::to_string(frame_bytes_max) + " are taken");
    const std::lock_guard lock(mutex_);
    Connection& peer = *peers_[to];
    peer.send(FrameKind::data, bytes);
    peer.flush();
    for (Waiting waiting(*this); !peer.all_sent();) {
      if (auto ok = waiting.check({&to, 1}); !ok) return ok;
      waiting.serve();
    }
    if (!peer.broken() && !peer.ended()) return {};
    // It may have said why it went.
    peer.service();
    if (auto last = take(to); last && !*last) return last->error();
    return gone(to);
  }

  Result<std::string> receive(std::uint32_t from) override {
    const std::lock_guard lock(mutex_);
    for (Waiting waiting(*this);; waiting.serve()) {
      if (auto message = take(from)) return std::move(*message);
      if (auto ok = waiting.check({&from, 1}); !ok) return ok.error();
    }
  }

  Result<std::vector<std::string>> receive_from_all() override {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> messages(peers_.size());
    std::vector<std::uint32_t> all, awaited;
    for (std::uint32_t rank = 0; rank < peers_.size(); ++rank)
      if (peers_[rank]) all.push_back(rank);
    awaited = all;
    for (Waiting waiting(*this);; waiting.serve()) {
      for (std::size_t i = 0; i < awaited.size();) {
        auto message = take(awaited[i]);
        if (message && !*message) return message->error();
        if (!message) {
          ++i;
          continue;
        }
        messages[awaited[i]] = std::move(**message);
        awaited.erase(awaited.begin() + static_cast<std::ptrdiff_t>(i));
      }
      if (awaited.empty()) return messages;
      // Who has said his part waits for what comes of it, and is missed like the others.
      if (auto ok = waiting.check(all); !ok) return ok.error();
    }
  }

  void abandon(const Error& error) override {
    const std::lock_guard lock(mutex_);
    say_farewell(peers_, error);
  }

 private:
  /// What waits to be taken from that process: a message, or why there will be none.
  std::optional<Result<std::string>> take(std::uint32_t from) {
    auto frame = peers_[from]->take();
    if (!frame) return std::nullopt;
    if (frame->kind == FrameKind::data) return Result(std::move(frame->bytes));
    if (frame->kind == FrameKind::farewell) return farewell_in(frame->bytes, from);
    return unreadable(from, "a welcome in the middle of the run");
  }

  /// Waiting for others, with patience that ends.
  class Waiting {
   public:
    explicit Waiting(TcpExchange& exchange) : exchange_(exchange) {}

    void serve() {
      const int at_most_ms = deadline_ ? deadline_->left_ms() : first_ms;
      idle_ = !kvhaul::serve(exchange_.peers_, at_most_ms);
    }

    /// Whether all of these, where nothing waits to be taken, can still be waited for.
    Result<void> check(std::span<const std::uint32_t> ranks) {
      // Time is looked at when nothing happens, or too much.
      const bool long_enough = idle_ || ++looks_ % 64 == 0;
      if (long_enough && !deadline_) deadline_.emplace(exchange_.answer_within_ns_);
      for (const std::uint32_t rank : ranks) {
        Connection& peer = *exchange_.peers_[rank];
        if (peer.has_said_something()) continue;
        if (!peer.damage().empty()) return unreadable(rank, peer.damage());
        if (peer.closed()) return gone(rank);
        if (!long_enough) continue;
        const std::string who = "process " + std::to_string(rank);
        if (peer.stopped(exchange_.silent_after_ns_))
          return Error::failed(who + " has stopped: nothing was heard of it for " +
                               duration_text(exchange_.silent_after_ns_));
        if (deadline_->passed()) return Error::failed(who + " does not answer");
      }
      return {};
    }

   private:
    static constexpr int first_ms = 50;
    TcpExchange& exchange_;
    std::optional<Deadline> deadline_;  // from the first time that nothing happened
    std::uint64_t looks_ = 0;
    bool idle_ = false;
  };

  static Error gone(std::uint32_t rank) {
    return Error::failed("process " + std::to_string(rank) + " is gone");
  }
  static Error unreadable(std::uint32_t rank, const std::string& what) {
    return Error::failed("process " + std::to_string(rank) + " sends what cannot be read: " + what);
  }

  /// While the main thread does something else, which may take minutes.
  void keep_beating() {
    std::unique_lock ending(ending_mutex_);
    while (!ending_changed_.wait_for(ending, std::chrono::nanoseconds(beat_every_ns / 4),
                                     [&] { return ending_; })) {
      const std::unique_lock lock(mutex_, std::try_to_lock);
      if (lock) serve(peers_, 0);
    }
  }

  const std::uint32_t rank_;
  const TimeNs answer_within_ns_, silent_after_ns_;
  std::mutex mutex_;  // of the connections; held while a call of the exchange lasts
  Connections peers_;
  std::mutex ending_mutex_;
  std::condition_variable ending_changed_;
  bool ending_ = false;
  std::thread beating_;
};

Result<std::vector<Listener>> listen_by_name(const std::string& rendezvous) {
  const HostPort where = split_address(rendezvous);
  auto found = look_up(where.host, where.port, AI_PASSIVE);
  if (!found) return found.error();
  std::optional<Error> error;
  for (const addrinfo* at = found->get(); at != nullptr; at = at->ai_next) {
    auto listener = listen_at(*at, rendezvous);
    if (listener) {
      std::vector<Listener> one;
      one.push_back(std::move(*listener));
      return one;
    }
    if (!error) error = listener.error();
  }
  return error.value_or(Error::bad_input("--rendezvous: " + rendezvous + " has no address"));
}

Result<Addresses> look_up_own(const std::string& name, std::uint16_t port) {
  return look_up(name, std::to_string(port), AI_NUMERICHOST | AI_PASSIVE);
}

/// Numeric addresses, with commas between.
Result<std::vector<std::string>> read_addresses(const std::string& list) {
  std::vector<std::string> names;
  for (std::size_t at = 0; at <= list.size();) {
    const std::size_t end = std::min(list.find(',', at), list.size());
    names.push_back(list.substr(at, end - at));
    at = end + 1;
    const std::string& name = names.back();
    const bool anywhere = is_loopback(name) && !name.starts_with("127.") && name != "::1";
    if (!look_up_own(name, 0) || anywhere)
      return Error::bad_input(
          "--listen: expected addresses of this machine with commas between, like 10.0.0.17; "
          "found " +
          in_quotes(name));
  }
  return names;
}

/// At one port of all addresses, and only where the others will be told to knock: fills in both.
Result<std::vector<Listener>> listen_for_file(const std::string& chosen, Rendezvous& rendezvous) {
  std::vector<std::string> names = own_addresses();
  if (!chosen.empty()) {
    auto read = read_addresses(chosen);
    if (!read) return read.error();
    names = std::move(*read);
  }
  constexpr int attempts = 20;  // until a port is free at all of them
  std::vector<Listener> listeners;
  Error error = Error::bad_input("--rendezvous: this machine has no address to listen at");
  for (int attempt = 0; attempt < attempts; ++attempt) {
    listeners.clear();
    rendezvous.addresses.clear();
    rendezvous.port = 0;
    bool taken = false;
    for (const std::string& name : names) {
      auto at = look_up_own(name, rendezvous.port);
      if (!at) continue;
      auto listener = listen_at(**at, name);
      if (!listener) {
        error = listener.error();
        // There, and only the port is another's?
        at = look_up_own(name, 0);
        if (rendezvous.port != 0 && at && listen_at(**at, name)) taken = true;
        if (taken) break;
        if (!chosen.empty()) return error;
        continue;
      }
      rendezvous.addresses.push_back(name);
      rendezvous.port = listener->port;
      listeners.push_back(std::move(*listener));
    }
    if (!taken && !listeners.empty()) return listeners;
    if (!taken) break;
  }
  return error;
}

Result<Connections> lead(const TcpMeeting& meeting) {
  if (is_address(meeting.rendezvous)) {
    auto listeners = listen_by_name(meeting.rendezvous);
    if (!listeners) return listeners.error();
    return wait_at_the_door(meeting, std::move(*listeners), meeting.secret);
  }
  auto secret = make_secret();
  if (!secret) return secret.error();
  Rendezvous rendezvous{host_name(), machine_id(), {}, 0, *secret};
  auto listeners = listen_for_file(meeting.listen, rendezvous);
  if (!listeners) return listeners.error();
  // It goes when all are here, or none will be let in any more.
  auto file = PrivateFile::write(meeting.rendezvous, rendezvous_text(rendezvous),
                                 rendezvous_bytes_max, is_rendezvous);
  if (!file) return Error::bad_input("--rendezvous: " + file.error().message);
  return wait_at_the_door(meeting, std::move(*listeners), *secret);
}

Result<Connections> follow(const TcpMeeting& meeting) {
  auto connection = knock(meeting);
  if (!connection) return connection.error();
  Connections peers(meeting.ranks);
  peers[0] = std::move(*connection);
  return peers;
}

}  // namespace

Result<Preamble> preamble_of(const TcpMeeting& meeting, std::string_view secret) {
  Preamble preamble{exchange_protocol, meeting.version, meeting.rank, meeting.ranks,
                    std::string(no_scenario)};
  if (meeting.scenario.empty()) return preamble;
  auto tag = scenario_tag(secret, meeting.scenario);
  if (!tag) return tag.error();
  preamble.scenario = std::move(*tag);
  return preamble;
}

Result<std::unique_ptr<Exchange>> meet_over_tcp(const TcpMeeting& meeting) {
  if (meeting.ranks == 1) return std::unique_ptr<Exchange>(std::make_unique<Alone>());
  if (is_address(meeting.rendezvous)) {
    // More than an address has room for would be another port.
    const std::string port = split_address(meeting.rendezvous).port;
    const unsigned long number = port.size() > 5 ? 0 : std::stoul(port);
    if (number == 0 || number > 65535)
      return Error::bad_input("--rendezvous: expected a port from 1 to 65535, found " +
                              in_quotes(port));
  }
  auto peers = meeting.rank == 0 ? lead(meeting) : follow(meeting);
  if (!peers) return peers.error();
  return std::unique_ptr<Exchange>(std::make_unique<TcpExchange>(meeting, std::move(*peers)));
}

}  // namespace kvhaul
