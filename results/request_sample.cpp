#include "results/request_sample.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "serving/kv_move.h"

namespace kvhaul {
namespace {

/// When each prefill chunk of a request ended, as in prefill_side.h for a prompt that has the
/// pipeline stages to itself: with one stage they follow each other without a gap.
std::vector<TimeNs> chunk_ends(const ReplayConfig& config, const RequestResult& r) {
  const Timing& timing = *config.prefill.timing;
  std::vector<TimeNs> ends;
  std::vector<TimeNs> free(config.prefill.pp, r.prefill_start_ns);  // by stage
  std::uint32_t before = 0;
  for (const std::uint32_t end : plan_chunks(config, r.cached_tokens, r.input_tokens)) {
    TimeNs at = r.prefill_start_ns;
    if (end > r.cached_tokens) {
      const TimeNs whole = timing.prefill_ns(end - before, before);
      const TimeNs start = std::min(timing.prefill_start_ns(), whole);
      for (std::uint32_t stage = 0; stage < free.size(); ++stage) {
        const auto [first, last] = stage_layers(config.model, config.prefill.pp, stage);
        const auto share = static_cast<double>(last - first) / config.model.layers;
        at = free[stage] = std::max(at, free[stage]) + (stage == 0 ? start : 0) +
                           std::llround(static_cast<double>(whole - start) * share);
      }
    }
    ends.push_back(std::min(at, r.prefill_end_ns));
    before = end;
  }
  return ends;
}

/// Of equal ones the first in the trace.
bool slower(const RequestResult& a, const RequestResult& b) {
  const TimeNs here = a.joined_ns - a.arrival_ns, there = b.joined_ns - b.arrival_ns;
  return here != there ? here > there : a.request < b.request;
}

bool is_slower(const TimelineRequest& a, const TimelineRequest& b) {
  return slower(a.result, b.result);
}

}  // namespace

TimelineRequest RequestSample::whole(const RequestResult& result,
                                     const std::vector<TransferRow>& rows) const {
  TimelineRequest request{result, {}, chunk_ends(config_, result)};
  std::copy_if(rows.begin(), rows.end(), std::back_inserter(request.rows),
               [&](const TransferRow& row) { return row.retry == result.retries; });
  return request;
}

void RequestSample::add(const RequestResult& result, const std::vector<TransferRow>& rows) {
  if (slowest_.size() < slowest_max || slower(result, slowest_.front().result)) {
    if (slowest_.size() == slowest_max) {
      std::ranges::pop_heap(slowest_, is_slower);
      slowest_.pop_back();
    }
    slowest_.push_back(whole(result, rows));
    std::ranges::push_heap(slowest_, is_slower);
  }
  if (result.request % every_ != 0) return;
  requests_.push_back(whole(result, rows));
  if (requests_.size() <= requests_max) return;
  every_ *= 2;
  std::erase_if(requests_,
                [&](const TimelineRequest& r) { return r.result.request % every_ != 0; });
}

std::vector<TimelineRequest> RequestSample::requests() const {
  std::vector<TimelineRequest> all = requests_;
  for (const TimelineRequest& slow : slowest_)
    if (slow.result.request % every_ != 0) all.push_back(slow);
  std::ranges::sort(all, {}, [](const TimelineRequest& r) { return r.result.request; });
  return all;
}

}  // namespace kvhaul
