#include "backends/cuda/pinned.h"

#include <cstring>
#include <cuda_runtime_api.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace kvhaul::cuda {
namespace {

constexpr Bytes huge_page = 2 * MiB;

Bytes whole_pages(Bytes bytes) { return (bytes + huge_page - 1) / huge_page * huge_page; }

/// mbind(2) by number, so that libnuma is not needed for one call.
void prefer_node(void* memory, Bytes bytes, int node) {
  constexpr int preferred = 1;  // MPOL_PREFERRED of linux/mempolicy.h
  constexpr int bits = 8 * sizeof(unsigned long);
  if (node < 0 || node >= bits) return;
  const unsigned long mask = 1ul << node;
  syscall(SYS_mbind, memory, bytes, preferred, &mask, bits + 1, 0u);
}

}  // namespace

void Unpin::operator()(std::byte* memory) const {
  cudaHostUnregister(memory);
  munmap(memory, whole_pages(bytes));
}

Result<Pinned> make_pinned(Bytes bytes, int numa_node) {
  const std::string what = "pinned host memory of " + std::to_string(bytes) + " bytes";
  if (bytes == 0 || bytes > ~Bytes{0} - huge_page) return Error::missing(what + " cannot be had");
  const Bytes whole = whole_pages(bytes);
  void* const memory =
      mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return Error::missing(what + ": " + std::strerror(errno));
  madvise(memory, whole, MADV_HUGEPAGE);  // a wish; may be refused
  prefer_node(memory, whole, numa_node);
  const cudaError_t code =
      cudaHostRegister(memory, whole, cudaHostRegisterPortable | cudaHostRegisterMapped);
  if (code != cudaSuccess) {
    munmap(memory, whole);
    cudaGetLastError();  // it is told here, not by the next call
    return Error::missing(what + ": cudaHostRegister: " + cudaGetErrorString(code));
  }
  return Pinned(static_cast<std::byte*>(memory), Unpin{bytes});
}

}  // namespace kvhaul::cuda
