// kvhaul explain: the story of single requests of a run: what each waited for, and what held it.
#include <algorithm>
#include <iostream>
#include <limits>
#include <tuple>

#include "cli/command.h"
#include "cli/explain_transfers.h"
#include "cli/json_text.h"
#include "cli/limit_proof.h"
#include "cli/run_report.h"
#include "cli/terminal.h"
#include "core/unit_text.h"
#include "results/run_rows.h"
#include "serving/mover.h"

namespace kvhaul::cli {
namespace po = boost::program_options;
namespace {

/// A completed request of the run; what of a row does not outlive it is copied.
struct Request {
  RequestRecord row;
  std::string last_link;

  TimeNs prefill_start_ns() const { return row.arrival_ns + row.queue_ns; }
  TimeNs prefill_end_ns() const { return prefill_start_ns() + row.prefill_ns; }
  TimeNs joined_ns() const { return row.arrival_ns + row.ttft_ns(); }
  TimeNs finished_ns() const { return row.arrival_ns + row.e2e_ns; }
};

struct Run {
  RunInputs from;
  std::vector<Request> requests;
  std::vector<Request> lost;  // served and not completed: nothing is known after their prefill
  std::vector<report::RunContext::Fault> faults;  // of from.script, in words
};

/// A part of the time to first token, with what is known of it.
struct Part {
  const char* name;
  TimeNs time_ns;
  std::string why;
  bool of_handover = false;
};

std::string s_text(TimeNs time) { return number_text(static_cast<double>(time) / 1e9, 6) + " s"; }

/// Who was in prefill on its instance while it waited.
std::string queue_text(const Run& run, const Request& of) {
  std::size_t before = 0;
  const Request* longest = nullptr;
  for (const std::vector<Request>* requests : {&run.requests, &run.lost})
    for (const Request& other : *requests) {
      if (&other == &of || other.row.prefill_instance != of.row.prefill_instance ||
          other.prefill_start_ns() >= of.prefill_start_ns() ||
          other.prefill_end_ns() <= of.row.arrival_ns)
        continue;
      ++before;
      if (longest == nullptr || other.row.prefill_ns > longest->row.prefill_ns) longest = &other;
    }
  const std::string lost = of.row.retries == 0
                               ? ""
                               : counted(of.row.retries, "attempt") +
                                     " before this one lost KV on the way, and all of that time is "
                                     "here; ";
  if (longest == nullptr) return lost + "no other request was before it";
  return lost + counted(before, "request") + " before it on prefill instance " +
         std::to_string(of.row.prefill_instance) + ", the longest: request " +
         std::to_string(longest->row.request) + ", " + duration_text(longest->row.prefill_ns);
}

/// How many decoded on its instance between two times.
std::size_t decoding(const Run& run, const Request& of, TimeNs from, TimeNs to) {
  return static_cast<std::size_t>(std::ranges::count_if(run.requests, [&](const Request& other) {
    return &other != &of && other.row.decode_instance == of.row.decode_instance &&
           other.joined_ns() < to && other.finished_ns() > from;
  }));
}

/// Whether a fault was in force at some time between the two.
bool was_active(const faults::Fault& fault, TimeNs from, TimeNs to) {
  if (fault.active(from)) return true;
  TimeNs begins = fault.from_ns;  // the first time that is not before `from`
  if (fault.every_ns != never_ns && from > begins)
    begins += (from - begins + fault.every_ns - 1) / fault.every_ns * fault.every_ns;
  return begins >= from && begins < to;
}

/// Faults of that time which its last chunk can have met: on a way between its two instances over
/// that link.
std::string faults_text(const Run& run, const Request& of, TimeNs from, TimeNs to) {
  const auto& [cluster, serving, plan] =
      std::tie(run.from.scenario.cluster, run.from.scenario.serving, run.from.plan);
  const auto serves = [](const RoleConfig& role, std::uint64_t instance, PlaceId place) {
    return instance < role.instances.size() &&
           std::ranges::count(role.instances[instance], place) != 0;
  };
  const auto is_its_way = [&](const Route& route) {
    const std::string link = route.bottleneck == no_id ? "" : cluster.links[route.bottleneck].name;
    return link == of.last_link && serves(serving.prefill, of.row.prefill_instance, route.source) &&
           serves(serving.decode, of.row.decode_instance, route.target);
  };
  std::string out;
  for (std::size_t i = 0; i < run.faults.size(); ++i) {
    const faults::Fault& fault = run.from.script.faults[i];
    if (!was_active(fault, from, to) ||
        std::ranges::none_of(plan.requests, [&](const ChannelRequest& request) {
          return is_its_way(request.route) && fault.touches(cluster, request.route);
        }))
      continue;
    out += "; fault: " + run.faults[i].text + ", " + s_text(fault.from_ns) + " to " +
           (fault.until_ns == never_ns ? "the end" : s_text(fault.until_ns));
  }
  return out;
}

std::vector<Part> parts_of(const Run& run, const Request& of) {
  const RequestRecord& r = of.row;
  const std::string instance = "decode instance " + std::to_string(r.decode_instance);
  const TimeNs prefilled = of.prefill_end_ns(), landed = prefilled + r.memory_ns + r.exposed_ns;
  const std::string link = of.last_link.empty() ? "" : "its last chunk came over " + of.last_link;
  const std::string faults = faults_text(run, of, prefilled, landed);
  const auto path = [&](PathPart part) { return r.path[part]; };
  const std::string batch =
      counted(decoding(run, of, landed, of.joined_ns()), "other") + " decoded on " + instance;
  std::vector<Part> parts = {
      {"queue", r.queue_ns - r.prefill_memory_ns, queue_text(run, of)},
      {"prefill memory", r.prefill_memory_ns,
       "prefill instance " + std::to_string(r.prefill_instance) +
           " had no pages: KV of requests before had not landed"},
      {"prefill", r.prefill_ns, counted(r.input_tokens, "token")},
      {"decode memory", r.memory_ns,
       counted(decoding(run, of, prefilled, prefilled + r.memory_ns), "other") + " held pages of " +
           instance + " and decoded",
       true},
      {"wire", path(PathPart::wire), link + faults, true},
      {"posting", path(PathPart::post), "the posting thread of its place was busy", true},
      {"window", path(PathPart::window), "a window of the scheduler was full" + faults, true},
      {"credit", path(PathPart::credit), "no credit of the target was left" + faults, true},
      {"order", path(PathPart::order), "more urgent transfers went first", true},
      {"faults", path(PathPart::fault), "an attempt was lost, or no channel worked" + faults, true},
      {"detection", path(PathPart::detect), "landed, and not told of yet", true},
      {"decode step", r.step_ns, "a step ran: " + batch, true},
      {"decode seat", r.seat_ns, "no place in the batch: " + batch, true}};
  std::erase_if(parts, [](const Part& part) { return part.time_ns <= 0; });
  return parts;
}

std::string share_text(TimeNs part, TimeNs whole) {
  if (whole <= 0) return "-";
  const double share = 100 * static_cast<double>(part) / static_cast<double>(whole);
  return share < 0.1 ? "<0.1%" : number_text(share, share < 10 ? 2 : 3) + "%";
}

TimeNs median_ttft_ns(const Run& run) {
  return static_cast<TimeNs>(run.from.run.maybe_number("ttft_ms.p50").value_or(0) * 1e6);
}

std::string story(const Run& run, const Request& of) {
  const RequestRecord& r = of.row;
  const TimeNs ttft = r.ttft_ns();
  std::string out = toned(Tone::strong, "request " + std::to_string(r.request)) + " (line " +
                    std::to_string(r.line) + " of the trace), arrived at " + s_text(r.arrival_ns) +
                    "\n";
  std::vector<Part> parts = parts_of(run, of);
  const auto largest = std::ranges::max_element(parts, {}, &Part::time_ns);
  out += wrapped("time to first token " + duration_text(ttft) + ", median of the run " +
                     duration_text(median_ttft_ns(run)) +
                     (largest == parts.end() ? ""
                                             : "; most of it: " + std::string(largest->name) +
                                                   ", " + share_text(largest->time_ns, ttft)) +
                     "; hand-over " + duration_text(r.handover_ns),
                 2);
  constexpr std::size_t name_width = 16, time_width = 10, share_width = 7;
  const auto padded = [](std::string text, std::size_t width) {
    return std::string(width - std::min(width, text.size()), ' ') + text;
  };
  for (const Part& part : parts) {
    std::string line = (part.of_handover ? "    " : "  ") + std::string(part.name);
    line += std::string(name_width + 2 - std::min(name_width + 2, line.size()), ' ');
    line += padded(duration_text(part.time_ns), time_width);
    line += padded(share_text(part.time_ns, ttft), share_width) + "  ";
    const std::size_t margin = line.size();
    // The words wrap below themselves.
    const std::string text = wrapped(std::string(margin, '.') + part.why, margin);
    out += line + text.substr(margin);
  }
  return out;
}

Json story_json(const Run& run, const Request& of) {
  const auto ms = [](TimeNs time) { return static_cast<double>(time) / 1e6; };
  Json json = {{"request", of.row.request},
               {"line", of.row.line},
               {"arrival_s", static_cast<double>(of.row.arrival_ns) / 1e9},
               {"ttft_ms", ms(of.row.ttft_ns())},
               {"handover_ms", ms(of.row.handover_ns)},
               {"last_link", of.last_link},
               {"parts", Json::array()}};
  for (const Part& part : parts_of(run, of))
    json["parts"].push_back({{"part", part.name},
                             {"ms", ms(part.time_ns)},
                             {"of_handover", part.of_handover},
                             {"why", part.why}});
  return json;
}

Result<Run> read_run(const std::string& directory) {
  auto from = read_run_inputs(directory);
  if (!from) return from.error();
  Run run{std::move(*from), {}, {}, {}};
  run.faults = described_faults(run.from.script);
  const auto read = read_request_rows(run.from.run, [&](const RequestRecord& row) {
    if (row.served)
      (row.completed ? run.requests : run.lost).push_back({row, std::string(row.last_link)});
  });
  if (!read) return read.error();
  return run;
}

Options declare() {
  Options options(
      "explain", "RUN [options]",
      "What single requests of a run waited for, from their arrival to their first token,\n"
      "and what held them: the requests before them, the link, a fault (docs/explain.md).");
  options.add()                                                                            //
      ("run", po::value<std::string>(), "a run directory")                                 //
      ("request", po::value<std::string>(), "this one, by its number in requests.csv")     //
      ("worst", po::value<std::string>()->default_value("3"), "so many, the worst first")  //
      ("by", po::value<std::string>()->default_value("ttft"),
       "worst by: ttft, queue, prefill or handover")  //
      ("transfer", po::value<std::string>(),
       "instead: this transfer, chunk by chunk, by its number in 'kvhaul log'")  //
      ("chunks", po::bool_switch(),
       "with --request: all of its transfers, too, chunk by chunk")  //
      ("log", po::value<std::string>(),
       "the event log, where the run has recorded none, or it lies elsewhere now")  //
      ("limit", po::bool_switch(),
       "what limits the whole run, with its proof; makes it where there is none")  //
      ("json", po::bool_switch(), "print JSON (docs/json.md)");
  options.positional("run", 1);
  options.example("kvhaul explain runs/dgx", "the three with the longest time to first token");
  options.example("kvhaul explain runs/dgx --worst 10 --by handover",
                  "the ten that KV held up most");
  options.example("kvhaul explain runs/dgx --request 17", "that one");
  options.example("kvhaul explain runs/dgx --request 17 --chunks",
                  "and its transfers, from the log of 'kvhaul replay --record'");
  options.example("kvhaul explain runs/dgx --limit", "what would make the run faster, by reruns");
  return options;
}

Result<TimeNs (*)(const Request&)> measure(const std::string& by) {
  using Measure = TimeNs (*)(const Request&);
  static constexpr std::pair<const char*, Measure> measures[] = {
      {"ttft", [](const Request& r) { return r.row.ttft_ns(); }},
      {"queue", [](const Request& r) { return r.row.queue_ns; }},
      {"prefill", [](const Request& r) { return r.row.prefill_ns; }},
      {"handover", [](const Request& r) { return r.row.handover_ns; }}};
  for (const auto& [name, of] : measures)
    if (by == name) return of;
  return Error::bad_input("--by: expected ttft, queue, prefill or handover, found '" +
                          printable(by) + "'");
}

Result<std::vector<const Request*>> chosen(const Options& options, const Run& run) {
  std::vector<const Request*> requests;
  if (options.maybe_text("request")) {
    const auto number = options.count("request", 0, std::numeric_limits<std::uint64_t>::max());
    if (!number) return number.error();
    const auto found =
        std::ranges::find(run.requests, *number, [](const Request& r) { return r.row.request; });
    if (found == run.requests.end())
      return Error::bad_input("--request: expected one that was completed, found " +
                              std::to_string(*number) + "; requests.csv has their numbers");
    requests.push_back(&*found);
    return requests;
  }
  const auto count = options.count("worst", 1, 1'000'000);
  if (!count) return count.error();
  const auto by = measure(options.text("by"));
  if (!by) return by.error();
  for (const Request& request : run.requests) requests.push_back(&request);
  const auto kept = static_cast<std::ptrdiff_t>(std::min<std::uint64_t>(*count, requests.size()));
  std::ranges::partial_sort(requests, requests.begin() + kept,
                            [&](const Request* a, const Request* b) {
                              const TimeNs here = (*by)(*a), there = (*by)(*b);
                              return here != there ? here > there : a->row.request < b->row.request;
                            });
  requests.resize(static_cast<std::size_t>(kept));
  return requests;
}

Result<std::string> log_of(const Options& options, const RunInputs& run) {
  if (const auto log = options.maybe_text("log")) return *log;
  return recorded_log(run.run.path, run.file);
}

/// Transfers that are asked for, with those of no use left out.
Result<std::vector<TransferStory>> stories_of(
    const Options& options, const RunInputs& run,
    const std::function<bool(const LoggedTransfer&)>& wanted) {
  const auto log = log_of(options, run);
  if (!log) return log.error();
  return read_transfer_stories(*log, run.run, wanted);
}

/// Those of the last attempt of a request: its slot is in the tags, and others have the slot before
/// and after.
Result<std::vector<TransferStory>> stories_of(const Options& options, const Run& run,
                                              const Request& of) {
  return stories_of(options, run.from, [&](const LoggedTransfer& transfer) {
    return slot_of_tag(transfer.tag) == of.row.slot &&
           transfer.submitted_ns >= of.prefill_start_ns() &&
           transfer.submitted_ns <= of.joined_ns();
  });
}

CommandResult explain_transfer(const Options& options, const std::string& directory) {
  const auto number = options.count("transfer", 0, std::numeric_limits<std::uint64_t>::max());
  if (!number) return number.error();
  const auto run = read_run_inputs(directory);
  if (!run) return run.error();
  const auto stories = stories_of(
      options, *run, [&](const LoggedTransfer& transfer) { return transfer.number == *number; });
  if (!stories) return stories.error();
  if (stories->empty())
    return Error::bad_input("--transfer: expected one of the log, found " +
                            std::to_string(*number) +
                            "; 'kvhaul log LOG --only submit' lists them");
  const LogNames names(*run);
  if (options.flag("json"))
    std::cout << json_text(
        {{"schema", 1}, {"run", directory}, {"transfers", {story_json(stories->front(), names)}}});
  else
    std::cout << story_text(stories->front(), names);
  return 0;
}

CommandResult explain_limit(const Options& options, const std::string& directory) {
  auto run = read_run_directory(directory);
  if (run && !run->limit_proof) {
    ProgressBar bar(true, true);
    if (auto proved = prove_limits(directory, progress_of(bar)); !proved) return proved.error();
    run = read_run_directory(directory);
  }
  if (!run) return run.error();
  if (options.flag("json")) {
    std::cout << limit_proof_json(*run->limit_proof);
    return 0;
  }
  std::cout << wrapped(printable(run->text("limit_sentence")) + ".", 0) << "\n"
            << limit_proof_table(*run->limit_proof);
  return 0;
}

}  // namespace

CommandResult run_explain(const Arguments& arguments) {
  Options options = declare();
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  if (!options.maybe_text("run"))
    return Error::bad_input(
        "kvhaul explain: expected a run directory; see 'kvhaul explain --help'");
  std::string directory = options.text("run");
  while (directory.size() > 1 && directory.ends_with('/')) directory.pop_back();
  if (options.has("request") + options.has("transfer") + options.flag("limit") > 1)
    return Error::bad_input("expected one of --request, --transfer and --limit, found several");
  if (options.flag("limit")) return explain_limit(options, directory);
  if (options.maybe_text("transfer")) return explain_transfer(options, directory);
  const bool chunks = options.flag("chunks");
  if (chunks && !options.maybe_text("request"))
    return Error::bad_input("--chunks: expected --request N beside it");
  const auto run = read_run(directory);
  if (!run) return run.error();
  const auto requests = chosen(options, *run);
  if (!requests) return requests.error();
  std::vector<TransferStory> stories;
  if (chunks) {
    auto read = stories_of(options, *run, *requests->front());
    if (!read) return read.error();
    stories = std::move(*read);
  }
  const LogNames names(run->from);
  if (options.flag("json")) {
    Json json = {{"schema", 1},
                 {"run", directory},
                 {"limit_sentence", run->from.run.text("limit_sentence")},
                 {"requests", Json::array()}};
    for (const Request* request : *requests) json["requests"].push_back(story_json(*run, *request));
    if (chunks) {
      json["transfers"] = Json::array();
      for (const TransferStory& story : stories)
        json["transfers"].push_back(story_json(story, names));
    }
    std::cout << json_text(json);
    return 0;
  }
  std::cout << wrapped(printable(run->from.run.text("limit_sentence")) + ".", 0);
  for (const Request* request : *requests) std::cout << "\n" << story(*run, *request);
  for (const TransferStory& of : stories) std::cout << "\n" << story_text(of, names);
  return 0;
}

}  // namespace kvhaul::cli
