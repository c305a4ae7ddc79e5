#include "traces/trace_filters.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "core/random.h"
#include "core/unit_text.h"

namespace kvhaul {
namespace {

class Filter : public TraceReader {
 public:
  explicit Filter(TraceReaderPtr inner) : inner_(std::move(inner)) {}
  const TraceInfo& info() const override { return inner_->info(); }
  TraceCounts counts() const override { return inner_->counts(); }

  Result<bool> next(TraceRequest& request) final {
    if (ended_) return false;
    Result<bool> more = give(request);
    ended_ = !more || !*more;
    return more;
  }

 protected:
  /// As next(), but never called again after an error or the end.
  virtual Result<bool> give(TraceRequest& request) = 0;
  TraceReader& inner() { return *inner_; }

 private:
  TraceReaderPtr inner_;
  bool ended_ = false;
};

class Limit final : public Filter {
 public:
  Limit(TraceReaderPtr inner, std::uint64_t requests) : Filter(std::move(inner)), left_(requests) {}

  Result<bool> give(TraceRequest& request) override {
    if (left_ == 0) return false;
    --left_;
    return inner().next(request);
  }

 private:
  std::uint64_t left_;
};

class SpeedUp final : public Filter {
 public:
  SpeedUp(TraceReaderPtr inner, double factor) : Filter(std::move(inner)), factor_(factor) {}

  Result<bool> give(TraceRequest& request) override {
    Result<bool> more = inner().next(request);
    if (!more || !*more) return more;
    const double arrival_ns = static_cast<double>(request.arrival_ns) / factor_;
    if (arrival_ns > static_cast<double>(trace_span_max_ns))
      return Error::bad_input("a speed-up of " + number_text(factor_, 6) + " puts line " +
                              std::to_string(request.line) +
                              " of the trace more than 73 years after its start; expected one of " +
                              "at least " +
                              number_text(static_cast<double>(request.arrival_ns) * 1.001 /
                                              static_cast<double>(trace_span_max_ns),
                                          4) +
                              ", or fewer requests");
    request.arrival_ns = std::llround(arrival_ns);
    return true;
  }

 private:
  double factor_;
};

class Cut final : public Filter {
 public:
  Cut(TraceReaderPtr inner, TimeNs from_ns, TimeNs to_ns)
      : Filter(std::move(inner)), from_ns_(from_ns), to_ns_(to_ns) {}

  TraceCounts counts() const override {
    TraceCounts counts = Filter::counts();
    counts.requests -= left_out_;
    counts.left_out += left_out_;
    return counts;
  }

  Result<bool> give(TraceRequest& request) override {
    for (;;) {
      Result<bool> more = inner().next(request);
      if (!more || !*more) return more;
      if (request.arrival_ns >= from_ns_ && request.arrival_ns < to_ns_) break;
      ++left_out_;
      if (request.arrival_ns >= to_ns_) return false;
    }
    request.arrival_ns -= from_ns_;
    return true;
  }

 private:
  TimeNs from_ns_, to_ns_;
  std::uint64_t left_out_ = 0;
};

class SpreadBatches final : public Filter {
 public:
  using Filter::Filter;

  TraceCounts counts() const override {
    TraceCounts counts = Filter::counts();
    counts.spread += spread_;
    return counts;
  }

  Result<bool> give(TraceRequest& request) override {
    if (!info().has_arrivals) return inner().next(request);
    if (given_ == batch_size_) {
      Result<bool> more = read_batch();
      if (!more || !*more) return more;
    }
    std::swap(request, batch_[given_]);
    // gap * given / size, in parts that cannot overflow.
    const auto size = static_cast<TimeNs>(batch_size_), given = static_cast<TimeNs>(given_);
    request.arrival_ns += gap_ns_ / size * given + gap_ns_ % size * given / size;
    if (given_ > 0 && gap_ns_ > 0) ++spread_;
    ++given_;
    return true;
  }

 private:
  static constexpr std::size_t batch_max = 65'536;

  /// Reads up to the first request of another time, which waits in ahead_.
  Result<bool> read_batch() {
    given_ = batch_size_ = 0;
    if (!has_ahead_) {
      Result<bool> more = read_ahead();
      if (!more || !has_ahead_) return more;
    }
    const TimeNs time_ns = ahead_.arrival_ns;
    std::size_t size = 0;
    while (has_ahead_ && ahead_.arrival_ns == time_ns) {
      if (size == batch_max)
        return Error::bad_input("more than 65536 requests arrive at one time: cannot spread them");
      if (size == batch_.size()) batch_.emplace_back();
      std::swap(batch_[size++], ahead_);
      const Result<bool> more = read_ahead();
      if (!more) return more;
    }
    if (has_ahead_) gap_ns_ = ahead_.arrival_ns - time_ns;
    batch_size_ = size;
    return true;
  }
  Result<bool> read_ahead() {
    Result<bool> more = inner().next(ahead_);
    has_ahead_ = more && *more;
    return more;
  }

  std::vector<TraceRequest> batch_;  // the first batch_size_, of which given_ are given out
  std::size_t batch_size_ = 0, given_ = 0;
  TimeNs gap_ns_ = 0;  // after the batch
  TraceRequest ahead_;
  bool has_ahead_ = false;
  std::uint64_t spread_ = 0;
};

class ClipContext final : public Filter {
 public:
  ClipContext(TraceReaderPtr inner, std::uint32_t context_tokens)
      : Filter(std::move(inner)), context_tokens_(context_tokens) {}

  TraceCounts counts() const override {
    TraceCounts counts = Filter::counts();
    counts.clipped += clipped_;
    return counts;
  }

  Result<bool> give(TraceRequest& request) override {
    Result<bool> more = inner().next(request);
    if (!more || !*more || request.input_tokens + request.output_tokens <= context_tokens_)
      return more;
    ++clipped_;
    const std::uint32_t input_max = context_tokens_ - (request.output_tokens > 0 ? 1 : 0);
    request.input_tokens = std::min(request.input_tokens, input_max);
    request.output_tokens = std::min(request.output_tokens, context_tokens_ - request.input_tokens);
    if (const std::uint32_t block = info().block_tokens; block > 0) {
      const std::size_t blocks = request.input_tokens / block + (request.input_tokens % block != 0);
      if (request.prefix_blocks.size() > blocks) request.prefix_blocks.resize(blocks);
    }
    return true;
  }

 private:
  std::uint32_t context_tokens_;
  std::uint64_t clipped_ = 0;
};

class Merge final : public TraceReader {
 public:
  Merge(std::vector<TraceReaderPtr> readers, TraceInfo info, bool same_ids)
      : info_(std::move(info)), same_ids_(same_ids) {
    for (TraceReaderPtr& reader : readers) sources_.push_back({.reader = std::move(reader)});
  }

  const TraceInfo& info() const override { return info_; }
  TraceCounts counts() const override {
    TraceCounts sum;
    for (const Source& source : sources_) {
      const TraceCounts one = source.reader->counts();
      sum.rows += one.rows;
      sum.requests += one.requests;
      sum.zero_input += one.zero_input;
      sum.left_out += one.left_out;
      sum.zero_output += one.zero_output;
      sum.out_of_order += one.out_of_order;
      sum.odd_prefix += one.odd_prefix;
      sum.later_turns += one.later_turns;
      sum.further_parts += one.further_parts;
      sum.spread += one.spread;
      sum.clipped += one.clipped;
    }
    return sum;
  }

  Result<bool> next(TraceRequest& request) override {
    if (ended_) return false;
    const Source* earliest = nullptr;
    std::size_t from = 0;
    for (std::size_t i = 0; i < sources_.size(); ++i) {
      Source& source = sources_[i];
      if (!source.asked) {
        const Result<bool> more = source.reader->next(source.ahead);
        ended_ = !more;
        if (!more) return more;
        source.asked = true;
        source.has_ahead = *more;
      }
      if (!source.has_ahead) continue;
      if (earliest && earliest->ahead.arrival_ns <= source.ahead.arrival_ns) continue;
      earliest = &source;
      from = i;
    }
    ended_ = earliest == nullptr;
    if (ended_) return false;
    std::swap(request, sources_[from].ahead);
    sources_[from].asked = false;
    if (same_ids_) return true;
    for (std::uint64_t& id : request.prefix_blocks) id = mix64(id ^ mix64(from));
    if (request.session != 0) request.session = mix64(request.session ^ mix64(from)) | 1;
    return true;
  }

 private:
  struct Source {
    TraceReaderPtr reader;
    TraceRequest ahead = {};
    bool asked = false;  // `ahead` or the end is known
    bool has_ahead = false;
  };

  TraceInfo info_;
  bool same_ids_;
  std::vector<Source> sources_;
  bool ended_ = false;
};

}  // namespace

TraceReaderPtr limit_requests(TraceReaderPtr reader, std::uint64_t requests) {
  return std::make_unique<Limit>(std::move(reader), requests);
}

Result<TraceReaderPtr> speed_up(TraceReaderPtr reader, double factor) {
  if (!(factor > 0) || !std::isfinite(factor))
    return Error::bad_input("expected a speed-up above 0, found " + std::to_string(factor));
  return TraceReaderPtr(std::make_unique<SpeedUp>(std::move(reader), factor));
}

Result<TraceReaderPtr> cut_time(TraceReaderPtr reader, TimeNs from_ns, TimeNs to_ns) {
  if (from_ns < 0 || to_ns <= from_ns)
    return Error::bad_input("expected a cut that starts at 0 or later and ends after its start");
  return TraceReaderPtr(std::make_unique<Cut>(std::move(reader), from_ns, to_ns));
}

TraceReaderPtr spread_batches(TraceReaderPtr reader) {
  return std::make_unique<SpreadBatches>(std::move(reader));
}

Result<TraceReaderPtr> clip_context(TraceReaderPtr reader, std::uint32_t context_tokens) {
  if (context_tokens < 2)
    return Error::bad_input("expected a context of at least 2 tokens, found " +
                            std::to_string(context_tokens));
  return TraceReaderPtr(std::make_unique<ClipContext>(std::move(reader), context_tokens));
}

Result<TraceReaderPtr> merge_traces(std::vector<TraceReaderPtr> readers, bool same_ids) {
  TraceInfo info;
  for (const TraceReaderPtr& reader : readers) {
    const std::string& assumed = reader->info().assumed;
    if (info.assumed.find(assumed) == std::string::npos)
      info.assumed += (info.assumed.empty() ? "" : "; ") + assumed;
    info.has_sessions = info.has_sessions || reader->info().has_sessions;
    const std::uint32_t block = reader->info().block_tokens;
    if (!reader->info().has_arrivals)
      return Error::bad_input("cannot merge a trace without arrival times");
    if (block > 0 && info.block_tokens > 0 && block != info.block_tokens)
      return Error::bad_input("cannot merge traces with prefix blocks of " +
                              std::to_string(info.block_tokens) + " and " + std::to_string(block) +
                              " tokens");
    info.block_tokens = std::max(info.block_tokens, block);
  }
  return TraceReaderPtr(std::make_unique<Merge>(std::move(readers), std::move(info), same_ids));
}

}  // namespace kvhaul
