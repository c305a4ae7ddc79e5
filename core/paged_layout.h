// Where the bytes of a paged cache lie, and which of them have to go where when sender and receiver
// are laid out differently: another page size, another share of the heads, another order in a page.
//
// One region of one rank (the K of a layer, the V of a layer, or both together) is an array of
// pages. A page holds `page_tokens` tokens of the rank's heads, for each of its planes (K and V):
//
//   tokens_first   [plane][token][head][head_bytes]     vLLM's NHD
//   heads_first    [plane][head][token][head_bytes]     vLLM's HND
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/transfer.h"
#include "core/units.h"

namespace kvhaul {

enum class PageOrder : std::uint8_t { tokens_first, heads_first };

struct PagedLayout {
  Bytes base = 0;  // of the region in its segment
  std::uint32_t page_tokens = 16;
  std::uint32_t planes = 1;      // 2: K and V in one page
  std::uint32_t heads = 1;       // on this rank
  std::uint32_t first_head = 0;  // of the model's
  Bytes head_bytes = 0;          // one head of one token, one plane
  PageOrder order = PageOrder::tokens_first;

  Bytes page_bytes() const { return Bytes{planes} * page_tokens * heads * head_bytes; }
};

/// Pages that follow each other in the pool.
struct PageRun {
  std::uint32_t first = 0;
  std::uint32_t count = 0;

  friend bool operator==(const PageRun&, const PageRun&) = default;
};

/// The pages of a request, in the order of its tokens.
using PageList = std::vector<PageRun>;

inline std::uint32_t page_count(const PageList& pages) {
  std::uint32_t count = 0;
  for (const PageRun& run : pages) count += run.count;
  return count;
}

struct PageSpan {
  std::uint32_t first_token = 0;
  std::uint32_t end_token = 0;
  std::uint32_t first_head = 0;  // of the model's
  std::uint32_t end_head = 0;
};

/// Appends the descriptors that carry `span` from one layout to the other, in the order of tokens.
/// Both lists must have pages for all of the span, both layouts its heads. Where both are laid out
/// alike and all heads go, whole pages are moved, those that hold the first and the last token
/// included. Neighbours are joined as far as both sides allow.
void map_pages(const PagedLayout& source, const PageList& source_pages, const PagedLayout& target,
               const PageList& target_pages, const PageSpan& span, std::vector<Descriptor>& out);

}  // namespace kvhaul
