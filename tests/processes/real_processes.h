// Meetings of processes that are processes, at a port of this machine.
#pragma once

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "processes/tcp_exchange.h"
#include "tests/processes/forked.h"
#include "tests/processes/intruder.h"

namespace kvhaul::test {

inline const std::string secret = "0123456789abcdef0123456789abcdef";
inline const std::string wrong_secret = "fedcba9876543210fedcba9876543210";

inline TcpMeeting meeting_at(std::uint16_t port, std::uint32_t rank, std::uint32_t ranks) {
  TcpMeeting meeting;
  meeting.rendezvous = "127.0.0.1:" + std::to_string(port);
  meeting.secret = secret;
  meeting.version = std::string("1");
  meeting.rank = rank;
  meeting.ranks = ranks;
  meeting.join_within_ns = 60 * s_ns;
  meeting.answer_within_ns = 120 * s_ns;
  return meeting;
}
inline Preamble preamble_at(std::uint32_t rank, std::uint32_t ranks) {
  return {exchange_protocol, "1", rank, ranks, std::string(no_scenario)};
}

/// A port that was free a moment ago.
inline std::uint16_t free_port() { return open_port().port; }

/// What all have said, in all: "012". Else the error.
inline std::string gather(Exchange& exchange) {
  const auto all = all_gather(exchange, std::to_string(exchange.rank()));
  if (!all) {
    exchange.abandon(all.error());
    return all.error().message;
  }
  std::string words;
  for (const std::string& word : *all) words += word;
  return words;
}

using Body = std::string (*)(Exchange&);
/// Meets and does that; else the error of the meeting.
inline Forked start(const TcpMeeting& meeting, Body body = gather) {
  return Forked([=] {
    auto exchange = meet_over_tcp(meeting);
    return exchange ? body(**exchange) : exchange.error().message;
  });
}

/// Until process 0 listens.
inline void wait_for_door(std::uint16_t port) { connect_to_port(port); }

}  // namespace kvhaul::test
