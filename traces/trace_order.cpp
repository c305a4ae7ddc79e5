#include "traces/trace_order.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

#include "traces/fields.h"
#include "traces/trace_filters.h"

namespace kvhaul {
namespace {

class Sorted final : public TraceReader {
 public:
  Sorted(TraceReaderPtr reader, std::deque<TraceRequest> requests, bool has_clock)
      : reader_(std::move(reader)), requests_(std::move(requests)) {
    std::ranges::stable_sort(requests_, {}, &TraceRequest::arrival_ns);
    // Time 0 was the first row; it is to be the first request.
    if (!has_clock && !requests_.empty()) start_ns_ = requests_.front().arrival_ns;
  }

  const TraceInfo& info() const override { return reader_->info(); }
  TraceCounts counts() const override { return reader_->counts(); }
  Result<bool> next(TraceRequest& request) override {
    if (given_ == requests_.size()) return false;
    std::swap(request, requests_[given_++]);
    request.arrival_ns -= start_ns_;
    if (request.arrival_ns <= trace_span_max_ns) return true;
    given_ = requests_.size();
    return Error::bad_input("line " + std::to_string(request.line) +
                            ": expected an arrival within 73 years of the first, found one after");
  }

 private:
  TraceReaderPtr reader_;
  std::deque<TraceRequest> requests_;  // growing, it never holds them twice
  std::size_t given_ = 0;
  TimeNs start_ns_ = 0;
};

/// Gives the first request of a reader, which has been read already, and then the rest.
class FromFirst final : public TraceReader {
 public:
  FromFirst(TraceReaderPtr reader, std::optional<TraceRequest> first, TimeNs start_ns)
      : reader_(std::move(reader)), first_(std::move(first)), start_ns_(start_ns) {}

  const TraceInfo& info() const override { return reader_->info(); }
  TraceCounts counts() const override { return reader_->counts(); }
  Result<bool> next(TraceRequest& request) override {
    if (first_) {
      std::swap(request, *first_);
      first_.reset();
    } else {
      Result<bool> more = reader_->next(request);
      if (!more || !*more) return more;
    }
    request.arrival_ns -= start_ns_;
    return true;
  }

 private:
  TraceReaderPtr reader_;
  std::optional<TraceRequest> first_;
  TimeNs start_ns_;
};

/// A file that is being merged.
struct Part {
  std::string path;
  TraceReaderPtr reader;
  std::optional<TraceRequest> first;
};

Result<Part> open_part(const std::string& path, const TraceReading& reading) {
  Result<TraceReaderPtr> reader =
      reading.parts ? open_sorted(path, reading) : open_trace(path, reading);
  if (!reader) return reader.error();
  if (!(*reader)->info().has_arrivals)
    return Error::bad_input(path + ": expected arrival times to merge by, found lengths only");
  TraceRequest first;
  const Result<bool> more = (*reader)->next(first);
  if (!more) return more.error();
  return Part{path, std::move(*reader), *more ? std::optional(std::move(first)) : std::nullopt};
}

constexpr TimeNs clock_gap_max_ns = 366 * 24 * 3600 * s_ns;

/// The time that is to be time 0. Fails where the files cannot have one clock.
Result<TimeNs> common_start(const std::vector<Part>& parts) {
  const Part *earliest = nullptr, *latest = nullptr;
  bool all_ours = true;
  for (const Part& part : parts) {
    all_ours = all_ours && part.reader->info().format == TraceFormat::kvhaul;
    if (!part.first) continue;
    if (!earliest || part.first->arrival_ns < earliest->first->arrival_ns) earliest = &part;
    if (!latest || part.first->arrival_ns > latest->first->arrival_ns) latest = &part;
  }
  if (!earliest) return TimeNs{0};
  if (latest->first->arrival_ns - earliest->first->arrival_ns > clock_gap_max_ns)
    return Error::bad_input(latest->path + " begins more than a year after " + earliest->path +
                            ": if their clocks are not the same, --each-from-start lets every "
                            "file begin at time 0");
  return all_ours ? 0 : earliest->first->arrival_ns;
}

}  // namespace

Result<TraceReaderPtr> open_sorted(const std::string& path, TraceReading reading,
                                   std::uint64_t bytes_max) {
  reading.any_order = true;
  Result<TraceReaderPtr> reader = open_trace(path, reading);
  if (!reader) return reader;
  if (!(*reader)->info().has_arrivals)
    return Error::bad_input(path + ": expected arrival times to sort by, found lengths only");
  std::deque<TraceRequest> requests;
  std::uint64_t bytes = 0;
  TraceRequest request;
  for (;;) {
    const Result<bool> more = (*reader)->next(request);
    if (!more) return more.error();
    if (!*more) break;
    bytes += sizeof request + request.prefix_blocks.size() * sizeof(std::uint64_t);
    if (bytes > bytes_max)
      return expected_not(path, request.line,
                          "a trace that takes at most " + bytes_text(bytes_max) + " to be sorted",
                          "more");
    requests.push_back(request);
  }
  const bool has_clock =
      reading.times_as_written || (*reader)->info().format == TraceFormat::kvhaul;
  return TraceReaderPtr(
      std::make_unique<Sorted>(std::move(*reader), std::move(requests), has_clock));
}

Result<TraceReaderPtr> open_merged(const std::vector<std::string>& paths, TraceReading reading,
                                   const MergeRules& rules) {
  reading.times_as_written = !rules.each_from_start;
  reading.parts = rules.parts;
  reading.parts_share_ids = rules.same_ids;
  std::vector<Part> parts;
  for (const std::string& path : paths) {
    Result<Part> part = open_part(path, reading);
    if (!part) return part.error();
    parts.push_back(std::move(*part));
  }
  Result<TimeNs> start_ns = rules.each_from_start ? TimeNs{0} : common_start(parts);
  if (!start_ns) return start_ns.error();
  std::vector<TraceReaderPtr> readers;
  for (Part& part : parts) {
    if (rules.each_from_start && part.first) start_ns = part.first->arrival_ns;
    readers.push_back(
        std::make_unique<FromFirst>(std::move(part.reader), std::move(part.first), *start_ns));
  }
  return merge_traces(std::move(readers), rules.same_ids);
}

}  // namespace kvhaul
