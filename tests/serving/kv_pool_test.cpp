// The pool of KV pages: what it gives out, in how many runs, and that it takes everything back.
#include "serving/kv_pool.h"

#include <set>

#include <gtest/gtest.h>

namespace kvhaul::test {
namespace {

TEST(KvPool, OneRunFromTheFirstGapThatIsLongEnough) {
  KvPool pool(100, {}, 1);
  PageList a, b, c, d;
  ASSERT_TRUE(pool.allocate(10, a));
  ASSERT_TRUE(pool.allocate(20, b));
  ASSERT_TRUE(pool.allocate(30, c));
  EXPECT_EQ(a, (PageList{{0, 10}}));
  EXPECT_EQ(c, (PageList{{30, 30}}));
  EXPECT_EQ(pool.free_pages(), 40u);
  pool.release(a);
  ASSERT_TRUE(pool.allocate(15, d));  // the gap of 10 is too short
  EXPECT_EQ(d, (PageList{{60, 15}}));
}

// Free: 0..9 and 30..39. 15 pages do not lie together anywhere.
TEST(KvPool, MoreRunsOnlyWhenNoneIsLongEnough) {
  KvPool pool(40, {}, 1);
  PageList a, b, c;
  ASSERT_TRUE(pool.allocate(10, a));
  ASSERT_TRUE(pool.allocate(20, b));
  pool.release(a);
  ASSERT_TRUE(pool.allocate(15, c));
  EXPECT_EQ(page_count(c), 15u);
  EXPECT_EQ(c.size(), 2u);
}

TEST(KvPool, TakesNothingWhenThereIsTooLittle) {
  KvPool pool(10, {}, 1);
  PageList a, b;
  ASSERT_TRUE(pool.allocate(8, a));
  EXPECT_FALSE(pool.allocate(3, b));
  EXPECT_TRUE(b.empty());
  EXPECT_EQ(pool.free_pages(), 2u);
  EXPECT_TRUE(pool.allocate(2, b));
  EXPECT_EQ(pool.free_pages(), 0u);
  EXPECT_FALSE(pool.allocate(1, b));
  EXPECT_TRUE(pool.allocate(0, b));
}

TEST(KvPool, NoPages) {
  KvPool pool(0, {}, 1);
  PageList a;
  EXPECT_FALSE(pool.allocate(1, a));
  EXPECT_TRUE(pool.allocate(0, a));
}

TEST(KvPool, FreePagesGrowTogetherAgain) {
  KvPool pool(30, {}, 1);
  PageList a, b, c, whole;
  ASSERT_TRUE(pool.allocate(10, a) && pool.allocate(10, b) && pool.allocate(10, c));
  pool.release(a);
  pool.release(c);
  pool.release(b);  // joins the two
  ASSERT_TRUE(pool.allocate(30, whole));
  EXPECT_EQ(whole, (PageList{{0, 30}}));
}

// 4 runs of 16 pages in a pool of 100,000: they neither touch nor get cut.
TEST(KvPool, AsManyRunsAsAsked) {
  KvPool pool(100'000, {.runs = 4}, 1);
  PageList pages;
  ASSERT_TRUE(pool.allocate(64, pages));
  ASSERT_EQ(pages.size(), 4u);
  for (const PageRun& run : pages) EXPECT_EQ(run.count, 16u);
}

TEST(KvPool, NoMoreRunsThanPages) {
  KvPool pool(100'000, {.runs = 8}, 1);
  PageList pages;
  ASSERT_TRUE(pool.allocate(3, pages));
  EXPECT_EQ(pages.size(), 3u);
}

TEST(KvPool, Scattered) {
  KvPool pool(100'000, {.scattered = true}, 1);
  PageList pages;
  ASSERT_TRUE(pool.allocate(64, pages));
  EXPECT_EQ(pages.size(), 64u);
}

TEST(KvPool, SameSeedSamePages) {
  KvPool one(1000, {.scattered = true}, 7), two(1000, {.scattered = true}, 7),
      three(1000, {.scattered = true}, 8);
  PageList a, b, c;
  ASSERT_TRUE(one.allocate(50, a) && two.allocate(50, b) && three.allocate(50, c));
  EXPECT_EQ(a, b);
  EXPECT_NE(a, c);
}

/// Against a plain set of free pages.
TEST(KvPool, RandomUse) {
  const Contiguity kinds[] = {{}, {.runs = 3}, {.scattered = true}};
  for (const Contiguity& contiguity : kinds) {
    constexpr std::uint32_t size = 200;
    KvPool pool(size, contiguity, 3);
    std::set<std::uint32_t> free;
    for (std::uint32_t page = 0; page < size; ++page) free.insert(page);
    std::vector<PageList> held;
    Random random(11);
    for (int step = 0; step < 5000; ++step) {
      if (random.chance(0.55)) {
        const auto count = static_cast<std::uint32_t>(random.between(0, 40));
        std::uint32_t longest = 0, run = 0;
        for (std::uint32_t page = 0; page < size; ++page) {
          run = free.count(page) != 0 ? run + 1 : 0;
          longest = std::max(longest, run);
        }
        PageList pages;
        const bool enough = count <= free.size();
        ASSERT_EQ(pool.allocate(count, pages), enough);
        if (!enough) continue;
        ASSERT_EQ(page_count(pages), count);
        const bool together = contiguity.runs == 1 && !contiguity.scattered && count > 0;
        ASSERT_TRUE(!together || (pages.size() == 1) == (count <= longest));
        for (const PageRun& part : pages)
          for (std::uint32_t page = part.first; page < part.first + part.count; ++page)
            ASSERT_EQ(free.erase(page), 1u) << "page " << page << " was given out twice";
        held.push_back(std::move(pages));
      } else if (!held.empty()) {
        const std::size_t which = random.below(held.size());
        pool.release(held[which]);
        for (const PageRun& part : held[which])
          for (std::uint32_t page = part.first; page < part.first + part.count; ++page)
            free.insert(page);
        held.erase(held.begin() + static_cast<std::ptrdiff_t>(which));
      }
      ASSERT_EQ(pool.free_pages(), free.size());
    }
    for (const PageList& pages : held) pool.release(pages);
    EXPECT_EQ(pool.free_pages(), size);
  }
}

}  // namespace
}  // namespace kvhaul::test
