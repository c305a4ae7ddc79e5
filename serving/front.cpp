#include "serving/front.h"

#include <algorithm>
#include <utility>

#include "serving/decode_side.h"
#include "serving/prefill_side.h"

namespace kvhaul {

Front::Front(ReplayParts& parts, TraceReader& trace)
    : parts_(parts),
      trace_(trace),
      health_(parts.prefill.size(), parts.decode.size(), parts.config.failover.probe_after_ns) {}

void Front::start(PrefillSide& prefill, DecodeSide& decode) {
  prefill_ = &prefill;
  decode_ = &decode;
  prefill_loads_.resize(parts_.prefill.size());
  decode_loads_.resize(parts_.decode.size());
  read_next();
}

void Front::read_next() {
  auto more = trace_.next(next_request_);
  if (!more) {
    trace_error_ = more.error();
  } else if (*more && next_request_.arrival_ns > trace_span_max_ns) {
    trace_error_ = Error::bad_input("line " + std::to_string(next_request_.line) +
                                    " of the trace arrives more than 73 years after its start");
  }
  if (trace_error_ || !*more) {
    trace_ended_ = true;
    return;
  }
  parts_.agenda.add(next_request_.arrival_ns, Agenda::Kind::arrival, 0);
}

std::uint32_t Front::new_slot() {
  if (free_slots_.empty()) return requests_.size();
  const std::uint32_t slot = free_slots_.back();
  free_slots_.pop_back();
  return slot;
}

void Front::arrive(TimeNs at, TimeNs now) {
  ++parts_.counters.requests;
  RequestResult result;
  result.request = next_number_++;
  result.line = next_request_.line;
  result.input_tokens = next_request_.input_tokens;
  result.output_tokens = next_request_.output_tokens;
  result.arrival_ns = at;
  std::vector<std::uint64_t> prefix_blocks;
  prefix_blocks.swap(next_request_.prefix_blocks);

  const std::uint32_t source_pages =
      pages_for(result.input_tokens, parts_.config.prefill.page_tokens);
  const std::uint32_t target_pages = target_pages_of(parts_.config, result);
  const bool too_large =
      source_pages > parts_.source_ranks[0].pages || target_pages > parts_.target_ranks[0].pages;
  read_next();
  if (result.output_tokens == 0 || too_large) {
    result.outcome =
        result.output_tokens == 0 ? RequestOutcome::failed_in_trace : RequestOutcome::too_large;
    return end(result, {});
  }
  Waiting waiting;
  waiting.result = result;
  waiting.prefix_blocks.swap(prefix_blocks);
  if (!begin(at, now, waiting)) wait(now, std::move(waiting));
}

/// Gives a request to two instances; false, and nothing taken, where there are none.
bool Front::begin(TimeNs at, TimeNs now, Waiting& waiting) {
  const auto prefill = choose_prefill(now, waiting.result, waiting.prefix_blocks);
  if (!prefill) return false;
  const std::uint32_t slot = new_slot();
  Request& request = requests_[slot];
  request = {};
  RequestResult& result = request.result;
  result.request = waiting.result.request;
  result.line = waiting.result.line;
  result.slot = slot;
  result.input_tokens = waiting.result.input_tokens;
  result.output_tokens = waiting.result.output_tokens;
  result.arrival_ns = waiting.result.arrival_ns;
  result.retries = waiting.result.retries + (waiting.again ? 1 : 0);
  result.prefill_instance = *prefill;
  result.decode_instance = choose_decode(now, *prefill);
  request.rows = std::move(waiting.rows);
  request.begun_ns = now;
  request.open = true;
  ++open_requests_;
  ReplayCounters& counters = parts_.counters;
  counters.input_tokens += result.input_tokens;
  counters.retries += waiting.again ? 1 : 0;
  counters.retried += result.retries == 1 ? 1 : 0;
  health_.begun(now, *prefill, result.decode_instance);
  decode_loads_[result.decode_instance].pages += target_pages_of(parts_.config, result);
  prefill_loads_[*prefill].tokens += result.input_tokens;
  if (result.retries < parts_.config.failover.retries)
    request.prefix_blocks = waiting.prefix_blocks;
  if (parts_.prefill[*prefill].here) {
    prefill_->assign(at, now, slot, result, waiting.prefix_blocks);
    return true;
  }
  BodyWriter body;
  write_request(body, result);
  for (const std::uint64_t block : waiting.prefix_blocks) body.add(block);
  send(parts_, parts_.front_node, parts_.prefill_node(result), ReplayMessage::assign, slot,
       result.attempt(), body.take());
  return true;
}

/// Says what became of a request.
void Front::end(const RequestResult& result, const std::vector<TransferRow>& rows) {
  ReplayCounters& counters = parts_.counters;
  switch (result.outcome) {
    case RequestOutcome::completed:
      ++counters.completed;
      break;
    case RequestOutcome::transfer_failed:
      ++counters.transfer_failed;
      break;
    case RequestOutcome::too_large:
      ++counters.too_large;
      break;
    case RequestOutcome::failed_in_trace:
      ++counters.failed_in_trace;
      break;
  }
  ++requests_done_;
  const bool replayed = result.outcome == RequestOutcome::completed ||
                        result.outcome == RequestOutcome::transfer_failed;
  parts_.observer.request_done(replayed ? in_order(result) : result, rows);
}

// ---- Where a request goes -------------------------------------------------------------------

/// What speaks against giving a request to these two; InstanceHealth::gone or more forbids it.
std::uint32_t Front::doubts(TimeNs now, std::uint32_t prefill, std::uint32_t decode) const {
  const Instance& from = parts_.prefill[prefill];
  const Instance& to = parts_.decode[decode];
  if (is_lost(from) || is_lost(to) || parted_.count(std::minmax({from.node, to.node})) != 0)
    return no_id;
  return parts_.config.failover.retries == 0 ? 0 : health_.doubts(now, prefill, decode);
}

std::uint32_t Front::least_doubts(TimeNs now, std::uint32_t prefill) const {
  std::uint32_t least = no_id;
  for (std::uint32_t i = 0; i < parts_.decode.size() && least != 0; ++i)
    least = std::min(least, doubts(now, prefill, i));
  return least;
}

std::optional<std::uint32_t> Front::choose_prefill(
    TimeNs now, const RequestResult& request, const std::vector<std::uint64_t>& prefix_blocks) {
  const auto count = static_cast<std::uint32_t>(parts_.prefill.size());
  std::uint32_t least = no_id;
  for (std::uint32_t i = 0; i < count && least != 0; ++i)
    least = std::min(least, least_doubts(now, i));
  if (least >= InstanceHealth::gone) return std::nullopt;
  if (parts_.config.prefill_routing == PrefillRouting::round_robin) {
    for (std::uint32_t tries = 0; tries < count; ++tries)
      if (const std::uint32_t i = next_prefill_++ % count; least_doubts(now, i) == least) return i;
    return std::nullopt;
  }
  std::optional<std::uint32_t> best;
  std::uint64_t best_load = ~std::uint64_t{0};
  for (std::uint32_t i = 0; i < count; ++i) {
    if (least_doubts(now, i) != least) continue;
    std::uint64_t load = prefill_loads_[i].tokens;
    if (parts_.config.prefill_routing == PrefillRouting::most_cached) {
      // Tokens to compute until this one is done: what is queued, and what of it is not cached.
      load +=
          request.input_tokens - std::min<std::uint64_t>(prefill_->cached_tokens(i, prefix_blocks),
                                                         request.input_tokens - 1);
    }
    if (load >= best_load) continue;
    best_load = load;
    best = i;
  }
  return best;
}

/// There is one: the prefill instance was chosen for it.
std::uint32_t Front::choose_decode(TimeNs now, std::uint32_t prefill) {
  const auto count = static_cast<std::uint32_t>(parts_.decode.size());
  const std::uint32_t least = least_doubts(now, prefill);
  if (parts_.config.decode_routing == DecodeRouting::round_robin)
    while (true)
      if (const std::uint32_t i = next_decode_++ % count; doubts(now, prefill, i) == least)
        return i;
  std::uint32_t best = no_id;
  for (std::uint32_t i = 0; i < count; ++i)
    if (doubts(now, prefill, i) == least &&
        (best == no_id || decode_loads_[i].pages < decode_loads_[best].pages))
      best = i;
  return best;
}

// ---- Requests that wait for an instance -----------------------------------------------------

void Front::wait(TimeNs now, Waiting waiting) {
  waiting.since_ns = now;
  waiting_.push_back(std::move(waiting));
  wake_at(now);
}

void Front::wake_at(TimeNs at) {
  if (at >= wake_ns_) return;
  wake_ns_ = at;
  parts_.agenda.add(at, Agenda::Kind::failover, 0);
}

void Front::wake(TimeNs at, TimeNs now) {
  if (at != wake_ns_) return;  // it was woken sooner
  wake_ns_ = never_ns;
  const auto is_parted = [&] {  // from each other or from here, for good
    for (std::uint32_t p = 0; p < parts_.prefill.size(); ++p)
      if (least_doubts(now, p) != no_id) return false;
    return true;
  };
  const TimeNs wait_max = is_parted() ? 0 : parts_.config.failover.wait_max_ns();
  while (!waiting_.empty()) {
    Waiting& first = waiting_.front();
    if (!begin(now, now, first)) {
      const TimeNs until = add_time(first.since_ns, wait_max);
      if (until > now) return wake_at(std::min(until, health_.next_ns(now)));
      lose(now, std::move(first));
    }
    waiting_.pop_front();
  }
}

void Front::lose(TimeNs now, Waiting waiting) {
  RequestResult& result = waiting.result;
  result.outcome = RequestOutcome::transfer_failed;
  if (!waiting.again) result.prefill_start_ns = result.prefill_end_ns = now;
  result.landed_ns = result.joined_ns = result.finished_ns = now;
  end(result, waiting.rows);
}

// ---- What becomes of them -------------------------------------------------------------------

void Front::message(TimeNs now, const ControlMessage& message) {
  BodyReader body(message.body);
  switch (static_cast<ReplayMessage>(message.kind)) {
    case ReplayMessage::prefilled:
      return prefilled(message.place, message.value2);
    case ReplayMessage::returned:
      return returned(now, message.place, message.value2);
    case ReplayMessage::source_free:
      return source_free(now, message.place, message.value2, body.word() != 0);
    case ReplayMessage::way: {
      std::uint32_t prefill = 0, decode = 0, blame_prefill = 0;
      WayState state{};
      body.take(prefill, decode, state, blame_prefill);
      if (body.whole() && prefill < parts_.prefill.size() && decode < parts_.decode.size())
        way(now, prefill, decode, state, blame_prefill != 0);
      return;
    }
    case ReplayMessage::node_lost: {
      const auto node = static_cast<NodeId>(body.word());
      if (body.whole() && node < parts_.cluster->nodes.size())
        nodes_parted(now, message.from, node);
      return;
    }
    case ReplayMessage::finished: {
      const RequestResult result = read_request(body);
      const std::vector<TransferRow> rows = read_rows(body);
      if (body.whole()) finished(now, message.place, result, rows);
      return;
    }
    default:
      return;
  }
}

/// What has this slot, unless it is another attempt by now.
Front::Request* Front::find(std::uint32_t slot, std::uint64_t attempt) {
  if (slot >= requests_.size()) return nullptr;
  Request& request = requests_[slot];
  return request.open && request.result.attempt() == attempt ? &request : nullptr;
}

void Front::prefilled(std::uint32_t slot, std::uint64_t attempt) {
  Request* const request = find(slot, attempt);
  if (request == nullptr || request->prefilled) return;
  request->prefilled = true;
  prefill_loads_[request->result.prefill_instance].tokens -= request->result.input_tokens;
}

void Front::returned(TimeNs now, std::uint32_t slot, std::uint64_t attempt) {
  if (find(slot, attempt) == nullptr) return;
  give_up(now, slot);  // its decode side has never heard of it
  source_free(now, slot, attempt, false);
}

void Front::source_free(TimeNs now, std::uint32_t slot, std::uint64_t attempt, bool moved) {
  Request* const request = find(slot, attempt);
  if (request == nullptr || request->source_free) return;
  prefilled(slot, attempt);  // unless it was given up before
  request->source_free = true;
  const RequestResult& result = request->result;
  if (moved)
    health_.worked(result.prefill_instance, result.decode_instance);
  else if (!request->withdrawn)  // which the mover has told of, and whom to blame
    health_.failed(now, request->begun_ns, result.prefill_instance, result.decode_instance);
  if (moved && !waiting_.empty()) wake_at(now);
  close_if_over(now, slot);
}

void Front::way(TimeNs now, std::uint32_t prefill, std::uint32_t decode, WayState state,
                bool blame_prefill) {
  if (state == WayState::usable) {
    health_.reachable(prefill, decode);
    if (!waiting_.empty()) wake_at(now);
    return;
  }
  health_.unreachable(
      now, prefill, decode,
      blame_prefill ? InstanceHealth::Blame::prefill : InstanceHealth::Blame::decode);
  if (state == WayState::gone) withdraw_from(now, prefill, decode);
}

/// Only where there are others to go to; and what would be lost for good stays, and hopes.
void Front::withdraw_from(TimeNs now, std::uint32_t prefill, std::uint32_t decode) {
  bool others = false;
  for (std::uint32_t i = 0; i < parts_.prefill.size(); ++i)
    others = others || least_doubts(now, i) < InstanceHealth::gone;
  if (!others) return;
  for (std::uint32_t slot = 0; slot < requests_.size(); ++slot) {
    Request& request = requests_[slot];
    const RequestResult& result = request.result;
    if (!request.open || request.over || request.source_free || request.withdrawn ||
        result.prefill_instance != prefill || result.decode_instance != decode ||
        result.retries >= parts_.config.failover.retries)
      continue;
    request.withdrawn = true;
    if (parts_.prefill[prefill].here)
      prefill_->withdraw(now, slot, result.attempt());
    else
      send(parts_, parts_.front_node, parts_.prefill_node(result), ReplayMessage::withdraw, slot,
           result.attempt());
  }
}

void Front::finished(TimeNs now, std::uint32_t slot, const RequestResult& result,
                     const std::vector<TransferRow>& rows) {
  Request* const request = find(slot, result.attempt());
  if (request == nullptr || request->over) return;
  decode_loads_[request->result.decode_instance].pages -=
      target_pages_of(parts_.config, request->result);
  request->result = result;
  request->result.slot = slot;
  request->rows.insert(request->rows.end(), rows.begin(), rows.end());
  request->over = true;
  if (result.outcome == RequestOutcome::completed ||
      result.retries >= parts_.config.failover.retries) {
    end(request->result, request->rows);
    parts_.observer.progress(now, requests_done_);
  }
  close_if_over(now, slot);
}

/// When both sides are through with an attempt its slot is free, and the request tried again if its
/// KV was lost.
void Front::close_if_over(TimeNs now, std::uint32_t slot) {
  Request& request = requests_[slot];
  if (!request.over || !request.source_free) return;
  request.open = false;
  free_slots_.push_back(slot);
  --open_requests_;
  if (request.result.outcome != RequestOutcome::completed &&
      request.result.retries < parts_.config.failover.retries)
    wait(now,
         {request.result, std::move(request.prefix_blocks), std::move(request.rows), now, true});
}

// ---- Lost processes -------------------------------------------------------------------------

void Front::node_lost(TimeNs now, NodeId node) {
  if (!lost_nodes_.insert(node).second) return;
  for (std::uint32_t slot = 0; slot < requests_.size(); ++slot) {
    if (!requests_[slot].open) continue;
    const RequestResult& result = requests_[slot].result;
    if (parts_.prefill_node(result) == node || parts_.decode_node(result) == node)
      part_sides(now, slot);
  }
}

void Front::nodes_parted(TimeNs now, NodeId a, NodeId b) {
  const auto pair = std::minmax({a, b});
  if (!parted_.insert(pair).second) return;
  for (std::uint32_t slot = 0; slot < requests_.size(); ++slot) {
    if (!requests_[slot].open) continue;
    const RequestResult& result = requests_[slot].result;
    if (std::minmax({parts_.prefill_node(result), parts_.decode_node(result)}) == pair)
      part_sides(now, slot);
  }
}

/// Neither side of a request waits for the other one any more.
void Front::part_sides(TimeNs now, std::uint32_t slot) {
  const RequestResult result = requests_[slot].result;  // of an attempt that may end meanwhile
  const Instance& prefill = parts_.prefill[result.prefill_instance];
  const Instance& decode = parts_.decode[result.decode_instance];
  if (is_lost(decode))
    give_up(now, slot);
  else if (!requests_[slot].over && decode.here)
    decode_->peer_lost(now, slot, result);
  else if (!requests_[slot].over)
    tell_peer_lost(decode.node, slot, result);
  if (is_lost(prefill))
    source_free(now, slot, result.attempt(), false);
  else if (prefill.here)
    prefill_->peer_lost(now, slot, result.attempt());
  else
    tell_peer_lost(prefill.node, slot, result);
}

void Front::tell_peer_lost(NodeId to, std::uint32_t slot, const RequestResult& result) {
  BodyWriter body;
  write_request(body, result);
  send(parts_, parts_.front_node, to, ReplayMessage::peer_lost, slot, result.attempt(),
       body.take());
}

/// Nobody else will say what became of it.
void Front::give_up(TimeNs now, std::uint32_t slot) {
  if (requests_[slot].over) return;
  RequestResult result = requests_[slot].result;
  result.outcome = RequestOutcome::transfer_failed;
  result.prefill_start_ns = result.prefill_end_ns = result.landed_ns = result.joined_ns =
      result.finished_ns = now;
  finished(now, slot, result, {});
}

}  // namespace kvhaul
