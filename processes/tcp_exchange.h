// The exchange of a run over TCP: every process has a connection to process 0, which listens.
//
// Process 0 lets in who knows the secret of the run, and turns away who does not, without being
// disturbed by it. Secrets and keys travel as they are: the network between the processes must be
// one that is trusted with them, as for MPI.
#pragma once

#include <memory>
#include <string>

#include "core/exchange.h"

namespace kvhaul {

struct TcpMeeting {
  /// A file that process 0 writes and the others wait for, or HOST:PORT of process 0.
  std::string rendezvous;
  /// Needed with HOST:PORT; a file has its own.
  std::string secret;
  std::string version;  // of kvhaul; all must have the same
  std::uint32_t rank = 0;
  std::uint32_t ranks = 1;
  TimeNs join_within_ns = 60 * s_ns;
  /// For a message from a process that is alive: it may be registering a lot of memory.
  TimeNs answer_within_ns = 1200 * s_ns;
};

/// True for HOST:PORT and [ADDRESS]:PORT; a file of such a name is meant with ./ in front.
bool is_address(const std::string& rendezvous);

/// Returns when all are there. Fails with bad_input for what the caller can mend (a damaged file,
/// a wrong secret, another version, another number of processes), in all processes that came.
Result<std::unique_ptr<Exchange>> meet_over_tcp(const TcpMeeting& meeting);

}  // namespace kvhaul
