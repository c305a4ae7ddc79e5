// The prefix cache: leading blocks, least recently used out first, nothing in use ever.
#include "serving/prefix_cache.h"

#include <algorithm>
#include <map>

#include <gtest/gtest.h>

namespace kvhaul::test {
namespace {

using Blocks = std::vector<std::uint64_t>;

/// Blocks of 32 tokens in pages of 16: two pages each.
struct Cache {
  explicit Cache(std::uint32_t pages) : pool(pages, {}, 1), cache(pool, 32, 16) {}

  /// A prompt of whole blocks, computed and given over.
  void compute(const Blocks& blocks) {
    const std::uint32_t hits = cache.match(blocks);
    PageList pages, own;
    cache.pin(blocks, hits, pages);
    const auto missing = static_cast<std::uint32_t>(2 * (blocks.size() - hits));
    ASSERT_TRUE(cache.make_room(missing));
    ASSERT_TRUE(pool.allocate(missing, own));
    cache.keep(blocks, hits, own, static_cast<std::uint32_t>(blocks.size()));
    cache.unpin(blocks, hits);
  }

  KvPool pool;
  PrefixCache cache;
};

TEST(PrefixCache, OnlyLeadingBlocksCount) {
  Cache c(100);
  c.compute({1, 2, 3});
  EXPECT_EQ(c.cache.match(Blocks{1, 2, 3, 4}), 3u);
  EXPECT_EQ(c.cache.match(Blocks{1, 2}), 2u);
  EXPECT_EQ(c.cache.match(Blocks{1, 9, 3}), 1u);
  EXPECT_EQ(c.cache.match(Blocks{2, 3}), 2u);  // ids are chained: whoever asks so has that prefix
  EXPECT_EQ(c.cache.match(Blocks{9, 1}), 0u);
  EXPECT_EQ(c.cache.match(Blocks{}), 0u);
}

TEST(PrefixCache, PinGivesThePagesInOrder) {
  Cache c(100);
  c.compute({1, 2});     // pages 0 to 3
  c.compute({1, 2, 3});  // and 4, 5
  PageList pages;
  c.cache.pin(Blocks{1, 2, 3}, 3, pages);
  EXPECT_EQ(pages, (PageList{{0, 6}}));  // neighbours are one run
  c.cache.unpin(Blocks{1, 2, 3}, 3);
}

TEST(PrefixCache, WhatNobodyHasPinnedIsIdle) {
  Cache c(10);
  c.compute({1, 2, 3});
  EXPECT_EQ(c.cache.idle_pages(), 6u);
  PageList pages;
  for (int twice = 0; twice < 2; ++twice) c.cache.pin(Blocks{1, 2}, 2, pages);
  EXPECT_EQ(c.cache.idle_pages(), 2u);
  ASSERT_TRUE(c.cache.make_room(6));  // block 3 goes
  EXPECT_EQ(c.cache.idle_pages(), 0u);
  c.cache.unpin(Blocks{1, 2}, 2);
  EXPECT_EQ(c.cache.idle_pages(), 0u);
  c.cache.unpin(Blocks{1, 2}, 2);
  EXPECT_EQ(c.cache.idle_pages(), 4u);
  c.compute({1, 2});
  EXPECT_EQ(c.cache.idle_pages(), 4u);
}

TEST(PrefixCache, PartialAndKnownBlocksGoBack) {
  Cache c(100);
  PageList own;
  ASSERT_TRUE(c.pool.allocate(5, own));  // two blocks and a page of a third
  c.cache.keep(Blocks{1, 2, 3}, 0, own, 2);
  EXPECT_EQ(c.cache.blocks(), 2u);
  EXPECT_EQ(c.pool.free_pages(), 96u);
  // The same prompt, computed at the same time elsewhere in the queue.
  PageList again;
  ASSERT_TRUE(c.pool.allocate(4, again));
  c.cache.keep(Blocks{1, 2}, 0, again, 2);
  EXPECT_EQ(c.cache.blocks(), 2u);
  EXPECT_EQ(c.pool.free_pages(), 96u);
}

TEST(PrefixCache, KeepsNothingWithoutBlocks) {
  KvPool pool(10, {}, 1);
  PrefixCache cache(pool, 0, 16);
  PageList own;
  ASSERT_TRUE(pool.allocate(4, own));
  cache.keep(Blocks{1, 2}, 0, own, 0);
  EXPECT_EQ(cache.blocks(), 0u);
  EXPECT_EQ(pool.free_pages(), 10u);
}

TEST(PrefixCache, LeastRecentlyUsedGoesFirst) {
  Cache c(8);
  c.compute({1});
  c.compute({2});
  c.compute({3});
  c.compute({1});  // used again
  ASSERT_TRUE(c.cache.make_room(4));
  EXPECT_EQ(c.cache.match(Blocks{2}), 0u);
  EXPECT_EQ(c.cache.match(Blocks{1}), 1u);
  EXPECT_EQ(c.cache.match(Blocks{3}), 1u);
}

TEST(PrefixCache, TheEndOfAPromptGoesBeforeItsStart) {
  Cache c(8);
  c.compute({1, 2, 3});
  ASSERT_TRUE(c.cache.make_room(4));
  EXPECT_EQ(c.cache.match(Blocks{1, 2, 3}), 2u);
}

// 1 and 2 were hits, 3 is new. Were 3 to stay longest, it would fill pages that nobody can use.
TEST(PrefixCache, ANewBlockDoesNotOutliveTheOnesBeforeIt) {
  Cache c(8);
  c.compute({1, 2});
  c.compute({1, 2, 3});
  ASSERT_TRUE(c.cache.make_room(4));
  EXPECT_EQ(c.cache.match(Blocks{1, 2, 3}), 2u);
  ASSERT_TRUE(c.cache.make_room(6));
  EXPECT_EQ(c.cache.match(Blocks{1, 2, 3}), 1u);
}

// The same where the blocks before it were brought by another request meanwhile.
TEST(PrefixCache, NorThoseThatAnotherRequestBrought) {
  Cache c(10);
  PageList first, second;
  ASSERT_TRUE(c.pool.allocate(4, first) && c.pool.allocate(6, second));
  c.cache.keep(Blocks{1, 2}, 0, first, 2);
  c.cache.keep(Blocks{1, 2, 3}, 0, second, 3);
  ASSERT_TRUE(c.cache.make_room(6));
  EXPECT_EQ(c.cache.match(Blocks{1, 2, 3}), 2u);
}

TEST(PrefixCache, PinnedBlocksStay) {
  Cache c(8);
  c.compute({1, 2});
  c.compute({3});
  PageList pages;
  c.cache.pin(Blocks{1, 2}, 2, pages);
  EXPECT_FALSE(c.cache.make_room(6));
  EXPECT_EQ(c.cache.match(Blocks{1, 2}), 2u);
  EXPECT_EQ(c.cache.match(Blocks{3}), 0u);
  c.cache.pin(Blocks{1}, 1, pages);
  c.cache.unpin(Blocks{1, 2}, 2);
  EXPECT_FALSE(c.cache.make_room(8));  // 1 is pinned by the other one
  EXPECT_EQ(c.cache.match(Blocks{1, 2}), 1u);
  c.cache.unpin(Blocks{1}, 1);
  EXPECT_TRUE(c.cache.make_room(8));
  EXPECT_EQ(c.cache.blocks(), 0u);
}

TEST(PrefixCache, RepeatedIdsOfADamagedTrace) {
  Cache c(20);
  c.compute({5, 5, 5});
  EXPECT_EQ(c.cache.blocks(), 1u);
  c.compute({5, 5, 6});
  EXPECT_EQ(c.cache.blocks(), 2u);
  EXPECT_TRUE(c.cache.make_room(20));
  EXPECT_EQ(c.cache.blocks(), 0u);
}

/// The same in a few lines: ids, oldest first, and pins.
struct Naive {
  std::vector<std::uint64_t> unpinned;
  std::map<std::uint64_t, int> pins;  // of everything that is here

  bool here(std::uint64_t id) const { return pins.count(id) != 0; }
  std::uint32_t match(const Blocks& blocks) const {
    std::uint32_t count = 0;
    while (count < blocks.size() && here(blocks[count])) ++count;
    return count;
  }
  void use(std::uint64_t id) {
    std::erase(unpinned, id);
    if (pins[id] == 0) unpinned.push_back(id);
  }
  void pin(const Blocks& blocks, std::uint32_t count) {
    for (std::uint32_t b = 0; b < count; ++b) {
      ++pins[blocks[b]];
      std::erase(unpinned, blocks[b]);
    }
  }
  void unpin(const Blocks& blocks, std::uint32_t count) {
    for (std::uint32_t b = count; b-- > 0;) {
      --pins[blocks[b]];
      use(blocks[b]);
    }
  }
  void keep(const Blocks& blocks, std::uint32_t first) {
    for (std::size_t b = blocks.size(); b-- > first;) use(blocks[b]);
  }
  /// `free` pages and the two of each block that leaves.
  void make_room(std::uint32_t free, std::uint32_t pages) {
    for (; free < pages && !unpinned.empty(); free += 2) {
      pins.erase(unpinned.front());
      unpinned.erase(unpinned.begin());
    }
  }
};

// Prompts are paths in a tree of ids: block n follows block n / 3, so prefixes are shared and every
// block has one predecessor.
TEST(PrefixCache, RandomUse) {
  constexpr std::uint32_t pages = 60;
  Cache c(pages);
  Naive naive;
  struct Running {
    Blocks blocks;
    std::uint32_t hits = 0;
    PageList own;
  };
  std::vector<Running> running;
  Random random(5);
  std::uint64_t hits = 0, refused = 0;
  for (int step = 0; step < 20'000; ++step) {
    if (random.chance(0.5)) {
      Running r;
      for (std::uint64_t id = random.between(1, 120); id > 0; id /= 3) r.blocks.push_back(id);
      std::reverse(r.blocks.begin(), r.blocks.end());
      ASSERT_EQ(c.cache.match(r.blocks), naive.match(r.blocks));
      r.hits = c.cache.match(r.blocks);
      PageList pinned;
      c.cache.pin(r.blocks, r.hits, pinned);
      naive.pin(r.blocks, r.hits);
      ASSERT_EQ(page_count(pinned), 2 * r.hits);
      const auto missing = static_cast<std::uint32_t>(2 * (r.blocks.size() - r.hits));
      naive.make_room(c.pool.free_pages(), missing);
      const bool room = c.cache.make_room(missing);
      if (room) {
        ASSERT_TRUE(c.pool.allocate(missing, r.own));
        hits += r.hits;
        running.push_back(std::move(r));
      } else {
        c.cache.unpin(r.blocks, r.hits);
        naive.unpin(r.blocks, r.hits);
        ++refused;
      }
    } else if (!running.empty()) {
      const std::size_t which = random.below(running.size());
      const Running r = std::move(running[which]);
      running.erase(running.begin() + static_cast<std::ptrdiff_t>(which));
      c.cache.keep(r.blocks, r.hits, r.own, static_cast<std::uint32_t>(r.blocks.size()));
      c.cache.unpin(r.blocks, r.hits);
      naive.keep(r.blocks, r.hits);
      naive.unpin(r.blocks, r.hits);
    }
    ASSERT_EQ(c.cache.blocks(), naive.pins.size());
    std::uint32_t held = c.pool.free_pages() + 2 * static_cast<std::uint32_t>(c.cache.blocks());
    for (const Running& r : running) held += page_count(r.own);
    ASSERT_EQ(held, pages) << "pages were lost";
    for (const auto& [id, pins] : naive.pins)
      ASSERT_TRUE(id < 3 || naive.here(id / 3)) << id << " outlived the block before it";
  }
  EXPECT_GT(hits, 1000u);
  EXPECT_GT(refused, 10u);
}

}  // namespace
}  // namespace kvhaul::test
