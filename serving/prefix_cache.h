// Which prompt prefixes a prefill instance still has in its pool, least recently used first to go.
//
// Blocks are the trace's (512 tokens in Mooncake's traces, 16 in Qwen's), named by chained hashes:
// a block is a hit only together with all blocks before it. Only whole blocks are kept.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/paged_layout.h"
#include "serving/kv_pool.h"

namespace kvhaul {

class PrefixCache {
 public:
  /// `block_tokens` must be a multiple of `page_tokens`; 0 keeps nothing.
  PrefixCache(KvPool& pool, std::uint32_t block_tokens, std::uint32_t page_tokens)
      : pool_(pool),
        block_tokens_(block_tokens),
        block_pages_(page_tokens == 0 ? 0 : block_tokens / page_tokens) {}

  std::uint32_t block_tokens() const { return block_tokens_; }

  /// How many leading blocks of a prompt are here.
  std::uint32_t match(std::span<const std::uint64_t> blocks) const;
  /// Pins the first `count` blocks, which must match, and appends their pages.
  void pin(std::span<const std::uint64_t> blocks, std::uint32_t count, PageList& pages);
  void unpin(std::span<const std::uint64_t> blocks, std::uint32_t count);
  /// Takes over the pages of blocks that were just computed: `pages` are those of blocks
  /// [first, ...), and what is not kept (a block that is here already, the last partial one) goes
  /// back to the pool. The blocks before `first` must be pinned still.
  void keep(std::span<const std::uint64_t> blocks, std::uint32_t first, const PageList& pages,
            std::uint32_t whole_blocks);
  /// Gives unpinned blocks back to the pool until it has that many free pages; false if it cannot.
  bool make_room(std::uint32_t pages);

  std::size_t blocks() const { return index_.size(); }
  /// Of blocks that nobody has pinned.
  std::uint32_t idle_pages() const { return unpinned_ * block_pages_; }

 private:
  struct Entry {
    std::uint64_t id = 0;
    PageList pages;
    std::uint32_t pins = 0;
    std::uint32_t older = none, newer = none;  // among the unpinned
  };
  static constexpr std::uint32_t none = 0xffffffffu;

  void link(std::uint32_t entry);
  void unlink(std::uint32_t entry);

  KvPool& pool_;
  std::uint32_t block_tokens_;
  std::uint32_t block_pages_;
  std::unordered_map<std::uint64_t, std::uint32_t> index_;  // never iterated: order is not stable
  std::vector<Entry> entries_;
  std::vector<std::uint32_t> free_entries_;
  std::uint32_t oldest_ = none, newest_ = none;
  std::uint32_t unpinned_ = 0;  // entries between those two
};

}  // namespace kvhaul
