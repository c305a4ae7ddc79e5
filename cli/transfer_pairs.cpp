#include "cli/transfer_pairs.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "results/run_rows.h"

namespace kvhaul::cli {
namespace {

constexpr std::size_t worst_shown = 3;

/// Who was served where, ordered by request.
struct Requests {
  struct Row {
    std::uint64_t request = 0;
    std::uint32_t input_tokens = 0;
    bool operator==(const Row&) const = default;
  };
  std::vector<Row> rows;
  bool one_pair = true;  // one prefill and one decode instance served all of them
};

Result<Requests> read_requests(const RunDirectory& run) {
  Requests requests;
  std::optional<std::pair<std::uint64_t, std::uint64_t>> first;
  const auto read = read_request_rows(run, [&](const RequestRecord& row) {
    requests.rows.push_back({row.request, row.input_tokens});
    if (!row.served) return;
    const std::pair pair(row.prefill_instance, row.decode_instance);
    if (!first) first = pair;
    requests.one_pair = requests.one_pair && pair == *first;
  });
  if (!read) return read.error();
  std::ranges::sort(requests.rows, {}, &Requests::Row::request);
  return requests;
}

/// KV of one prefill chunk: the rows that transfers.csv has for it, one per route, taken together.
struct Transfer {
  std::uint64_t request = 0;
  std::uint32_t prefill_chunk = 0;
  bool failed = false;  // some of it did not arrive
  Bytes bytes = 0;
  TimeNs submitted_ns = 0;  // the first of them
  TimeNs reported_ns = 0;   // the last of them
  TimeNs duration_ns() const { return reported_ns - submitted_ns; }
};

/// Ordered by request and prefill chunk. Takes 40 bytes of memory per row of about 100.
Result<std::vector<Transfer>> read_transfers(const RunDirectory& run) {
  std::vector<Transfer> rows;
  const auto read = read_transfer_rows(run, [&](const TransferRecord& row) {
    rows.push_back({row.request, row.prefill_chunk, row.failed_transfers != 0, row.bytes,
                    row.submitted_ns, add_time(row.submitted_ns, row.duration_ns)});
  });
  if (!read) return read.error();
  std::sort(rows.begin(), rows.end(), [](const Transfer& a, const Transfer& b) {
    return std::tie(a.request, a.prefill_chunk) < std::tie(b.request, b.prefill_chunk);
  });
  // Routes of one prefill chunk become one.
  std::size_t kept = 0;
  for (const Transfer& row : rows) {
    if (kept > 0 && rows[kept - 1].request == row.request &&
        rows[kept - 1].prefill_chunk == row.prefill_chunk) {
      Transfer& whole = rows[kept - 1];
      whole.failed = whole.failed || row.failed;
      whole.bytes += row.bytes;
      whole.submitted_ns = std::min(whole.submitted_ns, row.submitted_ns);
      whole.reported_ns = std::max(whole.reported_ns, row.reported_ns);
    } else {
      rows[kept++] = row;
    }
  }
  rows.resize(kept);
  return rows;
}

/// The value that this share of the sorted values do not exceed, to the nearest rank.
double at_rank(const std::vector<double>& sorted, double share) {
  const double rank = std::ceil(share * static_cast<double>(sorted.size()));
  return sorted[static_cast<std::size_t>(std::max(1.0, rank)) - 1];
}

ErrorSpread spread_of(std::vector<double> differences) {
  ErrorSpread spread;
  if (differences.empty()) return spread;
  std::sort(differences.begin(), differences.end());
  spread.signed_median = at_rank(differences, 0.5);
  for (int percent = 0; percent <= 100; ++percent)
    spread.quantiles.push_back(at_rank(differences, percent / 100.0));
  for (double& difference : differences) difference = std::fabs(difference);
  std::sort(differences.begin(), differences.end());
  spread.median = at_rank(differences, 0.5);
  spread.p95 = at_rank(differences, 0.95);
  spread.max = differences.back();
  return spread;
}

bool worse(const TransferPair& a, const TransferPair& b) {
  const double of_a = std::fabs(a.difference), of_b = std::fabs(b.difference);
  return of_a != of_b ? of_a > of_b
                      : std::tie(a.request, a.prefill_chunk) < std::tie(b.request, b.prefill_chunk);
}

/// Why bytes / rate would be no fair calculation here; empty when it is.
std::string formula_obstacle(const RunDirectory& second, bool one_pair) {
  const std::string& streaming = second.text("run.streaming");  // and of the first
  if (streaming != "request" && streaming != "chunk")
    return "with streaming " + streaming + " a transfer also waits for prefill";
  if (!one_pair) return "with several instances each link carries part of the transfers only";
  if (second.links.empty() || second.landed_bytes <= 0 || second.links[0].bytes <= 0)
    return "nothing was carried";
  return "";
}

}  // namespace

Result<TransferPairs> pair_transfers(const RunDirectory& first, const RunDirectory& second) {
  TransferPairs result;
  bool one_pair = false;
  {
    auto requests = read_requests(first);
    if (!requests) return requests.error();
    auto others = read_requests(second);
    if (!others) return others.error();
    if (requests->rows != others->rows)
      result.obstacle = "replays other requests";
    else if (first.text("run.streaming") != second.text("run.streaming"))
      result.obstacle = "streams otherwise";
    if (!result.obstacle.empty()) return result;
    one_pair = requests->one_pair && others->one_pair;
  }
  auto firsts = read_transfers(first);
  if (!firsts) return firsts.error();
  auto seconds = read_transfers(second);
  if (!seconds) return seconds.error();

  result.no_formula = formula_obstacle(second, one_pair);
  double formula_ns_per_byte = 0;
  if (result.no_formula.empty()) {
    PlainFormula formula;
    formula.link = second.links[0].name;
    formula.gbytes_per_s = second.links[0].rate_gbytes_per_s;
    formula.share = second.links[0].bytes / second.landed_bytes;
    formula_ns_per_byte = formula.share / formula.gbytes_per_s;
    result.formula = std::move(formula);
  }
  const double duration_s = first.number("duration_s");
  if (duration_s > 0) result.makespan_difference = second.number("duration_s") / duration_s - 1;

  std::vector<double> differences, formula_differences;
  auto a = firsts->begin();
  auto b = seconds->begin();
  while (a != firsts->end() && b != seconds->end()) {
    const auto key_a = std::tie(a->request, a->prefill_chunk);
    const auto key_b = std::tie(b->request, b->prefill_chunk);
    if (key_a != key_b) {
      ++result.in_one_run_only;
      ++(key_a < key_b ? a : b);
      continue;
    }
    if (a->failed || b->failed) {
      ++result.failed;
    } else if (a->bytes != b->bytes) {
      ++result.of_other_size;
    } else if (a->duration_ns() <= 0) {
      ++result.without_time;
    } else {
      const auto time = static_cast<double>(a->duration_ns());
      TransferPair pair{a->request, a->prefill_chunk, a->duration_ns(), b->duration_ns(), 0};
      pair.difference = static_cast<double>(pair.second_ns) / time - 1;
      differences.push_back(pair.difference);
      if (result.formula)
        formula_differences.push_back(static_cast<double>(a->bytes) * formula_ns_per_byte / time -
                                      1);
      if (result.worst.size() < worst_shown || worse(pair, result.worst.back())) {
        result.worst.push_back(pair);
        std::sort(result.worst.begin(), result.worst.end(), worse);
        if (result.worst.size() > worst_shown) result.worst.pop_back();
      }
    }
    ++a;
    ++b;
  }
  result.in_one_run_only +=
      static_cast<std::size_t>(firsts->end() - a) + static_cast<std::size_t>(seconds->end() - b);
  result.pairs = differences.size();
  result.error = spread_of(std::move(differences));
  if (result.formula) result.formula->error = spread_of(std::move(formula_differences));
  return result;
}

}  // namespace kvhaul::cli
