// The pages of an instance's KV memory: who has which, and how contiguous they are.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "core/paged_layout.h"
#include "core/random.h"

namespace kvhaul {

/// How the pages of one request lie in the pool. Contiguity decides how many descriptors a transfer
/// has, so it is a variable of the workload and not an accident.
struct Contiguity {
  std::uint32_t runs = 1;  // of pages per request, as far as its pages and the pool allow
  bool scattered = false;  // every page by itself, in random order: a pool after days of use
};

/// Every rank of an instance uses the same page numbers, as serving engines do, so one pool stands
/// for all of them.
class KvPool {
 public:
  KvPool(std::uint32_t pages, Contiguity contiguity, std::uint64_t seed);

  std::uint32_t pages() const { return pages_; }
  std::uint32_t free_pages() const { return free_pages_; }

  /// Appends that many pages to the list; false, and nothing taken, when there are not enough. A
  /// request that asks for one run gets more only when no free run is long enough.
  bool allocate(std::uint32_t count, PageList& out);
  void release(const PageList& pages);

 private:
  void take(std::map<std::uint32_t, std::uint32_t>::iterator extent, std::uint32_t first,
            std::uint32_t count, PageList& out);
  void take_anywhere(std::uint32_t count, PageList& out);

  std::uint32_t pages_;
  std::uint32_t free_pages_;
  Contiguity contiguity_;
  Random random_;
  std::map<std::uint32_t, std::uint32_t> free_;  // first page: length; never adjacent
};

}  // namespace kvhaul
