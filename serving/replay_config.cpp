#include "serving/replay_config.h"

#include <algorithm>
#include <array>

#include "core/unit_text.h"

namespace kvhaul {
namespace {
constexpr std::array<std::string_view, 4> streaming_names = {"request", "chunk", "layer",
                                                             "chunk_layer"};
}  // namespace

std::string_view streaming_name(Streaming streaming) {
  return streaming_names[static_cast<std::size_t>(streaming)];
}

std::optional<Streaming> find_streaming(std::string_view name) {
  for (std::size_t i = 0; i < streaming_names.size(); ++i)
    if (streaming_names[i] == name) return static_cast<Streaming>(i);
  return std::nullopt;
}

std::pair<std::uint32_t, std::uint32_t> stage_layers(const ModelShape& model, std::uint32_t pp,
                                                     std::uint32_t stage) {
  return {model.layers * stage / pp, model.layers * (stage + 1) / pp};
}

Result<std::vector<RankGeometry>> role_geometry(const ModelShape& model, const RoleConfig& role,
                                                bool split_kv) {
  if (role.tp == 0 || role.pp == 0 || role.pp > model.layers)
    return Error::bad_input("expected tp and pp of at least 1, and no more stages than layers");
  if (model.attention == Attention::heads && role.tp <= model.kv_heads &&
      model.kv_heads % role.tp != 0)
    return Error::bad_input("tp " + std::to_string(role.tp) + " does not divide the " +
                            std::to_string(model.kv_heads) + " KV heads of " + model.name);
  if (model.attention == Attention::heads && role.tp > model.kv_heads &&
      role.tp % model.kv_heads != 0)
    return Error::bad_input("the " + std::to_string(model.kv_heads) + " KV heads of " + model.name +
                            " cannot be replicated evenly over tp " + std::to_string(role.tp));
  if (role.page_tokens == 0) return Error::bad_input("expected pages of at least one token");
  std::vector<RankGeometry> ranks;
  std::uint32_t pages = ~0u;
  for (std::uint32_t stage = 0; stage < role.pp; ++stage)
    for (std::uint32_t rank = 0; rank < role.tp; ++rank) {
      RankGeometry g;
      std::tie(g.first_layer, g.end_layer) = stage_layers(model, role.pp, stage);
      const bool latent = model.attention == Attention::latent;
      g.regions = !latent && split_kv ? 2 : 1;
      g.layout.page_tokens = role.page_tokens;
      g.layout.planes = latent || split_kv ? 1 : 2;
      g.layout.heads = model.heads_per_rank(role.tp);
      g.layout.first_head = model.first_head(rank, role.tp);
      g.layout.head_bytes = Bytes{model.head_dim} * model.element_bytes;
      g.layout.order = role.order;
      const Bytes page_bytes = g.layout.page_bytes() * g.regions * (g.end_layer - g.first_layer);
      pages = static_cast<std::uint32_t>(
          std::min<Bytes>({pages, role.kv_memory_bytes / page_bytes, 0x7fffffffu}));
      ranks.push_back(g);
    }
  if (pages == 0)
    return Error::bad_input("a KV memory of " + bytes_text(role.kv_memory_bytes) +
                            " per GPU does not hold one page of " + model.name);
  for (RankGeometry& g : ranks) g.pages = pages;
  return ranks;
}

std::vector<Lane> plan_lanes(const ModelShape& model, const RoleConfig& prefill,
                             const RoleConfig& decode) {
  std::vector<Lane> lanes;
  const std::uint32_t source_heads = model.heads_per_rank(prefill.tp);
  const std::uint32_t target_heads = model.heads_per_rank(decode.tp);
  const bool latent = model.attention == Attention::latent;
  const std::uint32_t distinct = latent ? 1 : std::min(prefill.tp, model.kv_heads);
  const std::uint32_t replicas = prefill.tp / distinct;
  for (std::uint32_t ss = 0; ss < prefill.pp; ++ss)
    for (std::uint32_t ts = 0; ts < decode.pp; ++ts) {
      const auto [source_first, source_end] = stage_layers(model, prefill.pp, ss);
      const auto [target_first, target_end] = stage_layers(model, decode.pp, ts);
      Lane lane;
      lane.first_layer = std::max(source_first, target_first);
      lane.end_layer = std::min(source_end, target_end);
      if (lane.first_layer >= lane.end_layer) continue;
      for (std::uint32_t tr = 0; tr < decode.tp; ++tr) {
        const std::uint32_t head = model.first_head(tr, decode.tp);
        for (std::uint32_t group = 0; group < distinct; ++group) {
          const std::uint32_t source_first_head = group * source_heads;
          lane.first_head = std::max(head, source_first_head);
          lane.end_head = std::min(head + target_heads, source_first_head + source_heads);
          if (lane.first_head >= lane.end_head) continue;
          lane.source_rank = ss * prefill.tp + group * replicas + tr % replicas;
          lane.target_rank = ts * decode.tp + tr;
          lanes.push_back(lane);
        }
      }
    }
  return lanes;
}

std::vector<std::pair<PlaceId, PlaceId>> place_pairs(const ReplayConfig& config) {
  std::vector<std::pair<PlaceId, PlaceId>> pairs;
  for (const auto& from : config.prefill.instances)
    for (const auto& to : config.decode.instances)
      for (const Lane& lane : plan_lanes(config.model, config.prefill, config.decode))
        pairs.emplace_back(from[lane.source_rank], to[lane.target_rank]);
  std::sort(pairs.begin(), pairs.end());
  pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
  return pairs;
}

}  // namespace kvhaul
