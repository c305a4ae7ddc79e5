// From times to the numbers of a route: pure functions, no backend.
//
// Streams are fitted by least squares of the relative error, weighted by the bytes of the chunk:
// large chunks move most of what is moved, and what a backend does to help small ones (joining
// them, say) must not bend their line. All else by least squares of the relative error alone.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "core/cluster.h"
#include "core/route.h"

namespace kvhaul::calibration {

/// Of one figure, over the repeats.
struct Spread {
  double median = 0, least = 0, most = 0;
};
/// Of at least one value.
Spread spread_of(std::vector<double> values);

/// Times of one shape of chunk.
struct Times {
  Bytes piece_bytes = 0;
  std::uint32_t pieces = 1;
  double stream_ns = 0;  // of each chunk, when they follow each other on a full channel
  double alone_ns = 0;   // of a chunk alone, from its post to its landing
  double post_ns = 0;    // of the posting thread

  double bytes() const { return static_cast<double>(piece_bytes) * pieces; }
};

/// What chunks of one piece show: in a stream each takes (S + half_bandwidth) / bytes_per_s, alone
/// fixed + post + stages times that.
struct StreamFit {
  double bytes_per_s = 0;
  double half_bandwidth_bytes = 0;
  double fixed_ns = 0;
  double post_ns = 0;
  double worst = 0;  // relative difference between the fit and a time it was made from

  double stream_ns(double bytes) const {
    return (bytes + half_bandwidth_bytes) / bytes_per_s * 1e9;
  }
};
/// Made from chunks of 4 MiB and more where there are three sizes of them, because backends may
/// join smaller ones that wait together; else from all. Sizes whose stream is held up by the
/// posting thread are left out. Nothing when fewer than two are left, or when time does not grow
/// with size.
std::optional<StreamFit> fit_stream(std::span<const Times> times, std::uint32_t stages);

/// What each piece of a chunk occupies the route for beyond its bytes where pieces are written one
/// by one, from streams of such chunks; the median. 0 where posting holds all of them up.
double half_bandwidth_of_pieces(std::span<const Times> times, const StreamFit& route);

/// What chunks of several pieces cost with a method (GatherCosts, here as real numbers).
struct GatherFit {
  double post_ns = 0, piece_post_ns = 0;
  double fixed_ns = 0;
  double bytes_per_s = 0;  // of the pass over the bytes; 0: none was asked for, or none shows
  /// Not seen where the posting thread always takes longer than the route.
  bool occupancy_seen = false;
  double half_bandwidth_bytes = 0, piece_half_bandwidth_bytes = 0;
  double extra = 0;  // of its bytes, what they occupy the route for beyond themselves
  double worst = 0;
};
/// `route` is the fit of the same route's single pieces. `with_pass`: a pass over the bytes on each
/// side is part of the method. Nothing when the shapes do not differ in their number of pieces.
std::optional<GatherFit> fit_gather(std::span<const Times> times, std::uint32_t stages,
                                    const StreamFit& route, bool with_pass);

/// What a chunk alone took, from its post to its landing, after a time without traffic.
struct AfterIdle {
  TimeNs idle_ns = 0;
  Spread chunk_ns;
};
struct IdleFigure {
  TimeNs idle_ns = 0;
  Spread cost_ns;
};
/// What rests add to the first of the measured times, which is that without one. By growing
/// idle_ns; a rest that adds less than a tenth to what a shorter one gave is not listed.
std::vector<IdleFigure> idle_costs(std::span<const AfterIdle> measured);

struct LinkRate {
  LinkId link = no_id;
  double bytes_per_s = 0;
};
/// Rates of a route's links with which it has the measured rate: its narrowest links get it, and
/// links that were given as too narrow for it are widened. What keeps its rate is not listed.
std::vector<LinkRate> link_rates(const Cluster& cluster, const Route& route, double bytes_per_s);

}  // namespace kvhaul::calibration
