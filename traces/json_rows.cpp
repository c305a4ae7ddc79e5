// JSON, through nlohmann-json's event parser: no tree is built, and errors come as events. Only
// std::bad_alloc can leave it.
#include <algorithm>
#include <array>
#include <optional>

#include <nlohmann/json.hpp>

#include "core/random.h"
#include "traces/fields.h"
#include "traces/layout.h"

namespace kvhaul {
namespace {

using nlohmann::json;

/// Takes the wanted values out of one object, as they are written, and reads past the rest.
class ObjectEvents final : public json::json_sax_t {
 public:
  enum Fields : std::size_t {
    time_field,
    input_field,
    output_field,
    session_field,
    delay_field,
    prefix_field,  // a list of whole numbers
    turns_field,   // a list of objects with input, output, pause and tokens
    tokens_field,  // a list of whole numbers
    no_field
  };

  /// An empty name is not wanted.
  explicit ObjectEvents(const TraceLayout& layout)
      : keys_({layout.time, layout.input, layout.output, layout.session, layout.delay,
               layout.prefix, layout.turns, layout.tokens}),
        pause_key_(layout.pause_after),
        block_tokens_(layout.block_tokens) {}

  /// False: expected() and found() say why.
  bool read(std::string_view text) {
    depth_ = 0;
    in_prefix_ = in_turns_ = in_tokens_ = turn_tokens_ = false;
    tokens_.reset();
    seen_.fill(false);
    for (std::string& value : values_) value.clear();
    ids_.clear();
    turns_.clear();
    expected_.clear();
    return json::sax_parse(text.data(), text.data() + text.size(), this);
  }
  bool seen(std::size_t field) const { return seen_[field]; }
  const std::string& value(std::size_t field) const { return values_[field]; }
  std::vector<std::uint64_t>& ids() { return ids_; }
  std::vector<TraceTurn>& turns() { return turns_; }
  const std::vector<TraceTurn>& turns() const { return turns_; }
  /// How many are listed outside of turns.
  std::optional<std::uint64_t> tokens() const { return tokens_; }
  const std::string& expected() const { return expected_; }
  const std::string& found() const { return found_; }

  bool null() override { return scalar("null"); }
  bool boolean(bool value) override { return scalar(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return scalar(std::to_string(value)); }
  bool number_unsigned(number_unsigned_t value) override {
    if (in_tokens_) return take_token(value);
    if (!in_prefix_) return scalar(std::to_string(value));
    ids_.push_back(value);
    return true;
  }
  bool number_float(number_float_t, const string_t& text) override { return scalar(text); }
  bool string(string_t& text) override { return scalar(text.insert(0, 1, '"').append(1, '"')); }
  bool binary(binary_t&) override { return scalar("binary"); }

  bool key(string_t& text) override {
    if (in_turn()) {
      turn_value_ = turn_value(text);
      turn_tokens_ = !text.empty() && text == keys_[tokens_field];
      if (turn_tokens_ && turns_.back().tokens) return stop("each key once", text);
      return turn_value_ == nullptr || turn_value_->empty() || stop("each key once", text);
    }
    if (depth_ != 1) return true;
    field_ = static_cast<std::size_t>(std::ranges::find(keys_, text) - keys_.begin());
    if (text.empty()) field_ = no_field;
    if (field_ == no_field) return true;
    if (seen_[field_]) return stop("each key once", text);
    return seen_[field_] = true;
  }
  bool start_object(std::size_t) override {
    if (in_turns_ && depth_ == 2) {
      turns_.emplace_back();
      turn_value_ = nullptr;
      turn_tokens_ = false;
      return begin();
    }
    return depth_ == 0 ? begin() : scalar("{") && begin();
  }
  bool end_object() override { return end(); }
  bool start_array(std::size_t) override {
    const bool prefix = depth_ == 1 && field_ == prefix_field;
    const bool turns = depth_ == 1 && field_ == turns_field;
    const bool tokens = depth_ == 1 ? field_ == tokens_field : in_turn() && turn_tokens_;
    if (tokens && !in_tokens_) {
      in_tokens_ = true;
      chain_ = 0;
      listed() = 0;
      return begin();
    }
    if (!prefix && !turns) return scalar("[") && begin();
    in_prefix_ = prefix;
    in_turns_ = turns;
    return begin();
  }
  bool end_array() override {
    if (in_tokens_)
      in_tokens_ = false;
    else if (depth_ == 2)
      in_prefix_ = in_turns_ = false;
    return end();
  }
  bool parse_error(std::size_t, const std::string& token, const json::exception&) override {
    return stop("a whole JSON object", token);
  }

 private:
  bool begin() { return ++depth_ > 0; }
  bool end() { return --depth_ >= 0; }
  bool stop(std::string_view expected, std::string_view found) {
    expected_ = expected;
    found_ = found;
    return false;
  }
  bool in_turn() const { return in_turns_ && depth_ == 3; }

  std::optional<std::uint64_t>& listed() { return in_turns_ ? turns_.back().tokens : tokens_; }
  /// Every whole block of tokens gets an id that says all tokens up to its end.
  bool take_token(std::uint64_t token) {
    chain_ = mix64(chain_ ^ token);
    const std::uint64_t count = ++*listed();
    if (block_tokens_ == 0 || count % block_tokens_ != 0) return true;
    (in_turns_ ? turns_.back().prefix_blocks : ids_).push_back(chain_);
    return true;
  }
  std::string* turn_value(std::string_view key) {
    if (key.empty()) return nullptr;
    if (key == keys_[input_field]) return &turns_.back().input;
    if (key == keys_[output_field]) return &turns_.back().output;
    return key == pause_key_ ? &turns_.back().pause : nullptr;
  }
  /// Anything that is not an id where an id may stand.
  bool scalar(std::string_view text) {
    if (depth_ == 0) return stop("a JSON object", text);
    const bool a_list = depth_ == 1 && (field_ == prefix_field || field_ == tokens_field);
    if (in_prefix_ || in_tokens_ || a_list || (in_turn() && turn_tokens_))
      return stop("a list of whole numbers from 0 up", text);
    if ((in_turns_ && depth_ == 2) || (depth_ == 1 && field_ == turns_field))
      return stop("a list of objects", text);
    if (in_turn() && turn_value_ != nullptr) *turn_value_ = text;
    if (depth_ == 1 && field_ < no_field) values_[field_] = text;
    return true;
  }

  std::array<std::string_view, no_field> keys_;
  std::string_view pause_key_;
  std::uint32_t block_tokens_;
  std::array<std::string, no_field> values_;
  std::array<bool, no_field> seen_{};
  std::vector<std::uint64_t> ids_;
  std::vector<TraceTurn> turns_;
  std::string* turn_value_ = nullptr;  // in turns_, of the last key
  std::string expected_, found_;
  int depth_ = 0;
  std::size_t field_ = no_field;
  bool in_prefix_ = false, in_turns_ = false, in_tokens_ = false;
  bool turn_tokens_ = false;  // the last key in a turn was that of its tokens
  std::optional<std::uint64_t> tokens_;
  std::uint64_t chain_ = 0;  // of the tokens so far
};

/// Collects the keys of the outermost object.
class KeyEvents final : public json::json_sax_t {
 public:
  std::vector<std::string> keys;

  bool null() override { return depth_ > 0; }
  bool boolean(bool) override { return depth_ > 0; }
  bool number_integer(number_integer_t) override { return depth_ > 0; }
  bool number_unsigned(number_unsigned_t) override { return depth_ > 0; }
  bool number_float(number_float_t, const string_t&) override { return depth_ > 0; }
  bool string(string_t&) override { return depth_ > 0; }
  bool binary(binary_t&) override { return depth_ > 0; }
  bool key(string_t& text) override {
    if (depth_ == 1) keys.push_back(text);
    return true;
  }
  bool start_object(std::size_t) override { return ++depth_ > 0; }
  bool end_object() override { return --depth_ >= 0; }
  bool start_array(std::size_t) override { return depth_++ > 0; }
  bool end_array() override { return --depth_ >= 0; }
  bool parse_error(std::size_t, const std::string&, const json::exception&) override {
    return false;
  }

 private:
  int depth_ = 0;
};

/// The text of one object after the other: a line each, or the elements of one array, which is cut
/// up here so that it is never held whole.
class Objects {
 public:
  Objects(TextInput input, bool in_array)
      : input_(std::move(input)), chunk_(std::move(input_.head)), in_array_(in_array) {
    if (chunk_.starts_with("\xef\xbb\xbf")) at_ = 3;
  }

  const std::string& name() const { return input_.name; }
  /// Where the object starts, or the end is.
  std::uint64_t line() const { return object_line_; }
  /// There is no object, but another array behind the first.
  bool begins_again() const { return begins_again_; }
  Result<bool> next(std::string_view& object) {
    begins_again_ = false;
    Result<bool> more = in_array_ ? next_element() : next_line();
    if (input_.bytes->bad()) return cannot_read(*input_.bytes, name());
    object = object_;
    return more;
  }

 private:
  static constexpr int end_of_file = -1;

  Result<bool> next_line() {
    object_line_ = line_;
    object_.clear();
    int c = get();
    if (c == end_of_file) return false;
    for (; c != '\n' && c != end_of_file; c = get())
      if (!add(c)) return too_long();
    return true;
  }

  Result<bool> next_element() {
    const bool first = object_.empty();
    int c = get_past_space();
    if (c == ']' && !first) return end_of_array();
    if (c != (first ? '[' : ',')) return unexpected(first ? "'['" : "',' or ']'", c);
    c = get_past_space();
    if (c == ']' && first) return end_of_array();
    if (c != '{') return unexpected("'{'", c);
    object_line_ = line_;
    object_ = '{';
    bool in_string = false, escaped = false;
    for (int depth = 1; depth > 0;) {
      c = get();
      if (c == end_of_file) return unexpected("the rest of a JSON object", c);
      if (!add(c)) return too_long();
      if (c == '"' && !escaped) in_string = !in_string;
      escaped = in_string && c == '\\' && !escaped;
      if (!in_string) depth += c == '{' ? 1 : c == '}' ? -1 : 0;
    }
    return true;
  }
  Result<bool> end_of_array() {
    const int c = get_past_space();
    object_line_ = line_;
    if (c == '[') {
      --at_;  // to be read again
      object_.clear();
      return begins_again_ = true;
    }
    if (c != end_of_file) return unexpected("nothing after the ']'", c);
    return false;
  }

  bool add(int c) {
    object_ += static_cast<char>(c);
    return object_.size() <= trace_record_bytes_max;
  }
  int get() {
    if (at_ == chunk_.size()) {
      chunk_.resize(std::size_t{64} * KiB);
      input_.bytes->read(chunk_.data(), static_cast<std::streamsize>(chunk_.size()));
      chunk_.resize(static_cast<std::size_t>(input_.bytes->gcount()));
      at_ = 0;
      if (chunk_.empty()) return end_of_file;
    }
    const char c = chunk_[at_++];
    line_ += c == '\n';
    return static_cast<unsigned char>(c);
  }
  int get_past_space() {
    int c = get();
    while (c == ' ' || c == '\n' || c == '\r' || c == '\t') c = get();
    return c;
  }
  Error unexpected(std::string_view expected, int found) const {
    if (found == end_of_file) return expected_not(name(), line_, expected, "the end of the file");
    return expected_at(name(), line_, expected, std::string(1, static_cast<char>(found)));
  }
  Error too_long() const {
    return expected_not(name(), object_line_, "a JSON object", "one above 8 MiB");
  }

  TextInput input_;
  std::string chunk_;  // of the file, read up to at_
  std::size_t at_ = 0;
  bool in_array_, begins_again_ = false;
  std::string object_;  // empty before the first of an array
  std::uint64_t line_ = 1, object_line_ = 1;
};

class JsonRows final : public RowSource {
 public:
  JsonRows(TextInput input, const TraceLayout& layout)
      : objects_(std::move(input), layout.text == TraceLayout::Text::json_array),
        layout_(layout),
        events_(layout) {}

  Result<bool> next(TraceRow& row) override {
    std::string_view object;
    Result<bool> more = objects_.next(object);
    row.line = objects_.line();
    row.begins_again = objects_.begins_again();
    if (!more || !*more || row.begins_again) return more;
    if (!events_.read(object)) {
      if (object.find("}{") != std::string_view::npos)
        return expected_not(objects_.name(), row.line, "one JSON object",
                            "two in one line: where files were put together, 'kvhaul trace merge' "
                            "takes the files themselves");
      if (events_.found().empty())
        return expected_not(objects_.name(), row.line, events_.expected(), "its end");
      return expected_at(objects_.name(), row.line, events_.expected(), events_.found());
    }
    const bool turns = events_.seen(ObjectEvents::turns_field);
    for (const auto& [key, seen] :
         {std::pair{layout_.time, events_.seen(ObjectEvents::time_field) ||
                                      events_.seen(ObjectEvents::delay_field)},
          {layout_.input, events_.seen(ObjectEvents::input_field) || turns},
          {layout_.output, events_.seen(ObjectEvents::output_field) || turns}})
      if (!key.empty() && !seen)
        return expected_at(objects_.name(), row.line, "a key " + in_quotes(key), object);
    if (turns && events_.turns().empty())
      return expected_not(objects_.name(), row.line, "a request in " + in_quotes(layout_.turns),
                          "none");
    if (auto ok = check_turns(row.line); !ok) return ok.error();
    if (auto ok =
            check_tokens(row.line, events_.value(ObjectEvents::input_field), events_.tokens());
        !ok)
      return ok.error();
    row.time = events_.value(ObjectEvents::time_field);
    row.input = events_.value(ObjectEvents::input_field);
    row.output = events_.value(ObjectEvents::output_field);
    row.session = events_.value(ObjectEvents::session_field);
    row.delay = events_.value(ObjectEvents::delay_field);
    row.prefix_blocks.swap(events_.ids());
    row.turns.swap(events_.turns());
    return true;
  }

 private:
  Result<void> check_turns(std::uint64_t line) const {
    for (const TraceTurn& turn : events_.turns()) {
      for (const auto& [key, value] :
           {std::pair{layout_.input, &turn.input}, {layout_.output, &turn.output}})
        if (value->empty())
          return expected_not(objects_.name(), line,
                              "a key " + in_quotes(key) + " in each of " + in_quotes(layout_.turns),
                              "one without");
      if (auto ok = check_tokens(line, turn.input, turn.tokens); !ok) return ok;
    }
    return {};
  }
  Result<void> check_tokens(std::uint64_t line, const std::string& input,
                            std::optional<std::uint64_t> listed) const {
    if (!listed) return {};
    if (layout_.block_tokens == 0)
      return expected_not(objects_.name(), line,
                          "no " + in_quotes(layout_.tokens) + ", as in the first rows",
                          "some: --block-tokens 16 shares prefixes in blocks of 16 tokens");
    if (std::to_string(*listed) == input) return {};
    return expected_not(objects_.name(), line,
                        "as many " + in_quotes(layout_.tokens) + " as " + in_quotes(layout_.input) +
                            " says, " + input,
                        std::to_string(*listed));
  }

  Objects objects_;
  TraceLayout layout_;
  ObjectEvents events_;
};

}  // namespace

Result<OpenedRows> open_json_rows(TextInput input, const TraceLayout& layout) {
  OpenedRows opened;
  opened.block_tokens = layout.block_tokens;
  opened.has_arrivals = !layout.time.empty();
  opened.has_sessions = !layout.session.empty();
  opened.rows = std::make_unique<JsonRows>(std::move(input), layout);
  return opened;
}

HeadPrefixes prefixes_in_head(std::string_view head, const TraceLayout& layout) {
  constexpr int rows_max = 1000;
  HeadPrefixes prefixes;
  ObjectEvents events(layout);
  for (int row = 0; row < rows_max && !head.empty(); ++row) {
    const std::size_t newline = head.find('\n');
    if (!events.read(line_of(head, 1))) break;  // damaged, or cut where the head ends
    const auto input = parse_tokens(events.value(ObjectEvents::input_field));
    prefixes.any = prefixes.any || events.seen(ObjectEvents::prefix_field);
    if (input) prefixes.sizes.add(*input, events.ids().size());
    if (newline == std::string_view::npos) break;
    head.remove_prefix(newline + 1);
  }
  return prefixes;
}

std::vector<std::string> json_keys(std::string_view line) {
  KeyEvents events;
  (void)json::sax_parse(line.data(), line.data() + line.size(), &events);
  return std::move(events.keys);
}

}  // namespace kvhaul
