// The exchange of two processes of a run that are threads of a test.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "core/exchange.h"

namespace kvhaul::test {

class Mailboxes {
 public:
  void put(std::uint32_t from, std::uint32_t to, std::string_view bytes) {
    const std::lock_guard lock(mutex_);
    boxes_[{from, to}].emplace_back(bytes);
    filled_.notify_all();
  }
  Result<std::string> take(std::uint32_t from, std::uint32_t to) {
    std::unique_lock lock(mutex_);
    auto& box = boxes_[{from, to}];
    if (!filled_.wait_for(lock, std::chrono::seconds(60), [&] { return !box.empty(); }))
      return Error::failed("the other thread sends nothing");
    std::string bytes = std::move(box.front());
    box.pop_front();
    return bytes;
  }

 private:
  std::mutex mutex_;
  std::condition_variable filled_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::deque<std::string>> boxes_;
};

class ThreadExchange : public Exchange {
 public:
  ThreadExchange(Mailboxes& boxes, std::uint32_t rank) : boxes_(&boxes), rank_(rank) {}
  std::uint32_t rank() const override { return rank_; }
  std::uint32_t size() const override { return 2; }
  Result<void> send(std::uint32_t to, std::string_view bytes) override {
    boxes_->put(rank_, to, bytes);
    return {};
  }
  Result<std::string> receive(std::uint32_t from) override { return boxes_->take(from, rank_); }

 private:
  Mailboxes* boxes_;
  std::uint32_t rank_;
};

}  // namespace kvhaul::test
