// One end of a TLS 1.3 connection on which both ends prove that they know one key (an external PSK)
// and nothing else counts: no certificates, no tickets, no early data, and a fresh Diffie-Hellman
// exchange each time, so that recorded bytes prove nothing and what was said stays secret.
//
// No I/O: bytes that came go in, bytes to be sent come out. One thread at a time.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/result.h"
#include "processes/preamble.h"

namespace kvhaul {

enum class TlsSide { client, server };
enum class TlsState {
  proving,
  open,    // the other end knows the key
  ended,   // it has said that nothing more comes
  failed,  // it does not know the key, or says what is no TLS
};

class TlsSession {
 public:
  /// Fails (missing) when the library cannot do it.
  static Result<TlsSession> begin(TlsSide side, const ExchangeKey& key);
  TlsSession(TlsSession&&) noexcept;
  TlsSession& operator=(TlsSession&&) noexcept;
  ~TlsSession();

  TlsState state() const { return state_; }
  /// Bytes from the other end. What they say is appended to `said`.
  void feed(std::string_view bytes, std::string& said);
  /// While open.
  void write(std::string_view bytes);
  /// Says that nothing more comes.
  void end();
  /// Appends what is to be sent to the other end.
  void take_output(std::string& out);

 private:
  struct Parts;
  TlsSession();
  void advance(std::string& said);

  std::unique_ptr<Parts> parts_;
  TlsState state_ = TlsState::proving;
};

}  // namespace kvhaul
