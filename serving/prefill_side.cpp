#include "serving/prefill_side.h"

#include <algorithm>
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
  std::uint32_t readable_units = 0;  // computed
  bool prefilled = false;
  bool peer_lost = false;
};

struct PrefillSide::State {
  State(std::uint32_t pages, const ReplayConfig& config, std::uint32_t block_tokens,
        std::uint64_t seed)
      : pool(pages, config.prefill.contiguity, seed),
        cache(pool, block_tokens, config.prefill.page_tokens) {}

  KvPool pool;
  PrefixCache cache;
  std::deque<std::uint32_t> queue;  // slots
  std::uint32_t current = no_id;
  std::uint32_t chunk = 0;
  std::uint32_t layer = 0;  // the next one to be done
  TimeNs chunk_start_ns = 0;
  TimeNs chunk_ns = 0;
  bool fill_due = false;  // of the pages of `current`
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
  state.queue.push_back(slot);
  if (state.current == no_id) start_prefill(at, now, result.prefill_instance);
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

/// Takes the next request if its pages can be had.
void PrefillSide::start_prefill(TimeNs at, TimeNs now, std::uint32_t index) {
  const ReplayConfig& config = parts_.config;
  State& state = *states_[index];
  if (state.current != no_id || state.queue.empty()) return;
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
    if (fewer >= hits || !take_source_pages(state, request, fewer)) return;
  }
  state.queue.pop_front();
  state.current = slot;
  result.prefill_start_ns = at;
  parts_.counters.cached_tokens += result.cached_tokens;
  parts_.counters.source_runs += request.source_pages.size();
  request.chunk_ends = plan_chunks(config, result.cached_tokens, result.input_tokens);

  // What is cached is readable at once; it is the first chunk and takes no time.
  state.chunk = result.cached_tokens != 0 ? 1 : 0;
  state.layer = 0;
  state.chunk_start_ns = at;
  TimeNs end = at;
  for (std::size_t c = state.chunk, before = result.cached_tokens; c < request.chunk_ends.size();
       before = request.chunk_ends[c++])
    end += config.prefill.timing->prefill_ns(
        request.chunk_ends[c] - static_cast<std::uint32_t>(before),
        static_cast<std::uint32_t>(before));
  request.prefill_end_expected_ns = end;
  begin_move(slot);
  state.fill_due = parts_.backend.moves_bytes();
  if (config.busy_prefill)
    for (const PlaceId place : config.prefill.instances[index])
      parts_.backend.occupy(place, end - at);
  schedule(index);
  if (result.cached_tokens != 0) {
    if (config.streaming == Streaming::chunk_layer) readable(now, slot, config.model.layers);
    if (config.streaming == Streaming::chunk) readable(now, slot, 1);
  }
}

/// Tells the decode side, which reserves pages; in pull it also learns what it will read.
void PrefillSide::begin_move(std::uint32_t slot) {
  const Request& request = requests_[slot];
  const RequestResult& result = request.result;
  BodyWriter body;
  write_request(body, result);
  if (mover_ != nullptr) {
    KvMove move;
    move.request = result.request;
    move.input_tokens = result.input_tokens;
    move.prefill_instance = result.prefill_instance;
    move.decode_instance = result.decode_instance;
    move.chunk_ends = request.chunk_ends;
    move.source_pages = request.source_pages;
    move.prefill_end_expected_ns = request.prefill_end_expected_ns;
    mover_->begin(slot, std::move(move));
  } else {
    body.add(request.prefill_end_expected_ns).pages(request.source_pages);
  }
  send(parts_, parts_.prefill_node(result), parts_.decode_node(result), ReplayMessage::reserve,
       slot, result.request, body.take());
}

/// The next event of the running chunk: its next layer, or its end.
void PrefillSide::schedule(std::uint32_t index) {
  const ReplayConfig& config = parts_.config;
  State& state = *states_[index];
  const Request& request = requests_[state.current];
  const Timing& timing = *config.prefill.timing;
  if (state.layer == 0) {
    const std::uint32_t before = state.chunk == 0 ? 0 : request.chunk_ends[state.chunk - 1];
    state.chunk_ns = timing.prefill_ns(request.chunk_ends[state.chunk] - before, before);
  }
  const bool last_chunk = state.chunk + 1 == request.chunk_ends.size();
  const bool layers_matter = config.streaming == Streaming::chunk_layer ||
                             (config.streaming == Streaming::layer && last_chunk);
  TimeNs after = state.chunk_ns;
  if (layers_matter) {
    // (chunk, layer) is readable at start + t0 + (layer + 1) t_layer.
    const TimeNs start = std::min(timing.prefill_start_ns(), state.chunk_ns);
    after = start + (state.chunk_ns - start) * (state.layer + 1) / config.model.layers;
  } else {
    state.layer = config.model.layers - 1;
  }
  parts_.agenda.add(state.chunk_start_ns + after, Agenda::Kind::prefill, index);
}

void PrefillSide::step(TimeNs at, TimeNs now, std::uint32_t index) {
  const Streaming streaming = parts_.config.streaming;
  State& state = *states_[index];
  const std::uint32_t slot = state.current;
  Request& request = requests_[slot];
  const bool chunk_done = ++state.layer == parts_.config.model.layers;
  const bool last_chunk = state.chunk + 1 == request.chunk_ends.size();
  const bool prefill_done = chunk_done && last_chunk;
  fill_prompt(state);
  if (prefill_done) {
    request.prefilled = true;
    request.result.prefill_end_ns = at;
    state.current = no_id;
    if (front_ != nullptr)
      front_->prefilled(slot, request.result.request);
    else
      send(parts_, parts_.prefill_node(request.result), parts_.front_node, ReplayMessage::prefilled,
           slot, request.result.request);
  } else {
    if (chunk_done) {
      ++state.chunk;
      state.layer = 0;
      state.chunk_start_ns = at;
    }
    schedule(index);
  }
  const bool unit_done = by_layer(streaming) || (streaming == Streaming::chunk && chunk_done) ||
                         (streaming == Streaming::request && prefill_done);
  const bool counts = streaming != Streaming::layer || last_chunk;
  if (unit_done && counts) readable(now, slot, 1);
  if (prefill_done) start_prefill(at, now, index);
}

bool PrefillSide::fill_due() const {
  return std::any_of(states_.begin(), states_.end(),
                     [](const auto& state) { return state && state->fill_due; });
}

void PrefillSide::fill_one() {
  for (const auto& state : states_)
    if (state && state->fill_due) return fill_prompt(*state);
}

/// Writes into the source pages of the current prompt, once, what nothing else has: the numbers of
/// request and place are in it. Pages that come from the cache already hold what an earlier request
/// wrote.
void PrefillSide::fill_prompt(State& state) {
  if (!state.fill_due) return;
  state.fill_due = false;
  const Request& request = requests_[state.current];
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
                         mix64(result.request) ^ mix64(piece.source_offset + rank)});
    parts_.backend.fill_ranges(instance.segments[rank], ranges_);
  }
}

/// Whoever moves it is told.
void PrefillSide::readable(TimeNs now, std::uint32_t slot, std::uint32_t units) {
  Request& request = requests_[slot];
  request.readable_units += units;
  if (mover_ != nullptr) {
    mover_->announce(now, slot, request.readable_units, request.prefilled);
    return;
  }
  if (request.peer_lost) {
    if (request.prefilled) release_source(now, slot, false);
    return;
  }
  send(parts_, parts_.prefill_node(request.result), parts_.decode_node(request.result),
       ReplayMessage::readable, slot, request.result.request,
       {request.readable_units, static_cast<std::uint64_t>(request.result.prefill_end_ns)});
}

// ---- The end of a request here ----------------------------------------------------------------

void PrefillSide::message(TimeNs now, const ControlMessage& message) {
  const std::uint32_t slot = message.place;
  if (slot >= requests_.size() || !requests_[slot].open ||
      requests_[slot].result.request != message.value2)
    return;
  BodyReader body(message.body);
  if (static_cast<ReplayMessage>(message.kind) == ReplayMessage::table) {
    const PageList pages = body.pages();
    if (mover_ != nullptr && mover_->moves(slot, message.value2) && body.whole())
      mover_->target_known(now, slot, pages);
  } else if (static_cast<ReplayMessage>(message.kind) == ReplayMessage::release) {
    release_source(now, slot, body.word() == 0);
  }
}

void PrefillSide::moved(TimeNs now, std::uint32_t slot, KvMove move) {
  const RequestResult& result = requests_[slot].result;
  if (!requests_[slot].peer_lost) {
    BodyWriter body;
    body.add(move.failed, result.prefill_end_ns, move.bytes);
    write_rows(body, move.rows);
    send(parts_, parts_.prefill_node(result), parts_.decode_node(result), ReplayMessage::landed,
         slot, result.request, body.take());
  }
  release_source(now, slot, !move.failed);
}

/// Whole blocks are kept in the prefix cache, unless the request failed.
void PrefillSide::release_source(TimeNs now, std::uint32_t slot, bool keep) {
  Request& request = requests_[slot];
  const RequestResult& result = request.result;
  State& state = *states_[result.prefill_instance];
  const std::uint32_t block_tokens = state.cache.block_tokens();
  const bool aligned = block_tokens != 0 && result.cached_tokens % block_tokens == 0;
  const std::uint32_t whole = aligned && keep ? result.input_tokens / block_tokens : 0;
  // In this order: the cache lets go of a block before the ones that lead to it.
  state.cache.keep(request.prefix_blocks, request.pinned_blocks, request.own_pages, whole);
  state.cache.unpin(request.prefix_blocks, request.pinned_blocks);
  request.open = false;
  if (state.current == slot) state.fill_due = false;
  const std::uint32_t index = result.prefill_instance;
  if (front_ != nullptr)
    front_->source_free(slot, result.request);
  else
    send(parts_, parts_.prefill_node(result), parts_.front_node, ReplayMessage::source_free, slot,
         result.request);
  start_prefill(now, now, index);
}

void PrefillSide::peer_lost(TimeNs now, std::uint32_t slot, std::uint64_t number) {
  if (slot >= requests_.size() || !requests_[slot].open || requests_[slot].result.request != number)
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
