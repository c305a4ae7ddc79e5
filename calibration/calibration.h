// Measures the links of a cluster through a backend: the numbers that a scenario holds about the
// routes between some pairs of places, each the median of several repeats.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "calibration/fits.h"
#include "core/backend.h"
#include "core/channel_plan.h"
#include "core/scheduler_setup.h"

namespace kvhaul::calibration {

struct Settings {
  std::uint32_t repeats = 7;
  Bytes segment_bytes = GiB;  // of each of the two of a place; less where it has not got that
  TimeNs window_ns = SchedulerConfig().channel_window_ns;
  bool all_gathers = false;  // also methods that the plan does not list
  std::function<void(double share, const std::string& what)> on_progress;
};

/// A method to gather pieces; a figure that is not there did not show.
struct GatherFigures {
  Gather method = Gather::each;
  Spread fixed_ns, post_ns, piece_post_ns;
  std::optional<Spread> half_bandwidth_bytes, piece_half_bandwidth_bytes;
  std::optional<Spread> stretch;      // GatherFit::extra and the bytes themselves
  std::optional<Spread> bytes_per_s;  // of the pass
  double worst = 0;                   // GatherFit::worst, the median of the repeats
  struct Stream {
    Bytes piece_bytes = 0;
    std::uint32_t pieces = 0;
    Spread chunk_ns;  // of each chunk, when they follow each other
  };
  std::vector<Stream> streams;
};

/// The first route of a kind that the pairs use.
struct RouteFigures {
  Route route;
  Spread bytes_per_s;
  Spread half_bandwidth_bytes;
  Spread fixed_ns;  // without the latency of the links, as in RouteCosts
  Spread post_ns;
  double worst = 0;  // StreamFit::worst, the median of the repeats
  struct Stream {
    Bytes chunk_bytes = 0;
    Spread chunk_ns;  // of each chunk, when they follow each other
  };
  std::vector<Stream> streams;  // of chunks of one piece, by size
  std::vector<GatherFigures> gathers;
  std::vector<AfterIdle> after_idle;  // of a chunk of idle_chunk_bytes; the first without a rest
  Bytes idle_chunk_bytes = 0;
};

/// A GPU's way to host memory, where a route is staged through it.
struct HostLinkFigures {
  PlaceId gpu = no_id;
  Spread out_bytes_per_s, in_bytes_per_s;  // one way
  Spread together_bytes_per_s;             // the sum, both ways at once
  std::optional<Spread> both_bytes_per_s;  // of the limit that they share; none: they share none
};

struct LinkFigure {
  LinkId link = no_id;
  Spread bytes_per_s;
};

struct Calibration {
  std::string backend;
  bool real_time = false;
  std::vector<RouteFigures> routes;
  std::optional<HostLinkFigures> host_link;
  /// Links whose rate follows from the routes' (link_rates()), in the order of their ids.
  std::vector<LinkFigure> links;
};

/// What both directions together can carry, from the rates of each alone and of both at once.
/// `through` is the rate of a route that crosses the link in both directions, when one is in use:
/// it is what the scheduler will see. 0: they do not share a limit.
double shared_limit(double out_bytes_per_s, double in_bytes_per_s, double together_bytes_per_s,
                    std::optional<double> through_bytes_per_s);

/// Opens the backend, which must be new. Errors: bad_input when a pair has no route, those of
/// Backend::open() and register_segment(), failed when a chunk does not land.
Result<Calibration> calibrate(Backend& backend, const Cluster& cluster,
                              std::span<const std::pair<PlaceId, PlaceId>> pairs,
                              const RoutePlan& plan, const Settings& settings);

}  // namespace kvhaul::calibration
