#include "traces/trace_stats.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_map>
#include <unordered_set>

namespace kvhaul {
namespace {

/// How often each length occurred.
class LengthHistogram {
 public:
  void add(std::uint32_t tokens) { ++counts_[tokens]; }

  TokenStats stats() const {
    const std::map<std::uint32_t, std::uint64_t> sorted(counts_.begin(), counts_.end());
    TokenStats stats;
    if (sorted.empty()) return stats;
    std::uint64_t total = 0;
    double sum = 0;
    for (const auto& [tokens, count] : sorted) {
      total += count;
      sum += static_cast<double>(tokens) * static_cast<double>(count);
    }
    // The value at a rank from 0 to total - 1, between two values where the rank is.
    const auto at = [&](double share) {
      const double rank = share * static_cast<double>(total - 1);
      const auto below = static_cast<std::uint64_t>(rank);
      std::uint64_t seen = 0;
      for (auto it = sorted.begin(); it != sorted.end(); ++it) {
        seen += it->second;
        if (seen <= below) continue;
        const auto after = std::next(it);
        const bool next_differs = seen == below + 1 && after != sorted.end();
        const double step = next_differs ? static_cast<double>(after->first - it->first) : 0;
        return it->first + step * (rank - static_cast<double>(below));
      }
      return static_cast<double>(sorted.rbegin()->first);
    };
    stats.mean = sum / static_cast<double>(total);
    stats.p50 = at(0.50);
    stats.p90 = at(0.90);
    stats.p99 = at(0.99);
    stats.min = sorted.begin()->first;
    stats.max = sorted.rbegin()->first;
    return stats;
  }

 private:
  std::unordered_map<std::uint32_t, std::uint64_t> counts_;
};

/// The most arrivals in one of the bins that follow each other from the first arrival on.
class PeakBin {
 public:
  explicit PeakBin(TimeNs width_ns) : width_ns_(width_ns) {}
  void add(TimeNs since_first_ns) {
    const TimeNs bin = since_first_ns / width_ns_;
    if (bin != bin_) in_bin_ = 0;
    bin_ = bin;
    peak_ = std::max(peak_, ++in_bin_);
  }
  std::uint64_t peak() const { return peak_; }

 private:
  TimeNs width_ns_, bin_ = 0;
  std::uint64_t in_bin_ = 0, peak_ = 0;
};

/// Arrivals come in order, so one pass and no memory will do.
class ArrivalStats {
 public:
  void add(TimeNs arrival_ns) {
    if (arrivals_++ == 0) {
      first_ns_ = arrival_ns;
    } else {
      const TimeNs gap_ns = arrival_ns - last_ns_;
      duplicates_ += gap_ns == 0;
      const double gap_s = static_cast<double>(gap_ns) * 1e-9;
      gaps_squared_ += gap_s * gap_s;
    }
    last_ns_ = arrival_ns;
    peak_1s_.add(arrival_ns - first_ns_);
    peak_10s_.add(arrival_ns - first_ns_);
  }
  void put(TraceStats& stats) const {
    stats.span_ns = last_ns_ - first_ns_;
    stats.peak_1s = peak_1s_.peak();
    stats.peak_10s = peak_10s_.peak();
    stats.duplicate_arrivals = duplicates_;
    if (stats.span_ns == 0) return;
    const auto gaps = static_cast<double>(arrivals_ - 1);
    const double span_s = static_cast<double>(stats.span_ns) * 1e-9;
    const double mean_s = span_s / gaps;
    stats.requests_per_s = 1 / mean_s;
    stats.gap_cv = std::sqrt(std::max(0.0, gaps_squared_ / gaps - mean_s * mean_s)) / mean_s;
  }

 private:
  std::uint64_t arrivals_ = 0, duplicates_ = 0;
  TimeNs first_ns_ = 0, last_ns_ = 0;
  double gaps_squared_ = 0;
  PeakBin peak_1s_{s_ns}, peak_10s_{10 * s_ns};
};

class InfiniteCache {
 public:
  explicit InfiniteCache(std::uint32_t block_tokens) : block_tokens_(block_tokens) {}

  void add(const TraceRequest& request) {
    std::uint64_t hits = 0;
    while (hits < request.prefix_blocks.size() && seen_.contains(request.prefix_blocks[hits]))
      ++hits;
    for (std::size_t i = hits; i < request.prefix_blocks.size(); ++i)
      seen_.insert(request.prefix_blocks[i]);
    const std::uint64_t input = request.input_tokens;
    blocks_ += (input + block_tokens_ - 1) / block_tokens_;
    hit_blocks_ += hits;
    tokens_ += input;
    hit_tokens_ += std::min(hits * block_tokens_, input);
  }
  PrefixStats stats() const {
    const auto share = [](std::uint64_t part, std::uint64_t whole) {
      return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
    };
    return {share(hit_blocks_, blocks_), share(hit_tokens_, tokens_), seen_.size()};
  }

 private:
  std::uint32_t block_tokens_;
  std::unordered_set<std::uint64_t> seen_;
  std::uint64_t blocks_ = 0, hit_blocks_ = 0, tokens_ = 0, hit_tokens_ = 0;
};

}  // namespace

Result<TraceStats> measure_trace(TraceReader& reader) {
  TraceStats stats;
  LengthHistogram input, output;
  ArrivalStats arrivals;
  std::optional<InfiniteCache> cache;
  if (const std::uint32_t block = reader.info().block_tokens; block > 0) cache.emplace(block);
  std::unordered_map<std::uint64_t, std::uint64_t> turns;  // by session
  TraceRequest request;
  for (;;) {
    const Result<bool> more = reader.next(request);
    if (!more) return more.error();
    if (!*more) break;
    ++stats.requests;
    input.add(request.input_tokens);
    output.add(request.output_tokens);
    if (reader.info().has_arrivals) arrivals.add(request.arrival_ns);
    if (cache) cache->add(request);
    if (request.session != 0) stats.turns_max = std::max(stats.turns_max, ++turns[request.session]);
  }
  stats.sessions = turns.size();
  stats.input = input.stats();
  stats.output = output.stats();
  arrivals.put(stats);
  if (cache) stats.prefix = cache->stats();
  return stats;
}

}  // namespace kvhaul
