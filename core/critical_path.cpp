#include "core/critical_path.h"

#include <algorithm>
#include <map>
#include <utility>

namespace kvhaul {
namespace {

/// From the one to the other that came before it; 0 where there is none, or too far to be known.
std::uint32_t far_back(std::uint64_t from, std::uint64_t to) {
  return to != 0 && std::in_range<std::uint32_t>(from - to) ? static_cast<std::uint32_t>(from - to)
                                                            : 0;
}

}  // namespace

CriticalPath::CriticalPath(const SchedulerSetup& setup) : ring_(64), chains_(ring_.size()) {
  last_of_pair_.assign(setup.pairs.size(), 0);
  if (setup.channels.empty()) return;
  const auto by_id = [](const SetupChannel& a, const SetupChannel& b) { return a.id < b.id; };
  const auto [first, last] =
      std::minmax_element(setup.channels.begin(), setup.channels.end(), by_id);
  first_channel_id_ = first->id;
  channels_.resize(last->id - first->id + 1);
  // A place has one thread that posts what it sends. Where targets read, theirs do; then fewer of
  // the chunks before are known, and times between are another part than `post` at worst.
  std::map<PlaceId, std::uint32_t> posters;
  for (const SetupChannel& channel : setup.channels) {
    const auto next = static_cast<std::uint32_t>(posters.size());
    const auto poster = posters.emplace(setup.pairs[channel.pair].source, next).first->second;
    channels_[channel.id - first_channel_id_] = {channel.pair, poster, channel.numbers.fixed_ns};
  }
  last_of_poster_.assign(posters.size(), 0);
}

void CriticalPath::happened(TimeNs now) {
  now_ = now;
  cause_ = 0;
  submission_ = false;
}

void CriticalPath::submitted(TimeNs now, TransferId transfer) {
  happened(now);
  submission_ = true;
  open_.push_back({now, transfer});
}

void CriticalPath::completed(TimeNs now, const Completion& completion) {
  happened(now);
  const std::uint32_t slot = slot_of(completion.chunk);
  if (slot >= of_slot_.size() || of_slot_[slot] == 0) return;  // a probe, or nothing of ours
  const std::uint64_t number = of_slot_[slot];
  Flight& of = flight(number);
  if (of.generation != generation_of(completion.chunk) || of.reported_ns != never_ns) return;
  cause_ = number;
  of.reported_ns = now;
  of.failed = completion.outcome != Outcome::ok;
  if (of.failed) return;
  Channel& channel = channels_[completion.channel - first_channel_id_];
  // A backend's times are its word; here each is where the one before it was or later.
  const TimeNs given = of.at_ns[decided];
  of.done_ns = std::clamp(completion.done_ns, given, now);
  const TimeNs started = std::clamp(completion.started_ns, given, of.done_ns);
  of.ready_known = completion.ready_ns != 0;
  of.at_ns[ready] = of.ready_known ? std::clamp(completion.ready_ns, given, started) : started;
  of.at_ns[left] = of.done_ns - std::min(channel.fixed_ns, of.done_ns - started);
  const std::uint64_t ahead = std::exchange(channel.last, number);
  const auto back = static_cast<std::int64_t>(number - ahead);
  of.ahead_back =
      ahead != 0 && std::in_range<std::int32_t>(back) ? static_cast<std::int32_t>(back) : 0;
}

void CriticalPath::posted(const PostAction& action) {
  const std::uint32_t slot = slot_of(action.post.chunk);
  if (slot >= of_slot_.size()) of_slot_.resize(slot + 1);
  if (action.post.bytes == 0) {  // a probe carries nothing that is waited for
    of_slot_[slot] = 0;
    return;
  }
  if (next_ - first_ == ring_.size()) grow();
  const Channel& channel = channels_[action.channel - first_channel_id_];
  std::uint64_t& last = last_of_pair_[channel.pair];
  Flight& of = flight(next_);
  of.generation = generation_of(action.post.chunk);
  of.channel = action.channel;
  of.before_back = far_back(next_, last_of_poster_[channel.poster]);
  of.followed = 0;
  of.ready_known = false;
  of.failed = false;
  of.reported_ns = never_ns;
  of.held_back_by = submission_ ? PathPart::order : action.held_back_by;
  of.at_ns[decided] = now_;
  std::uint64_t cause = 0;
  if (cause_ != 0 && flight(cause_).failed) {
    // Of a lost attempt nothing is known but that it was waited for.
    cause = 4 * cause_ + decided;
    of.held_back_by = PathPart::fault;
  } else if (cause_ != 0) {
    cause = 4 * cause_ + left;
  } else if (!submission_) {
    cause = 4 * last + decided;
  }
  of.cause_back = far_back(4 * next_ + decided, cause);
  of_slot_[slot] = last = last_of_poster_[channel.poster] = next_++;
}

/// Posting was busy with the one before it when it was given to it.
bool CriticalPath::waited_for_posting(std::uint64_t number) const {
  const Flight& of = flight(number);
  if (of.before_back == 0 || number - of.before_back < first_ || !of.ready_known) return false;
  const Flight& before = flight(number - of.before_back);
  return before.ready_known && before.reported_ns <= of.reported_ns &&
         of.at_ns[decided] <= before.at_ns[ready] && before.at_ns[ready] <= of.at_ns[ready];
}

/// The one ahead of it left the channel after posting was through with it.
bool CriticalPath::waited_for_channel(std::uint64_t number) const {
  const Flight& of = flight(number);
  const std::uint64_t ahead = number - static_cast<std::uint64_t>(std::int64_t{of.ahead_back});
  if (of.ahead_back == 0 || ahead < first_) return false;
  const TimeNs ahead_ns = flight(ahead).at_ns[left];
  return of.at_ns[ready] <= ahead_ns && ahead_ns <= of.at_ns[left];
}

std::uint64_t CriticalPath::cause(std::uint64_t moment) const {
  const std::uint64_t number = moment / 4, own = 4 * number;
  const Flight& of = flight(number);
  switch (moment % 4) {
    case left:
      return waited_for_channel(number)
                 ? own - 4 * static_cast<std::uint64_t>(std::int64_t{of.ahead_back}) + left
                 : own + ready;
    case ready:
      return waited_for_posting(number) ? own - 4 * std::uint64_t{of.before_back} + ready
                                        : own + decided;
    default:
      return of.cause_back == 0 ? 0 : moment - of.cause_back;
  }
}

PathPart CriticalPath::part(std::uint64_t moment) const {
  switch (moment % 4) {
    case left:
      return PathPart::wire;
    case ready:
      return PathPart::post;
    default:
      return flight(moment / 4).held_back_by;
  }
}

/// Sums up what lies before a moment, and before all that it follows from.
void CriticalPath::follow(std::uint64_t number) {
  for (; known(number) && (flight(number / 4).followed >> number % 4 & 1) == 0;
       number = cause(number))
    trail_.push_back(number);
  for (; !trail_.empty(); trail_.pop_back()) {
    const std::uint64_t at = trail_.back(), before = cause(at);
    Chain& to = chain(at);
    flight(at / 4).followed |= static_cast<std::uint8_t>(1u << at % 4);
    if (!known(before)) {
      to = {};
      continue;
    }
    const Chain& from = chain(before);
    to.before = from.before;
    to.before[part(at)] += at_ns(at) - at_ns(before);
    to.depth = from.depth + 1;
    to.jump = before;
    // Myers, "An applicative random-access stack": jumps double where their lengths are equal.
    if (!known(from.jump) || !known(chain(from.jump).jump)) continue;
    const Chain& half = chain(from.jump);
    if (from.depth - half.depth == half.depth - chain(half.jump).depth) to.jump = half.jump;
  }
}

std::uint64_t CriticalPath::ended(TransferId transfer) {
  const std::uint32_t slot = slot_of(transfer);
  if (slot >= ended_.size()) ended_.resize(slot + 1);
  ended_[slot] = generation_of(transfer);
  return cause_;
}

void CriticalPath::add_parts(std::uint64_t last_flight, TimeNs since_ns, PathParts& parts) {
  if (last_flight < first_ || last_flight >= next_) return;
  const Flight& last = flight(last_flight);
  if (last.reported_ns == never_ns || last.failed) return;  // nothing landed with it
  if (last.at_ns[decided] <= since_ns && !waited_for_channel(last_flight) &&
      !waited_for_posting(last_flight)) {  // as nearly always
    TimeNs from = since_ns;
    const auto until = [&](TimeNs end, PathPart part) {
      if (end <= from) return;
      parts[part] = end - from;
      from = end;
    };
    until(last.at_ns[ready], PathPart::post);
    until(last.done_ns, PathPart::wire);
    until(last.reported_ns, PathPart::detect);
    return;
  }
  TimeNs from = std::max(since_ns, last.at_ns[left]);
  for (const auto& [until, part] :
       {std::pair{last.done_ns, PathPart::wire}, {last.reported_ns, PathPart::detect}}) {
    parts[part] += std::max<TimeNs>(0, until - from);
    from = std::max(from, until);
  }
  const auto is_later = [&](std::uint64_t number) {
    return known(number) && at_ns(number) >= since_ns;
  };
  const std::uint64_t end = 4 * last_flight + left;
  follow(end);
  std::uint64_t first = end;
  for (std::uint64_t before = cause(first); is_later(before); before = cause(first))
    first = is_later(chain(first).jump) ? chain(first).jump : before;
  for (std::size_t i = 0; i < path_part_count; ++i)
    parts.ns[i] += chain(end).before.ns[i] - chain(first).before.ns[i];
  parts[part(first)] += std::max<TimeNs>(0, at_ns(first) - since_ns);
}

void CriticalPath::forget_old() {
  const auto has_ended = [&](TransferId id) {
    return slot_of(id) < ended_.size() && ended_[slot_of(id)] >= generation_of(id);
  };
  while (oldest_ < open_.size() && has_ended(open_[oldest_].transfer)) ++oldest_;
  const TimeNs oldest = oldest_ == open_.size() ? never_ns : open_[oldest_].since_ns;
  if (2 * oldest_ >= open_.size()) {
    open_.erase(open_.begin(), open_.begin() + static_cast<std::ptrdiff_t>(oldest_));
    oldest_ = 0;
  }
  while (first_ != next_ && flight(first_).reported_ns < oldest) ++first_;
}

void CriticalPath::grow() {
  std::vector<Flight> ring(2 * ring_.size());
  std::vector<std::array<Chain, step_count>> chains(ring.size());
  for (std::uint64_t number = first_; number != next_; ++number) {
    ring[number & (ring.size() - 1)] = flight(number);
    chains[number & (ring.size() - 1)] = chains_[number & (ring_.size() - 1)];
  }
  ring_.swap(ring);
  chains_.swap(chains);
}

}  // namespace kvhaul
