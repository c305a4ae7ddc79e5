#include <cuda/atomic>

#include "backends/cuda/kernels.h"

namespace kvhaul::cuda {
namespace {

constexpr unsigned threads = 512;
constexpr unsigned warp = 32;

__device__ std::uint64_t global_ns() {
  std::uint64_t time;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(time));
  return time;
}

/// Units of one size; `lane` out of `lanes` threads. Four loads are on their way before the first
/// store waits: over PCIe and NVLink one load takes a microsecond.
template <class Unit>
__device__ void copy_units(Unit* to, const Unit* from, std::uint64_t count, unsigned lane,
                           unsigned lanes) {
  std::uint64_t i = lane;
  for (; i + 3ull * lanes < count; i += 4ull * lanes) {
    const Unit a = from[i];
    const Unit b = from[i + lanes];
    const Unit c = from[i + 2ull * lanes];
    const Unit d = from[i + 3ull * lanes];
    to[i] = a;
    to[i + lanes] = b;
    to[i + 2ull * lanes] = c;
    to[i + 3ull * lanes] = d;
  }
  for (; i < count; i += lanes) to[i] = from[i];
}

/// Both addresses must agree in their last four bits for wide accesses; the ends that are not
/// aligned go byte by byte.
__device__ void copy_bytes(std::byte* to, const std::byte* from, std::uint64_t bytes, unsigned lane,
                           unsigned lanes) {
  const auto at = reinterpret_cast<std::uintptr_t>(to);
  const std::uintptr_t apart = at ^ reinterpret_cast<std::uintptr_t>(from);
  if ((apart & 15) == 0) {
    std::uint64_t head = (16 - (at & 15)) & 15;
    if (head > bytes) head = bytes;
    copy_units(to, from, head, lane, lanes);
    const std::uint64_t wide = (bytes - head) / 16;
    copy_units(reinterpret_cast<uint4*>(to + head), reinterpret_cast<const uint4*>(from + head),
               wide, lane, lanes);
    const std::uint64_t done = head + wide * 16;
    copy_units(to + done, from + done, bytes - done, lane, lanes);
  } else if ((apart & 3) == 0 && (at & 3) == 0) {
    const std::uint64_t words = bytes / 4;
    copy_units(reinterpret_cast<std::uint32_t*>(to), reinterpret_cast<const std::uint32_t*>(from),
               words, lane, lanes);
    copy_units(to + words * 4, from + words * 4, bytes - words * 4, lane, lanes);
  } else {
    copy_units(to, from, bytes, lane, lanes);
  }
}

/// All warps have something to do: where there are fewer pieces than warps, several share a piece.
__device__ void copy_all(const PieceCopy* pieces, std::uint32_t count, unsigned block,
                         unsigned blocks) {
  const unsigned warps = blocks * (threads / warp);
  const unsigned sharing = count < warps ? warps / count : 1;
  for (unsigned unit = block * (threads / warp) + threadIdx.x / warp; unit < count * sharing;
       unit += warps) {
    const PieceCopy piece = pieces[unit / sharing];
    copy_bytes(piece.to, piece.from, piece.bytes, unit % sharing * warp + threadIdx.x % warp,
               sharing * warp);
  }
}

__global__ void copy_pieces_kernel(const PieceCopy* pieces, std::uint32_t count) {
  copy_all(pieces, count, blockIdx.x, gridDim.x);
}

/// As copy_all(): several warps share a range, or each has its own.
__global__ void fill_kernel(const PatternFill* fills, std::uint32_t count) {
  const unsigned warps = gridDim.x * (threads / warp);
  const unsigned sharing = count < warps ? warps / count : 1;
  for (unsigned unit = blockIdx.x * (threads / warp) + threadIdx.x / warp; unit < count * sharing;
       unit += warps) {
    const PatternFill fill = fills[unit / sharing];
    const std::uint64_t words = (fill.bytes + 7) / 8;
    const bool aligned = (reinterpret_cast<std::uintptr_t>(fill.at) & 7) == 0;
    for (std::uint64_t i = unit % sharing * warp + threadIdx.x % warp; i < words;
         i += sharing * warp) {
      const std::uint64_t word = (fill.start + i) * 0x9e3779b97f4a7c15ull;
      std::byte* const at = fill.at + 8 * i;
      if (aligned && 8 * i + 8 <= fill.bytes) {
        *reinterpret_cast<std::uint64_t*>(at) = word;
      } else {
        for (unsigned b = 0; b < 8 && 8 * i + b < fill.bytes; ++b)
          at[b] = static_cast<std::byte>(word >> (8 * b));
      }
    }
  }
}

/// core/checksum.h, word by word; sums of words do not depend on their order.
__device__ std::uint64_t mixed_word(std::uint64_t word, std::uint64_t position) {
  std::uint64_t x = (word ^ (position * 0x9e3779b97f4a7c15ull)) * 0xff51afd7ed558ccdull;
  x ^= x >> 32;
  return x * 0xc4ceb9fe1a85ec53ull;
}

__global__ void checksum_kernel(const ChecksumRange* ranges, std::uint32_t count,
                                std::uint64_t* sums) {
  // A range per block while there are enough of them, so that most need one atomic addition.
  for (std::uint32_t r = blockIdx.y; r < count; r += gridDim.y) {
    const ChecksumRange range = ranges[r];
    const std::uint64_t words = (range.bytes + 7) / 8;
    const bool aligned = (reinterpret_cast<std::uintptr_t>(range.at) & 7) == 0;
    std::uint64_t sum = 0;
    for (std::uint64_t i = blockIdx.x * blockDim.x + threadIdx.x; i < words;
         i += gridDim.x * blockDim.x) {
      std::uint64_t word = 0;
      if (aligned && 8 * i + 8 <= range.bytes) {
        word = *reinterpret_cast<const std::uint64_t*>(range.at + 8 * i);
      } else {
        for (unsigned b = 0; b < 8 && 8 * i + b < range.bytes; ++b)
          word |= static_cast<std::uint64_t>(range.at[8 * i + b]) << (8 * b);
      }
      sum += mixed_word(word, i);
    }
    for (unsigned offset = warp / 2; offset != 0; offset /= 2)
      sum += __shfl_down_sync(0xffffffffu, sum, offset);
    if (threadIdx.x % warp == 0 && sum != 0)
      atomicAdd(reinterpret_cast<unsigned long long*>(sums + r), sum);
  }
}

__global__ void busy_kernel(std::uint64_t time_ns, float4* memory, std::uint64_t count) {
  const std::uint64_t end = global_ns() + time_ns;
  std::uint64_t i = blockIdx.x * blockDim.x + threadIdx.x;
  while (global_ns() < end) {
    for (int round = 0; round < 16; ++round) {
      float4 value = memory[i % count];
      for (int k = 0; k < 32; ++k) {
        value.x = fmaf(value.x, 0.999f, value.y);
        value.z = fmaf(value.z, 0.999f, value.w);
      }
      memory[i % count] = value;
      i += gridDim.x * blockDim.x;
    }
  }
}

template <class T>
using SystemAtomic = ::cuda::atomic_ref<T, ::cuda::thread_scope_system>;
template <class T>
using DeviceAtomic = ::cuda::atomic_ref<T, ::cuda::thread_scope_device>;

constexpr std::uint64_t no_more = ~0ull;
constexpr Bytes bytes_taken_together = 256 * KiB;

/// Reads the queue across PCIe ahead of the workers, and gives them what it finds in device memory.
__device__ void lead(WorkQueue* queue, WorkShared* shared, PieceCopy* lists,
                     std::uint32_t list_capacity) {
  __shared__ std::uint64_t posted;
  std::uint64_t taken = 0;
  while (true) {
    if (threadIdx.x == 0) {
      posted = SystemAtomic<std::uint64_t>(const_cast<std::uint64_t&>(queue->posted))
                   .load(::cuda::memory_order_acquire);
      // Asked only after `posted`: what was posted before the stop is still done.
      if (posted == taken &&
          SystemAtomic<std::uint64_t>(const_cast<std::uint64_t&>(queue->stop))
                  .load(::cuda::memory_order_acquire) != 0)
        posted = no_more;
    }
    __syncthreads();
    const std::uint64_t until = posted;
    __syncthreads();  // all have read it before it is written again
    if (until == no_more) break;
    while (taken < until) {
      const auto slot = static_cast<std::uint32_t>(++taken % work_slots);
      const WorkItem item = queue->items[slot];
      PieceCopy* const list = lists + static_cast<std::uint64_t>(slot) * list_capacity;
      if (item.count > 1)
        for (std::uint32_t i = threadIdx.x; i < item.count; i += blockDim.x) list[i] = item.list[i];
      if (threadIdx.x == 0) {
        shared->items[slot] = item;
        shared->items[slot].list = list;
      }
      __threadfence();
      __syncthreads();
      if (threadIdx.x == 0)
        DeviceAtomic<std::uint64_t>(shared->published).store(taken, ::cuda::memory_order_release);
    }
  }
  if (threadIdx.x == 0) {
    shared->total = taken;  // workers may still be behind
    DeviceAtomic<std::uint64_t>(shared->published).store(no_more, ::cuda::memory_order_release);
  }
}

/// One of the `members` of a group, which does every `groups`-th item, from `number` on.
__device__ void work(WorkQueue* queue, WorkShared* shared, unsigned member, unsigned members,
                     std::uint64_t number, unsigned groups) {
  __shared__ std::uint64_t published;
  while (true) {
    if (threadIdx.x == 0) {
      do published = DeviceAtomic<std::uint64_t>(shared->published)
                         .load(::cuda::memory_order_acquire);
      while (published < number);
    }
    __syncthreads();
    std::uint64_t until = published;
    __syncthreads();
    if (until == no_more) until = shared->total;
    if (number > until) return;
    const std::uint64_t now = global_ns();
    // Small items are taken together: making one visible to everybody takes longer than they do.
    std::uint64_t next = number;
    for (Bytes bytes = 0; next <= until && bytes < bytes_taken_together; next += groups) {
      const auto slot = static_cast<std::uint32_t>(next % work_slots);
      const WorkItem& item = shared->items[slot];
      if (member == 0 && threadIdx.x == 0) shared->started_ns[slot] = now;
      if (item.count == 1)
        copy_all(&item.single, 1, member, members);
      else
        copy_all(item.list, item.count, member, members);
      bytes += item.bytes;
    }
    __threadfence_system();
    __syncthreads();
    if (threadIdx.x == 0) {
      for (; number < next; number += groups) {
        const auto slot = static_cast<std::uint32_t>(number % work_slots);
        const std::uint32_t before = DeviceAtomic<std::uint32_t>(shared->finished_blocks[slot])
                                         .fetch_add(1, ::cuda::memory_order_acq_rel);
        if (before + 1 != members) continue;
        shared->finished_blocks[slot] = 0;
        volatile WorkDone& done = queue->done[slot];
        done.started_ns = shared->started_ns[slot];
        done.done_ns = global_ns();
        __threadfence_system();
        SystemAtomic<std::uint64_t>(const_cast<std::uint64_t&>(done.number))
            .store(number, ::cuda::memory_order_release);
      }
    }
    number = next;
  }
}

__global__ void serve_kernel(WorkQueue* queue, WorkShared* shared, PieceCopy* lists,
                             std::uint32_t list_capacity, unsigned groups) {
  const unsigned workers = gridDim.x - 1;
  if (blockIdx.x == workers)
    lead(queue, shared, lists, list_capacity);
  else
    work(queue, shared, blockIdx.x / groups, workers / groups, blockIdx.x % groups + 1, groups);
}

}  // namespace

cudaError_t copy_pieces(const PieceCopy* pieces, std::uint32_t count, unsigned blocks,
                        cudaStream_t stream) {
  copy_pieces_kernel<<<blocks, threads, 0, stream>>>(pieces, count);
  return cudaGetLastError();
}

cudaError_t fill_patterns(const PatternFill* fills, std::uint32_t count, cudaStream_t stream) {
  fill_kernel<<<filling_blocks, threads, 0, stream>>>(fills, count);
  return cudaGetLastError();
}

cudaError_t add_checksums(const ChecksumRange* ranges, std::uint32_t count, std::uint64_t* sums,
                          cudaStream_t stream) {
  const unsigned rows = count < 64 ? count : 64;
  checksum_kernel<<<dim3((128 + rows - 1) / rows, rows), threads, 0, stream>>>(ranges, count, sums);
  return cudaGetLastError();
}

cudaError_t keep_busy(TimeNs time_ns, std::byte* memory, Bytes bytes, int multiprocessors,
                      cudaStream_t stream) {
  busy_kernel<<<2 * static_cast<unsigned>(multiprocessors), threads, 0, stream>>>(
      static_cast<std::uint64_t>(time_ns), reinterpret_cast<float4*>(memory),
      bytes / sizeof(float4));
  return cudaGetLastError();
}

cudaError_t serve(WorkQueue* queue, WorkShared* shared, PieceCopy* lists,
                  std::uint32_t list_capacity, unsigned blocks, unsigned groups,
                  cudaStream_t stream) {
  serve_kernel<<<blocks * groups + 1, threads, 0, stream>>>(queue, shared, lists, list_capacity,
                                                            groups);
  return cudaGetLastError();
}

cudaError_t load_kernels() {
  cudaFuncAttributes attributes{};
  cudaError_t code = cudaSuccess;
  const auto load = [&](auto* kernel) {
    if (code == cudaSuccess)
      code = cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(kernel));
  };
  load(copy_pieces_kernel);
  load(fill_kernel);
  load(checksum_kernel);
  load(busy_kernel);
  load(serve_kernel);
  return code;
}

}  // namespace kvhaul::cuda
