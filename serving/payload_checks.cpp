#include "serving/payload_checks.h"

#include <utility>

#include "core/random.h"
#include "serving/replay_messages.h"

namespace kvhaul {
namespace {

/// One number for the checksums of all pieces of a transfer.
std::uint64_t sum_of(std::span<const std::uint64_t> sums) {
  std::uint64_t all = sums.size();
  for (const std::uint64_t sum : sums) all = mix64(all ^ sum);
  return all;
}

}  // namespace

std::uint64_t PayloadChecks::begin_sums(SegmentId segment, std::span<const SegmentRange> ranges,
                                        std::vector<std::uint64_t>& sums) {
  sums.assign(ranges.size(), 0);
  return parts_.backend.begin_checksums(segment, ranges, sums);
}

void PayloadChecks::begin(const Check& check, const KvMove& move) {
  const Lane& lane = parts_.lanes[check.lane];
  const Instance& source = parts_.prefill[move.prefill_instance];
  const Instance& target = parts_.decode[move.decode_instance];
  descriptors_.clear();
  describe_lane(parts_, move, check.unit, lane, descriptors_);
  Running& running = running_.emplace_back();
  running.check = check;
  running.attempt = move.attempt;
  const auto ranges_at = [&](Bytes Descriptor::*offset) -> std::vector<SegmentRange>& {
    ranges_.clear();
    for (const Descriptor& piece : descriptors_) ranges_.push_back({piece.*offset, piece.length});
    return ranges_;
  };
  const SegmentId source_segment = source.segments[lane.source_rank];
  const SegmentId target_segment = target.segments[lane.target_rank];
  if (source.here && target.here) {
    begin_sums(source_segment, ranges_at(&Descriptor::source_offset), running.near_sums);
    running.number =
        begin_sums(target_segment, ranges_at(&Descriptor::target_offset), running.far_sums);
    return;
  }
  const bool pull = parts_.config.pull;
  running.near_node = pull ? target.node : source.node;
  running.far_node = pull ? source.node : target.node;
  running.far_instance = pull ? move.prefill_instance : move.decode_instance;
  running.far_rank = pull ? lane.source_rank : lane.target_rank;
  running.far_ranges = ranges_at(pull ? &Descriptor::source_offset : &Descriptor::target_offset);
  running.number = begin_sums(
      pull ? target_segment : source_segment,
      ranges_at(pull ? &Descriptor::target_offset : &Descriptor::source_offset), running.near_sums);
}

bool PayloadChecks::take(Answer& answer) {
  while (!running_.empty() && running_.front().number <= parts_.backend.checksums_done()) {
    Running done = std::move(running_.front());
    running_.pop_front();
    if (done.forgotten) continue;
    if (done.far_ranges.empty())
      answered_.push_back({done.check, done.near_sums == done.far_sums});
    else
      ask(std::move(done));
    if (!answered_.empty()) break;
  }
  if (answered_.empty()) return false;
  answer = answered_.front();
  answered_.pop_front();
  return true;
}

void PayloadChecks::ask(Running running) {
  BodyWriter body;
  body.add(next_question_, sum_of(running.near_sums), running.far_instance, running.far_rank);
  for (const SegmentRange& range : running.far_ranges) body.add(range.offset, range.length);
  asked_[next_question_++] = running.check;
  send(parts_, running.near_node, running.far_node, ReplayMessage::compare, running.check.slot,
       running.attempt, body.take());
}

std::uint32_t PayloadChecks::forget(std::uint32_t slot) {
  std::size_t count =
      std::erase_if(asked_, [&](const auto& asked) { return asked.second.slot == slot; });
  for (Running& running : running_) {
    if (running.check.slot != slot || running.forgotten) continue;
    running.forgotten = true;
    ++count;
  }
  return static_cast<std::uint32_t>(count);
}

void PayloadChecks::compare(const ControlMessage& message) {
  BodyReader body(message.body);
  const std::uint64_t question = body.word();
  const std::uint64_t expected = body.word();
  const std::uint64_t number = body.word(), rank = body.word();
  const auto& instances = parts_.config.pull ? parts_.prefill : parts_.decode;
  const auto& geometry = parts_.config.pull ? parts_.source_ranks : parts_.target_ranks;
  if (!body.whole() || number >= instances.size() || !instances[number].here ||
      rank >= geometry.size())
    return;
  const Bytes size = geometry[rank].segment_bytes();
  ranges_.clear();
  while (!body.rest().empty()) {
    const Bytes offset = body.word(), length = body.word();
    if (!body.whole() || offset > size || length > size - offset) return;
    ranges_.push_back({offset, length});
  }
  Answering& answering = answering_.emplace_back();
  answering.answer = {
      message.to,    message.from, static_cast<std::uint32_t>(ReplayMessage::compared),
      message.place, question,     message.value2};
  answering.expected = expected;
  answering.number = begin_sums(instances[number].segments[rank], ranges_, answering.sums);
  answer_others();
}

void PayloadChecks::answer_others() {
  while (!answering_.empty() && answering_.front().number <= parts_.backend.checksums_done()) {
    Answering& done = answering_.front();
    done.answer.body = {sum_of(done.sums) == done.expected ? 1u : 0u};
    parts_.runtime->send(done.answer);
    answering_.pop_front();
  }
}

void PayloadChecks::compared(const ControlMessage& message) {
  const auto asked = asked_.find(message.value);
  if (asked == asked_.end() || message.body.size() != 1) return;
  answered_.push_back({asked->second, message.body[0] == 1});
  asked_.erase(asked);
}

}  // namespace kvhaul
