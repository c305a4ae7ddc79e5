// What comes of a replay: a row per request, its rows of transfers, and sums.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/backend.h"
#include "core/critical_path.h"
#include "core/transfer.h"
#include "core/units.h"

namespace kvhaul {

enum class RequestOutcome : std::uint8_t {
  completed,
  transfer_failed,  // a transfer failed, could not be made right after damage, or lost its peer
  too_large,        // its KV does not fit into an instance at all
  failed_in_trace,  // the trace has no output for it; not replayed
};
std::string_view request_outcome_name(RequestOutcome outcome);

/// What a request waited for from the end of its prefill to its first decode step: all of that
/// time, each moment once.
struct Handover {
  TimeNs memory_ns = 0;  // for pages of the decode side
  PathParts transfer{};  // of the last transfer to end; with what the sides tell each other
  TimeNs step_ns = 0;    // for the decode step that ran when all had landed
  TimeNs seat_ns = 0;    // then, for a place in the batch
  ChannelId last_channel = no_id;  // by which its last chunk came; no_id: before prefill ended

  TimeNs sum() const { return memory_ns + transfer.sum() + step_ns + seat_ns; }
  friend bool operator==(const Handover&, const Handover&) = default;
};

struct RequestResult {
  std::uint64_t request = 0;  // number in the trace, from 0
  std::uint64_t line = 0;
  RequestOutcome outcome = RequestOutcome::completed;
  std::uint32_t input_tokens = 0, output_tokens = 0, cached_tokens = 0;
  std::uint32_t prefill_instance = 0, decode_instance = 0;
  std::uint32_t slot =
      0;  // in the tables of all parts, while it was served: of its transfers' tags
  std::uint32_t retries = 0;  // so many times it was prefilled again; what follows is of the last
  TimeNs arrival_ns = 0;
  TimeNs prefill_memory_ns = 0;  // before it: nothing was computed, for want of pages
  TimeNs prefill_start_ns = 0;
  TimeNs prefill_end_ns = 0;
  TimeNs landed_ns = 0;  // all KV is at the decode side, and it knows
  TimeNs joined_ns = 0;  // its first decode step begins; landed_ns where it has none
  TimeNs finished_ns = 0;
  Handover handover{};  // from prefill_end_ns to joined_ns; of completed requests
  Bytes bytes = 0;      // moved for it, re-sent ones not counted

  /// Names one attempt, in what the parts of a replay say to each other.
  std::uint64_t attempt() const { return request | std::uint64_t{retries} << 48; }
};

/// Sums over the transfers of one prefill chunk on one tier of route.
struct TransferRow {
  std::uint64_t request = 0;
  std::uint32_t prefill_chunk = 0;
  std::uint8_t tier = 0;
  std::uint32_t retry = 0;  // of the request: 0 is its first attempt
  std::uint32_t transfers = 0;
  std::uint64_t chunks = 0, pieces = 0;
  std::uint64_t resent_chunks = 0;
  std::uint8_t gathers = 0;   // bit m: method m gathered the pieces of some transfer
  std::uint32_t failed = 0;   // transfers that did not deliver
  std::uint32_t damaged = 0;  // transfers whose checksum was wrong, and which were made again
  Bytes bytes = 0, resent_bytes = 0;
  TimeNs first_submitted_ns = never_ns;
  TimeNs last_reported_ns = 0;
  // Of the transfer that ended last; they add up to its whole time.
  TimeNs wait_ns = 0, post_ns = 0, wire_ns = 0, detect_ns = 0;
};

struct DecodeStep {
  std::uint32_t instance = 0;
  std::uint32_t sequences = 0;
  TimeNs began_ns = 0, ended_ns = 0;
};

/// One chunk of a prompt has passed one pipeline stage of a prefill instance.
struct PrefillStep {
  std::uint32_t instance = 0;
  std::uint32_t tokens = 0;  // computed by then: said by the last stage, 0 by those before
  TimeNs began_ns = 0, ended_ns = 0;
};

enum class InstanceRole : std::uint8_t { prefill, decode };
std::string_view instance_role_name(InstanceRole role);

/// What an instance has from a time on, until the next of these.
struct InstanceState {
  InstanceRole role = InstanceRole::prefill;
  std::uint32_t instance = 0;
  std::uint32_t pages = 0;    // held for requests; blocks that only the prefix cache keeps are not
  std::uint32_t waiting = 0;  // requests; prefill: for prefill, or pages for it; decode: for pages,
                              // or, landed, for a decode step
  TimeNs at_ns = 0;
};

/// Is told what came of everything; writes the files of a run.
class ReplayObserver {
 public:
  virtual ~ReplayObserver() = default;
  virtual void request_done(const RequestResult& result, const std::vector<TransferRow>& rows) = 0;
  virtual void transfer_done(const TransferEnd& end) = 0;
  virtual void chunks_ended(std::span<const Completion> completions) = 0;
  /// A decode step gave so many sequences a token each.
  virtual void decode_step(const DecodeStep& /*step*/) {}
  virtual void prefill_step(const PrefillStep& /*step*/) {}
  virtual void instance_changed(const InstanceState& /*state*/) {}
  /// Called now and then with the number of requests that are done.
  virtual void progress(TimeNs now, std::uint64_t requests_done) = 0;
};

struct ReplayCounters {
  std::uint64_t requests = 0;  // read from the trace
  std::uint64_t completed = 0;
  std::uint64_t transfer_failed = 0;
  std::uint64_t too_large = 0;
  std::uint64_t failed_in_trace = 0;
  std::uint64_t retried = 0;            // requests that were prefilled more than once
  std::uint64_t retries = 0;            // and how often in all
  std::uint64_t damaged_transfers = 0;  // found by checksum and made again
  std::uint64_t checked_transfers = 0;  // checksums compared
  std::uint64_t cached_tokens = 0;
  std::uint64_t input_tokens = 0;
  std::uint64_t source_runs = 0, target_runs = 0;  // page runs of all requests
  /// How long decode instances had no pages for a request, all together, by what those that had
  /// pages did meanwhile: they were not there yet, waited for a place in the batch, or decoded.
  TimeNs no_pages_coming_ns = 0, no_pages_seatless_ns = 0, no_pages_decoding_ns = 0;
  /// Before the run: of the node that takes longest to register its KV memory with its NICs, at the
  /// scenario's rate.
  TimeNs registration_ns = 0;
};

}  // namespace kvhaul
