#include "serving/mover.h"

#include <algorithm>
#include <string>
#include <utility>

#include "serving/front.h"
#include "serving/replay_messages.h"
#include "traces/trace.h"

namespace kvhaul {
namespace {

constexpr std::uint32_t damaged_transfers_max = 16;  // of one request, before it is given up
constexpr std::size_t waiting_checks_max = 64;       // then they are done while copies go on
constexpr TimeNs look_again_ns = 100 * ms_ns;        // at ways that are not usable

// A tag holds a slot, a unit in 24 bits and a lane in 16.
constexpr std::uint64_t units_max = 1 << 24;
constexpr std::size_t lanes_max = 1 << 16;

constexpr std::uint64_t make_tag(std::uint32_t slot, std::uint32_t unit, std::uint32_t lane) {
  return (std::uint64_t{slot} << 40) | (std::uint64_t{unit} << 16) | lane;
}

}  // namespace

Result<void> Mover::check_limits(const ReplayParts& parts) {
  const ReplayConfig& config = parts.config;
  if (parts.lanes.size() > lanes_max)
    return Error::bad_input("prefill and decode have " + std::to_string(parts.lanes.size()) +
                            " pairs of ranks that share KV heads; at most 65536 can be replayed");
  // The longest prompt that is replayed fills the KV memory of an instance.
  const std::uint64_t tokens_max =
      std::uint64_t{parts.source_ranks[0].pages} * config.prefill.page_tokens;
  const std::uint64_t units =
      (std::min<std::uint64_t>(tokens_max, trace_tokens_max) / config.chunk_tokens + 2) *
      config.model.layers;
  if (units > units_max)
    return Error::bad_input("prefill chunks of " + std::to_string(config.chunk_tokens) +
                            " tokens cut the longest prompt into more than 16777216 units, one per "
                            "layer and chunk; expected longer prefill chunks");
  return {};
}

void Mover::prepare() {
  const ReplayConfig& config = parts_.config;
  decode_layer_ns_ = config.decode.timing->step_ns(1, 0, 0) / config.model.layers;
  for (const Instance& from : parts_.prefill)
    for (const Instance& to : parts_.decode)
      for (const Lane& lane : parts_.lanes) {
        if (!(config.pull ? to : from).here) {  // another process posts
          pairs_.emplace_back();
          continue;
        }
        const auto pair =
            parts_.runtime->find_pair(from.places[lane.source_rank], to.places[lane.target_rank]);
        check(pair.has_value(), "no channel was planned between two places of the replay");
        pairs_.push_back(*pair);
      }
  ways_.resize(parts_.prefill.size() * parts_.decode.size());
}

void Mover::target_known(TimeNs now, std::uint32_t slot, const PageList& pages) {
  KvMove& move = moves_[slot];
  move.target_pages = pages;
  move.target_known_ns = now;
  move.target_known = true;
  submit_units(now, slot);
}

void Mover::announce(TimeNs now, std::uint32_t slot, std::uint32_t stream, std::uint32_t units,
                     TimeNs prefill_end_ns) {
  KvMove& move = moves_[slot];
  if (move.announced.empty()) move.announced.resize(unit_streams(parts_.config));
  for (std::uint32_t& n = move.announced[stream]; n < units; ++n)
    move.announced_units.push_back(unit_of_stream(parts_.config, stream, n));
  if (prefill_end_ns != 0) {
    move.prefill_end_ns = move.handed_over_ns = prefill_end_ns;
    move.all_announced = true;
  }
  submit_units(now, slot);
}

void Mover::peer_lost(TimeNs now, std::uint32_t slot, bool all) {
  KvMove& move = moves_[slot];
  move.failed = move.peer_lost = true;
  cancel(now, move);
  move.all_announced = move.all_announced || all;
  move.pending_transfers -= checks_.forget(slot);
  std::erase_if(waiting_checks_, [&](const PayloadChecks::Check& check) {
    if (check.slot != slot) return false;
    --move.pending_transfers;
    return true;
  });
  maybe_done(now, slot);
}

void Mover::withdraw(TimeNs now, std::uint32_t slot) {
  KvMove& move = moves_[slot];
  move.failed = true;
  cancel(now, move);
  maybe_done(now, slot);
}

/// What is open of it; pages may be given to others when that has ended.
void Mover::cancel(TimeNs now, KvMove& move) {
  for (const TransferHandle transfer : move.transfers) parts_.runtime->cancel(now, transfer);
  move.transfers.clear();
}

void Mover::submit_units(TimeNs now, std::uint32_t slot) {
  KvMove& move = moves_[slot];
  if (move.target_known) {
    const TimeNs engine_ns = parts_.config.engine_ns;
    if (engine_ns != 0) {
      for (; move.engine_units < move.announced_units.size(); ++move.engine_units)
        parts_.agenda.add(now + engine_ns, Agenda::Kind::engine, slot, move.attempt);
    } else {
      while (!move.failed && move.submitted_units < move.announced_units.size())
        submit_unit(now, slot, move.announced_units[move.submitted_units++]);
    }
  }
  maybe_done(now, slot);
}

void Mover::engine_done(TimeNs now, std::uint32_t slot, std::uint64_t attempt) {
  KvMove& move = moves_[slot];
  if (move.attempt != attempt || move.failed) return;
  submit_unit(now, slot, move.announced_units[move.submitted_units++]);
  maybe_done(now, slot);
}

void Mover::submit_unit(TimeNs now, std::uint32_t slot, std::uint32_t unit) {
  const UnitSpan span = span_of(parts_.config, moves_[slot], unit);
  const std::vector<Lane>& lanes = parts_.lanes;
  for (std::uint32_t lane = 0; lane < lanes.size(); ++lane)
    if (lanes[lane].first_layer < span.end_layer && span.first_layer < lanes[lane].end_layer)
      submit_lane(now, slot, unit, lane);
}

void Mover::submit_lane(TimeNs now, std::uint32_t slot, std::uint32_t unit, std::uint32_t number) {
  KvMove& move = moves_[slot];
  const Lane& lane = parts_.lanes[number];
  descriptors_.clear();
  describe_lane(parts_, move, unit, lane, descriptors_);
  if (descriptors_.empty()) return;
  const UnitSpan span = span_of(parts_.config, move, unit);
  TransferRequest transfer;
  transfer.source_segment = parts_.prefill[move.prefill_instance].segments[lane.source_rank];
  transfer.target_segment = parts_.decode[move.decode_instance].segments[lane.target_rank];
  // The decoder begins when prefill has ended, and needs one layer after the other.
  transfer.deadline_ns =
      add_time(move.prefill_end_expected_ns, span.first_layer * decode_layer_ns_);
  transfer.tag = make_tag(slot, unit, number);
  transfer.descriptors = descriptors_;
  ++move.pending_transfers;
  ++open_transfers_;
  const std::size_t way = way_of(move.prefill_instance, move.decode_instance);
  const PairHandle pair = pair_of(way, number);
  const TransferHandle submitted = parts_.runtime->submit(now, pair, transfer);
  if (parts_.config.failover.retries != 0) move.transfers.push_back(submitted);
  if (!parts_.runtime->is_usable(pair)) [[unlikely]]
    way_lost(now, way);
}

/// Each transfer that ends after prefill is for now the last one, and what it waited for is what
/// the request waited for.
void Mover::trace_handover(KvMove& move, PairHandle pair, const TransferEnd& end) const {
  const TimeNs from = move.prefill_end_ns;
  const TimeNs submitted = std::max(end.submitted_ns, from);
  const TimeNs known = std::clamp(move.target_known_ns, from, submitted);
  move.handover = {};
  move.handover.memory_ns = known - from;
  move.handover.last_channel = parts_.runtime->last_channel(pair, end);
  PathParts& parts = move.handover.transfer;
  parts = parts_.runtime->critical_path(pair, end, submitted);
  // The engine's own work belongs to posting; else the other side had to hear of it first, or it is
  // the second time.
  const TimeNs engine = std::min(submitted - known, parts_.config.engine_ns);
  parts[PathPart::post] += engine;
  parts[move.damaged != 0 ? PathPart::fault : PathPart::detect] += submitted - known - engine;
  move.handed_over_ns = end.reported_ns;
}

TransferRow& Mover::row_of(KvMove& move, std::uint32_t chunk, std::uint8_t tier) const {
  // From the end: what ends now is nearly always of the latest prefill chunk.
  for (auto row = move.rows.rbegin(); row != move.rows.rend(); ++row)
    if (row->prefill_chunk == chunk && row->tier == tier) return *row;
  TransferRow& row = move.rows.emplace_back();
  row.request = move.request;
  row.retry = move.retry;
  row.prefill_chunk = chunk;
  row.tier = tier;
  return row;
}

void Mover::transfer_ended(TimeNs now, const TransferEnd& end) {
  parts_.observer.transfer_done(end);
  const auto slot = slot_of_tag(end.tag);
  const auto unit = static_cast<std::uint32_t>(end.tag >> 16) & 0xffffffu;
  const auto lane = static_cast<std::uint32_t>(end.tag) & 0xffffu;
  KvMove& move = moves_[slot];
  --open_transfers_;
  const std::size_t way = way_of(move.prefill_instance, move.decode_instance);
  if (ways_[way].lost) [[unlikely]]
    look_at_way(now, way);
  TransferRow& row = row_of(move, span_of(parts_.config, move, unit).chunk, end.fallback_tier);
  ++row.transfers;
  row.chunks += end.chunks;
  row.pieces += end.pieces;
  row.resent_chunks += end.resent_chunks;
  row.resent_bytes += end.resent_bytes;
  row.gathers |= static_cast<std::uint8_t>(1u << static_cast<unsigned>(end.gather));
  row.first_submitted_ns = std::min(row.first_submitted_ns, end.submitted_ns);
  if (end.outcome == TransferOutcome::delivered) {
    row.bytes += end.bytes;
    move.bytes += end.bytes;
    if (move.prefill_end_ns != 0) trace_handover(move, pair_of(way, lane), end);
  }
  if (end.reported_ns >= row.last_reported_ns) {
    row.last_reported_ns = end.reported_ns;
    if (end.outcome == TransferOutcome::delivered) {  // else it may have no times
      row.wait_ns = end.path.wait_ns();
      row.post_ns = end.path[PathPart::post];
      row.wire_ns = end.path[PathPart::wire];
      row.detect_ns = end.path[PathPart::detect];
    }
  }
  if (end.outcome != TransferOutcome::delivered) {
    ++row.failed;
    move.failed = true;
  } else if (parts_.backend.moves_bytes() && !move.peer_lost) {
    const PayloadChecks::Check check{slot, unit, lane, end.fallback_tier};
    if (parts_.config.defer_checks) {
      waiting_checks_.push_back(check);
    } else {
      checks_.begin(check, move);
      settle_checks(now);
    }
    return;
  }
  --move.pending_transfers;
  maybe_done(now, slot);
}

bool Mover::checks_due() const {
  return !waiting_checks_.empty() &&
         (open_transfers_ == 0 || waiting_checks_.size() > waiting_checks_max);
}

void Mover::check_one(TimeNs now) {
  settle_checks(now);
  if (!checks_due()) return;
  const PayloadChecks::Check check = waiting_checks_.front();
  waiting_checks_.pop_front();
  checks_.begin(check, moves_[check.slot]);
  settle_checks(now);
}

void Mover::compared(TimeNs now, const ControlMessage& message) {
  checks_.compared(message);
  settle_checks(now);
}

/// A transfer counts as pending until its bytes have been found right.
void Mover::settle_checks(TimeNs now) {
  checks_.answer_others();
  PayloadChecks::Answer answer;
  while (checks_.take(answer)) {
    const PayloadChecks::Check& check = answer.check;
    KvMove& move = moves_[check.slot];
    ++parts_.counters.checked_transfers;
    --move.pending_transfers;
    if (!answer.right) {
      ++row_of(move, span_of(parts_.config, move, check.unit).chunk, check.tier).damaged;
      ++parts_.counters.damaged_transfers;
      if (++move.damaged > damaged_transfers_max)
        move.failed = true;
      else if (!move.failed)
        submit_lane(now, check.slot, check.unit, check.lane);
    }
    maybe_done(now, check.slot);
  }
}

void Mover::maybe_done(TimeNs now, std::uint32_t slot) {
  KvMove& move = moves_[slot];
  if (!move.all_announced || move.pending_transfers != 0) return;
  if (!move.failed && move.submitted_units != units_of(parts_.config, move.chunk_ends.size()))
    return;
  KvMove done;
  std::swap(done, move);
  owner_.moved(now, slot, std::move(done));
}

// ---- Ways between instances -----------------------------------------------------------------

bool Mover::is_usable(std::size_t way) const {
  const std::size_t lanes = parts_.lanes.size();
  return std::all_of(pairs_.begin() + static_cast<std::ptrdiff_t>(way * lanes),
                     pairs_.begin() + static_cast<std::ptrdiff_t>((way + 1) * lanes),
                     [&](PairHandle pair) { return parts_.runtime->is_usable(pair); });
}

/// Else another process does.
bool Mover::posts(std::size_t way) const {
  const std::size_t decodes = parts_.decode.size();
  return (parts_.config.pull ? parts_.decode[way % decodes] : parts_.prefill[way / decodes]).here;
}

/// The ways from the same instance of this side are looked at, too: where none of them is usable it
/// is the one that is cut off, and not those at their other ends.
void Mover::way_lost(TimeNs now, std::size_t lost) {
  if (ways_[lost].lost || parts_.config.failover.retries == 0) return;
  const std::size_t decodes = parts_.decode.size();
  const std::size_t first = parts_.config.pull ? lost % decodes : lost / decodes * decodes;
  const std::size_t step = parts_.config.pull ? decodes : 1;
  const std::size_t end = parts_.config.pull ? ways_.size() : first + decodes;
  bool cut_off = true;
  for (std::size_t way = first; way < end; way += step) cut_off = cut_off && !is_usable(way);
  for (std::size_t way = first; way < end; way += step) {
    if (is_usable(way) && way != lost) continue;
    ways_[way].lost = true;
    ways_[way].gone = false;
    ways_[way].lost_ns = now;
    ways_[way].cut_off = cut_off;
    tell_of_way(now, way);
    watch(now, way);
  }
}

void Mover::watch(TimeNs now, std::size_t way) {
  if (std::exchange(ways_[way].watched, true)) return;
  parts_.agenda.add(add_time(now, look_again_ns), Agenda::Kind::look,
                    static_cast<std::uint32_t>(way));
}

void Mover::look(TimeNs now, std::size_t way) {
  ways_[way].watched = false;
  if (!ways_[way].lost) return;
  look_at_way(now, way);
  if (!ways_[way].lost) return;
  if (now >= add_time(looked_at_all_ns_, look_again_ns)) look_at_all(now);
  if (add_time(ways_[way].lost_ns, look_again_ns) <= now) {
    ways_[way].gone = true;
    tell_of_way(now, way);  // every time: another may have come back, to which requests can go
  }
  watch(now, way);
}

/// Where all has been submitted already nobody else will look.
void Mover::look_at_all(TimeNs now) {
  looked_at_all_ns_ = now;
  for (std::size_t way = 0; way < ways_.size(); ++way)
    if (posts(way) && !ways_[way].lost && !is_usable(way)) way_lost(now, way);
}

void Mover::look_at_way(TimeNs now, std::size_t way) {
  Way& known = ways_[way];
  known.lost = !is_usable(way);
  if (!known.lost || add_time(known.told_ns, parts_.config.failover.probe_after_ns) <= now)
    tell_of_way(now, way);
}

void Mover::tell_of_way(TimeNs now, std::size_t number) {
  Way& way = ways_[number];
  way.told_ns = now;
  const auto prefill = static_cast<std::uint32_t>(number / parts_.decode.size());
  const auto decode = static_cast<std::uint32_t>(number % parts_.decode.size());
  const bool blame_prefill = way.cut_off != parts_.config.pull;
  const WayState state = !way.lost ? WayState::usable : way.gone ? WayState::gone : WayState::lost;
  if (front_ != nullptr) return front_->way(now, prefill, decode, state, blame_prefill);
  const NodeId here =
      parts_.config.pull ? parts_.decode[decode].node : parts_.prefill[prefill].node;
  BodyWriter body;
  body.add(prefill, decode, state, blame_prefill);
  send(parts_, here, parts_.front_node, ReplayMessage::way, 0, 0, body.take());
}

}  // namespace kvhaul
