// How many bytes each channel, and so each link, has carried in which stretch of time.
//
// Time is cut into equal bins, at most `bins_max` of them; when a run outgrows them, neighbours are
// joined and the bins are twice as wide. A chunk's bytes are spread evenly over the time it took,
// so that a bin may show a little of what crossed the link just before or after it.
//
// A stretch is a time in which something is on a link without a gap. All of its chunks start and
// land inside, so their bytes fit into it at the link's rate, or our accounting is wrong. A link is
// saturated in stretches in which it carries nearly its rate: the rate of the scenario, so that a
// link that a fault has slowed down, or several readers, never counts as saturated.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/backend.h"
#include "core/cluster.h"

namespace kvhaul {

struct LinkUse {
  LinkId link = 0;
  Bytes bytes = 0;              // crossings counted: a link crossed twice carries twice the bytes
  double utilisation = 0;       // of the whole run
  double peak_utilisation = 0;  // of the busiest bin
  double stretch_utilisation = 0;  // of the busiest stretch; above 1 is an error
  double busy_share = 0;           // of the run's time, with something on it
  double saturated_share = 0;      // of the run's time, in stretches above 95%
  std::vector<double> bin_bytes;
  std::vector<double> bin_saturated_ns;  // may be shorter
};

class LinkMeter {
 public:
  static constexpr std::size_t bins_max = 256;
  static constexpr double saturated_from = 0.95;

  /// Both must outlive this.
  LinkMeter(const Cluster& cluster, std::span<const ChannelRequest> requests);

  void chunks_ended(std::span<const Completion> completions);

  TimeNs bin_ns() const { return bin_ns_; }
  /// Time during which at least one chunk was between its start and its landing.
  TimeNs busy_ns() const { return busy_ns_; }
  TimeNs last_landed_ns() const { return last_landed_ns_; }
  Bytes landed_bytes() const { return landed_bytes_; }
  std::uint64_t landed_chunks() const { return landed_chunks_; }
  Bytes channel_bytes(ChannelId channel) const;

  /// Use of every link that carried anything, most used first. To be asked once, at the end.
  std::vector<LinkUse> link_use(TimeNs end_ns);

 private:
  struct Stretch {
    TimeNs from_ns = 0, to_ns = 0;
    Bytes bytes = 0;
  };
  static constexpr std::uint32_t latest_max = 16;
  /// Of links that the same channels cross, which carry the same at the same times: measured once,
  /// at the rate of the narrowest. The latest stretches are held, disjoint and in order: a chunk
  /// that took long may land after others that started after it. What is older is settled in the
  /// sums.
  struct LinkLoad {
    double bytes_per_s = 0;
    std::array<Stretch, latest_max> ring;  // `count` of them from `begin` on
    std::uint32_t begin = 0, count = 0;
    double busiest = 0;  // utilisation
    TimeNs busy_ns = 0;
    double saturated_ns = 0;
    std::vector<double> saturated_bins;  // nanoseconds

    Stretch& at(std::uint32_t i) { return ring[(begin + i) % latest_max]; }
  };
  struct Crossing {
    std::uint32_t load = 0;
    std::uint32_t times = 0;
  };
  void add_to_load(LinkLoad& load, TimeNs from, TimeNs to, Bytes bytes);
  void settle(LinkLoad& load);
  void add(std::vector<double>& bins, TimeNs from, TimeNs to, double bytes);
  static void widen(std::vector<double>& bins);
  void add_busy(TimeNs from, TimeNs to);

  const Cluster& cluster_;
  std::span<const ChannelRequest> requests_;
  std::vector<std::vector<double>> bins_;  // by channel
  std::vector<LinkLoad> loads_;
  std::vector<std::uint32_t> load_of_link_;
  std::vector<std::vector<Crossing>> crossings_;  // by channel
  TimeNs bin_ns_ = 1 * ms_ns;
  /// Disjoint times with a chunk on any link, start and end, of which the last ones are held.
  static constexpr std::size_t stretches_max = 4096;
  std::map<TimeNs, TimeNs> busy_;
  TimeNs settled_ns_ = 0;  // nothing before it is counted any more
  TimeNs busy_ns_ = 0;
  TimeNs last_landed_ns_ = 0;
  Bytes landed_bytes_ = 0;
  std::uint64_t landed_chunks_ = 0;
};

}  // namespace kvhaul
