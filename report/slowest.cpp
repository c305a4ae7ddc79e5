#include "report/slowest.h"

#include <algorithm>
#include <string_view>

#include <nlohmann/json.hpp>

#include "report/json_numbers.h"
#include "results/figures.h"

namespace kvhaul::report {
namespace {

using Json = nlohmann::ordered_json;

/// How the list of figures calls a part of the exposed transfer.
std::string words_of(PathPart part) {
  static constexpr std::string_view keys[path_part_count] = {
      "handover.post_ms",   "handover.wire_ms",  "handover.detect_ms", "handover.window_ms",
      "handover.credit_ms", "handover.order_ms", "handover.fault_ms"};
  const std::string_view key = keys[static_cast<std::size_t>(part)];
  return std::ranges::find_if(figures(), [&](const Figure& f) { return f.key == key; })->title();
}

}  // namespace

void SlowestRequests::add(const RequestRecord& row) {
  const auto slower = [](const Row& a, const Row& b) {
    return std::pair(-a.record.ttft_ns(), a.record.request) <
           std::pair(-b.record.ttft_ns(), b.record.request);
  };
  if (rows_.size() == most && row.ttft_ns() < rows_.back().record.ttft_ns()) return;
  Row added{row, std::string(row.last_link)};
  added.record.last_link = {};
  rows_.insert(std::ranges::upper_bound(rows_, added, slower), std::move(added));
  if (rows_.size() > most) rows_.pop_back();
}

Json SlowestRequests::json() const {
  Json list = Json::array();
  for (const Row& row : rows_) {
    const RequestRecord& r = row.record;
    Json parts = Json::object();
    for (std::size_t part = 0; part < path_part_count; ++part)
      if (r.path.ns[part] > 0)
        parts[words_of(static_cast<PathPart>(part))] = ms_of(r.path.ns[part]);
    list.push_back({{"request", r.request},
                    {"line", r.line},
                    {"arrival_s", static_cast<double>(r.arrival_ns) / 1e9},
                    {"input_tokens", r.input_tokens},
                    {"prefill_instance", r.prefill_instance},
                    {"decode_instance", r.decode_instance},
                    {"ttft_ms", ms_of(r.ttft_ns())},
                    {"queue_ms", ms_of(r.queue_ns)},
                    {"prefill_ms", ms_of(r.prefill_ns)},
                    {"memory_ms", ms_of(r.memory_ns)},
                    {"exposed_ms", ms_of(r.exposed_ns)},
                    {"exposed_parts_ms", std::move(parts)},
                    {"step_ms", ms_of(r.step_ns)},
                    {"seat_ms", ms_of(r.seat_ns)},
                    {"last_link", row.last_link}});
  }
  return list;
}

}  // namespace kvhaul::report
