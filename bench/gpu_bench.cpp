// What the CUDA backend makes of a GPU's links, beside what bare CUDA calls make of them in the
// same run. Prints tables; every figure is the median of the rounds, with the least and the most.
//
//   gpu_bench [ROUNDS]      default 7. Needs one GPU; two places lie in its memory.
#include <ctime>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "backends/cuda/device.h"
#include "backends/cuda/handles.h"
#include "backends/cuda/peer_memory.h"
#include "backends/cuda/pinned.h"
#include "bench/gpu_rig.h"

namespace {

using namespace kvhaul;
using namespace kvhaul::bench;

/// One channel between two places; both GPUs are device 0.
Rig rig_between(const char* source, const char* target, RouteKind kind,
                cuda::Options options = {}) {
  options.devices = {0, 0};
  const Cluster cluster = test::two_gpu_cluster();
  return {cluster, test::channel_between(cluster, source, target, kind), options};
}

/// Plain copies between pinned host and device memory, without any of our code.
struct Bare {
  cuda::Stream down, up;
  cuda::Pinned host_a, host_b;
  cuda::DeviceMemory device_a, device_b;

  Bare() {
    must(cuda::make_stream(down), "cudaStreamCreate");
    must(cuda::make_stream(up), "cudaStreamCreate");
    const int node = must(cuda::find_devices())[0].numa_node;
    host_a = must(cuda::make_pinned(segment_bytes, node));
    host_b = must(cuda::make_pinned(segment_bytes, node));
    must(cuda::make_device_memory(device_a, segment_bytes), "cudaMalloc");
    must(cuda::make_device_memory(device_b, segment_bytes), "cudaMalloc");
  }
  double copies(bool with_down, bool with_up) {
    constexpr int times = 4;
    const Clock::time_point start = Clock::now();
    for (int i = 0; i < times; ++i) {
      if (with_down)
        must(cudaMemcpyAsync(host_a.get(), device_a.get(), segment_bytes, cudaMemcpyDefault,
                             down.get()),
             "cudaMemcpyAsync");
      if (with_up)
        must(cudaMemcpyAsync(device_b.get(), host_b.get(), segment_bytes, cudaMemcpyDefault,
                             up.get()),
             "cudaMemcpyAsync");
    }
    must(cudaStreamSynchronize(down.get()), "cudaStreamSynchronize");
    must(cudaStreamSynchronize(up.get()), "cudaStreamSynchronize");
    return times * static_cast<double>(segment_bytes) / seconds_since(start) / 1e9;
  }
  double device_to_device(Bytes bytes, int times) {
    const Clock::time_point start = Clock::now();
    for (int i = 0; i < times; ++i)
      must(cudaMemcpyAsync(device_b.get(), device_a.get(), bytes, cudaMemcpyDefault, down.get()),
           "cudaMemcpyAsync");
    must(cudaStreamSynchronize(down.get()), "cudaStreamSynchronize");
    return times * static_cast<double>(bytes) / seconds_since(start) / 1e9;
  }
};

void staged_table(Bare& bare) {
  std::printf("\nstaged: GPU to pinned ring to the same GPU\n");
  row("bare, 512 MiB copies, down alone", measure([&] { return bare.copies(true, false); }),
      "GB/s");
  row("bare, 512 MiB copies, up alone", measure([&] { return bare.copies(false, true); }), "GB/s");
  const Spread ceiling = measure([&] { return bare.copies(true, true); });
  row("bare, both at once, each (the ceiling)", ceiling, "GB/s");
  Rig rig = rig_between("node0/gpu0", "node0/gpu0", RouteKind::pcie_staged);
  for (const Bytes size : {64 * KiB, 256 * KiB, 1 * MiB, 2 * MiB, 4 * MiB, 16 * MiB}) {
    const auto chunks = rig.contiguous(size, std::min<Bytes>(2 * GiB, size * 4096));
    const std::size_t window = std::clamp<std::size_t>(48 * MiB / size, 3, 64);
    row("contiguous, chunks of " + std::to_string(size / KiB) + " KiB",
        measure([&] { return rig.rate(chunks, window); }), "GB/s", ceiling.median);
  }
  row("bare, both at once, each (the ceiling again)",
      measure([&] { return bare.copies(true, true); }), "GB/s");
}

void scattered_table(const char* source, const char* target, const char* title) {
  std::printf("\n%s, scattered at both ends, random order\n", title);
  Rig rig = rig_between(source, target, RouteKind::pcie_staged);
  std::vector<Descriptor> pieces;
  const auto whole = rig.contiguous(4 * MiB, 1 * GiB);
  const Spread contiguous = measure([&] { return rig.rate(whole, 8); });
  row("contiguous, chunks of 4 MiB", contiguous, "GB/s");
  for (const Bytes piece : {4 * KiB, 16 * KiB, 64 * KiB})
    for (const Gather gather : {Gather::each, Gather::batch, Gather::pack, Gather::through})
      for (const Bytes chunk : {1 * MiB, 4 * MiB, 16 * MiB}) {
        if (gather == Gather::each && chunk != 4 * MiB) continue;  // the same for all
        const Bytes total = gather == Gather::each ? 32 * MiB : 256 * MiB;
        const auto chunks = rig.scattered(piece, chunk, total, gather, pieces);
        const std::size_t window = std::clamp<std::size_t>(48 * MiB / chunk, 3, 32);
        row(std::to_string(piece / KiB) + " KiB pieces, chunks of " + std::to_string(chunk / MiB) +
                " MiB, " + std::string(gather_name(gather)),
            measure([&] { return rig.rate(chunks, window); }), "GB/s", contiguous.median);
      }
}

/// Processor time of posting 64 chunks and, when they have landed, of collecting them.
void cpu_table(Bare& bare) {
  std::printf("\nprocessor time per chunk of 16 KiB, posted and collected, 64 at a time\n");
  constexpr int count = 64;
  constexpr Bytes bytes = 16 * KiB;
  const auto thread_us = [] {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
  };
  const auto pause = [] { std::this_thread::sleep_for(std::chrono::milliseconds(2)); };
  std::vector<cuda::Event> events(count);
  for (cuda::Event& event : events) must(cuda::make_event(event), "cudaEventCreate");
  const auto bare_calls = [&](bool both_halves) {
    const double start = thread_us();
    for (int i = 0; i < count; ++i) {
      std::byte* const host = bare.host_a.get() + static_cast<Bytes>(i) * bytes;
      std::byte* const device = bare.device_a.get() + static_cast<Bytes>(i) * bytes;
      must(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, bare.down.get()), "copy");
      if (both_halves)
        must(cudaMemcpyAsync(bare.device_b.get() + static_cast<Bytes>(i) * bytes, host, bytes,
                             cudaMemcpyHostToDevice, bare.up.get()),
             "copy");
      must(cudaEventRecord(events[static_cast<std::size_t>(i)].get(),
                           both_halves ? bare.up.get() : bare.down.get()),
           "cudaEventRecord");
    }
    const double posted = thread_us() - start;
    pause();
    const double again = thread_us();
    for (const cuda::Event& event : events) must(cudaEventQuery(event.get()), "cudaEventQuery");
    return (posted + thread_us() - again) / count;
  };
  const auto through_backend = [&](Rig& rig) {
    const auto chunks = rig.contiguous(bytes, count * bytes);
    BackendEvents found;
    double start = thread_us();
    for (const ChunkPost& chunk : chunks) rig.backend().post(0, {&chunk, 1});
    double spent = thread_us() - start;
    while (found.completions.size() < count) {
      pause();
      start = thread_us();
      rig.backend().progress(found);
      spent += thread_us() - start;
    }
    return spent / count;
  };
  const Spread one = measure([&] { return bare_calls(false); });
  row("bare: copy, event record, event query", one, "us");
  const auto backend_row = [&](const char* what, const char* target, RouteKind kind,
                               double against) {
    Rig rig = rig_between("node0/gpu0", target, kind);
    row(what, measure([&] { return through_backend(rig); }), "us", against);
  };
  backend_row("GPU to pinned host memory", "node0/host0", RouteKind::pcie_staged, one.median);
  const Spread inside = measure([&] {
    const double start = thread_us();
    for (int i = 0; i < count; ++i) {
      must(cudaMemcpyAsync(bare.device_b.get(), bare.device_a.get(), bytes,
                           cudaMemcpyDeviceToDevice, bare.down.get()),
           "copy");
      must(cudaEventRecord(events[static_cast<std::size_t>(i)].get(), bare.down.get()),
           "cudaEventRecord");
    }
    const double posted = thread_us() - start;
    pause();
    const double again = thread_us();
    for (const cuda::Event& event : events) must(cudaEventQuery(event.get()), "cudaEventQuery");
    return (posted + thread_us() - again) / count;
  });
  row("bare, device to device: copy, event record, query", inside, "us");
  backend_row("nvlink_copy", "node0/gpu1", RouteKind::nvlink_copy, inside.median);
  backend_row("nvlink_load_store", "node0/gpu1", RouteKind::nvlink_load_store, inside.median);
  const Spread two = measure([&] { return bare_calls(true); });
  row("bare: copy down, copy up, event record, query", two, "us");
  backend_row("staged", "node0/gpu0", RouteKind::pcie_staged, two.median);
}

void two_places_rows(const char* where, double against, const cuda::Options& options) {
  for (const RouteKind kind : {RouteKind::nvlink_copy, RouteKind::nvlink_load_store}) {
    Rig rig = rig_between("node0/gpu0", "node0/gpu1", kind, options);
    rig.fill();
    std::vector<Descriptor> pieces;
    for (const Bytes size : {64 * KiB, 1 * MiB, 16 * MiB}) {
      const auto chunks = rig.contiguous(size, std::min<Bytes>(4 * GiB, size * 4096));
      row(std::string(route_kind_name(kind)) + where + ", chunks of " + std::to_string(size / KiB) +
              " KiB",
          measure([&] { return rig.rate(chunks, 32); }), "GB/s", against);
    }
    for (const Bytes piece : {4 * KiB, 16 * KiB}) {
      const Gather gather = kind == RouteKind::nvlink_copy ? Gather::batch : Gather::through;
      const auto chunks = rig.scattered(piece, 4 * MiB, 256 * MiB, gather, pieces);
      rig.fill();
      row(std::string(route_kind_name(kind)) + where + ", " + std::to_string(piece / KiB) +
              " KiB pieces, " + std::string(gather_name(gather)),
          measure([&] { return rig.rate(chunks, 16); }), "GB/s", against);
      if (!rig.right(std::span(pieces).first(2000))) must(cudaErrorUnknown, "wrong bytes");
    }
  }
}

void device_to_device_table(Bare& bare, const std::string& socket_path) {
  std::printf("\ntwo places in one GPU's memory\n");
  const Spread plain = measure([&] { return bare.device_to_device(segment_bytes, 8); });
  row("bare device-to-device copy, 512 MiB", plain, "GB/s");
  row("bare device-to-device copy, 16 MiB",
      measure([&] { return bare.device_to_device(16 * MiB, 64); }), "GB/s");
  row("bare device-to-device copy, 1 MiB",
      measure([&] { return bare.device_to_device(1 * MiB, 512); }), "GB/s");
  two_places_rows("", plain.median, {});
  std::printf("\nthe same, the target's memory held by another process (CUDA IPC)\n");
  // One holder for each backend that connects: it ends with it.
  for (const RouteKind kind : {RouteKind::nvlink_copy, RouteKind::nvlink_load_store}) {
    const pid_t child = fork();
    if (child == 0) {
      execl("/proc/self/exe", "gpu_bench", "--hold", socket_path.c_str(), nullptr);
      _exit(127);
    }
    {
      cuda::Options options;
      options.held_by = {{"node0/gpu1", socket_path}};
      Rig rig = rig_between("node0/gpu0", "node0/gpu1", kind, options);
      rig.fill();
      for (const Bytes size : {1 * MiB, 16 * MiB}) {
        const auto chunks = rig.contiguous(size, std::min<Bytes>(4 * GiB, size * 4096));
        row(std::string(route_kind_name(kind)) + ", chunks of " + std::to_string(size / KiB) +
                " KiB",
            measure([&] { return rig.rate(chunks, 32); }), "GB/s", plain.median);
        const Descriptor all{0, 0, std::min<Bytes>(segment_bytes, size * 4096)};
        if (!rig.right({&all, 1})) must(cudaErrorUnknown, "wrong bytes");
      }
    }
    waitpid(child, nullptr, 0);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--hold")
    return kvhaul::cuda::hold_memory(argv[2], 0, [] {}) ? 0 : 1;
  if (argc > 1) rounds = std::max(1, std::atoi(argv[1]));
  if (const std::string why = cuda::missing(); !why.empty()) {
    std::fprintf(stderr, "gpu_bench: %s\n", why.c_str());
    return 3;
  }
  std::printf("%s, median of %d rounds (least to most)\n",
              must(cuda::find_devices())[0].name.c_str(), rounds);
  Bare bare;
  staged_table(bare);
  scattered_table("node0/gpu0", "node0/gpu0", "staged");
  scattered_table("node0/gpu0", "node0/host0", "GPU to pinned host memory");
  cpu_table(bare);
  device_to_device_table(bare, "/tmp/kvhaul-gpu-bench-" + std::to_string(getpid()));
  return 0;
}
