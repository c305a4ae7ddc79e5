// What the verbs backend makes of RDMA rails. Prints one line of "name value" pairs.
//
//   verbs_bench rate|poll NICS CHUNK_KIB DEPTH SECONDS [BUFFERS]
//     One queue pair from the first NIC to the second, DEPTH chunks under way, through the backend
//     contract alone: what ib_write_bw measures with one queue pair and that depth. Processor time
//     is that of this process. rate sleeps until something has happened, as a replay does; poll
//     never sleeps, as perftest and UCX do not. BUFFERS: places that chunks lie in, else DEPTH
//     of them, as the contract wants; 1 is what perftest and UCX write over and over, and fits into
//     caches.
//   verbs_bench rails NICS RAILS MB_PER_S POLICY SECONDS
//     Transfers of 1 MiB through the scheduler, over that many rails with one queue pair each; it
//     is told that each has that rate. NICS: those of one node, then those of the other.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <vector>

#include "backends/verbs/verbs.h"
#include "core/channel_plan.h"
#include "core/runtime.h"
#include "tests/support/setups.h"
#include "tests/verbs/rail_traffic.h"

namespace {

using namespace kvhaul;

[[noreturn]] void fail(const std::string& what, int code) {
  std::fprintf(stderr, "verbs_bench: %s\n", what.c_str());
  std::exit(code);
}
template <class T>
T must(Result<T> result) {
  if (!result) fail(result.error().message, result.error().kind == ErrorKind::missing ? 3 : 1);
  return std::move(*result);
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  for (std::size_t comma; (comma = text.find(',')) != std::string_view::npos;
       text.remove_prefix(comma + 1))
    parts.emplace_back(text.substr(0, comma));
  parts.emplace_back(text);
  return parts;
}

double processor_s() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

void rate(const std::vector<std::string>& nics, Bytes chunk_bytes, std::uint32_t depth,
          double seconds, bool sleeps, std::uint32_t buffers) {
  const Cluster cluster = test::slow_rails(1, 1e9);
  const ChannelPlan plan = test::one_queue_each(cluster);
  const PlaceId source = plan.requests[0].route.source, target = plan.requests[0].route.target;
  verbs::Options options{.nics = nics};
  if (!sleeps) options.awake_for_ns = never_ns;
  const auto backend = verbs::make_backend(options);
  must(backend->open(cluster, plan.requests));
  const SegmentId from = must(backend->register_segment(source, depth * chunk_bytes));
  const SegmentId to = must(backend->register_segment(target, depth * chunk_bytes));

  std::vector<ChunkPost> chunks;
  for (ChunkId i = 0; i < depth; ++i) {
    const Bytes at = i % buffers * chunk_bytes;
    chunks.push_back({.chunk = i,
                      .source_segment = from,
                      .target_segment = to,
                      .bytes = chunk_bytes,
                      .piece_count = 1,
                      .piece = {at, at, chunk_bytes}});
  }
  const double processor_before = processor_s();
  const TimeNs start = backend->now();
  const TimeNs end = start + static_cast<TimeNs>(seconds * s_ns);
  backend->post(0, chunks);
  std::size_t under_way = depth;
  Bytes bytes = 0;
  std::vector<ChunkPost> again;
  BackendEvents events;
  while (under_way != 0) {
    backend->wait(end + 10 * s_ns);
    events.clear();
    backend->progress(events);
    again.clear();
    for (const Completion& completion : events.completions) {
      if (completion.outcome != Outcome::ok)
        fail("a chunk did not land: " + backend->description(), 1);
      bytes += completion.bytes;
      if (completion.done_ns < end)
        again.push_back(chunks[completion.chunk]);
      else
        --under_way;
    }
    if (!again.empty()) backend->post(0, again);
  }
  const double took_s = static_cast<double>(backend->now() - start) / s_ns;
  const double gib = static_cast<double>(bytes) / GiB;
  std::printf("MiB_per_s %.2f MiB %.0f processor_s_per_GiB %.3f\n", gib * 1024 / took_s, gib * 1024,
              (processor_s() - processor_before) / gib);
}

/// Keeps a few transfers open until its time is over, and counts what each rail brought.
class Load final : public RuntimeClient {
 public:
  Load(Runtime& runtime, SegmentId from, SegmentId to, std::uint32_t rails, TimeNs until)
      : bytes_of_rail(rails, 0), runtime_(runtime), from_(from), to_(to), until_(until) {}

  static constexpr Bytes transfer_bytes = 1 * MiB;
  static constexpr std::uint32_t open_transfers = 8;
  std::vector<Bytes> bytes_of_rail;
  TimeNs last_ns = 0;

  TimeNs next_ns() const override { return done_ ? never_ns : next_ns_; }
  void run(TimeNs now) override {
    if (now >= until_) done_ = true;
    for (; !done_ && open_ < open_transfers; ++open_) {
      const Bytes at = count_++ % open_transfers * transfer_bytes;
      const Descriptor piece = {at, at, transfer_bytes};
      TransferRequest request;
      request.source_segment = from_;
      request.target_segment = to_;
      request.descriptors = {&piece, 1};
      runtime_.submit(now, {0, 0}, request);
    }
    next_ns_ = until_;
  }
  void chunks_ended(std::span<const Completion> completions) override {
    for (const Completion& completion : completions) {
      if (completion.outcome != Outcome::ok) continue;
      bytes_of_rail[completion.channel] += completion.bytes;
      last_ns = completion.done_ns;
    }
  }
  void transfer_ended(TimeNs now, const TransferEnd&) override {
    --open_;
    next_ns_ = now;
  }
  void message(TimeNs, const ControlMessage&) override {}
  bool done() const override { return done_; }

 private:
  Runtime& runtime_;
  SegmentId from_, to_;
  TimeNs until_, next_ns_ = 0;
  std::uint32_t open_ = 0;
  std::uint64_t count_ = 0;
  bool done_ = false;
};

void rails(const std::vector<std::string>& nics, std::uint32_t rail_count, double bytes_per_s,
           const std::string& policy, double seconds) {
  const Cluster cluster = test::slow_rails(rail_count, bytes_per_s);
  const ChannelPlan plan = test::one_queue_each(cluster);
  const auto backend = verbs::make_backend({.nics = nics});
  const auto numbers = must(backend->open(cluster, plan.requests));
  const Bytes bytes = Load::open_transfers * Load::transfer_bytes;
  const SegmentId from = must(backend->register_segment(plan.requests[0].route.source, bytes));
  const SegmentId to = must(backend->register_segment(plan.requests[0].route.target, bytes));
  SchedulerConfig config;
  config.policy = policy;
  // The defaults are for links that take a microsecond for a chunk; these take milliseconds.
  config.channel_window_ns = 100 * ms_ns;
  config.rate_time_constant_ns = 200 * ms_ns;
  Runtime runtime(*backend, make_setups(cluster, plan.requests, plan.tiers, numbers, config),
                  nullptr);
  const TimeNs start = backend->now();
  Load load(runtime, from, to, rail_count, start + static_cast<TimeNs>(seconds * s_ns));
  if (auto ran = runtime.run(load); !ran) fail(ran.error().message, 1);
  const double took_s = static_cast<double>(load.last_ns - start) / s_ns;
  Bytes sum = 0;
  for (const Bytes of_rail : load.bytes_of_rail) sum += of_rail;
  std::printf("MiB_per_s %.2f shares", static_cast<double>(sum) / MiB / took_s);
  for (const Bytes of_rail : load.bytes_of_rail)
    std::printf(" %.3f", static_cast<double>(of_rail) / static_cast<double>(sum));
  std::printf(" resent %llu\n",
              static_cast<unsigned long long>(runtime.schedulers()[0].counters().chunks_resent));
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view mode = argc > 1 ? argv[1] : "";
  const bool one_rail = mode == "rate" || mode == "poll";
  if (!(one_rail && (argc == 6 || argc == 7)) && !(mode == "rails" && argc == 7))
    fail(
        "expected rate or poll and NICS CHUNK_KIB DEPTH SECONDS [BUFFERS], or rails NICS RAILS "
        "MB_PER_S "
        "POLICY SECONDS",
        2);
  if (const std::string why = verbs::missing(); !why.empty()) fail(why, 3);
  const std::vector<std::string> nics = split(argv[2]);
  const auto number = static_cast<std::uint32_t>(std::atoi(argv[3]));
  const auto depth = static_cast<std::uint32_t>(std::atoi(argv[4]));
  if (one_rail)
    rate(nics, number * KiB, depth, std::atof(argv[5]), mode == "rate",
         argc == 7 ? static_cast<std::uint32_t>(std::max(1, std::atoi(argv[6]))) : depth);
  else
    rails(nics, number, std::atof(argv[4]) * 1e6, argv[5], std::atof(argv[6]));
  return 0;
}
