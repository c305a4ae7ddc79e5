// KV geometry of the built-in models against published figures. KiB, MiB, GiB are binary, GB 1e9 B.
#include "serving/model.h"

#include <algorithm>
#include <string>

#include <gtest/gtest.h>

#include "serving/replay_config.h"

namespace kvhaul::test {
namespace {

constexpr std::uint64_t k = 1024;

const ModelShape& model(const std::string& name) {
  const ModelShape* found = find_model(name);
  EXPECT_NE(found, nullptr) << name;
  static const ModelShape none;
  return found == nullptr ? none : *found;
}

// bf16. Per token and layer: 2 x KV heads x head_dim x 2 B; MLA: (512 + 64) x 2 B. Per token: times
// layers. The totals are of what prefill produces for 1, 8 and 128 Ki tokens.
struct Geometry {
  const char* name;
  Bytes token_layer_bytes, token_bytes;
  double mib_1k, gib_128k;
};
const Geometry geometries[] = {
    {"llama-2-7b", 16'384, 524'288, 512, 64},          // 2 x 32 x 128 x 2; x 32
    {"llama-2-70b", 4'096, 327'680, 320, 40},          // 2 x 8 x 128 x 2; x 80
    {"llama-3.1-8b", 4'096, 131'072, 128, 16},         // 2 x 8 x 128 x 2; x 32
    {"llama-3.1-70b", 4'096, 327'680, 320, 40},        // 2 x 8 x 128 x 2; x 80
    {"llama-3.1-405b", 4'096, 516'096, 504, 63},       // 2 x 8 x 128 x 2; x 126
    {"mistral-7b-v0.1", 4'096, 131'072, 128, 16},      // 2 x 8 x 128 x 2; x 32
    {"mixtral-8x7b", 4'096, 131'072, 128, 16},         // 2 x 8 x 128 x 2; x 32
    {"qwen2.5-7b", 2'048, 57'344, 56, 7},              // 2 x 4 x 128 x 2; x 28
    {"qwen2.5-72b", 4'096, 327'680, 320, 40},          // 2 x 8 x 128 x 2; x 80
    {"qwen3-8b", 4'096, 147'456, 144, 18},             // 2 x 8 x 128 x 2; x 36
    {"qwen3-32b", 4'096, 262'144, 256, 32},            // 2 x 8 x 128 x 2; x 64
    {"qwen3-30b-a3b", 2'048, 98'304, 96, 12},          // 2 x 4 x 128 x 2; x 48
    {"qwen3-235b-a22b", 2'048, 192'512, 188, 23.5},    // 2 x 4 x 128 x 2; x 94
    {"glm-4.5", 4'096, 376'832, 368, 46},              // 2 x 8 x 128 x 2; x 92
    {"deepseek-v3", 1'152, 70'272, 68.625, 8.578125},  // (512 + 64) x 2; x 61
    {"kimi-k2", 1'152, 70'272, 68.625, 8.578125},      // (512 + 64) x 2; x 61
    {"gpt-oss-120b", 2'048, 73'728, 72, 9},            // 2 x 8 x 64 x 2; x 36
    {"llama-4-maverick", 4'096, 196'608, 192, 24},     // 2 x 8 x 128 x 2; x 48
    {"gemma-3-27b", 8'192, 507'904, 496, 62},          // 2 x 16 x 128 x 2; x 62
};

TEST(Model, GeometryOfAllModels) {
  EXPECT_EQ(std::size(geometries), builtin_models().size());
  for (const Geometry& g : geometries) {
    SCOPED_TRACE(g.name);
    const ModelShape& m = model(g.name);
    EXPECT_EQ(m.token_layer_bytes(), g.token_layer_bytes);
    EXPECT_EQ(m.token_bytes(), g.token_bytes);
    EXPECT_EQ(static_cast<double>(m.token_bytes() * k) / MiB, g.mib_1k);
    EXPECT_EQ(static_cast<double>(m.token_bytes() * 8 * k) / MiB, 8 * g.mib_1k);
    EXPECT_EQ(static_cast<double>(m.token_bytes() * 128 * k) / GiB, g.gib_128k);
    ModelShape fp8 = m;
    fp8.element_bytes = 1;
    EXPECT_EQ(fp8.token_bytes(), g.token_bytes / 2);
  }
}

TEST(Model, NamesAreSortedAndFound) {
  EXPECT_TRUE(
      std::is_sorted(builtin_models().begin(), builtin_models().end(),
                     [](const ModelShape& a, const ModelShape& b) { return a.name < b.name; }));
  for (const ModelShape& m : builtin_models()) EXPECT_EQ(find_model(m.name), &m);
  EXPECT_EQ(find_model("llama"), nullptr);
}

// Mooncake (FAST'25): "40 GB" of KV for 128k tokens of LLaMA3-70B at "320 KB per token".
TEST(Model, MooncakeFortyGib) {
  EXPECT_EQ(model("llama-3.1-70b").token_bytes(), 320 * KiB);
  EXPECT_EQ(model("llama-3.1-70b").kept_bytes(128 * k), 40 * GiB);
}

// Mooncake's SGLang benchmark: Qwen3-235B at TP8 moves 12.62 GB for 32,768 tokens. 192,512 x 32,768
// = 6.31 GB, twice because 8 ranks share 4 KV heads: 12.6165 GB.
TEST(Model, HeadsAreReplicatedAboveTheirNumber) {
  const ModelShape& m = model("qwen3-235b-a22b");
  EXPECT_EQ(m.token_bytes_on_ranks(4), m.token_bytes());
  EXPECT_EQ(m.token_bytes_on_ranks(8), 2 * m.token_bytes());
  EXPECT_NEAR(static_cast<double>(m.token_bytes_on_ranks(8) * 32'768) / 1e9, 12.62, 0.005);
  // Ranks 0 and 1 hold head 0, ranks 6 and 7 head 3.
  EXPECT_EQ(m.heads_per_rank(8), 1u);
  EXPECT_EQ(m.first_head(1, 8), 0u);
  EXPECT_EQ(m.first_head(6, 8), 3u);
  EXPECT_EQ(m.heads_per_rank(2), 2u);
  EXPECT_EQ(m.first_head(1, 2), 2u);
}

// Mooncake's vLLM benchmark: Qwen3-8B, 32,768 tokens, "4.50 GB" (GiB), and 2,048 tokens, "290 MB":
// one block of 16 more, (2,048 + 16) x 147,456 B = 290.25 MiB.
TEST(Model, MooncakeQwen3) {
  const Bytes token = model("qwen3-8b").token_bytes();
  EXPECT_EQ(token * 32'768, 9 * GiB / 2);
  EXPECT_EQ(static_cast<double>(token * (2'048 + 16)) / MiB, 290.25);
}

// DeepSeek-V3's hardware paper (ISCA'25): 70 KB a token, against 516 KB of LLaMA-3.1-405B.
TEST(Model, LatentAttention) {
  const ModelShape& m = model("deepseek-v3");
  EXPECT_EQ(m.token_bytes(), 61u * (512 + 64) * 2);
  EXPECT_NEAR(static_cast<double>(m.token_bytes()) / 1e3, 70, 0.5);
  EXPECT_NEAR(static_cast<double>(model("llama-3.1-405b").token_bytes()) / 1e3, 516, 0.5);
  // Every rank holds the whole vector: 8 ranks, 8 times.
  EXPECT_EQ(m.token_bytes_on_ranks(8), 8 * m.token_bytes());
  EXPECT_EQ(m.first_head(5, 8), 0u);
}

// ai-dynamo/dynamo#12750: Qwen3-30B-A3B, pieces of 16 tokens x 4 heads x 128 x 2 B = 16,384 B, and
// 96 of them to a block: 48 layers, K and V.
TEST(Model, DynamoBlock) {
  const ModelShape& m = model("qwen3-30b-a3b");
  EXPECT_EQ(16 * m.token_layer_bytes() / 2, 16'384u);
  EXPECT_EQ(16 * m.token_bytes(), 1'572'864u);
  EXPECT_EQ(16 * m.token_bytes(), 96 * 16'384u);
}

// Mooncake's eq. 2, the rate below which re-using KV is slower than computing it, for 8,192 tokens
// of a 70B model: (2 d s / gqa) G / (4 p d + 22 d^2) with d 8192, s 2 B, gqa 8. The published 6 and
// 19 GB/s are for 8 A800 and 8 H800. Our KV per token and layer is its first factor.
TEST(Model, MooncakeReuseRate) {
  const double d = 8192, p = 8192;
  const double kv = static_cast<double>(model("llama-3.1-70b").token_layer_bytes());
  EXPECT_EQ(kv, 2 * d * 2 / 8);
  EXPECT_NEAR(kv * 8 * 312e12 / (4 * p * d + 22 * d * d) / 1e9, 5.9, 0.05);
  EXPECT_NEAR(kv * 8 * 989e12 / (4 * p * d + 22 * d * d) / 1e9, 18.6, 0.05);
}

// DistServe: 512 tokens of OPT-66B take 1.13 GB. 64 layers x 2 x 72 heads x 128 x 2 B x 512 =
// 1.125 GiB. Not built in; its shape here.
TEST(Model, DistserveOpt66b) {
  ModelShape m;
  m.layers = 64;
  m.query_heads = m.kv_heads = 72;
  m.head_dim = 128;
  EXPECT_EQ(m.token_bytes() * 512, 9 * GiB / 8);
}

// Produced for all tokens, kept by windowed layers for the last ones only.
TEST(Model, SlidingWindows) {
  // gpt-oss-120b: 18 of 36 layers keep 128 tokens. 18 x 2,048 = 36,864 B a token, and
  // 18 x 2,048 x 128 = 4.5 MiB.
  const ModelShape& oss = model("gpt-oss-120b");
  EXPECT_EQ(oss.windowed_layers(), 18u);
  EXPECT_EQ(oss.kept_bytes(128 * k), 36'864u * 128 * k + 9 * MiB / 2);
  EXPECT_EQ(oss.kept_bytes(100), oss.token_bytes() * 100);
  // Llama-4-Maverick: 36 of 48 layers keep 8,192. 12 x 4,096 = 49,152 B a token, and
  // 36 x 4,096 x 8,192 = 1.125 GiB.
  const ModelShape& maverick = model("llama-4-maverick");
  EXPECT_EQ(maverick.windowed_layers(), 36u);
  EXPECT_EQ(maverick.kept_bytes(128 * k), 49'152u * 128 * k + 9 * GiB / 8);
  // Gemma-3-27B: 52 of 62 layers keep 1,024. 10 x 8,192 = 81,920 B a token, and
  // 52 x 8,192 x 1,024 = 416 MiB; 8 Ki tokens: 640 + 416 MiB = 1.03 GiB.
  const ModelShape& gemma = model("gemma-3-27b");
  EXPECT_EQ(gemma.windowed_layers(), 52u);
  EXPECT_EQ(gemma.kept_bytes(128 * k), 81'920u * 128 * k + 416 * MiB);
  EXPECT_EQ(gemma.kept_bytes(8 * k), (640 + 416) * MiB);
  // Mistral-7B v0.1: all 32 keep 4,096.
  EXPECT_EQ(model("mistral-7b-v0.1").kept_bytes(32 * k), model("mistral-7b-v0.1").kept_bytes(4096));
  // Five windowed layers, then a global one.
  for (std::uint32_t layer = 0; layer < 12; ++layer)
    EXPECT_EQ(gemma.windowed(layer), layer % 6 != 5) << layer;
}

// Pages of a rank: 16 tokens x 2 heads x 128 x 2 B, K and V = 16 KiB, times 80 layers = 1.25 MiB;
// 40 GiB hold 32,768 of them.
TEST(Model, PagesOfARank) {
  RoleConfig role;
  role.tp = 4;
  role.kv_memory_bytes = 40 * GiB;
  const auto ranks = role_geometry(model("llama-3.1-70b"), role, false);
  ASSERT_TRUE(ranks);
  ASSERT_EQ(ranks->size(), 4u);
  EXPECT_EQ((*ranks)[3].layout.page_bytes(), 16 * KiB);
  EXPECT_EQ((*ranks)[3].layout.first_head, 6u);
  EXPECT_EQ((*ranks)[3].pages, 32'768u);
  EXPECT_EQ((*ranks)[3].segment_bytes(), 40 * GiB);
}

TEST(Model, ParallelismThatDoesNotFit) {
  RoleConfig role;
  role.kv_memory_bytes = GiB;
  const auto error = [&](const char* name, std::uint32_t tp, std::uint32_t pp) {
    role.tp = tp;
    role.pp = pp;
    const auto ranks = role_geometry(model(name), role, false);
    return ranks ? "" : ranks.error().message;
  };
  EXPECT_EQ(error("llama-3.1-70b", 3, 1), "tp 3 does not divide the 8 KV heads of llama-3.1-70b");
  EXPECT_EQ(error("qwen3-235b-a22b", 6, 1),
            "the 4 KV heads of qwen3-235b-a22b cannot be replicated evenly over tp 6");
  EXPECT_NE(error("llama-3.1-8b", 1, 33), "");
  EXPECT_EQ(error("llama-3.1-8b", 1, 32), "");
  EXPECT_EQ(error("deepseek-v3", 3, 1), "");  // replicated whatever the number
  role.kv_memory_bytes = 1000;
  EXPECT_NE(error("llama-3.1-8b", 1, 1), "");
}

/// Every head of every layer of every target rank comes from exactly one source rank that holds it.
TEST(Model, LanesCoverEveryTargetOnce) {
  for (const char* name : {"qwen3-30b-a3b", "llama-3.1-8b", "deepseek-v3"})
    for (const std::uint32_t from : {1u, 2u, 4u, 8u, 16u})
      for (const std::uint32_t to : {1u, 2u, 4u, 8u, 16u})
        for (const std::uint32_t from_pp : {1u, 3u})
          for (const std::uint32_t to_pp : {1u, 2u}) {
            const ModelShape& m = model(name);
            RoleConfig source, target;
            source.tp = from, source.pp = from_pp, target.tp = to, target.pp = to_pp;
            source.kv_memory_bytes = target.kv_memory_bytes = GiB;
            const auto source_ranks = role_geometry(m, source, false);
            const auto target_ranks = role_geometry(m, target, false);
            ASSERT_TRUE(source_ranks && target_ranks);
            Bytes moved = 0;
            for (const Lane& lane : plan_lanes(m, source, target)) {
              const RankGeometry& s = (*source_ranks)[lane.source_rank];
              const RankGeometry& t = (*target_ranks)[lane.target_rank];
              for (const RankGeometry* g : {&s, &t}) {
                EXPECT_LE(g->first_layer, lane.first_layer);
                EXPECT_GE(g->end_layer, lane.end_layer);
                EXPECT_LE(g->layout.first_head, lane.first_head);
                EXPECT_GE(g->layout.first_head + g->layout.heads, lane.end_head);
              }
              const Bytes head =
                  m.token_layer_bytes() / (m.attention == Attention::latent ? 1 : m.kv_heads);
              moved +=
                  head * (lane.end_head - lane.first_head) * (lane.end_layer - lane.first_layer);
            }
            EXPECT_EQ(moved, m.token_bytes_on_ranks(to))
                << name << " tp " << from << " to " << to << ", pp " << from_pp << " to " << to_pp;
          }
}

}  // namespace
}  // namespace kvhaul::test
