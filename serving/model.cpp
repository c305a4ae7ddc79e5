#include "serving/model.h"

#include <algorithm>
#include <array>

namespace kvhaul {
namespace {

ModelShape gqa(std::string name, std::uint32_t layers, std::uint32_t query_heads,
               std::uint32_t kv_heads, std::uint32_t head_dim, double active, double total,
               std::uint32_t context) {
  ModelShape m;
  m.name = std::move(name);
  m.layers = layers;
  m.query_heads = query_heads;
  m.kv_heads = kv_heads;
  m.head_dim = head_dim;
  m.active_parameters = active;
  m.total_parameters = total;
  m.context_tokens = context;
  return m;
}

/// kv_lora_rank 512 and qk_rope_head_dim 64 in all published MLA models.
ModelShape mla(std::string name, std::uint32_t layers, std::uint32_t query_heads, double active,
               double total, std::uint32_t context) {
  ModelShape m = gqa(std::move(name), layers, query_heads, 1, 512 + 64, active, total, context);
  m.attention = Attention::latent;
  return m;
}

ModelShape windowed(ModelShape m, std::uint32_t window, std::uint32_t global_every) {
  m.window_tokens = window;
  m.global_every = global_every;
  return m;
}

const std::array models = {
    mla("deepseek-v3", 61, 128, 37e9, 671e9, 163'840),
    windowed(gqa("gemma-3-27b", 62, 32, 16, 128, 27e9, 27e9, 131'072), 1024, 6),
    gqa("glm-4.5", 92, 96, 8, 128, 32e9, 355e9, 131'072),
    windowed(gqa("gpt-oss-120b", 36, 64, 8, 64, 5.1e9, 117e9, 131'072), 128, 2),
    mla("kimi-k2", 61, 64, 32e9, 1040e9, 131'072),
    gqa("llama-2-70b", 80, 64, 8, 128, 69e9, 69e9, 4'096),
    gqa("llama-2-7b", 32, 32, 32, 128, 6.74e9, 6.74e9, 4'096),
    gqa("llama-3.1-405b", 126, 128, 8, 128, 406e9, 406e9, 131'072),
    gqa("llama-3.1-70b", 80, 64, 8, 128, 70.6e9, 70.6e9, 131'072),
    gqa("llama-3.1-8b", 32, 32, 8, 128, 8.03e9, 8.03e9, 131'072),
    windowed(gqa("llama-4-maverick", 48, 40, 8, 128, 17e9, 400e9, 1'048'576), 8192, 4),
    windowed(gqa("mistral-7b-v0.1", 32, 32, 8, 128, 7.24e9, 7.24e9, 32'768), 4096, 0),
    gqa("mixtral-8x7b", 32, 32, 8, 128, 12.9e9, 46.7e9, 32'768),
    gqa("qwen2.5-72b", 80, 64, 8, 128, 72.7e9, 72.7e9, 131'072),
    gqa("qwen2.5-7b", 28, 28, 4, 128, 7.62e9, 7.62e9, 131'072),
    gqa("qwen3-235b-a22b", 94, 64, 4, 128, 22e9, 235e9, 131'072),
    gqa("qwen3-30b-a3b", 48, 32, 4, 128, 3.3e9, 30.5e9, 131'072),
    gqa("qwen3-32b", 64, 64, 8, 128, 32.8e9, 32.8e9, 131'072),
    gqa("qwen3-8b", 36, 32, 8, 128, 8.2e9, 8.2e9, 131'072),
};

}  // namespace

std::span<const ModelShape> builtin_models() { return models; }

const ModelShape* find_model(std::string_view name) {
  const auto found = std::find_if(models.begin(), models.end(),
                                  [&](const ModelShape& m) { return m.name == name; });
  return found == models.end() ? nullptr : &*found;
}

std::uint32_t ModelShape::windowed_layers() const {
  std::uint32_t count = 0;
  for (std::uint32_t layer = 0; layer < layers; ++layer) count += windowed(layer) ? 1 : 0;
  return count;
}

Bytes ModelShape::kept_bytes(std::uint64_t tokens) const {
  const std::uint32_t in_window = windowed_layers();
  return token_layer_bytes() * ((layers - in_window) * tokens +
                                in_window * std::min<std::uint64_t>(tokens, window_tokens));
}

Bytes ModelShape::token_bytes_on_ranks(std::uint32_t tp) const {
  if (attention == Attention::latent) return token_bytes() * tp;
  return Bytes{2} * heads_per_rank(tp) * tp * head_dim * element_bytes * layers;
}

double ModelShape::prefill_flops(double tokens, double before) const {
  // QK^T and PV over the causal triangle: 4 L Hq d c (s + c / 2). MLA, not absorbed, computes with
  // 192 elements for QK^T and 128 for PV: 2 L Hq (192 + 128) c (s + c / 2).
  const double per_pair = attention == Attention::latent ? 2.0 * query_heads * (192 + 128)
                                                         : 4.0 * query_heads * head_dim;
  return 2 * active_parameters * tokens + per_pair * layers * tokens * (before + tokens / 2);
}

double ModelShape::step_weight_bytes(std::uint32_t batch) const {
  constexpr double all_experts_hit = 64;
  const double share = std::min(1.0, batch / all_experts_hit);
  // Weights in bf16, whatever the cache is kept in.
  return 2 * (active_parameters + (total_parameters - active_parameters) * share);
}

}  // namespace kvhaul
