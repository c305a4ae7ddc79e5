#include "core/runtime.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/result.h"

namespace kvhaul {

Runtime::Runtime(Backend& backend, std::vector<SchedulerSetup> setups, EventLogWriter* log)
    : backend_(backend), log_(log) {
  schedulers_.reserve(setups.size());
  for (SchedulerSetup& setup : setups) {
    const auto index = static_cast<std::uint32_t>(schedulers_.size());
    for (const SetupChannel& channel : setup.channels) {
      if (channel.id >= scheduler_of_channel_.size())
        scheduler_of_channel_.resize(channel.id + 1, no_id);
      scheduler_of_channel_[channel.id] = index;
    }
    paths_.emplace_back(setup);
    schedulers_.emplace_back(std::move(setup));
  }
  timers_ns_.assign(schedulers_.size(), never_ns);
  marks_.assign(schedulers_.size(), {});
}

std::optional<PairHandle> Runtime::find_pair(PlaceId source, PlaceId target) const {
  for (std::uint32_t s = 0; s < schedulers_.size(); ++s)
    if (const auto pair = schedulers_[s].find_pair(source, target)) return PairHandle{s, *pair};
  return std::nullopt;
}

std::uint32_t Runtime::scheduler_of_node(NodeId node) const {
  for (std::uint32_t s = 0; s < schedulers_.size(); ++s)
    if (schedulers_[s].setup().node == node) return s;
  return no_id;
}

void Runtime::after_event(std::uint32_t s) {
  Actions& actions = schedulers_[s].actions();
  DecisionMark mark = marks_[s];
  if (log_ != nullptr) log_->decisions(actions, marks_[s]);
  for (; mark.posts < actions.posts.size(); ++mark.posts)
    paths_[s].posted(actions.posts[mark.posts]);
  for (; mark.ends < actions.ends.size(); ++mark.ends) {
    TransferEnd& end = actions.ends[mark.ends];
    end.last_flight = paths_[s].ended(end.id);
    if (end.outcome == TransferOutcome::delivered)
      paths_[s].add_parts(end.last_flight, end.submitted_ns, end.path);
  }
  marks_[s].posts = mark.posts;
  marks_[s].ends = mark.ends;
  if (actions.timer_ns == never_ns) [[likely]]
    return;
  timers_ns_[s] = actions.timer_ns;
  actions.timer_ns = never_ns;
}

TransferHandle Runtime::submit(TimeNs now, PairHandle pair, TransferRequest request) {
  request.pair = pair.pair;
  if (log_ != nullptr) log_->submit(pair.scheduler, now, request);
  const TransferId id = schedulers_[pair.scheduler].submit(now, request);
  paths_[pair.scheduler].submitted(now, id);
  after_event(pair.scheduler);
  return {pair.scheduler, id};
}

void Runtime::cancel(TimeNs now, TransferHandle transfer) {
  if (log_ != nullptr) log_->cancel(transfer.scheduler, now, transfer.transfer);
  schedulers_[transfer.scheduler].cancel(now, transfer.transfer);
  paths_[transfer.scheduler].happened(now);
  after_event(transfer.scheduler);
}

void Runtime::deliver_events(TimeNs now, RuntimeClient& client) {
  for (const ChannelChange& change : events_.changes) {
    const std::uint32_t s = scheduler_of_channel_[change.channel];
    if (log_ != nullptr) log_->channel_change(s, now, change);
    schedulers_[s].channel_change(now, change);
    paths_[s].happened(now);
    after_event(s);
  }
  if (!events_.completions.empty()) tell_of_chunks(client);
  for (const Completion& completion : events_.completions) {
    const std::uint32_t s = scheduler_of_channel_[completion.channel];
    if (log_ != nullptr) log_->complete(s, now, completion);
    schedulers_[s].complete(now, completion);
    paths_[s].completed(now, completion);
    after_event(s);
  }
  for (const ControlMessage& message : events_.messages) {
    if (message.kind >= first_client_message) {
      client.message(now, message);
      continue;
    }
    const std::uint32_t s = scheduler_of_node(message.to);
    if (s == no_id) continue;
    if (log_ != nullptr) log_->credit(s, now, message);
    schedulers_[s].credit(now, message);
    paths_[s].happened(now);
    after_event(s);
  }
  for (const NodeId node : events_.lost_nodes) client.node_lost(now, node);
}

/// Of users' chunks: probes are the schedulers' own business.
void Runtime::tell_of_chunks(RuntimeClient& client) {
  const auto is_probe = [](const Completion& completion) { return completion.bytes == 0; };
  const std::vector<Completion>& all = events_.completions;
  if (std::none_of(all.begin(), all.end(), is_probe)) [[likely]]
    return client.chunks_ended(all);
  users_chunks_.clear();
  std::remove_copy_if(all.begin(), all.end(), std::back_inserter(users_chunks_), is_probe);
  if (!users_chunks_.empty()) client.chunks_ended(users_chunks_);
}

void Runtime::fire_timers(TimeNs now) {
  for (std::uint32_t s = 0; s < schedulers_.size(); ++s) {
    if (timers_ns_[s] > now) continue;
    timers_ns_[s] = never_ns;
    if (log_ != nullptr) log_->timer(s, now);
    schedulers_[s].timer(now);
    paths_[s].happened(now);
    after_event(s);
  }
}

/// The client may submit while it hears of an end, and that may end something else at once.
void Runtime::deliver_ends(TimeNs now, RuntimeClient& client) {
  for (bool again = true; again;) {
    again = false;
    for (std::uint32_t s = 0; s < schedulers_.size(); ++s) {
      Actions& actions = schedulers_[s].actions();
      if (actions.ends.empty()) continue;
      again = true;
      ends_.swap(actions.ends);
      marks_[s].ends = 0;
      for (const TransferEnd& end : ends_) client.transfer_ended(now, end);
      ends_.clear();
    }
  }
}

void Runtime::post(const Actions& actions) {
  for (std::size_t i = 0; i < actions.posts.size();) {
    const ChannelId channel = actions.posts[i].channel;
    batch_.clear();
    for (; i < actions.posts.size() && actions.posts[i].channel == channel; ++i)
      batch_.push_back(actions.posts[i].post);
    backend_.post(channel, batch_);
  }
}

/// Takes out posts that a cancel of the same moment has met: to stop one chunk can cost a backend
/// the whole channel, and what is cancelled is not written from then on. The scheduler gets its one
/// completion for each with the next events.
void Runtime::withdraw(Actions& actions) {
  std::erase_if(actions.cancels, [&](const CancelAction& cancel) {
    const auto post =
        std::find_if(actions.posts.begin(), actions.posts.end(), [&](const PostAction& action) {
          return action.channel == cancel.channel && action.post.chunk == cancel.chunk;
        });
    if (post == actions.posts.end()) return false;
    const TimeNs now = backend_.now();
    withdrawn_.push_back(
        {cancel.channel, Outcome::cancelled, cancel.chunk, now, now, now, post->post.bytes});
    actions.posts.erase(post);
    return true;
  });
}

void Runtime::carry_out() {
  for (std::uint32_t s = 0; s < schedulers_.size(); ++s) {
    Actions& actions = schedulers_[s].actions();
    if (!actions.cancels.empty() && !actions.posts.empty()) [[unlikely]]
      withdraw(actions);
    post(actions);
    for (const CancelAction& cancel : actions.cancels)
      backend_.cancel(cancel.channel, cancel.chunk);
    for (const ControlMessage& message : actions.messages) backend_.send(message);
    actions.clear();
    marks_[s] = {};
    paths_[s].forget();
  }
}

TimeNs Runtime::next_timer_ns() const {
  return timers_ns_.empty() ? never_ns : *std::min_element(timers_ns_.begin(), timers_ns_.end());
}

bool Runtime::idle() const {
  return std::all_of(schedulers_.begin(), schedulers_.end(),
                     [](const Scheduler& s) { return s.open_transfers() == 0; });
}

bool Runtime::nothing_in_flight() const {
  return std::all_of(schedulers_.begin(), schedulers_.end(),
                     [](const Scheduler& s) { return s.chunks_in_flight() == 0; });
}

Result<void> Runtime::run(RuntimeClient& client) {
  bool only_a_message_can_come = false;
  for (;;) {
    const TimeNs now = backend_.now();
    events_.clear();
    backend_.progress(events_);
    events_.completions.insert(events_.completions.end(), withdrawn_.begin(), withdrawn_.end());
    withdrawn_.clear();
    if (only_a_message_can_come && events_.empty())
      return Error::failed("nothing can happen any more although transfers are open");
    deliver_events(now, client);
    fire_timers(now);
    deliver_ends(now, client);
    if (client.next_ns() <= now) {
      client.run(now);
      deliver_ends(now, client);
    }
    carry_out();
    if (log_ != nullptr && log_->run_must_end())
      return Error::failed("the event log could not be written");
    if (client.done() && idle()) return {};
    const TimeNs until = std::min(client.next_ns(), next_timer_ns());
    only_a_message_can_come = until == never_ns && nothing_in_flight();
    if (until > now && withdrawn_.empty()) backend_.wait(until);
  }
}

}  // namespace kvhaul
