#include "serving/observations.h"

#include <array>
#include <queue>
#include <utility>

namespace kvhaul {
namespace {

constexpr std::size_t flush_bytes = 1 << 16;
constexpr char chunk_record = 'c';
constexpr char transfer_record = 't';
constexpr char step_record = 's';
constexpr char prefill_record = 'p';
constexpr char state_record = 'i';

// A record: its length in one byte, its kind, and numbers of seven bits a byte, lowest first.

void put(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}
void put_difference(std::string& out, TimeNs value, TimeNs base) {
  const auto distance = static_cast<std::uint64_t>(value) - static_cast<std::uint64_t>(base);
  put(out, (distance << 1) ^ (static_cast<std::int64_t>(distance) < 0 ? ~std::uint64_t{0} : 0));
}

class Numbers {
 public:
  explicit Numbers(std::string_view bytes) : bytes_(bytes) {}

  std::uint64_t number() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (bytes_.empty()) break;
      const auto byte = static_cast<unsigned char>(bytes_.front());
      bytes_.remove_prefix(1);
      value |= std::uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
    whole_ = false;
    return 0;
  }
  TimeNs difference(TimeNs base) {
    const std::uint64_t coded = number();
    const std::uint64_t distance = (coded >> 1) ^ ((coded & 1) != 0 ? ~std::uint64_t{0} : 0);
    return static_cast<TimeNs>(static_cast<std::uint64_t>(base) + distance);
  }
  bool whole() const { return whole_ && bytes_.empty(); }

 private:
  std::string_view bytes_;
  bool whole_ = true;
};

/// Begins a record; end_record() writes its length.
std::size_t begin_record(std::string& out, char kind) {
  out += '\0';
  out += kind;
  return out.size();
}
void end_record(std::string& out, std::size_t begin) {
  out[begin - 2] = static_cast<char>(out.size() - begin + 1);
}

struct Observation {
  TimeNs at_ns = 0;
  char kind = chunk_record;
  Completion chunk;
  TransferEnd transfer;
  DecodeStep step;
  PrefillStep prefill;
  InstanceState state;
};

bool read_chunk(Numbers& in, Observation& out, std::size_t channels) {
  Completion& chunk = out.chunk;
  chunk = {};
  chunk.channel = static_cast<ChannelId>(in.number());
  const std::uint64_t outcome = in.number();
  chunk.outcome = static_cast<Outcome>(outcome);
  chunk.bytes = in.number();
  chunk.done_ns = in.difference(0);
  chunk.started_ns = in.difference(chunk.done_ns);
  chunk.posted_ns = in.difference(chunk.started_ns);
  out.at_ns = chunk.done_ns;
  return in.whole() && chunk.channel < channels &&
         outcome <= static_cast<std::uint64_t>(Outcome::invalid) && chunk.done_ns >= 0 &&
         chunk.started_ns >= 0 && chunk.started_ns <= chunk.done_ns;
}

bool read_transfer(Numbers& in, Observation& out) {
  TransferEnd& end = out.transfer;
  end = {};
  const std::uint64_t outcome = in.number(), gather = in.number();
  end.outcome = static_cast<TransferOutcome>(outcome);
  end.gather = static_cast<Gather>(gather);
  end.fallback_tier = static_cast<std::uint8_t>(in.number());
  end.chunks = static_cast<std::uint32_t>(in.number());
  end.pieces = static_cast<std::uint32_t>(in.number());
  end.resent_chunks = static_cast<std::uint32_t>(in.number());
  end.bytes = in.number();
  end.resent_bytes = in.number();
  end.reported_ns = in.difference(0);
  end.submitted_ns = in.difference(end.reported_ns);
  end.posted_ns = in.difference(end.submitted_ns);
  end.started_ns = in.difference(end.posted_ns);
  end.done_ns = in.difference(end.started_ns);
  for (TimeNs& part : end.path.ns) part = in.difference(0);
  out.at_ns = end.reported_ns;
  return in.whole() && outcome < transfer_outcome_count && gather < gather_count;
}

bool read_step(Numbers& in, Observation& out) {
  DecodeStep& step = out.step;
  step.instance = static_cast<std::uint32_t>(in.number());
  step.sequences = static_cast<std::uint32_t>(in.number());
  step.ended_ns = in.difference(0);
  step.began_ns = in.difference(step.ended_ns);
  out.at_ns = step.ended_ns;
  return in.whole() && step.began_ns >= 0 && step.began_ns <= step.ended_ns;
}

bool read_prefill(Numbers& in, Observation& out) {
  PrefillStep& step = out.prefill;
  step.instance = static_cast<std::uint32_t>(in.number());
  step.tokens = static_cast<std::uint32_t>(in.number());
  step.ended_ns = in.difference(0);
  step.began_ns = in.difference(step.ended_ns);
  out.at_ns = step.ended_ns;
  return in.whole() && step.began_ns >= 0 && step.began_ns <= step.ended_ns;
}

bool read_state(Numbers& in, Observation& out) {
  InstanceState& state = out.state;
  const std::uint64_t role = in.number();
  state.role = static_cast<InstanceRole>(role);
  state.instance = static_cast<std::uint32_t>(in.number());
  state.pages = static_cast<std::uint32_t>(in.number());
  state.waiting = static_cast<std::uint32_t>(in.number());
  state.at_ns = in.difference(0);
  out.at_ns = state.at_ns;
  return in.whole() && role <= static_cast<std::uint64_t>(InstanceRole::decode) && state.at_ns >= 0;
}

/// The records of one process, read as they are needed.
class Stream {
 public:
  Stream(const ObservationSource& source, std::size_t channels)
      : source_(source), channels_(channels) {}

  const Observation& head() const { return head_; }
  bool failed() const { return failed_; }

  /// False at the end.
  bool next() {
    if (failed_ || !fill(1)) return false;
    const auto length = static_cast<std::size_t>(static_cast<unsigned char>(held_[at_]));
    if (length == 0 || !fill(1 + length)) return fail();
    const std::string_view record = std::string_view(held_).substr(at_ + 1, length);
    at_ += 1 + length;
    Numbers in(record.substr(1));
    head_.kind = record[0];
    switch (head_.kind) {
      case chunk_record:
        return read_chunk(in, head_, channels_) || fail();
      case transfer_record:
        return read_transfer(in, head_) || fail();
      case step_record:
        return read_step(in, head_) || fail();
      case prefill_record:
        return read_prefill(in, head_) || fail();
      case state_record:
        return read_state(in, head_) || fail();
      default:
        return fail();
    }
  }

 private:
  bool fail() {
    failed_ = true;
    return false;
  }
  /// So many bytes from here on; false when they do not come.
  bool fill(std::size_t bytes) {
    while (held_.size() - at_ < bytes) {
      if (ended_) return false;
      auto more = source_();
      if (!more) return fail();
      ended_ = more->empty();
      held_.erase(0, at_);
      at_ = 0;
      held_ += *more;
    }
    return true;
  }

  const ObservationSource& source_;
  std::size_t channels_;
  std::string held_;
  std::size_t at_ = 0;
  bool ended_ = false, failed_ = false;
  Observation head_;
};

}  // namespace

void ObservationWriter::request_done(const RequestResult& result,
                                     const std::vector<TransferRow>& rows) {
  if (front_ != nullptr) front_->request_done(result, rows);
}

void ObservationWriter::progress(TimeNs now, std::uint64_t requests_done) {
  if (front_ != nullptr) front_->progress(now, requests_done);
}

void ObservationWriter::transfer_done(const TransferEnd& end) {
  const std::size_t begin = begin_record(buffer_, transfer_record);
  put(buffer_, static_cast<std::uint64_t>(end.outcome));
  put(buffer_, static_cast<std::uint64_t>(end.gather));
  put(buffer_, end.fallback_tier);
  put(buffer_, end.chunks);
  put(buffer_, end.pieces);
  put(buffer_, end.resent_chunks);
  put(buffer_, end.bytes);
  put(buffer_, end.resent_bytes);
  put_difference(buffer_, end.reported_ns, 0);
  put_difference(buffer_, end.submitted_ns, end.reported_ns);
  put_difference(buffer_, end.posted_ns, end.submitted_ns);
  put_difference(buffer_, end.started_ns, end.posted_ns);
  put_difference(buffer_, end.done_ns, end.started_ns);
  for (const TimeNs part : end.path.ns) put_difference(buffer_, part, 0);
  end_record(buffer_, begin);
  if (buffer_.size() >= flush_bytes) flush();
}

void ObservationWriter::chunks_ended(std::span<const Completion> completions) {
  for (const Completion& chunk : completions) {
    const std::size_t begin = begin_record(buffer_, chunk_record);
    put(buffer_, chunk.channel);
    put(buffer_, static_cast<std::uint64_t>(chunk.outcome));
    put(buffer_, chunk.bytes);
    put_difference(buffer_, chunk.done_ns, 0);
    put_difference(buffer_, chunk.started_ns, chunk.done_ns);
    put_difference(buffer_, chunk.posted_ns, chunk.started_ns);
    end_record(buffer_, begin);
  }
  if (buffer_.size() >= flush_bytes) flush();
}

void ObservationWriter::decode_step(const DecodeStep& step) {
  const std::size_t begin = begin_record(buffer_, step_record);
  put(buffer_, step.instance);
  put(buffer_, step.sequences);
  put_difference(buffer_, step.ended_ns, 0);
  put_difference(buffer_, step.began_ns, step.ended_ns);
  end_record(buffer_, begin);
  if (buffer_.size() >= flush_bytes) flush();
}

void ObservationWriter::prefill_step(const PrefillStep& step) {
  const std::size_t begin = begin_record(buffer_, prefill_record);
  put(buffer_, step.instance);
  put(buffer_, step.tokens);
  put_difference(buffer_, step.ended_ns, 0);
  put_difference(buffer_, step.began_ns, step.ended_ns);
  end_record(buffer_, begin);
  if (buffer_.size() >= flush_bytes) flush();
}

void ObservationWriter::instance_changed(const InstanceState& state) {
  const std::size_t begin = begin_record(buffer_, state_record);
  put(buffer_, static_cast<std::uint64_t>(state.role));
  put(buffer_, state.instance);
  put(buffer_, state.pages);
  put(buffer_, state.waiting);
  put_difference(buffer_, state.at_ns, 0);
  end_record(buffer_, begin);
  if (buffer_.size() >= flush_bytes) flush();
}

void ObservationWriter::flush() {
  spool_.write(buffer_);
  buffer_.clear();
}

namespace {

void tell(const Observation& observation, ReplayObserver& observer) {
  switch (observation.kind) {
    case chunk_record:
      return observer.chunks_ended({&observation.chunk, 1});
    case transfer_record:
      return observer.transfer_done(observation.transfer);
    case prefill_record:
      return observer.prefill_step(observation.prefill);
    case state_record:
      return observer.instance_changed(observation.state);
    default:
      return observer.decode_step(observation.step);
  }
}

}  // namespace

std::vector<std::size_t> merge_observations(const std::vector<ObservationSource>& sources,
                                            std::size_t channels, ReplayObserver& observer) {
  std::vector<Stream> streams;
  streams.reserve(sources.size());
  using Head = std::pair<TimeNs, std::size_t>;
  std::priority_queue<Head, std::vector<Head>, std::greater<>> heads;
  for (const ObservationSource& source : sources) {
    Stream& stream = streams.emplace_back(source, channels);
    if (stream.next()) heads.push({stream.head().at_ns, streams.size() - 1});
  }
  while (!heads.empty()) {
    const std::size_t number = heads.top().second;
    heads.pop();
    Stream& stream = streams[number];
    tell(stream.head(), observer);
    if (stream.next()) heads.push({stream.head().at_ns, number});
  }
  std::vector<std::size_t> failed;
  for (std::size_t number = 0; number < streams.size(); ++number)
    if (streams[number].failed()) failed.push_back(number);
  return failed;
}

}  // namespace kvhaul
