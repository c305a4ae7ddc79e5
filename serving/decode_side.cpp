#include "serving/decode_side.h"

#include <algorithm>
#include <deque>
#include <queue>
#include <utility>

#include "core/random.h"
#include "serving/front.h"
#include "serving/kv_pool.h"
#include "serving/replay_messages.h"

namespace kvhaul {

struct DecodeSide::Request {
  RequestResult result{.request = ~std::uint64_t{0}};
  bool open = false;
  bool landed = false;
  PageList target_pages;
  std::vector<TransferRow> rows;
};

struct DecodeSide::State {
  State(std::uint32_t pages, const Contiguity& contiguity, std::uint64_t seed)
      : pool(pages, contiguity, seed) {}

  struct Member {
    std::uint64_t last_step = 0;
    std::uint32_t slot = 0;
    bool operator>(const Member& other) const {
      return last_step != other.last_step ? last_step > other.last_step : slot > other.slot;
    }
  };

  KvPool pool;
  std::deque<std::uint32_t> wants_pages;
  std::deque<std::uint32_t> landed;  // waits for the next step
  std::size_t landed_in_step = 0;    // the last so many of them, while a step was running
  std::priority_queue<Member, std::vector<Member>, std::greater<>> running;
  std::uint64_t step = 0;
  bool stepping = false;
  TimeNs step_began_ns = 0;
  InstanceState told;      // to the observer
  std::size_t coming = 0;  // have pages, and their KV has not landed
  TimeNs counted_ns = 0;   // count_waits() was there, and since then:
  bool no_pages = false;   // there are none for the first in wants_pages
  std::size_t counted_coming = 0, counted_seatless = 0, counted_decoding = 0;
  double context_tokens = 0;  // of the running ones
  double window_bytes = 0;    // what their windowed layers keep
};

DecodeSide::DecodeSide(ReplayParts& parts, Front* front) : parts_(parts), front_(front) {
  const Random random(parts.config.seed);
  for (std::size_t i = 0; i < parts.decode.size(); ++i)
    states_.push_back(parts.decode[i].here ? std::make_unique<State>(parts.target_ranks[0].pages,
                                                                     parts.config.decode.contiguity,
                                                                     random.derived(2000 + i)())
                                           : nullptr);
}

DecodeSide::~DecodeSide() = default;

void DecodeSide::message(TimeNs now, const ControlMessage& message) {
  const std::uint32_t slot = message.place;
  const auto kind = static_cast<ReplayMessage>(message.kind);
  if (kind == ReplayMessage::reserve) return begin(now, slot, message);
  Request& request = requests_[slot];
  if (!request.open || request.result.attempt() != message.value2) return;
  BodyReader body(message.body);
  if (kind == ReplayMessage::readable) {
    std::uint32_t stream = 0, units = 0;
    TimeNs prefill_end_ns = 0;
    body.take(stream, units, prefill_end_ns);
    if (mover_ == nullptr || !mover_->moves(slot, message.value2) || !body.whole() ||
        stream >= unit_streams(parts_.config))
      return;
    // Only the last unit of all is said together with the end of prefill.
    if (prefill_end_ns != 0) request.result.prefill_end_ns = prefill_end_ns;
    const std::size_t chunks =
        plan_chunks(parts_.config, request.result.cached_tokens, request.result.input_tokens)
            .size();
    units = std::min(units, units_of_stream(parts_.config, stream, chunks));
    mover_->announce(now, slot, stream, units, prefill_end_ns);
  } else if (kind == ReplayMessage::cancel) {
    if (mover_ != nullptr && mover_->moves(slot, message.value2)) mover_->withdraw(now, slot);
  } else if (kind == ReplayMessage::landed) {
    const bool failed = body.word() != 0;
    TimeNs handed_over_ns = 0;
    body.take(request.result.prefill_end_ns, request.result.bytes, handed_over_ns);
    request.result.handover = read_handover(body);
    request.rows = read_rows(body);
    landed(now, slot, failed, handed_over_ns);
  }
}

/// A request whose prefill begins: it wants pages.
void DecodeSide::begin(TimeNs now, std::uint32_t slot, const ControlMessage& message) {
  BodyReader body(message.body);
  Request request;
  request.result = read_request(body);
  request.open = true;
  const RequestResult& result = request.result;
  if (!body.whole() || result.decode_instance >= states_.size() ||
      !states_[result.decode_instance] || result.prefill_instance >= parts_.prefill.size())
    return;
  // The front may have heard first that its prefill side is gone.
  if (requests_[slot].result.attempt() == result.attempt()) return;
  if (mover_ != nullptr) {
    KvMove move(result);
    move.chunk_ends = plan_chunks(parts_.config, result.cached_tokens, result.input_tokens);
    body.take(move.prefill_end_expected_ns);
    move.source_pages = body.pages();
    if (!body.whole()) return;
    mover_->begin(slot, std::move(move));
  }
  const std::uint32_t index = result.decode_instance;
  requests_[slot] = std::move(request);
  states_[index]->wants_pages.push_back(slot);
  reserve(now, index);
  tell_state(now, index);
}

/// Gives pages to those that asked, in order.
void DecodeSide::reserve(TimeNs now, std::uint32_t index) {
  State& state = *states_[index];
  while (!state.wants_pages.empty()) {
    const std::uint32_t slot = state.wants_pages.front();
    Request& request = requests_[slot];
    if (!state.pool.allocate(target_pages_of(parts_.config, request.result), request.target_pages))
      return count_waits(now, state);
    state.wants_pages.pop_front();
    ++state.coming;
    parts_.counters.target_runs += request.target_pages.size();
    if (mover_ != nullptr) {
      mover_->target_known(now, slot, request.target_pages);
    } else {
      BodyWriter body;
      body.pages(request.target_pages);
      send(parts_, parts_.decode_node(request.result), parts_.prefill_node(request.result),
           ReplayMessage::table, slot, request.result.attempt(), body.take(),
           message_bytes + page_run_bytes * request.target_pages.size());
    }
  }
  count_waits(now, state);
}

void DecodeSide::moved(TimeNs now, std::uint32_t slot, KvMove move) {
  Request& request = requests_[slot];
  request.result.bytes = move.bytes;
  request.result.handover = move.handover;
  request.rows = std::move(move.rows);
  if (!move.peer_lost)
    send(parts_, parts_.decode_node(request.result), parts_.prefill_node(request.result),
         ReplayMessage::release, slot, request.result.attempt(), {move.failed ? 1u : 0u});
  landed(now, slot, move.failed, move.handed_over_ns);
}

/// What the request waited for is known up to `handed_over_ns`; then this side had to be told.
void DecodeSide::landed(TimeNs now, std::uint32_t slot, bool failed, TimeNs handed_over_ns) {
  Request& request = requests_[slot];
  request.landed = true;
  if (!request.target_pages.empty()) --states_[request.result.decode_instance]->coming;
  request.result.landed_ns = request.result.joined_ns = now;
  request.result.handover.transfer[PathPart::detect] += now - handed_over_ns;
  const std::uint32_t index = request.result.decode_instance;
  if (failed) {
    request.result.outcome = RequestOutcome::transfer_failed;
    std::erase(states_[index]->wants_pages, slot);  // it was withdrawn before it had any
  }
  if (failed || request.result.output_tokens == 1) {
    finish(now, slot);
    reserve(now, index);  // no decode step will
  } else {
    states_[index]->landed.push_back(slot);
    ++states_[index]->landed_in_step;
    begin_steps(now, index);
  }
  tell_state(now, index);
}

/// What has changed of an instance.
void DecodeSide::tell_state(TimeNs now, std::uint32_t index) {
  State& state = *states_[index];
  const std::uint32_t pages = state.pool.pages() - state.pool.free_pages();
  const auto waiting = static_cast<std::uint32_t>(state.wants_pages.size() + state.landed.size());
  if (pages == state.told.pages && waiting == state.told.waiting) return;
  state.told = {InstanceRole::decode, index, pages, waiting, now};
  parts_.observer.instance_changed(state.told);
}

/// After everything that can change either wait.
void DecodeSide::count_waits(TimeNs now, State& state) {
  const TimeNs passed = std::max<TimeNs>(0, now - state.counted_ns);
  const std::size_t all = state.counted_coming + state.counted_seatless + state.counted_decoding;
  if (state.no_pages && all != 0 && passed != 0) {
    const auto share = [&](std::size_t of) {
      return static_cast<TimeNs>(static_cast<Wide>(passed) * of / all);
    };
    parts_.counters.no_pages_coming_ns += share(state.counted_coming);
    parts_.counters.no_pages_seatless_ns += share(state.counted_seatless);
    parts_.counters.no_pages_decoding_ns += share(state.counted_decoding);
  }
  state.counted_ns = std::max(state.counted_ns, now);
  state.no_pages = !state.wants_pages.empty();
  state.counted_coming = state.coming;
  state.counted_seatless = state.landed.size();
  state.counted_decoding = state.running.size();
}

/// Between two steps: what has landed joins, and the next step begins.
void DecodeSide::begin_steps(TimeNs at, std::uint32_t index) {
  State& state = *states_[index];
  if (state.stepping) return;
  const ModelShape& model = parts_.config.model;
  for (; state.landed_in_step != 0; --state.landed_in_step) {
    RequestResult& result =
        requests_[state.landed[state.landed.size() - state.landed_in_step]].result;
    result.handover.step_ns = std::max<TimeNs>(0, at - result.landed_ns);
  }
  while (!state.landed.empty() && state.running.size() < parts_.config.max_batch) {
    const std::uint32_t slot = state.landed.front();
    state.landed.pop_front();
    RequestResult& result = requests_[slot].result;
    at = std::max(at, result.landed_ns);  // in real time a step may begin late
    result.joined_ns = at;
    result.handover.seat_ns = at - result.landed_ns - result.handover.step_ns;
    state.context_tokens += result.input_tokens;
    state.window_bytes += static_cast<double>(model.token_layer_bytes()) * model.windowed_layers() *
                          std::min(result.input_tokens, model.window_tokens);
    // Prefill made the first token; the others take a step each.
    state.running.push({state.step + result.output_tokens - 1, slot});
  }
  if (state.running.empty()) return;
  state.stepping = true;
  state.step_began_ns = at;
  const double global_bytes =
      static_cast<double>(model.token_layer_bytes()) * (model.layers - model.windowed_layers());
  const double kv_bytes = state.context_tokens * global_bytes + state.window_bytes;
  const TimeNs step = pipelined_step_ns(*parts_.config.decode.timing, parts_.config.decode.pp,
                                        static_cast<std::uint32_t>(state.running.size()), kv_bytes,
                                        state.context_tokens);
  parts_.agenda.add(at + step, Agenda::Kind::decode, index);
}

void DecodeSide::step(TimeNs at, TimeNs now, std::uint32_t index) {
  State& state = *states_[index];
  const ModelShape& model = parts_.config.model;
  state.stepping = false;
  ++state.step;
  state.context_tokens += static_cast<double>(state.running.size());
  parts_.observer.decode_step(
      {index, static_cast<std::uint32_t>(state.running.size()), state.step_began_ns, at});
  while (!state.running.empty() && state.running.top().last_step <= state.step) {
    const std::uint32_t slot = state.running.top().slot;
    state.running.pop();
    const RequestResult& result = requests_[slot].result;
    state.context_tokens -= static_cast<double>(result.input_tokens) + result.output_tokens - 1;
    state.window_bytes -= static_cast<double>(model.token_layer_bytes()) * model.windowed_layers() *
                          std::min(result.input_tokens, model.window_tokens);
    finish(at, slot);
  }
  reserve(now, index);
  begin_steps(at, index);
  count_waits(now, state);
  tell_state(now, index);
}

void DecodeSide::finish(TimeNs now, std::uint32_t slot) {
  Request& request = requests_[slot];
  request.result.finished_ns = now;
  states_[request.result.decode_instance]->pool.release(request.target_pages);
  request.target_pages.clear();
  request.open = false;
  if (front_ != nullptr) {
    front_->finished(now, slot, request.result, request.rows);
    return;
  }
  BodyWriter body;
  write_request(body, request.result);
  write_rows(body, request.rows);
  send(parts_, parts_.decode_node(request.result), parts_.front_node, ReplayMessage::finished, slot,
       request.result.attempt(), body.take());
}

void DecodeSide::peer_lost(TimeNs now, std::uint32_t slot, const RequestResult& result) {
  Request& request = requests_[slot];
  if (request.result.attempt() != result.attempt()) {  // it never came here
    request = {};
    request.result = result;
    request.result.prefill_start_ns = now;
    request.open = true;
  }
  if (!request.open || request.landed) return;
  if (request.result.prefill_end_ns == 0) request.result.prefill_end_ns = now;
  std::erase(states_[request.result.decode_instance]->wants_pages, slot);
  if (mover_ != nullptr && mover_->moves(slot, result.attempt()))
    mover_->peer_lost(now, slot, true);
  else
    landed(now, slot, true, now);
  tell_state(now, request.result.decode_instance);
}

}  // namespace kvhaul
