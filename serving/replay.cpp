#include "serving/replay.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/credit.h"
#include "core/random.h"

namespace kvhaul {
namespace {

// Messages between the two sides of a request.
constexpr std::uint32_t reserve_message = first_client_message;       // prefill -> decode
constexpr std::uint32_t table_message = first_client_message + 1;     // decode -> prefill, push
constexpr std::uint32_t readable_message = first_client_message + 2;  // prefill -> decode, pull
constexpr std::uint32_t landed_message = first_client_message + 3;    // prefill -> decode, push
constexpr std::uint32_t release_message = first_client_message + 4;   // decode -> prefill, pull
constexpr Bytes message_bytes = 64;
constexpr Bytes page_run_bytes = 8;  // of a page table on the wire

constexpr std::uint32_t damaged_transfers_max = 16;  // of one request, before it is given up
constexpr std::size_t waiting_checks_max = 64;       // then they are done while copies go on

// A tag holds a slot, a unit in 24 bits and a lane in 16.
constexpr std::uint64_t units_max = 1 << 24;
constexpr std::size_t lanes_max = 1 << 16;

constexpr std::uint64_t make_tag(std::uint32_t slot, std::uint32_t unit, std::uint32_t lane) {
  return (std::uint64_t{slot} << 40) | (std::uint64_t{unit} << 16) | lane;
}

std::uint32_t pages_for(std::uint64_t tokens, std::uint32_t page_tokens) {
  return static_cast<std::uint32_t>((tokens + page_tokens - 1) / page_tokens);
}

}  // namespace

std::string_view request_outcome_name(RequestOutcome outcome) {
  switch (outcome) {
    case RequestOutcome::completed:
      return "completed";
    case RequestOutcome::transfer_failed:
      return "transfer_failed";
    case RequestOutcome::too_large:
      return "too_large";
    case RequestOutcome::failed_in_trace:
      return "failed_in_trace";
  }
  return "?";
}

struct Replay::Request {
  RequestResult result;
  std::vector<std::uint64_t> prefix_blocks;
  std::uint32_t pinned_blocks = 0;
  PageList source_pages;  // of all tokens, pinned ones first
  PageList own_pages;     // the ones behind those
  PageList target_pages;
  std::vector<std::uint32_t> chunk_ends;  // tokens; the cached part is a chunk of its own
  TimeNs prefill_end_expected_ns = 0;
  std::uint32_t readable_units = 0;   // computed
  std::uint32_t announced_units = 0;  // the side that moves them knows
  std::uint32_t engine_units = 0;     // given to the serving engine
  std::uint32_t submitted_units = 0;
  std::uint32_t pending_transfers = 0;
  std::uint32_t damaged = 0;
  bool target_known = false;  // to the side that moves them
  bool prefilled = false;
  bool failed = false;
  bool moved = false;  // nothing more will be moved
  bool source_free = false;
  bool over = false;
  std::vector<TransferRow> rows;
};

struct Replay::PrefillInstance {
  PrefillInstance(std::uint32_t pages, const ReplayConfig& config, std::uint32_t block_tokens,
                  std::uint64_t seed)
      : pool(pages, config.prefill.contiguity, seed),
        cache(pool, block_tokens, config.prefill.page_tokens) {}

  std::vector<PlaceId> places;
  std::vector<SegmentId> segments;  // by rank
  KvPool pool;
  PrefixCache cache;
  std::deque<std::uint32_t> queue;  // request slots
  std::uint64_t load_tokens = 0;    // queued and being computed
  std::uint32_t current = no_id;
  std::uint32_t chunk = 0;
  std::uint32_t layer = 0;  // the next one to be done
  TimeNs chunk_start_ns = 0;
  TimeNs chunk_ns = 0;
};

struct Replay::DecodeInstance {
  DecodeInstance(std::uint32_t pages, const Contiguity& contiguity, std::uint64_t seed)
      : pool(pages, contiguity, seed) {}

  struct Member {
    std::uint64_t last_step = 0;
    std::uint32_t slot = 0;
    bool operator>(const Member& other) const {
      return last_step != other.last_step ? last_step > other.last_step : slot > other.slot;
    }
  };

  std::vector<PlaceId> places;
  std::vector<SegmentId> segments;
  KvPool pool;
  std::deque<std::uint32_t> wants_pages;
  std::uint64_t load_pages = 0;      // reserved and wanted
  std::deque<std::uint32_t> landed;  // waits for the next step
  std::priority_queue<Member, std::vector<Member>, std::greater<>> running;
  std::uint64_t step = 0;
  bool stepping = false;
  double context_tokens = 0;  // of the running ones
  double window_bytes = 0;    // what their windowed layers keep
};

Replay::Replay(const ReplayConfig& config, TraceReader& trace, Backend& backend,
               ReplayObserver& observer)
    : config_(config), trace_(trace), backend_(backend), observer_(observer) {}

Replay::~Replay() = default;

Result<void> Replay::prepare(Runtime& runtime, const Cluster& cluster) {
  runtime_ = &runtime;
  cluster_ = &cluster;
  auto source = role_geometry(config_.model, config_.prefill, config_.split_kv);
  if (!source) return Error{source.error().kind, "prefill: " + source.error().message};
  auto target = role_geometry(config_.model, config_.decode, config_.split_kv);
  if (!target) return Error{target.error().kind, "decode: " + target.error().message};
  source_ranks_ = *source;
  target_ranks_ = *target;
  lanes_ = plan_lanes(config_.model, config_.prefill, config_.decode);
  if (lanes_.size() > lanes_max)
    return Error::bad_input("prefill and decode have " + std::to_string(lanes_.size()) +
                            " pairs of ranks that share KV heads; at most 65536 can be replayed");
  // The longest prompt that is replayed fills the KV memory of an instance.
  const std::uint64_t tokens_max =
      std::uint64_t{source_ranks_[0].pages} * config_.prefill.page_tokens;
  const std::uint64_t units =
      (std::min<std::uint64_t>(tokens_max, trace_tokens_max) / config_.chunk_tokens + 2) *
      config_.model.layers;
  if (units > units_max)
    return Error::bad_input("prefill chunks of " + std::to_string(config_.chunk_tokens) +
                            " tokens cut the longest prompt into more than 16777216 units, one per "
                            "layer and chunk; expected longer prefill chunks");
  decode_layer_ns_ = config_.decode.timing->step_ns(1, 0, 0) / config_.model.layers;

  // Blocks of the trace that are no whole number of pages cannot be kept.
  std::uint32_t block_tokens = config_.prefix_cache ? trace_.info().block_tokens : 0;
  if (block_tokens % config_.prefill.page_tokens != 0) block_tokens = 0;
  const Random random(config_.seed);
  for (std::size_t i = 0; i < config_.prefill.instances.size(); ++i) {
    auto instance = std::make_unique<PrefillInstance>(source_ranks_[0].pages, config_, block_tokens,
                                                      random.derived(1000 + i)());
    instance->places = config_.prefill.instances[i];
    for (std::size_t r = 0; r < instance->places.size(); ++r) {
      auto segment =
          backend_.register_segment(instance->places[r], source_ranks_[r].segment_bytes());
      if (!segment) return segment.error();
      instance->segments.push_back(*segment);
    }
    prefill_.push_back(std::move(instance));
  }
  for (std::size_t i = 0; i < config_.decode.instances.size(); ++i) {
    auto instance = std::make_unique<DecodeInstance>(
        target_ranks_[0].pages, config_.decode.contiguity, random.derived(2000 + i)());
    instance->places = config_.decode.instances[i];
    for (std::size_t r = 0; r < instance->places.size(); ++r) {
      auto segment =
          backend_.register_segment(instance->places[r], target_ranks_[r].segment_bytes());
      if (!segment) return segment.error();
      instance->segments.push_back(*segment);
    }
    decode_.push_back(std::move(instance));
  }
  count_registration();
  for (const auto& from : prefill_)
    for (const auto& to : decode_)
      for (const Lane& lane : lanes_) {
        const auto pair =
            runtime.find_pair(from->places[lane.source_rank], to->places[lane.target_rank]);
        check(pair.has_value(), "no channel was planned between two places of the replay");
        pairs_.push_back(*pair);
      }
  read_next();
  return {};
}

// ---- Events ---------------------------------------------------------------------------------

void Replay::push_event(TimeNs at, EventKind kind, std::uint32_t index, std::uint64_t request) {
  events_.push({at, next_sequence_++, kind, index, request});
}

/// One thread of each node registers its places one after the other; nodes work side by side.
void Replay::count_registration() {
  std::vector<Bytes> bytes(cluster_->nodes.size(), 0);
  for (const auto& instance : prefill_)
    for (std::size_t r = 0; r < instance->places.size(); ++r)
      bytes[cluster_->places[instance->places[r]].node] += source_ranks_[r].segment_bytes();
  for (const auto& instance : decode_)
    for (std::size_t r = 0; r < instance->places.size(); ++r)
      bytes[cluster_->places[instance->places[r]].node] += target_ranks_[r].segment_bytes();
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    const double rate = cluster_->nodes[n].registration_bytes_per_s;
    if (rate > 0)
      counters_.registration_ns =
          std::max(counters_.registration_ns, ByteCost::from_rate(rate).of(bytes[n]));
  }
}

TimeNs Replay::next_ns() const {
  if (checks_due() || !running_checks_.empty()) return 0;
  return events_.empty() ? never_ns : events_.top().at_ns;
}

bool Replay::done() const { return trace_ended_ && open_requests_ == 0; }

void Replay::run(TimeNs now) {
  while (!events_.empty() && events_.top().at_ns <= now) {
    const Event event = events_.top();
    events_.pop();
    switch (event.kind) {
      case EventKind::arrival:
        arrive(event.at_ns, now);
        break;
      case EventKind::prefill:
        prefill_step(event.at_ns, now, event.index);
        break;
      case EventKind::decode:
        decode_step(event.at_ns, now, event.index);
        break;
      case EventKind::engine:
        engine_done(now, event.index, event.request);
        break;
    }
  }
  settle_checks(now);
  if (!checks_due()) return;
  const Check check = checks_.front();  // one at a time: what is due meanwhile goes first
  checks_.pop_front();
  begin_check(check);
  settle_checks(now);
}

void Replay::read_next() {
  auto more = trace_.next(next_request_);
  if (!more) trace_error_ = more.error();
  if (!more || !*more) {
    trace_ended_ = true;
    return;
  }
  push_event(next_request_.arrival_ns, EventKind::arrival, 0);
}

// ---- Arrival --------------------------------------------------------------------------------

void Replay::arrive(TimeNs at, TimeNs now) {
  ++counters_.requests;
  std::uint32_t slot = static_cast<std::uint32_t>(requests_.size());
  if (free_requests_.empty()) {
    requests_.emplace_back();
  } else {
    slot = free_requests_.back();
    free_requests_.pop_back();
    requests_[slot] = Request{};
  }
  Request& request = requests_[slot];
  RequestResult& result = request.result;
  result.request = next_number_++;
  result.line = next_request_.line;
  result.input_tokens = next_request_.input_tokens;
  result.output_tokens = next_request_.output_tokens;
  result.arrival_ns = at;
  request.prefix_blocks.swap(next_request_.prefix_blocks);
  read_next();

  const std::uint32_t source_pages = pages_for(result.input_tokens, config_.prefill.page_tokens);
  const std::uint32_t target_pages = pages_for(
      std::uint64_t{result.input_tokens} + result.output_tokens, config_.decode.page_tokens);
  const bool too_large =
      source_pages > source_ranks_[0].pages || target_pages > target_ranks_[0].pages;
  if (result.output_tokens == 0 || too_large) {
    end_without_replay(request, result.output_tokens == 0 ? RequestOutcome::failed_in_trace
                                                          : RequestOutcome::too_large);
    free_requests_.push_back(slot);
    return;
  }
  ++open_requests_;
  counters_.input_tokens += result.input_tokens;
  result.prefill_instance = choose_prefill(request);
  result.decode_instance = choose_decode(request);
  decode_[result.decode_instance]->load_pages += target_pages;
  PrefillInstance& instance = *prefill_[result.prefill_instance];
  instance.load_tokens += result.input_tokens;
  instance.queue.push_back(slot);
  if (instance.current == no_id) start_prefill(at, now, result.prefill_instance);
}

void Replay::end_without_replay(const Request& request, RequestOutcome outcome) {
  RequestResult result = request.result;
  result.outcome = outcome;
  ++(outcome == RequestOutcome::too_large ? counters_.too_large : counters_.failed_in_trace);
  ++requests_done_;
  observer_.request_done(result, {});
}

std::uint32_t Replay::choose_prefill(const Request& request) {
  if (config_.prefill_routing == PrefillRouting::round_robin)
    return next_prefill_++ % static_cast<std::uint32_t>(prefill_.size());
  std::uint32_t best = 0;
  std::uint64_t best_load = ~std::uint64_t{0};
  for (std::uint32_t i = 0; i < prefill_.size(); ++i) {
    std::uint64_t load = prefill_[i]->load_tokens;
    if (config_.prefill_routing == PrefillRouting::most_cached) {
      // Tokens to compute until this one is done: what is queued, and what of it is not cached.
      const std::uint64_t cached = std::uint64_t{prefill_[i]->cache.match(request.prefix_blocks)} *
                                   prefill_[i]->cache.block_tokens();
      load += request.result.input_tokens -
              std::min<std::uint64_t>(cached, request.result.input_tokens - 1);
    }
    if (load < best_load) best_load = load, best = i;
  }
  return best;
}

std::uint32_t Replay::choose_decode(const Request&) {
  if (config_.decode_routing == DecodeRouting::round_robin)
    return next_decode_++ % static_cast<std::uint32_t>(decode_.size());
  std::uint32_t best = 0;
  for (std::uint32_t i = 1; i < decode_.size(); ++i)
    if (decode_[i]->load_pages < decode_[best]->load_pages) best = i;
  return best;
}

// ---- Prefill --------------------------------------------------------------------------------

bool Replay::by_layer() const {
  return config_.streaming == Streaming::layer || config_.streaming == Streaming::chunk_layer;
}

/// Pins the first `hits` blocks of a prompt, which are cached, and allocates pages for the rest.
/// False, and nothing taken, until transfers give pages back.
bool Replay::take_source_pages(PrefillInstance& instance, Request& request,
                               std::uint32_t hits) const {
  RequestResult& result = request.result;
  const std::uint32_t page_tokens = config_.prefill.page_tokens;
  // At least one token is computed, and pages are shared whole.
  result.cached_tokens = std::min(hits * instance.cache.block_tokens(), result.input_tokens - 1) /
                         page_tokens * page_tokens;
  const std::uint32_t cached_pages = result.cached_tokens / page_tokens;
  instance.cache.pin(request.prefix_blocks, hits, request.source_pages);
  for (std::uint32_t over = page_count(request.source_pages) - cached_pages; over > 0;) {
    PageRun& last = request.source_pages.back();
    const std::uint32_t cut = std::min(over, last.count);
    last.count -= cut;
    over -= cut;
    if (last.count == 0) request.source_pages.pop_back();
  }
  const std::uint32_t own = pages_for(result.input_tokens, page_tokens) - cached_pages;
  if (!instance.cache.make_room(own)) {
    instance.cache.unpin(request.prefix_blocks, hits);
    request.source_pages.clear();
    return false;
  }
  request.pinned_blocks = hits;
  instance.pool.allocate(own, request.own_pages);
  request.source_pages.insert(request.source_pages.end(), request.own_pages.begin(),
                              request.own_pages.end());
  return true;
}

/// Takes the next request if its pages can be had.
void Replay::start_prefill(TimeNs at, TimeNs now, std::uint32_t index) {
  PrefillInstance& instance = *prefill_[index];
  if (instance.current != no_id || instance.queue.empty()) return;
  const std::uint32_t slot = instance.queue.front();
  Request& request = requests_[slot];
  RequestResult& result = request.result;
  const std::uint32_t block_tokens = instance.cache.block_tokens();
  const std::uint32_t hits = block_tokens == 0
                                 ? 0
                                 : std::min(instance.cache.match(request.prefix_blocks),
                                            result.input_tokens / block_tokens);
  if (!take_source_pages(instance, request, hits)) {
    // A prompt that is cached to its end has its last block twice, since its last token is
    // computed. Where there is no room for that, the block is computed again.
    const std::uint32_t fewer = hits == 0 ? 0 : (result.input_tokens - 1) / block_tokens;
    if (fewer >= hits || !take_source_pages(instance, request, fewer)) return;
  }
  instance.queue.pop_front();
  instance.current = slot;
  result.prefill_start_ns = at;
  counters_.cached_tokens += result.cached_tokens;
  counters_.source_runs += request.source_pages.size();
  plan_chunks(request);
  send(prefill_node(request), decode_node(request), reserve_message, slot, 0, message_bytes);

  // What is cached is readable at once; it is the first chunk and takes no time.
  instance.chunk = result.cached_tokens != 0 ? 1 : 0;
  result.chunk_ended_ns.assign(instance.chunk, at);
  instance.layer = 0;
  instance.chunk_start_ns = at;
  TimeNs end = at;
  for (std::size_t c = instance.chunk, before = result.cached_tokens; c < request.chunk_ends.size();
       before = request.chunk_ends[c++])
    end += config_.prefill.timing->prefill_ns(
        request.chunk_ends[c] - static_cast<std::uint32_t>(before),
        static_cast<std::uint32_t>(before));
  request.prefill_end_expected_ns = end;
  if (backend_.moves_bytes()) fill_prompt(slot);
  if (config_.busy_prefill)
    for (const PlaceId place : config_.prefill.instances[index]) backend_.occupy(place, end - at);
  schedule_prefill(index);
  if (result.cached_tokens != 0) {
    if (config_.streaming == Streaming::chunk_layer) readable(now, slot, config_.model.layers);
    if (config_.streaming == Streaming::chunk) readable(now, slot, 1);
  }
}

void Replay::plan_chunks(Request& request) const {
  const RequestResult& result = request.result;
  if (result.cached_tokens != 0) request.chunk_ends.push_back(result.cached_tokens);
  for (std::uint32_t at = result.cached_tokens; at < result.input_tokens;) {
    at += std::min(config_.chunk_tokens, result.input_tokens - at);
    request.chunk_ends.push_back(at);
  }
}

/// The next event of the running chunk: its next layer, or its end.
void Replay::schedule_prefill(std::uint32_t index) {
  PrefillInstance& instance = *prefill_[index];
  const Request& request = requests_[instance.current];
  const Timing& timing = *config_.prefill.timing;
  if (instance.layer == 0) {
    const std::uint32_t before = instance.chunk == 0 ? 0 : request.chunk_ends[instance.chunk - 1];
    instance.chunk_ns = timing.prefill_ns(request.chunk_ends[instance.chunk] - before, before);
  }
  const bool last_chunk = instance.chunk + 1 == request.chunk_ends.size();
  const bool layers_matter = config_.streaming == Streaming::chunk_layer ||
                             (config_.streaming == Streaming::layer && last_chunk);
  TimeNs after = instance.chunk_ns;
  if (layers_matter) {
    // (chunk, layer) is readable at start + t0 + (layer + 1) t_layer.
    const TimeNs start = std::min(timing.prefill_start_ns(), instance.chunk_ns);
    after = start + (instance.chunk_ns - start) * (instance.layer + 1) / config_.model.layers;
  } else {
    instance.layer = config_.model.layers - 1;
  }
  push_event(instance.chunk_start_ns + after, EventKind::prefill, index);
}

void Replay::prefill_step(TimeNs at, TimeNs now, std::uint32_t index) {
  PrefillInstance& instance = *prefill_[index];
  const std::uint32_t slot = instance.current;
  Request& request = requests_[slot];
  const bool chunk_done = ++instance.layer == config_.model.layers;
  const bool last_chunk = instance.chunk + 1 == request.chunk_ends.size();
  const bool prefill_done = chunk_done && last_chunk;
  if (chunk_done) request.result.chunk_ended_ns.push_back(at);
  if (prefill_done) {
    request.prefilled = true;
    request.result.prefill_end_ns = at;
    instance.load_tokens -= request.result.input_tokens;
    instance.current = no_id;
  } else {
    if (chunk_done) {
      ++instance.chunk;
      instance.layer = 0;
      instance.chunk_start_ns = at;
    }
    schedule_prefill(index);
  }
  const bool unit_done = by_layer() || (config_.streaming == Streaming::chunk && chunk_done) ||
                         (config_.streaming == Streaming::request && prefill_done);
  const bool counts = config_.streaming != Streaming::layer || last_chunk;
  if (unit_done && counts) readable(now, slot, 1);
  if (!prefill_done) return;
  transfers_maybe_done(now, slot);
  start_prefill(at, now, index);
}

// ---- Moving ---------------------------------------------------------------------------------

std::uint32_t Replay::units_of(const Request& request) const {
  const auto chunks = static_cast<std::uint32_t>(request.chunk_ends.size());
  switch (config_.streaming) {
    case Streaming::request:
      return 1;
    case Streaming::chunk:
      return chunks;
    case Streaming::layer:
      return config_.model.layers;
    case Streaming::chunk_layer:
      return chunks * config_.model.layers;
  }
  return 0;
}

Replay::UnitSpan Replay::span_of(const Request& request, std::uint32_t unit) const {
  const std::uint32_t layers = config_.model.layers;
  UnitSpan span{0, 0, request.result.input_tokens, 0, layers};
  if (by_layer()) {
    span.first_layer = unit % layers;
    span.end_layer = span.first_layer + 1;
  }
  if (config_.streaming == Streaming::request || config_.streaming == Streaming::layer) return span;
  span.chunk = config_.streaming == Streaming::chunk ? unit : unit / layers;
  // A page that a chunk leaves half full goes with the chunk that fills it.
  const auto whole_pages = [&](std::uint32_t tokens) {
    return tokens / config_.prefill.page_tokens * config_.prefill.page_tokens;
  };
  if (span.chunk > 0) span.first_token = whole_pages(request.chunk_ends[span.chunk - 1]);
  if (span.chunk + 1 < request.chunk_ends.size())
    span.end_token = whole_pages(request.chunk_ends[span.chunk]);
  return span;
}

/// Computed at the prefill side; whoever moves it is told.
void Replay::readable(TimeNs now, std::uint32_t slot, std::uint32_t units) {
  Request& request = requests_[slot];
  request.readable_units += units;
  if (config_.pull) {
    send(prefill_node(request), decode_node(request), readable_message, slot,
         request.readable_units, message_bytes);
    return;
  }
  request.announced_units = request.readable_units;
  submit_units(now, slot);
}

void Replay::submit_units(TimeNs now, std::uint32_t slot) {
  Request& request = requests_[slot];
  if (!request.target_known) return;
  if (config_.engine_ns != 0) {
    for (; request.engine_units < request.announced_units; ++request.engine_units)
      push_event(now + config_.engine_ns, EventKind::engine, slot, request.result.request);
    return;
  }
  while (!request.failed && request.submitted_units < request.announced_units)
    submit_unit(now, slot, request.submitted_units++);
  transfers_maybe_done(now, slot);
}

/// The engine is through with the next unit of a request; the slot may have a new one by now.
void Replay::engine_done(TimeNs now, std::uint32_t slot, std::uint64_t number) {
  Request& request = requests_[slot];
  if (request.result.request != number || request.failed) return;
  submit_unit(now, slot, request.submitted_units++);
  transfers_maybe_done(now, slot);
}

void Replay::submit_unit(TimeNs now, std::uint32_t slot, std::uint32_t unit) {
  const UnitSpan span = span_of(requests_[slot], unit);
  for (std::uint32_t lane = 0; lane < lanes_.size(); ++lane)
    if (lanes_[lane].first_layer < span.end_layer && span.first_layer < lanes_[lane].end_layer)
      submit_lane(now, slot, unit, lane);
}

void Replay::describe_lane(const Request& request, std::uint32_t unit, const Lane& lane,
                           std::vector<Descriptor>& out) const {
  const UnitSpan span = span_of(request, unit);
  const RankGeometry& from = source_ranks_[lane.source_rank];
  const RankGeometry& to = target_ranks_[lane.target_rank];
  const std::uint32_t page_tokens = config_.prefill.page_tokens;
  PageSpan part{span.first_token, span.end_token, lane.first_head, lane.end_head};
  for (std::uint32_t layer = std::max(span.first_layer, lane.first_layer);
       layer < std::min(span.end_layer, lane.end_layer); ++layer) {
    part.first_token = span.first_token;
    if (config_.model.windowed(layer) &&
        request.result.input_tokens > config_.model.window_tokens) {
      // What has left the window is not needed any more.
      const std::uint32_t window =
          (request.result.input_tokens - config_.model.window_tokens) / page_tokens * page_tokens;
      part.first_token = std::max(part.first_token, window);
    }
    if (part.first_token >= part.end_token) continue;
    for (std::uint32_t region = 0; region < from.regions; ++region)
      map_pages(from.region(layer, region), request.source_pages, to.region(layer, region),
                request.target_pages, part, out);
  }
}

void Replay::submit_lane(TimeNs now, std::uint32_t slot, std::uint32_t unit, std::uint32_t lane) {
  Request& request = requests_[slot];
  const RequestResult& result = request.result;
  descriptors_.clear();
  describe_lane(request, unit, lanes_[lane], descriptors_);
  if (descriptors_.empty()) return;
  const UnitSpan span = span_of(request, unit);
  TransferRequest transfer;
  transfer.source_segment = prefill_[result.prefill_instance]->segments[lanes_[lane].source_rank];
  transfer.target_segment = decode_[result.decode_instance]->segments[lanes_[lane].target_rank];
  // The decoder begins when prefill has ended, and needs one layer after the other.
  transfer.deadline_ns = request.prefill_end_expected_ns + span.first_layer * decode_layer_ns_;
  transfer.tag = make_tag(slot, unit, lane);
  transfer.descriptors = descriptors_;
  ++request.pending_transfers;
  ++open_transfers_;
  const std::size_t pair =
      (std::size_t{result.prefill_instance} * decode_.size() + result.decode_instance) *
          lanes_.size() +
      lane;
  runtime_->submit(now, pairs_[pair], transfer);
}

/// Writes into the source pages of a prompt what nothing else has: the numbers of request and place
/// are in it. Pages that come from the cache already hold what an earlier request wrote. When
/// prefill begins, so that in real time nothing stands between a layer's being ready and its
/// leaving.
void Replay::fill_prompt(std::uint32_t slot) {
  const Request& request = requests_[slot];
  const RequestResult& result = request.result;
  if (result.cached_tokens >= result.input_tokens) return;
  const PrefillInstance& instance = *prefill_[result.prefill_instance];
  for (std::uint32_t rank = 0; rank < source_ranks_.size(); ++rank) {
    const RankGeometry& geometry = source_ranks_[rank];
    const PagedLayout& layout = geometry.layout;
    descriptors_.clear();
    for (std::uint32_t layer = geometry.first_layer; layer < geometry.end_layer; ++layer)
      for (std::uint32_t region = 0; region < geometry.regions; ++region) {
        const PagedLayout at = geometry.region(layer, region);
        map_pages(at, request.source_pages, at, request.source_pages,
                  {result.cached_tokens, result.input_tokens, layout.first_head,
                   layout.first_head + layout.heads},
                  descriptors_);
      }
    ranges_.clear();
    for (const Descriptor& piece : descriptors_)
      ranges_.push_back({piece.source_offset, piece.length,
                         mix64(result.request) ^ mix64(piece.source_offset + rank)});
    backend_.fill_ranges(instance.segments[rank], ranges_);
  }
}

/// Asks for the checksums of a transfer's pieces at both ends.
void Replay::begin_check(const Check& check) {
  const Request& request = requests_[check.slot];
  const Lane& lane = lanes_[check.lane];
  descriptors_.clear();
  describe_lane(request, check.unit, lane, descriptors_);
  RunningCheck& running = running_checks_.emplace_back();
  running.check = check;
  const auto begin = [&](SegmentId segment, Bytes Descriptor::*offset,
                         std::vector<std::uint64_t>& sums) {
    ranges_.clear();
    for (const Descriptor& piece : descriptors_) ranges_.push_back({piece.*offset, piece.length});
    sums.assign(ranges_.size(), 0);
    return backend_.begin_checksums(segment, ranges_, sums);
  };
  begin(prefill_[request.result.prefill_instance]->segments[lane.source_rank],
        &Descriptor::source_offset, running.source_sums);
  running.number = begin(decode_[request.result.decode_instance]->segments[lane.target_rank],
                         &Descriptor::target_offset, running.target_sums);
}

TransferRow& Replay::row_of(Request& request, std::uint32_t chunk, std::uint8_t tier) const {
  // From the end: what ends now is nearly always of the latest prefill chunk.
  for (auto row = request.rows.rbegin(); row != request.rows.rend(); ++row)
    if (row->prefill_chunk == chunk && row->tier == tier) return *row;
  TransferRow& row = request.rows.emplace_back();
  row.request = request.result.request;
  row.prefill_chunk = chunk;
  row.tier = tier;
  return row;
}

void Replay::transfer_ended(TimeNs now, const TransferEnd& end) {
  observer_.transfer_done(end);
  const auto slot = static_cast<std::uint32_t>(end.tag >> 40);
  const auto unit = static_cast<std::uint32_t>(end.tag >> 16) & 0xffffffu;
  const auto lane = static_cast<std::uint32_t>(end.tag) & 0xffffu;
  Request& request = requests_[slot];
  --open_transfers_;
  TransferRow& row = row_of(request, span_of(request, unit).chunk, end.fallback_tier);
  ++row.transfers;
  row.chunks += end.chunks;
  row.pieces += end.pieces;
  row.resent_chunks += end.resent_chunks;
  row.resent_bytes += end.resent_bytes;
  row.gathers |= static_cast<std::uint8_t>(1u << static_cast<unsigned>(end.gather));
  row.first_submitted_ns = std::min(row.first_submitted_ns, end.submitted_ns);
  if (end.outcome == TransferOutcome::delivered) {
    row.bytes += end.bytes;
    request.result.bytes += end.bytes;
  }
  if (end.reported_ns >= row.last_reported_ns) {
    row.last_reported_ns = end.reported_ns;
    if (end.outcome == TransferOutcome::delivered) {  // else it may have no times
      row.wait_ns = end.posted_ns - end.submitted_ns;
      row.post_ns = end.started_ns - end.posted_ns;
      row.wire_ns = end.done_ns - end.started_ns;
      row.detect_ns = end.reported_ns - end.done_ns;
    }
  }
  if (end.outcome != TransferOutcome::delivered) {
    ++row.failed;
    request.failed = true;
  } else if (backend_.moves_bytes()) {
    const Check check{slot, unit, lane, end.fallback_tier};
    if (config_.defer_checks) {
      checks_.push_back(check);
    } else {
      begin_check(check);
      settle_checks(now);
    }
    return;
  }
  --request.pending_transfers;
  transfers_maybe_done(now, slot);
}

bool Replay::checks_due() const {
  return !checks_.empty() && (open_transfers_ == 0 || checks_.size() > waiting_checks_max);
}

/// A transfer counts as pending until its bytes have been found right.
void Replay::settle_checks(TimeNs now) {
  while (!running_checks_.empty() && running_checks_.front().number <= backend_.checksums_done()) {
    const RunningCheck done = std::move(running_checks_.front());
    running_checks_.pop_front();
    const Check& check = done.check;
    Request& request = requests_[check.slot];
    ++counters_.checked_transfers;
    --request.pending_transfers;
    if (done.source_sums != done.target_sums) {
      ++row_of(request, span_of(request, check.unit).chunk, check.tier).damaged;
      ++counters_.damaged_transfers;
      if (++request.damaged > damaged_transfers_max)
        request.failed = true;
      else
        submit_lane(now, check.slot, check.unit, check.lane);
    }
    transfers_maybe_done(now, check.slot);
  }
}

void Replay::transfers_maybe_done(TimeNs now, std::uint32_t slot) {
  Request& request = requests_[slot];
  if (request.moved || !request.prefilled || request.pending_transfers != 0) return;
  if (!request.failed && request.submitted_units != units_of(request)) return;
  request.moved = true;
  const NodeId from = prefill_node(request);
  const NodeId to = decode_node(request);
  if (config_.pull) {
    send(to, from, release_message, slot, 0, message_bytes);
    landed(now, slot);
  } else {
    send(from, to, landed_message, slot, 0, message_bytes);
    release_source(now, slot);
  }
}

void Replay::release_source(TimeNs now, std::uint32_t slot) {
  Request& request = requests_[slot];
  PrefillInstance& instance = *prefill_[request.result.prefill_instance];
  const std::uint32_t block_tokens = instance.cache.block_tokens();
  const bool aligned = block_tokens != 0 && request.result.cached_tokens % block_tokens == 0;
  const std::uint32_t whole =
      aligned && !request.failed ? request.result.input_tokens / block_tokens : 0;
  // In this order: the cache lets go of a block before the ones that lead to it.
  instance.cache.keep(request.prefix_blocks, request.pinned_blocks, request.own_pages, whole);
  instance.cache.unpin(request.prefix_blocks, request.pinned_blocks);
  request.source_free = true;
  const std::uint32_t index = request.result.prefill_instance;
  free_if_over(slot);
  start_prefill(now, now, index);
}

// ---- The decode side ------------------------------------------------------------------------

/// Gives pages to those that asked, in order.
void Replay::reserve(TimeNs now, std::uint32_t index) {
  DecodeInstance& instance = *decode_[index];
  while (!instance.wants_pages.empty()) {
    const std::uint32_t slot = instance.wants_pages.front();
    Request& request = requests_[slot];
    const std::uint32_t pages =
        pages_for(std::uint64_t{request.result.input_tokens} + request.result.output_tokens,
                  config_.decode.page_tokens);
    if (!instance.pool.allocate(pages, request.target_pages)) return;
    instance.wants_pages.pop_front();
    counters_.target_runs += request.target_pages.size();
    if (config_.pull) {
      request.target_known = true;
      submit_units(now, slot);
    } else {
      send(decode_node(request), prefill_node(request), table_message, slot, 0,
           message_bytes + page_run_bytes * request.target_pages.size());
    }
  }
}

void Replay::message(TimeNs now, const ControlMessage& message) {
  const std::uint32_t slot = message.place;
  Request& request = requests_[slot];
  if (request.result.request != message.value2) return;
  switch (message.kind) {
    case reserve_message:
      decode_[request.result.decode_instance]->wants_pages.push_back(slot);
      reserve(now, request.result.decode_instance);
      break;
    case table_message:
      request.target_known = true;
      submit_units(now, slot);
      break;
    case readable_message:
      request.announced_units =
          std::max(request.announced_units, static_cast<std::uint32_t>(message.value));
      submit_units(now, slot);
      break;
    case landed_message:
      landed(now, slot);
      break;
    case release_message:
      release_source(now, slot);
      break;
    default:
      break;
  }
}

void Replay::landed(TimeNs now, std::uint32_t slot) {
  Request& request = requests_[slot];
  request.result.landed_ns = now;
  if (request.failed) request.result.outcome = RequestOutcome::transfer_failed;
  if (request.failed || request.result.output_tokens == 1) {
    const std::uint32_t index = request.result.decode_instance;
    finish(now, slot);
    reserve(now, index);  // no decode step will
    return;
  }
  decode_[request.result.decode_instance]->landed.push_back(slot);
  begin_steps(now, request.result.decode_instance);
}

/// Between two steps: what has landed joins, and the next step begins.
void Replay::begin_steps(TimeNs at, std::uint32_t index) {
  DecodeInstance& instance = *decode_[index];
  if (instance.stepping) return;
  const ModelShape& model = config_.model;
  while (!instance.landed.empty() && instance.running.size() < config_.max_batch) {
    const std::uint32_t slot = instance.landed.front();
    instance.landed.pop_front();
    const RequestResult& result = requests_[slot].result;
    instance.context_tokens += result.input_tokens;
    instance.window_bytes += static_cast<double>(model.token_layer_bytes()) *
                             model.windowed_layers() *
                             std::min(result.input_tokens, model.window_tokens);
    // Prefill made the first token; the others take a step each.
    instance.running.push({instance.step + result.output_tokens - 1, slot});
  }
  if (instance.running.empty()) return;
  instance.stepping = true;
  const double global_bytes =
      static_cast<double>(model.token_layer_bytes()) * (model.layers - model.windowed_layers());
  const double kv_bytes = instance.context_tokens * global_bytes + instance.window_bytes;
  const TimeNs step = config_.decode.timing->step_ns(
      static_cast<std::uint32_t>(instance.running.size()), kv_bytes, instance.context_tokens);
  push_event(at + step, EventKind::decode, index);
}

void Replay::decode_step(TimeNs at, TimeNs now, std::uint32_t index) {
  DecodeInstance& instance = *decode_[index];
  const ModelShape& model = config_.model;
  instance.stepping = false;
  ++instance.step;
  instance.context_tokens += static_cast<double>(instance.running.size());
  while (!instance.running.empty() && instance.running.top().last_step <= instance.step) {
    const std::uint32_t slot = instance.running.top().slot;
    instance.running.pop();
    const RequestResult& result = requests_[slot].result;
    instance.context_tokens -= static_cast<double>(result.input_tokens) + result.output_tokens - 1;
    instance.window_bytes -= static_cast<double>(model.token_layer_bytes()) *
                             model.windowed_layers() *
                             std::min(result.input_tokens, model.window_tokens);
    finish(at, slot);
  }
  reserve(now, index);
  begin_steps(at, index);
}

void Replay::finish(TimeNs now, std::uint32_t slot) {
  Request& request = requests_[slot];
  DecodeInstance& instance = *decode_[request.result.decode_instance];
  request.result.finished_ns = now;
  instance.load_pages -= page_count(request.target_pages);
  instance.pool.release(request.target_pages);
  request.target_pages.clear();
  const bool completed = request.result.outcome == RequestOutcome::completed;
  ++(completed ? counters_.completed : counters_.transfer_failed);
  ++requests_done_;
  observer_.request_done(request.result, request.rows);
  observer_.progress(now, requests_done_);
  request.over = true;
  free_if_over(slot);
}

void Replay::free_if_over(std::uint32_t slot) {
  const Request& request = requests_[slot];
  if (!request.over || !request.source_free) return;
  free_requests_.push_back(slot);
  --open_requests_;
}

NodeId Replay::prefill_node(const Request& request) const {
  return cluster_->places[prefill_[request.result.prefill_instance]->places.front()].node;
}
NodeId Replay::decode_node(const Request& request) const {
  return cluster_->places[decode_[request.result.decode_instance]->places.front()].node;
}

void Replay::send(NodeId from, NodeId to, std::uint32_t kind, std::uint32_t slot,
                  std::uint64_t value, Bytes bytes) {
  runtime_->send({from, to, kind, slot, value, requests_[slot].result.request, bytes});
}

}  // namespace kvhaul
