#include "core/paged_layout.h"

#include <algorithm>

namespace kvhaul {
namespace {

/// Walks along a page list; page numbers are asked for in ascending order.
class PageWalk {
 public:
  explicit PageWalk(const PageList& pages) : pages_(pages) {}

  /// The pool page that holds the request's page number `page`, and how many follow it in its run.
  PageRun at(std::uint32_t page) {
    while (page >= before_ + pages_[run_].count) before_ += pages_[run_++].count;
    const std::uint32_t into = page - before_;
    return {pages_[run_].first + into, pages_[run_].count - into};
  }

 private:
  const PageList& pages_;
  std::size_t run_ = 0;
  std::uint32_t before_ = 0;
};

void add(std::vector<Descriptor>& out, Bytes source, Bytes target, Bytes length) {
  if (!out.empty()) {
    Descriptor& last = out.back();
    if (last.source_offset + last.length == source && last.target_offset + last.length == target) {
      last.length += length;
      return;
    }
  }
  out.push_back({source, target, length});
}

bool alike(const PagedLayout& a, const PagedLayout& b) {
  return a.page_tokens == b.page_tokens && a.planes == b.planes && a.heads == b.heads &&
         a.first_head == b.first_head && a.head_bytes == b.head_bytes && a.order == b.order;
}

void map_whole_pages(const PagedLayout& source, PageWalk& from, const PagedLayout& target,
                     PageWalk& to, const PageSpan& span, std::vector<Descriptor>& out) {
  const Bytes page_bytes = source.page_bytes();
  std::uint32_t page = span.first_token / source.page_tokens;
  const std::uint32_t end = (span.end_token + source.page_tokens - 1) / source.page_tokens;
  while (page < end) {
    const PageRun a = from.at(page);
    const PageRun b = to.at(page);
    const std::uint32_t count = std::min({a.count, b.count, end - page});
    add(out, source.base + a.first * page_bytes, target.base + b.first * page_bytes,
        count * page_bytes);
    page += count;
  }
}

/// Offset of (plane, token in page, head of the model) from the start of a page.
Bytes offset_in_page(const PagedLayout& layout, std::uint32_t plane, std::uint32_t token,
                     std::uint32_t head) {
  const Bytes tokens = layout.page_tokens, heads = layout.heads, own = head - layout.first_head;
  const Bytes index = layout.order == PageOrder::tokens_first
                          ? (plane * tokens + token) * heads + own
                          : (plane * heads + own) * tokens + token;
  return index * layout.head_bytes;
}

}  // namespace

void map_pages(const PagedLayout& source, const PageList& source_pages, const PagedLayout& target,
               const PageList& target_pages, const PageSpan& span, std::vector<Descriptor>& out) {
  if (span.first_token >= span.end_token || span.first_head >= span.end_head) return;
  PageWalk from(source_pages);
  PageWalk to(target_pages);
  const bool all_heads =
      span.first_head == source.first_head && span.end_head == source.first_head + source.heads;
  if (alike(source, target) && all_heads) {
    map_whole_pages(source, from, target, to, span, out);
    return;
  }
  const std::uint32_t heads = span.end_head - span.first_head;
  for (std::uint32_t token = span.first_token; token < span.end_token;) {
    // As many tokens as lie in one page on both sides.
    const std::uint32_t in_source = token % source.page_tokens;
    const std::uint32_t in_target = token % target.page_tokens;
    const std::uint32_t count = std::min(
        {source.page_tokens - in_source, target.page_tokens - in_target, span.end_token - token});
    const Bytes source_page =
        source.base + from.at(token / source.page_tokens).first * source.page_bytes();
    const Bytes target_page =
        target.base + to.at(token / target.page_tokens).first * target.page_bytes();
    const auto piece = [&](std::uint32_t plane, std::uint32_t t, std::uint32_t head, Bytes length) {
      add(out, source_page + offset_in_page(source, plane, in_source + t, head),
          target_page + offset_in_page(target, plane, in_target + t, head), length);
    };
    for (std::uint32_t plane = 0; plane < source.planes; ++plane) {
      if (source.order == PageOrder::tokens_first && target.order == PageOrder::tokens_first) {
        // The heads of a token are neighbours on both sides.
        for (std::uint32_t t = 0; t < count; ++t)
          piece(plane, t, span.first_head, heads * source.head_bytes);
      } else if (source.order == PageOrder::heads_first && target.order == PageOrder::heads_first) {
        for (std::uint32_t head = span.first_head; head < span.end_head; ++head)
          piece(plane, 0, head, count * source.head_bytes);
      } else {
        for (std::uint32_t t = 0; t < count; ++t)
          for (std::uint32_t head = span.first_head; head < span.end_head; ++head)
            piece(plane, t, head, source.head_bytes);
      }
    }
    token += count;
  }
}

}  // namespace kvhaul
