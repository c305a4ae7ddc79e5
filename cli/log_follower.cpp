#include "cli/log_follower.h"

namespace kvhaul::cli {

std::optional<LoggedTransfer> LogFollower::known(TransferId id) const {
  const std::uint32_t slot = slot_of(id);
  if (slot >= state_->numbers.size()) return std::nullopt;
  const auto found = state_->open.find(state_->numbers[slot]);
  if (found == state_->open.end() || found->second.id != id) return std::nullopt;
  return found->second;
}

void LogFollower::follow(const LogEntry& entry) {
  const SchedulerSetup& setup = entry.state->setup();
  state_ = &states_.try_emplace({entry.log, entry.scheduler}, setup).first->second;
  transfer_.reset();
  chunk_.reset();
  ended_.clear();
  CriticalPath& path = state_->path;

  if (entry.kind == LogRecord::submit) {
    path.submitted(entry.now, entry.transfer);
    const TransferRequest& request = *entry.request;
    LoggedTransfer transfer{.number = transfers_++,
                            .id = entry.transfer,
                            .pair = request.pair,
                            .source = setup.pairs[request.pair].source,
                            .target = setup.pairs[request.pair].target,
                            .tag = request.tag,
                            .pieces = request.descriptors.size(),
                            .submitted_ns = entry.now,
                            .deadline_ns = request.deadline_ns,
                            .priority = request.priority};
    for (const Descriptor& piece : request.descriptors) transfer.bytes += piece.length;
    const std::uint32_t slot = slot_of(entry.transfer);
    if (slot >= state_->numbers.size()) state_->numbers.resize(slot + 1);
    state_->numbers[slot] = transfer.number;
    state_->open[transfer.number] = transfer;
    transfer_ = transfer;
  } else if (entry.kind == LogRecord::complete) {
    path.completed(entry.now, *entry.completion);
    if (const auto found = state_->in_flight.find(entry.completion->chunk);
        found != state_->in_flight.end()) {
      chunk_ = found->second;
      state_->in_flight.erase(found);
    }
  } else {
    path.happened(entry.now);
    if (entry.kind == LogRecord::cancel) transfer_ = known(entry.transfer);
  }

  const Actions& actions = *entry.actions;
  for (const PostAction& action : actions.posts) {
    path.posted(action);
    LoggedChunk& chunk = state_->in_flight[action.post.chunk];
    chunk = {{}, action.channel, action.post.bytes, entry.now};
    if (const auto id = entry.state->transfer_of(action.post.chunk))
      chunk.transfer = state_->numbers[slot_of(*id)];
  }
  for (TransferEnd end : actions.ends) {
    end.last_flight = path.ended(end.id);
    const auto transfer = known(end.id);
    if (!transfer) continue;  // every end is of something submitted
    if (end.outcome == TransferOutcome::delivered)
      path.add_parts(end.last_flight, end.submitted_ns, end.path);
    ended_.emplace_back(*transfer, end);
    state_->open.erase(transfer->number);
  }
  path.forget();
}

}  // namespace kvhaul::cli
