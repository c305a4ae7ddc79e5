// Somebody who talks to the processes of a run and is none of them: with or without the secret, and
// free to send whatever he likes.
#pragma once

#include <arpa/inet.h>
#include <chrono>
#include <optional>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#include <gtest/gtest.h>

#include "processes/preamble.h"
#include "processes/socket.h"
#include "processes/tls.h"

namespace kvhaul::test {

inline sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(port);
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return at;
}

/// Blocking, and at a port of this machine that may not be open yet.
inline Socket connect_to_port(std::uint16_t port) {
  const sockaddr_in to = loopback(port);
  while (true) {
    Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (socket && connect(socket.fd(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0)
      return socket;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

/// A port of this machine that is open for connections from the start.
inline Listener open_port() {
  addrinfo at{};
  sockaddr_in any = loopback(0);
  at.ai_family = AF_INET;
  at.ai_addr = reinterpret_cast<sockaddr*>(&any);
  at.ai_addrlen = sizeof any;
  auto listener = listen_at(at, "127.0.0.1");
  EXPECT_TRUE(listener);
  return std::move(*listener);
}

class Intruder {
 public:
  explicit Intruder(Socket socket) : socket_(std::move(socket)) {}
  explicit Intruder(std::uint16_t port) : Intruder(connect_to_port(port)) {}

  /// As it is; false when the other end is gone.
  bool say(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(socket_.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  /// The next bytes as they are; empty: the other end is gone.
  std::string hear() {
    char buffer[1 << 16];
    const ssize_t came = recv(socket_.fd(), buffer, sizeof buffer, 0);
    return {buffer, came > 0 ? static_cast<std::size_t>(came) : 0};
  }
  std::string hear_all() {
    std::string all;
    for (std::string some; !(some = hear()).empty();) all += some;
    return all;
  }

  /// Does what a process of the run does, and says whether the other end took it.
  bool prove(std::string_view secret, const Preamble& preamble) {
    const std::string line = preamble_line(preamble);
    return say(line) && prove(TlsSide::client, secret, line);
  }
  bool prove(TlsSide side, std::string_view secret, const std::string& line) {
    const auto key = exchange_key(secret, line);
    if (!key) return false;
    auto session = TlsSession::begin(side, *key);
    if (!session) return false;
    session_.emplace(std::move(*session));
    std::string out;
    said_.clear();
    while (true) {
      session_->take_output(out);
      if (!say(std::exchange(out, {}))) return false;
      if (session_->state() != TlsState::proving) break;
      const std::string came = hear();
      if (came.empty()) return false;
      session_->feed(came, said_);
    }
    return session_->state() == TlsState::open;
  }
  /// After prove(): what it wants, where frames are expected.
  bool say_inside(std::string_view bytes) {
    std::string out;
    session_->write(bytes);
    session_->take_output(out);
    return say(out);
  }
  /// So many bytes of what the other end says inside; less when it goes.
  std::string hear_inside(std::size_t bytes) {
    std::string said = std::exchange(said_, {});
    for (std::string some;
         said.size() < bytes && session_->state() == TlsState::open && !(some = hear()).empty();)
      session_->feed(some, said);
    if (said.size() > bytes) said_ = said.substr(bytes);
    return said.substr(0, bytes);
  }
  /// What the other end says inside, until it is gone.
  std::string hear_all_inside() {
    std::string said = std::exchange(said_, {});
    for (std::string some; session_->state() == TlsState::open && !(some = hear()).empty();)
      session_->feed(some, said);
    return said;
  }
  void leave() { socket_ = Socket(); }
  int fd() const { return socket_.fd(); }

 private:
  Socket socket_;
  std::optional<TlsSession> session_;
  std::string said_;  // inside, and not asked for yet
};

}  // namespace kvhaul::test
