// JSON, through nlohmann-json's event parser: no tree is built, and errors come as events. Only
// std::bad_alloc can leave it.
#include <algorithm>
#include <array>
#include <optional>

#include <nlohmann/json.hpp>

#include "traces/fields.h"
#include "traces/layout.h"

namespace kvhaul {
namespace {

using nlohmann::json;

/// Takes the wanted values out of one object, as they are written, and reads past the rest.
class ObjectEvents final : public json::json_sax_t {
 public:
  enum Fields : std::size_t { time_field, input_field, output_field, prefix_field, no_field };

  /// The value of the last key is a list of whole numbers. An empty key is not wanted.
  explicit ObjectEvents(std::array<std::string_view, no_field> keys) : keys_(keys) {}

  /// False: expected() and found() say why.
  bool read(std::string_view text) {
    depth_ = 0;
    in_prefix_ = false;
    seen_.fill(false);
    ids_.clear();
    expected_.clear();
    return json::sax_parse(text.data(), text.data() + text.size(), this);
  }
  bool seen(std::size_t field) const { return seen_[field]; }
  const std::string& value(std::size_t field) const { return values_[field]; }
  std::vector<std::uint64_t>& ids() { return ids_; }
  const std::string& expected() const { return expected_; }
  const std::string& found() const { return found_; }

  bool null() override { return scalar("null"); }
  bool boolean(bool value) override { return scalar(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return scalar(std::to_string(value)); }
  bool number_unsigned(number_unsigned_t value) override {
    if (!in_prefix_) return scalar(std::to_string(value));
    ids_.push_back(value);
    return true;
  }
  bool number_float(number_float_t, const string_t& text) override { return scalar(text); }
  bool string(string_t& text) override { return scalar(text.insert(0, 1, '"').append(1, '"')); }
  bool binary(binary_t&) override { return scalar("binary"); }

  bool key(string_t& text) override {
    if (depth_ != 1) return true;
    field_ = static_cast<std::size_t>(std::ranges::find(keys_, text) - keys_.begin());
    if (text.empty()) field_ = no_field;
    if (field_ == no_field) return true;
    if (seen_[field_]) return stop("each key once", text);
    return seen_[field_] = true;
  }
  bool start_object(std::size_t) override { return depth_ == 0 ? begin() : scalar("{") && begin(); }
  bool end_object() override { return end(); }
  bool start_array(std::size_t) override {
    if (depth_ == 1 && field_ == prefix_field && !in_prefix_) {
      in_prefix_ = true;
      return begin();
    }
    return scalar("[") && begin();
  }
  bool end_array() override {
    if (depth_ == 2) in_prefix_ = false;
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
  /// Anything that is not an id where an id may stand.
  bool scalar(std::string_view text) {
    if (depth_ == 0) return stop("a JSON object", text);
    if (in_prefix_ || (depth_ == 1 && field_ == prefix_field))
      return stop("a list of whole numbers from 0 up", text);
    if (depth_ == 1 && field_ < no_field) values_[field_] = text;
    return true;
  }

  std::array<std::string_view, no_field> keys_;
  std::array<std::string, no_field> values_;
  std::array<bool, no_field> seen_{};
  std::vector<std::uint64_t> ids_;
  std::string expected_, found_;
  int depth_ = 0;
  std::size_t field_ = no_field;
  bool in_prefix_ = false;
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
  Result<bool> next(std::string_view& object) {
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
  bool in_array_;
  std::string object_;  // empty before the first
  std::uint64_t line_ = 1, object_line_ = 1;
};

class JsonRows final : public RowSource {
 public:
  JsonRows(TextInput input, const TraceLayout& layout)
      : objects_(std::move(input), layout.text == TraceLayout::Text::json_array),
        keys_({layout.time, layout.input, layout.output, layout.prefix}),
        events_(keys_) {}

  Result<bool> next(TraceRow& row) override {
    std::string_view object;
    Result<bool> more = objects_.next(object);
    row.line = objects_.line();
    if (!more || !*more) return more;
    if (!events_.read(object)) {
      if (events_.found().empty())
        return expected_not(objects_.name(), row.line, events_.expected(), "its end");
      return expected_at(objects_.name(), row.line, events_.expected(), events_.found());
    }
    for (std::size_t field = 0; field < keys_.size(); ++field)
      if (!keys_[field].empty() && !events_.seen(field))
        return expected_at(objects_.name(), row.line,
                           std::string("a key '").append(keys_[field]) + "'", object);
    row.time = events_.value(ObjectEvents::time_field);
    row.input = events_.value(ObjectEvents::input_field);
    row.output = events_.value(ObjectEvents::output_field);
    row.prefix_blocks.swap(events_.ids());
    return true;
  }

 private:
  Objects objects_;
  std::array<std::string_view, ObjectEvents::no_field> keys_;
  ObjectEvents events_;
};

}  // namespace

Result<OpenedRows> open_json_rows(TextInput input, TraceFormat format) {
  const TraceLayout& layout = trace_layout(format);
  OpenedRows opened;
  opened.block_tokens = layout.block_tokens;
  opened.rows = std::make_unique<JsonRows>(std::move(input), layout);
  return opened;
}

bool json_has_keys(std::string_view line, std::string_view a, std::string_view b,
                   std::string_view c) {
  ObjectEvents events({a, b, c, {}});
  (void)events.read(line);  // the keys before the place where it was cut are seen
  return events.seen(0) && events.seen(1) && events.seen(2);
}

}  // namespace kvhaul
