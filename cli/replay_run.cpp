#include "cli/replay_run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <sys/resource.h>
#include <thread>

#include "backends/emulated/emulated.h"
#include "backends/emulated/memcpy_rate.h"
#include "backends/faults/faulty_backend.h"
#include "cli/backends.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/terminal.h"
#include "cli/version.h"
#include "core/policy/all.h"
#include "core/runtime.h"
#include "core/unit_text.h"
#include "scenarios/fault_file.h"
#include "scenarios/scenario.h"
#include "scenarios/yaml_reader.h"
#include "traces/trace_filters.h"

namespace kvhaul::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

struct OpenedTrace {
  TraceReaderPtr reader;
  std::vector<std::string> notes;
};

Result<OpenedTrace> open(const ReplayRequest& request, const Scenario& scenario) {
  auto opened = open_trace(request.trace, request.format);
  if (!opened) return opened.error();
  OpenedTrace trace{std::move(*opened), {}};
  if (!trace.reader->info().has_arrivals)
    trace.notes.push_back("the trace has no arrival times: all requests arrive at once");
  if (request.limit) {
    trace.reader = limit_requests(std::move(trace.reader), *request.limit);
    trace.notes.push_back("only the first " + std::to_string(*request.limit) + " requests");
  }
  if (request.spread_batches) {
    trace.reader = spread_batches(std::move(trace.reader));
    trace.notes.push_back("requests of one timestamp spread over the gap after it");
  }
  if (request.speedup != 1) {
    auto faster = speed_up(std::move(trace.reader), request.speedup);
    if (!faster) return faster.error();
    trace.reader = std::move(*faster);
    trace.notes.push_back("arrival times divided by " + number_text(request.speedup, 6));
  }
  if (scenario.serving.model.context_tokens != 0) {
    auto clipped = clip_context(std::move(trace.reader), scenario.serving.model.context_tokens);
    if (!clipped) return clipped.error();
    trace.reader = std::move(*clipped);
  }
  return trace;
}

/// Reads the whole trace once, so that a bad row is found before any work is done and the progress
/// bar knows how far there is to go. Nothing for what cannot be read twice.
Result<std::optional<std::uint64_t>> count_requests(const ReplayRequest& request,
                                                    const Scenario& scenario) {
  std::error_code status;
  if (!fs::is_regular_file(request.trace, status)) return std::optional<std::uint64_t>();
  auto trace = open(request, scenario);
  if (!trace) return trace.error();
  TraceRequest row;
  std::uint64_t count = 0;
  while (true) {
    auto more = trace->reader->next(row);
    if (!more) return more.error();
    if (!*more) return std::optional(count);
    ++count;
  }
}

/// Stands in a run directory until the run is whole, however it ends.
constexpr const char* unfinished_mark = "UNFINISHED";

/// Checks --out, or finds a free name. Makes nothing yet.
Result<std::string> choose_directory(const ReplayRequest& request, const Scenario& scenario) {
  std::error_code status;
  fs::path directory = request.out;
  if (request.out.empty()) {
    const std::string stem = scenario.name + "-" + fs::path(request.trace).stem().string();
    for (int n = 1;; ++n) {
      directory = fs::path("runs") / (stem + "-" + std::to_string(n));
      if (!fs::exists(directory, status)) break;
    }
  } else if (fs::exists(directory, status)) {
    if (!fs::is_directory(directory, status))
      return Error::bad_input("--out: " + directory.string() + " is not a directory");
    if (!fs::is_empty(directory, status) && !request.force)
      return Error::bad_input("--out: " + directory.string() +
                              " is not empty; --force writes into it all the same");
  }
  return directory.string();
}

Result<void> make_directory(const std::string& directory) {
  std::error_code status;
  fs::create_directories(directory, status);
  if (status)
    return Error::bad_input("--out: " + directory + " cannot be made: " + status.message());
  fs::remove(directory + "/summary.json", status);  // of a run before, with --force
  auto mark = OutputFile::create(directory + "/" + unfinished_mark);
  if (!mark) return mark.error();
  mark->text("The run that writes into this folder has not come to its end.\n");
  return mark->close();
}

/// Takes back what make_directory() made, unless something else is in it.
void remove_empty(const std::string& directory) {
  std::error_code status;
  fs::remove(directory + "/" + unfinished_mark, status);
  fs::remove(directory, status);
}

std::string utc(std::time_t time) {
  char text[32];
  std::tm parts{};
  gmtime_r(&time, &parts);
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out + "\"";
}

std::string indented(const std::string& text) {
  std::string out = "  ";
  for (const char c : text) {
    out += c;
    if (c == '\n') out += "  ";
  }
  return out;
}

/// Everything needed to make the run again, and the only file that may hold times of day.
Result<void> write_run_file(const ReplayRequest& request, const Scenario& scenario,
                            const std::optional<std::string>& fault_text,
                            const ReplayResult& result, std::time_t started) {
  auto file = OutputFile::create(result.directory + "/run.yaml");
  if (!file) return file.error();
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::string line;
  for (const std::string& argument : request.command_line)
    line += (line.empty() ? "" : ", ") + quoted(argument);
  std::error_code status;
  file->text("kvhaul: ").text(version).text("\ncommand: [kvhaul, ").text(line).text("]\n");
  file->text("directory: ").text(quoted(fs::current_path(status).string())).text("\n");
  file->text("backend: ").text(quoted(result.backend)).text("\n");
  file->text("started: ").text(utc(started)).text("\nfinished: ").text(utc(std::time(nullptr)));
  file->text("\nwall_s: ").real(result.wall_s).text("\npeak_memory_mib: ");
  file->real(static_cast<double>(usage.ru_maxrss) / 1024).text("\nprocessors: ");
  file->number(std::thread::hardware_concurrency()).text("\ntrace:\n  file: ");
  file->text(quoted(fs::absolute(request.trace, status).string())).text("\n  bytes: ");
  const std::uintmax_t bytes = fs::file_size(request.trace, status);
  file->number(status ? 0 : bytes).text("\nscenario_file: ").text(quoted(scenario.file));
  file->text("\nscenario: |\n").text(indented(scenario.text)).text("\n");
  if (fault_text) file->text("faults: |\n").text(indented(*fault_text)).text("\n");
  return file->close();
}

void apply_overrides(const ReplayRequest& request, const BackendEntry& backend,
                     Scenario& scenario) {
  // What the scenario says of time and payload is for the emulated backend.
  if (backend.time == BackendTime::only_virtual)
    scenario.real_time = scenario.payload = scenario.throttle = false;
  if (backend.time == BackendTime::only_real) {
    scenario.real_time = true;
    scenario.throttle = false;
  }
  if (request.policy) scenario.scheduler.policy = *request.policy;
  if (request.streaming) scenario.serving.streaming = *request.streaming;
  if (request.pull) scenario.serving.pull = scenario.routes.pull = *request.pull;
  if (request.seed) scenario.scheduler.seed = scenario.serving.seed = *request.seed;
  if (request.real_time) scenario.real_time = *request.real_time;
  if (request.payload) scenario.payload = *request.payload;
  if (request.throttle) scenario.throttle = *request.throttle;
  if (scenario.real_time) scenario.payload = true;
  // Where the processor that copies would also compute them. A GPU does so beside the copies.
  scenario.serving.defer_checks = scenario.real_time && backend.time == BackendTime::both;
  scenario.serving.busy_prefill = request.devices.busy_prefill;
}

/// Bytes moved per second of copying, beside a plain memcpy loop of the same chunk size in the same
/// process: what the emulated backend loses.
void compare_with_memcpy(ReplayResult& result, unsigned threads) {
  RunSummary& s = result.summary;
  if (s.landed_chunks == 0 || s.wire_busy_ns == 0) return;
  const Bytes chunk = s.landed_bytes / s.landed_chunks;
  const double plain = emulated::memcpy_bytes_per_s(chunk, 256 * MiB, threads, 500 * ms_ns);
  const double moved =
      static_cast<double>(s.landed_bytes) / (static_cast<double>(s.wire_busy_ns) * 1e-9);
  s.notes.emplace_back("moved_gbytes_per_s", number_text(moved / 1e9, 4));
  s.notes.emplace_back("plain_memcpy_gbytes_per_s", number_text(plain / 1e9, 4));
  s.notes.emplace_back("moved_by_memcpy", number_text(moved / plain, 3));
}

/// Milliseconds with four digits; nothing finer than a microsecond is worth reading.
std::string ms_text(double ns) {
  if (ns > 0 && ns < 1000) return "<0.001";
  return number_text(std::round(ns / 1000) / 1000, 4);
}

std::string count_text(double count) {
  return count < 1e6 ? number_text(count) : number_text(count / 1e6) + " million";
}

}  // namespace

Result<void> check_policy(const std::optional<std::string>& policy) {
  if (!policy) return {};
  std::vector<std::string> names;
  for (const PolicyName& known : all_policies) names.emplace_back(known.name);
  if (std::find(names.begin(), names.end(), *policy) != names.end()) return {};
  return unknown_choice("--policy", *policy, names);
}

Result<ReplayResult> run_replay(const ReplayRequest& request) {
  const std::time_t started = std::time(nullptr);
  const Clock::time_point start = Clock::now();
  if (auto ok = check_policy(request.policy); !ok) return ok.error();
  const auto entry = find_backend(request.backend);
  if (!entry) return entry.error();
  auto loaded = load_scenario(request.scenario);
  if (!loaded) return loaded.error();
  Scenario& scenario = *loaded;
  apply_overrides(request, **entry, scenario);
  if ((*entry)->time == BackendTime::only_virtual && scenario.real_time)
    return Error::bad_input("--time real: backend " + request.backend + " has only virtual time");
  if ((*entry)->time == BackendTime::only_real && !scenario.real_time)
    return Error::bad_input("--time virtual: backend " + request.backend + " has only real time");
  const bool emulated = request.backend == "emulated";
  if (!request.devices.devices.empty() && request.backend != "cuda" && request.backend != "verbs")
    return Error::bad_input("--devices is for the backends cuda and verbs");
  const bool for_cuda = !request.devices.held_by.empty() || request.devices.busy_prefill;
  if (for_cuda && request.backend != "cuda")
    return Error::bad_input("--held and --busy-prefill are for the cuda backend");
  if (!request.devices.nics.empty() && request.backend != "verbs")
    return Error::bad_input("--nics is for the verbs backend");
  if (scenario.throttle && !emulated)
    return Error::bad_input("--throttle is for the emulated backend");
  if (request.payload == false && scenario.real_time)
    return Error::bad_input("--payload none needs --time virtual: real time always moves bytes");
  if (scenario.throttle && !scenario.real_time)
    return Error::bad_input("--throttle is for --time real: virtual time always follows the links");

  std::optional<faults::FaultScript> script;
  std::optional<std::string> fault_text;
  if (request.faults) {
    auto text = read_text_file(*request.faults);
    if (!text) return text.error();
    auto parsed = parse_fault_file(*text, *request.faults, scenario.cluster);
    if (!parsed) return parsed.error();
    fault_text = std::move(*text);
    script = std::move(*parsed);
  }
  BackendOptions backend_options = request.devices;
  backend_options.real_time = scenario.real_time;
  backend_options.payload = scenario.payload;
  backend_options.throttle = scenario.throttle;
  auto made = make_backend(request.backend, backend_options);
  if (!made) return made.error();
  auto directory = choose_directory(request, scenario);
  if (!directory) return directory.error();
  auto total = count_requests(request, scenario);
  if (!total) return total.error();
  auto trace = open(request, scenario);
  if (!trace) return trace.error();

  std::unique_ptr<Backend> backend = std::move(*made);
  if (script) backend = faults::make_faulty_backend(std::move(backend), *script);

  auto plan = plan_channels(scenario.cluster, place_pairs(scenario.serving), scenario.routes);
  if (!plan) return Error::bad_input(scenario.file + ": " + plan.error().message);
  auto numbers = backend->open(scenario.cluster, plan->requests);
  if (!numbers) return numbers.error();
  std::vector<SchedulerSetup> setups =
      make_setups(scenario.cluster, plan->requests, plan->tiers, *numbers, scenario.scheduler);
  for (const SchedulerSetup& setup : setups)
    if (auto ok = check_setup(setup); !ok)
      return Error::bad_input(scenario.file + ": " + ok.error().message);

  ReplayResult result;
  result.directory = *directory;
  std::unique_ptr<EventLogWriter> log;
  // The log may go into the directory.
  if (auto ready = make_directory(result.directory); !ready) return ready.error();
  if (request.record) {
    auto created = create_log_file(*request.record, setups);
    if (!created) {
      remove_empty(result.directory);
      return created.error();
    }
    log = std::move(*created);
  }
  const InterruptNotice interrupted(
      "interrupted; " + result.directory + " is not a whole run" +
      (request.record ? ", " + *request.record + " no whole log" : ""));
  auto files = RunFiles::create(result.directory, scenario.serving, scenario.cluster,
                                plan->requests, plan->tiers);
  if (!files) return files.error();

  Runtime runtime(*backend, std::move(setups), log.get());
  Replay replay(scenario.serving, *trace->reader, *backend, **files);
  if (auto ok = replay.prepare(runtime, scenario.cluster); !ok) return ok.error();
  if (auto ok = backend->start(); !ok) return ok.error();
  if (request.on_progress)
    (*files)->on_progress = [&](TimeNs now, std::uint64_t done) {
      const double share =
          *total && **total > 0 ? static_cast<double>(done) / static_cast<double>(**total) : -1;
      const double elapsed = std::chrono::duration<double>(Clock::now() - start).count();
      request.on_progress(share, std::to_string(done) + " requests, " +
                                     number_text(static_cast<double>(done) / elapsed) + "/s, at " +
                                     duration_text(now));
    };
  if (auto ran = runtime.run(replay); !ran) return ran.error();
  if (replay.trace_error()) return *replay.trace_error();
  result.backend = backend->description();  // now it knows what went wrong on the way
  if (log) {
    if (auto closed = log->close(); !closed)
      return Error{closed.error().kind, *request.record + ": " + closed.error().message};
  }

  RunLabels labels;
  labels.scenario = scenario.name;
  labels.model = scenario.serving.model.name;
  labels.trace = fs::path(request.trace).filename().string();
  labels.trace_format = trace_format_name(trace->reader->info().format);
  labels.backend = request.backend;
  labels.time = scenario.real_time ? "real" : "virtual";
  labels.payload = scenario.payload ? "real" : "none";
  labels.policy = scenario.scheduler.policy;
  labels.streaming = streaming_name(scenario.serving.streaming);
  labels.direction = scenario.serving.pull ? "pull" : "push";
  labels.seed = scenario.serving.seed;
  const TraceCounts counts = trace->reader->counts();
  trace->notes.push_back(describe_counts(counts));
  const bool rates_bind = !scenario.real_time || scenario.throttle;
  auto finished = (*files)->finish(std::move(labels), replay, counts, std::move(trace->notes),
                                   runtime.schedulers(), rates_bind);
  if (!finished) return finished.error();
  result.summary = std::move(*finished);
  result.cluster = std::move(scenario.cluster);
  result.complete = result.summary.requests.transfer_failed == 0;
  if (emulated && scenario.real_time && !scenario.throttle)
    compare_with_memcpy(result, emulated::copying_threads(plan->requests.size()));
  if (auto wrote = write_summary(result.directory, result.summary, result.cluster); !wrote)
    return wrote.error();
  result.wall_s = std::chrono::duration<double>(Clock::now() - start).count();
  if (auto wrote = write_run_file(request, scenario, fault_text, result, started); !wrote)
    return wrote.error();
  std::error_code status;
  if (!fs::remove(result.directory + "/" + unfinished_mark, status))
    return Error::failed(result.directory + "/" + unfinished_mark + " cannot be removed");
  return result;
}

std::string replay_table(const ReplayResult& result) {
  const RunSummary& s = result.summary;
  std::string out = s.labels.scenario + ": " + s.labels.model + ", " + s.labels.trace + "\n" +
                    result.backend + "; policy " + s.labels.policy + ", streaming " +
                    s.labels.streaming + ", " + s.labels.direction + "\n\n";
  TextTable times({"ms", "mean", "p50", "p90", "p99", "max"});
  const auto add = [&](const char* name, const Histogram& h) {
    if (h.count() == 0) return times.add({name, "-", "-", "-", "-", "-"});
    times.add({name, ms_text(h.mean()), ms_text(h.percentile(0.5)), ms_text(h.percentile(0.9)),
               ms_text(h.percentile(0.99)), ms_text(static_cast<double>(h.most()))});
  };
  add("time to first token", s.ttft_ns);
  add("  queue", s.queue_ns);
  add("  prefill", s.prefill_ns);
  add("  exposed transfer", s.exposed_ns);
  add("inter-token latency", s.itl_ns);
  add("one KV transfer", s.transfer_ns);
  out += times.text() + "\n";

  out += "requests    " + std::to_string(s.requests.completed) + " completed";
  if (s.requests.transfer_failed)
    out += ", " + std::to_string(s.requests.transfer_failed) + " lost their KV";
  if (s.requests.too_large)
    out += ", " + std::to_string(s.requests.too_large) + " too large for an instance";
  if (s.requests.failed_in_trace)
    out += ", " + std::to_string(s.requests.failed_in_trace) + " without output in the trace";
  out += " in " + duration_text(s.duration_ns) + "\n";
  for (const std::string& note : s.trace_notes) out += "            " + note + "\n";
  if (s.requests.registration_ns > 0)
    out += "            before that, KV memory is registered in " +
           duration_text(s.requests.registration_ns) + "\n";
  if (s.requests.cached_tokens)
    out += "            " +
           number_text(100.0 * static_cast<double>(s.requests.cached_tokens) /
                       static_cast<double>(s.requests.input_tokens)) +
           "% of input tokens came from the prefix cache\n";
  if (s.has_slo && s.requests.completed)
    out += "SLO         " +
           number_text(100.0 * static_cast<double>(s.slo_attained) /
                           static_cast<double>(s.requests.completed),
                       4) +
           "% attained\n";
  out += "KV moved    " + bytes_text(s.delivered_bytes) + " in " + std::to_string(s.transfers) +
         " transfers, " + std::to_string(s.scheduler.chunks_posted) + " chunks; " +
         std::to_string(s.pieces) + " pieces\n";
  if (s.scheduler.chunks_resent || s.scheduler.quarantines)
    out += "faults      " + std::to_string(s.scheduler.chunks_resent) + " chunks (" +
           bytes_text(s.resent_bytes) + ") sent again, " + std::to_string(s.scheduler.timeouts) +
           " timed out; " + std::to_string(s.scheduler.quarantines) + " quarantines, " +
           std::to_string(s.scheduler.readmissions) + " taken back\n";
  if (s.requests.checked_transfers)
    out += "payload     " + std::to_string(s.requests.checked_transfers) + " checksums compared, " +
           std::to_string(s.requests.damaged_transfers) + " wrong" +
           (s.requests.damaged_transfers ? " and sent again" : "") + "\n";
  for (const RunSummary::RouteUse& use : s.routes)
    out += std::string(use.tier == 0 ? "route       " : "FALLBACK    ") + use.kind + "  " +
           bytes_text(use.bytes) + "\n";
  for (std::size_t i = 0; i < std::min<std::size_t>(3, s.links.size()); ++i) {
    const LinkUse& use = s.links[i];
    out += std::string(i == 0 ? "busiest     " : "            ") +
           result.cluster.links[use.link].name + "  " + number_text(100 * use.utilisation) +
           "% of " + rate_text(result.cluster.links[use.link].bytes_per_s) + ", saturated " +
           number_text(100 * use.saturated_share) + "% of the time\n";
  }
  for (const auto& [name, value] : s.notes) {
    if (name == "moved_gbytes_per_s") out += "copy rate   " + value + " GB/s while copying";
    if (name == "plain_memcpy_gbytes_per_s") out += ", plain memcpy loop " + value + " GB/s";
    if (name == "moved_by_memcpy") out += ", ratio " + value + "\n";
  }
  out += "\nreplayed in " + number_text(result.wall_s) + " s";
  if (s.labels.time == "virtual")
    out += " (" + count_text(static_cast<double>(s.requests.requests) / result.wall_s) +
           " requests/s, " +
           count_text(static_cast<double>(s.scheduler.chunks_posted) / result.wall_s) +
           " chunks/s)";
  out += "; files in " + result.directory + "/\n";
  return out;
}

}  // namespace kvhaul::cli
