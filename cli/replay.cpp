// kvhaul replay: trace + scenario + backend -> the run.
#include <iostream>

#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/limit_proof.h"
#include "cli/replay_run.h"
#include "cli/run_report.h"
#include "cli/scenario_edit.h"
#include "cli/terminal.h"
#include "cli/trace_files.h"

namespace kvhaul::cli {
namespace po = boost::program_options;
namespace {

using Text = std::string;

Options declare() {
  Options options(
      "replay", "--trace FILE [options]",
      "Replays a request trace: requests become prefill work, KV transfers and decode\n"
      "steps on the instances of a scenario; the transfers go through the scheduler to a\n"
      "backend. Prints a table and writes a run directory (docs/run-directory.md).");
  options.add()                                                                  //
      ("trace,t", po::value<Text>(), "the request trace; - for standard input")  //
      ("scenario,s", po::value<Text>()->default_value("laptop"),
       "a scenario file, or the name of a shipped one");
  declare_scenario_settings(options);
  options.add()  //
      ("backend,b", po::value<Text>()->default_value("emulated"),
       "what moves the chunks ('kvhaul list backends')")                                 //
      ("policy,p", po::value<Text>(), "the scheduling policy ('kvhaul list policies')")  //
      ("streaming", po::value<Text>(), "request, chunk, layer or chunk_layer")           //
      ("direction", po::value<Text>(), "push (prefill writes) or pull (decode reads)")   //
      ("faults", po::value<Text>(), "a fault file to play (docs/faults.md)")             //
      ("seed", po::value<Text>(), "of everything that is drawn");
  options.group("The trace");
  options.add()                                                                           //
      ("limit,n", po::value<Text>(), "only the first N requests")                         //
      ("speedup", po::value<Text>()->default_value("1"), "divide arrival times by this")  //
      ("spread-batches", po::bool_switch(),
       "spread requests of one timestamp over the gap after it");
  declare_trace_reading(options);
  options.group("What is written and printed");
  options.add()                                                                            //
      ("out,o", po::value<Text>(), "the run directory; else the first free runs/NAME-N")   //
      ("force", po::bool_switch(), "write over a run directory and a log that are there")  //
      ("record", po::value<Text>(), "write the event log there, for 'kvhaul verify'")      //
      ("on-record-error", po::value<Text>(),
       "when the log cannot be written (a full disk): continue without it, which is the default, "
       "or stop")  //
      ("why", po::bool_switch(),
       "prove what limits it: again in virtual time, with a tenth more of one thing after the "
       "other")                                                               //
      ("json", po::bool_switch(), "print summary.json instead of the table")  //
      ("quiet,q", po::bool_switch(), "print nothing but errors");
  options.group("Backends emulated and simgrid");
  options.add()  //
      ("time", po::value<Text>(),
       "virtual: as fast as it computes; real, not simgrid: by the clock")  //
      ("payload", po::value<Text>(),
       "none: only time; real, not simgrid: move and checksum bytes")  //
      ("throttle", po::bool_switch(),
       "emulated, in real time: land no earlier than the links would let it");
  declare_device_options(options);
  options.group("Backend cuda, in real time");
  options.add()("busy-prefill", po::bool_switch(),
                "cuda: keep the prefill GPUs' processors and memory busy while prefill runs");
  declare_process_options(options);
  options.positional("trace", 1);
  options.example("kvhaul replay --trace traces/samples/chat-200.csv",
                  "two emulated GPUs in this computer's memory, real bytes, real time");
  options.example("kvhaul replay -t conv.csv -s dgx-h100-pair -o runs/dgx",
                  "an hour of Azure's conversations on two DGX H100, in virtual time");
  options.example("kvhaul replay -t mooncake.jsonl -s dgx-h100-pair --policy round_robin",
                  "another policy");
  options.example("kvhaul replay -t conv.csv -s dgx-h100-pair --set serving.chunk_tokens=2048",
                  "another value in the scenario; run.yaml keeps the scenario as it ran");
  options.example("kvhaul replay -t conv.csv -s dgx-h100-pair --faults flap.yaml --record run.log",
                  "with scripted faults, recording every event and decision");
  options.example("mpirun -np 4 kvhaul replay -t conv.csv -s four-nodes.yaml -b verbs",
                  "one replay by four processes, over RDMA (docs/many-machines.md)");
  return options;
}

template <class T>
Result<std::optional<T>> choice(const Options& options, const char* name,
                                std::initializer_list<std::pair<const char*, T>> values) {
  const auto found = options.maybe_text(name);
  if (!found) return std::optional<T>();
  std::vector<std::string> names;
  for (const auto& [text, value] : values) {
    if (*found == text) return std::optional<T>(value);
    names.emplace_back(text);
  }
  return unknown_choice("--" + std::string(name), *found, names);
}

Result<ReplayRequest> read(const Options& options, const Arguments& arguments) {
  ReplayRequest request;
  request.command_line = arguments;
  request.command_line.insert(request.command_line.begin(), "replay");
  if (!options.maybe_text("trace"))
    return Error::bad_input("kvhaul replay: expected --trace FILE; see 'kvhaul replay --help'");
  request.trace = options.text("trace");
  auto reading = read_trace_reading(options);
  if (!reading) return reading.error();
  request.reading = std::move(*reading);
  request.scenario = options.text("scenario");
  auto settings = read_scenario_settings(options.texts("set"));
  if (!settings) return settings.error();
  request.settings = std::move(*settings);
  request.backend = options.text("backend");
  auto real_time = choice<bool>(options, "time", {{"virtual", false}, {"real", true}});
  if (!real_time) return real_time.error();
  request.real_time = *real_time;
  auto payload = choice<bool>(options, "payload", {{"none", false}, {"real", true}});
  if (!payload) return payload.error();
  request.payload = *payload;
  if (options.flag("throttle")) request.throttle = true;
  if (options.has("limit")) {
    auto limit = options.count("limit", 1, ~std::uint64_t{0});
    if (!limit) return limit.error();
    request.limit = *limit;
  }
  auto speedup = options.number("speedup", 1e-6, 1e9);
  if (!speedup) return speedup.error();
  request.speedup = *speedup;
  request.spread_batches = options.flag("spread-batches");
  auto streaming = choice<Streaming>(options, "streaming",
                                     {{"request", Streaming::request},
                                      {"chunk", Streaming::chunk},
                                      {"layer", Streaming::layer},
                                      {"chunk_layer", Streaming::chunk_layer}});
  if (!streaming) return streaming.error();
  request.streaming = *streaming;
  auto pull = choice<bool>(options, "direction", {{"push", false}, {"pull", true}});
  if (!pull) return pull.error();
  request.pull = *pull;
  request.policy = options.maybe_text("policy");
  request.faults = options.maybe_text("faults");
  if (options.has("seed")) {
    auto seed = options.count("seed", 0, ~std::uint64_t{0});
    if (!seed) return seed.error();
    request.seed = *seed;
  }
  if (auto ok = read_device_options(options, request.devices); !ok) return ok.error();
  if (auto ok = read_process_options(options, request.processes); !ok) return ok.error();
  request.devices.busy_prefill = options.flag("busy-prefill");
  request.out = options.maybe_text("out").value_or("");
  request.force = options.flag("force");
  request.record = options.maybe_text("record");
  auto stop = choice<bool>(options, "on-record-error", {{"continue", false}, {"stop", true}});
  if (!stop) return stop.error();
  request.stop_without_log = stop->value_or(false);
  if (options.flag("why") && request.trace == "-")
    return Error::bad_input(
        "--why reads the trace again: expected --trace FILE, found standard input");
  return request;
}

}  // namespace

Result<ReplayRequest> read_replay_request(const Arguments& arguments) {
  Options options = declare();
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  return read(options, arguments);
}

namespace {

/// The run stands, whatever comes of it.
Result<void> prove(ReplayResult& result, bool quiet) {
  ProgressBar bar(!quiet, true);
  const auto proof = prove_limits(result.directory, progress_of(bar));
  if (!proof) return proof.error();
  auto data = read_report_data(result.directory);
  if (!data) return data.error();
  result.limit_sentence = (*data)["summary"]["limit_sentence"].get<std::string>();
  return replace_run_report(result.directory + "/" + report_file, true, {}, *data);
}

}  // namespace

CommandResult run_replay(const Arguments& arguments) {
  Options options = declare();
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  auto request = read(options, arguments);
  if (!request) return request.error();
  const bool quiet = options.flag("quiet");
  std::optional<ProgressBar> bar(std::in_place, !quiet, true);
  request->progress_due = [&] { return bar->due(); };
  request->on_progress = [&](double share, const std::string& what) { bar->show(share, what); };
  if (!quiet)  // what --json prints is for a program
    request->on_start = [&](const std::string& text) {
      (options.flag("json") ? std::cerr : std::cout) << fitted(text, 2) << std::endl;
    };
  request->on_warning = [&](const std::string& warning) {
    if (!quiet) print_warning(warning);
  };
  auto result = run_replay(*request);
  bar.reset();
  if (!result) return result.error();
  if (options.flag("why") && result->leads)
    if (auto proved = prove(*result, quiet); !proved) print_warning(proved.error().message);
  if (result->leads && options.flag("json"))
    std::cout << summary_json(result->summary, result->cluster);
  else if (result->leads && !quiet)
    std::cout << replay_table(*result);
  if (!result->complete) print_error(result->missing);
  return result->complete ? 0 : 1;
}

}  // namespace kvhaul::cli
