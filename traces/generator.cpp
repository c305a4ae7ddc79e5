#include "traces/generator.h"

#include <algorithm>
#include <cmath>
#include <string>

#include <boost/random/lognormal_distribution.hpp>

#include "traces/gaps.h"

namespace kvhaul {
namespace {

template <class... Ts>
struct overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
overloaded(Ts...) -> overloaded<Ts...>;

/// The shape of a Weibull distribution with this cv, which falls as the shape grows:
/// cv^2 = G(1 + 2/shape) / G(1 + 1/shape)^2 - 1, with G the gamma function.
double weibull_shape(double cv) {
  double low = 0.1, high = 20;
  for (int i = 0; i < 200; ++i) {
    const double shape = (low + high) / 2;
    const double first = std::tgamma(1 + 1 / shape);
    const double found = std::sqrt(std::max(0.0, std::tgamma(1 + 2 / shape) / (first * first) - 1));
    (found > cv ? low : high) = shape;
  }
  return high;
}

std::uint32_t draw_length(const LengthModel& model, Random& random) {
  return std::visit(
      overloaded{
          [&](const FixedLength& fixed) { return fixed.tokens; },
          [&](const UniformLength& uniform) {
            return static_cast<std::uint32_t>(random.between(uniform.min, uniform.max));
          },
          [&](const LognormalLength& lognormal) {
            boost::random::lognormal_distribution<double> draw(std::log(lognormal.median),
                                                               lognormal.sigma);
            const double min = lognormal.min, max = lognormal.max;
            double tokens = std::round(draw(random));
            for (int tries = 0; tries < 20 && !(tokens >= min && tokens <= max); ++tries)
              tokens = std::round(draw(random));
            return static_cast<std::uint32_t>(std::clamp(tokens, min, max));
          },
          [&](const LengthTable& table) { return table.draw(random); },
      },
      model);
}

/// What was expected of a model, where it is wrong; null where it is fine.
const char* complaint(const ArrivalModel& model) {
  const auto rate_and_cv = [](double rate, double cv) -> const char* {
    if (!(rate > 1e-9 && rate <= 1e9)) return "a rate above 0 and up to 1e9 requests per second";
    if (!(cv >= 0.1 && cv <= 50)) return "a cv from 0.1 to 50";
    return nullptr;
  };
  return std::visit(
      overloaded{
          [&](const PoissonArrivals& poisson) { return rate_and_cv(poisson.requests_per_s, 1); },
          [&](const GammaArrivals& gamma) { return rate_and_cv(gamma.requests_per_s, gamma.cv); },
          [&](const WeibullArrivals& weibull) {
            return rate_and_cv(weibull.requests_per_s, weibull.cv);
          },
          [](const BatchArrivals& batches) -> const char* {
            if (batches.gap_ns <= 0) return "a gap above 0 between batches";
            if (batches.requests_min == 0 || batches.requests_max < batches.requests_min)
              return "batches of at least 1 request, and a smallest below the largest";
            return nullptr;
          },
      },
      model);
}

const char* complaint(const LengthModel& model) {
  const auto range = [](std::uint32_t min, std::uint32_t max) -> const char* {
    if (min <= max && max <= trace_tokens_max) return nullptr;
    return "lengths with min <= max <= 2147483647 tokens";
  };
  return std::visit(
      overloaded{
          [&](const FixedLength& fixed) { return range(fixed.tokens, fixed.tokens); },
          [&](const UniformLength& uniform) { return range(uniform.min, uniform.max); },
          [&](const LognormalLength& lognormal) -> const char* {
            if (!(lognormal.median >= 1 && lognormal.median <= trace_tokens_max))
              return "a median from 1 to 2147483647 tokens";
            if (!(lognormal.sigma >= 0 && lognormal.sigma <= 10)) return "a sigma from 0 to 10";
            return range(lognormal.min, lognormal.max);
          },
          [](const LengthTable&) -> const char* { return nullptr; },
      },
      model);
}

/// Gives the time of each request, the first at 0.
class Arrivals {
 public:
  Arrivals(const ArrivalModel& model, Random random) : random_(random) {
    std::visit(overloaded{
                   [&](const PoissonArrivals& poisson) {
                     gaps_ = ExponentialGaps(poisson.requests_per_s);
                   },
                   [&](const GammaArrivals& gamma) {
                     const double shape = 1 / (gamma.cv * gamma.cv);
                     gaps_ = GammaGaps(shape, 1 / (gamma.requests_per_s * shape));
                   },
                   [&](const WeibullArrivals& weibull) {
                     const double shape = weibull_shape(weibull.cv);
                     const double mean = std::tgamma(1 + 1 / shape);
                     gaps_ = WeibullGaps(shape, 1 / (weibull.requests_per_s * mean));
                   },
                   [&](const BatchArrivals& batches) { batches_ = batches; },
               },
               model);
    if (batches_) left_in_batch_ = batch_size();
  }

  /// never_ns where that would be later than can be counted.
  TimeNs next() {
    const TimeNs now_ns = next_ns_;
    next_ns_ = add_time(now_ns, gap_ns());
    return now_ns;
  }

 private:
  TimeNs gap_ns() {
    if (batches_) {
      if (--left_in_batch_ > 0) return 0;
      left_in_batch_ = batch_size();
      return batches_->gap_ns;
    }
    const double gap = draw_gap(gaps_, random_) * 1e9;
    return gap < 9e18 ? std::llround(gap) : never_ns;
  }
  std::uint64_t batch_size() {
    return random_.between(batches_->requests_min, batches_->requests_max);
  }

  Random random_;
  GapDistribution gaps_;
  std::optional<BatchArrivals> batches_;
  std::uint64_t left_in_batch_ = 0;
  TimeNs next_ns_ = 0;
};

class Generator final : public TraceReader {
 public:
  explicit Generator(GeneratorOptions options)
      : options_(std::move(options)),
        // A stream each, so that changing one model leaves what the others draw as it was.
        arrivals_(options_.arrivals, Random(options_.seed).derived(1)),
        input_random_(Random(options_.seed).derived(2)),
        output_random_(Random(options_.seed).derived(3)),
        prompt_random_(Random(options_.seed).derived(4)) {
    if (!options_.shared_prompts) return;
    info_.block_tokens = options_.shared_prompts->block_tokens;
    std::uint64_t next_id = 0;
    for (std::uint32_t i = 0; i < options_.shared_prompts->prompts; ++i) {
      const std::uint32_t tokens = draw_length(options_.shared_prompts->tokens, prompt_random_);
      prompts_.push_back({next_id, tokens / info_.block_tokens});
      next_id += prompts_.back().blocks;
    }
  }

  const TraceInfo& info() const override { return info_; }
  TraceCounts counts() const override { return counts_; }

  Result<bool> next(TraceRequest& request) override {
    if (counts_.requests == options_.requests) return false;
    request.arrival_ns = arrivals_.next();
    if (request.arrival_ns > trace_span_max_ns) {
      options_.requests = counts_.requests;
      return Error::bad_input("the generated trace gets longer than 73 years; raise the rate");
    }
    request.input_tokens = std::max(1u, draw_length(options_.input, input_random_));
    request.output_tokens = draw_length(options_.output, output_random_);
    request.line = 0;
    share_prompt(request);
    ++counts_.rows;
    ++counts_.requests;
    counts_.zero_output += request.output_tokens == 0;
    return true;
  }

 private:
  struct Prompt {
    std::uint64_t first_id = 0;
    std::uint32_t blocks = 0;
  };

  void share_prompt(TraceRequest& request) {
    request.prefix_blocks.clear();
    if (prompts_.empty() || !prompt_random_.chance(options_.shared_prompts->share)) return;
    const Prompt& prompt = prompts_[prompt_random_.below(prompts_.size())];
    const std::uint32_t blocks =
        std::min(prompt.blocks, (request.input_tokens - 1) / info_.block_tokens);
    for (std::uint32_t i = 0; i < blocks; ++i) request.prefix_blocks.push_back(prompt.first_id + i);
  }

  GeneratorOptions options_;
  Arrivals arrivals_;
  Random input_random_, output_random_, prompt_random_;
  std::vector<Prompt> prompts_;
  TraceInfo info_;
  TraceCounts counts_;
};

}  // namespace

std::optional<LengthTable> LengthTable::from(Weights weights) {
  LengthTable table;
  double sum = 0;
  for (const auto& [tokens, weight] : weights) {
    if (!(weight >= 0) || tokens > trace_tokens_max) return std::nullopt;
    if (weight == 0) continue;
    sum += weight;
    table.tokens_.push_back(tokens);
    table.weight_up_to_.push_back(sum);
  }
  if (!(sum > 0) || !std::isfinite(sum)) return std::nullopt;
  return table;
}

std::uint32_t LengthTable::draw(Random& random) const {
  const double at = random.unit() * weight_up_to_.back();
  const auto above = std::ranges::upper_bound(weight_up_to_, at);
  const auto index = static_cast<std::size_t>(above - weight_up_to_.begin());
  return tokens_[std::min(index, tokens_.size() - 1)];
}

Result<TraceReaderPtr> generate_trace(GeneratorOptions options) {
  const char* wrong = complaint(options.arrivals);
  const char* where = "arrivals";
  const auto look = [&](const char* name, const LengthModel& model) {
    if (wrong) return;
    wrong = complaint(model);
    where = name;
  };
  look("input", options.input);
  look("output", options.output);
  if (const auto& shared = options.shared_prompts) {
    look("shared prompts", shared->tokens);
    const bool fits = shared->prompts > 0 && shared->prompts <= 1'000'000 && shared->share >= 0 &&
                      shared->share <= 1 && shared->block_tokens > 0;
    if (!wrong && !fits) wrong = "1 to 1000000 prompts, a share from 0 to 1, blocks above 0 tokens";
  }
  if (wrong)
    return Error::bad_input(std::string("generated trace, ") + where + ": expected " + wrong);
  return TraceReaderPtr(std::make_unique<Generator>(std::move(options)));
}

}  // namespace kvhaul
