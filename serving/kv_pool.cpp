#include "serving/kv_pool.h"

#include <algorithm>

#include "core/result.h"

namespace kvhaul {

KvPool::KvPool(std::uint32_t pages, Contiguity contiguity, std::uint64_t seed)
    : pages_(pages), free_pages_(pages), contiguity_(contiguity), random_(seed) {
  if (pages > 0) free_[0] = pages;
}

bool KvPool::allocate(std::uint32_t count, PageList& out) {
  if (count > free_pages_) return false;
  free_pages_ -= count;
  if (contiguity_.scattered) {
    for (; count > 0; --count) take_anywhere(1, out);
    return true;
  }
  const std::uint32_t runs = std::clamp(contiguity_.runs, 1u, std::max(1u, count));
  for (std::uint32_t run = 0; run < runs; ++run) {
    const std::uint32_t share = count / (runs - run);
    count -= share;
    if (runs > 1) {
      take_anywhere(share, out);
      continue;
    }
    // The first run that is long enough; else the longest ones there are.
    std::uint32_t left = share;
    while (left > 0) {
      auto best = free_.end();
      for (auto extent = free_.begin(); extent != free_.end(); ++extent) {
        if (extent->second >= left) {
          best = extent;
          break;
        }
        if (best == free_.end() || extent->second > best->second) best = extent;
      }
      const std::uint32_t taken = std::min(left, best->second);
      take(best, best->first, taken, out);
      left -= taken;
    }
  }
  return true;
}

/// From a random place of the pool on, in as few runs as lie there.
void KvPool::take_anywhere(std::uint32_t count, PageList& out) {
  while (count > 0) {
    const auto hint = static_cast<std::uint32_t>(random_.below(pages_));
    auto extent = free_.upper_bound(hint);
    std::uint32_t first = 0;
    if (extent != free_.begin() && std::prev(extent)->first + std::prev(extent)->second > hint) {
      --extent;
      first = hint;
    } else {
      if (extent == free_.end()) extent = free_.begin();
      first = extent->first;
    }
    const std::uint32_t taken = std::min(count, extent->first + extent->second - first);
    take(extent, first, taken, out);
    count -= taken;
  }
}

void KvPool::take(std::map<std::uint32_t, std::uint32_t>::iterator extent, std::uint32_t first,
                  std::uint32_t count, PageList& out) {
  const std::uint32_t before = first - extent->first;
  const std::uint32_t after = extent->second - before - count;
  if (after > 0) free_[first + count] = after;
  if (before > 0)
    extent->second = before;
  else
    free_.erase(extent);
  if (!out.empty() && out.back().first + out.back().count == first)
    out.back().count += count;
  else
    out.push_back({first, count});
}

void KvPool::release(const PageList& pages) {
  for (const PageRun& run : pages) {
    if (run.count == 0) continue;
    free_pages_ += run.count;
    auto [entry, is_new] = free_.try_emplace(run.first, run.count);
    check(is_new, "a page was given back twice");
    const auto next = std::next(entry);
    if (next != free_.end() && entry->first + entry->second == next->first) {
      entry->second += next->second;
      free_.erase(next);
    }
    if (entry != free_.begin()) {
      const auto last = std::prev(entry);
      if (last->first + last->second == entry->first) {
        last->second += entry->second;
        free_.erase(entry);
      }
    }
  }
}

}  // namespace kvhaul
