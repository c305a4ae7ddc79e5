#include "serving/timing.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

namespace kvhaul {
namespace {

/// At least a nanosecond, at most three years: what comes out of odd constants must still add up.
TimeNs from_seconds(double seconds) {
  return static_cast<TimeNs>(std::llround(std::clamp(seconds * 1e9, 1.0, 1e17)));
}
TimeNs from_ms(double ms) { return from_seconds(ms * 1e-3); }

class Roofline final : public Timing {
 public:
  Roofline(const ModelShape& model, const RooflineConstants& constants)
      : model_(model), constants_(constants) {}

  TimeNs prefill_ns(std::uint32_t tokens, std::uint32_t before) const override {
    const double rate = constants_.gpus * constants_.gpu.flops * constants_.mfu;
    return constants_.prefill_start_ns + from_seconds(model_.prefill_flops(tokens, before) / rate);
  }
  TimeNs prefill_start_ns() const override { return constants_.prefill_start_ns; }
  TimeNs step_ns(std::uint32_t batch, double kv_bytes, double) const override {
    const double rate = constants_.gpus * constants_.gpu.memory_bytes_per_s * constants_.mbu;
    return constants_.step_start_ns +
           from_seconds((model_.step_weight_bytes(batch) + kv_bytes) / rate);
  }

 private:
  ModelShape model_;
  RooflineConstants constants_;
};

class Scaled final : public Timing {
 public:
  Scaled(std::shared_ptr<const Timing> timing, double prefill, double step)
      : timing_(std::move(timing)), prefill_(prefill), step_(step) {}

  TimeNs prefill_ns(std::uint32_t tokens, std::uint32_t before) const override {
    return scaled(timing_->prefill_ns(tokens, before), prefill_);
  }
  TimeNs prefill_start_ns() const override { return scaled(timing_->prefill_start_ns(), prefill_); }
  TimeNs step_ns(std::uint32_t batch, double kv_bytes, double context) const override {
    return scaled(timing_->step_ns(batch, kv_bytes, context), step_);
  }

 private:
  static TimeNs scaled(TimeNs time, double by) {
    return std::llround(static_cast<double>(time) * by);
  }

  std::shared_ptr<const Timing> timing_;
  double prefill_, step_;
};

double on_lines(const std::vector<TimingTable::Point>& points, double x) {
  if (points.size() == 1) return points[0].ms;
  std::size_t i = 1;
  while (i + 1 < points.size() && points[i].x < x) ++i;
  const auto& a = points[i - 1];
  const auto& b = points[i];
  return std::max(0.0, a.ms + (b.ms - a.ms) * (x - a.x) / (b.x - a.x));
}

class Table final : public Timing {
 public:
  explicit Table(TimingTable table)
      : table_(std::move(table)), start_ms_(on_lines(table_.prefill, 0)) {
    // Where a longer prompt measured faster, the line to 0 tokens rises above the measured points.
    for (const TimingTable::Point& point : table_.prefill)
      start_ms_ = std::min(start_ms_, point.ms);
  }

  /// A later chunk costs what the longer prompt takes more, and the start once again.
  TimeNs prefill_ns(std::uint32_t tokens, std::uint32_t before) const override {
    const double whole = on_lines(table_.prefill, static_cast<double>(tokens) + before);
    const double cached = before == 0 ? start_ms_ : on_lines(table_.prefill, before);
    return from_ms(std::max(start_ms_ + whole - cached, start_ms_));
  }
  TimeNs prefill_start_ns() const override { return from_ms(start_ms_); }
  TimeNs step_ns(std::uint32_t batch, double, double) const override {
    return from_ms(on_lines(table_.step, batch));
  }

 private:
  TimingTable table_;
  double start_ms_;
};

class Polynomial final : public Timing {
 public:
  explicit Polynomial(const TimingPolynomial& p) : p_(p) {}

  TimeNs prefill_ns(std::uint32_t tokens, std::uint32_t before) const override {
    return from_ms(p_.prefill[0] + growth(static_cast<double>(tokens) + before) - growth(before));
  }
  TimeNs prefill_start_ns() const override { return from_ms(p_.prefill[0]); }
  TimeNs step_ns(std::uint32_t batch, double, double context) const override {
    const double(&c)[3] = batch < p_.large_from_batch ? p_.step_small : p_.step_large;
    return from_ms(c[0] + c[1] * context + c[2] * batch);
  }

 private:
  /// b T + c T^2, up to where it would begin to fall.
  double growth(double tokens) const {
    const auto [a, b, c] = p_.prefill;
    if (c < 0) tokens = std::min(tokens, b / (-2 * c));
    return (b + c * tokens) * tokens;
  }

  TimingPolynomial p_;
};

// Dense bf16 peaks and memory rates of the SXM modules (docs/models.md).
const std::array kinds = {
    GpuKind{"a100", 312e12, 2.04e12}, GpuKind{"b200", 2250e12, 8e12},
    GpuKind{"gb200", 2500e12, 8e12},  GpuKind{"gh200", 989e12, 4e12},
    GpuKind{"h100", 989e12, 3.35e12}, GpuKind{"h200", 989e12, 4.8e12},
    GpuKind{"h800", 989e12, 3.35e12},
};

}  // namespace

std::span<const GpuKind> gpu_kinds() { return kinds; }

const GpuKind* find_gpu_kind(std::string_view name) {
  const auto found =
      std::find_if(kinds.begin(), kinds.end(), [&](const GpuKind& k) { return k.name == name; });
  return found == kinds.end() ? nullptr : &*found;
}

TimeNs pipelined_step_ns(const Timing& timing, std::uint32_t stages, std::uint32_t batch,
                         double kv_bytes, double context) {
  const std::uint32_t parts = std::max(1u, std::min(batch, stages));
  return timing.step_ns((batch + parts - 1) / parts, kv_bytes / parts, context / parts);
}

std::shared_ptr<const Timing> scaled_timing(std::shared_ptr<const Timing> timing, double prefill,
                                            double step) {
  return std::make_shared<Scaled>(std::move(timing), prefill, step);
}

std::unique_ptr<Timing> make_roofline(const ModelShape& model, const RooflineConstants& constants) {
  return std::make_unique<Roofline>(model, constants);
}
std::unique_ptr<Timing> make_table_timing(TimingTable table) {
  return std::make_unique<Table>(std::move(table));
}
std::unique_ptr<Timing> make_polynomial_timing(const TimingPolynomial& polynomial) {
  return std::make_unique<Polynomial>(polynomial);
}

}  // namespace kvhaul
