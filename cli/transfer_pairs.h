// The same transfer in two runs: how far its times are apart, over all transfers that both made.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "results/run_directory.h"

namespace kvhaul::cli {

/// Of relative differences (time of the second / time of the first - 1).
struct ErrorSpread {
  double signed_median = 0;
  // Without their signs:
  double median = 0, p95 = 0, max = 0;
  /// Their distribution: item p is the difference, with its sign, that p percent do not exceed.
  std::vector<double> quantiles;
};

struct TransferPair {
  std::uint64_t request = 0;
  std::uint32_t prefill_chunk = 0;
  TimeNs first_ns = 0, second_ns = 0;
  double difference = 0;  // relative
};

/// What a plain calculation would have said about the first run: bytes / rate of a link.
struct PlainFormula {
  ErrorSpread error;
  std::string link;
  double share = 0;  // of all bytes, that crossed this link
  double gbytes_per_s = 0;
};

struct TransferPairs {
  std::string obstacle;  // why there are none, when no two transfers of the runs are the same
  std::size_t pairs = 0;
  // Left out of them, each for the first reason that holds:
  std::size_t in_one_run_only = 0;
  std::size_t failed = 0;
  std::size_t of_other_size = 0;
  std::size_t without_time = 0;

  ErrorSpread error;                // all zero without pairs
  std::vector<TransferPair> worst;  // at most three, the worst first
  double makespan_difference = 0;   // relative
  std::optional<PlainFormula> formula;
  std::string no_formula;  // else why there is none
};

/// Runs of other requests, or that stream otherwise, have no transfers in common.
Result<TransferPairs> pair_transfers(const RunDirectory& first, const RunDirectory& second);

}  // namespace kvhaul::cli
