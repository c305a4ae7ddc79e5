// What has been posted and has not ended, and the rows in which it waits.
#pragma once

#include <cstdint>
#include <vector>

#include "core/backend.h"

namespace kvhaul {

/// What a backend keeps of a chunk, in a vector whose places are used again. One that keeps more
/// has a struct of its own with a `next`.
struct Ticket {
  ChunkPost chunk;
  TimeNs posted_ns = 0;
  TimeNs cancelled_ns = never_ns;
  std::uint32_t next = no_id;
};

/// Tickets in a row, linked through the tickets themselves: nothing is allocated for a chunk.
struct TicketQueue {
  std::uint32_t first = no_id, last = no_id;

  bool empty() const { return first == no_id; }
  template <class Ticket>
  void push(std::vector<Ticket>& tickets, std::uint32_t number) {
    (first == no_id ? first : tickets[last].next) = number;
    last = number;
  }
  template <class Ticket>
  std::uint32_t pop(std::vector<Ticket>& tickets) {
    const std::uint32_t number = first;
    first = tickets[number].next;
    tickets[number].next = no_id;
    return number;
  }
  /// The first that fulfils the condition, out of the row; no_id when there is none.
  template <class Ticket, class Condition>
  std::uint32_t take(std::vector<Ticket>& tickets, Condition condition) {
    std::uint32_t before = no_id;
    for (std::uint32_t n = first; n != no_id; before = n, n = tickets[n].next) {
      if (!condition(tickets[n])) continue;
      (before == no_id ? first : tickets[before].next) = tickets[n].next;
      if (last == n) last = before;
      tickets[n].next = no_id;
      return n;
    }
    return no_id;
  }
};

}  // namespace kvhaul
