#include "core/critical_path.h"

#include <algorithm>
#include <map>
#include <utility>

namespace kvhaul {

CriticalPath::CriticalPath(const SchedulerSetup& setup) : ring_(64) {
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
  if (of.chunk != completion.chunk || of.reported_ns != never_ns) return;
  cause_ = number;
  of.reported_ns = now;
  of.failed = completion.outcome != Outcome::ok;
  if (of.failed) return;
  Channel& channel = channels_[completion.channel - first_channel_id_];
  // A backend's times are its word; here each is where the one before it was or later.
  const TimeNs given = of.moments[decided].at_ns;
  of.done_ns = std::clamp(completion.done_ns, given, now);
  const TimeNs started = std::clamp(completion.started_ns, given, of.done_ns);
  of.ready_known = completion.ready_ns != 0;
  const TimeNs ready_ns =
      of.ready_known ? std::clamp(completion.ready_ns, given, started) : started;
  const TimeNs left_ns = of.done_ns - std::min(channel.fixed_ns, of.done_ns - started);
  const auto between = [](TimeNs from, TimeNs moment, TimeNs to) {
    return from <= moment && moment <= to;
  };
  const std::uint64_t before = of.posted_before >= first_ ? of.posted_before : 0;
  const bool queued = before != 0 && of.ready_known && flight(before).ready_known &&
                      between(given, flight(before).moments[ready].at_ns, ready_ns);
  follow(of.moments[ready], ready_ns, PathPart::post,
         queued ? 4 * before + ready : 4 * number + decided);
  const std::uint64_t ahead = channel.last >= first_ ? channel.last : 0;
  const bool behind = ahead != 0 && between(ready_ns, flight(ahead).moments[left].at_ns, left_ns);
  follow(of.moments[left], left_ns, PathPart::wire, behind ? 4 * ahead + left : 4 * number + ready);
  channel.last = number;
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
  of.chunk = action.post.chunk;
  of.channel = action.channel;
  of.posted_before = last_of_poster_[channel.poster];
  of.ready_known = false;
  of.reported_ns = never_ns;
  PathPart part = submission_ ? PathPart::order : action.held_back_by;
  std::uint64_t cause = 0;
  if (cause_ != 0 && flight(cause_).failed) {
    // Of a lost attempt nothing is known but that it was waited for.
    cause = 4 * cause_ + decided;
    part = PathPart::fault;
  } else if (cause_ != 0) {
    cause = 4 * cause_ + left;
  } else if (!submission_) {
    cause = 4 * last + decided;
  }
  follow(of.moments[decided], now_, part, known(cause) ? cause : 0);
  of_slot_[slot] = last = last_of_poster_[channel.poster] = next_++;
}

void CriticalPath::follow(Moment& to, TimeNs at_ns, PathPart part,
                          std::uint64_t cause_number) const {
  to.at_ns = at_ns;
  to.part = part;
  to.cause = to.jump = cause_number;
  to.depth = 0;
  to.before = {};
  if (cause_number == 0) return;
  const Moment& cause = moment(cause_number);
  to.depth = cause.depth + 1;
  to.before = cause.before;
  to.before[part] += at_ns - cause.at_ns;
  // Myers, "An applicative random-access stack": jumps double where their lengths are equal.
  if (!known(cause.jump) || !known(moment(cause.jump).jump)) return;
  const Moment& half = moment(cause.jump);
  if (cause.depth - half.depth == half.depth - moment(half.jump).depth) to.jump = half.jump;
}

std::uint64_t CriticalPath::ended(TransferId transfer) {
  const std::uint32_t slot = slot_of(transfer);
  if (slot >= ended_.size()) ended_.resize(slot + 1);
  ended_[slot] = generation_of(transfer);
  return cause_;
}

PathParts CriticalPath::parts(std::uint64_t last_flight, TimeNs since_ns) const {
  PathParts parts;
  if (last_flight < first_ || last_flight >= next_) return parts;
  const Flight& last = flight(last_flight);
  const std::uint64_t own = 4 * last_flight;
  if (last.moments[decided].at_ns <= since_ns && last.moments[left].cause == own + ready &&
      last.moments[ready].cause == own + decided) {  // as nearly always: it waited for nobody
    TimeNs from = since_ns;
    const auto until = [&](TimeNs end, PathPart part) {
      if (end <= from) return;
      parts[part] = end - from;
      from = end;
    };
    until(last.moments[ready].at_ns, PathPart::post);
    until(last.done_ns, PathPart::wire);
    until(last.reported_ns, PathPart::detect);
    return parts;
  }
  const Moment& end = last.moments[left];
  TimeNs from = std::max(since_ns, end.at_ns);
  for (const auto& [until, part] :
       {std::pair{last.done_ns, PathPart::wire}, {last.reported_ns, PathPart::detect}}) {
    parts[part] += std::max<TimeNs>(0, until - from);
    from = std::max(from, until);
  }
  const auto is_later = [&](std::uint64_t number) {
    return known(number) && moment(number).at_ns >= since_ns;
  };
  const Moment* first = &end;
  while (is_later(first->cause))
    first = &moment(is_later(first->jump) ? first->jump : first->cause);
  for (std::size_t i = 0; i < path_part_count; ++i)
    parts.ns[i] += end.before.ns[i] - first->before.ns[i];
  parts[first->part] += std::max<TimeNs>(0, first->at_ns - since_ns);
  return parts;
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
  for (std::uint64_t number = first_; number != next_; ++number)
    ring[number & (ring.size() - 1)] = flight(number);
  ring_.swap(ring);
}

}  // namespace kvhaul
