// Process 0 lets the others in.
#include <algorithm>
#include <cerrno>
#include <poll.h>
#include <sys/socket.h>

#include "core/unit_text.h"
#include "processes/meeting.h"

namespace kvhaul {
namespace {

// Somebody who has not proved anything.
constexpr TimeNs stranger_within_ns = 10 * s_ns;
constexpr std::size_t stranger_bytes_max = 1 << 16;
constexpr std::size_t strangers_max = 256;
constexpr int accepted_at_once = 64;

struct Stranger {
  Socket socket;                           // until it has said its preamble
  std::string said;                        // so far of that
  std::unique_ptr<Connection> connection;  // then
  Preamble preamble;
  Deadline until{stranger_within_ns};

  int fd() const { return connection ? connection->fd() : socket.fd(); }
  short events() const { return connection ? connection->events() : short{POLLIN}; }
};

/// Has proved itself, and there is another of its rank.
struct Rival {
  std::unique_ptr<Connection> connection;
  std::uint32_t rank = 0;
  SteadyClock::time_point since = SteadyClock::now();
};

struct Refused {
  std::unique_ptr<Connection> connection;
  Deadline until{1 * s_ns};
};

std::string process_text(std::uint32_t rank) { return "process " + std::to_string(rank); }

class Door {
 public:
  Door(const TcpMeeting& meeting, std::vector<Listener> listeners, const std::string& secret,
       Preamble own)
      : meeting_(meeting),
        listeners_(std::move(listeners)),
        secret_(secret),
        own_(std::move(own)),
        seats_(meeting.ranks),
        left_(meeting.ranks) {}

  Result<Connections> wait() {
    const Deadline deadline(meeting_.join_within_ns);
    while (!all_seated() || !rivals_.empty() || !refused_.empty()) {
      if (deadline.passed()) {
        if (all_seated()) break;
        return tell_all(differs_ ? *differs_ : nobody_came());
      }
      look(std::min(deadline.left_ms(), 250));
      for (std::size_t i = 0; i < strangers_.size();) {
        if (auto stays = judge(strangers_[i]); !stays)
          return tell_all(stays.error());
        else if (*stays)
          ++i;
        else
          strangers_.erase(strangers_.begin() + static_cast<std::ptrdiff_t>(i));
      }
      look_after_seats();
      settle_rivals();
      std::erase_if(refused_, [](const Refused& one) {
        return one.connection->closed() || one.until.passed();
      });
    }
    if (differs_) return tell_all(*differs_);
    for (const auto& seat : seats_)
      if (seat) {
        seat->send(FrameKind::welcome, "");
        seat->service();
      }
    return std::move(seats_);
  }

 private:
  bool all_seated() const {
    return std::all_of(seats_.begin() + 1, seats_.end(), [](const auto& seat) { return !!seat; });
  }

  /// Waits until something happens, and takes what has come.
  void look(int at_most_ms) {
    std::vector<pollfd> entries;
    const auto add = [&](int fd, short events) {
      entries.push_back({events != 0 ? fd : -1, events, 0});
    };
    const bool full = SteadyClock::now() < accept_again_;
    for (const Listener& listener : listeners_)
      add(listener.socket.fd(), full ? short{0} : short{POLLIN});
    for (const Stranger& stranger : strangers_) add(stranger.fd(), stranger.events());
    std::vector<Connection*> proved;
    for (const auto& seat : seats_)
      if (seat) proved.push_back(seat.get());
    for (const Rival& rival : rivals_) proved.push_back(rival.connection.get());
    for (const Refused& refused : refused_) proved.push_back(refused.connection.get());
    for (const Connection* connection : proved) add(connection->fd(), connection->events());
    poll(entries.data(), entries.size(), full ? std::min(at_most_ms, 100) : at_most_ms);
    std::size_t at = listeners_.size();
    for (Stranger& stranger : strangers_)
      if (entries[at++].revents != 0) listen_to(stranger);
    const SteadyClock::time_point now = SteadyClock::now();
    for (Connection* connection : proved) {
      if (entries[at++].revents != 0) connection->service();
      connection->attend(now);
    }
    for (std::size_t i = 0; i < listeners_.size(); ++i)
      if (entries[i].revents != 0) accept_some(listeners_[i]);
  }

  void accept_some(const Listener& listener) {
    for (int accepted = 0; accepted < accepted_at_once;) {
      Socket socket(accept4(listener.socket.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (socket) {
        prepare(socket.fd());
        if (strangers_.size() == strangers_max) drop_oldest();
        strangers_.emplace_back().socket = std::move(socket);
        ++accepted;
      } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        // Only who is sent away makes room; without anybody the door stays shut for a moment, for
        // it would be opened in vain over and over.
        if (strangers_.empty()) {
          accept_again_ = SteadyClock::now() + std::chrono::milliseconds(100);
          return;
        }
        drop_oldest();
      } else if (errno != EINTR && errno != ECONNABORTED) {
        return;
      }
    }
  }

  /// Who has not even said that he is a kvhaul goes first.
  void drop_oldest() {
    const auto mute = std::find_if(strangers_.begin(), strangers_.end(),
                                   [](const Stranger& one) { return !one.connection; });
    strangers_.erase(mute == strangers_.end() ? strangers_.begin() : mute);
  }

  void listen_to(Stranger& stranger) {
    if (stranger.connection) return stranger.connection->service();
    char buffer[1024];
    const ssize_t came = recv(stranger.socket.fd(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (came > 0)
      stranger.said.append(buffer, static_cast<std::size_t>(came));
    else if (came == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
      stranger.until = Deadline(0);
  }

  /// Whether he stays where he is. Fails when the run cannot be.
  Result<bool> judge(Stranger& stranger) {
    if (!stranger.connection) {
      const std::size_t end = stranger.said.find('\n');
      if (end == std::string::npos)
        return may_be_preamble(stranger.said) && !stranger.until.passed();
      if (auto heard = hear_preamble(stranger, end + 1); !heard || !*heard) return heard;
    }
    Connection& connection = *stranger.connection;
    if (connection.state() == TlsState::open) return admit(stranger);
    const bool goes = connection.closed() || stranger.until.passed() ||
                      connection.received_bytes() > stranger_bytes_max;
    if (connection.state() == TlsState::failed) ++unproven_;
    return !goes;
  }

  Result<bool> hear_preamble(Stranger& stranger, std::size_t size) {
    const std::string_view line = std::string_view(stranger.said).substr(0, size);
    auto preamble = parse_preamble(line.substr(0, size - 1));
    if (!preamble) return false;
    if (preamble->protocol != exchange_protocol) {
      ++other_protocol_;
      return false;
    }
    const auto key = exchange_key(secret_, line);
    if (!key) return key.error();
    auto session = TlsSession::begin(TlsSide::server, *key);
    if (!session) return session.error();
    stranger.preamble = std::move(*preamble);
    stranger.connection = std::make_unique<Connection>(
        std::move(stranger.socket), std::move(*session), "", stranger.said.substr(size));
    stranger.connection->service();
    return true;
  }

  /// He knows the secret.
  Result<bool> admit(Stranger& stranger) {
    const Preamble& said = stranger.preamble;
    const std::string who = process_text(said.rank);
    if (said.ranks != meeting_.ranks || said.rank == 0 || said.rank >= meeting_.ranks) {
      seats_.push_back(std::move(stranger.connection));  // to be told, too
      if (said.ranks != meeting_.ranks)
        return Error::bad_input(who + " expects " + std::to_string(said.ranks) +
                                " processes, process 0 " + std::to_string(meeting_.ranks));
      return Error::bad_input("there is more than one " + who);
    }
    // What the others shall hear, too, is said when all are here.
    if (!differs_ && said.version != own_.version)
      differs_ = Error::bad_input(who + " is kvhaul " + said.version + ", process 0 is " +
                                  own_.version + "; expected one version");
    if (!differs_ && said.scenario != own_.scenario && said.scenario != no_scenario &&
        own_.scenario != no_scenario)
      differs_ = Error::bad_input(who + " has another scenario than process 0; expected the same " +
                                  "in all processes");
    rivals_.push_back({std::move(stranger.connection), said.rank});
    return false;
  }

  /// A seat is free again when who had it is gone or has stopped: he may be started once more.
  void look_after_seats() {
    for (std::uint32_t rank = 1; rank < meeting_.ranks; ++rank) {
      auto& seat = seats_[rank];
      if (!seat) continue;
      if (seat->take())
        left_[rank] = "came and left";
      else if (!seat->damage().empty() || seat->closed())
        left_[rank] = how_it_went(*seat);
      else if (seat->stopped(meeting_.silent_after_ns))
        left_[rank] = "came and has stopped";
      else
        continue;
      seat.reset();
    }
  }

  static std::string how_it_went(const Connection& connection) {
    if (connection.damage().empty()) return "came and went away";
    return "came and sent " + connection.damage();
  }

  /// The later of two of one rank has the seat when the earlier is dead, and is sent away when it
  /// is not: a connection that is left behind says nothing more, a living process says so each
  /// second.
  void settle_rivals() {
    for (Rival& rival : rivals_) {
      auto& seat = seats_[rival.rank];
      if (rival.connection->closed()) {
        if (!seat) left_[rival.rank] = how_it_went(*rival.connection);
        rival.connection.reset();
      } else if (!seat) {
        seat = std::move(rival.connection);
      } else if (seat->heard() > rival.since) {
        const Error error = Error::bad_input(process_text(rival.rank) +
                                             " is here already; expected one process of each rank");
        rival.connection->send(FrameKind::farewell, farewell_of(error));
        rival.connection->leave();
        refused_.emplace_back().connection = std::move(rival.connection);
      }
    }
    std::erase_if(rivals_, [](const Rival& rival) { return !rival.connection; });
  }

  Error nobody_came() const {
    std::string missing, left;
    for (std::uint32_t rank = 1; rank < meeting_.ranks; ++rank) {
      if (seats_[rank]) continue;
      missing += (missing.empty() ? "" : ", ") + std::to_string(rank);
      if (!left_[rank].empty()) left += "; " + process_text(rank) + " " + left_[rank];
    }
    std::string text = "process " + missing + " did not come within " +
                       duration_text(meeting_.join_within_ns) + left;
    const auto times = [](std::uint64_t count) {
      return count == 1 ? std::string("once") : std::to_string(count) + " times";
    };
    if (unproven_ != 0)
      text += "; somebody who does not know the secret of the run was refused " + times(unproven_);
    if (other_protocol_ != 0)
      text += "; another version of kvhaul was refused " + times(other_protocol_);
    return Error::bad_input(text);
  }

  /// Those who are here go with the same words.
  Error tell_all(const Error& error) {
    for (Rival& rival : rivals_) seats_.push_back(std::move(rival.connection));
    say_farewell(seats_, error);
    return error;
  }

  const TcpMeeting& meeting_;
  std::vector<Listener> listeners_;
  const std::string& secret_;
  const Preamble own_;
  std::vector<Stranger> strangers_;  // by age
  std::vector<Rival> rivals_;
  std::vector<Refused> refused_;
  Connections seats_;              // by rank
  std::vector<std::string> left_;  // what became of the last one of that rank
  std::optional<Error> differs_;   // what all will be told
  std::uint64_t unproven_ = 0, other_protocol_ = 0;
  SteadyClock::time_point accept_again_{};
};

}  // namespace

Result<Connections> wait_at_the_door(const TcpMeeting& meeting, std::vector<Listener> listeners,
                                     const std::string& secret) {
  if (auto ok = reserve_descriptors(meeting.ranks + strangers_max); !ok) return ok.error();
  auto own = preamble_of(meeting, secret);
  if (!own) return own.error();
  return Door(meeting, std::move(listeners), secret, std::move(*own)).wait();
}

}  // namespace kvhaul
