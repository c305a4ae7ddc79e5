// What a replay needs to know besides the trace: the model, the instances, and how KV is streamed.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/cluster.h"
#include "core/paged_layout.h"
#include "core/result.h"
#include "serving/kv_pool.h"
#include "serving/model.h"
#include "serving/timing.h"

namespace kvhaul {

/// When KV leaves the prefill side, and in which units.
enum class Streaming : std::uint8_t {
  request,      // all of it when prefill is done
  chunk,        // all layers of a prefill chunk when that is done
  layer,        // each layer of the whole prompt, as the last prefill chunk computes it
  chunk_layer,  // each layer of each prefill chunk as it is computed
};
std::string_view streaming_name(Streaming streaming);
std::optional<Streaming> find_streaming(std::string_view name);

enum class PrefillRouting : std::uint8_t { least_loaded, round_robin, most_cached };
enum class DecodeRouting : std::uint8_t { least_loaded, round_robin };

/// One side of the disaggregation. An instance has tp x pp places; place [stage x tp + rank].
struct RoleConfig {
  std::vector<std::vector<PlaceId>> instances;
  std::uint32_t tp = 1;
  std::uint32_t pp = 1;
  std::uint32_t page_tokens = 16;
  PageOrder order = PageOrder::tokens_first;
  Bytes kv_memory_bytes = 0;  // per place
  /// Of the model, per place; nothing: not known, and estimated for an even share of `weight_gpus`.
  std::optional<Bytes> weight_bytes;
  std::uint32_t weight_gpus = 1;  // that an instance stands for: tp x pp, or timing.gpus
  Contiguity contiguity;
  std::shared_ptr<const Timing> timing;
};

/// What becomes of a request whose KV was lost on its way.
struct Failover {
  /// So many times at most it is prefilled again. 0: never, and instances that are gone are given
  /// requests like all others.
  std::uint32_t retries = 2;
  /// What a request was lost between gets none for so long, and then one at a time.
  TimeNs probe_after_ns = 10 * s_ns;

  /// A request waits for so long at most where there is no instance to give it to.
  TimeNs wait_max_ns() const { return retries * probe_after_ns; }
};

struct ReplayConfig {
  ModelShape model;
  bool split_kv = false;  // K and V in regions of their own; else one page holds both
  RoleConfig prefill;
  RoleConfig decode;
  std::uint32_t chunk_tokens = 8192;  // of a prefill chunk
  std::uint32_t max_batch = 256;      // sequences an instance decodes together
  Streaming streaming = Streaming::chunk_layer;
  bool pull = false;  // decode reads; else prefill writes
  /// What the serving engine takes from when a unit is readable and its target pages are known to
  /// submitting its transfers: handshake, page lists, polling. Units wait for it side by side.
  TimeNs engine_ns = 0;
  PrefillRouting prefill_routing = PrefillRouting::least_loaded;
  DecodeRouting decode_routing = DecodeRouting::least_loaded;
  Failover failover;
  bool prefix_cache = true;  // where the trace knows prefixes
  TimeNs slo_ttft_ns = never_ns;
  TimeNs slo_itl_ns = never_ns;
  /// Compare checksums while nothing is being copied, so that reading memory for them does not slow
  /// the copies: for real time. In virtual time they cost nothing, and are compared at once.
  bool defer_checks = false;
  /// Keep processors and memory of the prefill places busy while prefill runs, where the backend
  /// has any, so that copies meet what they meet while a model computes.
  bool busy_prefill = false;
  std::uint64_t seed = 1;
};

/// The layer range [first, end) that a pipeline stage holds.
std::pair<std::uint32_t, std::uint32_t> stage_layers(const ModelShape& model, std::uint32_t pp,
                                                     std::uint32_t stage);

/// Where one rank keeps its KV: pages and the regions of its layers in one segment.
struct RankGeometry {
  std::uint32_t first_layer = 0, end_layer = 0;
  std::uint32_t regions = 1;  // per layer: 2 with split K and V
  std::uint32_t pages = 0;
  PagedLayout layout;  // of one region; its base is that of layer first_layer, region 0

  Bytes region_bytes() const { return layout.page_bytes() * pages; }
  Bytes segment_bytes() const { return region_bytes() * regions * (end_layer - first_layer); }
  PagedLayout region(std::uint32_t layer, std::uint32_t region) const {
    PagedLayout at = layout;
    at.base = ((layer - first_layer) * regions + region) * region_bytes();
    return at;
  }
};

/// Geometry of every place of an instance of that role, [stage x tp + rank]. Fails (bad_input) when
/// the memory does not hold a single page, or the parallelism does not fit the model.
Result<std::vector<RankGeometry>> role_geometry(const ModelShape& model, const RoleConfig& role,
                                                bool split_kv);

/// One rank of prefill that owes something to one rank of decode.
struct Lane {
  std::uint32_t source_rank = 0;  // index into an instance's places
  std::uint32_t target_rank = 0;
  std::uint32_t first_layer = 0, end_layer = 0;
  std::uint32_t first_head = 0, end_head = 0;
};

/// Who sends what to whom, for any pair of instances. Every head of every layer of every target
/// rank comes from exactly one source rank; replicas share the work.
std::vector<Lane> plan_lanes(const ModelShape& model, const RoleConfig& prefill,
                             const RoleConfig& decode);

/// Every pair of places that a replay moves KV between, for plan_channels().
std::vector<std::pair<PlaceId, PlaceId>> place_pairs(const ReplayConfig& config);

}  // namespace kvhaul
