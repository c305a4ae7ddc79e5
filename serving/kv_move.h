// The KV of one request on its way: which units it is cut into, and which bytes a unit is.
#pragma once

#include <cstdint>
#include <vector>

#include "core/paged_layout.h"
#include "serving/replay_parts.h"

namespace kvhaul {

/// Ends of the prefill chunks in tokens; what is cached is a chunk of its own.
std::vector<std::uint32_t> plan_chunks(const ReplayConfig& config, std::uint32_t cached_tokens,
                                       std::uint32_t input_tokens);

/// Whether a unit is one layer; else it has all of them.
bool by_layer(Streaming streaming);

struct KvMove {
  KvMove() = default;
  explicit KvMove(const RequestResult& of)
      : attempt(of.attempt()),
        request(of.request),
        retry(of.retries),
        input_tokens(of.input_tokens),
        prefill_instance(of.prefill_instance),
        decode_instance(of.decode_instance) {}

  std::uint64_t attempt = ~std::uint64_t{0};  // nothing is moved while it is this
  std::uint64_t request = 0;
  std::uint32_t retry = 0;
  std::uint32_t input_tokens = 0;
  std::uint32_t prefill_instance = 0, decode_instance = 0;
  std::vector<std::uint32_t> chunk_ends;
  PageList source_pages;  // of all tokens
  PageList target_pages;
  TimeNs prefill_end_expected_ns = 0;
  TimeNs prefill_end_ns = 0;   // 0: not yet
  TimeNs target_known_ns = 0;  // the pages of the decode side
  TimeNs handed_over_ns = 0;   // `handover` is known up to there, from prefill_end_ns on
  Handover handover;

  std::vector<std::uint32_t> announced;        // so many units of each stream are readable
  std::vector<std::uint32_t> announced_units;  // which, in the order in which they became it
  std::uint32_t engine_units = 0;              // of those, given to the serving engine
  std::uint32_t submitted_units = 0;
  std::uint32_t pending_transfers = 0;
  std::vector<TransferHandle> transfers;  // to take back, ended ones among them
  std::uint32_t damaged = 0;
  bool target_known = false;
  bool all_announced = false;
  bool failed = false;
  bool peer_lost = false;  // nobody answers at the other end
  Bytes bytes = 0;
  std::vector<TransferRow> rows;
};

/// What a unit covers, by the streaming mode.
struct UnitSpan {
  std::uint32_t chunk = 0;
  std::uint32_t first_token = 0, end_token = 0;
  std::uint32_t first_layer = 0, end_layer = 0;
};
UnitSpan span_of(const ReplayConfig& config, const KvMove& move, std::uint32_t unit);
std::uint32_t units_of(const ReplayConfig& config, std::size_t chunks);

/// Units become readable in their order, but for single layers of single chunks out of pipeline
/// stages: each stage has a stream of its own, of its layers, while another is at another chunk.
std::uint32_t unit_streams(const ReplayConfig& config);
std::uint32_t units_of_stream(const ReplayConfig& config, std::uint32_t stream, std::size_t chunks);
/// The n-th unit of a stream.
std::uint32_t unit_of_stream(const ReplayConfig& config, std::uint32_t stream, std::uint32_t n);

/// Appends the pieces that one lane moves of a unit.
void describe_lane(const ReplayParts& parts, const KvMove& move, std::uint32_t unit,
                   const Lane& lane, std::vector<Descriptor>& out);

}  // namespace kvhaul
