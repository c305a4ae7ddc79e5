#include "core/scheduler.h"

#include <algorithm>
#include <utility>

#include "core/planner.h"
#include "core/result.h"

namespace kvhaul {
namespace {

/// A channel has a history once so many chunks have landed on it.
constexpr std::uint16_t history_chunks = 16;
constexpr TimeNs slack_half_life_ns = 1 * s_ns;
constexpr TimeNs slack_max_ns(const SchedulerConfig& config) { return config.timeout_cold_ns / 4; }

}  // namespace

void Actions::clear() {
  posts.clear();
  cancels.clear();
  ends.clear();
  messages.clear();
  timer_ns = never_ns;
}

TimeNs in_flight_bound_ns(const SchedulerConfig& config, const ChannelNumbers& numbers,
                          TimeNs service_ns) {
  const TimeNs queued = std::max<TimeNs>(
      {config.channel_window_ns, config.link_window_ns, (numbers.stages + 1) * service_ns});
  const TimeNs expected = numbers.fixed_ns + queued + (numbers.stages - 1) * service_ns;
  return config.timeout_factor * expected + config.late_floor_ns +
         std::max(config.timeout_floor_ns, config.timeout_cold_ns) + 2 * slack_max_ns(config);
}

TimeNs end_bound_ns(const SchedulerSetup& setup, std::uint32_t pair, TimeNs service_ns) {
  TimeNs longest = 0;
  std::uint32_t channels = 0;
  for (const SetupChannel& channel : setup.channels) {
    longest = std::max(longest, in_flight_bound_ns(setup.config, channel.numbers, service_ns));
    if (channel.pair == pair) ++channels;
  }
  return setup.config.stall_timeout_ns +
         2 * TimeNs{std::max(setup.config.max_attempts, channels)} * longest;
}

Scheduler::Scheduler(SchedulerSetup setup)
    : setup_(std::move(setup)), policy_(make_policy(setup_).value()), table_(setup_) {
  links_.resize(setup_.links.size());
  for (const SetupAccount& account : setup_.accounts)
    accounts_.push_back({CreditAccount(setup_.node, account), 0, {}});
  for (const SetupLedger& ledger : setup_.ledgers) ledgers_.emplace_back(setup_.node, ledger);
  prepare_pairs();
  for (std::uint32_t p = 0; p < pairs_.size(); ++p) refresh_candidates(0, p);
  actions_.clear();
}

void Scheduler::prepare_pairs() {
  pairs_.resize(setup_.pairs.size(), PairState(setup_.config.ageing_ns));
  ChannelId last_id = 0;
  first_channel_id_ = setup_.channels.empty() ? 0 : setup_.channels.front().id;
  for (const SetupChannel& channel : setup_.channels) {
    first_channel_id_ = std::min(first_channel_id_, channel.id);
    last_id = std::max(last_id, channel.id);
  }
  channel_of_id_.assign(setup_.channels.empty() ? 0 : last_id - first_channel_id_ + 1, no_id);
  for (std::uint32_t c = 0; c < setup_.channels.size(); ++c) {
    const SetupChannel& from = setup_.channels[c];
    channel_of_id_[from.id - first_channel_id_] = c;
    ChannelState state;
    state.pair = from.pair;
    state.tier = from.tier;
    state.id = from.id;
    for (std::size_t m = 0; m < gather_count; ++m)
      if (from.numbers.gather[m]) state.gathers |= static_cast<std::uint8_t>(1u << m);
    channels_.push_back(state);
    PairState& pair = pairs_[from.pair];
    if (pair.channel_count++ == 0) pair.first_channel = c;
    for (const std::uint32_t link : from.links) {
      std::vector<std::uint32_t>& crossing = links_[link].pairs;
      if (crossing.empty() || crossing.back() != from.pair) crossing.push_back(from.pair);
      links_[link].channels.push_back(c);
    }
  }
  for (std::uint32_t p = 0; p < pairs_.size(); ++p) {
    pairs_[p].account = setup_.pairs[p].account;
    accounts_[pairs_[p].account].pairs.push_back(p);
    prepare_numbers(pairs_[p]);
  }
}

void Scheduler::prepare_numbers(PairState& pair) const {
  PairNumbers& numbers = pair.numbers;
  numbers.max_chunk_bytes = setup_.accounts[pair.account].min_share_bytes;
  numbers.max_pieces = ~0u;
  double sum = 0;
  std::vector<std::uint32_t> common;  // links that every preferred channel crosses
  for (std::uint32_t i = 0; i < pair.channel_count; ++i) {
    const SetupChannel& channel = setup_.channels[pair.first_channel + i];
    const ChannelNumbers& from = channel.numbers;
    numbers.max_chunk_bytes = std::min(numbers.max_chunk_bytes, from.max_chunk_bytes);
    numbers.max_pieces = std::min(numbers.max_pieces, from.max_pieces);
    if (channel.tier != setup_.channels[pair.first_channel].tier) continue;
    sum += from.bytes_per_s;
    if (i == 0) common = channel.links;
    std::erase_if(common, [&](std::uint32_t link) {
      return std::find(channel.links.begin(), channel.links.end(), link) == channel.links.end();
    });
    if (from.bytes_per_s > numbers.bytes_per_s || i == 0) {
      numbers.bytes_per_s = from.bytes_per_s;
      numbers.half_bandwidth_bytes = from.half_bandwidth_bytes;
      numbers.post_ns = from.post_ns;
      numbers.stages = from.stages;
    }
  }
  for (const std::uint32_t link : common) sum = std::min(sum, setup_.links[link].bytes_per_s);
  if (numbers.bytes_per_s > 0)
    numbers.parallel_channels =
        std::max(1u, static_cast<std::uint32_t>(sum / numbers.bytes_per_s + 0.01));
}

std::optional<std::uint32_t> Scheduler::find_pair(PlaceId source, PlaceId target) const {
  for (std::uint32_t p = 0; p < setup_.pairs.size(); ++p)
    if (setup_.pairs[p].source == source && setup_.pairs[p].target == target) return p;
  return std::nullopt;
}

bool Scheduler::idle() const {
  return open_transfers_ == 0 && chunks_in_flight_ == probes_in_flight_ &&
         (probes_in_flight_ != 0 || table_.all_idle()) &&
         std::all_of(accounts_.begin(), accounts_.end(),
                     [](const AccountState& a) { return a.credit.in_flight() == 0; }) &&
         free_chunks_.size() + probes_in_flight_ == chunks_.size() &&
         free_transfers_.size() == transfers_.size();
}

Bytes Scheduler::credit_granted(PlaceId target) const {
  for (const AccountState& account : accounts_)
    if (account.credit.target() == target) return account.credit.granted();
  return 0;
}

// ---- Slots ----------------------------------------------------------------------------------

std::uint32_t Scheduler::new_transfer() {
  if (free_transfers_.empty()) {
    transfers_.emplace_back();
    return static_cast<std::uint32_t>(transfers_.size() - 1);
  }
  const std::uint32_t slot = free_transfers_.back();
  free_transfers_.pop_back();
  return slot;
}

std::uint32_t Scheduler::new_chunk() {
  if (free_chunks_.empty()) {
    chunks_.emplace_back();
    return static_cast<std::uint32_t>(chunks_.size() - 1);
  }
  const std::uint32_t slot = free_chunks_.back();
  free_chunks_.pop_back();
  return slot;
}

void Scheduler::free_chunk(std::uint32_t slot) { free_chunks_.push_back(slot); }

// ---- Submission -----------------------------------------------------------------------------

TransferId Scheduler::submit(TimeNs now, const TransferRequest& request) {
  const std::uint32_t slot = new_transfer();
  Transfer& transfer = transfers_[slot];
  PairState& pair = pairs_[request.pair];

  ++transfer.generation;
  transfer.open = true;
  transfer.ending = false;
  transfer.pair = request.pair;
  transfer.in_flight = 0;
  transfer.retry_chunk = no_id;
  transfer.delivered_bytes = 0;
  transfer.source_segment = request.source_segment;
  transfer.target_segment = request.target_segment;
  if (request.descriptors.size() == 1) {
    transfer.single = request.descriptors.front();
    transfer.piece_count = 1;
    transfer.total_bytes = transfer.single.length;
  } else {
    transfer.several.clear();
    coalesce(request.descriptors, transfer.several);
    transfer.piece_count = static_cast<std::uint32_t>(transfer.several.size());
    if (transfer.piece_count == 1) transfer.single = transfer.several.front();
    transfer.total_bytes = 0;
    for (const Descriptor& piece : transfer.several) transfer.total_bytes += piece.length;
  }

  const Bytes wanted = setup_.config.chunk_bytes != 0
                           ? setup_.config.chunk_bytes
                           : std::visit(
                                 [&](const auto& policy) {
                                   return policy.chunk_bytes(pair.numbers, transfer.total_bytes,
                                                             transfer.piece_count);
                                 },
                                 policy_);
  transfer.chunk_bytes = std::clamp<Bytes>(wanted, 1, pair.numbers.max_chunk_bytes);

  transfer.gather =
      transfer.piece_count == 1
          ? Gather::each
          : cheapest_gather(setup_.channels[pair.first_channel].numbers, transfer.total_bytes,
                            transfer.piece_count, transfer.chunk_bytes);
  transfer.end = {.id = make_id(slot, transfer.generation),
                  .tag = request.tag,
                  .pair = request.pair,
                  .pieces = transfer.piece_count,
                  .gather = transfer.gather,
                  .bytes = transfer.total_bytes,
                  .submitted_ns = now};
  cut_next(transfer, 0, 0);

  transfer.hook.sequence = next_sequence_++;
  transfer.hook.deadline_ns = request.deadline_ns == never_ns
                                  ? add_time(now, setup_.config.default_slack_ns)
                                  : request.deadline_ns;
  transfer.hook.priority_class = static_cast<std::uint8_t>(request.priority);
  transfer.hook.class_since_ns = now;
  ++open_transfers_;
  const bool first = pair.queue.push(*this, slot, now);
  const TransferId id = transfer.end.id;
  if (pair.candidates.empty()) [[unlikely]]
    stall(now, pair, slot);
  // Behind a head that has found no room there is nothing to do; a new head may find some.
  if (first) unpark(request.pair);
  if (first || !pair.blocked) pump(now, request.pair);
  return id;
}

// ---- Posting --------------------------------------------------------------------------------

/// The pair must not be parked.
void Scheduler::pump(TimeNs now, std::uint32_t pair) {
  std::visit([&](auto& policy) { pump_pair(policy, now, pair, {}); }, policy_);
}

/// Posts until the pair is blocked or empty. A pair that had no room before `released` became free
/// has none again once as much is posted to the same channel: not looking twice is a third of the
/// work under load.
template <class Policy>
void Scheduler::pump_pair(Policy& policy, TimeNs now, std::uint32_t pair, Posted released) {
  const bool refill = Policy::repeatable && pairs_[pair].blocked && released.channel != no_id;
  Posted posted;
  Step step = Step::posted;
  do {
    step = post_next(policy, now, pair, posted);
    if (refill && posted.channel == released.channel && posted.charged >= released.charged) break;
  } while (step == Step::posted);
  pairs_[pair].blocked = step != Step::empty;
}

/// A chunk left `channel`: its own pair goes on, and so may pairs that waited for one of the links
/// or for the credit that it gave back. The one with the most urgent head goes first.
void Scheduler::pump_after_release(TimeNs now, std::uint32_t channel, Bytes released) {
  const std::uint32_t pair = channels_[channel].pair;
  contenders_.clear();
  if (parked_pairs_ != 0) [[unlikely]]
    for (const std::uint32_t link : table_.links_of(channel)) {
      if (links_[link].parked == 0) continue;
      for (const std::uint32_t other : links_[link].pairs)
        if (other != pair && pairs_[other].parked_link == link) contenders_.push_back(other);
    }
  AccountState& account = accounts_[pairs_[pair].account];
  if (account.parked != 0) [[unlikely]]
    for (const std::uint32_t other : account.pairs)
      if (other != pair && pairs_[other].parked_on_credit) contenders_.push_back(other);
  if (contenders_.empty()) [[likely]] {
    unpark(pair);
    std::visit([&](auto& policy) { pump_pair(policy, now, pair, {channel, released}); }, policy_);
    return;
  }
  contenders_.push_back(pair);
  std::visit([&](auto& policy) { pump_contended(policy, now); }, policy_);
}

/// Serves contenders_, the most urgent head first, until none of them finds room.
template <class Policy>
void Scheduler::pump_contended(Policy& policy, TimeNs now) {
  while (!contenders_.empty()) {
    std::size_t best = 0;
    TransferOrder least = order_of(now, contenders_[0]);
    for (std::size_t i = 1; i < contenders_.size(); ++i) {
      const TransferOrder order = order_of(now, contenders_[i]);
      if (order < least) {
        least = order;
        best = i;
      }
    }
    const std::uint32_t pair = contenders_[best];
    unpark(pair);
    Posted posted;
    const Step step = post_next(policy, now, pair, posted);
    if (step == Step::posted) continue;
    pairs_[pair].blocked = step == Step::blocked;
    // Whoever waits for the same link waits behind this one: no need to look.
    const std::uint32_t full = pairs_[pair].parked_link;
    std::erase_if(contenders_, [&](std::uint32_t other) {
      return other == pair || (full != no_id && pairs_[other].parked_link == full);
    });
  }
}

TransferOrder Scheduler::order_of(TimeNs now, std::uint32_t pair) {
  const std::uint32_t slot = pairs_[pair].queue.head(*this, now);
  if (slot == no_id) return {};
  const QueueHook& hook = transfers_[slot].hook;
  return {hook.priority_class, hook.deadline_ns, hook.sequence};
}

void Scheduler::park(std::uint32_t pair, std::uint32_t link) {
  pairs_[pair].parked_link = link;
  ++links_[link].parked;
  ++parked_pairs_;
}

void Scheduler::unpark(std::uint32_t p) {
  PairState& pair = pairs_[p];
  if (pair.parked_link != no_id) {
    --links_[pair.parked_link].parked;
    --parked_pairs_;
    pair.parked_link = no_id;
  }
  if (pair.parked_on_credit) {
    --accounts_[pair.account].parked;
    pair.parked_on_credit = false;
  }
}

/// A link of the channel for which a pair with a more urgent head is parked, or no_id: without this
/// a pair with small chunks would slip past one that waits for room for a large one.
std::uint32_t Scheduler::link_wanted_sooner(TimeNs now, std::uint32_t pair, std::uint32_t channel) {
  const TransferOrder mine = order_of(now, pair);
  for (const std::uint32_t link : table_.links_of(channel)) {
    if (links_[link].parked == 0) continue;
    for (const std::uint32_t other : links_[link].pairs)
      if (other != pair && pairs_[other].parked_link == link && order_of(now, other) < mine)
        return link;
  }
  return no_id;
}

/// The next chunk starts there: a part of one piece, or as many whole ones as fit.
void Scheduler::cut_next(Transfer& transfer, std::uint32_t first_piece, Bytes offset) const {
  Range& next = transfer.next;
  next.first_piece = first_piece;
  if (first_piece == transfer.piece_count) return;
  const Bytes left = transfer.piece(first_piece).length - offset;
  next.piece_count = 1;
  next.offset = offset;
  next.bytes = std::min(left, transfer.chunk_bytes);
  if (offset != 0 || next.bytes < left) return;
  const std::uint32_t most = pairs_[transfer.pair].numbers.max_pieces;
  for (std::uint32_t i = first_piece + 1; i < transfer.piece_count && next.piece_count < most;
       ++i) {
    const Bytes length = transfer.several[i].length;
    if (next.bytes + length > transfer.chunk_bytes) break;
    next.bytes += length;
    ++next.piece_count;
  }
}

void Scheduler::advance(Transfer& transfer) const {
  const Range& issued = transfer.next;
  const Bytes end = issued.offset + issued.bytes;
  if (issued.piece_count == 1 && end < transfer.piece(issued.first_piece).length)
    cut_next(transfer, issued.first_piece, end);
  else
    cut_next(transfer, issued.first_piece + issued.piece_count, 0);
}

template <class Policy>
Scheduler::Step Scheduler::post_next(Policy& policy, TimeNs now, std::uint32_t p, Posted& posted) {
  PairState& pair = pairs_[p];
  AccountState& account = accounts_[pair.account];
  const std::uint32_t slot = pair.queue.head(*this, now);
  if (slot == no_id) {
    if (account.credit.asked() &&
        std::all_of(account.pairs.begin(), account.pairs.end(),
                    [&](std::uint32_t other) { return pairs_[other].queue.empty(); }))
      account.credit.drained(actions_.messages);
    pair.held_back_by = PathPart::window;
    return Step::empty;
  }
  Transfer& transfer = transfers_[slot];
  const std::uint32_t again = transfer.retry_chunk;
  const Range& range = again == no_id ? transfer.next : chunks_[again].range;

  // Fallbacks may lack the method that was chosen; channels of one tier are alike.
  const auto gather_on = [&](std::uint32_t c) {
    const bool can = range.piece_count > 1 &&
                     (channels_[c].gathers >> static_cast<unsigned>(transfer.gather) & 1) != 0;
    return can ? transfer.gather : Gather::each;
  };
  const auto held_back = [&](PathPart reason) {
    pair.held_back_by = reason;
    return Step::blocked;
  };
  if (pair.candidates.empty()) return held_back(PathPart::fault);
  const std::uint32_t first = pair.candidates[0];
  const ChannelTable::Charge first_charge =
      table_.charge(first, range.bytes, range.piece_count, gather_on(first));
  std::uint32_t channel = policy.choose(Choice{table_, p, pair.candidates, first_charge});
  if (again != no_id && channel == chunks_[again].channel && pair.candidates.size() > 1)
    channel = choose_another(pair, channel, first_charge);

  if (!account.credit.has_room(range.bytes)) [[unlikely]] {
    account.credit.hold_back(actions_.messages);
    pair.parked_on_credit = true;
    ++account.parked;
    return held_back(PathPart::credit);
  }
  const Gather gather = gather_on(channel);
  const ChannelTable::Charge charge =
      table_.charge(channel, range.bytes, range.piece_count, gather);
  const TimeNs service = table_.service_ns(channel, charge);
  if (!table_.channel_has_room(channel, service)) return held_back(PathPart::window);
  if (const std::uint32_t full = table_.full_link(channel, charge.bytes); full != no_id) {
    park(p, full);
    return held_back(PathPart::window);
  }
  if (parked_pairs_ != 0) [[unlikely]]
    if (const std::uint32_t wanted = link_wanted_sooner(now, p, channel); wanted != no_id) {
      park(p, wanted);
      return held_back(PathPart::order);
    }

  std::uint32_t chunk_slot = again;
  if (again == no_id) {
    chunk_slot = new_chunk();
    Chunk& chunk = chunks_[chunk_slot];
    chunk.transfer = slot;
    chunk.range = transfer.next;
    chunk.attempts = 0;
    advance(transfer);
  } else {
    transfer.retry_chunk = chunks_[again].newer;
    ++counters_.chunks_resent;
    ++transfer.end.resent_chunks;
    transfer.end.resent_bytes += range.bytes;
  }
  chunks_[chunk_slot].range.gather = gather;
  emit(now, transfer, chunk_slot, channel, charge.bytes, service);
  posted = {channel, charge.bytes};
  if (!transfer.unissued()) pair.queue.remove(*this, slot);
  return Step::posted;
}

/// Puts a chunk at the end of a channel's queue, and says when it is late.
void Scheduler::put_in_flight(TimeNs now, Chunk& chunk, std::uint32_t slot, std::uint32_t channel,
                              Bytes charged, TimeNs service) {
  ChannelState& state = channels_[channel];
  table_.posted(channel, charged, service);
  chunk.late_ns =
      add_time(now, setup_.config.late_floor_ns +
                        setup_.config.timeout_factor * table_.expected_ns(channel, service));
  if (state.slack_ns != 0) [[unlikely]]
    chunk.late_ns = add_time(chunk.late_ns, slack_ns(now, state));
  chunk.channel = channel;
  chunk.service_ns = service;
  chunk.in_flight = true;
  chunk.cancelling = false;
  chunk.late = false;
  chunk.older = state.last_in_flight;
  chunk.newer = no_id;
  (state.last_in_flight == no_id ? state.first_in_flight : chunks_[state.last_in_flight].newer) =
      slot;
  state.last_in_flight = slot;
  if (!state.watched) {
    state.watched = true;
    watched_.push_back(channel);
  }
  ++chunks_in_flight_;
  arm(chunk.late_ns);
}

void Scheduler::emit(TimeNs now, Transfer& transfer, std::uint32_t slot, std::uint32_t channel,
                     Bytes charged, TimeNs service) {
  Chunk& chunk = chunks_[slot];
  ChannelState& state = channels_[channel];
  PairState& pair = pairs_[state.pair];
  const Range& range = chunk.range;

  put_in_flight(now, chunk, slot, channel, charged, service);
  ++chunk.attempts;
  accounts_[pair.account].credit.take(range.bytes);
  ++transfer.in_flight;
  ++counters_.chunks_posted;
  ++transfer.end.chunks;
  transfer.end.channels_used |= std::uint64_t{1} << std::min(channel - pair.first_channel, 63u);
  transfer.end.fallback_tier =
      std::max(transfer.end.fallback_tier, static_cast<std::uint8_t>(std::min(state.tier, 255u)));

  const bool one = range.piece_count == 1;
  const Descriptor& first = transfer.piece(range.first_piece);
  actions_.posts.push_back(
      {.channel = state.id,
       .post = {.chunk = make_id(slot, chunk.generation),
                .source_segment = transfer.source_segment,
                .target_segment = transfer.target_segment,
                .bytes = range.bytes,
                .piece_count = range.piece_count,
                .gather = range.gather,
                .piece = {first.source_offset + range.offset, first.target_offset + range.offset,
                          one ? range.bytes : first.length},
                .pieces = one ? nullptr : &first},
       .held_back_by = pair.held_back_by});
}

// ---- Completions ----------------------------------------------------------------------------

void Scheduler::complete(TimeNs now, const Completion& completion) {
  const std::uint32_t slot = slot_of(completion.chunk);
  if (slot >= chunks_.size() || !chunks_[slot].in_flight ||
      chunks_[slot].generation != generation_of(completion.chunk)) [[unlikely]] {
    ++counters_.unexpected;
    return;
  }
  Chunk& chunk = chunks_[slot];
  const std::uint32_t channel = chunk.channel;
  const std::uint32_t transfer_slot = chunk.transfer;
  const bool given_up = chunk.cancelling;
  if (completion.outcome == Outcome::ok) [[likely]]
    landed_on(now, channel, chunk.late_ns, completion.posted_ns);
  const Bytes charged = take_out_of_flight(chunk);

  if (transfer_slot == no_id) [[unlikely]] {
    probe_ended(now, slot, completion.outcome != Outcome::ok && !given_up);
  } else if (completion.outcome == Outcome::ok) [[likely]] {
    Transfer& transfer = transfers_[transfer_slot];
    table_.observed(channel, charged, completion.started_ns, completion.done_ns);
    transfer.delivered_bytes += chunk.range.bytes;
    transfer.end.posted_ns = completion.posted_ns;
    transfer.end.started_ns = completion.started_ns;
    transfer.end.done_ns = completion.done_ns;
    PairState& pair = pairs_[transfer.pair];
    if (pair.hopeless_since_ns != never_ns) [[unlikely]]
      pair.hopeless_since_ns = pair.candidates.empty() ? now : never_ns;
    free_chunk(slot);
    if (transfer.delivered_bytes == transfer.total_bytes)
      finish(now, transfer_slot, TransferOutcome::delivered);
    else if (transfer.ending && transfer.in_flight == 0)
      finish(now, transfer_slot, transfer.end.outcome);
  } else {
    if (completion.outcome != Outcome::cancelled) ++counters_.errors;
    if (completion.outcome == Outcome::path_failed || completion.outcome == Outcome::corrupted)
      failed_on(now, channel, completion.outcome);
    send_again_or_fail(now, slot, completion.outcome == Outcome::invalid);
  }
  pump_after_release(now, channel, charged);
  if (doubtful_ != 0 || !changed_.empty()) [[unlikely]] {
    probe_around(now, channel);  // there is room for a probe that there was not
    pump_changed(now);
  }
}

/// Returns what it had charged to its links.
Bytes Scheduler::take_out_of_flight(Chunk& chunk) {
  ChannelState& state = channels_[chunk.channel];
  (chunk.older == no_id ? state.first_in_flight : chunks_[chunk.older].newer) = chunk.newer;
  (chunk.newer == no_id ? state.last_in_flight : chunks_[chunk.newer].older) = chunk.older;
  const Range& range = chunk.range;
  const Bytes charged =
      table_.charge(chunk.channel, range.bytes, range.piece_count, range.gather).bytes;
  table_.ended(chunk.channel, charged, chunk.service_ns);
  if (chunk.transfer != no_id) [[likely]] {
    accounts_[pairs_[state.pair].account].credit.give_back(range.bytes, actions_.messages);
    --transfers_[chunk.transfer].in_flight;
  }
  chunk.in_flight = false;
  ++chunk.generation;  // whatever comes for this post from now on comes too late
  --chunks_in_flight_;
  return charged;
}

void Scheduler::send_again_or_fail(TimeNs now, std::uint32_t slot, bool invalid) {
  Chunk& chunk = chunks_[slot];
  const std::uint32_t transfer_slot = chunk.transfer;
  Transfer& transfer = transfers_[transfer_slot];
  if (!transfer.ending && !invalid && chunk.attempts < setup_.config.max_attempts) {
    chunk.newer = transfer.retry_chunk;
    transfer.retry_chunk = slot;
    if (transfer.hook.waiting) return;
    PairState& pair = pairs_[transfer.pair];
    pair.queue.push(*this, transfer_slot, now);
    if (pair.candidates.empty()) stall(now, pair, transfer_slot);
    return;
  }
  free_chunk(slot);
  begin_end(now, transfer_slot, TransferOutcome::failed);
}

void Scheduler::begin_end(TimeNs now, std::uint32_t transfer_slot, TransferOutcome outcome) {
  Transfer& transfer = transfers_[transfer_slot];
  if (!transfer.ending) {
    transfer.ending = true;
    transfer.end.outcome = outcome;
    if (transfer.hook.waiting) pairs_[transfer.pair].queue.remove(*this, transfer_slot);
    while (transfer.retry_chunk != no_id) {
      const std::uint32_t slot = transfer.retry_chunk;
      transfer.retry_chunk = chunks_[slot].newer;
      free_chunk(slot);
    }
    if (transfer.in_flight != 0) {
      const PairState& pair = pairs_[transfer.pair];
      for (std::uint32_t i = 0; i < pair.channel_count; ++i)
        for (std::uint32_t slot = channels_[pair.first_channel + i].first_in_flight; slot != no_id;
             slot = chunks_[slot].newer)
          if (chunks_[slot].transfer == transfer_slot) cancel_chunk(slot);
    }
  }
  if (transfer.in_flight == 0) finish(now, transfer_slot, transfer.end.outcome);
}

void Scheduler::finish(TimeNs now, std::uint32_t slot, TransferOutcome outcome) {
  Transfer& transfer = transfers_[slot];
  transfer.open = false;
  transfer.end.outcome = outcome;
  transfer.end.reported_ns = now;
  actions_.ends.push_back(transfer.end);
  --open_transfers_;
  free_transfers_.push_back(slot);
}

std::optional<TransferId> Scheduler::transfer_of(ChunkId id) const {
  const std::uint32_t slot = slot_of(id);
  if (slot >= chunks_.size() || !chunks_[slot].in_flight ||
      chunks_[slot].generation != generation_of(id) || chunks_[slot].transfer == no_id)
    return std::nullopt;
  const std::uint32_t transfer = chunks_[slot].transfer;
  return make_id(transfer, transfers_[transfer].generation);
}

void Scheduler::cancel_chunk(std::uint32_t slot) {
  Chunk& chunk = chunks_[slot];
  if (chunk.cancelling) return;
  chunk.cancelling = true;
  actions_.cancels.push_back({setup_.channels[chunk.channel].id, make_id(slot, chunk.generation)});
}

void Scheduler::cancel(TimeNs now, TransferId id) {
  const std::uint32_t slot = slot_of(id);
  if (slot >= transfers_.size()) return;
  const Transfer& transfer = transfers_[slot];
  if (!transfer.open || transfer.generation != generation_of(id)) return;
  const std::uint32_t pair = transfer.pair;
  begin_end(now, slot, TransferOutcome::cancelled);
  // Its place at the head is free; what stands behind it may have been held back by its size.
  unpark(pair);
  pump(now, pair);
}

// ---- Channels and links -----------------------------------------------------------------------

/// Its own health, or a link's, keeps users' chunks off it.
bool Scheduler::blocked(std::uint32_t channel) const {
  if (channels_[channel].health.blocked()) return true;
  const auto links = table_.links_of(channel);
  return std::any_of(links.begin(), links.end(),
                     [&](std::uint32_t link) { return links_[link].health.blocked(); });
}

/// How much of it is suspected: the channel itself and links on its way.
std::uint32_t Scheduler::doubts(std::uint32_t channel) const {
  std::uint32_t count = channels_[channel].health.suspected() ? 1 : 0;
  for (const std::uint32_t link : table_.links_of(channel))
    if (links_[link].health.suspected()) ++count;
  return count;
}

/// The channels that chunks of a pair may go to: the least suspected that are usable, of the best
/// tier among those. What all of them cross, such as the link of their GPU, is suspected for all
/// and decides nothing.
void Scheduler::refresh_candidates(TimeNs now, std::uint32_t p) {
  PairState& pair = pairs_[p];
  const bool had = !pair.candidates.empty();
  pair.candidates.clear();
  pair.blocked = false;  // there may be room where there was none
  std::uint32_t least = no_id, tier = no_id;
  for (std::uint32_t i = 0; i < pair.channel_count; ++i) {
    const std::uint32_t channel = pair.first_channel + i;
    if (blocked(channel)) continue;
    const std::uint32_t doubted = doubts(channel);
    // They lie in order of tier: the first with so few doubts is of the best tier that has it.
    if (doubted > least || (doubted == least && channels_[channel].tier != tier)) continue;
    if (doubted < least) pair.candidates.clear();
    least = doubted;
    tier = channels_[channel].tier;
    pair.candidates.push_back(channel);
  }
  if (!pair.candidates.empty()) {
    pair.stalled.clear();
  } else if (had) {
    if (pair.hopeless_since_ns == never_ns) pair.hopeless_since_ns = now;
    pair.queue.for_each(*this, [&](std::uint32_t slot) { stall(now, pair, slot); });
  }
}

/// The best candidate besides the one that a chunk has just failed on.
std::uint32_t Scheduler::choose_another(const PairState& pair, std::uint32_t failed,
                                        const ChannelTable::Charge& charge) {
  others_.clear();
  for (const std::uint32_t channel : pair.candidates)
    if (channel != failed) others_.push_back(channel);
  return table_.least_expected(others_, charge);
}

/// Applies a change to the health of a channel or a link. True when it may be used otherwise now.
template <class Change>
bool Scheduler::change_health(Health& health, Change change) {
  const Health::State before = health.state();
  const bool was_clean = health.clean();
  change(health);
  if (was_clean && !health.clean()) ++doubtful_;
  if (!was_clean && health.clean()) --doubtful_;
  if (health.state() == before) return false;
  if (health.state() == Health::State::quarantined) {
    ++counters_.quarantines;
    arm(health.quarantine_end_ns());
  }
  if (before == Health::State::probing && health.state() == Health::State::up)
    ++counters_.readmissions;
  return true;
}

template <class Change>
void Scheduler::change_channel(TimeNs now, std::uint32_t channel, Change change) {
  if (!change_health(channels_[channel].health, change)) return;
  refresh_candidates(now, channels_[channel].pair);
  changed_.push_back(channels_[channel].pair);
}

template <class Change>
void Scheduler::change_link(TimeNs now, std::uint32_t link, Change change) {
  if (!change_health(links_[link].health, change)) return;
  for (const std::uint32_t pair : links_[link].pairs) {
    refresh_candidates(now, pair);
    changed_.push_back(pair);
  }
}

/// What waits in pairs whose candidates have changed may find room now, or have lost what it waited
/// for.
void Scheduler::pump_changed(TimeNs now) {
  while (!changed_.empty()) {
    const std::uint32_t pair = changed_.back();
    changed_.pop_back();
    unpark(pair);
    pump(now, pair);
  }
}

/// What of a channel's slack is left.
TimeNs Scheduler::slack_ns(TimeNs now, const ChannelState& channel) const {
  const TimeNs halvings = (now - channel.slack_since_ns) / slack_half_life_ns;
  return halvings >= 40 ? 0 : channel.slack_ns >> halvings;
}

/// Twice as long with every attempt: where nothing is lost and everything slow, giving up for the
/// same reason again would help nobody.
TimeNs Scheduler::Patience::of_attempt_ns(std::uint32_t attempts) const {
  TimeNs patience = first_ns;
  for (; attempts > 1 && patience < longest_ns; --attempts) patience *= 2;
  return std::min(patience, longest_ns) + slack_ns;
}

/// Channels of a pair are of few kinds, and cross the same hosts: what one has shown holds for all.
/// Nothing lands during a look, so the pair is asked once in each; asked for every channel, a dead
/// peer with hundreds of them cost the square of their number.
Scheduler::Patience Scheduler::patience_of(TimeNs now, std::uint32_t channel) {
  PairState& pair = pairs_[channels_[channel].pair];
  if (pair.shown.look != looks_) {
    pair.shown = {.look = looks_};
    for (std::uint32_t i = 0; i < pair.channel_count; ++i) {
      const ChannelState& state = channels_[pair.first_channel + i];
      pair.shown.history = pair.shown.history || state.landed == history_chunks;
      pair.shown.slack_ns = std::max(pair.shown.slack_ns, slack_ns(now, state));
    }
  }
  const TimeNs longest = std::max(setup_.config.timeout_floor_ns, setup_.config.timeout_cold_ns);
  return {pair.shown.history ? setup_.config.timeout_floor_ns : longest, longest,
          pair.shown.slack_ns - slack_ns(now, channels_[channel])};
}

/// A chunk or a probe has come back: the channel works, and all links that it crosses.
void Scheduler::landed_on(TimeNs now, std::uint32_t channel, TimeNs late_ns, TimeNs posted_ns) {
  ChannelState& state = channels_[channel];
  state.last_landed_ns = now;
  const TimeNs posted = std::clamp<TimeNs>(posted_ns, 0, now);  // a backend's word
  const TimeNs used = now - posted, allowed = late_ns - posted;
  if (used > allowed / 2) [[unlikely]] {
    const TimeNs slack = posted < state.slack_since_ns ? 0 : slack_ns(posted, state);
    const TimeNs needed = std::min(2 * used - (allowed - slack), slack_max_ns(setup_.config));
    if (needed > slack_ns(now, state)) {
      state.slack_ns = needed;
      state.slack_since_ns = now;
    }
  }
  if (state.landed < history_chunks) ++state.landed;
  if (doubtful_ == 0) [[likely]]
    return;
  const auto landed = [](Health& health) { health.landed(); };
  change_channel(now, channel, landed);
  for (const std::uint32_t link : table_.links_of(channel)) change_link(now, link, landed);
}

void Scheduler::failed_on(TimeNs now, std::uint32_t channel, Outcome outcome) {
  change_channel(now, channel, [&](Health& health) { health.error(now, setup_.config); });
  if (outcome == Outcome::path_failed && channels_[channel].health.blocked())
    doubt_links(now, channel);
}

/// Something on the channel has not come back. Links on which nothing else has landed lately may be
/// the reason; a probe on another way over them finds out. A link that works has shown it within
/// late_floor_ns when it is busy: no chunk is late sooner after it should have landed.
void Scheduler::doubt_links(TimeNs now, std::uint32_t channel) {
  for (const std::uint32_t l : table_.links_of(channel)) {
    const LinkState& link = links_[l];
    if (link.health.state() != Health::State::up) continue;
    const bool alive =
        std::any_of(link.channels.begin(), link.channels.end(), [&](std::uint32_t other) {
          return channels_[other].last_landed_ns >= now - setup_.config.late_floor_ns &&
                 channels_[other].last_landed_ns >= 0;
        });
    if (!alive) change_link(now, l, [](Health& health) { health.suspect(); });
  }
  probe_around(now, channel);
}

// ---- Probes -----------------------------------------------------------------------------------

/// Sends a chunk without bytes, unless one is on its way or the channel takes no more.
void Scheduler::probe_channel(TimeNs now, std::uint32_t channel) {
  ChannelState& state = channels_[channel];
  if (state.probe != no_id || state.health.state() == Health::State::down ||
      table_.in_flight(channel) >= setup_.channels[channel].numbers.max_in_flight)
    return;
  const std::uint32_t slot = new_chunk();
  Chunk& chunk = chunks_[slot];
  chunk.transfer = no_id;
  chunk.range = {};
  chunk.attempts = 0;
  put_in_flight(now, chunk, slot, channel, 0, 0);
  state.probe = slot;
  ++probes_in_flight_;
  ++counters_.probes;
  ChunkPost post;
  post.chunk = make_id(slot, chunk.generation);
  actions_.posts.push_back({.channel = state.id, .post = post});
}

/// By the channel over it that is least doubted otherwise, each in its turn: what crosses two dead
/// links cannot show that one of them works.
void Scheduler::probe_link(TimeNs now, std::uint32_t l) {
  LinkState& link = links_[l];
  if (!link.health.wants_probe() || link.probe_channel != no_id) return;
  const auto count = static_cast<std::uint32_t>(link.channels.size());
  std::uint32_t best = no_id, least = no_id, best_at = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t at = (link.next_channel + i) % count;
    const std::uint32_t channel = link.channels[at];
    const ChannelState& state = channels_[channel];
    if (state.health.state() == Health::State::down) continue;
    if (state.probe == no_id &&
        table_.in_flight(channel) >= setup_.channels[channel].numbers.max_in_flight)
      continue;
    std::uint32_t doubted = state.health.blocked() ? 8 : doubts(channel);
    for (const std::uint32_t other : table_.links_of(channel))
      if (other != l && links_[other].health.blocked()) doubted += 8;
    if (doubted >= least) continue;
    least = doubted;
    best = channel;
    best_at = at;
  }
  if (best == no_id) return;
  link.next_channel = (best_at + 1) % count;
  link.probe_channel = best;
  probe_channel(now, best);
}

/// Sends what probes are still missing, of a channel and the links it crosses.
void Scheduler::probe_around(TimeNs now, std::uint32_t channel) {
  if (channels_[channel].health.wants_probe()) probe_channel(now, channel);
  for (const std::uint32_t link : table_.links_of(channel)) probe_link(now, link);
}

/// Where it landed, landed_on() has said so to its channel and all links already.
void Scheduler::probe_ended(TimeNs now, std::uint32_t slot, bool failed) {
  const std::uint32_t channel = chunks_[slot].channel;
  channels_[channel].probe = no_id;
  --probes_in_flight_;
  free_chunk(slot);
  if (failed) probe_failed(now, channel);
  for (const std::uint32_t link : table_.links_of(channel))
    if (links_[link].probe_channel == channel) links_[link].probe_channel = no_id;
}

/// The channel does not work, nor do the links that it was to try out.
void Scheduler::probe_failed(TimeNs now, std::uint32_t channel) {
  const auto fail = [&](Health& health) {
    if (health.wants_probe()) health.fail(now, setup_.config);
  };
  change_channel(now, channel, fail);
  for (const std::uint32_t link : table_.links_of(channel))
    if (links_[link].probe_channel == channel) change_link(now, link, fail);
}

// ---- Events from below, credits, time -----------------------------------------------------------

void Scheduler::channel_change(TimeNs now, const ChannelChange& change) {
  const std::uint64_t index = std::uint64_t{change.channel} - first_channel_id_;
  if (change.channel < first_channel_id_ || index >= channel_of_id_.size()) return;
  const std::uint32_t channel = channel_of_id_[index];
  if (channel == no_id) return;
  ChannelState& state = channels_[channel];
  change_channel(now, channel, [&](Health& health) { health.link(change.up); });
  if (!change.up)  // their completions may never come by themselves; ask, and send them elsewhere
    for (std::uint32_t slot = state.first_in_flight; slot != no_id; slot = chunks_[slot].newer)
      cancel_chunk(slot);
  else
    probe_around(now, channel);
  pump_changed(now);
}

void Scheduler::credit(TimeNs now, const ControlMessage& message) {
  for (CreditLedger& ledger : ledgers_)
    if (ledger.place() == message.place) ledger.receive(message, actions_.messages);
  for (AccountState& account : accounts_) {
    if (account.credit.target() != message.place) continue;
    account.credit.receive(message, actions_.messages);
    if (account.parked == 0) continue;
    contenders_.clear();
    for (const std::uint32_t pair : account.pairs)
      if (pairs_[pair].parked_on_credit) contenders_.push_back(pair);
    std::visit([&](auto& policy) { pump_contended(policy, now); }, policy_);
  }
}

void Scheduler::arm(TimeNs at) {
  if (at >= armed_ns_) return;
  armed_ns_ = at;
  actions_.timer_ns = at;
}

/// Looks at the chunks in flight on a channel, oldest first. Those that are late make it suspected,
/// those that have been late for too long are given up.
void Scheduler::look_at_chunks(TimeNs now, std::uint32_t channel, TimeNs& next) {
  std::optional<Patience> patience;  // once it is asked for: the same for all of them
  for (std::uint32_t slot = channels_[channel].first_in_flight; slot != no_id;
       slot = chunks_[slot].newer) {
    if (chunks_[slot].cancelling) continue;
    const TimeNs late_ns = chunks_[slot].late_ns;
    const bool probe = chunks_[slot].transfer == no_id;
    if (late_ns > now) {
      next = std::min(next, late_ns);
      return;  // those behind it were posted later
    }
    if (!chunks_[slot].late) {
      chunks_[slot].late = true;
      if (!probe) ++counters_.late;
      change_channel(now, channel, [](Health& health) { health.suspect(); });
      doubt_links(now, channel);
    }
    if (!patience) patience = patience_of(now, channel);
    const TimeNs given_up_ns = add_time(late_ns, patience->of_attempt_ns(chunks_[slot].attempts));
    if (given_up_ns > now) {
      next = std::min(next, given_up_ns);
      continue;
    }
    cancel_chunk(slot);
    if (probe) {
      probe_failed(now, channel);
      continue;
    }
    ++counters_.timeouts;
    const bool works = channels_[channel].last_landed_ns >= late_ns;
    change_channel(now, channel, [&](Health& health) {
      if (works)
        health.error(now, setup_.config);
      else
        health.fail(now, setup_.config);
    });
    if (!works) doubt_links(now, channel);
  }
}

/// When a waiting transfer of a pair without candidates fails.
void Scheduler::stall(TimeNs now, PairState& pair, std::uint32_t slot) {
  const TransferEnd& end = transfers_[slot].end;
  const TimeNs until = std::max(now, add_time(std::max(pair.hopeless_since_ns, end.submitted_ns),
                                              setup_.config.stall_timeout_ns));
  pair.stalled.push_back({until, end.id});
  std::push_heap(pair.stalled.begin(), pair.stalled.end(), Stalled::later);
  arm(until);
}

void Scheduler::end_stalled(TimeNs now, std::uint32_t p, TimeNs& next) {
  PairState& pair = pairs_[p];
  bool ended = false;
  while (!pair.stalled.empty() && pair.stalled.front().until_ns <= now) {
    const TransferId id = pair.stalled.front().transfer;
    std::pop_heap(pair.stalled.begin(), pair.stalled.end(), Stalled::later);
    pair.stalled.pop_back();
    const std::uint32_t slot = slot_of(id);
    const Transfer& transfer = transfers_[slot];
    if (!transfer.open || transfer.end.id != id || !transfer.hook.waiting) continue;
    if (add_time(pair.hopeless_since_ns, setup_.config.stall_timeout_ns) > now) {
      stall(now, pair, slot);  // something has landed meanwhile
      continue;
    }
    begin_end(now, slot, TransferOutcome::no_route);
    ended = true;
  }
  if (!pair.stalled.empty()) next = std::min(next, pair.stalled.front().until_ns);
  if (ended) changed_.push_back(p);  // nothing left to send: the credit may go back
}

/// One timer serves every chunk, channel, link and pair: it is armed for the earliest time that can
/// matter, and looks at all that can have changed when it fires.
void Scheduler::timer(TimeNs now) {
  armed_ns_ = never_ns;
  ++looks_;
  TimeNs next = never_ns;
  for (std::size_t i = 0; i < watched_.size();) {
    const std::uint32_t channel = watched_[i];
    if (channels_[channel].first_in_flight == no_id) {
      channels_[channel].watched = false;
      watched_[i] = watched_.back();
      watched_.pop_back();
      continue;
    }
    look_at_chunks(now, channel, next);
    ++i;
  }
  if (doubtful_ != 0) {
    const auto look = [&](Health& health) { health.end_quarantine(now); };
    for (std::uint32_t c = 0; c < channels_.size(); ++c) {
      change_channel(now, c, look);
      if (channels_[c].health.state() == Health::State::probing) probe_channel(now, c);
      next = std::min(next, channels_[c].health.quarantine_end_ns());
    }
    for (std::uint32_t l = 0; l < links_.size(); ++l) {
      change_link(now, l, look);
      probe_link(now, l);
      next = std::min(next, links_[l].health.quarantine_end_ns());
    }
    for (std::uint32_t p = 0; p < pairs_.size(); ++p)
      if (!pairs_[p].stalled.empty()) end_stalled(now, p, next);
  }
  arm(next);
  pump_changed(now);
}

}  // namespace kvhaul
