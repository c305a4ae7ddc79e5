// The rows of a run's files, one after the other, so that each reader keeps of them what it needs.
// A file must be whole: its last line too, and with as many rows as summary.json counts.
//
// Errors are bad_input and name the file and the line.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "core/result.h"
#include "core/transfer.h"
#include "core/units.h"
#include "results/run_directory.h"

namespace kvhaul {

/// Of requests.csv, which has each request once.
struct RequestRecord {
  std::uint64_t request = 0;
  std::uint64_t line = 0;  // of the trace
  std::uint32_t input_tokens = 0;
  bool served = false;  // an instance of each kind had it
  std::uint64_t prefill_instance = 0, decode_instance = 0;
  std::uint64_t slot = 0;     // of its transfers' tags; of served ones
  std::uint64_t retries = 0;  // attempts before, which lost their KV: the queue holds them
  bool completed = false;
  TimeNs arrival_ns = 0;
  TimeNs queue_ns = 0, prefill_ns = 0;  // of served ones
  // Of completed ones.
  TimeNs handover_ns = 0;
  TimeNs prefill_memory_ns = 0;                    // of the queue
  TimeNs exposed_ns = 0;                           // of the hand-over
  TimeNs memory_ns = 0, step_ns = 0, seat_ns = 0;  // the rest of it
  PathParts path;                                  // of exposed_ns
  TimeNs e2e_ns = 0;
  std::string_view last_link;  // good until the next one

  TimeNs ttft_ns() const { return queue_ns + prefill_ns + handover_ns; }
};
/// Takes eight bytes of memory per request to see that.
Result<void> read_request_rows(const RunDirectory& run,
                               const std::function<void(const RequestRecord&)>& take);

/// Of transfers.csv: KV of one prefill chunk over one kind of route.
struct TransferRecord {
  std::uint64_t request = 0;
  std::uint32_t prefill_chunk = 0;
  Bytes bytes = 0;
  std::uint64_t resent_chunks = 0, failed_transfers = 0, damaged_transfers = 0;
  TimeNs submitted_ns = 0;  // the first of them
  TimeNs duration_ns = 0;   // to the last report
};
Result<void> read_transfer_rows(const RunDirectory& run,
                                const std::function<void(const TransferRecord&)>& take);

/// Of links.csv.
struct LinkRecord {
  std::string_view link, kind;  // good until the next one
  std::size_t bin = 0;          // below link_bins_max
  double utilisation = 0;
};
/// Of any file of ours; more is damage.
inline constexpr std::size_t link_bins_max = 4096;
/// Returns the width of the bins, 0 where there are none.
Result<TimeNs> read_link_rows(const RunDirectory& run,
                              const std::function<void(const LinkRecord&)>& take);

/// Of instances.csv.
struct InstanceRecord {
  std::size_t place = 0;  // in RunDirectory::instances
  std::size_t bin = 0;    // below link_bins_max
  TimeNs from_ns = 0, to_ns = 0;
  double utilisation = 0, kv_fill = 0, queue = 0, tokens_per_s = 0;
  std::optional<double> batch;
};
Result<TimeNs> read_instance_rows(const RunDirectory& run,
                                  const std::function<void(const InstanceRecord&)>& take);

}  // namespace kvhaul
