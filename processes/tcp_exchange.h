// The exchange of a run over TCP: every process has a connection to process 0, which listens.
//
// Both ends of a connection prove to each other that they know the secret of the run, by TLS 1.3
// (tls.h), before either believes a word; the secret itself is never sent, and what is said cannot
// be read or changed on the way. RDMA data has no such protection: bytes that move between NICs
// travel as they are.
//
// From the meeting on every process says once a second that it is alive, whatever its main thread
// does, so that one that has stopped is noticed and one that is only busy is not.
#pragma once

#include <memory>
#include <string>

#include "core/exchange.h"

namespace kvhaul {

struct TcpMeeting {
  /// A file that process 0 writes and the others wait for, or HOST:PORT of process 0.
  std::string rendezvous;
  /// Needed with HOST:PORT (check_secret()); a file has its own.
  std::string secret;
  std::string version;  // of kvhaul; all must have the same
  /// The text of the scenario, which must be the same for all; empty where it could not be read:
  /// that process is let in, to say why.
  std::string scenario;
  std::uint32_t rank = 0;
  std::uint32_t ranks = 1;
  /// With a file: numeric addresses that process 0 listens at, with commas between. Empty: those of
  /// this machine's interfaces, and its loopback address.
  std::string listen;
  TimeNs join_within_ns = 60 * s_ns;
  /// For a message from a process that is alive: it may be registering a lot of memory.
  TimeNs answer_within_ns = 1200 * s_ns;
  /// A process of which nothing is heard for so long has stopped; well above beat_every_ns.
  TimeNs silent_after_ns = 15 * s_ns;
};

/// Returns when all are there. Fails with bad_input for what the caller can mend (a damaged file,
/// a wrong secret, another version, scenario or number of processes), in all processes that came;
/// with missing where this build has no TLS.
///
/// Threads: the exchange has one of its own, which says that this process lives. Messages have at
/// most 64 MiB.
Result<std::unique_ptr<Exchange>> meet_over_tcp(const TcpMeeting& meeting);

}  // namespace kvhaul
