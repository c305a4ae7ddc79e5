// The models whose KV caches we move: their shapes, and the bytes that follow from them.
//
// Shapes are from the models' published configurations (head_dim as published, never hidden /
// heads); parameter counts from their model cards. Sources, marks and cross-checks: docs/models.md.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/units.h"

namespace kvhaul {

enum class Attention : std::uint8_t {
  heads,   // MHA, GQA, MQA: a K and a V of every KV head
  latent,  // MLA: one compressed vector per token and layer, no K/V pair, the same for all heads
};

struct ModelShape {
  std::string name;
  std::uint32_t layers = 0;
  std::uint32_t query_heads = 0;
  std::uint32_t kv_heads = 0;  // 1 for MLA
  std::uint32_t head_dim = 0;  // elements of one K of one head; the latent vector for MLA
  Attention attention = Attention::heads;
  std::uint32_t element_bytes = 2;  // bf16; 1 for fp8 caches
  double active_parameters = 0;     // that a token passes through
  double total_parameters = 0;
  std::uint32_t context_tokens = 0;  // longest the model takes; 0: not limited here
  /// Sliding or chunked attention: these layers need only the last `window_tokens` to decode.
  std::uint32_t window_tokens = 0;  // 0: every layer needs all
  std::uint32_t global_every = 0;   // every n-th layer is global all the same; 0: none is

  bool windowed(std::uint32_t layer) const {
    return window_tokens != 0 && (global_every == 0 || layer % global_every != global_every - 1);
  }
  std::uint32_t windowed_layers() const;

  /// K and V together, all heads once.
  Bytes token_layer_bytes() const {
    return attention == Attention::latent ? Bytes{head_dim} * element_bytes
                                          : Bytes{2} * kv_heads * head_dim * element_bytes;
  }
  /// What prefill produces for one token in all layers.
  Bytes token_bytes() const { return token_layer_bytes() * layers; }
  /// What decode needs of a prompt: windowed layers keep the last tokens only.
  Bytes kept_bytes(std::uint64_t tokens) const;

  /// KV heads that one of `tp` ranks holds. Above the number of heads they are replicated.
  std::uint32_t heads_per_rank(std::uint32_t tp) const {
    return attention == Attention::latent || kv_heads < tp ? 1 : kv_heads / tp;
  }
  /// First head of a rank. With more ranks than heads, neighbouring ranks hold the same one.
  std::uint32_t first_head(std::uint32_t rank, std::uint32_t tp) const {
    if (attention == Attention::latent) return 0;
    return kv_heads < tp ? rank * kv_heads / tp : rank * heads_per_rank(tp);
  }
  /// On the wire to `tp` ranks, replicas counted.
  Bytes token_bytes_on_ranks(std::uint32_t tp) const;

  /// 2 P c + attention with the s tokens before: the operations of prefilling c tokens.
  double prefill_flops(double tokens, double before) const;
  /// Weights that a decode step of a batch reads: a mixture of experts reads all of them once about
  /// 64 sequences spread over its experts.
  double step_weight_bytes(std::uint32_t batch) const;
};

/// The built-in models, in alphabetical order.
std::span<const ModelShape> builtin_models();
const ModelShape* find_model(std::string_view name);

}  // namespace kvhaul
