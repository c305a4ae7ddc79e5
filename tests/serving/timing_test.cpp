// Prefill and decode times: the roofline against hand calculations, tables and polynomials against
// their points.
#include "serving/timing.h"

#include <cmath>
#include <string>

#include <gtest/gtest.h>

namespace kvhaul::test {
namespace {

double ms(TimeNs time_ns) { return static_cast<double>(time_ns) / 1e6; }

RooflineConstants on(const char* gpu, std::uint32_t gpus, double mfu) {
  RooflineConstants constants;
  constants.gpu = *find_gpu_kind(gpu);
  constants.gpus = gpus;
  constants.mfu = mfu;
  constants.prefill_start_ns = 0;
  return constants;
}

// t = (2 P c + 4 L Hq d c^2 / 2) / (n F MFU), F 989 (H100) or 312 TFLOPS (A100), in whole ms. The
// 8,192 tokens of Qwen3-235B, term by term: 2 x 22e9 x 8,192 = 3.604e14, and
// 4 x 94 x 64 x 128 x 8,192^2 / 2 = 1.034e14; over 8 x 989e12 x .35 = 2.769e15: 167.5 ms.
struct Prefill {
  const char* model;
  const char* gpu;
  std::uint32_t gpus;
  double mfu;
  double ms_512, ms_2048, ms_8192, layer_ms_2048, ktokens_per_s, s_128k;
};
const Prefill prefills[] = {
    {"llama-3.1-8b", "h100", 1, .50, 17, 69, 302, 2.15, 29.8, 13.4},
    {"llama-2-7b", "h100", 1, .50, 14, 58, 259, 1.81, 35.3, 12.7},
    {"llama-3.1-70b", "h100", 4, .50, 37, 149, 629, 1.86, 13.7, 20.7},
    {"llama-3.1-70b", "h100", 8, .45, 20, 83, 350, 1.03, 24.7, 11.5},
    {"llama-3.1-70b", "a100", 8, .45, 65, 262, 1108, 3.28, 7.8, 36.5},
    {"llama-3.1-405b", "h100", 16, .45, 59, 236, 973, 1.87, 8.7, 24.9},
    {"mixtral-8x7b", "h100", 2, .35, 19, 78, 331, 2.43, 26.3, 11.4},
    {"qwen3-235b-a22b", "h100", 8, .35, 8, 35, 167, .37, 58.7, 11.6},
    {"deepseek-v3", "h100", 8, .49, 10, 42, 200, .69, 49.0, 13.6},
};

TEST(Roofline, PrefillOfPublishedModels) {
  for (const Prefill& p : prefills) {
    SCOPED_TRACE(p.model);
    const ModelShape& model = *find_model(p.model);
    const auto timing = make_roofline(model, on(p.gpu, p.gpus, p.mfu));
    EXPECT_NEAR(ms(timing->prefill_ns(512, 0)), p.ms_512, 0.5);
    EXPECT_NEAR(ms(timing->prefill_ns(2048, 0)), p.ms_2048, 0.5);
    EXPECT_NEAR(ms(timing->prefill_ns(8192, 0)), p.ms_8192, 0.5);
    EXPECT_NEAR(ms(timing->prefill_ns(2048, 0)) / model.layers, p.layer_ms_2048, 0.0051);
    EXPECT_NEAR(2048 / ms(timing->prefill_ns(2048, 0)), p.ktokens_per_s, 0.05);
    EXPECT_NEAR(ms(timing->prefill_ns(128 * 1024, 0)) / 1e3, p.s_128k, 0.05);
  }
}

// A prefill node gives out KV at token rate x bytes per token: 24,745/s x 327,680 B = 8.1 GB/s.
TEST(Roofline, EgressOfAPrefillNode) {
  const ModelShape& model = *find_model("llama-3.1-70b");
  const auto timing = make_roofline(model, on("h100", 8, .45));
  const double tokens_per_s = 2048 / ms(timing->prefill_ns(2048, 0)) * 1e3;
  EXPECT_NEAR(tokens_per_s * static_cast<double>(model.token_bytes()) / 1e9, 8.1, 0.05);
}

// Attention's share of 128 Ki tokens of Llama-3.1-70B:
// 4 x 80 x 64 x 128 x 131,072^2 / 2 = 2.252e16 of 1.851e16 + 2.252e16 = .55.
TEST(Roofline, AttentionShare) {
  const ModelShape& model = *find_model("llama-3.1-70b");
  const double all = model.prefill_flops(131'072, 0);
  EXPECT_NEAR((all - 2 * 70.6e9 * 131'072) / all, .55, 0.005);
}

// MLA computes 192 + 128 elements per head and pair: 2 x 61 x 128 x 320 x 8,192^2 / 2 = 1.677e14 of
// 2 x 37e9 x 8,192 + that = 7.739e14: .22.
TEST(Roofline, LatentAttentionShare) {
  const ModelShape& model = *find_model("deepseek-v3");
  const double all = model.prefill_flops(8192, 0);
  EXPECT_NEAR(all, 7.739e14, 1e11);
  EXPECT_NEAR(1 - 2 * 37e9 * 8192 / all, .22, 0.005);
}

// Measured for Llama-2-70B, 2,048 tokens, 4 H100: 201 ms with the vLLM of 2023 (splitwise-sim).
// With the best efficiency seen (MFU .65) the formula gives 115 ms. A replay has to lie between.
TEST(Roofline, BetweenBestAndMeasured) {
  const ModelShape& model = *find_model("llama-2-70b");
  const double best = ms(make_roofline(model, on("h100", 4, .65))->prefill_ns(2048, 0));
  EXPECT_NEAR(best, 115, 3);
  RooflineConstants constants;  // the defaults
  constants.gpu = *find_gpu_kind("h100");
  constants.gpus = 4;
  const double usual = ms(make_roofline(model, constants)->prefill_ns(2048, 0));
  EXPECT_GT(usual, best);
  EXPECT_LT(usual, 201);
}

// Qwen3-235B-A22B on 8 H20 (148 TFLOPS each), SGLang, as Mooncake published it: TTFT of 1k to 32k
// tokens. Half of the work at 32k is attention, so this tests that term. One setting for all: MFU
// .70 and 60 ms to start.
TEST(Roofline, AttentionTermAgainstMeasurement) {
  RooflineConstants constants;
  constants.gpu = {"h20", 148e12, 4e12};
  constants.gpus = 8;
  constants.mfu = .70;
  constants.prefill_start_ns = 60 * ms_ns;
  const auto timing = make_roofline(*find_model("qwen3-235b-a22b"), constants);
  const struct {
    std::uint32_t tokens;
    double measured_ms;
  } rows[] = {{1024, 126}, {2048, 172}, {4096, 304}, {8192, 591}, {16384, 1305}, {32768, 3260}};
  for (const auto& row : rows) {
    const double ratio = ms(timing->prefill_ns(row.tokens, 0)) / row.measured_ms;
    EXPECT_GT(ratio, 0.9) << row.tokens;
    EXPECT_LT(ratio, 1.17) << row.tokens;
  }
}

// Chunking does not change the sum: c (s + c / 2) over the chunks is T^2 / 2.
TEST(Roofline, ChunksAddUp) {
  const auto timing = make_roofline(*find_model("llama-3.1-8b"), on("h100", 1, .5));
  TimeNs sum = 0;
  for (std::uint32_t before = 0; before < 8192; before += 1024)
    sum += timing->prefill_ns(1024, before);
  EXPECT_NEAR(ms(sum), ms(timing->prefill_ns(8192, 0)), 1e-4);
  RooflineConstants constants = on("h100", 1, .5);
  constants.prefill_start_ns = 5 * ms_ns;
  const auto slow_start = make_roofline(*find_model("llama-3.1-8b"), constants);
  EXPECT_EQ(slow_start->prefill_ns(1024, 512), timing->prefill_ns(1024, 512) + 5 * ms_ns);
  EXPECT_EQ(slow_start->prefill_start_ns(), 5 * ms_ns);
}

// A step reads the weights and all KV once: Llama-3.1-8B, 2 x 8.03e9 B of weights and 1 GiB of KV
// (8,192 tokens) over 3.35 TB/s x .65: 16.06e9 + 1.074e9 over 2.1775e12 = 7.869 ms, and 3 to start.
TEST(Roofline, DecodeStep) {
  RooflineConstants constants = on("h100", 1, .5);
  const auto timing = make_roofline(*find_model("llama-3.1-8b"), constants);
  EXPECT_NEAR(ms(timing->step_ns(1, static_cast<double>(GiB), 8192)), 3 + 7.869, 0.001);
}

// A mixture of experts reads the active weights for one sequence, all from 64 on, and between the
// two in a straight line: Mixtral 2 x 12.9e9 and 2 x 46.7e9 B.
TEST(Roofline, ExpertsHit) {
  const ModelShape& model = *find_model("mixtral-8x7b");
  EXPECT_NEAR(model.step_weight_bytes(1), 2 * (12.9e9 + 33.8e9 / 64), 1);
  EXPECT_NEAR(model.step_weight_bytes(32), 2 * (12.9e9 + 33.8e9 / 2), 1);
  EXPECT_NEAR(model.step_weight_bytes(64), 2 * 46.7e9, 1);
  EXPECT_NEAR(model.step_weight_bytes(500), 2 * 46.7e9, 1);
  EXPECT_NEAR(find_model("llama-3.1-8b")->step_weight_bytes(1), 2 * 8.03e9, 1);
}

TEST(TableTiming, LinesThroughThePoints) {
  // 100 tokens 10 ms, 200 tokens 15, 400 tokens 35: the line to no tokens begins at 5 ms.
  const auto timing =
      make_table_timing({.prefill = {{100, 10}, {200, 15}, {400, 35}}, .step = {{1, 4}, {9, 8}}});
  EXPECT_EQ(timing->prefill_start_ns(), 5 * ms_ns);
  EXPECT_EQ(timing->prefill_ns(100, 0), 10 * ms_ns);
  EXPECT_EQ(timing->prefill_ns(400, 0), 35 * ms_ns);
  EXPECT_EQ(timing->prefill_ns(150, 0), 12'500'000);
  EXPECT_EQ(timing->prefill_ns(50, 0), 7'500'000);
  EXPECT_EQ(timing->prefill_ns(600, 0), 55 * ms_ns);  // 35 + 200 x 20 / 200
  // After 200 cached tokens: the start again, and what 400 take more than 200: 5 + 35 - 15.
  EXPECT_EQ(timing->prefill_ns(200, 200), 25 * ms_ns);
  EXPECT_EQ(timing->step_ns(1, 0, 0), 4 * ms_ns);
  EXPECT_EQ(timing->step_ns(5, 0, 0), 6 * ms_ns);
  EXPECT_EQ(timing->step_ns(17, 0, 0), 12 * ms_ns);
}

TEST(TableTiming, OnePointEach) {
  const auto timing = make_table_timing({.prefill = {{512, 20}}, .step = {{1, 10}}});
  EXPECT_EQ(timing->prefill_ns(1, 0), 20 * ms_ns);
  EXPECT_EQ(timing->prefill_ns(5000, 0), 20 * ms_ns);
  EXPECT_EQ(timing->step_ns(100, 0, 0), 10 * ms_ns);
}

// In published profiles 256 tokens may take less than 128. The line to 0 tokens then points up, and
// must not become a floor above what was measured.
TEST(TableTiming, LongerPromptMeasuredFaster) {
  const auto timing =
      make_table_timing({.prefill = {{128, 58}, {256, 52}, {512, 54}}, .step = {{1, 30}}});
  EXPECT_EQ(timing->prefill_ns(128, 0), 58 * ms_ns);
  EXPECT_EQ(timing->prefill_ns(256, 0), 52 * ms_ns);
  EXPECT_EQ(timing->prefill_ns(512, 0), 54 * ms_ns);
  EXPECT_EQ(timing->prefill_start_ns(), 52 * ms_ns);
}

TEST(PolynomialTiming, TermByTerm) {
  TimingPolynomial p;
  p.prefill[0] = 10, p.prefill[1] = 0.1, p.prefill[2] = 1e-5;
  p.step_small[0] = 20, p.step_small[1] = 0.001, p.step_small[2] = 0.05;
  p.step_large[0] = 7, p.step_large[1] = 0.002, p.step_large[2] = 0.2;
  const auto timing = make_polynomial_timing(p);
  EXPECT_EQ(timing->prefill_ns(1000, 0), 120 * ms_ns);     // 10 + 100 + 10
  EXPECT_EQ(timing->prefill_ns(1000, 1000), 140 * ms_ns);  // 10 + 100 + 1e-5 (4e6 - 1e6)
  EXPECT_EQ(timing->prefill_start_ns(), 10 * ms_ns);
  EXPECT_EQ(timing->step_ns(94, 0, 1000), 25'700'000);  // 20 + 1 + 4.7
  EXPECT_EQ(timing->step_ns(95, 0, 1000), 28 * ms_ns);  // 7 + 2 + 19
}

// 0.04 T - 1e-5 T^2 is highest at T = 2,000 with 40 ms: a longer prompt is not faster.
TEST(PolynomialTiming, FitThatBendsDown) {
  TimingPolynomial p;
  p.prefill[0] = 9, p.prefill[1] = 0.04, p.prefill[2] = -1e-5;
  const auto timing = make_polynomial_timing(p);
  EXPECT_EQ(timing->prefill_ns(1000, 0), 39 * ms_ns);  // 9 + 40 - 10
  EXPECT_EQ(timing->prefill_ns(2000, 0), 49 * ms_ns);
  EXPECT_EQ(timing->prefill_ns(6000, 0), 49 * ms_ns);
  EXPECT_EQ(timing->prefill_ns(1000, 3000), 9 * ms_ns);
}

// Below, weights of 10 GB and KV of 4 GB at 1 GB/ms, no start: a sequence alone reads 14 GB,
// wherever its layers are. Two stages have two micro-batches of half the sequences: each reads all
// weights, and half of the KV.
TEST(Timing, AStepPassesThePipelineStagesOneAfterAnother) {
  TimingTable table;
  table.prefill = {{1, 1}};
  table.step = {{1, 10}, {2, 12}, {4, 16}};  // by sequences
  const auto timing = make_table_timing(table);
  const auto step = [&](std::uint32_t stages, std::uint32_t batch) {
    return pipelined_step_ns(*timing, stages, batch, 0, 0);
  };
  EXPECT_EQ(step(1, 4), 16 * ms_ns);
  EXPECT_EQ(step(2, 4), 12 * ms_ns);  // two of two
  EXPECT_EQ(step(4, 4), 10 * ms_ns);  // four of one
  EXPECT_EQ(step(8, 4), 10 * ms_ns);  // no less than that
  EXPECT_EQ(step(8, 1), 10 * ms_ns);
  EXPECT_EQ(step(2, 3), 12 * ms_ns);  // two and one: the larger counts

  RooflineConstants constants;
  constants.gpu = {"one", 1e12, 1e12};  // 1 GB/ms
  constants.mbu = 1;
  constants.step_start_ns = 0;
  ModelShape model;
  model.layers = 10;
  model.active_parameters = model.total_parameters = 5e9;  // 10 GB
  const auto roofline = make_roofline(model, constants);
  EXPECT_EQ(pipelined_step_ns(*roofline, 1, 8, 4e9, 0), 14 * ms_ns);
  EXPECT_EQ(pipelined_step_ns(*roofline, 2, 8, 4e9, 0), 12 * ms_ns);
  EXPECT_EQ(pipelined_step_ns(*roofline, 2, 1, 4e9, 0), 14 * ms_ns);
}

TEST(Timing, OddConstantsStayInRange) {
  TimingPolynomial p;
  p.prefill[2] = 1e6;
  EXPECT_EQ(make_polynomial_timing(p)->prefill_ns(2'000'000'000, 0), 100'000'000'000'000'000);
  EXPECT_EQ(make_polynomial_timing({})->step_ns(1, 0, 0), 1);
}

TEST(Timing, GpuKinds) {
  for (const GpuKind& kind : gpu_kinds()) EXPECT_EQ(find_gpu_kind(kind.name), &kind);
  EXPECT_EQ(find_gpu_kind("h900"), nullptr);
  // The peaks of docs/models.md.
  EXPECT_DOUBLE_EQ(find_gpu_kind("b200")->flops, 2250e12);
  EXPECT_DOUBLE_EQ(find_gpu_kind("gb200")->flops, 2500e12);
  EXPECT_DOUBLE_EQ(find_gpu_kind("gh200")->flops, find_gpu_kind("h100")->flops);
  EXPECT_DOUBLE_EQ(find_gpu_kind("gb200")->memory_bytes_per_s, 8e12);
  EXPECT_DOUBLE_EQ(find_gpu_kind("gh200")->memory_bytes_per_s, 4e12);
}

}  // namespace
}  // namespace kvhaul::test
