// kvhaul log: what a recorded event log holds, a line for each event and each decision.
#include <algorithm>
#include <iostream>
#include <limits>
#include <set>

#include "cli/command.h"
#include "cli/json_text.h"
#include "cli/log_follower.h"
#include "cli/log_names.h"
#include "cli/terminal.h"
#include "core/unit_text.h"

namespace kvhaul::cli {
namespace po = boost::program_options;
namespace {

constexpr const char* kinds[] = {"submit", "cancel", "complete", "change",  "credit",
                                 "timer",  "post",   "withdraw", "message", "end"};

struct Filter {
  std::set<std::string> kinds;  // empty: all
  std::optional<std::uint64_t> transfer;
  std::optional<ChannelId> channel;
  TimeNs from_ns = 0, to_ns = never_ns;
};

/// A line of the output: an event, or a decision on it.
struct Line {
  const char* kind;
  std::string text;
  std::optional<std::uint64_t> transfer = {};
  std::optional<ChannelId> channel = {};
  Json fields = Json::object();
};

std::string chunk_name(ChunkId chunk) {
  return std::to_string(slot_of(chunk)) + "." + std::to_string(generation_of(chunk));
}
std::string transfer_name(std::uint64_t number) { return "transfer " + std::to_string(number); }
std::string clock_text(TimeNs time) {
  std::string digits = std::to_string(time % s_ns);
  return std::to_string(time / s_ns) + "." + std::string(9 - digits.size(), '0') + digits;
}
std::string of_transfer(const LoggedChunk& chunk) {
  return chunk.transfer ? " of " + transfer_name(*chunk.transfer) : ", a probe";
}

class Printer {
 public:
  Printer(Filter filter, LogNames names, bool json, std::uint64_t limit)
      : filter_(std::move(filter)), names_(names), json_(json), limit_(limit) {}

  void event(const LogEntry& entry) {
    follower_.follow(entry);
    now_ = entry.now;
    scheduler_ = entry.scheduler;
    if (now_ < filter_.from_ns || now_ > filter_.to_ns) return;
    print(event_line(entry));
    for (const PostAction& action : entry.actions->posts) print(post_line(entry, action));
    for (const CancelAction& action : entry.actions->cancels) print(withdraw_line(action));
    for (const ControlMessage& message : entry.actions->messages)
      print({.kind = "message",
             .text = "to " + names_.node(message.to) + ", of " + names_.place(message.place) +
                     ": " + std::to_string(message.value),
             .fields = {{"to", message.to}, {"place", message.place}, {"value", message.value}}});
    for (const auto& [transfer, end] : follower_.ended()) print(end_line(end, transfer));
  }

  std::uint64_t left_out() const { return lines_ > limit_ ? lines_ - limit_ : 0; }

 private:
  Line event_line(const LogEntry& entry) const {
    switch (entry.kind) {
      case LogRecord::submit: {
        const LoggedTransfer& t = *follower_.transfer();
        return {
            .kind = "submit",
            .text =
                transfer_name(t.number) + ": " + bytes_text(t.bytes) + " in " +
                counted(t.pieces, "piece") + ", " + names_.place(t.source) + " to " +
                names_.place(t.target) +
                (t.deadline_ns == never_ns ? "" : ", due at " + clock_text(t.deadline_ns) + " s"),
            .transfer = t.number,
            .fields = {{"bytes", t.bytes},
                       {"pieces", t.pieces},
                       {"source", names_.place(t.source)},
                       {"target", names_.place(t.target)},
                       {"priority", static_cast<int>(t.priority)},
                       {"tag", t.tag},
                       {"deadline_ns", t.deadline_ns == never_ns ? Json() : Json(t.deadline_ns)}}};
      }
      case LogRecord::cancel: {
        const LoggedTransfer* t = follower_.transfer();
        if (t == nullptr) return {.kind = "cancel", .text = "a transfer that has ended"};
        return {.kind = "cancel", .text = transfer_name(t->number), .transfer = t->number};
      }
      case LogRecord::complete:
        return complete_line(*entry.completion);
      case LogRecord::channel_change:
        return {.kind = "change",
                .text = names_.channel(entry.change->channel) +
                        (entry.change->up ? " is up" : " is down"),
                .channel = entry.change->channel,
                .fields = {{"up", entry.change->up}}};
      case LogRecord::credit:
        return {.kind = "credit",
                .text = "from " + names_.node(entry.message->from) + ", of " +
                        names_.place(entry.message->place) + ": " +
                        std::to_string(entry.message->value),
                .fields = {{"from", entry.message->from},
                           {"place", entry.message->place},
                           {"value", entry.message->value}}};
      default:
        return {.kind = "timer", .text = ""};
    }
  }

  Line complete_line(const Completion& c) const {
    const LoggedChunk* chunk = follower_.chunk();
    const auto ago = [&](TimeNs at) { return duration_text(std::max<TimeNs>(0, now_ - at)); };
    std::string text = "chunk " + chunk_name(c.chunk) +
                       (chunk == nullptr ? ", which is not in flight" : of_transfer(*chunk)) +
                       " on " + names_.channel(c.channel) + ": " +
                       std::string(outcome_name(c.outcome));
    if (c.outcome == Outcome::ok)
      text += ", posted " + ago(c.posted_ns) + " ago, begun " + ago(c.started_ns) +
              " ago, landed " + ago(c.done_ns) + " ago";
    return {.kind = "complete",
            .text = text,
            .transfer = chunk == nullptr ? std::nullopt : chunk->transfer,
            .channel = c.channel,
            .fields = {{"chunk", chunk_name(c.chunk)},
                       {"outcome", outcome_name(c.outcome)},
                       {"posted_ns", c.posted_ns},
                       {"started_ns", c.started_ns},
                       {"landed_ns", c.done_ns}}};
  }

  Line post_line(const LogEntry& entry, const PostAction& action) const {
    const LoggedChunk& chunk = follower_.state().in_flight.at(action.post.chunk);
    const bool at_once = entry.kind == LogRecord::submit;
    std::string text = "chunk " + chunk_name(action.post.chunk) + of_transfer(chunk);
    if (chunk.transfer)
      text += ", " + bytes_text(chunk.bytes) + " in " + counted(action.post.piece_count, "piece");
    text += ", to " + names_.channel(action.channel);
    if (chunk.transfer && !at_once)
      text += "; before it: " + std::string(path_part_name(action.held_back_by));
    Json fields = {{"chunk", chunk_name(action.post.chunk)}, {"bytes", chunk.bytes}};
    if (chunk.transfer && !at_once) fields["held_back_by"] = path_part_name(action.held_back_by);
    return {.kind = "post",
            .text = text,
            .transfer = chunk.transfer,
            .channel = action.channel,
            .fields = fields};
  }

  Line withdraw_line(const CancelAction& action) const {
    const auto& in_flight = follower_.state().in_flight;
    const auto chunk = in_flight.find(action.chunk);
    const bool known = chunk != in_flight.end();
    return {.kind = "withdraw",
            .text = "chunk " + chunk_name(action.chunk) +
                    (known ? of_transfer(chunk->second) : "") + " from " +
                    names_.channel(action.channel),
            .transfer = known ? chunk->second.transfer : std::nullopt,
            .channel = action.channel,
            .fields = {{"chunk", chunk_name(action.chunk)}}};
  }

  Line end_line(const TransferEnd& end, const LoggedTransfer& transfer) const {
    std::string text = transfer_name(transfer.number) + " " +
                       std::string(transfer_outcome_name(end.outcome)) + " after " +
                       duration_text(now_ - transfer.submitted_ns) + " in " +
                       counted(end.chunks, "chunk");
    if (end.resent_chunks != 0) text += ", " + std::to_string(end.resent_chunks) + " of them again";
    Json fields = {{"outcome", transfer_outcome_name(end.outcome)},
                   {"duration_ns", now_ - transfer.submitted_ns},
                   {"chunks", end.chunks},
                   {"resent_chunks", end.resent_chunks}};
    for (std::size_t p = 0; p < path_part_count; ++p) {
      const auto part = static_cast<PathPart>(p);
      if (end.path[part] == 0) continue;
      text += (text.ends_with(")") ? " (" : "; ") + std::string(path_part_name(part)) + " " +
              duration_text(end.path[part]);
      fields[std::string(path_part_name(part)) + "_ns"] = end.path[part];
    }
    return {.kind = "end", .text = text, .transfer = transfer.number, .fields = fields};
  }

  void print(const Line& line) {
    if ((!filter_.kinds.empty() && !filter_.kinds.contains(line.kind)) ||
        (filter_.transfer && line.transfer != filter_.transfer) ||
        (filter_.channel && line.channel != filter_.channel))
      return;
    if (++lines_ > limit_) return;
    if (json_) {
      Json json = {{"t_ns", now_}, {"scheduler", scheduler_}, {"kind", line.kind}};
      if (line.transfer) json["transfer"] = *line.transfer;
      if (line.channel) json["channel"] = *line.channel;
      json.update(line.fields);
      std::cout << json.dump() << "\n";
      return;
    }
    std::string head = clock_text(now_);
    head = std::string(head.size() < 16 ? 16 - head.size() : 0, ' ') + head + "  " +
           std::to_string(scheduler_) + "  " + line.kind;
    head += std::string(head.size() < 31 ? 31 - head.size() : 1, ' ');
    std::cout << head << line.text << "\n";
  }

  Filter filter_;
  LogNames names_;
  bool json_;
  std::uint64_t limit_;
  LogFollower follower_;
  TimeNs now_ = 0;
  std::uint32_t scheduler_ = 0;
  std::uint64_t lines_ = 0;
};

Options declare_log() {
  Options options(
      "log", "LOG [options]",
      "Prints an event log: each event that reached a scheduler, and each decision it took,\n"
      "with its time in seconds and the number of the scheduler. Reading it verifies it, as\n"
      "'kvhaul verify' does (docs/event-log.md).");
  options.add()                                                                            //
      ("log", po::value<std::string>(), "the recorded event log")                          //
      ("run", po::value<std::string>(), "the run directory: channels and places by name")  //
      ("transfer", po::value<std::string>(), "only of this one, by its number here")       //
      ("channel", po::value<std::string>(), "only of this one")                            //
      ("only", po::value<std::string>(),
       "only these, with commas: submit, cancel, complete, change, credit, timer; post, withdraw, "
       "message, end")                                                //
      ("from", po::value<std::string>(), "from this time on: 1.5 s")  //
      ("to", po::value<std::string>(), "up to this time")             //
      ("limit,n", po::value<std::string>(), "so many lines at most")  //
      ("json", po::bool_switch(), "a JSON object on each line (docs/json.md)");
  options.positional("log", 1);
  options.example("kvhaul log run.log --run runs/dgx --only submit,end", "all transfers");
  options.example("kvhaul log run.log --transfer 17", "what became of that one");
  return options;
}

Result<Filter> read_filter(const Options& options) {
  Filter filter;
  constexpr auto most = std::numeric_limits<std::uint64_t>::max();
  if (options.has("transfer")) {
    const auto number = options.count("transfer", 0, most);
    if (!number) return number.error();
    filter.transfer = *number;
  }
  if (options.has("channel")) {
    const auto number = options.count("channel", 0, std::numeric_limits<ChannelId>::max());
    if (!number) return number.error();
    filter.channel = static_cast<ChannelId>(*number);
  }
  for (const auto& [name, time] : {std::pair{"from", &filter.from_ns}, {"to", &filter.to_ns}}) {
    const auto text = options.maybe_text(name);
    if (!text) continue;
    const auto parsed = parse_duration(*text);
    if (!parsed) return Error::bad_input("--" + std::string(name) + ": " + parsed.error().message);
    *time = *parsed;
  }
  if (filter.to_ns < filter.from_ns)
    return Error::bad_input("--to: expected a time that is not before --from, found " +
                            duration_text(filter.to_ns));
  std::string words = options.maybe_text("only").value_or("");
  while (!words.empty()) {
    const std::size_t comma = std::min(words.find(','), words.size());
    const std::string word = words.substr(0, comma);
    words.erase(0, comma + 1);
    if (std::ranges::find(kinds, word) == std::end(kinds))
      return unknown_choice("--only", word, std::vector<std::string>(kinds, std::end(kinds)));
    filter.kinds.insert(word);
  }
  return filter;
}

}  // namespace

CommandResult run_log(const Arguments& arguments) {
  Options options = declare_log();
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  if (!options.maybe_text("log"))
    return Error::bad_input("kvhaul log: expected a log file; see 'kvhaul log --help'");
  auto filter = read_filter(options);
  if (!filter) return filter.error();
  std::uint64_t limit = std::numeric_limits<std::uint64_t>::max();
  if (options.has("limit")) {
    const auto lines = options.count("limit", 1, limit);
    if (!lines) return lines.error();
    limit = *lines;
  }
  std::optional<RunInputs> run;
  if (const auto directory = options.maybe_text("run")) {
    auto inputs = read_run_inputs(*directory);
    if (!inputs) return inputs.error();
    run = std::move(*inputs);
  }
  Printer printer(std::move(*filter), run ? LogNames(*run) : LogNames(), options.flag("json"),
                  limit);
  const auto report =
      read_log(options.text("log"), [&](const LogEntry& entry) { printer.event(entry); });
  if (!report) return report.error();
  if (!report->identical) {
    print_error(report->first_difference);
    return 1;
  }
  if (const std::uint64_t more = printer.left_out(); more != 0 && !options.flag("json"))
    std::cout << counted(more, "line") << " more\n";
  return 0;
}

}  // namespace kvhaul::cli
