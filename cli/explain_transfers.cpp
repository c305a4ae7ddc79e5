#include "cli/explain_transfers.h"

#include <algorithm>
#include <map>

#include "cli/terminal.h"
#include "core/unit_text.h"

namespace kvhaul::cli {
namespace {

using StateKey = std::pair<std::uint64_t, std::uint32_t>;  // log and scheduler

/// Collects the stories while a log is followed.
class Stories {
 public:
  explicit Stories(const std::function<bool(const LoggedTransfer&)>& wanted) : wanted_(wanted) {}

  void event(const LogEntry& entry) {
    const StateKey key{entry.log, entry.scheduler};
    follower_.follow(entry);
    const LogFollower::State& state = follower_.state();
    if (entry.kind == LogRecord::submit && wanted_(*follower_.transfer()))
      begin(entry, *follower_.transfer(), state);
    if (entry.kind == LogRecord::complete) came_back(key, *entry.completion, entry.now);
    for (const PostAction& action : entry.actions->posts) posted(key, entry, action, state);
    for (const auto& [transfer, end] : follower_.ended()) {
      const auto story = stories_.find(transfer.number);
      if (story == stories_.end()) continue;
      story->second.ended_ns = entry.now;
      story->second.outcome = end.outcome;
      story->second.parts = end.path;
    }
  }

  std::vector<TransferStory> take() {
    std::vector<TransferStory> all;
    for (auto& [number, story] : stories_) all.push_back(std::move(story));
    return all;
  }

 private:
  static bool is_of_pair(const SchedulerSetup& setup, ChannelId channel, std::uint32_t pair) {
    return std::ranges::any_of(
        setup.channels, [&](const SetupChannel& c) { return c.id == channel && c.pair == pair; });
  }

  void begin(const LogEntry& entry, const LoggedTransfer& transfer,
             const LogFollower::State& state) {
    TransferStory& story = stories_[transfer.number];
    story.transfer = transfer;
    for (const auto& [number, other] : state.open)
      if (number != transfer.number && other.pair == transfer.pair) story.before.push_back(number);
    const SchedulerSetup& setup = entry.state->setup();
    for (const auto& [id, chunk] : state.in_flight) {
      if (chunk.transfer == transfer.number || !is_of_pair(setup, chunk.channel, transfer.pair))
        continue;
      ++story.chunks_before;
      story.bytes_before += chunk.bytes;
    }
  }

  void posted(const StateKey& key, const LogEntry& entry, const PostAction& action,
              const LogFollower::State& state) {
    const auto of = state.in_flight.at(action.post.chunk).transfer;
    if (!of) return;
    const auto story = stories_.find(*of);
    if (story == stories_.end()) return;
    ChunkStory chunk{.channel = action.channel,
                     .bytes = action.post.bytes,
                     .posted_ns = entry.now,
                     .at_once = entry.now == story->second.transfer.submitted_ns,
                     .held_back_by = action.held_back_by};
    for (const auto& [id, other] : state.in_flight)
      chunk.ahead += other.channel == action.channel && other.posted_ns < entry.now ? 1 : 0;
    const std::uint32_t pair = story->second.transfer.pair;
    chunk.usable = entry.state->usable_channels(pair);
    std::uint32_t best = no_id;
    for (const SetupChannel& c : entry.state->setup().channels)
      if (c.pair == pair && c.tier < best) best = c.tier;
    for (const SetupChannel& c : entry.state->setup().channels)
      chunk.channels += c.pair == pair && c.tier == best ? 1 : 0;
    places_[{key, action.post.chunk}] = {*of, story->second.chunks.size()};
    story->second.chunks.push_back(chunk);
  }

  void came_back(const StateKey& key, const Completion& completion, TimeNs now) {
    const auto place = places_.find({key, completion.chunk});
    if (place == places_.end()) return;
    ChunkStory& chunk = stories_.at(place->second.first).chunks[place->second.second];
    chunk.started_ns = completion.started_ns;
    chunk.landed_ns = completion.done_ns;
    chunk.told_ns = now;
    chunk.outcome = completion.outcome;
    places_.erase(place);
  }

  const std::function<bool(const LoggedTransfer&)>& wanted_;
  LogFollower follower_;
  std::map<std::uint64_t, TransferStory> stories_;  // by number
  // Chunks of stories in flight: which story, and where in it.
  std::map<std::pair<StateKey, ChunkId>, std::pair<std::uint64_t, std::size_t>> places_;
};

std::string start_text(TimeNs time) {
  return number_text(static_cast<double>(time) / 1e9, 9) + " s";
}

/// "transfers 14, 15 and 3 more"
std::string list_of(const std::vector<std::uint64_t>& numbers) {
  constexpr std::size_t shown_max = 3;
  std::string out = numbers.size() == 1 ? "transfer " : "transfers ";
  for (std::size_t i = 0; i < std::min(shown_max, numbers.size()); ++i)
    out += (i == 0 ? "" : ", ") + std::to_string(numbers[i]);
  if (numbers.size() > shown_max)
    out += " and " + std::to_string(numbers.size() - shown_max) + " more";
  return out;
}

std::string why_text(const ChunkStory& chunk) {
  std::string why = chunk.at_once ? "" : std::string(path_part_name(chunk.held_back_by));
  if (chunk.usable < chunk.channels)
    why += (why.empty() ? "" : ", ") + std::to_string(chunk.channels - chunk.usable) + " of " +
           counted(chunk.channels, "channel") + " not used: believed dead, or suspected";
  return why;
}

}  // namespace

Result<std::vector<TransferStory>> read_transfer_stories(
    const std::string& log, const RunDirectory& run,
    const std::function<bool(const LoggedTransfer&)>& wanted) {
  Stories stories(wanted);
  const auto report = read_log(log, [&](const LogEntry& entry) { stories.event(entry); });
  if (!report) return report.error();
  if (!report->identical) return Error::failed(report->first_difference);
  if (static_cast<double>(report->transfers) != run.number("transfers.count"))
    print_warning(log + " has " + counted(report->transfers, "transfer") + ", " + run.path + " " +
                  number_text(run.number("transfers.count"), 20) +
                  ": one of the two is of another run, or of some of its processes alone");
  return stories.take();
}

std::string story_text(const TransferStory& story, const LogNames& names) {
  const LoggedTransfer& t = story.transfer;
  std::string out = toned(Tone::strong, "transfer " + std::to_string(t.number)) + ", " +
                    names.place(t.source) + " to " + names.place(t.target) + ", submitted at " +
                    start_text(t.submitted_ns) + "\n";
  std::string end = bytes_text(t.bytes) + " in " + counted(t.pieces, "piece");
  if (story.ended_ns != never_ns) {
    end += ", " + std::string(transfer_outcome_name(story.outcome)) + " after " +
           duration_text(story.ended_ns - t.submitted_ns);
    for (std::size_t p = 0; p < path_part_count; ++p)
      if (const TimeNs time = story.parts.ns[p]; time != 0)
        end += "; " + std::string(path_part_name(static_cast<PathPart>(p))) + " " +
               duration_text(time);
  } else {
    end += ", which has no end in the log";
  }
  out += wrapped("  " + end, 4);
  if (!story.before.empty() || story.chunks_before != 0)
    out += wrapped("  before it between the two: " +
                       (story.before.empty() ? "no transfer" : list_of(story.before)) + ", " +
                       counted(story.chunks_before, "chunk") + " (" +
                       bytes_text(story.bytes_before) + ") in flight",
                   4);
  const auto since = [&](TimeNs at) {
    return duration_text(std::max<TimeNs>(0, at - t.submitted_ns));
  };
  TextTable table({"channel", "bytes", "ahead", "posted", "on wire", "landed", "told", "why"});
  for (const ChunkStory& chunk : story.chunks) {
    const bool back = chunk.told_ns != never_ns, ok = chunk.outcome == Outcome::ok;
    table.add({std::to_string(chunk.channel), bytes_text(chunk.bytes), std::to_string(chunk.ahead),
               since(chunk.posted_ns), back && ok ? since(chunk.started_ns) : "-",
               back && ok ? since(chunk.landed_ns) : "-", back ? since(chunk.told_ns) : "-",
               ok ? why_text(chunk) : std::string(outcome_name(chunk.outcome))});
  }
  out += table.text(2);
  std::vector<ChannelId> used;
  for (const ChunkStory& chunk : story.chunks) used.push_back(chunk.channel);
  std::ranges::sort(used);
  used.erase(std::unique(used.begin(), used.end()), used.end());
  for (const ChannelId channel : used) out += "  " + names.channel(channel) + "\n";
  return out;
}

Json story_json(const TransferStory& story, const LogNames& names) {
  const LoggedTransfer& t = story.transfer;
  Json json = {
      {"transfer", t.number},
      {"source", names.place(t.source)},
      {"target", names.place(t.target)},
      {"submitted_ns", t.submitted_ns},
      {"bytes", t.bytes},
      {"pieces", t.pieces},
      {"outcome", story.ended_ns == never_ns ? Json() : Json(transfer_outcome_name(story.outcome))},
      {"ended_ns", story.ended_ns == never_ns ? Json() : Json(story.ended_ns)},
      {"transfers_before", story.before},
      {"chunks_before", story.chunks_before},
      {"bytes_before", story.bytes_before},
      {"parts_ns", Json::object()},
      {"chunks", Json::array()}};
  for (std::size_t p = 0; p < path_part_count; ++p)
    json["parts_ns"][std::string(path_part_name(static_cast<PathPart>(p)))] = story.parts.ns[p];
  for (const ChunkStory& chunk : story.chunks) {
    const bool back = chunk.told_ns != never_ns;
    json["chunks"].push_back(
        {{"channel", chunk.channel},
         {"bytes", chunk.bytes},
         {"ahead", chunk.ahead},
         {"posted_ns", chunk.posted_ns},
         {"held_back_by", chunk.at_once ? Json() : Json(path_part_name(chunk.held_back_by))},
         {"usable_channels", chunk.usable},
         {"channels", chunk.channels},
         {"outcome", back ? Json(outcome_name(chunk.outcome)) : Json()},
         {"started_ns", back ? Json(chunk.started_ns) : Json()},
         {"landed_ns", back ? Json(chunk.landed_ns) : Json()},
         {"told_ns", back ? Json(chunk.told_ns) : Json()}});
  }
  return json;
}

}  // namespace kvhaul::cli
