// A whole replay in a test: a small scenario, a trace as text, and everything that came of it.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "backends/emulated/emulated.h"
#include "backends/faults/faulty_backend.h"
#include "core/channel_plan.h"
#include "core/runtime.h"
#include "scenarios/fault_file.h"
#include "scenarios/scenario.h"
#include "serving/replay.h"
#include "traces/trace.h"

namespace kvhaul::test {

/// What a test changes in the scenario below.
struct Setting {
  std::string streaming = "chunk_layer";
  std::string direction = "push";
  std::uint32_t chunk_tokens = 64;
  std::string model =
      "{name: tiny, layers: 4, query_heads: 4, kv_heads: 4, head_dim: 8, active_parameters: 1e9}";
  std::string prefill = "{gpus: [node0/gpu0], kv_memory: 4 MiB, %}";  // %: the timing
  std::string decode = "{gpus: [node0/gpu4], kv_memory: 4 MiB, %}";
  std::string more_serving;  // further lines of the serving block
  std::string scheduler;
  bool payload = true;
  std::string faults;  // entries of a fault file
};

/// Sixteen GPUs in one node, 10 GB/s each way; a prefill token takes 4 us and more, a step 1 ms and
/// more. The tiny model has 128 B per token and layer, so a page of 16 tokens has 2 KiB a layer.
inline std::string scenario_text(const Setting& setting) {
  const auto role = [](std::string text) {
    const std::string timing =
        "timing: {gpu: h100, mfu: 0.5, prefill_start: 1 ms, step_start: 1 ms}";
    return text.replace(text.find('%'), 1, timing);
  };
  return "name: test\n"
         "cluster:\n"
         "  node_types:\n"
         "    box:\n"
         "      hosts: {count: 1, memory_rate: 100 GB/s, memory: 1 GiB}\n"
         "      gpus: {count: 16, memory: 1 GiB, host_link: {rate: 10 GB/s}}\n"
         "  nodes:\n"
         "    - {type: box}\n"
         "routes:\n"
         "  order: [pcie_p2p]\n"
         "  pcie_p2p: {fixed_cost: 5 us, post_cost: 1 us}\n"
         "model: " +
         setting.model +
         "\n"
         "serving:\n"
         "  chunk_tokens: " +
         std::to_string(setting.chunk_tokens) + "\n  streaming: " + setting.streaming +
         "\n  direction: " + setting.direction + "\n" + setting.more_serving +
         "  prefill: " + role(setting.prefill) + "\n  decode: " + role(setting.decode) + "\n" +
         setting.scheduler;
}

struct Replayed final : ReplayObserver {
  std::string error;  // empty: none
  Scenario scenario;
  std::vector<RequestResult> requests;  // by number
  std::vector<TransferRow> rows;
  std::vector<TransferEnd> ends;
  std::vector<Completion> chunks;  // as they ended, without probes
  ReplayCounters counters;
  std::map<std::pair<InstanceRole, std::uint32_t>, InstanceState> states;  // the last of each
  std::map<std::uint32_t, TimeNs> last_steps;                              // of decode instances

  void request_done(const RequestResult& result, const std::vector<TransferRow>& more) override {
    requests.push_back(result);
    if (result.outcome == RequestOutcome::completed) {
      EXPECT_EQ(result.handover.sum(), result.joined_ns - result.prefill_end_ns);
      for (const TimeNs part : {result.handover.memory_ns, result.handover.step_ns,
                                result.handover.seat_ns, result.prefill_memory_ns})
        EXPECT_GE(part, 0);
      EXPECT_LE(result.prefill_memory_ns, result.prefill_start_ns - result.arrival_ns);
      EXPECT_GE(std::ranges::min(result.handover.transfer.ns), 0);
    }
    rows.insert(rows.end(), more.begin(), more.end());
  }
  void transfer_done(const TransferEnd& end) override {
    ends.push_back(end);
    if (end.outcome != TransferOutcome::delivered) return;
    EXPECT_EQ(end.path.sum(), end.reported_ns - end.submitted_ns);
    EXPECT_GE(std::ranges::min(end.path.ns), 0);
  }
  void chunks_ended(std::span<const Completion> ended) override {
    chunks.insert(chunks.end(), ended.begin(), ended.end());
  }
  void progress(TimeNs, std::uint64_t) override {}
  void decode_step(const DecodeStep& step) override {
    EXPECT_GT(step.sequences, 0u);
    EXPECT_GE(step.began_ns, last_steps[step.instance]) << "one step at a time";
    last_steps[step.instance] = step.ended_ns;
  }
  void instance_changed(const InstanceState& state) override {
    InstanceState& last = states[{state.role, state.instance}];
    EXPECT_GE(state.at_ns, last.at_ns);
    EXPECT_TRUE(state.pages != last.pages || state.waiting != last.waiting);
    last = state;
  }
  /// When all is over every instance has told that it holds nothing any more.
  void expect_idle() const {
    EXPECT_FALSE(states.empty());
    for (const auto& [instance, state] : states)
      EXPECT_TRUE(state.pages == 0 && state.waiting == 0)
          << instance_role_name(state.role) << " " << state.instance << ": " << state.pages
          << " pages, " << state.waiting << " waiting";
  }

  std::uint64_t count(RequestOutcome outcome) const {
    return static_cast<std::uint64_t>(
        std::ranges::count(requests, outcome, &RequestResult::outcome));
  }
  Bytes bytes() const {
    Bytes sum = 0;
    for (const RequestResult& request : requests) sum += request.bytes;
    return sum;
  }
};

/// "arrival_s,input,output,blocks" per line, in kvhaul's format.
inline std::string trace_text(const std::string& rows, std::uint32_t block_tokens = 16) {
  return "# kvhaul trace 1, block " + std::to_string(block_tokens) +
         " tokens\narrival_s,input_tokens,output_tokens,prefix_blocks\n" + rows;
}

/// In virtual time.
inline std::unique_ptr<Replayed> replay(Scenario scenario, const std::string& trace,
                                        bool payload = true, const std::string& faults = {}) {
  auto out = std::make_unique<Replayed>();
  out->scenario = std::move(scenario);
  const Scenario& s = out->scenario;
  const auto failed = [&](const Error& error) {
    out->error = error.message;
    return std::move(out);
  };
  auto reader =
      read_trace(std::make_unique<std::istringstream>(trace), "trace", TraceFormat::kvhaul);
  if (!reader) return failed(reader.error());
  const auto plan = plan_channels(s.cluster, place_pairs(s.serving), s.routes);
  if (!plan) return failed(plan.error());
  std::unique_ptr<Backend> backend = emulated::make_backend({.payload = payload});
  if (!faults.empty()) {
    auto script = parse_fault_file("faults:\n" + faults, "faults", s.cluster);
    if (!script) return failed(script.error());
    const auto fits = fit_faults(*script, "faults", s, plan->requests, never_ns);
    if (!fits) return failed(fits.error());
    backend = faults::make_faulty_backend(std::move(backend), *script);
  }
  const auto numbers = backend->open(s.cluster, plan->requests);
  if (!numbers) return failed(numbers.error());
  Runtime runtime(*backend,
                  make_setups(s.cluster, plan->requests, plan->tiers, *numbers, s.scheduler),
                  nullptr);
  Replay replay(s.serving, **reader, *backend, *out);
  if (const auto ready = replay.prepare(runtime, s.cluster); !ready) return failed(ready.error());
  if (const auto ran = runtime.run(replay); !ran) return failed(ran.error());
  if (const auto error = replay.error()) return failed(*error);
  out->counters = replay.counters();
  std::ranges::sort(out->requests, {}, &RequestResult::request);
  if (out->counters.completed > 0) out->expect_idle();
  return out;
}

inline std::unique_ptr<Replayed> replay(const Setting& setting, const std::string& trace) {
  auto scenario = parse_scenario(scenario_text(setting), "test.yaml");
  if (!scenario) {
    auto out = std::make_unique<Replayed>();
    out->error = scenario.error().message;
    return out;
  }
  return replay(std::move(*scenario), trace, setting.payload, setting.faults);
}

}  // namespace kvhaul::test
