#include "serving/prefix_cache.h"

#include <algorithm>

namespace kvhaul {

std::uint32_t PrefixCache::match(std::span<const std::uint64_t> blocks) const {
  std::uint32_t count = 0;
  while (count < blocks.size() && index_.count(blocks[count]) != 0) ++count;
  return count;
}

void PrefixCache::pin(std::span<const std::uint64_t> blocks, std::uint32_t count, PageList& pages) {
  for (std::uint32_t b = 0; b < count; ++b) {
    Entry& entry = entries_[index_.at(blocks[b])];
    if (entry.pins++ == 0) unlink(index_.at(blocks[b]));
    for (const PageRun& run : entry.pages) {
      if (!pages.empty() && pages.back().first + pages.back().count == run.first)
        pages.back().count += run.count;
      else
        pages.push_back(run);
    }
  }
}

void PrefixCache::unpin(std::span<const std::uint64_t> blocks, std::uint32_t count) {
  // The last block first: a block must not outlive the ones before it, so those leave later.
  for (std::uint32_t b = count; b-- > 0;) {
    const std::uint32_t slot = index_.at(blocks[b]);
    if (--entries_[slot].pins == 0) link(slot);
  }
}

void PrefixCache::keep(std::span<const std::uint64_t> blocks, std::uint32_t first,
                       const PageList& pages, std::uint32_t whole_blocks) {
  std::size_t run = 0;
  std::uint32_t into = 0;  // pages of pages[run] that are dealt with
  const auto cut = [&](std::uint32_t count) {
    PageList part;
    while (count > 0 && run < pages.size()) {
      const std::uint32_t taken = std::min(count, pages[run].count - into);
      part.push_back({pages[run].first + into, taken});
      count -= taken;
      into += taken;
      if (into == pages[run].count) ++run, into = 0;
    }
    return part;
  };
  std::vector<std::uint32_t> used;
  for (std::uint32_t b = first; block_pages_ != 0 && b < whole_blocks && b < blocks.size(); ++b) {
    PageList part = cut(block_pages_);
    if (const auto here = index_.find(blocks[b]); here != index_.end()) {
      pool_.release(part);  // another request brought it meanwhile
      if (entries_[here->second].pins == 0) used.push_back(here->second);
      continue;
    }
    std::uint32_t slot = static_cast<std::uint32_t>(entries_.size());
    if (free_entries_.empty()) {
      entries_.emplace_back();
    } else {
      slot = free_entries_.back();
      free_entries_.pop_back();
    }
    entries_[slot] = {blocks[b], std::move(part), 0, none, none};
    index_[blocks[b]] = slot;
    link(slot);
    used.push_back(slot);
  }
  // As in unpin(): the last block leaves first.
  for (auto slot = used.rbegin(); slot != used.rend(); ++slot) {
    unlink(*slot);
    link(*slot);
  }
  pool_.release(cut(~0u));
}

bool PrefixCache::make_room(std::uint32_t pages) {
  while (pool_.free_pages() < pages && oldest_ != none) {
    const std::uint32_t slot = oldest_;
    unlink(slot);
    pool_.release(entries_[slot].pages);
    index_.erase(entries_[slot].id);
    entries_[slot].pages.clear();
    free_entries_.push_back(slot);
  }
  return pool_.free_pages() >= pages;
}

void PrefixCache::link(std::uint32_t slot) {
  Entry& entry = entries_[slot];
  entry.older = newest_;
  entry.newer = none;
  (newest_ == none ? oldest_ : entries_[newest_].newer) = slot;
  newest_ = slot;
  ++unpinned_;
}

void PrefixCache::unlink(std::uint32_t slot) {
  Entry& entry = entries_[slot];
  (entry.older == none ? oldest_ : entries_[entry.older].newer) = entry.newer;
  (entry.newer == none ? newest_ : entries_[entry.newer].older) = entry.older;
  entry.older = entry.newer = none;
  --unpinned_;
}

}  // namespace kvhaul
