// Everything a scheduler knows before its first event. A recorded log begins with it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/backend.h"
#include "core/ids.h"
#include "core/result.h"
#include "core/units.h"

namespace kvhaul {

/// Chosen numbers with their reasons; all can be set in the scenario's `scheduler` block.
struct SchedulerConfig {
  std::string policy = "least_finish";
  std::uint64_t seed = 1;

  /// A transfer rises one class each time this has passed since its submission. Mooncake's
  /// next-generation engine promotes after 10 ms; ours waits longer because deadlines already order
  /// inside a class.
  TimeNs ageing_ns = 50 * ms_ns;
  /// Deadline of a transfer that has none: submission plus this, so that it cannot starve either.
  TimeNs default_slack_ns = 100 * ms_ns;

  /// 0: chosen by the policy from the channel's numbers. Otherwise every chunk, tails excepted.
  Bytes chunk_bytes = 0;
  Bytes chunk_floor_bytes = 64 * KiB;
  std::uint32_t chunks_per_transfer = 64;
  /// No chunk occupies an idle channel for longer, so that an urgent transfer never waits longer
  /// than this behind a chunk of a less urgent one.
  TimeNs chunk_time_ns = 100 * us_ns;

  /// Work queued on one channel, and on one link shared by several, as time at the learned rate. A
  /// channel always takes one chunk for each of its stages and one more, a link one, however slow
  /// they are.
  TimeNs channel_window_ns = 250 * us_ns;
  TimeNs link_window_ns = 1000 * us_ns;
  TimeNs rate_time_constant_ns = 10 * ms_ns;

  /// Bytes in flight towards one place from all senders together. 0: four times the largest channel
  /// window, and no limit where there is only one sender, which its windows hold back already.
  Bytes credit_bytes = 0;

  /// A chunk is late at posting + timeout_factor x its expected time + late_floor + what its
  /// channel has shown to need (scheduler.h). Late is a suspicion: channel and links get probes,
  /// and other chunks go other ways where there are any. Two channel windows, because that much
  /// work of other nodes can stand before it at a receiver without anything being wrong.
  std::uint32_t timeout_factor = 4;
  TimeNs late_floor_ns = 500 * us_ns;
  /// A late chunk is given up after so much more: the first where its pair has shown how long its
  /// chunks take, twice as much with every attempt; the second, which is also the most, where
  /// nothing is known yet. A busy host keeps a peer's processes off
  /// the processor for tens of milliseconds.
  TimeNs timeout_floor_ns = 30 * ms_ns;
  TimeNs timeout_cold_ns = 800 * ms_ns;
  std::uint32_t max_attempts = 8;
  std::uint32_t quarantine_errors = 3;  // in a row
  TimeNs quarantine_ns = 20 * ms_ns;    // doubles with every failed probe, up to the maximum
  TimeNs quarantine_max_ns = 5 * s_ns;
  /// A transfer fails when no channel of its pair is usable and nothing of its pair has landed
  /// for so long.
  TimeNs stall_timeout_ns = 10 * s_ns;

  friend bool operator==(const SchedulerConfig&, const SchedulerConfig&) = default;
};

struct SetupChannel {
  ChannelId id = 0;        // as the backend counts
  std::uint32_t pair = 0;  // index into SchedulerSetup::pairs
  std::uint32_t tier = 0;  // 0: preferred; a higher tier is used only while no lower one works
  ChannelNumbers numbers;
  std::vector<std::uint32_t> links;  // indices into SchedulerSetup::links

  friend bool operator==(const SetupChannel&, const SetupChannel&) = default;
};

/// Two places with channels between them; its channels lie next to each other.
struct SetupPair {
  PlaceId source = no_id;
  PlaceId target = no_id;
  std::uint32_t account = 0;  // index into SchedulerSetup::accounts

  friend bool operator==(const SetupPair&, const SetupPair&) = default;
};

/// Something several channels of this scheduler share; links that the same channels cross are one.
struct SetupLink {
  double bytes_per_s = 0;

  friend bool operator==(const SetupLink&, const SetupLink&) = default;
};

/// The credit this scheduler holds for sending to one place, and the node that grants it.
struct SetupAccount {
  PlaceId target = no_id;
  NodeId ledger_node = 0;
  Bytes granted_bytes = 0;    // from the start
  Bytes min_share_bytes = 0;  // it never falls below; no chunk may be larger
  bool shared = false;        // with other senders; alone there is nobody to ask

  friend bool operator==(const SetupAccount&, const SetupAccount&) = default;
};

/// The credit this scheduler hands out for one of its own places.
struct SetupLedger {
  PlaceId place = no_id;
  Bytes capacity_bytes = 0;
  Bytes min_share_bytes = 0;    // no sender is ever asked to go below it
  std::vector<NodeId> senders;  // ascending; each starts with capacity / senders

  friend bool operator==(const SetupLedger&, const SetupLedger&) = default;
};

struct SchedulerSetup {
  NodeId node = 0;
  SchedulerConfig config;
  std::vector<SetupPair> pairs;
  /// By pair, then tier. Channels of one pair and tier have the same post cost, half-bandwidth size
  /// and stages: they are of one kind of route.
  std::vector<SetupChannel> channels;
  std::vector<SetupLink> links;
  std::vector<SetupAccount> accounts;
  std::vector<SetupLedger> ledgers;

  friend bool operator==(const SchedulerSetup&, const SchedulerSetup&) = default;
};

/// Finds what would break a scheduler's assumptions: indices out of range, channels out of order, a
/// window or chunk size of zero, an unknown policy. For setups read from a file.
Result<void> check_setup(const SchedulerSetup& setup);

/// One setup per node that owns channels or receives from others, ascending by node.
/// `numbers[i]` and `tiers[i]` belong to `requests[i]`, which is channel i of the run.
std::vector<SchedulerSetup> make_setups(const Cluster& cluster,
                                        std::span<const ChannelRequest> requests,
                                        std::span<const std::uint32_t> tiers,
                                        std::span<const ChannelNumbers> numbers,
                                        const SchedulerConfig& config);

}  // namespace kvhaul
