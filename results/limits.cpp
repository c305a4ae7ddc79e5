#include "results/limits.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>
#include <utility>

#include "core/unit_text.h"

namespace kvhaul {
namespace {

using Shares = std::array<double, limit_count>;

constexpr std::size_t at(Limit limit) { return static_cast<std::size_t>(limit); }

/// How the hand-over of all requests is divided, before their KV has landed.
Shares held_for(const RunSummary& s) {
  const auto path = [&](PathPart part) { return s.path_ns[static_cast<std::size_t>(part)].mean(); };
  Shares shares{};
  shares[at(Limit::decode_memory)] = s.memory_ns.mean();
  shares[at(Limit::link)] = path(PathPart::wire);
  shares[at(Limit::posting)] = path(PathPart::post);
  shares[at(Limit::window)] =
      path(PathPart::window) + path(PathPart::credit) + path(PathPart::order);
  shares[at(Limit::notification)] = path(PathPart::detect);
  shares[at(Limit::faults)] = path(PathPart::fault);
  return shares;
}

/// As parts of 1; nothing where there is nothing.
std::optional<Shares> scaled(Shares shares) {
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  if (sum <= 0) return std::nullopt;
  for (double& share : shares) share /= sum;
  return shares;
}

/// Why there are no pages at the decode side: some of the requests that have them decode, others
/// wait for a seat, and others have not landed yet.
Shares memory_for(const RunSummary& s) {
  Shares shares{};
  const auto coming = static_cast<double>(s.requests.no_pages_coming_ns);
  const auto seatless = static_cast<double>(s.requests.no_pages_seatless_ns);
  const auto decoding = static_cast<double>(s.requests.no_pages_decoding_ns);
  Shares before = held_for(s);
  before[at(Limit::decode_memory)] = 0;
  before[at(Limit::prefill)] = s.prefill_ns.mean();
  const auto parts = scaled(before);
  if (!parts || coming + seatless + decoding <= 0) {
    shares[at(Limit::decode_memory)] = 1;
    return shares;
  }
  for (std::size_t i = 0; i < limit_count; ++i) shares[i] = coming * (*parts)[i];
  shares[at(Limit::decode_seats)] += seatless;
  shares[at(Limit::decode_memory)] += decoding;
  return *scaled(shares);
}

/// The mean of the middle fifth: the median, without its steps from one request to the next.
double middle(std::vector<float>& values) {
  const auto at_share = [&](std::size_t tenths) {
    return values.begin() + static_cast<std::ptrdiff_t>(values.size() * tenths / 10);
  };
  const auto from = at_share(4), to = std::max(at_share(6), from + 1);
  std::nth_element(values.begin(), from, values.end());
  if (to != values.end()) std::nth_element(from, to, values.end());
  return std::accumulate(from, to, 0.0) / static_cast<double>(to - from);
}

double median(const Histogram& part) { return part.percentile(0.5); }

std::string percent(double share) {
  const double shown = 100 * share;
  return shown > 0 && shown < 0.01 ? "less than 0.01%" : number_text(shown, 2) + "%";
}

bool is_of_transfer(Limit limit) {
  return limit == Limit::link || limit == Limit::posting || limit == Limit::window ||
         limit == Limit::faults;
}

}  // namespace

std::string_view limit_name(Limit limit) {
  static constexpr std::string_view names[limit_count] = {
      "prefill", "decode_steps", "decode_seats", "decode_memory", "link",
      "posting", "window",       "faults",       "notification"};
  return names[static_cast<std::size_t>(limit)];
}

void LimitSample::add(const RequestResult& r) {
  if (r.request % every_ != 0) return;
  Request& request = requests_.emplace_back();
  request.number = r.request;
  const auto put = [&](Limit limit, TimeNs time) {
    request.parts_ns[at(limit)] = static_cast<float>(time);
  };
  const PathParts& path = r.handover.transfer;
  request.ttft_ns = static_cast<float>(r.joined_ns - r.arrival_ns);
  request.pages_ns = static_cast<float>(r.prefill_memory_ns);
  put(Limit::prefill, r.prefill_end_ns - r.arrival_ns - r.prefill_memory_ns);
  put(Limit::decode_memory, r.handover.memory_ns);
  put(Limit::decode_steps, r.handover.step_ns);
  put(Limit::decode_seats, r.handover.seat_ns);
  put(Limit::link, path[PathPart::wire]);
  put(Limit::posting, path[PathPart::post]);
  put(Limit::window, path[PathPart::window] + path[PathPart::credit] + path[PathPart::order]);
  put(Limit::notification, path[PathPart::detect]);
  put(Limit::faults, path[PathPart::fault]);
  if (requests_.size() <= requests_max) return;
  every_ *= 2;
  std::erase_if(requests_, [&](const Request& one) { return one.number % every_ != 0; });
}

std::vector<LimitShare> LimitSample::limits(const RunSummary& s) const {
  std::vector<LimitShare> limits;
  if (requests_.empty()) return limits;
  const Shares memory = memory_for(s);
  Shares pages{};
  if (const auto held = scaled(held_for(s))) {
    pages = *held;
    const double of_memory = std::exchange(pages[at(Limit::decode_memory)], 0);
    for (std::size_t i = 0; i < limit_count; ++i) pages[i] += of_memory * memory[i];
  } else {
    pages[at(Limit::prefill)] = 1;
  }
  constexpr double tenth = 0.1;
  std::vector<float> times;
  const auto median_without = [&](std::size_t limit) {
    times.clear();
    for (const Request& r : requests_) {
      const double waited = (limit == at(Limit::decode_memory) ? 0 : r.parts_ns[limit]) +
                            memory[limit] * r.parts_ns[at(Limit::decode_memory)] +
                            pages[limit] * r.pages_ns;
      times.push_back(static_cast<float>(r.ttft_ns - tenth * waited));
    }
    return middle(times);
  };
  for (const Request& r : requests_) times.push_back(r.ttft_ns);
  const double whole = middle(times);
  for (std::size_t i = 0; i < limit_count; ++i) {
    const double share = whole > 0 ? (whole - median_without(i)) / (tenth * whole) : 0;
    // Floats are exact to a ten-millionth.
    if (share > 1e-5) limits.push_back({static_cast<Limit>(i), std::min(1.0, share)});
  }
  std::ranges::stable_sort(
      limits, [](const LimitShare& a, const LimitShare& b) { return a.share > b.share; });
  return limits;
}

std::string limit_label(const LimitShare& limit, const RunSummary& s, const Cluster& cluster) {
  switch (limit.limit) {
    case Limit::prefill:
      return "prefill and its queue";
    case Limit::decode_steps:
      return "decode steps";
    case Limit::decode_seats:
      return "decode seats";
    case Limit::decode_memory:
      return "decode memory";
    case Limit::link:
      break;
    case Limit::posting:
      return "posting";
    case Limit::window:
      return "the scheduler's windows";
    case Limit::faults:
      return "faults";
    case Limit::notification:
      return "notification";
  }
  // The one that carried its rate for the longest time; else the most used one.
  const auto tightest = std::ranges::max_element(s.links, {}, [](const LinkUse& use) {
    return std::pair(use.saturated_share, use.utilisation);
  });
  return tightest == s.links.end() ? "the links" : cluster.links[tightest->link].name;
}

std::string limit_sentence(const RunSummary& s, const Cluster& cluster) {
  if (s.limits.empty()) return "No request was completed";
  constexpr std::size_t named_max = 3;
  std::string out = "Limited by " + limit_label(s.limits[0], s, cluster) + ": " +
                    percent(s.limits[0].share) + " of the median time to first token";
  bool transfer_named = is_of_transfer(s.limits[0].limit);
  for (std::size_t i = 1; i < std::min(named_max, s.limits.size()); ++i) {
    if (s.limits[i].share < limit_share_min) break;
    out += (i == 1 ? "; then " : ", ") + limit_label(s.limits[i], s, cluster) + " (" +
           percent(s.limits[i].share) + ")";
    transfer_named = transfer_named || is_of_transfer(s.limits[i].limit);
  }
  const double exposed = median(s.exposed_ns), whole = median(s.ttft_ns);
  if (whole <= 0) return out;
  const double share = exposed / whole;
  out += "; exposed transfer is " + percent(share) + " of it";
  constexpr double matters = 0.02;  // then a tenth less of it is a five-hundredth of the whole
  if (!transfer_named && share < matters) {
    const bool prefill = s.limits[0].limit == Limit::prefill;
    const bool streams = s.labels.streaming != "request";
    out += " and does not matter here: it would with slower links";
    if (prefill) out += streams ? ", with faster prefill" : " or with faster prefill";
    if (streams) out += " or without streaming";
  }
  if (is_of_transfer(s.limits[0].limit) && s.limits[0].share > share + limit_share_min)
    out += ", and prefill waits for the pages that it holds";
  return out;
}

}  // namespace kvhaul
