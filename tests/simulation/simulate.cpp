// Runs one world: the runtime and the schedulers of the product, on the emulated backend in virtual
// time with real bytes, under the faults of the world, with a watcher in between.
#include <algorithm>
#include <map>
#include <set>

#include "backends/emulated/emulated.h"
#include "backends/faults/faulty_backend.h"
#include "core/checksum.h"
#include "core/credit.h"
#include "core/runtime.h"
#include "tests/simulation/watcher.h"
#include "tests/simulation/weather_backend.h"
#include "tests/simulation/world.h"

namespace kvhaul::simulation {
namespace {

/// Posts a re-sent chunk twice, as a scheduler would that lost track of its retries.
class PostsTwice final : public Backend {
 public:
  explicit PostsTwice(Backend& inner) : inner_(inner) {}
  std::string description() const override { return inner_.description(); }
  bool moves_bytes() const override { return true; }
  Result<std::vector<ChannelNumbers>> open(const Cluster& c,
                                           std::span<const ChannelRequest> r) override {
    return inner_.open(c, r);
  }
  Result<SegmentId> register_segment(PlaceId p, Bytes b) override {
    return inner_.register_segment(p, b);
  }
  void post(ChannelId channel, std::span<const ChunkPost> chunks) override {
    for (const ChunkPost& chunk : chunks) {
      inner_.post(channel, {&chunk, 1});
      if (chunk.piece_count == 0) continue;
      const auto key = std::pair(chunk.target_segment, chunk.all().front().target_offset);
      if (seen_.insert(key).second) continue;
      ChunkPost again = chunk;
      again.chunk = next_++;
      inner_.post(channel, {&again, 1});
    }
  }
  void cancel(ChannelId channel, ChunkId chunk) override { inner_.cancel(channel, chunk); }
  void send(const ControlMessage& message) override { inner_.send(message); }
  void progress(BackendEvents& events) override {
    inner_.progress(events);
    std::erase_if(events.completions, [](const Completion& c) { return c.chunk >= first_extra; });
  }
  void wait(TimeNs until) override { inner_.wait(until); }
  TimeNs now() const override { return inner_.now(); }
  void fill(SegmentId s, Bytes o, Bytes l, std::uint64_t seed) override {
    inner_.fill(s, o, l, seed);
  }
  std::uint64_t checksum(SegmentId s, Bytes o, Bytes l) override {
    return inner_.checksum(s, o, l);
  }
  void read(SegmentId s, Bytes o, std::span<std::byte> into) override { inner_.read(s, o, into); }
  void write(SegmentId s, Bytes o, std::span<const std::byte> from) override {
    inner_.write(s, o, from);
  }

 private:
  static constexpr ChunkId first_extra = ChunkId{1} << 62;
  Backend& inner_;
  ChunkId next_ = first_extra;
  std::set<std::pair<SegmentId, Bytes>> seen_;
};

/// Asks for the works of a world at their times and checks what becomes of each.
class Asker final : public RuntimeClient {
 public:
  Asker(const World& world, Watcher& watcher, const WeatherBackend& weather, Verdict& verdict)
      : world_(world), watcher_(watcher), weather_(weather), verdict_(verdict) {
    next_layer_.assign(world.works.size(), Work::no_work);
    for (std::size_t w = 0; w < world.works.size(); ++w) {
      const Work& work = world.works[w];
      if (work.after == Work::no_work)
        agenda_.emplace(work.at_ns, w);
      else
        next_layer_[work.after] = w;
      if (work.cancel_ns != never_ns) cancels_.emplace(work.cancel_ns, w);
    }
    for (const faults::Fault& fault : world.script.faults)
      if (fault.kind == faults::FaultKind::down && !fault.silent) ++words_about_dead_links_;
    handles_.resize(world.works.size());
    attempts_.assign(world.works.size(), 0);
  }

  void attach(Runtime& runtime) { runtime_ = &runtime; }

  TimeNs next_ns() const override {
    TimeNs next = agenda_.empty() ? never_ns : agenda_.begin()->first;
    if (!cancels_.empty()) next = std::min(next, cancels_.begin()->first);
    // All has ended but for messages: look again until they have come.
    if (nothing_asked() && weather_.messages_on_the_way != 0)
      next = std::min(next, watcher_.now() + 20 * us_ns);
    return next;
  }

  void run(TimeNs now) override {
    for (; !agenda_.empty() && agenda_.begin()->first <= now; agenda_.erase(agenda_.begin()))
      ask(now, agenda_.begin()->second);
    for (; !cancels_.empty() && cancels_.begin()->first <= now; cancels_.erase(cancels_.begin())) {
      const std::size_t work = cancels_.begin()->second;
      if (!open_.count(work)) continue;
      watcher_.cancelling(work);
      runtime_->cancel(now, handles_[work]);
    }
  }

  void transfer_ended(TimeNs now, const TransferEnd& end) override {
    const std::size_t work = end.tag;
    if (!open_.erase(work)) {
      watcher_.blame("a transfer ended twice, or one that was never asked for");
      return;
    }
    const TransferView& view = watcher_.view(work);
    watcher_.ended(work);
    if (next_layer_[work] != Work::no_work) {
      agenda_.emplace(now, next_layer_[work]);
      next_layer_[work] = Work::no_work;
    }
    if (end.posted_ns > end.started_ns || end.started_ns > end.done_ns ||
        end.done_ns > end.reported_ns)
      watcher_.blame("the times of an end do not follow each other");
    if (end.outcome == TransferOutcome::delivered && end.posted_ns < end.submitted_ns)
      watcher_.blame("a transfer was posted before it was submitted");
    if (end.reported_ns != now) watcher_.blame("an end was reported late");
    if (end.outcome == TransferOutcome::delivered &&
        (end.path.sum() != end.reported_ns - end.submitted_ns ||
         std::ranges::any_of(end.path.ns, [](TimeNs part) { return part < 0; })))
      watcher_.blame("what a transfer waited for does not add up to its time");
    switch (end.outcome) {
      case TransferOutcome::delivered:
        check_account(end, view);
        delivered(now, work, view);
        break;
      case TransferOutcome::cancelled:
        ++verdict_.cancelled;
        if (!view.ending) watcher_.blame("a transfer was cancelled that nobody cancelled");
        break;
      case TransferOutcome::failed:
        ++verdict_.failed;
        if (!watcher_.out_of_attempts(view))
          watcher_.blame("a transfer failed before a chunk of it had used its attempts");
        may_fail(view);
        break;
      case TransferOutcome::no_route:
        ++verdict_.failed;
        if (!watcher_.may_have_stalled(view))
          watcher_.blame("a transfer had no route for less than the stall timeout");
        may_fail(view);
        break;
    }
  }

  void message(TimeNs, const ControlMessage&) override {}
  bool done() const override { return nothing_asked() && weather_.messages_on_the_way == 0; }

 private:
  bool nothing_asked() const { return agenda_.empty() && open_.empty(); }

  /// Not without faults, and not when all are over but for what leaves its pair a way. That a link
  /// is dead is learnt where something is lost on it: a chunk may be the first to meet one with
  /// every attempt that it has.
  void may_fail(const TransferView& view) {
    if (world_.script.faults.empty())
      watcher_.blame("a transfer failed although nothing was wrong");
    if (view.submitted_ns >= world_.settled_ns() && world_.has_a_way(view.pair) &&
        world_.cut_links(view.pair) < world_.config.max_attempts)
      watcher_.blame("a transfer failed long after the last fault");
  }

  /// What the scheduler tells of a delivery is what went over the channels.
  void check_account(const TransferEnd& end, const TransferView& view) {
    if (end.bytes != view.total) watcher_.blame("an end has another number of bytes");
    // A post that the word about a dead channel meets in the same moment is withdrawn: the
    // scheduler counts it, and it is never made.
    const std::uint32_t withdrawn = end.chunks - view.posts;
    if (end.chunks < view.posts || (withdrawn != 0 && words_about_dead_links_ == 0))
      watcher_.blame("an end counts other chunks than were posted");
    if (end.resent_chunks != view.resent + withdrawn || end.resent_bytes < view.resent_bytes ||
        (withdrawn == 0 && end.resent_bytes != view.resent_bytes))
      watcher_.blame("an end counts other chunks sent again than were posted");
    if ((end.channels_used & view.channels_used) != view.channels_used ||
        (withdrawn == 0 && end.channels_used != view.channels_used))
      watcher_.blame("an end names other channels than were used");
    if (withdrawn == 0 && end.fallback_tier != std::min(view.worst_tier, 255u))
      watcher_.blame("an end names another fallback than was used");
    if (end.posted_ns != view.last_landed.posted_ns ||
        end.started_ns != view.last_landed.started_ns || end.done_ns != view.last_landed.done_ns)
      watcher_.blame("the times of an end are not those of the chunk that landed last");
    if (end.submitted_ns != view.submitted_ns)
      watcher_.blame("an end has another time of submission");
  }

  static std::uint64_t seed_of(std::size_t work, std::size_t piece) {
    return 1000 * work + piece + 1;
  }

  void ask(TimeNs now, std::size_t w) {
    const Work& work = world_.works[w];
    const auto [source, target] = world_.pairs[work.pair];
    const SegmentId from = watcher_.segment_of(source);
    const SegmentId to = watcher_.segment_of(target);
    const auto pair = runtime_->find_pair(source, target);
    TransferRequest request;
    request.source_segment = from;
    request.target_segment = to;
    request.priority = work.priority;
    request.deadline_ns = work.deadline_ns;
    if (work.after != Work::no_work) request.deadline_ns = add_time(now, work.deadline_ns);
    request.tag = w;
    request.descriptors = work.pieces;
    TransferView view;
    view.work = w;
    view.pair = work.pair;
    view.order = next_order_++;
    view.submitted_ns = view.fresh_ns = now;
    view.deadline_ns =
        work.deadline_ns == never_ns ? now + world_.config.default_slack_ns : request.deadline_ns;
    view.priority = work.priority;
    for (const Descriptor& piece : work.pieces) view.total += piece.length;
    view.open = true;
    watcher_.submitted(w, view);
    open_.insert(w);
    handles_[w] = runtime_->submit(now, *pair, request);
  }

  void delivered(TimeNs now, std::size_t w, const TransferView& view) {
    if (view.landed_bytes != view.total)
      watcher_.blame("a transfer was reported delivered with bytes missing");
    const Work& work = world_.works[w];
    const SegmentId from = watcher_.segment_of(world_.pairs[work.pair].first);
    const SegmentId to = watcher_.segment_of(world_.pairs[work.pair].second);
    const bool right =
        std::all_of(work.pieces.begin(), work.pieces.end(), [&](const Descriptor& piece) {
          return watcher_.checksum(from, piece.source_offset, piece.length) ==
                 watcher_.checksum(to, piece.target_offset, piece.length);
        });
    if (right) {
      ++verdict_.delivered;
      if (view.submitted_ns >= world_.settled_ns()) ++verdict_.late_delivered;
      return;
    }
    const bool corrupting =
        std::any_of(world_.script.faults.begin(), world_.script.faults.end(),
                    [](const auto& f) { return f.kind == faults::FaultKind::corrupt; });
    if (!corrupting) watcher_.blame("delivered bytes differ from the source");
    // What a receiver does: ask again.
    if (++attempts_[w] < 100) agenda_.emplace(now, w);
  }

  const World& world_;
  Watcher& watcher_;
  const WeatherBackend& weather_;
  Verdict& verdict_;
  Runtime* runtime_ = nullptr;
  std::multimap<TimeNs, std::size_t> agenda_;
  std::multimap<TimeNs, std::size_t> cancels_;
  std::set<std::size_t> open_;
  std::vector<TransferHandle> handles_;
  std::vector<int> attempts_;
  std::vector<std::size_t> next_layer_;  // by work: asked for when it has ended
  std::uint64_t next_order_ = 0;
  std::uint32_t words_about_dead_links_ = 0;
};

void ignore_lost_completions(SchedulerConfig& config) {
  config.timeout_floor_ns = 1000 * s_ns;
  config.late_floor_ns = config.timeout_cold_ns = 1000 * s_ns;
}

/// With all ended and every message come: whose credit is whose.
void check_credit(const World& world, std::span<const Scheduler> schedulers, bool all_came,
                  Watcher& watcher) {
  for (const Scheduler& scheduler : schedulers)
    for (const CreditLedger& ledger : scheduler.ledgers()) {
      if (ledger.granted() + ledger.free() != ledger.capacity())
        watcher.blame("credit of " + world.cluster.places[ledger.place()].name +
                      " is lost: granted " + std::to_string(ledger.granted()) + ", free " +
                      std::to_string(ledger.free()) + ", capacity " +
                      std::to_string(ledger.capacity()));
      Bytes held = 0;
      for (const Scheduler& sender : schedulers) held += sender.credit_granted(ledger.place());
      // What is lost on the way to a sender is never used, and no more than that may happen.
      if (held > ledger.granted() || (all_came && held != ledger.granted()))
        watcher.blame("senders hold " + std::to_string(held) + " of " +
                      std::to_string(ledger.granted()) + " bytes granted for " +
                      world.cluster.places[ledger.place()].name);
    }
}

void plant(PlantedBug bug, std::vector<SchedulerSetup>& setups) {
  for (SchedulerSetup& setup : setups) {
    if (bug == PlantedBug::ignores_lost_completions) ignore_lost_completions(setup.config);
    if (bug == PlantedBug::starves_low_class) setup.config.ageing_ns = 1000 * s_ns;
  }
}

/// A segment for each place of a pair, as long as its pieces reach. Where bytes are taken from, it
/// has a pattern; all else stays zero.
void give_memory(const World& world, Watcher& watcher) {
  struct Needed {
    Bytes end = 0, first_source = ~Bytes{0}, source_end = 0;
  };
  std::map<PlaceId, Needed> places;
  for (const auto& [source, target] : world.pairs) {
    places.try_emplace(source);
    places.try_emplace(target);
  }
  for (const Work& work : world.works) {
    Needed& source = places[world.pairs[work.pair].first];
    Needed& target = places[world.pairs[work.pair].second];
    for (const Descriptor& piece : work.pieces) {
      source.first_source = std::min(source.first_source, piece.source_offset);
      source.source_end = std::max(source.source_end, piece.source_offset + piece.length);
      target.end = std::max(target.end, piece.target_offset + piece.length);
    }
  }
  for (const auto& [place, needed] : places) {
    const Bytes length = std::max({needed.end, needed.source_end, Bytes{1}});
    const SegmentId segment = *watcher.register_segment(place, length);
    if (needed.source_end == 0) continue;
    watcher.fill(segment, needed.first_source, needed.source_end - needed.first_source, 77 + place);
  }
}

}  // namespace

Verdict simulate(const World& world, PlantedBug bug) {
  Verdict verdict;
  auto faulty = faults::make_faulty_backend(emulated::make_backend({}), world.script);
  faults::FaultyBackend& player = *faulty;
  auto weather = std::make_unique<WeatherBackend>(world.weather, std::move(faulty));
  const WeatherBackend& clouds = *weather;
  Watcher watcher(world, std::move(weather));
  const auto numbers = watcher.open(world.cluster, world.plan.requests);
  std::vector<SchedulerSetup> setups =
      make_setups(world.cluster, world.plan.requests, world.plan.tiers, *numbers, world.config);
  for (const SchedulerSetup& setup : setups) {
    if (const auto ok = check_setup(setup); !ok) {
      // A drawn credit may be too small for its senders; the user would be told so.
      verdict.ok = ok.error().message.find("credit") != std::string::npos;
      verdict.what = ok.error().message;
      return verdict;
    }
  }
  const std::vector<SchedulerSetup> told = setups;
  watcher.set_setups(told);
  plant(bug, setups);
  give_memory(world, watcher);

  PostsTwice twice(watcher);
  Backend& under =
      bug == PlantedBug::posts_twice_after_a_retry ? static_cast<Backend&>(twice) : watcher;
  std::vector<std::uint8_t> log;
  EventLogWriter recorder(setups, [&log](std::span<const std::uint8_t> bytes) {
    log.insert(log.end(), bytes.begin(), bytes.end());
    return true;
  });
  Runtime runtime(under, std::move(setups), &recorder);
  Asker asker(world, watcher, clouds, verdict);
  asker.attach(runtime);
  Result<void> ran;
  try {
    ran = runtime.run(asker);
  } catch (const Livelock& endless) {
    ran = Error::failed("no end after " + std::to_string(endless.steps) + " turns of the loop");
  }
  if (!ran) watcher.blame(ran.error().message);
  if (ran) check_credit(world, runtime.schedulers(), clouds.messages_lost == 0, watcher);
  for (const Scheduler& scheduler : runtime.schedulers()) {
    if (bug == PlantedBug::none && ran && !scheduler.idle())
      watcher.blame("a scheduler is not idle after everything has ended");
    verdict.chunks += scheduler.counters().chunks_posted;
    verdict.resent += scheduler.counters().chunks_resent;
  }
  if (!recorder.close()) watcher.blame("the log could not be written");
  const auto verified = verify_log(log, "log");
  if (!verified)
    watcher.blame("the log cannot be read: " + verified.error().message);
  else if (!verified->identical)
    watcher.blame("the log does not replay: " + verified->first_difference);
  else if (verified->chunks != verdict.chunks)
    watcher.blame("the replayed log posts another number of chunks");
  verdict.log_bytes = log.size();
  verdict.log_checksum = checksum(std::as_bytes(std::span(log)));
  const faults::FaultCounters& played = player.fault_counters();
  verdict.faults = played.failed + played.lost + played.delayed + played.corrupted +
                   played.degraded + played.cut;
  verdict.credit_messages = watcher.credit_messages();
  verdict.lost_messages = clouds.messages_lost;
  verdict.late_cancels = clouds.cancels_delayed;
  verdict.probes = watcher.probes_posted();
  verdict.steps = watcher.steps();
  verdict.share_of_bound = watcher.share_of_bound();
  verdict.crowded_moments = watcher.crowded_moments();
  verdict.end_ns = watcher.now();
  verdict.what = watcher.first_blame();
  verdict.ok = verdict.what.empty();
  return verdict;
}

}  // namespace kvhaul::simulation
