#include "calibration/calibration.h"

#include <algorithm>
#include <array>
#include <map>

#include "calibration/probe.h"

namespace kvhaul::calibration {
namespace {

constexpr Bytes smallest = 4 * KiB;
constexpr Bytes largest = 16 * MiB;
constexpr double longest_chunk_s = 0.1;
constexpr Bytes alone_up_to = 64 * KiB;
/// Pieces that are written one by one, as contiguous pages of a layer are.
constexpr std::array<Bytes, 3> large_pieces = {1 * MiB, 2 * MiB, 4 * MiB};
constexpr std::uint32_t large_pieces_count = 4;
/// By so much their cost has to differ from that of chunks to count.
constexpr double pieces_cost_more = 1.02;
constexpr std::array<Bytes, 4> piece_sizes = {4 * KiB, 16 * KiB, 64 * KiB, 1 * MiB};
constexpr std::array<std::uint32_t, 4> piece_counts = {4, 16, 64, 256};
/// Times without traffic, each so often in a repeat. Caches cool over milliseconds; NVLinks of an
/// H100 go to sleep after 50 ms.
constexpr std::array<TimeNs, 12> idle_times_ns = {0,          1 * ms_ns,  2 * ms_ns,  5 * ms_ns,
                                                  10 * ms_ns, 15 * ms_ns, 20 * ms_ns, 30 * ms_ns,
                                                  40 * ms_ns, 50 * ms_ns, 70 * ms_ns, 100 * ms_ns};
constexpr int idle_rounds = 2;
/// Two directions at less than this share of their sum have a limit in common.
constexpr double apart_from = 0.97;

struct Series {
  std::vector<double> values;
  void add(double value) { values.push_back(value); }
  Spread spread() const { return spread_of(values); }
};

/// What is measured of one kind of route, over the repeats.
struct RouteRun {
  Lane lane;
  bool whole = false;  // else only its rate is asked for
  ChannelRequest request;
  std::vector<Shape> sizes;
  std::vector<Series> streams;  // of each chunk, by size
  std::vector<Shape> one_by_one;
  Shape lone;
  std::array<Series, idle_times_ns.size()> after_idle;
  Series rate, half, fixed, post, worst;
  struct Method {
    Gather method = Gather::each;
    bool with_pass = false;
    std::vector<Shape> shapes;
    std::vector<Series> streams;  // of each chunk, by shape
    Series fixed, post, piece_post, half, piece_half, stretch, rate, worst;
  };
  std::vector<Method> methods;
};

class Calibrator {
 public:
  Calibrator(Backend& backend, const Cluster& cluster, const RoutePlan& plan,
             const Settings& settings)
      : backend_(backend), cluster_(cluster), plan_(plan), settings_(settings) {
    // One channel a route: the numbers are of a channel.
    plan_.rails = 1;
    for (RouteCosts& costs : plan_.costs) costs.queues = 1;
  }

  Result<Calibration> run(std::span<const std::pair<PlaceId, PlaceId>> pairs) {
    if (auto ok = choose(pairs); !ok) return ok.error();
    auto numbers = backend_.open(cluster_, requests_);
    if (!numbers) return numbers.error();
    if (auto ok = prepare(*numbers); !ok) return ok.error();
    Probe probe(backend_);
    for (std::uint32_t r = 0; r < settings_.repeats; ++r)
      if (auto ok = repeat(probe, r); !ok) return ok.error();
    Calibration result = conclude();
    result.backend = backend_.description();
    result.real_time = probe.real_time();
    return result;
  }

 private:
  static GatherTable with_all(GatherTable gathers) {
    for (std::size_t m = 1; m < gather_count; ++m)
      if (!gathers[m]) gathers[m].emplace();
    return gathers;
  }

  /// The first route of every kind in use, and the ways to host memory of the one that is staged.
  Result<void> choose(std::span<const std::pair<PlaceId, PlaceId>> pairs) {
    auto planned = plan_channels(cluster_, pairs, plan_);
    if (!planned) return planned.error();
    for (const ChannelRequest& request : planned->requests) {
      if (request.route.hops.empty()) continue;  // a hand-off moves nothing
      const auto same_kind = [&](const ChannelRequest& r) {
        return r.route.kind == request.route.kind;
      };
      if (std::any_of(requests_.begin(), requests_.end(), same_kind)) continue;
      requests_.push_back(request);
      if (settings_.all_gathers)
        requests_.back().costs.gather = with_all(requests_.back().costs.gather);
    }
    if (requests_.empty())
      return Error::bad_input("no route in use moves bytes: there is nothing to measure");
    kinds_ = requests_.size();
    for (std::size_t i = 0; i < kinds_; ++i) {
      const Route& route = requests_[i].route;
      if (route.kind != RouteKind::pcie_staged || route.stages == 1) continue;
      staged_ = i;
      const Gpu& gpu = cluster_.gpu(route.source);
      const PlaceId host = cluster_.nodes[cluster_.places[route.source].node].hosts[gpu.host];
      RoutePlan one_way = plan_;
      one_way.order = {RouteKind::pcie_staged};
      const std::vector<std::pair<PlaceId, PlaceId>> ways = {{route.source, host},
                                                             {host, route.source}};
      auto both = plan_channels(cluster_, ways, one_way);
      if (!both) return both.error();
      requests_.insert(requests_.end(), both->requests.begin(), both->requests.end());
      break;
    }
    return {};
  }

  Result<SegmentId> segment(PlaceId place, bool target, Bytes bytes) {
    const auto known = segments_.find({place, target});
    if (known != segments_.end()) return known->second;
    auto made = backend_.register_segment(place, bytes);
    if (made) segments_[{place, target}] = *made;
    return made;
  }
  Bytes segment_bytes(PlaceId place) const {
    const Bytes memory = cluster_.places[place].memory_bytes;
    return memory == 0 ? settings_.segment_bytes : std::min(settings_.segment_bytes, memory / 4);
  }

  Result<void> prepare(const std::vector<ChannelNumbers>& numbers) {
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      const Route& route = requests_[i].route;
      Lane lane;
      lane.channel = static_cast<ChannelId>(i);
      lane.name = route.name + " from " + cluster_.places[route.source].name + " to " +
                  cluster_.places[route.target].name;
      lane.numbers = numbers[i];
      auto source = segment(route.source, false, segment_bytes(route.source));
      if (!source) return source.error();
      auto target = segment(route.target, true, segment_bytes(route.target));
      if (!target) return target.error();
      lane.source = *source;
      lane.target = *target;
      lane.window_ns = settings_.window_ns;
      lane.segment_bytes = std::min(segment_bytes(route.source), segment_bytes(route.target));
      if (auto ok = add(std::move(lane), requests_[i], i < kinds_); !ok) return ok;
    }
    return {};
  }

  Result<void> add(Lane lane, const ChannelRequest& request, bool whole) {
    RouteRun run;
    run.request = request;
    run.whole = whole;
    // A slow route shows its numbers with smaller chunks.
    const auto useful = [&](const Shape& shape) {
      return Probe::fits(lane, shape) && shape.bytes() <= largest &&
             static_cast<double>(shape.bytes()) <= longest_chunk_s * lane.numbers.bytes_per_s;
    };
    for (Bytes size = smallest; size <= largest; size *= 2)
      if (const Shape shape{size}; useful(shape)) run.sizes.push_back(shape);
    for (const Bytes size : large_pieces)
      if (const Shape shape{size, large_pieces_count}; useful(shape))
        run.one_by_one.push_back(shape);
    if (run.sizes.size() < 3)
      return Error::bad_input(
          lane.name + ": segments of " + std::to_string(lane.segment_bytes) +
          " bytes, the channel's limits and its rate leave too few chunk sizes");
    // In a few pieces, as most chunks are.
    run.lone = {alone_up_to / 4, 4};
    if (!useful(run.lone)) run.lone = run.sizes.front();
    for (std::size_t m = 1; whole && m < gather_count; ++m) {
      if (!lane.numbers.gather[m]) continue;
      RouteRun::Method method;
      method.method = static_cast<Gather>(m);
      method.with_pass = method.method == Gather::pack || lane.numbers.gather[m]->bytes_per_s > 0;
      for (const Bytes size : piece_sizes)
        for (const std::uint32_t count : piece_counts)
          if (const Shape shape{size, count, method.method}; useful(shape))
            method.shapes.push_back(shape);
      if (!method.shapes.empty()) run.methods.push_back(std::move(method));
    }
    run.lane = std::move(lane);
    runs_.push_back(std::move(run));
    return {};
  }

  void progress(std::uint32_t r, std::size_t run, const std::string& what) const {
    if (!settings_.on_progress) return;
    const double done = static_cast<double>(r * runs_.size() + run);
    settings_.on_progress(done / static_cast<double>(settings_.repeats * runs_.size()), what);
  }

  Result<void> repeat(Probe& probe, std::uint32_t r) {
    for (std::size_t i = 0; i < runs_.size(); ++i) {
      progress(r, i, runs_[i].lane.name);
      if (auto ok = measure(probe, runs_[i]); !ok) return ok;
    }
    if (!staged_) return {};
    const std::vector<Lane> ways = {runs_[kinds_].lane, runs_[kinds_ + 1].lane};
    const Shape shape{std::min(runs_[kinds_].sizes.back().piece_bytes,
                               runs_[kinds_ + 1].sizes.back().piece_bytes)};
    auto rates = probe.together(ways, shape);
    if (!rates) return rates.error();
    // The rates of the fits are without what each chunk adds; so is this one.
    double sum = 0;
    for (std::size_t w = 0; w < 2; ++w)
      sum += (*rates)[w] *
             (1 + runs_[kinds_ + w].half.values.back() / static_cast<double>(shape.bytes()));
    together_.add(sum);
    return {};
  }

  static Result<void> measure(Probe& probe, RouteRun& run) {
    std::vector<Times> times;
    run.streams.resize(run.sizes.size());
    for (const Shape& shape : run.sizes) {
      auto measured = probe.measure(run.lane, shape, shape.bytes() <= alone_up_to);
      if (!measured) return measured.error();
      run.streams[times.size()].add(measured->stream_ns);
      times.push_back(*measured);
    }
    const std::uint32_t stages = run.lane.numbers.stages;
    const auto fit = fit_stream(times, stages);
    if (!fit)
      return Error::failed(run.lane.name +
                           ": times do not grow with the size of chunks, or posting always takes "
                           "longer; no rate can be told");
    times.clear();
    for (const Shape& shape : run.one_by_one) {
      auto measured = probe.measure(run.lane, shape, false);
      if (!measured) return measured.error();
      times.push_back(*measured);
    }
    // A backend may join chunks that wait together, but not the pieces of one: a piece costs what
    // the costlier of both shows.
    double half = half_bandwidth_of_pieces(times, *fit);
    if (half < pieces_cost_more * fit->half_bandwidth_bytes) half = fit->half_bandwidth_bytes;
    run.rate.add(fit->bytes_per_s);
    run.half.add(half);
    run.fixed.add(std::max(0.0, fit->fixed_ns - static_cast<double>(run.request.route.latency_ns)));
    run.post.add(fit->post_ns);
    run.worst.add(fit->worst);
    for (int round = 0; run.whole && round < idle_rounds; ++round) {
      const auto alone = probe.after_idle(run.lane, run.lone, idle_times_ns);
      if (!alone) return alone.error();
      for (std::size_t i = 0; i < alone->size(); ++i) run.after_idle[i].add((*alone)[i]);
    }
    for (RouteRun::Method& method : run.methods) {
      times.clear();
      method.streams.resize(method.shapes.size());
      for (const Shape& shape : method.shapes) {
        auto measured = probe.measure(run.lane, shape, true);
        if (!measured) return measured.error();
        method.streams[times.size()].add(measured->stream_ns);
        times.push_back(*measured);
      }
      const auto gathered = fit_gather(times, stages, *fit, method.with_pass);
      if (!gathered) continue;
      method.fixed.add(gathered->fixed_ns);
      method.post.add(gathered->post_ns);
      method.piece_post.add(gathered->piece_post_ns);
      method.worst.add(gathered->worst);
      if (gathered->occupancy_seen) {
        method.half.add(gathered->half_bandwidth_bytes);
        method.piece_half.add(gathered->piece_half_bandwidth_bytes);
        method.stretch.add(1 + gathered->extra);
      }
      if (gathered->bytes_per_s > 0) method.rate.add(gathered->bytes_per_s);
    }
    return {};
  }

  /// Shown in most repeats, or not at all.
  std::optional<Spread> if_seen(const Series& series) const {
    if (2 * series.values.size() <= settings_.repeats) return std::nullopt;
    return series.spread();
  }

  RouteFigures figures(const RouteRun& run) const {
    RouteFigures figures;
    figures.route = run.request.route;
    figures.bytes_per_s = run.rate.spread();
    figures.half_bandwidth_bytes = run.half.spread();
    figures.fixed_ns = run.fixed.spread();
    figures.post_ns = run.post.spread();
    figures.worst = run.worst.spread().median;
    for (std::size_t i = 0; i < run.sizes.size(); ++i)
      figures.streams.push_back({run.sizes[i].bytes(), run.streams[i].spread()});
    figures.idle_chunk_bytes = run.lone.bytes();
    for (std::size_t i = 0; run.whole && i < idle_times_ns.size(); ++i)
      figures.after_idle.push_back({idle_times_ns[i], run.after_idle[i].spread()});
    for (const RouteRun::Method& method : run.methods) {
      if (method.fixed.values.empty()) continue;
      GatherFigures gather;
      gather.method = method.method;
      gather.fixed_ns = method.fixed.spread();
      gather.post_ns = method.post.spread();
      gather.piece_post_ns = method.piece_post.spread();
      gather.half_bandwidth_bytes = if_seen(method.half);
      gather.piece_half_bandwidth_bytes = if_seen(method.piece_half);
      gather.stretch = if_seen(method.stretch);
      gather.bytes_per_s = if_seen(method.rate);
      gather.worst = method.worst.spread().median;
      for (std::size_t i = 0; i < method.shapes.size(); ++i)
        gather.streams.push_back(
            {method.shapes[i].piece_bytes, method.shapes[i].pieces, method.streams[i].spread()});
      figures.gathers.push_back(std::move(gather));
    }
    return figures;
  }

  /// Where two routes speak of one link, the one that got more out of it is right.
  void add_links(std::map<LinkId, LinkFigure>& links, const RouteRun& run) const {
    const Spread rate = run.rate.spread();
    for (const LinkRate& found : link_rates(cluster_, run.request.route, rate.median)) {
      LinkFigure& figure = links[found.link];
      if (figure.bytes_per_s.median >= found.bytes_per_s) continue;
      const double times = found.bytes_per_s / rate.median;
      figure = {found.link, {found.bytes_per_s, rate.least * times, rate.most * times}};
    }
  }

  Calibration conclude() {
    Calibration result;
    std::map<LinkId, LinkFigure> links;
    for (std::size_t i = 0; i < runs_.size(); ++i) {
      if (i < kinds_) result.routes.push_back(figures(runs_[i]));
      add_links(links, runs_[i]);
    }
    if (staged_) {
      // The ways there and back were measured one by one; what both carry is decided below.
      const Route& route = runs_[*staged_].request.route;
      const Spread out = runs_[kinds_].rate.spread(), in = runs_[kinds_ + 1].rate.spread();
      for (const PlaceId place : {route.source, route.target}) {
        const Gpu& gpu = cluster_.gpu(place);
        for (const LinkId link : {gpu.host_out, gpu.host_in, gpu.host_both}) links.erase(link);
      }
      const bool self = route.source == route.target;
      const Spread together = together_.spread();
      const Spread through = runs_[*staged_].rate.spread();
      result.host_link = {route.source, out, in, together, {}};
      const double limit = shared_limit(out.median, in.median, together.median,
                                        self ? std::optional(through.median) : std::nullopt);
      if (limit > 0)
        result.host_link->both_bytes_per_s =
            self ? Spread{limit, 2 * through.least, 2 * through.most}
                 : Spread{limit, together.least, together.most};
    }
    for (const auto& [link, figure] : links) result.links.push_back(figure);
    return result;
  }

  Backend& backend_;
  const Cluster& cluster_;
  RoutePlan plan_;
  const Settings& settings_;
  std::vector<ChannelRequest> requests_;  // one for each kind, then the ways to host memory
  std::size_t kinds_ = 0;
  std::optional<std::size_t> staged_;  // the one of requests_ that is staged inside a node
  std::map<std::pair<PlaceId, bool>, SegmentId> segments_;
  std::vector<RouteRun> runs_;  // by request
  Series together_;
};

}  // namespace

double shared_limit(double out_bytes_per_s, double in_bytes_per_s, double together_bytes_per_s,
                    std::optional<double> through_bytes_per_s) {
  if (together_bytes_per_s >= apart_from * (out_bytes_per_s + in_bytes_per_s)) return 0;
  const double both = through_bytes_per_s ? 2 * *through_bytes_per_s : together_bytes_per_s;
  return std::max({both, out_bytes_per_s, in_bytes_per_s});
}

Result<Calibration> calibrate(Backend& backend, const Cluster& cluster,
                              std::span<const std::pair<PlaceId, PlaceId>> pairs,
                              const RoutePlan& plan, const Settings& settings) {
  return Calibrator(backend, cluster, plan, settings).run(pairs);
}

}  // namespace kvhaul::calibration
