// Drives one scheduler by hand: the test says when each chunk ends and how.
#pragma once

#include <algorithm>
#include <vector>

#include "core/scheduler.h"

namespace kvhaul::test {

class SchedulerDriver {
 public:
  explicit SchedulerDriver(SchedulerSetup setup) : scheduler(std::move(setup)) {}

  TransferId submit(Bytes bytes, TransferRequest request = {}) {
    const Descriptor piece{next_offset_, next_offset_, bytes};
    next_offset_ += bytes;
    request.descriptors = {&piece, 1};
    if (request.pair == no_id) request.pair = 0;
    const TransferId id = scheduler.submit(now, request);
    collect();
    return id;
  }

  /// Ends the oldest chunk in flight on the channel.
  void end(ChannelId channel, Outcome outcome = Outcome::ok) {
    const auto found = std::find_if(in_flight.begin(), in_flight.end(),
                                    [&](const PostAction& p) { return p.channel == channel; });
    const PostAction post = *found;
    in_flight.erase(found);
    complete({channel, outcome, post.post.chunk, now, now, now, 0});
  }

  void complete(const Completion& completion) {
    scheduler.complete(now, completion);
    collect();
  }
  void link(ChannelId channel, bool up) {
    scheduler.channel_change(now, {channel, up});
    collect();
  }
  void cancel(TransferId id) {
    scheduler.cancel(now, id);
    collect();
  }
  /// Moves the clock, firing the timer on the way as a runtime would.
  void advance_to(TimeNs time) {
    while (timer_ns <= time) {
      now = std::max(now, timer_ns);
      timer_ns = never_ns;
      scheduler.timer(now);
      collect();
    }
    now = time;
  }

  std::size_t on(ChannelId channel) const {
    return static_cast<std::size_t>(
        std::count_if(in_flight.begin(), in_flight.end(),
                      [&](const PostAction& p) { return p.channel == channel; }));
  }

  Scheduler scheduler;
  TimeNs now = 0;
  TimeNs timer_ns = never_ns;
  std::vector<PostAction> in_flight;  // oldest first
  std::vector<CancelAction> cancels;
  std::vector<TransferEnd> ends;
  std::vector<ControlMessage> messages;

 private:
  void collect() {
    Actions& actions = scheduler.actions();
    append(in_flight, actions.posts);
    append(cancels, actions.cancels);
    append(ends, actions.ends);
    append(messages, actions.messages);
    if (actions.timer_ns != never_ns) timer_ns = actions.timer_ns;
    actions.clear();
  }
  template <class T>
  static void append(std::vector<T>& to, const std::vector<T>& from) {
    to.insert(to.end(), from.begin(), from.end());
  }
  Bytes next_offset_ = 0;
};

}  // namespace kvhaul::test
