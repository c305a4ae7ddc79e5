#include "cli/replay_run.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <set>
#include <unistd.h>

#include "backends/emulated/emulated.h"
#include "backends/emulated/memcpy_rate.h"
#include "backends/faults/faulty_backend.h"
#include "cli/backends.h"
#include "cli/command.h"
#include "cli/inputs.h"
#include "cli/interrupt.h"
#include "cli/open_run.h"
#include "cli/replay_trace.h"
#include "cli/run_folder.h"
#include "cli/run_report.h"
#include "cli/run_yaml.h"
#include "cli/terminal.h"
#include "cli/trace_files.h"
#include "cli/version.h"
#include "core/policy/all.h"
#include "core/runtime.h"
#include "core/unit_text.h"
#include "results/limit_proof.h"
#include "scenarios/fault_file.h"
#include "scenarios/scenario.h"
#include "scenarios/yaml_reader.h"
#include "serving/gather.h"
#include "serving/memory_fit.h"
#include "serving/observations.h"
#include "serving/replay.h"
#include "traces/output_file.h"
#include "traces/trace_filters.h"

namespace kvhaul::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

/// The files of a run directory.
const std::vector<std::string> run_file_names = {
    "requests.csv", "transfers.csv", "links.csv", "instances.csv", "timeline.json",
    "summary.json", "run.yaml",      report_file, limit_proof_file};

/// Checks --out, or finds a free name. Makes nothing yet.
Result<std::string> choose_directory(const ReplayRequest& request, const Scenario& scenario) {
  std::error_code status;
  fs::path directory = request.out;
  if (request.out.empty()) {
    const std::string stem =
        scenario.name + "-" +
        (request.trace == "-" ? "stdin" : fs::path(request.trace).stem().string());
    for (int n = 1;; ++n) {
      directory = fs::path("runs") / (stem + "-" + std::to_string(n));
      if (!fs::exists(directory, status)) break;
    }
  } else if (fs::exists(directory, status)) {
    if (!fs::is_directory(directory, status))
      return Error::bad_input("--out: " + directory.string() + " is not a directory");
    if (!fs::is_empty(directory, status) && !request.force)
      return Error::bad_input("--out: " + directory.string() +
                              " is not empty; --force writes over what is in it");
  }
  return directory.string();
}

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "";
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

}  // namespace

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

Result<void> check_policy(const std::optional<std::string>& policy) {
  if (!policy) return {};
  std::vector<std::string> names;
  for (const PolicyName& known : all_policies) names.emplace_back(known.name);
  if (std::find(names.begin(), names.end(), *policy) != names.end()) return {};
  return unknown_choice("--policy", *policy, names);
}

namespace {

/// One process of a replay, from what was asked for to the files.
class ReplayRun {
 public:
  ReplayRun(const ReplayRequest& request, Exchange& exchange)
      : request_(request), exchange_(exchange) {}

  Result<ReplayResult> run() {
    if (auto ok = read_request(); !ok) return ok.error();
    if (several())
      if (auto ok = compare(); !ok) return ok.error();
    if (auto ok = open_backend(); !ok) return ok.error();
    if (auto ok = claim_outputs(); !ok) return ok.error();
    const InterruptNotice interrupted(interrupt_text());
    if (auto ok = open_outputs(); !ok) return ok.error();
    if (request_.on_warning && leads())
      for (const std::string& warning : memory_warnings(scenario_.serving, scenario_.cluster))
        request_.on_warning(warning);
    if (auto ok = replay(); !ok) return ok.error();
    if (!leads()) return answer();
    if (auto ok = gather(); !ok) return ok.error();
    if (auto ok = close_log(); !ok) return ok.error();
    if (auto ok = write_results(); !ok) return ok.error();
    for (std::uint32_t rank = 1; rank < exchange_.size(); ++rank)
      (void)Questions(exchange_, rank).end(result_.missing);  // who is lost does not hear it
    return std::move(result_);
  }

 private:
  bool several() const { return exchange_.size() > 1; }
  bool leads() const { return exchange_.rank() == 0; }

  /// Everything that can be checked without the other processes.
  Result<void> read_request() {
    if (auto ok = check_policy(request_.policy); !ok) return ok.error();
    const auto entry = find_backend(request_.backend);
    if (!entry) return entry.error();
    auto loaded = load_scenario_with(request_.scenario, request_.settings);
    if (!loaded) return loaded.error();
    scenario_ = std::move(*loaded);
    apply_overrides(request_, **entry, scenario_);
    if (auto ok = check_options(**entry); !ok) return ok.error();
    if (request_.faults) {
      auto text = read_text_file(*request_.faults);
      if (!text) return text.error();
      auto parsed = parse_fault_file(*text, *request_.faults, scenario_.cluster);
      if (!parsed) return parsed.error();
      fault_text_ = std::move(*text);
      script_ = std::move(*parsed);
    }
    if (several() || !request_.processes.node_ranks.empty()) {
      auto dealt = deal_nodes(scenario_.serving, scenario_.cluster, exchange_.size(),
                              request_.processes.node_ranks);
      if (!dealt) return dealt.error();
      rank_of_node_ = std::move(*dealt);
    }
    if (!several()) return {};
    if (!(*entry)->several_processes)
      return Error::bad_input("--backend " + request_.backend +
                              " runs in one process; several need verbs");
    return check_prefill_routing();
  }

  Result<void> check_options(const BackendEntry& entry) const {
    if (entry.time == BackendTime::only_virtual && scenario_.real_time)
      return Error::bad_input("--time real: backend " + request_.backend +
                              " has only virtual time");
    if (entry.time == BackendTime::only_real && !scenario_.real_time)
      return Error::bad_input("--time virtual: backend " + request_.backend +
                              " has only real time");
    if (request_.payload == true && entry.time == BackendTime::only_virtual)
      return Error::bad_input("--payload real: backend " + request_.backend +
                              " moves time only; expected emulated, which moves bytes in virtual "
                              "time, too, or a backend that has real time");
    if (auto ok = check_device_options(request_.backend, request_.devices); !ok) return ok;
    if (scenario_.throttle && !emulated())
      return Error::bad_input("--throttle is for the emulated backend");
    if (request_.payload == false && scenario_.real_time)
      return Error::bad_input("--payload none needs --time virtual: real time always moves bytes");
    if (scenario_.throttle && !scenario_.real_time)
      return Error::bad_input(
          "--throttle is for --time real: virtual time always follows the links");
    return {};
  }

  /// Which prefixes are cached is known where the instance is.
  Result<void> check_prefill_routing() const {
    if (scenario_.serving.prefill_routing != PrefillRouting::most_cached) return {};
    for (const std::vector<PlaceId>& places : scenario_.serving.prefill.instances)
      for (const PlaceId place : places)
        if (rank_of_node_[scenario_.cluster.places[place].node] != 0)
          return Error::bad_input(
              "prefill routing most_cached needs all prefill instances in process 0, which knows "
              "their caches; expected least_loaded, round_robin, or other --node-ranks");
    return {};
  }

  /// What must be the same in all processes.
  Result<void> compare() {
    if (request_.trace == "-")
      return Error::bad_input(
          "--trace -: standard input reaches one process only; expected a file for a run of "
          "several");
    auto trace = digest_of_file(request_.trace);
    if (!trace) return trace.error();
    std::string profiles;
    for (const std::string& profile : scenario_.profiles) {
      auto digest = digest_of_file(profile);
      if (!digest) return digest.error();
      profiles += *digest + ",";
    }
    const ReplayConfig& serving = scenario_.serving;
    const TraceReading& reading = request_.reading;
    std::string ranks;
    for (const std::uint32_t rank : rank_of_node_) ranks += std::to_string(rank) + ",";
    return compare_processes(
        exchange_,
        {{"version", version},
         {"scenario", scenario_.text},
         {"timing profile", profiles},
         {"trace", *trace},
         {"fault file", fault_text_.value_or("")},
         {"--backend", request_.backend},
         {"--policy", scenario_.scheduler.policy},
         {"--streaming", std::string(streaming_name(serving.streaming))},
         {"--direction", serving.pull ? "pull" : "push"},
         {"--seed", std::to_string(serving.seed) + "," + std::to_string(scenario_.scheduler.seed)},
         {"--speedup", number_text(request_.speedup, 15)},
         {"--limit", std::to_string(request_.limit.value_or(0))},
         {"--spread-batches", std::to_string(request_.spread_batches)},
         {"--format", std::to_string(reading.format ? static_cast<int>(*reading.format) : -1)},
         {"--block-tokens", std::to_string(reading.block_tokens.value_or(0))},
         {"--columns", reading.columns},
         {"--record", request_.record ? "yes" : "no"},
         {"--service-level", std::to_string(request_.devices.service_level)},
         {"--traffic-class", std::to_string(request_.devices.traffic_class)},
         {"--lost-after", std::to_string(request_.devices.lost_after_ns)},
         {"--node-ranks", ranks}});
  }

  Result<void> open_backend() {
    BackendOptions options = request_.devices;
    options.real_time = scenario_.real_time;
    options.payload = scenario_.payload;
    options.throttle = scenario_.throttle;
    options.exchange = several() ? &exchange_ : nullptr;
    if (several()) options.rank_of_node = rank_of_node_;
    auto made = make_backend(request_.backend, options);
    if (!made) return made.error();
    if (leads()) {
      auto directory = choose_directory(request_, scenario_);
      if (!directory) return directory.error();
      result_.directory = *directory;
      auto outline = outline_trace(request_, scenario_);
      if (!outline) return outline.error();
      outline_ = *outline;
    }
    auto trace = open_replay_trace(request_, scenario_);
    if (!trace) return trace.error();
    trace_ = std::move(*trace);
    auto plan = plan_run(scenario_);
    if (!plan) return plan.error();
    plan_ = std::move(*plan);
    if (script_) {
      if (auto ok = fit_faults(*script_, *request_.faults, scenario_, plan_.requests, over_ns());
          !ok)
        return ok;
    }
    auto opened = open_run(scenario_, plan_, std::move(*made), script_ ? &*script_ : nullptr);
    if (!opened) return opened.error();
    backend_ = std::move(opened->backend);
    faults_ = opened->faults;
    setups_ = std::move(opened->setups);
    return {};
  }

  /// The files of the run; those of other processes than the first are temporary.
  /// From here on an interrupt leaves something half-made, and no file of a run is there yet.
  Result<void> claim_outputs() {
    if (!leads()) return {};
    if (auto opened = open_folder(); !opened) return opened.error();
    if (!request_.record) return {};  // it may go into the directory
    auto created = create_log();
    if (!created) folder_.take_back();
    return created;
  }

  Result<void> open_outputs() {
    if (leads()) {
      auto files = RunFiles::create(folder_.writing(), scenario_.serving, scenario_.cluster,
                                    plan_.requests, plan_.tiers);
      if (!files) return files.error();
      files_ = std::move(*files);
    } else if (request_.record && !setups_.empty()) {
      auto spool = Spool::create();
      if (!spool) return spool.error();
      log_spool_ = std::move(*spool);
      log_ = std::make_unique<EventLogWriter>(setups_, [this](std::span<const std::uint8_t> bytes) {
        return log_spool_->write({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
      });
    }
    if (!several()) return {};
    auto spool = Spool::create();
    if (!spool) return spool.error();
    spool_ = std::move(*spool);
    observations_ = std::make_unique<ObservationWriter>(*spool_, files_.get());
    return {};
  }

  /// The files that this run reads.
  std::vector<std::string> inputs() const {
    std::vector<std::string> files = inputs_of(scenario_);
    files.push_back(input_file(request_.trace));
    if (request_.faults) files.push_back(*request_.faults);
    if (!request_.processes.secret_file.empty()) files.push_back(request_.processes.secret_file);
    return files;
  }

  Result<void> open_folder() {
    while (true) {
      auto folder =
          RunFolder::open(result_.directory, request_.force, false, run_file_names, inputs());
      if (folder) {
        folder_ = std::move(*folder);
        return {};
      }
      // A name of our own choice that another run has just taken: there are more.
      const std::string tried = result_.directory;
      if (!request_.out.empty()) return folder.error();
      auto next = choose_directory(request_, scenario_);
      if (!next) return next.error();
      if (*next == tried) return folder.error();
      result_.directory = *next;
    }
  }

  Result<void> create_log() {
    auto file = OutputFile::create(*request_.record, {request_.force, inputs()});
    if (!file) return file.error();
    std::error_code status;
    const fs::path place = file->place();
    for (const std::string& name : run_file_names)
      if (file->is_file() && place.filename() == name &&
          fs::equivalent(place.parent_path(), result_.directory, status))
        return Error::bad_input("--record: " + *request_.record +
                                " is a file of the run itself; give another name");
    log_file_ = std::move(*file);
    if (setups_.empty()) return {};  // in pull, prefill posts nothing; the others' logs come behind
    log_ = std::make_unique<EventLogWriter>(setups_, [this](std::span<const std::uint8_t> bytes) {
      log_file_->text({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
      const auto wrote = log_file_->flush();
      if (!wrote) log_failed(wrote.error());
      return bool(wrote);
    });
    if (request_.stop_without_log) log_->end_run_on_failure();
    return {};
  }

  /// Said at once, and once; nothing is recorded any more.
  void log_failed(const Error& error) {
    log_error_ = error.message;
    if (!request_.stop_without_log)
      print_error(error.message + "; recording stops, the run goes on");
  }

  std::string interrupt_text() const {
    if (!leads()) return "interrupted";
    return "interrupted; " + result_.directory + " is not a whole run" +
           (request_.record ? ", " + *request_.record + " no whole log" : "");
  }

  Result<void> replay() {
    Runtime runtime(*backend_, std::move(setups_), log_.get());
    ReplayObserver& observer = several() ? static_cast<ReplayObserver&>(*observations_) : *files_;
    Replay replay(scenario_.serving, *trace_.reader, *backend_, observer);
    if (auto ok = replay.prepare(runtime, scenario_.cluster); !ok) return ok.error();
    if (auto ok = backend_->start(); !ok) return ok.error();
    if (request_.on_start && leads()) request_.on_start(start_text());
    if (request_.on_progress && files_)
      files_->on_progress = [this](TimeNs now, std::uint64_t done) { show_progress(now, done); };
    if (auto ran = runtime.run(replay); !ran)
      return log_error_.empty() ? ran.error() : Error::failed(log_error_ + "; the run stops");
    if (const auto error = replay.error()) return *error;
    report_ = {replay.counters(), counters_of(runtime.schedulers()),
               backend_->description(),  // now it knows what went wrong on the way
               host_name(), counted_faults()};
    for (const NodeId node : replay.lost_nodes()) lost_ranks_.insert(rank_of_node_[node]);
    if (observations_) observations_->close();
    if (!log_) return {};
    const auto closed = log_->close();
    if (!leads()) return closed;
    if (!log_error_.empty() && request_.stop_without_log)
      return Error::failed(log_error_ + "; the run stops");
    return {};
  }

  /// Channels are counted; transfers are estimated from the trace alone.
  std::string start_text() const {
    const auto used = std::count(plan_.tiers.begin(), plan_.tiers.end(), 0u);
    const auto all = static_cast<std::ptrdiff_t>(plan_.tiers.size());
    std::string text = scenario_.name + ": " + counted(static_cast<std::uint64_t>(used), "channel");
    if (all != used) text += ", " + std::to_string(all - used) + " more to fall back on";
    if (const std::string& assumed = trace_.reader->info().assumed; !assumed.empty())
      text += "\ntrace " + assumed;
    if (!outline_) return text;
    const ReplayConfig& serving = scenario_.serving;
    const bool by_chunk =
        serving.streaming == Streaming::chunk || serving.streaming == Streaming::chunk_layer;
    const bool by_layer =
        serving.streaming == Streaming::layer || serving.streaming == Streaming::chunk_layer;
    // A unit of KV goes from each place of an instance to those that want a part of it.
    const std::uint64_t instances =
        serving.prefill.instances.size() * serving.decode.instances.size();
    std::uint64_t pairs = std::max<std::uint64_t>(
        1, place_pairs(serving).size() / std::max<std::uint64_t>(1, instances));
    std::uint64_t units = by_chunk ? outline_->prefill_chunks : outline_->requests;
    if (by_layer) {
      units *= serving.model.layers;
      pairs = std::max<std::uint64_t>(1, pairs / std::max(serving.prefill.pp, serving.decode.pp));
    }
    return text + "\n" + counted(outline_->requests, "request") + ", " +
           bytes_text(outline_->input_tokens * serving.model.token_bytes_on_ranks(std::max(
                                                   serving.prefill.tp, serving.decode.tp))) +
           " of KV in " + number_text(static_cast<double>(units * pairs)) +
           " transfers or more, each of at least one chunk (by the trace's input tokens; less "
           "where a prefix is cached)";
  }

  /// How far a run is, is how far its time is: requests end late, and all at once where they came
  /// at once.
  void show_progress(TimeNs now, std::uint64_t done) const {
    if (request_.progress_due && !request_.progress_due()) return;
    double share = -1;
    std::string of_requests, of_time;
    if (outline_ && outline_->requests > 0) {
      share = static_cast<double>(done) / static_cast<double>(outline_->requests);
      of_requests = " of " + std::to_string(outline_->requests);
      if (outline_->last_arrival_ns > 0) {
        share =
            std::clamp(static_cast<double>(now) / static_cast<double>(outline_->last_arrival_ns),
                       share, std::max(share, 0.99));
        of_time = ", the last request comes at " + duration_text(outline_->last_arrival_ns);
      }
    }
    request_.on_progress(share, std::to_string(done) + of_requests + " requests done at " +
                                    duration_text(now) + of_time);
  }

  TimeNs now() const { return backend_->now(); }

  /// Not the first process: tells what it has, and hears what came of the run.
  Result<ReplayResult> answer() {
    auto verdict = answer_questions(
        exchange_, report_, [this] { return now(); }, *spool_, log_spool_ ? &*log_spool_ : nullptr);
    if (!verdict) return verdict.error();
    result_.leads = false;
    result_.missing = *verdict;
    result_.complete = result_.missing.empty();
    return std::move(result_);
  }

  /// The first process: what the others have. Who is gone is left out, and the run is not whole.
  Result<void> gather() {
    result_.backend = report_.description;
    if (!several()) return {};
    result_.processes.resize(exchange_.size());
    std::vector<std::uint32_t> ranks = {0};
    std::vector<ObservationSource> sources = {[this] { return spool_->read(); }};
    for (std::uint32_t rank = 0; rank < exchange_.size(); ++rank) {
      RunProcess& process = result_.processes[rank];
      for (NodeId node = 0; node < rank_of_node_.size(); ++node)
        if (rank_of_node_[node] == rank)
          process.nodes += (process.nodes.empty() ? "" : ", ") + scenario_.cluster.nodes[node].name;
      if (rank == 0) {
        process.host = report_.host;
        process.backend = report_.description;
        continue;
      }
      process.lost = lost_ranks_.count(rank) != 0;  // it may not even say that it is gone
      if (process.lost) continue;
      Questions questions(exchange_, rank);
      auto report = questions.report();
      auto clock = report ? questions.clock([this] { return now(); }) : report.error();
      process.lost = !clock;
      if (process.lost) continue;
      add(report_.counters, report->counters);
      add(report_.schedulers, report->schedulers);
      add(report_.faults, report->faults);
      process.host = report->host;
      process.backend = report->description;
      process.clock = *clock;
      ranks.push_back(rank);
      sources.push_back([this, rank] { return Questions(exchange_, rank).observations(); });
    }
    for (const std::size_t failed : merge_observations(sources, plan_.requests.size(), *files_)) {
      if (failed == 0) return Error::failed("what this process has seen could not be read again");
      result_.processes[ranks[failed]].lost = true;
    }
    return request_.record ? gather_logs() : Result<void>();
  }

  /// Behind the log of this process.
  Result<void> gather_logs() {
    for (std::uint32_t rank = 1; rank < exchange_.size(); ++rank) {
      RunProcess& process = result_.processes[rank];
      if (process.lost) continue;
      auto whole = append_log(*log_file_, [&] { return Questions(exchange_, rank).log(); });
      if (!whole) return whole.error();
      process.lost = !*whole;
    }
    return {};
  }

  /// Now it is whole, and gets its name.
  Result<void> close_log() {
    if (!log_file_ || !log_error_.empty()) return {};
    const auto closed = log_file_->close();
    if (closed || closed.error().kind == ErrorKind::bad_input) return closed;
    log_failed(closed.error());
    if (request_.stop_without_log) return Error::failed(log_error_ + "; the run stops");
    return {};
  }

  Result<void> write_results() {
    RunLabels labels;
    labels.scenario = scenario_.name;
    labels.model = scenario_.serving.model.name;
    labels.trace =
        request_.trace == "-" ? "standard input" : fs::path(request_.trace).filename().string();
    labels.trace_format = trace_format_name(trace_.reader->info().format);
    labels.backend = request_.backend;
    labels.time = scenario_.real_time ? "real" : "virtual";
    labels.payload = scenario_.payload ? "real" : "none";
    labels.policy = scenario_.scheduler.policy;
    labels.streaming = streaming_name(scenario_.serving.streaming);
    labels.direction = scenario_.serving.pull ? "pull" : "push";
    labels.seed = scenario_.serving.seed;
    const TraceCounts counts = trace_.reader->counts();
    trace_.notes.push_back(describe_counts(counts));
    const bool rates_bind = !scenario_.real_time || scenario_.throttle;
    auto finished = files_->finish(std::move(labels), report_.counters, report_.schedulers, counts,
                                   std::move(trace_.notes), rates_bind);
    if (!finished) return finished.error();
    result_.summary = std::move(*finished);
    result_.cluster = std::move(scenario_.cluster);
    if (faults_ != nullptr) say_what_faults_did();
    result_.missing = what_is_missing();
    result_.complete = result_.missing.empty();
    if (emulated() && scenario_.real_time && !scenario_.throttle)
      compare_with_memcpy(result_, emulated::copying_threads(plan_.requests.size()));
    if (auto wrote = write_summary(folder_.writing(), result_.summary, result_.cluster); !wrote)
      return wrote.error();
    result_.wall_s = std::chrono::duration<double>(Clock::now() - start_).count();
    if (auto wrote =
            write_run_file(folder_.writing(), request_, scenario_, fault_text_, result_, started_);
        !wrote)
      return wrote.error();
    const report::RunContext context{
        result_.cluster,
        scenario_.serving,
        plan_,
        script_ ? described_faults(*script_) : std::vector<report::RunContext::Fault>(),
        command_text(request_.command_line),
        scenario_.file,
        scenario_.text,
        fault_text_.value_or("")};
    if (auto wrote = write_run_report(folder_.writing(), context); !wrote) return wrote.error();
    std::error_code status;  // of a run that stood there before
    fs::remove(result_.directory + "/" + limit_proof_file, status);
    return folder_.finish();
  }

  /// When all is over, however badly requests and faults meet: twice the time of computing and
  /// moving them one by one, and a minute, after the last arrival, or after an outage that holds
  /// them up.
  TimeNs over_ns() const {
    if (!outline_ || scenario_.real_time) return never_ns;
    double slowest = 1e300;
    for (const ChannelRequest& channel : plan_.requests)
      slowest = std::min(slowest, channel.route.bytes_per_s);
    const ReplayConfig& serving = scenario_.serving;
    const double moved_s = static_cast<double>(outline_->input_tokens) *
                           static_cast<double>(serving.model.token_bytes()) *
                           std::max(serving.prefill.tp, serving.decode.tp) / slowest;
    const double work_s = 60 + 2 * (outline_->one_by_one_s + moved_s);
    if (!(work_s < 1e9)) return never_ns;
    const auto work_ns = static_cast<TimeNs>(work_s * 1e9);
    TimeNs over_ns = add_time(outline_->last_arrival_ns, work_ns);
    for (const faults::Fault& fault : script_->faults) {
      if (fault.from_ns > over_ns) continue;
      if (fault.every_ns != never_ns) return never_ns;
      if (fault.until_ns != never_ns)
        over_ns = std::max(over_ns, add_time(fault.until_ns, work_ns));
    }
    return over_ns;
  }

  std::vector<FaultCount> counted_faults() const {
    std::vector<FaultCount> counts;
    for (std::size_t f = 0; faults_ != nullptr && f < script_->faults.size(); ++f)
      counts.push_back({faults_->hit_chunks(f), faults_->met_traffic(f)});
    return counts;
  }

  /// In all processes together.
  void say_what_faults_did() {
    RunSummary& summary = result_.summary;
    summary.faults = faults_to_play(*script_);
    for (std::size_t f = 0; f < script_->faults.size(); ++f) {
      FaultUse& fault = summary.faults[f];
      fault.chunks = report_.faults[f].chunks;
      fault.met_traffic = report_.faults[f].met_traffic != 0;
      if (script_->faults[f].kind == faults::FaultKind::fail_registration || fault.met_traffic)
        continue;
      summary.warnings.push_back(*request_.faults + ":" + std::to_string(fault.line) +
                                 ": this fault met no traffic: no chunk was posted there while it "
                                 "held" +
                                 (several() ? ""
                                            : ", and the last one of the run at " +
                                                  duration_text(faults_->last_post_ns())));
    }
  }

  std::string what_is_missing() const {
    std::string text;
    if (const std::uint64_t failed = result_.summary.requests.transfer_failed; failed != 0)
      text = std::to_string(failed) + " requests did not get all of their KV";
    if (const ReplayCounters& requests = result_.summary.requests;
        requests.completed == 0 && requests.transfer_failed == 0) {
      text = "no request was completed";
      if (requests.too_large != 0)
        text += ": " + std::to_string(requests.too_large) +
                " are too large for the KV memory of an instance ('kv_memory' of serving.prefill "
                "and serving.decode; prefill holds the prompt, decode prompt and output)";
      if (requests.failed_in_trace != 0)
        text += std::string(requests.too_large != 0 ? ", " : ": ") +
                std::to_string(requests.failed_in_trace) + " have no output in the trace";
    }
    for (std::size_t rank = 0; rank < result_.processes.size(); ++rank)
      if (result_.processes[rank].lost)
        text += (text.empty() ? "process " : "; process ") + std::to_string(rank) + " was lost";
    if (!log_error_.empty())
      text += (text.empty() ? "" : "; ") + *request_.record + " was not recorded";
    return text;
  }

  bool emulated() const { return request_.backend == "emulated"; }

  const ReplayRequest& request_;
  Exchange& exchange_;
  std::time_t started_ = std::time(nullptr);
  Clock::time_point start_ = Clock::now();
  Scenario scenario_;
  std::optional<std::string> fault_text_;
  std::optional<faults::FaultScript> script_;
  faults::FaultyBackend* faults_ = nullptr;  // backend_, where it plays one
  std::vector<std::uint32_t> rank_of_node_;
  OpenedTrace trace_;
  std::optional<TraceOutline> outline_;
  ChannelPlan plan_;
  std::unique_ptr<Backend> backend_;
  std::vector<SchedulerSetup> setups_;
  std::optional<Spool> log_spool_, spool_;
  RunFolder folder_;
  std::optional<OutputFile> log_file_;
  std::string log_error_;  // what kept it from being written
  std::unique_ptr<EventLogWriter> log_;
  std::unique_ptr<RunFiles> files_;
  std::unique_ptr<ObservationWriter> observations_;
  ProcessReport report_;
  std::set<std::uint32_t> lost_ranks_;
  ReplayResult result_;
};

}  // namespace

Result<ReplayResult> run_replay(const ReplayRequest& request) {
  const auto entry = find_backend(request.backend);
  std::string scenario;
  // Who cannot read it joins, too: the others hear why it leaves.
  if (!request.processes.rendezvous.empty())
    if (auto loaded = load_scenario_with(request.scenario, request.settings))
      scenario = std::move(loaded->text);
  auto exchange = join_processes(request.processes, entry && (*entry)->several_processes, scenario);
  if (!exchange) return exchange.error();
  auto result = ReplayRun(request, **exchange).run();
  if (!result) (*exchange)->abandon(result.error());
  return result;
}

}  // namespace kvhaul::cli
