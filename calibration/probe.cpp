#include "calibration/probe.h"

#include <algorithm>

#include "core/random.h"

namespace kvhaul::calibration {
namespace {

constexpr int lone_chunks = 9;
constexpr TimeNs patience_ns = 10 * s_ns;

/// Pieces lie apart, so that none is contiguous with another.
Bytes span_of(const Shape& shape) { return shape.bytes() * (shape.pieces > 1 ? 2 : 1); }

/// As many chunks as a scheduler lets be in flight, and no more: a backend may do better with more
/// of them, or with more in reserve, but it will not see them.
std::uint32_t wanted_in_flight(const Lane& lane, const Shape& shape) {
  const double window_bytes = lane.numbers.bytes_per_s * 1e-9 * static_cast<double>(lane.window_ns);
  const Bytes window = static_cast<Bytes>(window_bytes) / shape.bytes();
  return static_cast<std::uint32_t>(std::min<Bytes>(
      lane.numbers.max_in_flight, std::max<Bytes>(window, lane.numbers.stages + 1)));
}

Bytes slots_in_memory(const Lane& lane, const Shape& shape) {
  return lane.segment_bytes / span_of(shape);
}

/// Places for a stream of so many chunks, all over the memory: where few of them were used again
/// and again, caches would hold them.
std::uint32_t slots_of(const Lane& lane, const Shape& shape, std::uint32_t chunks) {
  return static_cast<std::uint32_t>(std::min<Bytes>(slots_in_memory(lane, shape), chunks));
}

/// A quarter of a GiB, or what the channel moves in 20 ms where that is more: how its first and
/// last chunks overlap others must not show. Half a second's worth where the channel is slow.
std::uint32_t chunks_of(const Lane& lane, const Shape& shape) {
  const auto in = [&](double time_s) {
    return static_cast<Bytes>(lane.numbers.bytes_per_s * time_s);
  };
  const Bytes bytes = std::max(in(20e-3), std::min(256 * MiB, in(0.5)));
  const Bytes least = 32 * shape.bytes() <= in(0.5) ? 32 : 8;
  return static_cast<std::uint32_t>(
      std::clamp<Bytes>(bytes / shape.bytes(), least, shape.pieces > 1 ? 128 : 1024));
}

/// Pieces in an order that was drawn, at both ends another: as pages of a KV cache lie.
std::vector<Descriptor> scatter(const Shape& shape, Bytes at) {
  std::vector<Bytes> from(shape.pieces), to(shape.pieces);
  Random random(1);
  for (std::vector<Bytes>* places : {&from, &to}) {
    for (std::uint32_t i = 0; i < shape.pieces; ++i) (*places)[i] = at + 2 * i * shape.piece_bytes;
    for (std::uint32_t i = shape.pieces; i > 1; --i)
      std::swap((*places)[i - 1], (*places)[random.below(i)]);
  }
  std::vector<Descriptor> pieces;
  for (std::uint32_t i = 0; i < shape.pieces; ++i)
    pieces.push_back({from[i], to[i], shape.piece_bytes});
  return pieces;
}

/// What else a process does between its transfers: its caches then hold that, and no longer what
/// posting needs. 4 MiB are more than a core's own caches.
void other_work() {
  static std::vector<std::uint64_t> words(4 * MiB / sizeof(std::uint64_t));
  for (std::size_t i = 0; i < words.size(); i += 8) words[i] += i;
}

double median(std::vector<double> values) { return spread_of(std::move(values)).median; }

}  // namespace

/// Chunks of one shape on one lane, as many in flight as a scheduler would let.
struct Probe::Run {
  const Lane& lane;
  Shape shape;
  std::uint32_t count = 0;
  std::uint32_t in_flight = 0;                  // at most
  std::vector<std::vector<Descriptor>> pieces;  // by slot; targets of slots do not overlap
  std::vector<bool> busy;                       // by slot
  ChunkId first_chunk = 0;
  std::uint32_t posted = 0, ended = 0;
  std::vector<TimeNs> done_ns;
  std::vector<double> post_ns;       // wall time of each post
  std::vector<double> before_start;  // posted to started

  Run(const Lane& on, const Shape& of, std::uint32_t chunks)
      : lane(on),
        shape(of),
        count(chunks),
        in_flight(wanted_in_flight(on, of)),
        busy(slots_of(on, of, chunks), false) {
    constexpr Bytes page = 4 * KiB;
    const Bytes apart = lane.segment_bytes / busy.size();
    // First the even places, then the odd ones: chunks that go on where the one before ends could
    // be joined into one copy, as the pages of a KV cache seldom can.
    const std::size_t even = (busy.size() + 1) / 2;
    for (std::size_t slot = 0; slot < busy.size(); ++slot) {
      const std::size_t place = slot < even ? 2 * slot : 2 * (slot - even) + 1;
      const Bytes at = place * std::max(span_of(shape), apart / page * page);
      if (shape.pieces > 1)
        pieces.push_back(scatter(shape, at));
      else
        pieces.push_back({{at, at, shape.piece_bytes}});
    }
  }
  bool can_post() const {
    return posted < count && posted - ended < in_flight && !busy[posted % busy.size()];
  }
  bool owns(const Completion& c) const {
    return c.channel == lane.channel && c.chunk >= first_chunk && c.chunk < first_chunk + count;
  }
};

Probe::Probe(Backend& backend) : backend_(backend) {
  const TimeNs start = backend_.now();
  for (int i = 0; i < 1'000'000 && !real_time_; ++i) real_time_ = backend_.now() != start;
}

bool Probe::fits(const Lane& lane, const Shape& shape) {
  return shape.bytes() <= lane.numbers.max_chunk_bytes && shape.pieces <= lane.numbers.max_pieces &&
         slots_in_memory(lane, shape) >=
             std::min(lane.numbers.max_in_flight, lane.numbers.stages + 1);
}

void Probe::post(Run& run) {
  const std::uint32_t slot = run.posted % static_cast<std::uint32_t>(run.busy.size());
  ChunkPost chunk;
  chunk.chunk = run.first_chunk + run.posted++;
  chunk.source_segment = run.lane.source;
  chunk.target_segment = run.lane.target;
  chunk.bytes = run.shape.bytes();
  chunk.piece_count = run.shape.pieces;
  chunk.gather = run.shape.gather;
  chunk.piece = run.pieces[slot].front();
  chunk.pieces = run.pieces[slot].data();
  run.busy[slot] = true;
  const TimeNs before = backend_.now();
  backend_.post(run.lane.channel, {&chunk, 1});
  run.post_ns.push_back(static_cast<double>(backend_.now() - before));
}

/// None when nothing has come for so long.
std::vector<Completion> Probe::next_completions() {
  const TimeNs end = backend_.now() + patience_ns;
  BackendEvents events;
  while (true) {
    backend_.progress(events);
    if (!events.completions.empty()) return std::move(events.completions);
    if (backend_.now() >= end) return {};
    backend_.wait(end);
  }
}

/// What is in flight must have ended before its pieces go.
void Probe::abandon(std::span<Run> runs) {
  std::size_t left = 0;
  for (const Run& run : runs) {
    left += run.posted - run.ended;
    for (ChunkId chunk = run.first_chunk; chunk < run.first_chunk + run.posted; ++chunk)
      backend_.cancel(run.lane.channel, chunk);
  }
  while (left > 0) {
    const std::size_t ended = next_completions().size();
    if (ended == 0) return;
    left -= std::min(left, ended);
  }
}

Result<void> Probe::take(Run& run, const Completion& completion) {
  if (completion.outcome != Outcome::ok)
    return Error::failed(run.lane.name + ": a chunk of " + std::to_string(run.shape.bytes()) +
                         " bytes in " + std::to_string(run.shape.pieces) + " pieces ended as " +
                         std::string(outcome_name(completion.outcome)));
  run.busy[(completion.chunk - run.first_chunk) % run.busy.size()] = false;
  run.done_ns.push_back(completion.done_ns);
  run.before_start.push_back(static_cast<double>(completion.started_ns - completion.posted_ns));
  return {};
}

Result<void> Probe::stream(std::span<Run> runs) {
  for (Run& run : runs) {
    run.first_chunk = next_chunk_;
    next_chunk_ += run.count;
  }
  const auto finished = [](const Run& run) { return run.ended == run.count; };
  Result<void> result;
  while (result && !std::all_of(runs.begin(), runs.end(), finished)) {
    // In turn, so that no lane waits until the other one's window is full.
    for (bool again = true; again;) {
      again = false;
      for (Run& run : runs)
        if (run.can_post()) post(run), again = true;
    }
    const std::vector<Completion> completions = next_completions();
    if (completions.empty())
      result = Error::failed(runs[0].lane.name + ": no chunk landed for ten seconds");
    for (const Completion& completion : completions)
      for (Run& run : runs) {
        if (!run.owns(completion)) continue;
        ++run.ended;
        if (auto ok = take(run, completion); !ok && result) result = ok;
      }
  }
  if (!result) abandon(runs);
  for (Run& run : runs) std::sort(run.done_ns.begin(), run.done_ns.end());
  return result;
}

Result<Times> Probe::measure(const Lane& lane, const Shape& shape, bool alone) {
  Times times{shape.piece_bytes, shape.pieces, 0, 0, 0};
  Run run(lane, shape, chunks_of(lane, shape));
  if (auto ok = stream({&run, 1}); !ok) return ok.error();
  // The first quarter fills the stages of the route.
  const std::size_t first = run.count / 4;
  times.stream_ns = static_cast<double>(run.done_ns.back() - run.done_ns[first]) /
                    static_cast<double>(run.count - 1 - first);
  times.post_ns = median(run.post_ns);
  if (!alone && real_time_) return times;
  std::vector<double> whole, post;
  for (int i = 0; i < lone_chunks; ++i) {
    Run one(lane, shape, 1);
    const TimeNs posted = backend_.now();
    if (auto ok = stream({&one, 1}); !ok) return ok.error();
    whole.push_back(static_cast<double>(one.done_ns[0] - posted));
    post.push_back(one.before_start[0]);
  }
  // Where posting takes no time of this thread, the backend says when the chunk was through.
  if (!real_time_) times.post_ns = median(post);
  if (alone) times.alone_ns = median(whole);
  return times;
}

Result<std::vector<double>> Probe::after_idle(const Lane& lane, const Shape& shape,
                                              std::span<const TimeNs> idle_ns) {
  std::vector<double> times;
  Run first(lane, shape, 1);  // ends the rest that there was before
  if (auto ok = stream({&first, 1}); !ok) return ok.error();
  for (const TimeNs idle : idle_ns) {
    Run one(lane, shape, 1);
    if (idle > 0) other_work();
    for (const TimeNs end = backend_.now() + idle; backend_.now() < end;) backend_.wait(end);
    const TimeNs posted = backend_.now();
    if (auto ok = stream({&one, 1}); !ok) return ok.error();
    times.push_back(static_cast<double>(one.done_ns[0] - posted));
  }
  return times;
}

Result<std::vector<double>> Probe::together(std::span<const Lane> lanes, const Shape& shape) {
  std::vector<Run> runs;
  for (const Lane& lane : lanes) runs.emplace_back(lane, shape, chunks_of(lane, shape));
  if (auto ok = stream(runs); !ok) return ok.error();
  TimeNs from = 0, until = never_ns;  // all are busy
  for (const Run& run : runs) {
    from = std::max(from, run.done_ns[run.count / 4]);
    until = std::min(until, run.done_ns.back());
  }
  std::vector<double> rates;
  for (const Run& run : runs) {
    const auto first = std::lower_bound(run.done_ns.begin(), run.done_ns.end(), from);
    const auto last = std::upper_bound(run.done_ns.begin(), run.done_ns.end(), until) - 1;
    const double chunks = static_cast<double>(last - first);
    rates.push_back(chunks < 1 || *last == *first ? 0
                                                  : chunks * static_cast<double>(shape.bytes()) *
                                                        1e9 / static_cast<double>(*last - *first));
  }
  return rates;
}

}  // namespace kvhaul::calibration
