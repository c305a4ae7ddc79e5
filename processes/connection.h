// A TCP connection to another process of the run, or to somebody who says that he is one: proved by
// TLS (tls.h), and then frames in both directions. Never blocks; whoever has one calls service()
// when poll() says so. One thread at a time.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/units.h"
#include "processes/frames.h"
#include "processes/socket.h"
#include "processes/tls.h"

namespace kvhaul {

/// How often a process says that it is alive, whatever else it does.
inline constexpr TimeNs beat_every_ns = 1 * s_ns;

class Connection {
 public:
  /// `sent_first` goes out before TLS does; `received` is what came behind the other end's.
  Connection(Socket socket, TlsSession session, std::string sent_first, std::string_view received);

  TlsState state() const { return session_.state(); }
  /// Nothing more comes.
  bool ended() const { return ended_; }
  /// Nothing more comes, and nothing waits to be taken.
  bool closed() const { return ended_ && reader_.waiting() == 0; }
  /// What the other end did wrong; empty: nothing, but it may be gone.
  const std::string& damage() const { return reader_.damage(); }
  /// When it last said something that only it can say, as far as attend() knows.
  SteadyClock::time_point heard() const { return heard_; }
  /// Nothing was heard of it for so long; looks once more first, for it may be this process that
  /// has stood still.
  bool stopped(TimeNs silent_after_ns);
  /// Bytes that came, of whatever meaning.
  std::size_t received_bytes() const { return received_; }

  int fd() const { return socket_.fd(); }
  /// What poll() should look for; 0: nothing now, and then it must not look.
  short events() const;
  /// Reads what has come, as long as there is room for it, and writes what can go.
  void service();
  /// Writes what can go.
  void flush();

  /// While open; goes in service() or flush(). `bytes`: at most frame_bytes_max.
  void send(FrameKind kind, std::string_view bytes);
  bool all_sent() const { return broken_ || (plain_.empty() && out_.empty()); }
  bool broken() const { return broken_; }
  /// Now and then: keeps the time of what was heard, and says that this process is alive when that
  /// is due.
  void attend(SteadyClock::time_point now);
  std::optional<Frame> take() { return reader_.take(); }
  bool has_said_something() const { return reader_.waiting() != 0; }
  /// Nothing more is sent after what waits now.
  void leave();

 private:
  bool silent_for(TimeNs time_ns) const;
  bool may_read() const;
  void read_some();
  void hear(std::string_view bytes);

  Socket socket_;
  TlsSession session_;
  FrameReader reader_;
  std::string plain_, out_;  // frames to send; the same as TLS puts them
  std::size_t plain_at_ = 0, out_at_ = 0;
  std::size_t received_ = 0;
  bool ended_ = false;   // nothing more comes
  bool broken_ = false;  // nothing more goes
  bool leaving_ = false;
  bool spoke_ = false;  // since attend(): clocks are slow on some machines, and asked rarely
  SteadyClock::time_point heard_ = SteadyClock::now(), beaten_ = SteadyClock::now();
};

using Connections = std::vector<std::unique_ptr<Connection>>;  // null: there is none

/// Tells all of them, and waits up to a second until they have heard it.
void say_farewell(std::span<const std::unique_ptr<Connection>> to, const Error& error);

/// Waits until one of them is ready or beats are due, at most so long, and serves them. Whether one
/// was ready.
bool serve(std::span<const std::unique_ptr<Connection>> connections, int at_most_ms);

}  // namespace kvhaul
