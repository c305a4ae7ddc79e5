// A large buffer of host memory on huge pages where the system grants them, so that copies are not
// slowed by address translation.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <sys/mman.h>

#include "core/units.h"

namespace kvhaul::modelled {

struct FreeBuffer {
  void operator()(std::byte* memory) const { std::free(memory); }
};
using Buffer = std::unique_ptr<std::byte[], FreeBuffer>;

/// Null when this machine has not got the memory. Nothing is written yet.
inline Buffer make_buffer(Bytes bytes) {
  constexpr Bytes huge_page = 2 * MiB;
  if (bytes > ~Bytes{0} - huge_page) return nullptr;
  const Bytes whole_pages = (bytes + huge_page - 1) / huge_page * huge_page;
  void* memory = std::aligned_alloc(huge_page, whole_pages);
  if (memory != nullptr) madvise(memory, whole_pages, MADV_HUGEPAGE);  // a wish; may be refused
  return Buffer(static_cast<std::byte*>(memory));
}

}  // namespace kvhaul::modelled
