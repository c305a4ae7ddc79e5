// What the CUDA backend makes of the roads between the GPUs of one machine, beside bare
// cudaMemcpyPeerAsync loops in the same run. Every figure is the median of the rounds, with the
// least and the most.
//
//   multi_gpu_bench [ROUNDS]
//     Default 5. With one GPU it says what it would measure, and runs the same code between two
//     places in that GPU's memory.
//   multi_gpu_bench steady
//     How steady bare copies through host memory are on this machine right now. No simulation of
//     them can be closer than that.
#include <algorithm>
#include <optional>
#include <string_view>
#include <thread>

#include "backends/cuda/device.h"
#include "backends/cuda/handles.h"
#include "backends/cuda/pinned.h"
#include "bench/gpu_rig.h"

namespace {

using namespace kvhaul;
using namespace kvhaul::bench;

int gpus = 0;          // of this machine
bool one_gpu = false;  // two places in its memory stand for two GPUs
std::vector<int> devices;

struct Way {
  int from = 0, to = 0;
};

std::string gpu_name(int gpu) { return "node0/gpu" + std::to_string(gpu); }
std::string way_name(Way way) {
  return "gpu" + std::to_string(way.from) + " to gpu" + std::to_string(way.to);
}

/// One channel of a kind for each way. Nothing, and the reason on the terminal, where this machine
/// has no such route.
std::unique_ptr<Rig> rig_for(RouteKind kind, std::span<const Way> ways, bool pull = false) {
  const Cluster cluster = test::gpu_cluster(static_cast<std::size_t>(gpus));
  std::vector<ChannelRequest> requests;
  for (const Way way : ways) {
    const auto of_way = test::channel_between(cluster, gpu_name(way.from).c_str(),
                                              gpu_name(way.to).c_str(), kind, pull);
    requests.insert(requests.end(), of_way.begin(), of_way.end());
  }
  for (ChannelRequest& request : requests) request.costs.max_chunk_bytes = segment_bytes;
  const cuda::Options options{.devices = devices};
  const auto probe = cuda::make_backend(options);
  if (const auto opened = probe->open(cluster, requests); !opened) {
    std::printf("  skipped: %s\n", opened.error().message.c_str());
    return nullptr;
  }
  return std::make_unique<Rig>(cluster, std::move(requests), options);
}

/// A millisecond of NVLink 4, as the scenario's channel_window has it.
std::size_t window_of(Bytes chunk_bytes) {
  return std::clamp<std::size_t>(400 * MiB / chunk_bytes, 4, 512);
}
Bytes total_of(Bytes chunk_bytes) {
  return std::clamp<Bytes>(chunk_bytes * 2048, 4 * chunk_bytes, std::max(2 * GiB, 4 * chunk_bytes));
}
std::string size_text(Bytes bytes) {
  return bytes < MiB ? std::to_string(bytes / KiB) + " KiB" : std::to_string(bytes / MiB) + " MiB";
}

/// Loops of plain peer copies, a stream for each way, without any of our code.
class Bare {
 public:
  explicit Bare(std::span<const Way> ways) : loops_(ways.size()) {
    for (std::size_t i = 0; i < ways.size(); ++i) {
      Loop& loop = loops_[i];
      loop.from = device(ways[i].from);
      loop.to = device(ways[i].to);
      must(cudaSetDevice(loop.to), "cudaSetDevice");
      must(cuda::make_device_memory(loop.target, segment_bytes), "cudaMalloc");
      must(cudaSetDevice(loop.from), "cudaSetDevice");
      must(cuda::make_device_memory(loop.source, segment_bytes), "cudaMalloc");
      must(cuda::make_stream(loop.stream), "cudaStreamCreate");
      must(cuda::make_event(loop.begin), "cudaEventCreate");
      must(cuda::make_event(loop.end), "cudaEventCreate");
      must(cuda::enable_peer(loop.from, loop.to));
    }
  }

  /// GB/s of all together.
  double rate(Bytes chunk_bytes, Bytes total) {
    const Clock::time_point start = Clock::now();
    for (Bytes at = 0; at + chunk_bytes <= total; at += chunk_bytes)
      for (Loop& loop : loops_) {
        must(cudaSetDevice(loop.from), "cudaSetDevice");
        must(cudaMemcpyPeerAsync(loop.target.get() + at % segment_bytes, loop.to,
                                 loop.source.get() + at % segment_bytes, loop.from, chunk_bytes,
                                 loop.stream.get()),
             "cudaMemcpyPeerAsync");
      }
    for (Loop& loop : loops_) must(cudaStreamSynchronize(loop.stream.get()), "synchronize");
    const Bytes moved = total / chunk_bytes * chunk_bytes * loops_.size();
    return static_cast<double>(moved) / seconds_since(start) / 1e9;
  }

 private:
  struct Loop {
    int from = 0, to = 0;
    cuda::DeviceMemory source, target;
    cuda::Stream stream;
    cuda::Event begin, end;
  };
  static int device(int gpu) { return devices[static_cast<std::size_t>(gpu)]; }
  std::vector<Loop> loops_;
};

/// In rounds that alternate, so that both meet the same moods of the machine.
std::pair<Spread, Spread> side_by_side(const std::function<double()>& one,
                                       const std::function<double()>& other) {
  std::vector<double> of_one, of_other;
  one();
  other();
  for (int i = 0; i < rounds; ++i) {
    of_one.push_back(one());
    of_other.push_back(other());
  }
  return {spread_of(std::move(of_one)), spread_of(std::move(of_other))};
}

struct Answer {
  std::optional<double> copy_of_bare, load_store_of_copy;
} answer;

void rates_by_size(RouteKind kind, std::span<const Way> ways, const char* title) {
  std::printf("\n%s, %s\n", std::string(route_kind_name(kind)).c_str(), title);
  std::fflush(stdout);
  Bare bare(ways);  // goes last: freeing memory waits for a kernel that stays
  const auto rig = rig_for(kind, ways);
  if (!rig) return;
  double worst = 1e9;
  for (const Bytes size :
       {4 * KiB, 16 * KiB, 64 * KiB, 256 * KiB, 1 * MiB, 4 * MiB, 16 * MiB, 64 * MiB, 512 * MiB}) {
    if (size > rig->max_chunk_bytes()) break;
    const auto chunks = rig->contiguous_on_all(size, total_of(size));
    const auto [ours, plain] = side_by_side([&] { return rig->rate(chunks, window_of(size)); },
                                            [&] { return bare.rate(size, total_of(size)); });
    std::printf("  %-10s %s   bare %s  ratio %.3f\n", size_text(size).c_str(),
                text(ours, "GB/s").c_str(), text(plain, "GB/s").c_str(),
                ours.median / plain.median);
    std::fflush(stdout);
    if (size >= 1 * MiB) worst = std::min(worst, ours.median / plain.median);
  }
  if (kind == RouteKind::nvlink_copy && ways.size() == 1) answer.copy_of_bare = worst;
}

/// 1 MiB chunks of pieces that lie scattered at both ends.
void scattered_rates() {
  constexpr Way way[] = {{0, 1}};
  std::printf("\nscattered at both ends, random order, chunks of 1 MiB, gpu0 to gpu1\n");
  std::vector<Descriptor> pieces;
  std::map<std::pair<RouteKind, Bytes>, double> best;
  for (const RouteKind kind :
       {RouteKind::nvlink_copy, RouteKind::nvlink_load_store, RouteKind::pcie_staged}) {
    const auto rig = rig_for(kind, way);
    if (!rig) continue;
    const std::string name(route_kind_name(kind));
    const auto whole = rig->contiguous(1 * MiB, 1 * GiB);
    const Spread contiguous = measure([&] { return rig->rate(whole, 64); });
    row(name + ", contiguous", contiguous, "GB/s");
    best[{kind, 0}] = contiguous.median;
    for (const Bytes piece : {4 * KiB, 16 * KiB, 64 * KiB})
      for (const Gather gather : {Gather::each, Gather::batch, Gather::through, Gather::pack}) {
        const bool staged = kind == RouteKind::pcie_staged;
        if (kind == RouteKind::nvlink_load_store && gather != Gather::through) continue;
        if (kind == RouteKind::nvlink_copy && gather == Gather::pack) continue;
        const Bytes total = gather == Gather::each ? 32 * MiB : 256 * MiB;
        const auto chunks = rig->scattered(piece, 1 * MiB, total, gather, pieces);
        rig->fill();
        const Spread rate = measure([&] { return rig->rate(chunks, staged ? 16 : 64); });
        row(name + ", " + size_text(piece) + " pieces, " + std::string(gather_name(gather)), rate,
            "GB/s", contiguous.median);
        if (!rig->right(std::span(pieces).first(std::min<std::size_t>(pieces.size(), 500))))
          must(cudaErrorUnknown, "wrong bytes");
        double& most = best[{kind, piece}];
        if (gather == Gather::each || gather == Gather::batch || kind != RouteKind::nvlink_copy)
          most = std::max(most, rate.median);
      }
  }
  const double load_store = best[{RouteKind::nvlink_load_store, 16 * KiB}];
  const double copy = best[{RouteKind::nvlink_copy, 16 * KiB}];
  if (load_store > 0 && copy > 0) answer.load_store_of_copy = load_store / copy;
  if (load_store > 0)
    std::printf(
        "  load/store of 16 KiB pieces: %.3f of the copy engine's, %.3f of the copy engine's "
        "contiguous chunks\n",
        load_store / copy, load_store / best[{RouteKind::nvlink_copy, 0}]);
}

/// Every pair, one way at a time: rate and its share of a bare loop.
void all_pairs() {
  std::printf("\nall pairs, nvlink_copy, chunks of 16 MiB, one way at a time\n");
  for (int from = 0; from < gpus; ++from)
    for (int to = 0; to < gpus; ++to) {
      if (from == to) continue;
      const Way way[] = {{from, to}};
      Bare bare(way);
      const auto rig = rig_for(RouteKind::nvlink_copy, way);
      if (!rig) return;
      const auto chunks = rig->contiguous_on_all(16 * MiB, 2 * GiB);
      const auto [ours, plain] = side_by_side([&] { return rig->rate(chunks, 8); },
                                              [&] { return bare.rate(16 * MiB, 2 * GiB); });
      row(way_name(way[0]), ours, "GB/s", plain.median);
    }
}

void many_ways(const char* title, std::span<const Way> ways, bool pull) {
  for (const RouteKind kind : {RouteKind::nvlink_copy, RouteKind::nvlink_load_store}) {
    std::printf("\n%s, %s, chunks of 16 MiB\n", std::string(route_kind_name(kind)).c_str(), title);
    const auto rig = rig_for(kind, ways, pull);
    if (!rig) continue;
    const auto chunks = rig->contiguous_on_all(16 * MiB, 2 * GiB);
    row("all together", measure([&] { return rig->rate(chunks, 8); }), "GB/s");
  }
}

/// Copies of a prompt's size to host memory and on to a GPU of the other half, with rests in
/// between as a serving process has them: how far single ones are from the median of all.
void steadiness() {
  using namespace std::chrono_literals;
  constexpr Bytes bytes = 256 * MiB;
  constexpr int copies = 200;
  const int from = devices[0], to = devices[devices.size() / 2];
  const int numa_node = must(cuda::find_devices())[static_cast<std::size_t>(from)].numa_node;
  cuda::DeviceMemory source, target;
  must(cudaSetDevice(to), "cudaSetDevice");
  must(cuda::make_device_memory(target, bytes), "cudaMalloc");
  must(cudaSetDevice(from), "cudaSetDevice");
  must(cuda::make_device_memory(source, bytes), "cudaMalloc");
  const cuda::Pinned host = must(cuda::make_pinned(bytes, numa_node));
  std::vector<double> took_s;
  for (int i = -1; i < copies; ++i) {  // the first one warms
    std::this_thread::sleep_for(20ms);
    const Clock::time_point start = Clock::now();
    must(cudaMemcpy(host.get(), source.get(), bytes, cudaMemcpyDeviceToHost), "cudaMemcpy");
    must(cudaMemcpy(target.get(), host.get(), bytes, cudaMemcpyHostToDevice), "cudaMemcpy");
    if (i >= 0) took_s.push_back(seconds_since(start));
  }
  std::sort(took_s.begin(), took_s.end());
  const double median = took_s[copies / 2];
  std::vector<double> off;
  for (const double s : took_s) off.push_back(std::abs(s / median - 1) * 100);
  std::sort(off.begin(), off.end());
  std::printf("%.2f ms for 256 MiB, off by median %.1f%%, p95 %.1f%%, most %.1f%%\n", median * 1e3,
              off[copies / 2], off[copies * 95 / 100], off.back());
}

}  // namespace

int main(int argc, char** argv) {
  const bool steady = argc > 1 && std::string_view(argv[1]) == "steady";
  rounds = argc > 1 && !steady ? std::max(1, std::atoi(argv[1])) : 5;
  if (const std::string why = cuda::missing(); !why.empty()) {
    std::fprintf(stderr, "multi_gpu_bench: %s\n", why.c_str());
    return 3;
  }
  gpus = cuda::device_count();
  for (int i = 0; i < gpus; ++i) devices.push_back(i);
  if (steady) {
    if (gpus == 1) devices = {0, 0};
    steadiness();
    return 0;
  }
  std::printf("%d x %s, median of %d rounds (least to most)\n", gpus,
              must(cuda::find_devices())[0].name.c_str(), rounds);
  one_gpu = gpus == 1;
  if (one_gpu) {
    std::printf(
        "one GPU: two are needed for roads between GPUs; two places in its memory stand for "
        "them, which shows that the code runs and nothing about NVLink\n");
    gpus = 2;
    devices = {0, 0};
  }
  constexpr Way there[] = {{0, 1}}, both[] = {{0, 1}, {1, 0}};
  for (const RouteKind kind : {RouteKind::nvlink_copy, RouteKind::nvlink_load_store,
                               RouteKind::pcie_p2p, RouteKind::pcie_staged}) {
    rates_by_size(kind, there, "gpu0 to gpu1");
    rates_by_size(kind, both, "both ways at once, sum");
  }
  scattered_rates();
  if (gpus > 2) {
    all_pairs();
    std::vector<Way> incast, everywhere;
    for (int from = 0; from < gpus; ++from)
      for (int to = 0; to < gpus; ++to) {
        if (from == to) continue;
        everywhere.push_back({from, to});
        if (to == 0) incast.push_back({from, to});
      }
    many_ways("all others to gpu0, they write", incast, false);
    many_ways("all others to gpu0, it reads", incast, true);
    many_ways("everybody to everybody", everywhere, false);
  } else {
    std::printf("\nall pairs, incast and all-to-all: skipped, three GPUs or more are needed\n");
  }
  std::printf("\n== in short\n");
  const auto line = [](const char* what, std::optional<double> is, double aim) {
    if (is)
      std::printf("  %-66s %.3f (aim %.2f)%s\n", what, *is, aim, one_gpu ? " one GPU" : "");
    else
      std::printf("  %-66s not measured here\n", what);
  };
  line("nvlink_copy of bare peer copies, worst size from 1 MiB up", answer.copy_of_bare, 0.97);
  line("load/store of copy engine, 16 KiB pieces in chunks of 1 MiB", answer.load_store_of_copy,
       0.9);
  return 0;
}
