// What the verbs backend makes of RDMA rails. Prints one line of "name value" pairs.
//
//   verbs_bench rate NICS CHUNK_KIB DEPTH SECONDS
//     One queue pair from the first NIC to the second, DEPTH chunks under way, through the backend
//     contract alone: what ib_write_bw measures with one queue pair and that depth. The clocks of
//     the processor are this process's.
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
#include "tests/support/setups.h"

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
          double seconds) {
  const Cluster cluster = test::rail_cluster(2, 1);
  const PlaceId source = *cluster.find_place("node0/gpu0");
  const PlaceId target = *cluster.find_place("node1/gpu0");
  const std::vector<std::pair<PlaceId, PlaceId>> pair = {{source, target}};
  RoutePlan rdma;
  rdma.order = {RouteKind::rdma};
  const ChannelPlan plan = must(plan_channels(cluster, pair, rdma));
  const auto backend = verbs::make_backend({.nics = nics});
  must(backend->open(cluster, plan.requests));
  const SegmentId from = must(backend->register_segment(source, depth * chunk_bytes));
  const SegmentId to = must(backend->register_segment(target, depth * chunk_bytes));

  std::vector<ChunkPost> chunks;
  for (ChunkId i = 0; i < depth; ++i)
    chunks.push_back({.chunk = i,
                      .source_segment = from,
                      .target_segment = to,
                      .bytes = chunk_bytes,
                      .piece_count = 1,
                      .piece = {i * chunk_bytes, i * chunk_bytes, chunk_bytes}});
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
  std::printf("MiB_per_s %.2f processor_s_per_GiB %.3f\n", gib * 1024 / took_s,
              (processor_s() - processor_before) / gib);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6 || std::string_view(argv[1]) != "rate")
    fail("expected rate NICS CHUNK_KIB DEPTH SECONDS", 2);
  if (const std::string why = verbs::missing(); !why.empty()) fail(why, 3);
  rate(split(argv[2]), std::strtoull(argv[3], nullptr, 10) * KiB,
       static_cast<std::uint32_t>(std::atoi(argv[4])), std::atof(argv[5]));
  return 0;
}
