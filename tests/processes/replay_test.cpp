// One replay made by four processes (threads here): nodes 0 and 1 prefill, 2 and 3 decode.
#include "serving/replay.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "backends/faults/faulty_backend.h"
#include "core/channel_plan.h"
#include "core/event_log.h"
#include "processes/tcp_exchange.h"
#include "scenarios/scenario.h"
#include "serving/gather.h"
#include "serving/observations.h"
#include "tests/support/own_folder.h"
#include "tests/support/thread_backend.h"

namespace kvhaul {
namespace {

constexpr std::uint32_t process_count = 4;
constexpr std::uint32_t request_count = 24;

// 128 B per token and layer; a page of 16 tokens has 2 KiB a layer.
std::string scenario_text(const std::string& direction, const std::string& streaming,
                          const std::string& stall) {
  const std::string role = ", kv_memory: 1 MiB, timing: {gpu: h100, mfu: 0.5}}\n";
  return "name: test\n"
         "cluster:\n"
         "  node_types:\n"
         "    box:\n"
         "      hosts: {count: 1, memory_rate: 100 GB/s}\n"
         "      gpus: {count: 1, memory: 1 GiB, host_link: {rate: 10 GB/s}}\n"
         "      nics: {count: 1, pcie: {rate: 10 GB/s}, wire: {rate: 1 GB/s}}\n"
         "  nodes: [{type: box, count: 4}]\n"
         "routes: {order: [rdma], rdma: {fixed_cost: 5 us, post_cost: 1 us}}\n"
         "model: {name: tiny, layers: 4, query_heads: 4, kv_heads: 4, head_dim: 8,"
         " active_parameters: 1e9}\n"
         "scheduler: {stall_timeout: " +
         stall +
         "}\n"
         "serving:\n  chunk_tokens: 64\n  streaming: " +
         streaming + "\n  direction: " + direction + "\n  prefill: {nodes: [node0, node1]" + role +
         "  decode: {nodes: [node2, node3]" + role;
}

/// A request every 5 ms, of 100 to 400 tokens.
std::string trace_text() {
  std::string text =
      "# kvhaul trace 1, block 0 tokens\narrival_s,input_tokens,output_tokens,prefix_blocks\n";
  for (std::uint32_t i = 0; i < request_count; ++i)
    text += std::to_string(0.005 * i) + "," + std::to_string(100 + 37 * i % 300) + "," +
            std::to_string(1 + i % 9) + ",\n";
  return text;
}

struct Seen final : ReplayObserver {
  std::map<std::uint64_t, RequestResult> requests;
  std::vector<TransferRow> rows;
  std::vector<TransferEnd> ends;
  Bytes landed = 0;
  TimeNs last_ns = 0;

  void request_done(const RequestResult& result, const std::vector<TransferRow>& more) override {
    EXPECT_TRUE(requests.emplace(result.request, result).second) << "told twice";
    rows.insert(rows.end(), more.begin(), more.end());
  }
  void transfer_done(const TransferEnd& end) override { ends.push_back(end); }
  void chunks_ended(std::span<const Completion> completions) override {
    for (const Completion& chunk : completions) {
      if (chunk.outcome == Outcome::ok) landed += chunk.bytes;
      EXPECT_GE(chunk.done_ns, last_ns) << "in the order of time";
      last_ns = chunk.done_ns;
    }
  }
  void progress(TimeNs, std::uint64_t) override {}
};

/// A process that dies when this many of its messages have come. `hear` is told of each before.
class Mortal final : public RuntimeClient {
 public:
  using Hear = std::function<void(const ControlMessage&)>;
  Mortal(Replay& replay, std::uint64_t messages, Hear hear)
      : replay_(replay), left_(messages), hear_(std::move(hear)) {}
  TimeNs next_ns() const override { return replay_.next_ns(); }
  void run(TimeNs now) override {
    if (left_ != 0) replay_.run(now);
  }
  void chunks_ended(std::span<const Completion> completions) override {
    replay_.chunks_ended(completions);
  }
  void transfer_ended(TimeNs now, const TransferEnd& end) override {
    replay_.transfer_ended(now, end);
  }
  void message(TimeNs now, const ControlMessage& message) override {
    if (left_ == 0) return;
    hear_(message);
    replay_.message(now, message);
    --left_;
  }
  void node_lost(TimeNs now, NodeId node) override { replay_.node_lost(now, node); }
  bool done() const override { return left_ == 0 || replay_.done(); }

 private:
  Replay& replay_;
  std::uint64_t left_;
  Hear hear_;
};

struct Options {
  std::string direction = "push";
  std::string streaming = "chunk_layer";
  std::uint64_t damaged_chunk = 0;
  std::uint32_t mortal = no_id;  // this process dies
  std::uint64_t after_messages = 0;
  // These two lose each other when so many messages of the second have come to the first.
  std::uint32_t parted = no_id, parted_from = no_id;
  std::string dead = {};  // the channels of this node are down from the beginning; nobody says why
  std::string stall = "200 ms";
};

struct Whole {
  Seen seen;
  ReplayCounters counters;
  std::vector<std::uint32_t> lost;
  std::vector<std::uint8_t> log;
  std::vector<std::string> verdicts = std::vector<std::string>(process_count);
  std::vector<std::string> errors = std::vector<std::string>(process_count);
};

/// What every process does, as the program does it.
void process(std::uint32_t rank, const Options& options, test::ThreadMachine& machine,
             const std::string& meeting, Whole& whole) {
  const auto fail = [&](const Error& error) { whole.errors[rank] = error.message; };
  TcpMeeting how;
  how.rendezvous = meeting;
  how.version = "test";
  how.rank = rank;
  how.ranks = process_count;
  how.answer_within_ns = 20 * s_ns;
  auto exchange = meet_over_tcp(how);
  if (!exchange) return fail(exchange.error());
  auto scenario = parse_scenario(scenario_text(options.direction, options.streaming, options.stall),
                                 "test.yaml");
  if (!scenario) return fail(scenario.error());
  auto trace =
      read_trace(std::make_unique<std::istringstream>(trace_text()), "trace", TraceFormat::kvhaul);
  if (!trace) return fail(trace.error());
  std::unique_ptr<Backend> made = std::make_unique<test::ThreadBackend>(machine, rank);
  if (!options.dead.empty()) {
    faults::Fault down;
    down.kind = faults::FaultKind::down;
    down.where = options.dead;
    made = faults::make_faulty_backend(std::move(made), {1, {down}});
  }
  Backend& backend = *made;
  const auto plan =
      plan_channels(scenario->cluster, place_pairs(scenario->serving), scenario->routes);
  if (!plan) return fail(plan.error());
  const auto numbers = backend.open(scenario->cluster, plan->requests);
  auto setups =
      make_setups(scenario->cluster, plan->requests, plan->tiers, *numbers, scenario->scheduler);
  std::erase_if(setups, [&](const SchedulerSetup& setup) { return !backend.drives(setup.node); });
  auto observations = Spool::create();
  auto log_spool = Spool::create();
  std::unique_ptr<EventLogWriter> log;  // in pull the prefill nodes have no scheduler
  if (!setups.empty())
    log = std::make_unique<EventLogWriter>(setups, [&](std::span<const std::uint8_t> bytes) {
      return log_spool->write({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    });
  ObservationWriter observer(*observations, rank == 0 ? &whole.seen : nullptr);
  Runtime runtime(backend, std::move(setups), log.get());
  Replay replay(scenario->serving, **trace, backend, observer);
  if (auto ok = replay.prepare(runtime, scenario->cluster); !ok) return fail(ok.error());
  if (auto all = all_gather(**exchange, ""); !all) return fail(all.error());
  std::uint64_t heard = 0;
  const auto hear = [&](const ControlMessage& message) {
    if (rank == options.parted && message.from == options.parted_from &&
        ++heard == options.after_messages)
      machine.part(rank, options.parted_from);  // node and process have one number
  };
  Mortal client(replay, rank == options.mortal ? options.after_messages : ~std::uint64_t{0}, hear);
  if (auto ran = runtime.run(client); !ran) return fail(ran.error());
  if (rank == options.mortal) return machine.leave(rank);
  if (const auto error = replay.error()) return fail(*error);
  observer.close();
  if (log) {
    EXPECT_TRUE(log->close());
  }
  const auto now = [&] { return backend.now(); };
  ProcessReport report{replay.counters(),
                       counters_of(runtime.schedulers()),
                       "threads",
                       "here",
                       {{7 + rank, rank == 2}, {0, 0}}};
  if (rank != 0) {
    auto verdict = answer_questions(**exchange, report, now, *observations, &*log_spool);
    if (!verdict) return fail(verdict.error());
    whole.verdicts[rank] = *verdict;
    return;
  }
  whole.counters = report.counters;
  const auto take_log = [&](const std::function<Result<std::string>()>& read) {
    while (true) {
      const auto bytes = read();
      ASSERT_TRUE(bytes);
      if (bytes->empty()) return;
      whole.log.insert(whole.log.end(), bytes->begin(), bytes->end());
    }
  };
  take_log([&] { return log_spool->read(); });
  std::vector<ObservationSource> sources = {[&] { return observations->read(); }};
  for (std::uint32_t other = 1; other < process_count; ++other) {
    Questions questions(**exchange, other);
    auto theirs = questions.report();
    if (!theirs) {
      whole.lost.push_back(other);
      continue;
    }
    EXPECT_EQ(theirs->host, "here");
    ASSERT_EQ(theirs->faults.size(), 2u);
    EXPECT_EQ(theirs->faults[0].chunks, 7 + other);
    EXPECT_EQ(theirs->faults[0].met_traffic, other == 2 ? 1u : 0u);
    add(report.faults, theirs->faults);
    EXPECT_GE(report.faults[0].chunks, 7u + 7u + other);
    add(whole.counters, theirs->counters);
    const auto clock = questions.clock(now);
    ASSERT_TRUE(clock);
    // One clock: the offset is nothing, as far as can be told.
    EXPECT_LE(std::abs(clock->offset_ns), clock->uncertain_ns);
    sources.push_back([&exchange, other] { return Questions(**exchange, other).observations(); });
    take_log([&] { return questions.log(); });
  }
  EXPECT_TRUE(merge_observations(sources, plan->requests.size(), whole.seen).empty());
  for (std::uint32_t other = 1; other < process_count; ++other)
    if (std::find(whole.lost.begin(), whole.lost.end(), other) == whole.lost.end()) {
      EXPECT_TRUE(Questions(**exchange, other).end("well done"));
    }
}

std::unique_ptr<Whole> replay(const Options& options) {
  auto whole = std::make_unique<Whole>();
  test::ThreadMachine machine({0, 1, 2, 3});
  machine.damaged_chunk = options.damaged_chunk;
  const test::OwnFolder folder;
  const std::string meeting = folder.file("meet");
  std::vector<std::thread> threads;
  for (std::uint32_t rank = 0; rank < process_count; ++rank)
    threads.emplace_back(process, rank, std::cref(options), std::ref(machine), std::cref(meeting),
                         std::ref(*whole));
  for (std::thread& thread : threads) thread.join();
  return whole;
}

/// Every request with its bytes: input tokens, whole pages of 16, x 128 B x 4 layers.
void expect_all(const Whole& whole) {
  for (const std::string& error : whole.errors) EXPECT_EQ(error, "");
  ASSERT_EQ(whole.seen.requests.size(), request_count);
  Bytes sum = 0;
  for (const auto& [number, request] : whole.seen.requests) {
    EXPECT_EQ(request.outcome, RequestOutcome::completed) << number;
    EXPECT_EQ(request.bytes, Bytes{(request.input_tokens + 15) / 16} * 16 * 128 * 4);
    EXPECT_LE(request.arrival_ns, request.prefill_start_ns);
    EXPECT_LT(request.prefill_start_ns, request.prefill_end_ns);
    EXPECT_LE(request.prefill_end_ns, request.landed_ns);
    EXPECT_LE(request.landed_ns, request.finished_ns);
    sum += request.bytes;
  }
  Bytes rows = 0;
  for (const TransferRow& row : whole.seen.rows) rows += row.bytes;
  EXPECT_GE(rows, sum);  // what was damaged is in the rows twice
  EXPECT_EQ(whole.counters.requests, request_count);
  EXPECT_EQ(whole.counters.completed, request_count);
  EXPECT_EQ(whole.counters.checked_transfers,
            std::count_if(whole.seen.ends.begin(), whole.seen.ends.end(), [](const auto& end) {
              return end.outcome == TransferOutcome::delivered;
            }));
  for (std::uint32_t rank = 1; rank < process_count; ++rank)
    EXPECT_EQ(whole.verdicts[rank], "well done");
  const auto verified = verify_log(whole.log, "log");
  ASSERT_TRUE(verified) << verified.error().message;
  EXPECT_TRUE(verified->identical) << verified->first_difference;
  EXPECT_EQ(verified->transfers, whole.seen.ends.size());
}

TEST(ReplayOfProcesses, EveryModeIsWhole) {
  for (const std::string direction : {"push", "pull"})
    for (const std::string streaming : {"request", "chunk", "layer", "chunk_layer"}) {
      SCOPED_TRACE(direction + " " + streaming);
      const auto whole = replay({.direction = direction, .streaming = streaming});
      expect_all(*whole);
      EXPECT_EQ(whole->counters.damaged_transfers, 0u);
      Bytes sum = 0;
      for (const auto& [number, request] : whole->seen.requests) sum += request.bytes;
      EXPECT_EQ(whole->seen.landed, sum);
      // Both instances of either side had something to do.
      std::set<std::uint32_t> prefill, decode;
      for (const auto& [number, request] : whole->seen.requests) {
        prefill.insert(request.prefill_instance);
        decode.insert(request.decode_instance);
      }
      EXPECT_EQ(decode.size(), 2u);
      EXPECT_GE(prefill.size(), 1u);
    }
}

TEST(ReplayOfProcesses, DamageIsFoundAtTheOtherEndAndMadeGood) {
  for (const std::string direction : {"push", "pull"}) {
    SCOPED_TRACE(direction);
    const auto whole = replay({.direction = direction, .damaged_chunk = 7});
    for (const std::string& error : whole->errors) EXPECT_EQ(error, "");
    EXPECT_EQ(whole->counters.damaged_transfers, 1u);
    EXPECT_EQ(whole->counters.completed, request_count);
    std::uint32_t damaged = 0;
    for (const TransferRow& row : whole->seen.rows) damaged += row.damaged;
    EXPECT_EQ(damaged, 1u);
  }
}

/// The others end, every request is accounted for once, and what the lost one had is prefilled
/// again without it.
TEST(ReplayOfProcesses, TheOthersOutliveALostProcess) {
  for (const std::string direction : {"push", "pull"})
    for (const std::uint32_t mortal : {1u, 3u}) {
      SCOPED_TRACE(direction + ", process " + std::to_string(mortal));
      const auto whole = replay({.direction = direction, .mortal = mortal, .after_messages = 6});
      for (const std::string& error : whole->errors) EXPECT_EQ(error, "");
      EXPECT_EQ(whole->lost, std::vector<std::uint32_t>{mortal});
      ASSERT_EQ(whole->seen.requests.size(), request_count);
      std::uint64_t again = 0;
      for (const auto& [number, request] : whole->seen.requests) {
        EXPECT_GE(request.prefill_start_ns, request.arrival_ns);
        EXPECT_GE(request.prefill_end_ns, request.prefill_start_ns);
        EXPECT_GE(request.landed_ns, request.prefill_end_ns);
        EXPECT_EQ(request.outcome, RequestOutcome::completed) << number;
        if (request.retries == 0) continue;
        ++again;
        EXPECT_EQ(mortal == 1 ? request.prefill_instance : request.decode_instance, 0u);
      }
      EXPECT_GT(again, 0u);
      EXPECT_EQ(whole->counters.retried, again);
      EXPECT_EQ(whole->counters.transfer_failed, 0u);
      EXPECT_EQ(whole->counters.completed, request_count);
      const auto verified = verify_log(whole->log, "log");
      ASSERT_TRUE(verified) << verified.error().message;
      EXPECT_TRUE(verified->identical) << verified->first_difference;
    }
}

/// Both reach the front still: nobody is lost, and what was between the two is prefilled again for
/// another pair.
TEST(ReplayOfProcesses, TwoThatLoseEachOtherHoldUpNobody) {
  for (const std::string direction : {"push", "pull"})
    for (const auto& [parted, from] : {std::pair{1u, 3u}, {3u, 1u}})
      for (const std::uint64_t messages : {1, 4}) {
        SCOPED_TRACE(direction + ", process " + std::to_string(parted) + ", message " +
                     std::to_string(messages));
        const auto whole = replay({.direction = direction,
                                   .after_messages = messages,
                                   .parted = parted,
                                   .parted_from = from});
        for (const std::string& error : whole->errors) EXPECT_EQ(error, "");
        EXPECT_TRUE(whole->lost.empty());
        ASSERT_EQ(whole->seen.requests.size(), request_count);
        std::uint64_t again = 0;
        for (const auto& [number, request] : whole->seen.requests) {
          EXPECT_EQ(request.outcome, RequestOutcome::completed) << number;
          if (request.retries == 0) continue;
          ++again;
          EXPECT_FALSE(request.prefill_instance == 1 && request.decode_instance == 1);
        }
        EXPECT_GT(again, 0u);
        EXPECT_EQ(whole->counters.retried, again);
        EXPECT_EQ(whole->counters.completed, request_count);
      }
}

/// Processes and messages live, but no KV gets to a node, or from it. Whoever posts says so to the
/// front, and what was given to the node before is prefilled again without it.
TEST(ReplayOfProcesses, ANodeWithoutChannelsIsGoneAround) {
  for (const std::string direction : {"push", "pull"})
    for (const std::string dead : {"node1", "node3"}) {
      SCOPED_TRACE(direction + ", " + dead);
      const auto whole = replay({.direction = direction, .dead = dead});
      expect_all(*whole);
      std::uint64_t again = 0;
      for (const auto& [number, request] : whole->seen.requests) {
        EXPECT_EQ(dead == "node1" ? request.prefill_instance : request.decode_instance, 0u);
        again += request.retries != 0 ? 1 : 0;
      }
      EXPECT_GT(again, 0u);
      EXPECT_EQ(whole->counters.retried, again);
    }
}

/// What is under way to whatever is gone is cancelled: nobody waits for the stall timeout, which is
/// longer here than a test may take.
TEST(ReplayOfProcesses, WhatIsGoneHoldsUpNothing) {
  for (const std::string direction : {"push", "pull"})
    for (const std::uint32_t gone : {1u, 3u})
      for (const bool dies : {false, true}) {
        SCOPED_TRACE(direction + ", node" + std::to_string(gone) + (dies ? ", dies" : ""));
        Options options{.direction = direction, .stall = "3600 s"};
        if (dies) {
          options.mortal = gone;
          options.after_messages = 6;
        } else {
          options.dead = "node" + std::to_string(gone);
        }
        const auto whole = replay(options);
        ASSERT_EQ(whole->seen.requests.size(), request_count);
        for (const auto& [number, request] : whole->seen.requests)
          EXPECT_EQ(request.outcome, RequestOutcome::completed) << number;
        EXPECT_GT(whole->counters.retried, 0u);
        const auto verified = verify_log(whole->log, "log");
        ASSERT_TRUE(verified) << verified.error().message;
        EXPECT_TRUE(verified->identical) << verified->first_difference;
      }
}

TEST(ReplayOfProcesses, WithoutTheFrontTheOthersEndWithAnError) {
  const auto whole = replay({.mortal = 0, .after_messages = 9});
  for (std::uint32_t rank = 1; rank < process_count; ++rank)
    EXPECT_EQ(whole->errors[rank], "the process that leads the run is gone");
}

}  // namespace
}  // namespace kvhaul
