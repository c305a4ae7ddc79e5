// The emulated backend in real time, not throttled, beside a plain memcpy loop over buffers of the
// same kind: what posting, waking a worker and collecting completions cost.
//
//   bytes_per_second   both sides with one copying thread
#include <cstring>
#include <vector>

#include <benchmark/benchmark.h>

#include "backends/modelled/buffer.h"
#include "backends/emulated/emulated.h"
#include "core/route.h"

namespace kvhaul {
namespace {

constexpr Bytes buffer_bytes = 256 * MiB;  // well beyond the caches
constexpr std::size_t window = 16;         // chunks in flight

void memcpy_loop(benchmark::State& state) {
  const auto chunk = static_cast<Bytes>(state.range(0));
  const modelled::Buffer from = modelled::make_buffer(buffer_bytes);
  const modelled::Buffer to = modelled::make_buffer(buffer_bytes);
  if (!from || !to) return state.SkipWithError("not enough memory");
  std::memset(from.get(), 1, buffer_bytes);
  std::memset(to.get(), 2, buffer_bytes);
  Bytes at = 0;
  for (auto _ : state) {
    std::memcpy(to.get() + at, from.get() + at, chunk);
    benchmark::ClobberMemory();
    at = at + 2 * chunk <= buffer_bytes ? at + chunk : 0;
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * chunk));
}

/// One computer with two GPUs, as the laptop scenario.
Cluster two_gpus() {
  NodeSpec node;
  node.hosts = {{20e9, GiB}};
  for (int i = 0; i < 2; ++i) {
    NodeSpec::Gpu gpu;
    gpu.memory_bytes = GiB;
    gpu.host_link = {10e9, 10e9, 0};
    node.gpus.push_back(gpu);
  }
  ClusterSpec spec;
  spec.nodes.push_back({node, 0, false});
  return *build_cluster(spec);
}

void emulated_backend(benchmark::State& state) {
  const auto chunk = static_cast<Bytes>(state.range(0));
  const Cluster cluster = two_gpus();
  const PlaceId source = *cluster.find_place("node0/gpu0");
  const PlaceId target = *cluster.find_place("node0/gpu1");
  ChannelRequest request;
  for (const Route& route : find_routes(cluster, source, target))
    if (route.usable) request.route = route;
  const auto backend = emulated::make_backend({.real_time = true, .workers = 1});
  const auto numbers = backend->open(cluster, {&request, 1});
  const auto from = backend->register_segment(source, buffer_bytes);
  const auto to = backend->register_segment(target, buffer_bytes);
  if (!numbers || !from || !to) return state.SkipWithError("the backend did not open");
  backend->fill(*from, 0, buffer_bytes, 1);

  ChunkPost post;
  post.source_segment = *from;
  post.target_segment = *to;
  post.bytes = chunk;
  post.piece_count = 1;
  Bytes at = 0;
  std::size_t in_flight = 0;
  BackendEvents events;
  const auto collect = [&](std::size_t until) {
    while (in_flight > until) {
      events.clear();
      backend->progress(events);
      in_flight -= events.completions.size();
      if (events.completions.empty()) backend->wait(never_ns);
    }
  };
  for (auto _ : state) {
    ++post.chunk;
    post.piece = {at, at, chunk};
    backend->post(0, {&post, 1});
    ++in_flight;
    at = at + 2 * chunk <= buffer_bytes ? at + chunk : 0;
    if (in_flight == window) collect(window / 2);
  }
  collect(0);
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * chunk));
}

BENCHMARK(memcpy_loop)->RangeMultiplier(8)->Range(64 << 10, 4 << 20)->UseRealTime();
BENCHMARK(emulated_backend)->RangeMultiplier(8)->Range(64 << 10, 4 << 20)->UseRealTime();

}  // namespace
}  // namespace kvhaul

BENCHMARK_MAIN();
