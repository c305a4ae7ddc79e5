#include "serving/kv_move.h"

#include <algorithm>

namespace kvhaul {

std::vector<std::uint32_t> plan_chunks(const ReplayConfig& config, std::uint32_t cached_tokens,
                                       std::uint32_t input_tokens) {
  std::vector<std::uint32_t> ends;
  if (cached_tokens != 0) ends.push_back(cached_tokens);
  for (std::uint32_t at = cached_tokens; at < input_tokens;) {
    at += std::min(config.chunk_tokens, input_tokens - at);
    ends.push_back(at);
  }
  return ends;
}

bool by_layer(Streaming streaming) {
  return streaming == Streaming::layer || streaming == Streaming::chunk_layer;
}

std::uint32_t units_of(const ReplayConfig& config, std::size_t chunk_count) {
  const auto chunks = static_cast<std::uint32_t>(chunk_count);
  switch (config.streaming) {
    case Streaming::request:
      return 1;
    case Streaming::chunk:
      return chunks;
    case Streaming::layer:
      return config.model.layers;
    case Streaming::chunk_layer:
      return chunks * config.model.layers;
  }
  return 0;
}

std::uint32_t unit_streams(const ReplayConfig& config) {
  return config.streaming == Streaming::chunk_layer ? config.prefill.pp : 1;
}

std::uint32_t units_of_stream(const ReplayConfig& config, std::uint32_t stream,
                              std::size_t chunks) {
  if (unit_streams(config) == 1) return units_of(config, chunks);
  const auto [first, end] = stage_layers(config.model, config.prefill.pp, stream);
  return static_cast<std::uint32_t>(chunks) * (end - first);
}

std::uint32_t unit_of_stream(const ReplayConfig& config, std::uint32_t stream, std::uint32_t n) {
  if (unit_streams(config) == 1) return n;
  const auto [first, end] = stage_layers(config.model, config.prefill.pp, stream);
  const std::uint32_t layers = end - first;
  return n / layers * config.model.layers + first + n % layers;
}

UnitSpan span_of(const ReplayConfig& config, const KvMove& move, std::uint32_t unit) {
  const std::uint32_t layers = config.model.layers;
  UnitSpan span{0, 0, move.input_tokens, 0, layers};
  if (by_layer(config.streaming)) {
    span.first_layer = unit % layers;
    span.end_layer = span.first_layer + 1;
  }
  if (config.streaming == Streaming::request || config.streaming == Streaming::layer) return span;
  span.chunk = config.streaming == Streaming::chunk ? unit : unit / layers;
  // A page that a chunk leaves half full goes with the chunk that fills it.
  const auto whole_pages = [&](std::uint32_t tokens) {
    return tokens / config.prefill.page_tokens * config.prefill.page_tokens;
  };
  if (span.chunk > 0) span.first_token = whole_pages(move.chunk_ends[span.chunk - 1]);
  if (span.chunk + 1 < move.chunk_ends.size())
    span.end_token = whole_pages(move.chunk_ends[span.chunk]);
  return span;
}

void describe_lane(const ReplayParts& parts, const KvMove& move, std::uint32_t unit,
                   const Lane& lane, std::vector<Descriptor>& out) {
  const ReplayConfig& config = parts.config;
  const UnitSpan span = span_of(config, move, unit);
  const RankGeometry& from = parts.source_ranks[lane.source_rank];
  const RankGeometry& to = parts.target_ranks[lane.target_rank];
  const std::uint32_t page_tokens = config.prefill.page_tokens;
  PageSpan part{span.first_token, span.end_token, lane.first_head, lane.end_head};
  for (std::uint32_t layer = std::max(span.first_layer, lane.first_layer);
       layer < std::min(span.end_layer, lane.end_layer); ++layer) {
    part.first_token = span.first_token;
    if (config.model.windowed(layer) && move.input_tokens > config.model.window_tokens) {
      // What has left the window is not needed any more.
      const std::uint32_t window =
          (move.input_tokens - config.model.window_tokens) / page_tokens * page_tokens;
      part.first_token = std::max(part.first_token, window);
    }
    if (part.first_token >= part.end_token) continue;
    for (std::uint32_t region = 0; region < from.regions; ++region)
      map_pages(from.region(layer, region), move.source_pages, to.region(layer, region),
                move.target_pages, part, out);
  }
}

}  // namespace kvhaul
