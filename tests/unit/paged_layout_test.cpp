#include "core/paged_layout.h"

#include <cstring>

#include <gtest/gtest.h>

#include "core/random.h"

namespace kvhaul {
namespace {

PagedLayout layout(std::uint32_t page_tokens, std::uint32_t first_head, std::uint32_t heads,
                   PageOrder order = PageOrder::tokens_first, std::uint32_t planes = 1) {
  PagedLayout l;
  l.page_tokens = page_tokens;
  l.planes = planes;
  l.heads = heads;
  l.first_head = first_head;
  l.head_bytes = 8;
  l.order = order;
  return l;
}

TEST(MapPages, LayoutsAlikeMoveWholeRuns) {
  const PagedLayout l = layout(16, 0, 4);  // pages of 512 B
  std::vector<Descriptor> out;
  map_pages(l, {{10, 3}, {50, 5}}, l, {{0, 6}, {90, 2}}, {0, 8 * 16, 0, 4}, out);
  // Source runs end at pages 3 and 8, target runs at 6 and 8: three pieces.
  EXPECT_EQ(out, (std::vector<Descriptor>{{10 * 512, 0, 3 * 512},
                                          {50 * 512, 3 * 512, 3 * 512},
                                          {53 * 512, 90 * 512, 2 * 512}}));
}

TEST(MapPages, AContiguousRequestIsOneDescriptor) {
  const PagedLayout l = layout(16, 0, 4);
  std::vector<Descriptor> out;
  map_pages(l, {{7, 100}}, l, {{300, 100}}, {0, 1155, 0, 4}, out);
  EXPECT_EQ(out,
            (std::vector<Descriptor>{{7 * 512, 300 * 512, 73 * 512}}));  // ceil(1155 / 16) = 73
}

TEST(MapPages, AHeadRangeIsAPieceForEveryToken) {
  std::vector<Descriptor> out;
  map_pages(layout(16, 0, 4), {{0, 1}}, layout(16, 2, 2), {{0, 1}}, {0, 3, 2, 4}, out);
  EXPECT_EQ(out, (std::vector<Descriptor>{{16, 0, 16}, {48, 16, 16}, {80, 32, 16}}));
}

TEST(MapPages, HeadsFirstKeepsTokensTogether) {
  std::vector<Descriptor> out;
  map_pages(layout(16, 0, 4, PageOrder::heads_first), {{0, 1}},
            layout(16, 2, 2, PageOrder::heads_first), {{0, 1}}, {0, 16, 2, 4}, out);
  EXPECT_EQ(out,
            (std::vector<Descriptor>{{2 * 128, 0, 256}}));  // both heads, neighbours on both sides
}

TEST(MapPages, AnEmptySpanIsNothing) {
  std::vector<Descriptor> out;
  map_pages(layout(16, 0, 4), {}, layout(16, 0, 4), {}, {5, 5, 0, 4}, out);
  EXPECT_TRUE(out.empty());
}

/// Every pair of small layouts: each (plane, token, head) of the span arrives where the target's
/// own layout says, and nothing else is written.
TEST(MapPages, AgreesWithTheLayoutsForAllSmallShapes) {
  Random random(11);
  for (int round = 0; round < 3000; ++round) {
    const auto pick = [&](std::initializer_list<std::uint32_t> from) {
      return from.begin()[random.below(from.size())];
    };
    const std::uint32_t planes = pick({1, 2});
    const std::uint32_t all_heads = pick({1, 2, 4, 8});
    const auto rank = [&] {
      const std::uint32_t ranks = std::min(all_heads, pick({1, 2, 4}));
      const std::uint32_t heads = all_heads / ranks;
      return layout(pick({1, 2, 4, 16}), heads * static_cast<std::uint32_t>(random.below(ranks)),
                    heads, random.chance(0.5) ? PageOrder::tokens_first : PageOrder::heads_first,
                    planes);
    };
    const PagedLayout source = rank(), target = rank();
    const std::uint32_t first_head = std::max(source.first_head, target.first_head);
    const std::uint32_t end_head =
        std::min(source.first_head + source.heads, target.first_head + target.heads);
    const auto tokens = static_cast<std::uint32_t>(random.between(1, 40));
    const auto first = static_cast<std::uint32_t>(random.below(tokens));
    const PageSpan span{first, tokens, first_head, end_head};
    const auto pages = [&](const PagedLayout& l) {
      PageList list;
      std::uint32_t needed = (tokens + l.page_tokens - 1) / l.page_tokens, at = 0;
      while (needed > 0) {
        const auto run = static_cast<std::uint32_t>(random.between(1, needed));
        at += static_cast<std::uint32_t>(random.below(3));
        list.push_back({at, run});
        at += run;
        needed -= run;
      }
      if (random.chance(0.5)) std::reverse(list.begin(), list.end());
      return list;
    };
    const PageList source_pages = pages(source), target_pages = pages(target);
    const auto where = [](const PagedLayout& l, const PageList& list, std::uint32_t plane,
                          std::uint32_t token, std::uint32_t head) {
      std::uint32_t page = token / l.page_tokens, pool_page = 0;
      for (const PageRun& run : list) {
        if (page < run.count) {
          pool_page = run.first + page;
          break;
        }
        page -= run.count;
      }
      const Bytes in_page = token % l.page_tokens;
      const Bytes index =
          l.order == PageOrder::tokens_first
              ? (plane * l.page_tokens + in_page) * l.heads + (head - l.first_head)
              : (Bytes{plane} * l.heads + (head - l.first_head)) * l.page_tokens + in_page;
      return pool_page * l.page_bytes() + index * l.head_bytes;
    };
    std::vector<Descriptor> out;
    map_pages(source, source_pages, target, target_pages, span, out);
    std::vector<std::uint8_t> from(200'000, 0), to(200'000, 0);
    for (std::uint32_t plane = 0; plane < planes; ++plane)
      for (std::uint32_t t = 0; t < tokens; ++t)
        for (std::uint32_t h = source.first_head; h < source.first_head + source.heads; ++h)
          std::memset(&from[where(source, source_pages, plane, t, h)],
                      static_cast<int>(1 + (plane * 131 + t * 7 + h) % 250), 8);
    for (const Descriptor& d : out) {
      ASSERT_GT(d.length, 0u);
      std::memcpy(&to[d.target_offset], &from[d.source_offset], d.length);
    }
    for (std::uint32_t plane = 0; plane < planes; ++plane)
      for (std::uint32_t t = span.first_token; t < span.end_token; ++t)
        for (std::uint32_t h = first_head; h < end_head; ++h)
          ASSERT_EQ(to[where(target, target_pages, plane, t, h) + 7],
                    1 + (plane * 131 + t * 7 + h) % 250)
              << "round " << round;
  }
}

}  // namespace
}  // namespace kvhaul
