// Without TLS processes cannot prove themselves, and do not meet over TCP.
#include "processes/tcp_exchange.h"

namespace kvhaul {

Result<std::unique_ptr<Exchange>> meet_over_tcp(const TcpMeeting& meeting) {
  if (meeting.ranks == 1) return std::unique_ptr<Exchange>(std::make_unique<Alone>());
  return Error::missing(
      "--rendezvous: this build has no TLS, by which the processes of a run prove themselves; "
      "build it where CMake finds OpenSSL 3 (libssl-dev)");
}

}  // namespace kvhaul
