#include "serving/replay_messages.h"

#include <algorithm>
#include <utility>

namespace kvhaul {

void write_request(BodyWriter& body, const RequestResult& r) {
  body.add(r.request, r.line, r.outcome, r.input_tokens, r.output_tokens, r.cached_tokens,
           r.prefill_instance, r.decode_instance, r.retries, r.arrival_ns, r.prefill_memory_ns,
           r.prefill_start_ns, r.prefill_end_ns, r.landed_ns, r.joined_ns, r.finished_ns, r.bytes);
  write_handover(body, r.handover);
}

RequestResult read_request(BodyReader& body) {
  RequestResult r;
  body.take(r.request, r.line, r.outcome, r.input_tokens, r.output_tokens, r.cached_tokens,
            r.prefill_instance, r.decode_instance, r.retries, r.arrival_ns, r.prefill_memory_ns,
            r.prefill_start_ns, r.prefill_end_ns, r.landed_ns, r.joined_ns, r.finished_ns, r.bytes);
  r.handover = read_handover(body);
  return r;
}

RequestResult in_order(RequestResult r) {
  r.prefill_start_ns = std::max(r.prefill_start_ns, r.arrival_ns);
  r.prefill_memory_ns = std::min(r.prefill_memory_ns, r.prefill_start_ns - r.arrival_ns);
  r.prefill_end_ns = std::max(r.prefill_end_ns, r.prefill_start_ns);
  r.landed_ns = std::max(r.landed_ns, r.prefill_end_ns);
  r.joined_ns = std::max(r.joined_ns, r.landed_ns);
  r.finished_ns = std::max(r.finished_ns, r.joined_ns);
  // What is missing is the notice of one clock's moment at the other one; what is too much is taken
  // from there first.
  Handover& h = r.handover;
  TimeNs wrong = r.joined_ns - r.prefill_end_ns - h.sum();
  for (TimeNs* part :
       {&h.transfer[PathPart::detect], &h.memory_ns, &h.transfer[PathPart::wire],
        &h.transfer[PathPart::post], &h.transfer[PathPart::window], &h.transfer[PathPart::credit],
        &h.transfer[PathPart::order], &h.transfer[PathPart::fault], &h.step_ns, &h.seat_ns}) {
    const TimeNs change = std::max(wrong, -*part);
    *part += change;
    wrong -= change;
  }
  return r;
}

void write_handover(BodyWriter& body, const Handover& handover) {
  body.add(handover.memory_ns, handover.step_ns, handover.seat_ns, handover.last_channel);
  for (const TimeNs part : handover.transfer.ns) body.add(part);
}

Handover read_handover(BodyReader& body) {
  Handover handover;
  body.take(handover.memory_ns, handover.step_ns, handover.seat_ns, handover.last_channel);
  for (TimeNs& part : handover.transfer.ns) body.take(part);
  return handover;
}

void write_rows(BodyWriter& body, const std::vector<TransferRow>& rows) {
  body.add(rows.size());
  for (const TransferRow& r : rows)
    body.add(r.request, r.prefill_chunk, r.tier, r.retry, r.transfers, r.chunks, r.pieces,
             r.resent_chunks, r.gathers, r.failed, r.damaged, r.bytes, r.resent_bytes,
             r.first_submitted_ns, r.last_reported_ns, r.wait_ns, r.post_ns, r.wire_ns,
             r.detect_ns);
}

std::vector<TransferRow> read_rows(BodyReader& body) {
  std::vector<TransferRow> rows;
  for (std::uint64_t left = body.word(); left > 0 && body.whole(); --left) {
    TransferRow& r = rows.emplace_back();
    body.take(r.request, r.prefill_chunk, r.tier, r.retry, r.transfers, r.chunks, r.pieces,
              r.resent_chunks, r.gathers, r.failed, r.damaged, r.bytes, r.resent_bytes,
              r.first_submitted_ns, r.last_reported_ns, r.wait_ns, r.post_ns, r.wire_ns,
              r.detect_ns);
  }
  return rows;
}

void send(ReplayParts& parts, NodeId from, NodeId to, ReplayMessage kind, std::uint32_t slot,
          std::uint64_t attempt, std::vector<std::uint64_t> body, Bytes bytes) {
  parts.runtime->send(
      {from, to, static_cast<std::uint32_t>(kind), slot, 0, attempt, bytes, std::move(body)});
}

}  // namespace kvhaul
