#include "calibration/fits.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

namespace kvhaul::calibration {
namespace {

/// A stream is held up by the posting thread when its chunks take hardly longer than posting them.
bool held_up(const Times& times) { return times.stream_ns <= 1.25 * times.post_ns; }

/// y = a + b x.
struct Line {
  double a = 0, b = 0;
};

/// Least squares of (a + b x - y) / scale. One x for all leaves b at 0.
class LineFit {
 public:
  void add(double x, double y, double scale) {
    const double w = 1 / (scale * scale);
    w_ += w, x_ += w * x, y_ += w * y, xx_ += w * x * x, xy_ += w * x * y;
  }
  Line line() const {
    if (w_ == 0) return {};
    const double determinant = w_ * xx_ - x_ * x_;
    if (determinant <= 1e-12 * w_ * xx_) return {y_ / w_, 0};
    const double b = (w_ * xy_ - x_ * y_) / determinant;
    return {(y_ - b * x_) / w_, b};
  }
  /// Of all lines without a fall, and without a start below zero, the best.
  Line line_from_zero_up() const {
    const Line best = line();
    if (best.a >= 0 && best.b >= 0) return best;
    if (w_ == 0) return {};
    const Line flat{std::max(0.0, y_ / w_), 0};
    const Line steep{0, xx_ > 0 ? std::max(0.0, xy_ / xx_) : 0};
    return loss(flat) <= loss(steep) ? flat : steep;
  }

 private:
  /// Up to what all lines have in common.
  double loss(const Line& line) const {
    return line.a * line.a * w_ + 2 * line.a * line.b * x_ + line.b * line.b * xx_ -
           2 * line.a * y_ - 2 * line.b * xy_;
  }
  double w_ = 0, x_ = 0, y_ = 0, xx_ = 0, xy_ = 0;
};

/// What chunks occupy a route for beyond their bytes: extra of each byte, and a line over their
/// pieces.
struct Occupancy {
  double extra = 0;
  Line line;
};

/// Least squares of the relative error, weighted by the bytes. The best line for a given `extra` is
/// known, and what it leaves is convex in `extra`: the search closes in on the least of it.
Occupancy fit_occupancy(std::span<const Times> times, double ns_per_byte) {
  const auto with = [&](double extra) {
    LineFit fit;
    for (const Times& t : times)
      fit.add(t.pieces, t.stream_ns / ns_per_byte - (1 + extra) * t.bytes(),
              t.stream_ns / ns_per_byte / std::sqrt(t.bytes()));
    return fit.line_from_zero_up();
  };
  const auto loss = [&](double extra) {
    const Line line = with(extra);
    double sum = 0;
    for (const Times& t : times) {
      const double bytes = (1 + extra) * t.bytes() + line.a + line.b * t.pieces;
      const double error = bytes * ns_per_byte / t.stream_ns - 1;
      sum += error * error * t.bytes();
    }
    return sum;
  };
  double least = 0, most = 0;  // of what the slowest bytes leave room for
  for (const Times& t : times) most = std::max(most, t.stream_ns / ns_per_byte / t.bytes() - 1);
  for (int step = 0; step < 100; ++step) {
    const double third = (most - least) / 3;
    if (loss(least + third) <= loss(most - third))
      most -= third;
    else
      least += third;
  }
  return {least, with(least)};
}

}  // namespace

Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
  return {median, values.front(), values.back()};
}

std::optional<StreamFit> fit_stream(std::span<const Times> times, std::uint32_t stages) {
  LineFit stream;
  std::size_t used = 0;
  double largest = 0;
  std::vector<double> posts;
  const auto large = [](const Times& t) { return t.bytes() >= 4 * MiB; };
  const bool enough = std::count_if(times.begin(), times.end(), large) >= 3;
  const auto counts = [&](const Times& t) {
    return !held_up(t) && t.stream_ns > 0 && (!enough || large(t));
  };
  for (const Times& t : times) {
    posts.push_back(t.post_ns);
    if (!counts(t)) continue;
    stream.add(t.bytes(), t.stream_ns, t.stream_ns / std::sqrt(t.bytes()));
    largest = std::max(largest, t.bytes());
    ++used;
  }
  const Line line = stream.line_from_zero_up();
  const bool grows = line.b * largest > 0.001 * line.a;
  if (used < 2 || !grows) return std::nullopt;
  StreamFit fit;
  fit.bytes_per_s = 1e9 / line.b;
  fit.half_bandwidth_bytes = line.a / line.b;
  fit.post_ns = spread_of(std::move(posts)).median;
  // Of small chunks: with large ones a permille of the rate would be more than all of it.
  std::vector<double> fixed;
  for (const Times& t : times) {
    if (counts(t))
      fit.worst = std::max(fit.worst, std::fabs((line.a + line.b * t.bytes()) / t.stream_ns - 1));
    const double wire = stages * (line.a + line.b * t.bytes());
    if (t.alone_ns > 0 && (fixed.empty() || t.bytes() <= 64.0 * KiB))
      fixed.push_back(t.alone_ns - t.post_ns - wire);
  }
  if (!fixed.empty()) fit.fixed_ns = std::max(0.0, spread_of(std::move(fixed)).median);
  return fit;
}

double half_bandwidth_of_pieces(std::span<const Times> times, const StreamFit& route) {
  std::vector<double> bytes;
  for (const Times& t : times)
    if (!held_up(t))
      bytes.push_back((t.stream_ns * route.bytes_per_s / 1e9 - t.bytes()) / t.pieces);
  return bytes.empty() ? 0 : std::max(0.0, spread_of(std::move(bytes)).median);
}

std::optional<GatherFit> fit_gather(std::span<const Times> times, std::uint32_t stages,
                                    const StreamFit& route, bool with_pass) {
  const bool differ = std::any_of(times.begin(), times.end(),
                                  [&](const Times& t) { return t.pieces != times.front().pieces; });
  if (!differ) return std::nullopt;
  const double ns_per_byte = 1e9 / route.bytes_per_s;
  GatherFit fit;
  LineFit posting;
  std::vector<Times> seen;
  for (const Times& t : times) {
    posting.add(t.pieces, t.post_ns, std::max(1.0, t.post_ns));
    if (!held_up(t)) seen.push_back(t);
  }
  const Line post = posting.line_from_zero_up();
  fit.post_ns = post.a;
  fit.piece_post_ns = post.b;
  fit.occupancy_seen = seen.size() >= 2;
  if (fit.occupancy_seen) {
    const Occupancy occupancy = fit_occupancy(seen, ns_per_byte);
    fit.extra = occupancy.extra;
    fit.half_bandwidth_bytes = occupancy.line.a;
    fit.piece_half_bandwidth_bytes = occupancy.line.b;
  }
  const auto occupied_ns = [&](const Times& t) {
    return (t.bytes() * (1 + fit.extra) + fit.half_bandwidth_bytes +
            t.pieces * fit.piece_half_bandwidth_bytes) *
           ns_per_byte;
  };
  // What a chunk alone takes beyond all that: gathering on one side and scattering on the other.
  LineFit sides;
  for (const Times& t : times) {
    if (!held_up(t)) fit.worst = std::max(fit.worst, std::fabs(occupied_ns(t) / t.stream_ns - 1));
    const double beyond = t.alone_ns - route.fixed_ns - t.post_ns - stages * occupied_ns(t);
    sides.add(with_pass ? t.bytes() : 0, beyond / 2, t.alone_ns);
  }
  const Line side = sides.line_from_zero_up();
  fit.fixed_ns = side.a;
  if (side.b > 0) fit.bytes_per_s = 1e9 / side.b;
  return fit;
}

std::vector<IdleFigure> idle_costs(std::span<const AfterIdle> measured) {
  constexpr double counts_from = 1.1;
  std::vector<IdleFigure> costs;
  if (measured.empty()) return costs;
  const double base = measured[0].chunk_ns.median;
  double reached = base;
  for (const auto& [idle_ns, chunk] : measured.subspan(1)) {
    if (chunk.median < counts_from * reached) continue;
    reached = chunk.median;
    costs.push_back(
        {idle_ns, {chunk.median - base, std::max(0.0, chunk.least - base), chunk.most - base}});
  }
  return costs;
}

std::vector<LinkRate> link_rates(const Cluster& cluster, const Route& route, double bytes_per_s) {
  std::map<LinkId, int> crossings;
  for (const LinkId link : route.hops) ++crossings[link];
  std::vector<LinkRate> rates;
  for (const auto& [link, times] : crossings) {
    const double rate = cluster.links[link].bytes_per_s / times;
    const bool narrowest = rate <= route.bytes_per_s * (1 + 1e-9);
    if (narrowest || rate < bytes_per_s) rates.push_back({link, bytes_per_s * times});
  }
  return rates;
}

}  // namespace kvhaul::calibration
