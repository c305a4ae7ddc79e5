#include "processes/connection.h"

#include <algorithm>
#include <cerrno>
#include <poll.h>
#include <sys/socket.h>

#include "core/exchange.h"

namespace kvhaul {
namespace {

constexpr std::size_t piece_bytes = 1 << 16;
constexpr int pieces_at_once = 16;  // then the others have their turn
// What is read before somebody takes it; a message that has begun is read to its end.
constexpr std::size_t waiting_most = 16, waiting_bytes_most = 1 << 20;

}  // namespace

Connection::Connection(Socket socket, TlsSession session, std::string sent_first,
                       std::string_view received)
    : socket_(std::move(socket)), session_(std::move(session)), out_(std::move(sent_first)) {
  hear(received);
}

bool Connection::silent_for(TimeNs time_ns) const {
  return time_ns != never_ns && SteadyClock::now() - heard_ > std::chrono::nanoseconds(time_ns);
}

bool Connection::stopped(TimeNs silent_after_ns) {
  if (!silent_for(silent_after_ns)) return false;
  service();
  return !spoke_;
}

bool Connection::may_read() const {
  return !ended_ && reader_.waiting() < waiting_most &&
         reader_.waiting_bytes() < waiting_bytes_most;
}

short Connection::events() const {
  short events = 0;
  if (may_read()) events |= POLLIN;
  if (!all_sent()) events |= POLLOUT;
  return events;
}

void Connection::service() {
  read_some();
  flush();
}

void Connection::read_some() {
  char buffer[piece_bytes];
  for (int piece = 0; piece < pieces_at_once && may_read(); ++piece) {
    const ssize_t came = recv(fd(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (came > 0) {
      hear({buffer, static_cast<std::size_t>(came)});
      if (came < static_cast<ssize_t>(sizeof buffer)) return;  // no more for now
    } else if (came < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      return;
    } else if (came == 0 || errno != EINTR) {
      ended_ = true;
    }
  }
}

void Connection::hear(std::string_view bytes) {
  received_ += bytes.size();
  std::string said;
  session_.feed(bytes, said);
  if (!said.empty()) {
    spoke_ = true;
    if (!reader_.feed(said)) ended_ = true;
  }
  if (state() == TlsState::failed || state() == TlsState::ended) ended_ = true;
}

void Connection::flush() {
  while (!broken_) {
    if (out_at_ == out_.size()) {
      out_.clear();
      out_at_ = 0;
      // To one that has left there is nothing to say any more.
      if (state() == TlsState::ended || state() == TlsState::failed) plain_at_ = plain_.size();
      if (state() == TlsState::open && plain_at_ < plain_.size()) {
        const std::string_view piece = std::string_view(plain_).substr(plain_at_, piece_bytes);
        session_.write(piece);
        plain_at_ += piece.size();
      }
      if (plain_at_ == plain_.size()) {
        plain_.clear();
        plain_at_ = 0;
        if (leaving_) session_.end();
      }
      session_.take_output(out_);
      if (out_.empty()) {
        if (leaving_) {
          shutdown(fd(), SHUT_WR);
          broken_ = true;
        }
        return;
      }
    }
    const ssize_t sent =
        ::send(fd(), out_.data() + out_at_, out_.size() - out_at_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      out_at_ += static_cast<std::size_t>(sent);
    } else if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      return;
    } else if (sent == 0 || errno != EINTR) {
      broken_ = true;
    }
  }
}

void Connection::send(FrameKind kind, std::string_view bytes) {
  if (broken_ || leaving_) return;
  plain_ += frame_head(kind, bytes.size());
  plain_ += bytes;
}

void Connection::attend(SteadyClock::time_point now) {
  if (std::exchange(spoke_, false)) heard_ = now;
  if (state() != TlsState::open || now - beaten_ < std::chrono::nanoseconds(beat_every_ns)) return;
  beaten_ = now;
  // What waits to be sent says it as well, once it goes.
  if (!all_sent()) return;
  send(FrameKind::beat, "");
  flush();
}

void Connection::leave() {
  leaving_ = true;
  flush();
}

void say_farewell(std::span<const std::unique_ptr<Connection>> to, const Error& error) {
  const Deadline deadline(1 * s_ns);
  const std::string words = farewell_of(error).substr(0, farewell_bytes_max);
  for (const auto& connection : to)
    if (connection) {
      connection->send(FrameKind::farewell, words);
      connection->leave();
    }
  // What came and was not read would take the farewell with it when a connection is closed.
  while (!deadline.passed()) {
    bool all = true;
    for (const auto& connection : to)
      if (connection) {
        while (connection->take()) {
        }
        all = all && connection->closed();
      }
    if (all) return;
    serve(to, deadline.left_ms());
  }
}

bool serve(std::span<const std::unique_ptr<Connection>> connections, int at_most_ms) {
  constexpr int beat_ms = static_cast<int>(beat_every_ns / ms_ns);
  std::vector<pollfd> entries;
  for (const auto& connection : connections) {
    const short events = connection ? connection->events() : short{0};
    entries.push_back({events != 0 ? connection->fd() : -1, events, 0});
  }
  const bool ready = poll(entries.data(), entries.size(), std::min(at_most_ms, beat_ms / 4)) > 0;
  const SteadyClock::time_point now = SteadyClock::now();
  for (std::size_t i = 0; i < entries.size(); ++i)
    if (connections[i]) {
      if (entries[i].revents != 0) connections[i]->service();
      connections[i]->attend(now);
    }
  return ready;
}

}  // namespace kvhaul
