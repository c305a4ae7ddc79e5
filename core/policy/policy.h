// What a policy decides, and all it may look at: how large the chunks of a transfer are, and which
// channel takes the next one. Order between transfers is not a policy's business
// (transfer_queue.h).
//
// A policy is a small value class with the members below; there is no base class, so the
// scheduler's inner loop calls it directly. To add one: write core/policy/my_policy.h beside the
// others and add the class to AnyPolicy in all.h. It is then known by its name in scenarios, on the
// command line, in the tests that run over every policy and in `kvhaul list`.
//
//   static constexpr std::string_view name, summary;
//   static constexpr bool repeatable;           // choose() of the same load gives the same channel
//   explicit MyPolicy(const SchedulerSetup&);
//   Bytes chunk_bytes(const PairNumbers&, Bytes transfer_bytes, std::size_t pieces) const;
//   std::uint32_t choose(const Choice&);        // one of choice.candidates
//
// A policy must be deterministic: its only randomness is a Random seeded from the setup.
#pragma once

#include <cstdint>
#include <span>

#include "core/channel_table.h"
#include "core/units.h"

namespace kvhaul {

/// The numbers of a pair's preferred channels, as advertised.
struct PairNumbers {
  double bytes_per_s = 0;          // of the fastest
  Bytes half_bandwidth_bytes = 0;  // of the fastest
  TimeNs post_ns = 0;
  std::uint32_t stages = 1;
  /// How many channels can run at full rate side by side before a link they all share is full.
  std::uint32_t parallel_channels = 1;
  std::uint32_t max_pieces = 1;  // in one chunk, on every channel of the pair
  Bytes max_chunk_bytes = 0;     // no channel of the pair takes more, nor does the credit
};

struct Choice {
  const ChannelTable& table;
  std::uint32_t pair = 0;
  std::span<const std::uint32_t> candidates;  // usable, never empty, nearest first, stable order
  ChannelTable::Charge charge;                // what the chunk costs on any of them
};

}  // namespace kvhaul
