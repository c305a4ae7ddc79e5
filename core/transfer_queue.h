// The transfers of one pair that still have something to post, in the order they should go.
//
// Order: class first, then the earlier deadline, then the earlier submission. With every
// SchedulerConfig::ageing_ns since its submission a transfer moves up one class, so that none
// starves; inside a class deadlines do that by themselves, because time makes every deadline early.
//
// Entries are lazy: a transfer that is issued or gone stays in the heap until it comes to the top.
// The queue knows transfers by slot number only and asks its Table about them.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "core/transfer.h"
#include "core/units.h"

namespace kvhaul {

/// Compares heads of different pairs, too. Smaller goes first.
struct TransferOrder {
  std::uint8_t priority_class = 0xff;
  TimeNs deadline_ns = never_ns;
  std::uint64_t sequence = ~std::uint64_t{0};

  friend auto operator<=>(const TransferOrder&, const TransferOrder&) = default;
};

/// What a queue keeps inside each transfer.
struct QueueHook {
  std::uint64_t sequence = 0;  // of submission; unique, never reused
  TimeNs deadline_ns = never_ns;
  TimeNs class_since_ns = 0;                   // before push(): since submission
  std::uint32_t older = no_id, newer = no_id;  // waiting in the same class, by class_since_ns
  std::uint8_t priority_class = 0;             // before push(): as submitted
  bool waiting = false;
};

/// Table: hook(slot) gives the QueueHook& of a transfer.
template <class Table>
class TransferQueue {
 public:
  explicit TransferQueue(TimeNs ageing_ns) : ageing_ns_(ageing_ns) {}

  bool empty() const { return waiting_ == 0; }

  /// The transfer's hook must hold its sequence, deadline, class and since when it has had it; a
  /// transfer that was here before still does. True when it is now the head.
  bool push(Table& table, std::uint32_t slot, TimeNs now) {
    QueueHook& hook = table.hook(slot);
    hook.waiting = true;
    for (; hook.priority_class != 0 && now - hook.class_since_ns >= ageing_ns_;
         --hook.priority_class)
      hook.class_since_ns += ageing_ns_;
    ++waiting_;
    enter(table, slot, hook);
    if (head_ == no_id && waiting_ > 1) return head(table, now) == slot;
    if (head_ != no_id && order(table.hook(head_)) < order(hook)) return false;
    head_ = slot;
    return true;
  }

  void remove(Table& table, std::uint32_t slot) {
    QueueHook& hook = table.hook(slot);
    hook.waiting = false;
    --waiting_;
    if (slot == head_) head_ = no_id;
    unlink(table, hook);
  }

  /// The transfer to serve now, or no_id. Promotes what has aged.
  std::uint32_t head(Table& table, TimeNs now) {
    if (head_ != no_id && now < promotion_ns_) [[likely]]
      return head_;
    if (waiting_ == 0) return no_id;
    promotion_ns_ = never_ns;
    for (std::uint8_t c = priority_count - 1; c > 0; --c) promote(table, c, now);
    return head_ = find_head(table);
  }

  /// Every waiting transfer, in no particular order.
  template <class Visit>
  void for_each(Table& table, Visit visit) const {
    for (std::size_t c = 0; c < priority_count; ++c)
      for (std::uint32_t slot = oldest_[c]; slot != no_id;) {
        const std::uint32_t next = table.hook(slot).newer;
        visit(slot);
        slot = next;
      }
  }

 private:
  std::uint32_t find_head(Table& table) {
    for (auto& heap : heaps_) {
      while (!heap.empty()) {
        if (is_current(table, heap, heap.front())) return heap.front().slot;
        std::pop_heap(heap.begin(), heap.end(), Entry::later);
        heap.pop_back();
      }
    }
    return no_id;
  }

  struct Entry {
    TimeNs deadline_ns;
    std::uint64_t sequence;
    std::uint32_t slot;
    static bool later(const Entry& a, const Entry& b) {
      return a.deadline_ns != b.deadline_ns ? a.deadline_ns > b.deadline_ns
                                            : a.sequence > b.sequence;
    }
  };

  using Heap = std::vector<Entry>;

  bool is_current(Table& table, const Heap& heap, const Entry& entry) const {
    const QueueHook& hook = table.hook(entry.slot);
    return hook.waiting && hook.sequence == entry.sequence && &heap == &heaps_[hook.priority_class];
  }

  void drop_stale(Table& table, Heap& heap) {
    std::erase_if(heap, [&](const Entry& entry) { return !is_current(table, heap, entry); });
    std::make_heap(heap.begin(), heap.end(), Entry::later);
  }

  void enter(Table& table, std::uint32_t slot, QueueHook& hook) {
    auto& heap = heaps_[hook.priority_class];
    if (heap.size() > 2 * waiting_ + 64) drop_stale(table, heap);
    heap.push_back({hook.deadline_ns, hook.sequence, slot});
    std::push_heap(heap.begin(), heap.end(), Entry::later);
    if (hook.priority_class != 0)
      promotion_ns_ = std::min(promotion_ns_, add_time(hook.class_since_ns, ageing_ns_));
    // At the young end, but for a promotion that was noticed late.
    std::uint32_t older = newest_[hook.priority_class];
    std::uint32_t newer = no_id;
    while (older != no_id && table.hook(older).class_since_ns > hook.class_since_ns) {
      newer = older;
      older = table.hook(older).older;
    }
    hook.older = older;
    hook.newer = newer;
    (older == no_id ? oldest_[hook.priority_class] : table.hook(older).newer) = slot;
    (newer == no_id ? newest_[hook.priority_class] : table.hook(newer).older) = slot;
  }

  void unlink(Table& table, QueueHook& hook) {
    (hook.older == no_id ? oldest_[hook.priority_class] : table.hook(hook.older).newer) =
        hook.newer;
    (hook.newer == no_id ? newest_[hook.priority_class] : table.hook(hook.newer).older) =
        hook.older;
  }

  void promote(Table& table, std::uint8_t from, TimeNs now) {
    while (oldest_[from] != no_id) {
      const std::uint32_t slot = oldest_[from];
      QueueHook& hook = table.hook(slot);
      const TimeNs due = add_time(hook.class_since_ns, ageing_ns_);
      if (now < due) {
        promotion_ns_ = std::min(promotion_ns_, due);
        return;
      }
      unlink(table, hook);
      hook.priority_class = static_cast<std::uint8_t>(from - 1);
      hook.class_since_ns = due;  // not now: whoever looks late does not make it wait longer
      enter(table, slot, hook);
    }
  }

  static TransferOrder order(const QueueHook& hook) {
    return {hook.priority_class, hook.deadline_ns, hook.sequence};
  }

  TimeNs ageing_ns_;
  std::uint32_t head_ = no_id;      // when it is known
  TimeNs promotion_ns_ = never_ns;  // nothing ages before
  std::array<Heap, priority_count> heaps_;
  std::array<std::uint32_t, priority_count> oldest_{no_id, no_id, no_id};
  std::array<std::uint32_t, priority_count> newest_{no_id, no_id, no_id};
  std::size_t waiting_ = 0;
};

}  // namespace kvhaul
