// The two ways into a run: process 0 waits at the door, the others knock.
#pragma once

#include "processes/connection.h"
#include "processes/tcp_exchange.h"

namespace kvhaul {

/// Process 0: a connection to each of the others, by rank. Lets in who proves that he knows the
/// secret, and is not disturbed by who does not: he has a few seconds and a few kilobytes, and when
/// there are many the oldest go. What does not fit the run is told to all who came.
Result<Connections> wait_at_the_door(const TcpMeeting& meeting, std::vector<Listener> listeners,
                                     const std::string& secret);

/// The others: the connection to process 0, once all are there. Knocks again and again, since
/// process 0 may come later, be busy, or start once more.
Result<std::unique_ptr<Connection>> knock(const TcpMeeting& meeting);

/// The line of a process of that meeting.
Result<Preamble> preamble_of(const TcpMeeting& meeting, std::string_view secret);

}  // namespace kvhaul
