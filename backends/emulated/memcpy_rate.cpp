#include "backends/emulated/memcpy_rate.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "backends/modelled/buffer.h"

namespace kvhaul::emulated {
namespace {

using Clock = std::chrono::steady_clock;

double copy_loop(Bytes chunk, Bytes buffer, TimeNs time_ns) {
  const modelled::Buffer from = modelled::make_buffer(buffer);
  const modelled::Buffer to = modelled::make_buffer(buffer);
  if (!from || !to) return 0;
  std::memset(from.get(), 1, buffer);
  std::memset(to.get(), 2, buffer);
  Bytes copied = 0;
  const Clock::time_point start = Clock::now();
  const Clock::time_point end = start + std::chrono::nanoseconds(time_ns);
  Clock::time_point now = start;
  while (now < end) {
    for (Bytes at = 0; at + chunk <= buffer; at += chunk)
      std::memcpy(to.get() + at, from.get() + at, chunk);
    copied += buffer / chunk * chunk;
    now = Clock::now();
  }
  return static_cast<double>(copied) / std::chrono::duration<double>(now - start).count();
}

}  // namespace

double memcpy_bytes_per_s(Bytes chunk_bytes, Bytes buffer_bytes, unsigned threads, TimeNs time_ns) {
  const Bytes chunk = std::max<Bytes>(1, chunk_bytes);
  const Bytes buffer = std::max(buffer_bytes, chunk);
  std::vector<double> rates(std::max(1u, threads), 0);
  std::vector<std::thread> loops;
  for (double& rate : rates)
    loops.emplace_back(
        [&rate, chunk, buffer, time_ns] { rate = copy_loop(chunk, buffer, time_ns); });
  double sum = 0;
  for (std::size_t i = 0; i < loops.size(); ++i) {
    loops[i].join();
    sum += rates[i];
  }
  return sum;
}

}  // namespace kvhaul::emulated
