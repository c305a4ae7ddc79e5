// Chunks that pass through a buffer in host memory at one end or both.
#include <algorithm>
#include <utility>

#include "backends/verbs/verbs_backend.h"

namespace kvhaul::verbs {

bool VerbsBackend::enter_staging(ChannelId id) {
  Channel& channel = channels_[id];
  Staging& staging = *channel.staging;
  const bool copies = channel.pull ? staging.far : staging.near;
  while (!channel.waiting.empty()) {
    if (work_[channel.waiting.first].chunk.is_probe()) {  // needs no buffer
      staging.ready.push(work_, channel.waiting.pop(work_));
      continue;
    }
    if (staging.count == StagingBuffer::jobs_max ||
        !staging.ring.room(work_[channel.waiting.first].chunk.bytes))
      break;
    const std::uint32_t number = channel.waiting.pop(work_);
    Work& work = work_[number];
    work.staged_at = staging.ring.take(work.chunk.bytes);
    work.handed_ns = now();
    ++staging.count;
    (copies ? staging.before : staging.ready).push(work_, number);
    if (copies && !begin_part(id, work, true)) return false;
  }
  return true;
}

bool VerbsBackend::leave_wire(ChannelId id, std::uint32_t number) {
  Channel& channel = channels_[id];
  Staging& staging = *channel.staging;
  staging.after.push(work_, number);
  if (channel.pull ? staging.near : staging.far) return begin_part(id, work_[number], false);
  leave_staging(id);
  return true;
}

void VerbsBackend::leave_staging(ChannelId id) {
  Staging& staging = *channels_[id].staging;
  staging.ring.release();
  --staging.count;
  end(id, staging.after.pop(work_), Outcome::ok);
}

bool VerbsBackend::begin_part(ChannelId id, const Work& work, bool source) {
  Channel& channel = channels_[id];
  StagePart& part = channel.staging->part_of(work.chunk, source, work.staged_at);
  part.channel = id;
  part.generation = channel.generation;
  if (source == channel.pull) {  // at the far end
    if (drives(channel.other))
      do_part(part);
    else
      say(channel.owner, channel.other, Say::stage, part.text());
    return channel.state == Channel::State::open;
  }
  const auto begun = channel.staging->near_end.begin(memory_.address(part.segment), part);
  note(begun);
  if (begun)
    watch_staging(id);
  else
    lose(id);
  return static_cast<bool>(begun);
}

void VerbsBackend::do_part(const StagePart& part) {
  Channel& channel = channels_[part.channel];
  const PlaceId place = channel.pull ? channel.source : channel.target;
  Bytes sum = 0;
  bool sound = part.ranges.size() <= channel.max_pieces && part.at <= staging_bytes;
  for (const SegmentRange& range : part.ranges) {
    sound = sound && range.length <= staging_bytes &&
            memory_.inside(part.segment, range.offset, range.length) &&
            memory_.place(part.segment) == place;
    sum += range.length;
  }
  if (sound && sum <= staging_bytes - part.at) {
    const auto begun = channel.staging->far_end.begin(memory_.address(part.segment), part);
    note(begun);
    if (begun) {
      watch_staging(part.channel);
      return;
    }
  }
  tell(channel.other, channel.owner, Say::staged, {part.channel, part.generation, 0, 0});
}

void VerbsBackend::watch_staging(ChannelId id) {
  if (std::exchange(channels_[id].staging->watched, true)) return;
  staging_.push_back(id);
}

void VerbsBackend::look_at_staging() {
  for (std::size_t i = 0; i < staging_.size();) {  // it may grow meanwhile
    const ChannelId id = staging_[i];
    Channel& channel = channels_[id];
    Staging& staging = *channel.staging;
    for (const bool near : {true, false}) {
      StagingEnd& end = near ? staging.near_end : staging.far_end;
      ChannelWord word{id, 0, 0, 1};
      while (true) {
        const auto finished = end.finished(word.generation);
        if (!finished) {
          note(finished.error());
          end.settle();
          word.ok = 0;
        } else if (!*finished) {
          break;
        }
        if (near)
          part_done(word, !channel.pull);
        else
          tell(channel.other, channel.owner, Say::staged, word);
        if (word.ok == 0) break;
      }
    }
    staging.watched = staging.near_end.busy() || staging.far_end.busy();
    if (staging.watched) {
      ++i;
    } else {
      staging_[i] = staging_.back();
      staging_.pop_back();
    }
  }
}

void VerbsBackend::part_done(const ChannelWord& word, bool source) {
  Channel& channel = channels_[word.channel];
  if (channel.state != Channel::State::open || word.generation != channel.generation) return;
  Staging& staging = *channel.staging;
  if (word.ok == 0) return lose(word.channel);
  if ((source ? staging.before : staging.after).empty()) return;
  if (source)
    staging.ready.push(work_, staging.before.pop(work_));
  else
    leave_staging(word.channel);
  feed(word.channel);
}

void VerbsBackend::lose(ChannelId id) {
  channels_[id].lost = true;
  take_down(id, "a device that answers no more");
}

std::vector<TicketQueue*> VerbsBackend::under_way_of(Channel& channel) {
  if (!channel.staging) return {&channel.flying};
  Staging& staging = *channel.staging;
  return {&staging.after, &channel.flying, &staging.ready, &staging.before};
}

}  // namespace kvhaul::verbs
