#include "core/event_log.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <utility>

#include "core/event_log_codec.h"

namespace kvhaul {
namespace {

constexpr char magic[] = "kvhaul-log\n";
constexpr std::size_t magic_size = sizeof magic - 1;
constexpr std::uint8_t format_version = 4;
constexpr std::size_t flush_bytes = 1 << 20;

// The high half of a record's first byte. Bits 4 and 5 mean the same in every event.
constexpr std::uint8_t same_scheduler = 0x10;
constexpr std::uint8_t same_time = 0x20;
// submit
constexpr std::uint8_t single_piece = 0x40;
// complete: ok, of a chunk that is where the log saw it posted
constexpr std::uint8_t as_posted = 0x40;
// post: the chunk and the offsets are what the last submission of this scheduler leads one to
// expect
constexpr std::uint8_t next_generation = 0x10;
constexpr std::uint8_t whole_single_transfer = 0x20;
constexpr unsigned gather_shift = 6;  // the method, in two bits
static_assert(gather_count <= 4);
// end: delivered with one chunk per transfer, first attempt, preferred road
constexpr std::uint8_t plain_end = 0x10;

/// Slots are handed out densely, so a table indexed by them grows by one at a time; a slot far
/// beyond its end cannot come from a scheduler and is simply not remembered.
template <class T>
T* remember(std::vector<T>& table, std::uint32_t slot) {
  if (slot > table.size()) return nullptr;
  if (slot == table.size()) table.emplace_back();
  return &table[slot];
}
template <class T>
const T* recall(const std::vector<T>& table, std::uint32_t slot) {
  return slot < table.size() ? &table[slot] : nullptr;
}

std::vector<std::uint8_t> encode_head(std::span<const SchedulerSetup> setups) {
  std::vector<std::uint8_t> out(magic, magic + magic_size);
  out.push_back(format_version);
  detail::put_varint(out, setups.size());
  for (SchedulerSetup setup : setups) {
    detail::SetupWriter write{out};
    write(setup);
  }
  return out;
}

}  // namespace

// ---- Writing --------------------------------------------------------------------------------

EventLogWriter::EventLogWriter(std::span<const SchedulerSetup> setups, Sink sink)
    : sink_(std::move(sink)), buffer_(encode_head(setups)) {
  memory_.schedulers.resize(setups.size());
  buffer_.reserve(flush_bytes + (1 << 16));
}

void EventLogWriter::number(std::uint64_t value) { detail::put_varint(buffer_, value); }
void EventLogWriter::difference(std::uint64_t value, std::uint64_t base) {
  detail::put_difference(buffer_, value, base);
}

void EventLogWriter::flush() {
  hash_.add(buffer_);
  if (sink_) sink_failed_ = sink_failed_ || !sink_(buffer_);
  buffer_.clear();
}

void EventLogWriter::begin(std::uint8_t kind, std::uint8_t flags, std::uint32_t scheduler,
                           TimeNs now) {
  if (sink_ && buffer_.size() >= flush_bytes) [[unlikely]]
    flush();
  ++records_;
  if (scheduler == memory_.scheduler) flags |= same_scheduler;
  if (now == memory_.now) flags |= same_time;
  byte(kind | flags);
  if (scheduler != memory_.scheduler) number(scheduler);
  if (now != memory_.now) number(static_cast<std::uint64_t>(now - memory_.now));
  memory_.scheduler = scheduler;
  memory_.now = now;
}

void EventLogWriter::submit(std::uint32_t scheduler, TimeNs now, const TransferRequest& request) {
  const std::span<const Descriptor> pieces = request.descriptors;
  begin(static_cast<std::uint8_t>(LogRecord::submit), pieces.size() == 1 ? single_piece : 0,
        scheduler, now);
  number(request.pair);
  byte(static_cast<std::uint8_t>(request.priority));
  number(request.source_segment);
  number(request.target_segment);
  if (request.deadline_ns == never_ns) {
    byte(0);
  } else {
    byte(1);
    difference(static_cast<std::uint64_t>(request.deadline_ns), static_cast<std::uint64_t>(now));
  }
  difference(request.tag, memory_.tag);
  memory_.tag = request.tag;
  if (pieces.size() != 1) number(pieces.size());
  Descriptor expected = memory_.first;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    difference(pieces[i].source_offset, expected.source_offset);
    difference(pieces[i].target_offset, expected.target_offset);
    difference(pieces[i].length, expected.length);
    expected = {pieces[i].source_offset + pieces[i].length,
                pieces[i].target_offset + pieces[i].length, pieces[i].length};
  }
  if (!pieces.empty()) memory_.first = pieces.front();
}

void EventLogWriter::cancel(std::uint32_t scheduler, TimeNs now, TransferId transfer) {
  begin(static_cast<std::uint8_t>(LogRecord::cancel), 0, scheduler, now);
  number(slot_of(transfer));
  number(generation_of(transfer));
}

void EventLogWriter::complete(std::uint32_t scheduler, TimeNs now, const Completion& completion) {
  const std::uint32_t slot = slot_of(completion.chunk);
  const auto* chunk = recall(memory_.schedulers[scheduler].chunks, slot);
  const bool expected = chunk != nullptr && completion.outcome == Outcome::ok &&
                        chunk->generation == generation_of(completion.chunk) &&
                        chunk->channel == completion.channel &&
                        chunk->posted_ns == completion.posted_ns;
  begin(static_cast<std::uint8_t>(LogRecord::complete), expected ? as_posted : 0, scheduler, now);
  number(slot);
  if (!expected) {
    number(generation_of(completion.chunk));
    number(completion.channel);
    byte(static_cast<std::uint8_t>(completion.outcome));
    difference(static_cast<std::uint64_t>(completion.posted_ns), static_cast<std::uint64_t>(now));
  }
  difference(static_cast<std::uint64_t>(completion.started_ns),
             static_cast<std::uint64_t>(completion.posted_ns));
  difference(static_cast<std::uint64_t>(completion.done_ns), static_cast<std::uint64_t>(now));
}

void EventLogWriter::channel_change(std::uint32_t scheduler, TimeNs now,
                                    const ChannelChange& change) {
  begin(static_cast<std::uint8_t>(LogRecord::channel_change), 0, scheduler, now);
  number(change.channel);
  byte(change.up ? 1 : 0);
}

void EventLogWriter::credit(std::uint32_t scheduler, TimeNs now, const ControlMessage& message) {
  begin(static_cast<std::uint8_t>(LogRecord::credit), 0, scheduler, now);
  number(message.from);
  number(message.to);
  number(message.kind);
  number(message.place);
  number(message.value);
}

void EventLogWriter::timer(std::uint32_t scheduler, TimeNs now) {
  begin(static_cast<std::uint8_t>(LogRecord::timer), 0, scheduler, now);
}

void EventLogWriter::decisions(const Actions& actions, DecisionMark& mark) {
  detail::LogMemory::Scheduler& memory = memory_.schedulers[memory_.scheduler];
  for (; mark.posts < actions.posts.size(); ++mark.posts, ++records_) {
    const PostAction& action = actions.posts[mark.posts];
    const ChunkPost& post = action.post;
    const std::uint32_t slot = slot_of(post.chunk);
    const std::uint32_t generation = generation_of(post.chunk);
    detail::LogMemory::Chunk* chunk = remember(memory.chunks, slot);
    const bool next = chunk != nullptr && (generation == 0 || chunk->generation + 1 == generation);
    const bool whole = post.piece_count == 1 && post.piece == memory_.first;
    byte(static_cast<std::uint8_t>(static_cast<std::uint8_t>(LogRecord::post) |
                                   (next ? next_generation : 0) |
                                   (whole ? whole_single_transfer : 0) |
                                   (static_cast<unsigned>(post.gather) << gather_shift)));
    number(action.channel);
    number(slot);
    if (!next) number(generation);
    if (!whole) {
      number(post.piece_count);
      difference(post.piece.source_offset, memory_.first.source_offset);
      difference(post.piece.target_offset, memory_.first.target_offset);
      number(post.bytes);
    }
    if (chunk != nullptr) *chunk = {action.channel, generation, memory_.now};
  }
  for (; mark.cancels < actions.cancels.size(); ++mark.cancels, ++records_) {
    byte(static_cast<std::uint8_t>(LogRecord::cancel_chunk));
    number(actions.cancels[mark.cancels].channel);
    number(slot_of(actions.cancels[mark.cancels].chunk));
    number(generation_of(actions.cancels[mark.cancels].chunk));
  }
  for (; mark.ends < actions.ends.size(); ++mark.ends, ++records_) {
    const TransferEnd& end = actions.ends[mark.ends];
    const std::uint32_t slot = slot_of(end.id);
    std::uint32_t* generation = remember(memory.transfer_generations, slot);
    const bool next = generation != nullptr && *generation + 1 == generation_of(end.id);
    const bool plain = next && end.outcome == TransferOutcome::delivered && end.chunks == 1 &&
                       end.resent_chunks == 0 && end.fallback_tier == 0;
    byte(static_cast<std::uint8_t>(static_cast<std::uint8_t>(LogRecord::end) |
                                   (plain ? plain_end : 0)));
    number(slot);
    if (!plain) {
      number(generation_of(end.id));
      byte(static_cast<std::uint8_t>(end.outcome));
      byte(end.fallback_tier);
      number(end.chunks);
      number(end.resent_chunks);
      number(end.resent_bytes);
    }
    if (generation != nullptr) *generation = generation_of(end.id);
  }
  for (; mark.messages < actions.messages.size(); ++mark.messages, ++records_) {
    const ControlMessage& message = actions.messages[mark.messages];
    byte(static_cast<std::uint8_t>(LogRecord::message));
    number(message.to);
    number(message.kind);
    number(message.place);
    number(message.value);
  }
  if (actions.timer_ns != never_ns) {
    ++records_;
    byte(static_cast<std::uint8_t>(LogRecord::arm));
    difference(static_cast<std::uint64_t>(actions.timer_ns),
               static_cast<std::uint64_t>(memory_.now));
  }
}

Result<void> EventLogWriter::close() {
  byte(static_cast<std::uint8_t>(LogRecord::end_of_log));
  number(records_);
  flush();
  const std::uint64_t hash = hash_.value();
  for (unsigned i = 0; i < 64; i += 8) byte(static_cast<std::uint8_t>(hash >> i));
  flush();
  if (sink_failed_) return Error::failed("the event log could not be written to its end");
  return {};
}

// ---- Reading --------------------------------------------------------------------------------

namespace {

/// Bytes in memory, or of a file that is read as it is needed.
class LogSource {
 public:
  explicit LogSource(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
  explicit LogSource(std::ifstream file) : file_(std::move(file)) { read_more(); }

  std::span<const std::uint8_t> rest() const { return bytes_.subspan(position_); }
  void skip(std::size_t count) { position_ += count; }
  std::uint64_t offset() const { return dropped_ + position_; }
  /// False at the end of the log.
  bool read_more() {
    if (!file_.is_open() || file_.eof()) return false;
    held_.erase(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(position_));
    dropped_ += position_;
    position_ = 0;
    const std::size_t before = held_.size();
    held_.resize(before + std::max<std::size_t>(before, 4 << 20));
    file_.read(reinterpret_cast<char*>(held_.data() + before),
               static_cast<std::streamsize>(held_.size() - before));
    held_.resize(before + static_cast<std::size_t>(file_.gcount()));
    bytes_ = held_;
    return file_.gcount() > 0;
  }

 private:
  std::ifstream file_;
  std::vector<std::uint8_t> held_;
  std::span<const std::uint8_t> bytes_;
  std::size_t position_ = 0;
  std::uint64_t dropped_ = 0;
};

/// Whether a log, or each of several behind each other, ends with the checksum of what stands
/// before it. Where one ends is known by that and by the beginning of the next, without reading
/// records.
class ChecksumScan {
 public:
  void add(std::span<const std::uint8_t> bytes) {
    held_.insert(held_.end(), bytes.begin(), bytes.end());
    std::size_t from = 0;
    while (from + magic_size <= held_.size()) {
      const auto found = std::search(held_.begin() + static_cast<std::ptrdiff_t>(from), held_.end(),
                                     magic, magic + magic_size);
      if (found == held_.end()) break;
      const auto at = static_cast<std::size_t>(found - held_.begin());
      from = at + 1;
      if (!fits(at)) continue;
      held_.erase(held_.begin(), found);
      hash_ = {};
      from = 0;
    }
    const std::size_t kept = checksum_size + magic_size - 1;
    if (held_.size() < kept) return;
    hash_.add(std::span(held_).first(held_.size() - kept));
    held_.erase(held_.begin(), held_.end() - static_cast<std::ptrdiff_t>(kept));
  }
  /// Of the last one; called at the end.
  bool whole() const { return fits(held_.size()); }

 private:
  static constexpr std::size_t checksum_size = 8;

  bool fits(std::size_t end) const {
    if (end < checksum_size) return false;
    detail::StreamHash hash = hash_;
    hash.add(std::span(held_).first(end - checksum_size));
    std::uint64_t stands = 0;
    for (std::size_t i = 0; i < checksum_size; ++i)
      stands |= std::uint64_t{held_[end - checksum_size + i]} << (8 * i);
    return stands == hash.value();
  }

  std::vector<std::uint8_t> held_;  // not hashed yet
  detail::StreamHash hash_;         // of the log that is being read
};

struct LoggedEvent {
  LogRecord kind = LogRecord::timer;
  std::uint32_t scheduler = 0;
  TimeNs now = 0;
  TransferRequest request;
  std::vector<Descriptor> pieces;
  TransferId transfer = 0;
  Completion completion;
  ChannelChange change;
  ControlMessage message;
  std::uint64_t records = 0;  // end_of_log
  std::uint64_t hash = 0;     // end_of_log
};

/// 109 years, more than any replay lasts (replay_time_max_ns); differences and sums stay in range.
constexpr TimeNs latest = 3 * (TimeNs{1} << 60);
constexpr Bytes longest = Bytes{1} << 44;          // 16 TiB in one piece or transfer
constexpr std::uint64_t schedulers_max = 1 << 20;  // one a node: more than any cluster has

bool is_event(std::uint8_t kind) { return kind >= 1 && kind <= 6; }

}  // namespace

/// Decodes events, replays them into schedulers and compares what comes out with what stands there.
class LogVerifier {
 public:
  /// `untimed`: takes every record but the timers, as bytes; costs writing them once more.
  LogVerifier(LogSource source, std::string name, detail::StreamHash* untimed = nullptr)
      : source_(std::move(source)), name_(std::move(name)), untimed_hash_(untimed) {}

  /// Is told of every event.
  void tell(const LogVisitor& visit) { visit_ = &visit; }

  /// Of a log whose checksum does not fit: where that is noticed first.
  Error find_damage() {
    damaged_ = true;
    auto report = run();
    if (!report) return report.error();
    return Error::bad_input(name_ + ": byte " + std::to_string(difference_byte_) +
                            ": damaged: the checksum at the end does not fit; it is noticed first "
                            "in event " +
                            std::to_string(report_.events) + ", at the latest");
  }

  /// One log, or one of each process of a run.
  Result<VerifyReport> run() {
    do {
      if (auto read = run_one(); !read) return read.error();
      if (!report_.first_difference.empty()) return report_;
    } while (!source_.rest().empty());
    report_.identical = true;
    return report_;
  }

 private:
  Result<void> run_one() {
    event_ = {};
    schedulers_.clear();
    if (auto head = read_head(); !head) return head.error();
    ++report_.logs;
    report_.schedulers += schedulers_.size();
    while (true) {
      Result<bool> more = next_event();
      if (!more) return more.error();
      if (!*more) break;
      replay();
      if (auto same = compare(); !same) return same.error();
      if (!report_.first_difference.empty()) return {};
    }
    if (event_.hash != expected_hash())
      return damaged("the checksum at its end does not fit: the log has been changed");
    if (event_.records != writer_->records_)
      return damaged("its end mark counts " + std::to_string(event_.records) +
                     " records, but there are " + std::to_string(writer_->records_));
    source_.skip(end_mark_bytes_);
    return {};
  }

  /// What stands before the next event was written by `writer_`, too, so its memory is the
  /// reader's.
  const detail::LogMemory& memory() const { return writer_->memory_; }

  Error damaged(const std::string& what) const {
    return Error::bad_input(name_ + ": byte " + std::to_string(source_.offset()) +
                            (damaged_ ? ": damaged: " : ": ") + what);
  }

  /// Of everything before the checksum; what stands there has been written again, byte for byte.
  std::uint64_t expected_hash() {
    writer_->flush();
    writer_->byte(static_cast<std::uint8_t>(LogRecord::end_of_log));
    writer_->number(event_.records);
    writer_->flush();
    return writer_->hash_.value();
  }

  Result<void> read_head() {
    for (;;) {
      const auto bytes = source_.rest();
      detail::Cursor in(bytes.data(), bytes.data() + bytes.size());
      if (bytes.size() >= magic_size && std::memcmp(bytes.data(), magic, magic_size) != 0) {
        std::size_t alike = 0;
        for (std::size_t i = 0; i < magic_size; ++i)
          alike += bytes[i] == static_cast<std::uint8_t>(magic[i]) ? 1 : 0;
        if (alike < magic_size - 3) damaged_ = false;  // no log at all
        return damaged("expected a log written by 'kvhaul replay --record', found something else");
      }
      for (std::size_t i = 0; i < magic_size; ++i) in.byte();
      const std::uint8_t version = in.byte();
      if (!in.failed() && version != format_version)
        return damaged("expected log format version " + std::to_string(format_version) +
                       ", found version " + std::to_string(version));
      detail::Cursor ahead = in;
      if (const std::uint64_t count = ahead.varint(); count > schedulers_max)
        return damaged("the head names " + std::to_string(count) +
                       " schedulers; expected at most " + std::to_string(schedulers_max));
      std::vector<SchedulerSetup> setups;
      detail::SetupReader read{in};
      read(setups);
      if (in.failed()) {
        // A length beyond the bytes at hand is damage only when there are no more bytes to come.
        if (!in.absurd() && source_.read_more()) continue;
        return damaged(in.malformed() ? "the head is damaged" : "the log is truncated in its head");
      }
      if (setups.empty()) return damaged("the head names no scheduler");
      for (const SchedulerSetup& setup : setups)
        if (auto ok = check_setup(setup); !ok)
          return damaged("the head is damaged: " + ok.error().message);
      source_.skip(static_cast<std::size_t>(in.at() - bytes.data()));
      writer_ = std::make_unique<EventLogWriter>(setups, nullptr);
      if (untimed_hash_ != nullptr) {
        untimed_ = std::make_unique<EventLogWriter>(setups, nullptr);
        untimed_->buffer_.clear();  // the setups, which are no decisions
      }
      for (SchedulerSetup& setup : setups) schedulers_.emplace_back(std::move(setup));
      return {};
    }
  }

  /// False at the end mark.
  Result<bool> next_event() {
    for (;;) {
      const auto bytes = source_.rest();
      detail::Cursor in(bytes.data(), bytes.data() + bytes.size());
      const std::uint8_t first = in.byte();
      const std::uint8_t kind = first & 0x0f;
      if (!in.failed() && kind == static_cast<std::uint8_t>(LogRecord::end_of_log)) {
        if (first != kind) return damaged("a damaged end mark");
        event_.records = in.varint();
        event_.hash = 0;
        for (unsigned i = 0; i < 64; i += 8) event_.hash |= std::uint64_t{in.byte()} << i;
        if (!in.failed()) {
          end_mark_bytes_ = static_cast<std::size_t>(in.at() - bytes.data());
          while (source_.rest().size() < end_mark_bytes_ + magic_size && source_.read_more()) {
          }
          const auto behind = source_.rest().subspan(end_mark_bytes_);
          if (behind.empty() ||
              (behind.size() >= magic_size && std::memcmp(behind.data(), magic, magic_size) == 0))
            return false;
          return damaged("expected nothing behind the end mark but another log");
        }
      } else if (!in.failed()) {
        if (!is_event(kind))
          return damaged("expected an event, found a record of kind " + std::to_string(kind));
        decode(in, first);
        if (!in.failed()) return true;
        if (in.malformed())
          return damaged("a damaged " + std::string(kind_name(event_.kind)) + " event");
      }
      if (!source_.read_more()) return damaged("the log is truncated: it has no end mark");
    }
  }

  void decode(detail::Cursor& in, std::uint8_t first) {
    event_.kind = static_cast<LogRecord>(first & 0x0f);
    const bool same = (first & same_scheduler) != 0;
    event_.scheduler = same ? memory().scheduler : read_scheduler(in);
    event_.now = memory().now + ((first & same_time) != 0 ? 0 : read_step(in));
    switch (event_.kind) {
      case LogRecord::submit:
        return decode_submit(in, (first & single_piece) != 0);
      case LogRecord::cancel:
        event_.transfer = read_id(in);
        return;
      case LogRecord::complete:
        return decode_complete(in, (first & as_posted) != 0);
      case LogRecord::channel_change:
        event_.change.channel = static_cast<ChannelId>(in.varint());
        event_.change.up = in.flag();
        return;
      case LogRecord::credit:
        event_.message = {};
        event_.message.from = static_cast<NodeId>(in.varint());
        event_.message.to = static_cast<NodeId>(in.varint());
        event_.message.kind = static_cast<std::uint32_t>(in.varint());
        event_.message.place = static_cast<PlaceId>(in.varint());
        event_.message.value = in.varint();
        if (event_.message.value > Bytes{1} << 60) in.reject();
        return;
      default:
        return;
    }
  }

  std::uint32_t read_scheduler(detail::Cursor& in) const {
    const std::uint64_t scheduler = in.varint();
    if (scheduler < schedulers_.size()) return static_cast<std::uint32_t>(scheduler);
    in.reject();
    return 0;
  }

  TimeNs read_step(detail::Cursor& in) const {
    const std::uint64_t step = in.varint();
    if (step <= static_cast<std::uint64_t>(latest - memory().now)) return static_cast<TimeNs>(step);
    in.reject();
    return 0;
  }

  static std::uint64_t read_id(detail::Cursor& in) {
    const auto slot = static_cast<std::uint32_t>(in.varint());
    return make_id(slot, static_cast<std::uint32_t>(in.varint()));
  }

  static TimeNs read_time(detail::Cursor& in, TimeNs base) {
    const auto time = static_cast<TimeNs>(in.difference(static_cast<std::uint64_t>(base)));
    if (time < -latest || time > latest) in.reject();
    return time;
  }

  void decode_submit(detail::Cursor& in, bool single) {
    TransferRequest& request = event_.request;
    request = {};
    const std::uint64_t pair = in.varint();
    if (pair >= schedulers_[event_.scheduler].setup().pairs.size()) return in.reject();
    request.pair = static_cast<std::uint32_t>(pair);
    const std::uint8_t priority = in.byte();
    if (priority >= priority_count) return in.reject();
    request.priority = static_cast<Priority>(priority);
    request.source_segment = static_cast<SegmentId>(in.varint());
    request.target_segment = static_cast<SegmentId>(in.varint());
    request.deadline_ns = in.flag() ? read_time(in, event_.now) : never_ns;
    request.tag = in.difference(memory().tag);
    const std::uint64_t count = single ? 1 : in.varint();
    if (count == 0) return in.reject();
    event_.pieces.clear();
    Descriptor expected = memory().first;
    Bytes total = 0;
    for (std::uint64_t i = 0; i < count && !in.failed(); ++i) {
      Descriptor piece;
      piece.source_offset = in.difference(expected.source_offset);
      piece.target_offset = in.difference(expected.target_offset);
      piece.length = in.difference(expected.length);
      total += piece.length;
      if (!in.failed() &&
          (piece.length == 0 || piece.length > longest || total > longest ||
           piece.source_offset > Bytes{1} << 60 || piece.target_offset > Bytes{1} << 60))
        return in.reject();
      event_.pieces.push_back(piece);
      expected = {piece.source_offset + piece.length, piece.target_offset + piece.length,
                  piece.length};
    }
    request.descriptors = event_.pieces;
  }

  void decode_complete(detail::Cursor& in, bool expected) {
    Completion& completion = event_.completion;
    completion = {};
    const auto slot = static_cast<std::uint32_t>(in.varint());
    if (expected) {
      const auto* chunk = recall(memory().schedulers[event_.scheduler].chunks, slot);
      if (chunk == nullptr) return in.failed() ? void() : in.reject();
      completion.chunk = make_id(slot, chunk->generation);
      completion.channel = chunk->channel;
      completion.posted_ns = chunk->posted_ns;
    } else {
      completion.chunk = make_id(slot, static_cast<std::uint32_t>(in.varint()));
      completion.channel = static_cast<ChannelId>(in.varint());
      const std::uint8_t outcome = in.byte();
      if (outcome > static_cast<std::uint8_t>(Outcome::invalid)) return in.reject();
      completion.outcome = static_cast<Outcome>(outcome);
      completion.posted_ns = read_time(in, event_.now);
    }
    completion.started_ns = read_time(in, completion.posted_ns);
    completion.done_ns = read_time(in, event_.now);
  }

  /// Writes the event again, tells the scheduler, and writes its decisions.
  void replay() {
    ++report_.events;
    writer_->flush();  // what the last event left, or the head
    write_event(*writer_);
    Scheduler& scheduler = schedulers_[event_.scheduler];
    switch (event_.kind) {
      case LogRecord::submit:
        ++report_.transfers;
        event_.transfer = scheduler.submit(event_.now, event_.request);
        break;
      case LogRecord::cancel:
        scheduler.cancel(event_.now, event_.transfer);
        break;
      case LogRecord::complete:
        scheduler.complete(event_.now, event_.completion);
        break;
      case LogRecord::channel_change:
        scheduler.channel_change(event_.now, event_.change);
        break;
      case LogRecord::credit:
        scheduler.credit(event_.now, event_.message);
        break;
      default:
        scheduler.timer(event_.now);
        break;
    }
    Actions& actions = scheduler.actions();
    if (visit_ != nullptr && !damaged_) visit(actions, scheduler);
    DecisionMark mark;
    writer_->decisions(actions, mark);
    report_.chunks += static_cast<std::uint64_t>(
        std::count_if(actions.posts.begin(), actions.posts.end(),
                      [](const PostAction& action) { return !action.post.is_probe(); }));
    const std::size_t decided = actions.posts.size() + actions.cancels.size() +
                                actions.ends.size() + actions.messages.size();
    report_.decisions += decided + (actions.timer_ns != never_ns ? 1 : 0);
    if (untimed_ && (event_.kind != LogRecord::timer || decided != 0)) write_untimed(actions);
    actions.clear();
  }

  void visit(const Actions& actions, const Scheduler& scheduler) const {
    LogEntry entry{.kind = event_.kind,
                   .log = report_.logs - 1,
                   .scheduler = event_.scheduler,
                   .now = event_.now,
                   .transfer = event_.transfer,
                   .actions = &actions,
                   .state = &scheduler};
    if (event_.kind == LogRecord::submit) entry.request = &event_.request;
    if (event_.kind == LogRecord::complete) entry.completion = &event_.completion;
    if (event_.kind == LogRecord::channel_change) entry.change = &event_.change;
    if (event_.kind == LogRecord::credit) entry.message = &event_.message;
    (*visit_)(entry);
  }

  void write_event(EventLogWriter& writer) const {
    switch (event_.kind) {
      case LogRecord::submit:
        return writer.submit(event_.scheduler, event_.now, event_.request);
      case LogRecord::cancel:
        return writer.cancel(event_.scheduler, event_.now, event_.transfer);
      case LogRecord::complete:
        return writer.complete(event_.scheduler, event_.now, event_.completion);
      case LogRecord::channel_change:
        return writer.channel_change(event_.scheduler, event_.now, event_.change);
      case LogRecord::credit:
        return writer.credit(event_.scheduler, event_.now, event_.message);
      default:
        return writer.timer(event_.scheduler, event_.now);
    }
  }

  void write_untimed(Actions& actions) {
    actions.timer_ns = never_ns;
    write_event(*untimed_);
    DecisionMark mark;
    untimed_->decisions(actions, mark);
    untimed_hash_->add(untimed_->buffer_);
    untimed_->buffer_.clear();
  }

  Result<void> compare() {
    const std::vector<std::uint8_t>& made = writer_->buffer_;
    while (source_.rest().size() < made.size() && source_.read_more()) {
    }
    const auto stands = source_.rest();
    const std::size_t size = std::min(stands.size(), made.size());
    const auto [mine, theirs] = std::mismatch(
        made.begin(), made.begin() + static_cast<std::ptrdiff_t>(size), stands.begin());
    (void)theirs;
    if (mine != made.begin() + static_cast<std::ptrdiff_t>(size)) {
      describe(static_cast<std::size_t>(mine - made.begin()));
      return {};
    }
    if (size < made.size()) return damaged("the log is truncated: it has no end mark");
    source_.skip(made.size());
    // More decisions in the log than the scheduler made now?
    if (source_.rest().empty()) source_.read_more();
    if (!source_.rest().empty()) {
      const std::uint8_t kind = source_.rest().front() & 0x0f;
      if (kind >= 8 && kind <= 12) describe(made.size());
    }
    return {};
  }

  void describe(std::size_t at) {
    difference_byte_ = source_.offset() + at;
    report_.first_difference = name_ + ": event " + std::to_string(report_.events) + " (" +
                               std::string(kind_name(event_.kind)) + " at " +
                               std::to_string(event_.now) + " ns, scheduler " +
                               std::to_string(event_.scheduler) +
                               "): the recorded decisions differ from the ones made now, " +
                               std::to_string(at) + " bytes after the event began (byte " +
                               std::to_string(source_.offset() + at) + " of the log)";
  }

  static std::string_view kind_name(LogRecord kind) {
    switch (kind) {
      case LogRecord::submit:
        return "submit";
      case LogRecord::cancel:
        return "cancel";
      case LogRecord::complete:
        return "completion";
      case LogRecord::channel_change:
        return "channel change";
      case LogRecord::credit:
        return "credit";
      case LogRecord::timer:
        return "timer";
      default:
        return "other";
    }
  }

  LogSource source_;
  std::string name_;
  std::vector<Scheduler> schedulers_;
  std::unique_ptr<EventLogWriter> writer_;
  const LogVisitor* visit_ = nullptr;
  detail::StreamHash* untimed_hash_ = nullptr;
  std::unique_ptr<EventLogWriter> untimed_;
  LoggedEvent event_;
  std::size_t end_mark_bytes_ = 0;
  VerifyReport report_;
  bool damaged_ = false;  // that is known already
  std::uint64_t difference_byte_ = 0;
};

namespace {

Result<VerifyReport> read_bytes(std::span<const std::uint8_t> bytes, const std::string& name,
                                const LogVisitor* visit) {
  ChecksumScan scan;
  scan.add(bytes);
  LogVerifier verifier(LogSource(bytes), name);
  if (!scan.whole()) return verifier.find_damage();
  if (visit != nullptr) verifier.tell(*visit);
  return verifier.run();
}

Result<VerifyReport> read_file(const std::string& path, const LogVisitor* visit) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error::bad_input(path + ": cannot be read: " + std::strerror(errno));
  // What can be read once alone, such as a pipe, is kept.
  file.seekg(0, std::ios::end);
  const bool once = !file;
  file.clear();
  if (!once) file.seekg(0);
  ChecksumScan scan;
  std::vector<std::uint8_t> kept, block(4 << 20);
  do {
    file.read(reinterpret_cast<char*>(block.data()), static_cast<std::streamsize>(block.size()));
    const auto got = std::span(block).first(static_cast<std::size_t>(file.gcount()));
    if (once)
      kept.insert(kept.end(), got.begin(), got.end());
    else
      scan.add(got);
  } while (file);
  if (once) return read_bytes(kept, path, visit);
  file.clear();
  file.seekg(0);
  LogVerifier verifier(LogSource(std::move(file)), path);
  if (!scan.whole()) return verifier.find_damage();
  if (visit != nullptr) verifier.tell(*visit);
  return verifier.run();
}

}  // namespace

Result<VerifyReport> verify_log(std::span<const std::uint8_t> bytes, const std::string& name) {
  return read_bytes(bytes, name, nullptr);
}

Result<VerifyReport> verify_log(const std::string& path) { return read_file(path, nullptr); }

Result<VerifyReport> read_log(const std::string& path, const LogVisitor& visit) {
  return read_file(path, &visit);
}

Result<std::uint64_t> hash_without_timers(std::span<const std::uint8_t> bytes,
                                          const std::string& name) {
  detail::StreamHash hash;
  auto report = LogVerifier(LogSource(bytes), name, &hash).run();
  if (!report) return report.error();
  if (!report->identical) return Error::failed(report->first_difference);
  return hash.value();
}

}  // namespace kvhaul
