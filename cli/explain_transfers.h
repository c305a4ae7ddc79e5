// What single transfers of a run waited for, chunk by chunk, from its event log.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/json_text.h"
#include "cli/log_follower.h"
#include "cli/log_names.h"
#include "core/result.h"

namespace kvhaul::cli {

/// One attempt of a chunk.
struct ChunkStory {
  ChannelId channel = 0;
  Bytes bytes = 0;
  TimeNs posted_ns = 0;
  bool at_once = false;                      // with the submission
  PathPart held_back_by = PathPart::window;  // else: why not before
  std::size_t ahead = 0;                     // chunks in flight on its channel when it was posted
  std::size_t usable = 0, channels = 0;      // of the best tier of its pair, then
  TimeNs started_ns = 0, landed_ns = 0, told_ns = never_ns;
  Outcome outcome = Outcome::ok;
};

struct TransferStory {
  LoggedTransfer transfer;
  std::vector<std::uint64_t> before;  // transfers of its pair that had not ended when it came
  std::size_t chunks_before = 0;      // of the pair, in flight then
  Bytes bytes_before = 0;
  std::vector<ChunkStory> chunks;
  TransferOutcome outcome = TransferOutcome::delivered;
  TimeNs ended_ns = never_ns;
  PathParts parts;  // where it was delivered
};

/// Of the transfers that are asked for, in the order of their submissions. Errors as in read_log();
/// a decision that differs is one, too. Warns where the log has not as many as the run.
Result<std::vector<TransferStory>> read_transfer_stories(
    const std::string& log, const RunDirectory& run,
    const std::function<bool(const LoggedTransfer&)>& wanted);

/// With all its chunks; times count from its submission.
std::string story_text(const TransferStory& story, const LogNames& names);
Json story_json(const TransferStory& story, const LogNames& names);

}  // namespace kvhaul::cli
