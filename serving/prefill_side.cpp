#include "serving/prefill_side.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "core/random.h"
#include "serving/front.h"
#include "serving/kv_pool.h"
#include "serving/replay_messages.h"

namespace kvhaul {

struct PrefillSide::Request {
  RequestResult result;
  bool open = false;
  std::vector<std::uint64_t> prefix_blocks;
  std::uint32_t pinned_blocks = 0;
  PageList source_pages;  // of all tokens, pinned ones first
  PageList own_pages;     // the ones behind those
  std::vector<std::uint32_t> chunk_ends;
  TimeNs prefill_end_expected_ns = 0;
  std::vector<std::uint32_t> readable_units;  // computed, by stream of units
  TimeNs no_pages_before_ns = 0;              // of its instance, when it came
  bool prefilled = false;
  bool peer_lost = false;
};

struct PrefillSide::State {
  State(std::uint32_t pages, const ReplayConfig& config, std::uint32_t block_tokens,
        std::uint64_t seed)
      : pool(pages, config.prefill.contiguity, seed),
        cache(pool, block_tokens, config.prefill.page_tokens),
        stages(config.prefill.pp) {
    for (std::uint32_t i = 0; i < stages.size(); ++i) {
      std::tie(stages[i].first_layer, stages[i].end_layer) =
          stage_layers(config.model, config.prefill.pp, i);
      stages[i].layer = stages[i].first_layer;
    }
  }

  /// A prefill chunk in a stage.
  struct Work {
    std::uint32_t slot = 0;
    std::uint32_t chunk = 0;
    TimeNs start_ns = 0;
    TimeNs first_layer_ns = 0;  // what passes before the stage's first layer
    TimeNs layers_ns = 0;       // of all layers of the model, one stage after another
  };
  /// A pipeline stage: it has one chunk at a time, in the order in which they entered the first.
  struct Stage {
    std::uint32_t first_layer = 0, end_layer = 0;
    std::deque<Work> work;    // the first one is being computed, or will be from its start on
    std::uint32_t layer = 0;  // of that one, the next to be done
    TimeNs free_ns = 0;       // it will be through with all of it

    /// When a chunk has passed the layers below `end`, of so many of the model, after its start
    /// here.
    TimeNs passed_ns(const Work& chunk, std::uint32_t end, std::uint32_t layers) const {
      const auto before = [&](std::uint32_t layer) {
        return static_cast<TimeNs>(static_cast<Wide>(chunk.layers_ns) * layer / layers);
      };
      return chunk.first_layer_ns + before(end) - before(first_layer);
    }
  };

  KvPool pool;
  PrefixCache cache;
  std::deque<std::uint32_t> queue;  // slots
  std::vector<Stage> stages;
  InstanceState told;                   // to the observer
  std::uint32_t newest = no_id;         // slot of the request whose prefill has begun last
  bool fill_due = false;                // of its pages
  TimeNs no_pages_since_ns = never_ns;  // nothing is computed: the next request finds no pages
  TimeNs no_pages_ns = 0;               // that long in all, before that

  TimeNs no_pages_until_ns(TimeNs at) const {
    return no_pages_ns + std::max<TimeNs>(0, at - no_pages_since_ns);
  }
};

PrefillSide::PrefillSide(ReplayParts& parts, Front* front) : parts_(parts), front_(front) {
  const Random random(parts.config.seed);
  for (std::size_t i = 0; i < parts.prefill.size(); ++i)
    states_.push_back(parts.prefill[i].here
                          ? std::make_unique<State>(parts.source_ranks[0].pages, parts.config,
                                                    parts.block_tokens, random.derived(1000 + i)())
                          : nullptr);
}

PrefillSide::~PrefillSide() = default;

void PrefillSide::assign(TimeNs at, TimeNs now, std::uint32_t slot, const RequestResult& result,
                         std::vector<std::uint64_t>& prefix_blocks) {
  Request& request = requests_[slot];
  request = {};
  request.result = result;
  request.open = true;
  request.prefix_blocks.swap(prefix_blocks);
  State& state = *states_[result.prefill_instance];
  request.no_pages_before_ns = state.no_pages_until_ns(at);
  state.queue.push_back(slot);
  start_prefill(at, now, result.prefill_instance);
  tell_state(now, result.prefill_instance);
}

std::uint64_t PrefillSide::cached_tokens(std::uint32_t instance,
                                         std::span<const std::uint64_t> prefix_blocks) const {
  const PrefixCache& cache = states_[instance]->cache;
  return std::uint64_t{cache.match(prefix_blocks)} * cache.block_tokens();
}

// ---- Prefill --------------------------------------------------------------------------------

/// Pins the first `hits` blocks of a prompt, which are cached, and allocates pages for the rest.
/// False, and nothing taken, until transfers give pages back.
bool PrefillSide::take_source_pages(State& state, Request& request, std::uint32_t hits) const {
  RequestResult& result = request.result;
  const std::uint32_t page_tokens = parts_.config.prefill.page_tokens;
  // At least one token is computed, and pages are shared whole.
  result.cached_tokens = std::min(hits * state.cache.block_tokens(), result.input_tokens - 1) /
                         page_tokens * page_tokens;
  const std::uint32_t cached_pages = result.cached_tokens / page_tokens;
  state.cache.pin(request.prefix_blocks, hits, request.source_pages);
  for (std::uint32_t over = page_count(request.source_pages) - cached_pages; over > 0;) {
    PageRun& last = request.source_pages.back();
    const std::uint32_t cut = std::min(over, last.count);
    last.count -= cut;
    over -= cut;
    if (last.count == 0) request.source_pages.pop_back();
  }
  const std::uint32_t own = pages_for(result.input_tokens, page_tokens) - cached_pages;
  if (!state.cache.make_room(own)) {
    state.cache.unpin(request.prefix_blocks, hits);
    request.source_pages.clear();
    return false;
  }
  request.pinned_blocks = hits;
  state.pool.allocate(own, request.own_pages);
  request.source_pages.insert(request.source_pages.end(), request.own_pages.begin(),
                              request.own_pages.end());
  return true;
}

/// Takes the next request if the first stage is free and its pages can be had.
void PrefillSide::start_prefill(TimeNs at, TimeNs now, std::uint32_t index) {
  const ReplayConfig& config = parts_.config;
  State& state = *states_[index];
  if (!state.stages.front().work.empty() || state.queue.empty()) return;
  const std::uint32_t slot = state.queue.front();
  Request& request = requests_[slot];
  RequestResult& result = request.result;
  const std::uint32_t block_tokens = state.cache.block_tokens();
  const std::uint32_t hits = block_tokens == 0 ? 0
                                               : std::min(state.cache.match(request.prefix_blocks),
                                                          result.input_tokens / block_tokens);
  if (!take_source_pages(state, request, hits)) {
    // A prompt that is cached to its end has its last block twice, since its last token is
    // computed. Where there is no room for that, the block is computed again.
    const std::uint32_t fewer = hits == 0 ? 0 : (result.input_tokens - 1) / block_tokens;
    if (fewer >= hits || !take_source_pages(state, request, fewer)) {
      state.no_pages_since_ns = std::min(state.no_pages_since_ns, at);
      return;
    }
  }
  state.queue.pop_front();
  state.no_pages_ns = state.no_pages_until_ns(at);
  state.no_pages_since_ns = never_ns;
  result.prefill_memory_ns = state.no_pages_ns - request.no_pages_before_ns;
  state.newest = slot;
  result.prefill_start_ns = at;
  parts_.counters.cached_tokens += result.cached_tokens;
  parts_.counters.source_runs += request.source_pages.size();
  request.chunk_ends = plan_chunks(config, result.cached_tokens, result.input_tokens);

  request.readable_units.assign(unit_streams(config), 0);

  // What is cached is readable at once; it is the first chunk and takes no time.
  TimeNs end = at;
  std::vector<std::uint32_t> idle;
  for (std::uint32_t i = 0; i < state.stages.size(); ++i)
    if (state.stages[i].work.empty()) idle.push_back(i);
  for (std::uint32_t chunk = result.cached_tokens != 0 ? 1 : 0; chunk < request.chunk_ends.size();
       ++chunk)
    end = enter_stages(state, slot, chunk, at);
  request.prefill_end_expected_ns = end;
  begin_move(slot);
  state.fill_due = parts_.backend.moves_bytes();
  if (config.busy_prefill)
    for (const PlaceId place : config.prefill.instances[index])
      parts_.backend.occupy(place, end - at);
  for (const std::uint32_t stage : idle) schedule(index, stage);
  if (result.cached_tokens != 0) {
    if (config.streaming == Streaming::chunk_layer)
      for (std::uint32_t stream = 0; stream < request.readable_units.size(); ++stream)
        readable(now, slot, stream, units_of_stream(config, stream, 1));
    if (config.streaming == Streaming::chunk) readable(now, slot, 0, 1);
  }
}

/// Gives a chunk its time in every stage, and returns when it leaves the last one. It waits for the
/// stage before, and for the chunks before it in each.
TimeNs PrefillSide::enter_stages(State& state, std::uint32_t slot, std::uint32_t chunk, TimeNs at) {
  const ReplayConfig& config = parts_.config;
  const std::vector<std::uint32_t>& ends = requests_[slot].chunk_ends;
  const std::uint32_t before = chunk == 0 ? 0 : ends[chunk - 1];
  const TimeNs whole = config.prefill.timing->prefill_ns(ends[chunk] - before, before);
  State::Work work{slot, chunk, at, std::min(config.prefill.timing->prefill_start_ns(), whole), 0};
  work.layers_ns = whole - work.first_layer_ns;
  for (State::Stage& stage : state.stages) {
    work.start_ns = std::max(work.start_ns, stage.free_ns);
    stage.work.push_back(work);
    work.start_ns = stage.free_ns =
        add_time(work.start_ns, stage.passed_ns(work, stage.end_layer, config.model.layers));
    work.first_layer_ns = 0;
  }
  return work.start_ns;
}

/// Tells the decode side, which reserves pages; in pull it also learns what it will read.
void PrefillSide::begin_move(std::uint32_t slot) {
  const Request& request = requests_[slot];
  const RequestResult& result = request.result;
  BodyWriter body;
  write_request(body, result);
  if (mover_ != nullptr) {
    KvMove move(result);
    move.chunk_ends = request.chunk_ends;
    move.source_pages = request.source_pages;
    move.prefill_end_expected_ns = request.prefill_end_expected_ns;
    mover_->begin(slot, std::move(move));
  } else {
    body.add(request.prefill_end_expected_ns).pages(request.source_pages);
  }
  send(parts_, parts_.prefill_node(result), parts_.decode_node(result), ReplayMessage::reserve,
       slot, result.attempt(), body.take());
}

/// The next event of a stage's first chunk, if it has any: its next layer, or its end.
void PrefillSide::schedule(std::uint32_t index, std::uint32_t stage_index) {
  const Streaming streaming = parts_.config.streaming;
  State::Stage& stage = states_[index]->stages[stage_index];
  if (stage.work.empty()) return;
  const State::Work& work = stage.work.front();
  const bool last_chunk = work.chunk + 1 == requests_[work.slot].chunk_ends.size();
  const bool layers_matter =
      streaming == Streaming::chunk_layer || (streaming == Streaming::layer && last_chunk);
  if (!layers_matter) stage.layer = stage.end_layer - 1;
  parts_.agenda.add(
      add_time(work.start_ns, stage.passed_ns(work, stage.layer + 1, parts_.config.model.layers)),
      Agenda::Kind::prefill, index, stage_index);
}

void PrefillSide::step(TimeNs at, TimeNs now, std::uint32_t index, std::uint32_t stage_index) {
  const Streaming streaming = parts_.config.streaming;
  State& state = *states_[index];
  State::Stage& stage = state.stages[stage_index];
  const State::Work work = stage.work.front();
  Request& request = requests_[work.slot];
  const bool stage_done = ++stage.layer == stage.end_layer;
  const bool chunk_done = stage_done && stage_index + 1 == state.stages.size();
  const bool last_chunk = work.chunk + 1 == request.chunk_ends.size();
  const bool prefill_done = chunk_done && last_chunk;
  fill_prompt(state);
  if (prefill_done) {
    request.prefilled = true;
    request.result.prefill_end_ns = at;
    if (front_ != nullptr)
      front_->prefilled(work.slot, request.result.attempt());
    else
      send(parts_, parts_.prefill_node(request.result), parts_.front_node, ReplayMessage::prefilled,
           work.slot, request.result.attempt());
  }
  if (stage_done) {
    const std::uint32_t before = work.chunk == 0 ? 0 : request.chunk_ends[work.chunk - 1];
    const std::uint32_t tokens = request.chunk_ends[work.chunk] - before;
    parts_.observer.prefill_step({index, chunk_done ? tokens : 0, work.start_ns, at});
    stage.work.pop_front();
    stage.layer = stage.first_layer;
  }
  schedule(index, stage_index);
  const bool unit_done = by_layer(streaming) || (streaming == Streaming::chunk && chunk_done) ||
                         (streaming == Streaming::request && prefill_done);
  const bool counts = streaming != Streaming::layer || last_chunk;
  if (unit_done && counts)
    readable(now, work.slot, streaming == Streaming::chunk_layer ? stage_index : 0, 1);
  if (stage_done && stage_index == 0) start_prefill(at, now, index);
  tell_state(now, index);
}

/// What has changed of an instance.
void PrefillSide::tell_state(TimeNs now, std::uint32_t index) {
  State& state = *states_[index];
  const std::uint32_t pages =
      state.pool.pages() - state.pool.free_pages() - state.cache.idle_pages();
  const auto waiting = static_cast<std::uint32_t>(state.queue.size());
  if (pages == state.told.pages && waiting == state.told.waiting) return;
  state.told = {InstanceRole::prefill, index, pages, waiting, now};
  parts_.observer.instance_changed(state.told);
}

bool PrefillSide::fill_due() const {
  return std::any_of(states_.begin(), states_.end(),
                     [](const auto& state) { return state && state->fill_due; });
}

void PrefillSide::fill_one() {
  for (const auto& state : states_)
    if (state && state->fill_due) return fill_prompt(*state);
}

/// Writes into the source pages of the newest prompt, once, what nothing else has: the numbers of
/// attempt and place are in it. Pages that come from the cache already hold what an earlier request
/// wrote.
void PrefillSide::fill_prompt(State& state) {
  if (!state.fill_due) return;
  state.fill_due = false;
  const Request& request = requests_[state.newest];
  const RequestResult& result = request.result;
  if (result.cached_tokens >= result.input_tokens) return;
  const Instance& instance = parts_.prefill[result.prefill_instance];
  for (std::uint32_t rank = 0; rank < parts_.source_ranks.size(); ++rank) {
    const RankGeometry& geometry = parts_.source_ranks[rank];
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
                         mix64(result.attempt()) ^ mix64(piece.source_offset + rank)});
    parts_.backend.fill_ranges(instance.segments[rank], ranges_);
  }
}

/// Whoever moves it is told.
void PrefillSide::readable(TimeNs now, std::uint32_t slot, std::uint32_t stream,
                           std::uint32_t units) {
  Request& request = requests_[slot];
  const std::uint32_t all = request.readable_units[stream] += units;
  if (mover_ != nullptr) {
    mover_->announce(now, slot, stream, all, request.prefilled ? request.result.prefill_end_ns : 0);
    return;
  }
  if (request.peer_lost) {
    if (request.prefilled) release_source(now, slot, false);
    return;
  }
  send(parts_, parts_.prefill_node(request.result), parts_.decode_node(request.result),
       ReplayMessage::readable, slot, request.result.attempt(),
       {stream, all, static_cast<std::uint64_t>(request.result.prefill_end_ns)});
}

// ---- The end of a request here ----------------------------------------------------------------

void PrefillSide::message(TimeNs now, const ControlMessage& message) {
  const std::uint32_t slot = message.place;
  if (slot >= requests_.size() || !requests_[slot].open ||
      requests_[slot].result.attempt() != message.value2)
    return;
  BodyReader body(message.body);
  if (static_cast<ReplayMessage>(message.kind) == ReplayMessage::table) {
    const PageList pages = body.pages();
    if (mover_ != nullptr && mover_->moves(slot, message.value2) && body.whole())
      mover_->target_known(now, slot, pages);
  } else if (static_cast<ReplayMessage>(message.kind) == ReplayMessage::release) {
    release_source(now, slot, body.word() == 0);
  } else if (static_cast<ReplayMessage>(message.kind) == ReplayMessage::withdraw) {
    withdraw(now, slot, message.value2);
  }
}

void PrefillSide::moved(TimeNs now, std::uint32_t slot, KvMove move) {
  const RequestResult& result = requests_[slot].result;
  if (!requests_[slot].peer_lost) {
    BodyWriter body;
    body.add(move.failed, result.prefill_end_ns, move.bytes, move.handed_over_ns);
    write_handover(body, move.handover);
    write_rows(body, move.rows);
    send(parts_, parts_.prefill_node(result), parts_.decode_node(result), ReplayMessage::landed,
         slot, result.attempt(), body.take());
  }
  release_source(now, slot, !move.failed);
}

/// `moved`: all of its KV, and nothing of it was lost; then whole blocks are kept in the prefix
/// cache.
void PrefillSide::release_source(TimeNs now, std::uint32_t slot, bool moved) {
  Request& request = requests_[slot];
  const RequestResult& result = request.result;
  State& state = *states_[result.prefill_instance];
  const std::uint32_t block_tokens = state.cache.block_tokens();
  const bool aligned = block_tokens != 0 && result.cached_tokens % block_tokens == 0;
  const std::uint32_t whole = aligned && moved ? result.input_tokens / block_tokens : 0;
  // In this order: the cache lets go of a block before the ones that lead to it.
  state.cache.keep(request.prefix_blocks, request.pinned_blocks, request.own_pages, whole);
  state.cache.unpin(request.prefix_blocks, request.pinned_blocks);
  request.open = false;
  if (state.newest == slot) state.fill_due = false;
  const std::uint32_t index = result.prefill_instance;
  if (front_ != nullptr)
    front_->source_free(now, slot, result.attempt(), moved);
  else
    send(parts_, parts_.prefill_node(result), parts_.front_node, ReplayMessage::source_free, slot,
         result.attempt(), {moved ? 1u : 0u});
  start_prefill(now, now, index);
  tell_state(now, index);
}

void PrefillSide::withdraw(TimeNs now, std::uint32_t slot, std::uint64_t attempt) {
  if (slot >= requests_.size() || !requests_[slot].open ||
      requests_[slot].result.attempt() != attempt)
    return;
  Request& request = requests_[slot];
  const RequestResult& result = request.result;
  if (std::erase(states_[result.prefill_instance]->queue, slot) == 0) {
    if (mover_ != nullptr) return mover_->withdraw(now, slot);
    return send(parts_, parts_.prefill_node(result), parts_.decode_node(result),
                ReplayMessage::cancel, slot, attempt);
  }
  request.open = false;  // it has no pages yet
  const std::uint32_t index = result.prefill_instance;
  if (front_ != nullptr)
    front_->returned(now, slot, attempt);
  else
    send(parts_, parts_.prefill_node(result), parts_.front_node, ReplayMessage::returned, slot,
         attempt);
  start_prefill(now, now, index);  // the next one may fit into pages for which this one waited
  tell_state(now, index);
}

void PrefillSide::peer_lost(TimeNs now, std::uint32_t slot, std::uint64_t attempt) {
  if (slot >= requests_.size() || !requests_[slot].open ||
      requests_[slot].result.attempt() != attempt)
    return;
  Request& request = requests_[slot];
  State& state = *states_[request.result.prefill_instance];
  request.peer_lost = true;
  const auto queued = std::find(state.queue.begin(), state.queue.end(), slot);
  if (queued != state.queue.end()) {  // it has no pages yet
    state.queue.erase(queued);
    release_source(now, slot, false);
  } else if (mover_ != nullptr) {
    mover_->peer_lost(now, slot, false);
  } else if (request.prefilled) {
    release_source(now, slot, false);
  }
}

}  // namespace kvhaul
