#include "cli/limit_proof.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <set>
#include <vector>

#include "cli/open_run.h"
#include "cli/replay_run.h"
#include "cli/replay_trace.h"
#include "cli/run_report.h"
#include "cli/terminal.h"
#include "core/runtime.h"
#include "core/unit_text.h"
#include "results/limits.h"
#include "serving/replay.h"
#include "traces/output_file.h"

namespace kvhaul::cli {
namespace {

namespace fs = std::filesystem;

/// What a run was made from, as it can be made again.
struct Again {
  ReplayRequest request;
  Scenario scenario;
  std::optional<faults::FaultScript> script;
};

/// A tenth more of something.
struct Change {
  LimitProof::Rerun rerun;
  std::function<void(Again&)> apply;
};

constexpr double tenth_more = 1.1;

Bytes more_bytes(Bytes bytes) {
  return static_cast<Bytes>(std::llround(static_cast<double>(bytes) * tenth_more));
}
TimeNs cheaper(TimeNs time) { return std::llround(static_cast<double>(time) * 0.9); }

void make_posting_cheaper(Again& run) {
  run.scenario.serving.engine_ns = cheaper(run.scenario.serving.engine_ns);
  for (RouteCosts& costs : run.scenario.routes.costs) {
    costs.post_ns = cheaper(costs.post_ns);
    for (auto& gather : costs.gather)
      if (gather) {
        gather->post_ns = cheaper(gather->post_ns);
        gather->piece_post_ns = cheaper(gather->piece_post_ns);
      }
  }
}

/// One chunk more at least, or no credit would be larger where chunks are large.
void widen_windows(Again& run, Bytes chunk_bytes) {
  SchedulerConfig& config = run.scenario.scheduler;
  config.channel_window_ns =
      std::llround(static_cast<double>(config.channel_window_ns) * tenth_more);
  config.link_window_ns = std::llround(static_cast<double>(config.link_window_ns) * tenth_more);
  if (config.credit_bytes != 0)
    config.credit_bytes =
        std::max(more_bytes(config.credit_bytes), config.credit_bytes + chunk_bytes);
}

/// Of each place, for one more request of so many tokens.
Bytes request_bytes(const ReplayConfig& serving, const RoleConfig& role, double tokens) {
  const auto ranks = role_geometry(serving.model, role, serving.split_kv);
  if (!ranks) return 0;  // a scenario without has been refused
  const Bytes page_bytes = role.kv_memory_bytes / ranks->front().pages + 1;
  return page_bytes * static_cast<Bytes>(std::ceil(tokens / role.page_tokens));
}

std::string_view name(Limit limit) { return limit_name(limit); }

/// What can be had more of, in the order in which it is looked at.
std::vector<Change> changes_of(const RunDirectory& run, const Again& again) {
  std::vector<Change> changes;
  const auto add = [&](const std::string& key, const std::string& label, const std::string& more,
                       Limit limit, std::function<void(Again&)> apply) {
    changes.push_back({{key, label, more, std::string(name(limit)), 0}, std::move(apply)});
  };
  add("prefill", "prefill and its queue", "10% faster prefill", Limit::prefill, [](Again& r) {
    auto& timing = r.scenario.serving.prefill.timing;
    timing = scaled_timing(timing, 1 / tenth_more, 1);
  });
  // Less than a request of mean length would be no more where few fit in.
  const double completed = run.number("requests.completed");
  const double input = run.number("requests.input_tokens") / completed;
  const double output = run.number("requests.output_tokens") / completed;
  const auto add_memory = [&](const std::string& side, Limit limit, RoleConfig ReplayConfig::*role,
                              double tokens) {
    const RoleConfig& config = again.scenario.serving.*role;
    const Bytes request = request_bytes(again.scenario.serving, config, tokens);
    const Bytes tenth = more_bytes(config.kv_memory_bytes) - config.kv_memory_bytes;
    add(side + "_memory", side + " memory",
        tenth >= request ? "10% more KV memory of " + side
                         : "KV memory of " + side + " for one request more",
        limit,
        [=](Again& r) { (r.scenario.serving.*role).kv_memory_bytes += std::max(tenth, request); });
  };
  add_memory("prefill", Limit::prefill, &ReplayConfig::prefill, input);
  add_memory("decode", Limit::decode_memory, &ReplayConfig::decode, input + output);
  const std::uint32_t seats = again.scenario.serving.max_batch;
  const std::uint32_t more_seats = std::max(1u, static_cast<std::uint32_t>(seats * 0.1));
  add("decode_seats", "decode seats",
      more_seats == 1
          ? "one decode seat more than " + std::to_string(seats)
          : std::to_string(more_seats) + " decode seats more than " + std::to_string(seats),
      Limit::decode_seats, [=](Again& r) { r.scenario.serving.max_batch += more_seats; });
  add("decode_steps", "decode steps", "10% faster decode steps", Limit::decode_steps, [](Again& r) {
    auto& timing = r.scenario.serving.decode.timing;
    timing = scaled_timing(timing, 1, 1 / tenth_more);
  });
  add("posting", "posting", "10% cheaper posting", Limit::posting, make_posting_cheaper);
  const double chunks = std::max(1.0, run.number("transfers.chunks"));
  const Bytes chunk_bytes = std::max(again.scenario.scheduler.chunk_bytes,
                                     static_cast<Bytes>(run.number("transfers.bytes") / chunks));
  add("windows", "the scheduler's windows", "10% larger windows and credit", Limit::window,
      [=](Again& r) { widen_windows(r, chunk_bytes); });
  std::set<std::string> kinds;
  for (const RunDirectory::Link& link : run.links)
    if (link.bytes > 0) kinds.insert(link.kind);
  for (const std::string& kind : kinds)
    add(kind + "_links", kind + " links", "10% faster " + kind + " links", Limit::link,
        [=](Again& r) {
          for (Link& link : r.scenario.cluster.links)
            if (link_kind_name(link.kind) == kind) link.bytes_per_s *= tenth_more;
        });
  if (again.script)
    add("faults", "faults", "without its faults", Limit::faults,
        [](Again& r) { r.script.reset(); });
  return changes;
}

/// Keeps times to first token, and nothing else.
class FirstTokens final : public ReplayObserver {
 public:
  void request_done(const RequestResult& r, const std::vector<TransferRow>&) override {
    if (r.outcome == RequestOutcome::completed) ttft_ns_.push_back(r.joined_ns - r.arrival_ns);
  }
  void transfer_done(const TransferEnd&) override {}
  void chunks_ended(std::span<const Completion>) override {}
  void progress(TimeNs, std::uint64_t) override {}

  std::uint64_t completed() const { return ttft_ns_.size(); }
  /// Nearest rank; 0 where no request was completed.
  double median_ms() {
    if (ttft_ns_.empty()) return 0;
    const auto middle = ttft_ns_.begin() + static_cast<std::ptrdiff_t>((ttft_ns_.size() - 1) / 2);
    std::ranges::nth_element(ttft_ns_, middle);
    return static_cast<double>(*middle) / 1e6;
  }

 private:
  std::vector<TimeNs> ttft_ns_;
};

struct Median {
  double ttft_ms = 0;
  std::uint64_t completed = 0;  // 0: there is none
};

Result<Median> median_of(const Again& run) {
  auto trace = open_replay_trace(run.request, run.scenario);
  if (!trace) return trace.error();
  auto plan = plan_run(run.scenario);
  if (!plan) return plan.error();
  auto backend = make_backend(run.request.backend, {});
  if (!backend) return backend.error();
  auto opened =
      open_run(run.scenario, *plan, std::move(*backend), run.script ? &*run.script : nullptr);
  if (!opened) return opened.error();
  FirstTokens first_tokens;
  Runtime runtime(*opened->backend, std::move(opened->setups), nullptr);
  Replay replay(run.scenario.serving, *trace->reader, *opened->backend, first_tokens);
  if (auto ok = replay.prepare(runtime, run.scenario.cluster); !ok) return ok.error();
  if (auto ok = opened->backend->start(); !ok) return ok.error();
  if (auto ran = runtime.run(replay); !ran) return ran.error();
  if (const auto error = replay.error()) return *error;
  return Median{first_tokens.median_ms(), first_tokens.completed()};
}

/// From run.yaml: the options that it was started with, on the trace that it names.
Result<Again> read_again(const std::string& directory, const RunInputs& inputs) {
  const RunFile& file = inputs.file;
  const std::string yaml = directory + "/run.yaml";
  const auto impossible = [&](const std::string& why) {
    return Error::bad_input(yaml + ": " + why + "; expected a run that can be made again");
  };
  if (file.command.empty() || file.command[0] != "replay")
    return impossible("the run was not made by 'kvhaul replay'");
  if (file.trace.empty() || file.trace == "standard input")
    return impossible("its trace was standard input");
  std::error_code status;
  const std::uintmax_t bytes = fs::file_size(file.trace, status);
  if (status) return impossible("its trace " + file.trace + ": " + status.message());
  if (std::to_string(bytes) != file.trace_bytes)
    return impossible("its trace " + file.trace + " had " + file.trace_bytes + " bytes and has " +
                      std::to_string(bytes) + " now");
  auto request = read_replay_request({file.command.begin() + 1, file.command.end()});
  if (!request) return impossible("its command: " + request.error().message);
  Again again{std::move(*request), inputs.scenario, {}};
  again.request.trace = file.trace;
  again.request.real_time = again.request.payload = again.request.throttle = false;
  if (again.request.backend != "simgrid") again.request.backend = "emulated";
  auto entry = find_backend(again.request.backend);
  if (!entry) return entry.error();
  apply_overrides(again.request, **entry, again.scenario);
  if (!file.faults.empty()) again.script = inputs.script;
  return again;
}

}  // namespace

Result<LimitProof> prove_limits(const std::string& directory, const ProofProgress& progress) {
  auto run = read_run_as_made(directory);  // an older proof may be damaged
  if (!run) return run.error();
  const auto inputs = read_run_inputs(std::move(*run));
  if (!inputs) return inputs.error();
  if (inputs->run.number("requests.completed") == 0)
    return Error::bad_input(directory + ": no request was completed: nothing limits them");
  const auto again = read_again(directory, *inputs);
  if (!again) return again.error();
  const std::vector<Change> changes = changes_of(inputs->run, *again);
  const std::size_t count = changes.size() + 1;
  const auto tell = [&](std::size_t done, const std::string& more) {
    if (progress) progress(done, count, more);
  };

  LimitProof proof;
  proof.backend = again->request.backend;
  proof.run_was_real = inputs->run.text("run.time") == "real";
  tell(0, "as it was");
  const auto median = median_of(*again);
  if (!median) return median.error();
  if (median->completed == 0)
    return Error::failed(directory + ": made again, no request is completed");
  proof.ttft_p50_ms = median->ttft_ms;
  proof.completed = median->completed;
  for (std::size_t i = 0; i < changes.size(); ++i) {
    tell(i + 1, changes[i].rerun.more);
    Again with_more = *again;
    changes[i].apply(with_more);
    const auto changed = median_of(with_more);
    if (!changed)
      return Error{changed.error().kind, changes[i].rerun.more + ": " + changed.error().message};
    if (changed->completed == 0) continue;
    proof.reruns.push_back(changes[i].rerun);
    proof.reruns.back().ttft_p50_ms = changed->ttft_ms;
    proof.reruns.back().completed = changed->completed;
  }
  std::ranges::stable_sort(proof.reruns, {}, &LimitProof::Rerun::ttft_p50_ms);
  // Of our own making: it may stand there already.
  auto file = OutputFile::create(directory + "/" + limit_proof_file, {true, {}});
  if (!file) return file.error();
  file->text(limit_proof_json(proof));
  if (auto closed = file->close(); !closed) return closed.error();
  return proof;
}

ProofProgress progress_of(ProgressBar& bar) {
  return [&bar](std::size_t done, std::size_t of, const std::string& more) {
    if (bar.due())
      bar.show(static_cast<double>(done) / static_cast<double>(of),
               "rerun " + std::to_string(done + 1) + " of " + std::to_string(of) + ", " + more);
  };
}

std::string limit_proof_table(const LimitProof& proof) {
  const auto ms = [](double value) { return number_text(value, 5); };
  TextTable table({"median time to first token", "ms", "shorter by"});
  table.add({proof.run_was_real ? "simulated as it was" : "as it was", ms(proof.ttft_p50_ms), ""});
  for (const LimitProof::Rerun& rerun : proof.reruns)
    table.add({printable(proof.more_text(rerun)), ms(rerun.ttft_p50_ms), proof.gain_text(rerun)});
  return table.text();
}

}  // namespace kvhaul::cli
