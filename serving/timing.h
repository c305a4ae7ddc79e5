// How long prefill and decode take: a roofline with constants, or a table of measurements.
//
//   prefill of c tokens after s cached ones   t0 + flops(c, s) / (n F MFU)
//   decode step of a batch                    t1 + (weights + KV of the batch) / (n BW MBU)
//
// n is the GPUs that compute one layer together: those of one pipeline stage. A lone prompt and a
// lone sequence pass all stages one after another, so more stages make neither faster; they make
// room for others beside it. How prompts overlap is in prefill_side.h. A batch is cut into as many
// micro-batches as there are stages, which are never in the same one:
//
//   step of B sequences over p stages   m = min(B, p) micro-batches: one step of ceil(B / m)
//                                       sequences with an m-th of the KV, on the GPUs of a stage
//
// This is GPipe's schedule (NeurIPS'19) with no more micro-batches than stages, as engines do that
// keep one in each (vLLM, SGLang). Moving activations between stages takes no time.
//
// The constants come from the scenario; docs/models.md says what they were fitted to.
// Measurements come from files: serving/timing_profile.h.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/units.h"
#include "serving/model.h"

namespace kvhaul {

struct GpuKind {
  std::string name;
  double flops = 0;  // dense bf16
  double memory_bytes_per_s = 0;
};
std::span<const GpuKind> gpu_kinds();
const GpuKind* find_gpu_kind(std::string_view name);

class Timing {
 public:
  virtual ~Timing() = default;
  /// All layers, one pipeline stage after another.
  virtual TimeNs prefill_ns(std::uint32_t tokens, std::uint32_t before) const = 0;
  /// The part of prefill_ns() before the first layer begins.
  virtual TimeNs prefill_start_ns() const = 0;
  /// One token for each of `batch` sequences whose KV caches hold `kv_bytes` and `context` tokens.
  virtual TimeNs step_ns(std::uint32_t batch, double kv_bytes, double context) const = 0;
};

/// Another timing with prefill and decode steps that take so much of their time: 0.5 is twice as
/// fast.
std::shared_ptr<const Timing> scaled_timing(std::shared_ptr<const Timing> timing, double prefill,
                                            double step);

/// A decode step over `stages` pipeline stages (the formula above); with one stage,
/// timing.step_ns().
TimeNs pipelined_step_ns(const Timing& timing, std::uint32_t stages, std::uint32_t batch,
                         double kv_bytes, double context);

struct RooflineConstants {
  GpuKind gpu;
  std::uint32_t gpus = 1;  // of one pipeline stage
  double mfu = 0.5;
  double mbu = 0.65;
  TimeNs prefill_start_ns = 5 * ms_ns;
  TimeNs step_start_ns = 3 * ms_ns;
};
std::unique_ptr<Timing> make_roofline(const ModelShape& model, const RooflineConstants& constants);

/// Measured points, joined by straight lines and continued beyond the last one.
struct TimingTable {
  struct Point {
    double x = 0;
    double ms = 0;
  };
  std::vector<Point> prefill;  // by prompt tokens, ascending
  std::vector<Point> step;     // by batch, ascending
};
std::unique_ptr<Timing> make_table_timing(TimingTable table);

/// prefill = a + b T + c T^2 and step = a + b sum(context) + c batch, in ms: DistServe's profiles.
/// A fit with c below 0 is held where it would begin to fall.
struct TimingPolynomial {
  double prefill[3] = {0, 0, 0};
  double step_small[3] = {0, 0, 0};
  double step_large[3] = {0, 0, 0};
  double large_from_batch = 95;
};
std::unique_ptr<Timing> make_polynomial_timing(const TimingPolynomial& polynomial);

}  // namespace kvhaul
