// The others come to process 0.
#include <algorithm>
#include <poll.h>

#include "core/exchange.h"
#include "core/unit_text.h"
#include "processes/meeting.h"
#include "processes/rendezvous.h"

namespace kvhaul {
namespace {

constexpr TimeNs prove_within_ns = 5 * s_ns;  // one attempt
constexpr int look_again_ms = 50;             // for a file, or somebody who listens
constexpr int refused_again_ms = 1000;        // at the longest, by who does not know the secret

/// What came of knocking at one address.
enum class Heard { nobody, no_answer, no_proof, left, welcome };

class Knocking {
 public:
  explicit Knocking(const TcpMeeting& meeting) : meeting_(meeting) {}

  Result<std::unique_ptr<Connection>> run() {
    int pause_ms = look_again_ms;
    while (!deadline_.passed()) {
      auto goal = goal_now();
      if (!goal) return goal.error();
      Heard best = Heard::nobody;
      for (const std::string& address : (*goal)->addresses) {
        auto heard = try_address(address);
        if (!heard) return heard.error();
        if (*heard == Heard::welcome) return std::move(connection_);
        best = std::max(best, *heard);
      }
      heard_ = std::max(heard_, best);
      // Who is refused does not hammer at the door.
      pause_ms = best == Heard::no_proof ? std::min(2 * pause_ms, refused_again_ms) : look_again_ms;
      poll(nullptr, 0, std::min(pause_ms, deadline_.left_ms()));
    }
    return in_vain();
  }

 private:
  bool by_file() const { return !is_address(meeting_.rendezvous); }

  /// Where process 0 may be, and the secret. No addresses: not known yet.
  Result<const Rendezvous*> goal_now() {
    goal_ = {};
    if (!by_file()) {
      goal_.secret = meeting_.secret;
      goal_.addresses.emplace_back();  // looked up by its name
      return &goal_;
    }
    auto read = read_rendezvous(meeting_.rendezvous);
    if (!read) return read.error();
    if (!*read) return &goal_;
    seen_ = true;
    goal_ = std::move(**read);
    goal_.addresses = addresses_from_here(goal_);
    elsewhere_ = goal_.addresses.empty();
    return &goal_;
  }

  Result<Heard> try_address(const std::string& address) {
    const HostPort where = by_file() ? HostPort{address, std::to_string(goal_.port)}
                                     : split_address(meeting_.rendezvous);
    auto found = look_up(where.host, where.port, by_file() ? AI_NUMERICHOST : 0);
    if (!found && !by_file()) return found.error();
    if (!found) return Heard::nobody;
    Heard best = Heard::nobody;
    for (const addrinfo* at = found->get(); at != nullptr; at = at->ai_next) {
      Socket socket = connect_to(*at, soon());
      if (!socket) continue;
      auto heard = introduce(std::move(socket));
      if (!heard || *heard == Heard::welcome) return heard;
      best = std::max(best, *heard);
    }
    return best;
  }

  Deadline soon() const {
    return Deadline(std::min<TimeNs>(prove_within_ns, TimeNs{deadline_.left_ms()} * ms_ns));
  }

  /// Proves itself, hears the proof of the other end, and waits until all are there. Fails when
  /// process 0, and nobody else, says that the run cannot be.
  Result<Heard> introduce(Socket socket) {
    auto preamble = preamble_of(meeting_, goal_.secret);
    if (!preamble) return preamble.error();
    const std::string line = preamble_line(*preamble);
    const auto key = exchange_key(goal_.secret, line);
    if (!key) return key.error();
    auto session = TlsSession::begin(TlsSide::client, *key);
    if (!session) return session.error();
    auto connection =
        std::make_unique<Connection>(std::move(socket), std::move(*session), line, "");
    const Deadline proved_by = soon();
    connection->service();
    while (connection->state() == TlsState::proving && !connection->closed() && !proved_by.passed())
      serve({&connection, 1}, proved_by.left_ms());
    if (connection->state() == TlsState::failed) return Heard::no_proof;
    if (connection->state() != TlsState::open) return Heard::no_answer;
    const Deadline settled_by(meeting_.answer_within_ns);
    while (true) {
      if (const auto frame = connection->take()) {
        if (frame->kind == FrameKind::farewell) return farewell_in(frame->bytes, 0);
        if (frame->kind != FrameKind::welcome)
          return Error::failed("process 0 sends what cannot be read");
        connection_ = std::move(connection);
        return Heard::welcome;
      }
      if (!connection->damage().empty())
        return Error::failed("process 0 sends what cannot be read: " + connection->damage());
      if (connection->closed() || connection->stopped(meeting_.silent_after_ns) ||
          settled_by.passed())
        return Heard::left;
      serve({&connection, 1}, settled_by.left_ms());
    }
  }

  Error in_vain() const {
    const std::string& where = meeting_.rendezvous;
    const std::string within = " within " + duration_text(meeting_.join_within_ns);
    std::string text;
    if (heard_ == Heard::left)
      text = "process 0 was there and went away before all had come";
    else if (heard_ == Heard::no_proof)
      text = "what answers at " + where +
             " does not know the secret of this run; expected process 0, of the same version of "
             "kvhaul and with the same secret";
    else if (heard_ == Heard::no_answer)
      text = "what answers at " + where +
             " is no process 0 of kvhaul that waits, or of another version of it";
    else if (by_file() && !seen_)
      text = where + " did not appear" + within +
             "; process 0 makes it, where all processes can read it";
    else if (by_file() && elsewhere_)
      text = where + " names no address by which the machine of process 0 can be reached from here";
    else
      text = "no process 0 could be reached through " + where + within;
    return Error::bad_input("--rendezvous: " + text);
  }

  const TcpMeeting& meeting_;
  const Deadline deadline_{meeting_.join_within_ns};
  Rendezvous goal_;
  bool seen_ = false, elsewhere_ = false;
  Heard heard_ = Heard::nobody;
  std::unique_ptr<Connection> connection_;
};

}  // namespace

Result<std::unique_ptr<Connection>> knock(const TcpMeeting& meeting) {
  return Knocking(meeting).run();
}

}  // namespace kvhaul
