#include "traces/trace.h"

#include <algorithm>
#include <istream>
#include <limits>
#include <unordered_map>
#include <utility>

#include "core/random.h"
#include "traces/fields.h"
#include "traces/layout.h"

namespace kvhaul {
namespace {

using Text = TraceLayout::Text;
using Time = TraceLayout::Time;

std::uint64_t blocks_of(std::uint32_t tokens, std::uint32_t block_tokens) {
  return block_tokens == 0 ? 0 : (std::uint64_t{tokens} + block_tokens - 1) / block_tokens;
}

/// The same number for the same text, and not 0.
std::uint64_t session_number(std::string_view text) {
  std::uint64_t hash = text.size();
  for (const char c : text) hash = mix64(hash ^ static_cast<unsigned char>(c));
  return hash == 0 ? 1 : hash;
}

/// A JSON string without its quotes.
std::string_view unquoted(std::string_view text) {
  return text.size() >= 2 && text.front() == '"' && text.back() == '"'
             ? text.substr(1, text.size() - 2)
             : text;
}

/// Turns the rows of any format into requests: units, order, sessions, and what is counted.
class FileReader final : public TraceReader {
 public:
  FileReader(std::string name, Recognised recognised, const TraceReading& reading,
             OpenedRows opened)
      : name_(std::move(name)),
        names_(std::move(recognised.names)),
        layout_(recognised.layout),
        any_order_(reading.any_order || reading.parts),
        parts_(reading.parts),
        parts_share_ids_(reading.parts_share_ids),
        info_{recognised.format, opened.block_tokens, opened.has_arrivals, opened.has_sessions,
              std::move(recognised.assumed)},
        rows_(std::move(opened.rows)) {
    has_clock_ =
        reading.times_as_written || (info_.format == TraceFormat::kvhaul && !reading.parts);
    if (has_clock_) start_ns_ = 0;
  }

  const TraceInfo& info() const override { return info_; }
  TraceCounts counts() const override { return counts_; }

  Result<bool> next(TraceRequest& request) override {
    for (;;) {
      if (!waiting_.empty() && (rows_ == nullptr || waiting_.front().time_ns <= latest_ns_)) {
        std::ranges::pop_heap(waiting_, later);
        given_ns_ = waiting_.back().time_ns;
        std::swap(request, waiting_.back().request);
        waiting_.pop_back();
        return true;
      }
      if (rows_ == nullptr) return false;
      Result<bool> given = next_row(request);
      if (!given) {
        rows_.reset();
        waiting_.clear();
      }
      if (!given || *given) return given;
    }
  }

 private:
  /// True: `request` is one. False: look again; the row was dropped, or waits for its time.
  Result<bool> next_row(TraceRequest& request) {
    Result<bool> more = rows_->next(row_);
    if (!more) return more;
    if (!*more) {
      rows_.reset();
      if (counts_.rows > 0) return false;
      return expected_not(name_, std::max<std::uint64_t>(row_.line, 1), "at least one request",
                          "the end of the file");
    }
    if (row_.begins_again) return begin_part();
    look_for_part();
    request.line = row_.line;
    const Result<std::uint64_t> session = parse_session();
    if (!session) return session.error();
    request.session = *session;
    if (!row_.turns.empty()) return read_turns(request);
    const bool later_turn = row_.time.empty() && !row_.delay.empty();
    const Result<TimeNs> time_ns = later_turn ? after_turn_before(*session) : row_time();
    if (!time_ns) return time_ns.error();
    if (auto ok = take_tokens(row_.input, row_.output, request); !ok) return ok.error();
    if (!layout_.delay.empty() && *session != 0) turn_before_ns_[*session] = *time_ns;
    counts_.later_turns += later_turn;
    if (request.input_tokens == 0) return false;
    if (auto ok = take_prefix(request); !ok) return ok.error();
    return place(request, *time_ns, later_turn || !waiting_.empty());
  }

  /// The beginning of another file in this one has been read. False: look for its first row.
  Result<bool> begin_part() {
    if (!parts_)
      return expected_not(name_, row_.line, "one trace",
                          "the beginning of another: 'kvhaul trace merge --parts' puts the two "
                          "together by time");
    if (counts_.rows == rows_before_part_) return false;  // our own format has two first lines
    ++counts_.further_parts;
    rows_before_part_ = counts_.rows;
    latest_of_part_ns_.reset();
    turn_before_ns_.clear();
    if (!has_clock_) start_ns_.reset();
    return false;
  }
  /// A row whose time goes back begins another, too.
  void look_for_part() {
    if (!parts_ || row_.time.empty()) return;
    const std::optional<TimeNs> time_ns = parse_time();
    if (!time_ns) return;  // said where it is read
    if (latest_of_part_ns_ && *latest_of_part_ns_ - trace_back_max_ns > *time_ns)
      (void)begin_part();
    latest_of_part_ns_ = std::max(latest_of_part_ns_.value_or(*time_ns), *time_ns);
  }
  /// What is equal in two parts is not the same.
  std::uint64_t of_part(std::uint64_t id) const {
    const std::uint64_t part = parts_share_ids_ ? 0 : counts_.further_parts;
    return part == 0 ? id : mix64(id ^ mix64(part));
  }

  /// A row with a whole session: its requests wait for their times.
  Result<bool> read_turns(TraceRequest& request) {
    const Result<TimeNs> first_ns = row_time();
    if (!first_ns) return first_ns.error();
    request.prefix_blocks.clear();
    TimeNs time_ns = *first_ns;
    bool first = true;
    for (const TraceTurn& turn : row_.turns) {
      if (auto ok = take_tokens(turn.input, turn.output, request); !ok) return ok.error();
      counts_.later_turns += !first;
      first = false;
      if (request.input_tokens > 0) {
        row_.prefix_blocks = turn.prefix_blocks;
        if (auto ok = take_prefix(request); !ok) return ok.error();
        const auto placed = place(request, time_ns, true);
        if (!placed) return placed;
      }
      if (turn.pause.empty()) continue;
      const auto pause_ns = kvhaul::parse_time(turn.pause, layout_.time_unit_ns);
      if (!pause_ns || *pause_ns > trace_span_max_ns)
        return bad(unit_words(), layout_.pause_after, turn.pause);
      time_ns = std::min(time_ns, std::numeric_limits<TimeNs>::max() - *pause_ns) + *pause_ns;
    }
    return false;
  }

  /// As the file counts. The one before if it is only a little earlier.
  Result<TimeNs> row_time() {
    if (!info_.has_arrivals) return TimeNs{0};
    const std::optional<TimeNs> time_ns = parse_time();
    if (!time_ns) return bad(time_words(), layout_.time, row_.time);
    const Result<TimeNs> in_order = not_before(latest_ns_, *time_ns, row_.time);
    if (in_order && !any_order_) latest_ns_ = *in_order;
    return in_order;
  }
  /// `time_ns`, or `before_ns` where that is only a little later.
  Result<TimeNs> not_before(TimeNs before_ns, TimeNs time_ns, std::string_view found) {
    if (any_order_ || time_ns >= before_ns) return time_ns;
    if (before_ns - time_ns > trace_back_max_ns)
      return expected_not(name_, row_.line, "no time before that of the row above",
                          in_quotes(found) + ", " + duration_text(before_ns - time_ns) +
                              " back: 'kvhaul trace sort' puts rows in order, 'kvhaul trace "
                              "merge --parts' files that were put together");
    ++counts_.out_of_order;
    return before_ns;
  }
  Result<TimeNs> after_turn_before(std::uint64_t session) const {
    const auto before = turn_before_ns_.find(session);
    if (before == turn_before_ns_.end() || session == 0)
      return expected_not(name_, row_.line,
                          "a key " + in_quotes(layout_.time) + " in the first row of a session",
                          in_quotes(layout_.delay) + " alone");
    const auto delay_ns = kvhaul::parse_time(row_.delay, layout_.time_unit_ns);
    if (!delay_ns || *delay_ns > trace_span_max_ns)
      return bad(unit_words(), layout_.delay, row_.delay);
    return std::min(before->second, std::numeric_limits<TimeNs>::max() - *delay_ns) + *delay_ns;
  }

  Result<void> take_tokens(std::string_view input, std::string_view output, TraceRequest& request) {
    const std::optional<std::uint32_t> in = parse_tokens(input);
    if (!in) return bad("input tokens from 0 to 2147483647", layout_.input, input);
    const std::optional<std::uint32_t> out = parse_tokens(output);
    if (!out) return bad("output tokens from 0 to 2147483647", layout_.output, output);
    ++counts_.rows;
    request.input_tokens = *in;
    request.output_tokens = *out;
    if (*in == 0) {
      ++counts_.zero_input;
    } else {
      ++counts_.requests;
      counts_.zero_output += *out == 0;
    }
    return {};
  }

  /// Gives the request its time, or lets it wait for that.
  Result<bool> place(TraceRequest& request, TimeNs time_ns, bool waits) {
    if (waits) {  // a turn may be read after rows that come after it
      const Result<TimeNs> in_order = not_before(given_ns_, time_ns, row_.delay);
      if (!in_order) return in_order.error();
      time_ns = *in_order;
    }
    if (!start_ns_) start_ns_ = time_ns;
    const TimeNs since_start_ns = time_ns - *start_ns_;
    if (since_start_ns > trace_span_max_ns || since_start_ns < -trace_span_max_ns)
      return bad("an arrival within 73 years of time 0", layout_.time, row_.time);
    request.arrival_ns = since_start_ns;
    if (!waits) {
      given_ns_ = time_ns;
      return true;
    }
    waiting_.push_back({time_ns, counts_.rows, request});
    std::ranges::push_heap(waiting_, later);
    return false;
  }

  struct Waiting {
    TimeNs time_ns = 0;       // as the file counts
    std::uint64_t place = 0;  // in the file
    TraceRequest request;
  };
  static bool later(const Waiting& a, const Waiting& b) {
    return std::pair(a.time_ns, a.place) > std::pair(b.time_ns, b.place);
  }

  std::optional<TimeNs> parse_time() const {
    if (layout_.time_kind == Time::number)
      return kvhaul::parse_time(row_.time, layout_.time_unit_ns);
    const std::string_view text = unquoted(row_.time);
    const auto date = parse_datetime(text);
    if (date || layout_.time_kind == Time::datetime) return date;
    return kvhaul::parse_time(text, layout_.time_unit_ns);
  }
  std::string time_words() const {
    const std::string date = "a time such as 2023-11-16 18:17:03.9799600";
    if (layout_.time_kind == Time::datetime) return date;
    return layout_.time_kind == Time::number ? unit_words() : unit_words() + ", or " + date;
  }
  std::string unit_words() const {
    if (layout_.time_unit_ns == s_ns) return "seconds from 0 to 9000000000";
    if (layout_.time_unit_ns == ms_ns) return "milliseconds from 0 to 9000000000000";
    if (layout_.time_unit_ns == us_ns) return "microseconds from 0 to 9000000000000000";
    return "nanoseconds from 0 to 9000000000000000000";
  }

  Result<std::uint64_t> parse_session() const {
    const std::string_view text = unquoted(row_.session);
    if (text.empty() || text == "null") return std::uint64_t{0};
    if (info_.format != TraceFormat::kvhaul) return of_part(session_number(text));
    const auto number = parse_whole(text);
    if (!number) return bad("a whole number", layout_.session, text);
    return *number == 0 ? 0 : of_part(*number);
  }

  Result<void> take_prefix(TraceRequest& request) {
    std::swap(request.prefix_blocks, row_.prefix_blocks);
    const std::uint64_t blocks = blocks_of(request.input_tokens, info_.block_tokens);
    const std::uint64_t ids = request.prefix_blocks.size();
    if (info_.block_tokens == 0 && ids > 0)
      return expected_not(name_, row_.line, "no prefix ids, as the rows before", "some");
    // A block may have an id that no token is in yet. Each id more would be a hit that cannot be.
    if (ids > blocks && (ids - 1) * info_.block_tokens > request.input_tokens)
      return surplus(request.input_tokens, ids);
    // A partial last block may go without one. Our own format may name fewer still: the rest is
    // shared with nobody.
    const bool partial = info_.block_tokens > 0 && request.input_tokens % info_.block_tokens != 0;
    const bool fits = ids == blocks || (ids == 0 && !layout_.tokens.empty()) ||
                      (partial && ids + 1 == blocks) ||
                      (info_.format == TraceFormat::kvhaul && ids < blocks);
    if (!fits) ++counts_.odd_prefix;
    if (ids > blocks) request.prefix_blocks.resize(blocks);
    for (std::uint64_t& id : request.prefix_blocks) id = of_part(id);
    return {};
  }
  /// More ids than the input has blocks: every hit would count too much.
  Error surplus(std::uint32_t input_tokens, std::uint64_t ids) const {
    return expected_not(
        name_, row_.line,
        "at most " + std::to_string(blocks_of(input_tokens, info_.block_tokens)) +
            " prefix ids of " + std::to_string(info_.block_tokens) + " tokens for " +
            std::to_string(input_tokens) + " input tokens",
        std::to_string(ids) + (info_.format == TraceFormat::kvhaul
                                   ? "; the first line says how many tokens an id stands for"
                                   : "; --block-tokens N says how many tokens an id stands for"));
  }

  Error bad(std::string_view expected, std::string_view column, std::string_view found) const {
    return expected_at(name_, row_.line, std::string(expected).append(" in ") + in_quotes(column),
                       found);
  }

  std::string name_;
  std::shared_ptr<const void> names_;
  TraceLayout layout_;
  bool any_order_, parts_, parts_share_ids_;
  bool has_clock_ = false;  // times count from 0 of the file's own clock
  TraceInfo info_;
  std::unique_ptr<RowSource> rows_;  // null after the end or an error
  TraceRow row_;
  TraceCounts counts_;
  // As the file counts:
  TimeNs latest_ns_ = std::numeric_limits<TimeNs>::min();     // of a row
  TimeNs given_ns_ = std::numeric_limits<TimeNs>::min();      // of a request given out
  std::optional<TimeNs> start_ns_;                            // of the first request given out
  std::vector<Waiting> waiting_;                              // a heap, the earliest first
  std::unordered_map<std::uint64_t, TimeNs> turn_before_ns_;  // by session
  std::optional<TimeNs> latest_of_part_ns_;
  std::uint64_t rows_before_part_ = 0;
};

Result<TraceReaderPtr> read_input(TextInput input, const TraceReading& reading) {
  const std::string name = input.name;
  Result<Recognised> recognised = recognise(input.head, name, reading);
  if (!recognised) return recognised.error();
  Result<OpenedRows> opened = recognised->layout.text == Text::csv
                                  ? open_csv_rows(std::move(input), recognised->layout)
                                  : open_json_rows(std::move(input), recognised->layout);
  if (!opened) return opened.error();
  return TraceReaderPtr(
      std::make_unique<FileReader>(name, std::move(*recognised), reading, std::move(*opened)));
}

}  // namespace

std::string describe_counts(const TraceCounts& counts) {
  std::string text = std::to_string(counts.rows) + " rows, ";
  text += std::to_string(counts.requests) + " requests";
  const auto add = [&](std::uint64_t count, std::string_view what) {
    if (count > 0) text.append("; ").append(std::to_string(count)).append(what);
  };
  add(counts.zero_input, " dropped: no input tokens");
  add(counts.left_out, " left out: outside the cut, or of unknown length");
  add(counts.zero_output, " without output tokens");
  add(counts.out_of_order, " out of order: given the time of the row before");
  add(counts.later_turns,
      " later turns of sessions: each its pause after the turn before came, however long that "
      "took");
  add(counts.further_parts, " further traces in the same file");
  add(counts.odd_prefix, " with a number of prefix ids that does not fit the input");
  add(counts.spread, " spread from their batch over the gap after it");
  add(counts.clipped, " clipped to the context");
  return text;
}

Result<TraceReaderPtr> open_trace(const std::string& path, const TraceReading& reading) {
  Result<TextInput> input = path == "-" ? open_standard_input() : open_text(path);
  if (!input) return input.error();
  return read_input(std::move(*input), reading);
}

Result<TraceReaderPtr> read_trace(std::unique_ptr<std::istream> bytes, std::string name,
                                  const TraceReading& reading) {
  Result<TextInput> input = begin_text(std::move(bytes), std::move(name));
  if (!input) return input.error();
  return read_input(std::move(*input), reading);
}

Result<TraceReaderPtr> read_trace(std::unique_ptr<std::istream> bytes, std::string name,
                                  std::optional<TraceFormat> format) {
  return read_trace(std::move(bytes), std::move(name), TraceReading{.format = format});
}

}  // namespace kvhaul
