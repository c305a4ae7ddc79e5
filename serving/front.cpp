#include "serving/front.h"

#include <algorithm>
#include <utility>

#include "serving/decode_side.h"
#include "serving/prefill_side.h"
#include "serving/replay_messages.h"

namespace kvhaul {

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
  if (result.output_tokens == 0 || too_large)
    return end_without_replay(result, result.output_tokens == 0 ? RequestOutcome::failed_in_trace
                                                                : RequestOutcome::too_large);
  parts_.counters.input_tokens += result.input_tokens;
  const auto prefill = choose_prefill(result, prefix_blocks);
  const auto decode = prefill ? choose_decode(*prefill) : std::nullopt;
  if (!prefill || !decode) {  // all of them are lost
    result.prefill_start_ns = result.prefill_end_ns = result.landed_ns = result.finished_ns = now;
    return end_without_replay(result, RequestOutcome::transfer_failed);
  }
  result.prefill_instance = *prefill;
  result.decode_instance = *decode;
  const std::uint32_t slot = new_slot();
  Request& request = requests_[slot];
  request = {};
  request.result = result;
  request.open = true;
  ++open_requests_;
  decode_loads_[*decode].pages += target_pages;
  prefill_loads_[*prefill].tokens += result.input_tokens;
  if (parts_.prefill[*prefill].here) {
    prefill_->assign(at, now, slot, result, prefix_blocks);
    return;
  }
  BodyWriter body;
  write_request(body, result);
  for (const std::uint64_t block : prefix_blocks) body.add(block);
  send(parts_, parts_.front_node, parts_.prefill_node(result), ReplayMessage::assign, slot,
       result.request, body.take());
}

void Front::end_without_replay(RequestResult result, RequestOutcome outcome) {
  ReplayCounters& counters = parts_.counters;
  result.outcome = outcome;
  ++(outcome == RequestOutcome::too_large         ? counters.too_large
     : outcome == RequestOutcome::failed_in_trace ? counters.failed_in_trace
                                                  : counters.transfer_failed);
  ++requests_done_;
  parts_.observer.request_done(result, {});
}

std::optional<std::uint32_t> Front::choose_prefill(
    const RequestResult& request, const std::vector<std::uint64_t>& prefix_blocks) {
  const auto count = static_cast<std::uint32_t>(parts_.prefill.size());
  if (parts_.config.prefill_routing == PrefillRouting::round_robin) {
    for (std::uint32_t tries = 0; tries < count; ++tries)
      if (const std::uint32_t i = next_prefill_++ % count; is_usable(parts_.prefill[i])) return i;
    return std::nullopt;
  }
  std::optional<std::uint32_t> best;
  std::uint64_t best_load = ~std::uint64_t{0};
  for (std::uint32_t i = 0; i < count; ++i) {
    if (!is_usable(parts_.prefill[i])) continue;
    std::uint64_t load = prefill_loads_[i].tokens;
    if (parts_.config.prefill_routing == PrefillRouting::most_cached) {
      // Tokens to compute until this one is done: what is queued, and what of it is not cached.
      load +=
          request.input_tokens - std::min<std::uint64_t>(prefill_->cached_tokens(i, prefix_blocks),
                                                         request.input_tokens - 1);
    }
    if (load < best_load) best_load = load, best = i;
  }
  return best;
}

std::optional<std::uint32_t> Front::choose_decode(std::uint32_t prefill) {
  const auto reached = [&](std::uint32_t i) {
    return can_reach(parts_.prefill[prefill], parts_.decode[i]);
  };
  const auto count = static_cast<std::uint32_t>(parts_.decode.size());
  if (parts_.config.decode_routing == DecodeRouting::round_robin) {
    for (std::uint32_t tries = 0; tries < count; ++tries)
      if (const std::uint32_t i = next_decode_++ % count; reached(i)) return i;
    return std::nullopt;
  }
  std::optional<std::uint32_t> best;
  for (std::uint32_t i = 0; i < count; ++i)
    if (reached(i) && (!best || decode_loads_[i].pages < decode_loads_[*best].pages)) best = i;
  return best;
}

// ---- What becomes of them -------------------------------------------------------------------

void Front::message(TimeNs now, const ControlMessage& message) {
  BodyReader body(message.body);
  switch (static_cast<ReplayMessage>(message.kind)) {
    case ReplayMessage::prefilled:
      return prefilled(message.place, message.value2);
    case ReplayMessage::source_free:
      return source_free(message.place, message.value2);
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

/// The request that has this slot, unless it is another one by now.
Front::Request* Front::find(std::uint32_t slot, std::uint64_t number) {
  if (slot >= requests_.size()) return nullptr;
  Request& request = requests_[slot];
  return request.open && request.result.request == number ? &request : nullptr;
}

void Front::prefilled(std::uint32_t slot, std::uint64_t number) {
  Request* const request = find(slot, number);
  if (request == nullptr || request->prefilled) return;
  request->prefilled = true;
  prefill_loads_[request->result.prefill_instance].tokens -= request->result.input_tokens;
}

void Front::source_free(std::uint32_t slot, std::uint64_t number) {
  Request* const request = find(slot, number);
  if (request == nullptr) return;
  prefilled(slot, number);  // unless it was given up before
  request->source_free = true;
  free_if_over(slot);
}

void Front::finished(TimeNs now, std::uint32_t slot, const RequestResult& result,
                     const std::vector<TransferRow>& rows) {
  Request* const request = find(slot, result.request);
  if (request == nullptr || request->over) return;
  decode_loads_[request->result.decode_instance].pages -=
      target_pages_of(parts_.config, request->result);
  const bool completed = result.outcome == RequestOutcome::completed;
  ++(completed ? parts_.counters.completed : parts_.counters.transfer_failed);
  ++requests_done_;
  parts_.observer.request_done(result, rows);
  parts_.observer.progress(now, requests_done_);
  request->over = true;
  free_if_over(slot);
}

void Front::free_if_over(std::uint32_t slot) {
  Request& request = requests_[slot];
  if (!request.over || !request.source_free) return;
  request.open = false;
  free_slots_.push_back(slot);
  --open_requests_;
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

bool Front::can_reach(const Instance& prefill, const Instance& decode) const {
  return !is_lost(prefill) && !is_lost(decode) &&
         parted_.count(std::minmax({prefill.node, decode.node})) == 0;
}

bool Front::is_usable(const Instance& prefill) const {
  return std::any_of(parts_.decode.begin(), parts_.decode.end(),
                     [&](const Instance& decode) { return can_reach(prefill, decode); });
}

/// Neither side of a request waits for the other one any more.
void Front::part_sides(TimeNs now, std::uint32_t slot) {
  const RequestResult result = requests_[slot].result;
  const Instance& prefill = parts_.prefill[result.prefill_instance];
  const Instance& decode = parts_.decode[result.decode_instance];
  if (is_lost(decode))
    give_up(now, slot);
  else if (!requests_[slot].over && decode.here)
    decode_->peer_lost(now, slot, result);
  else if (!requests_[slot].over)
    tell_peer_lost(decode.node, slot, result);
  if (is_lost(prefill))
    source_free(slot, result.request);
  else if (prefill.here)
    prefill_->peer_lost(now, slot, result.request);
  else
    tell_peer_lost(prefill.node, slot, result);
}

void Front::tell_peer_lost(NodeId to, std::uint32_t slot, const RequestResult& result) {
  BodyWriter body;
  write_request(body, result);
  send(parts_, parts_.front_node, to, ReplayMessage::peer_lost, slot, result.request, body.take());
}

/// Nobody else will say what became of it.
void Front::give_up(TimeNs now, std::uint32_t slot) {
  if (requests_[slot].over) return;
  RequestResult result = requests_[slot].result;
  result.outcome = RequestOutcome::transfer_failed;
  result.prefill_start_ns = result.prefill_end_ns = result.landed_ns = result.finished_ns = now;
  finished(now, slot, result, {});
}

}  // namespace kvhaul
