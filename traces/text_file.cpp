#include "traces/text_file.h"

#include <algorithm>
#include <cerrno>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <system_error>
#include <unistd.h>

#include "core/unit_text.h"
#include "traces/fields.h"
#include "traces/gzip.h"

namespace kvhaul {
namespace {

constexpr std::size_t head_bytes = MiB;
constexpr std::size_t read_bytes = std::size_t{256} * KiB;
constexpr std::size_t no_column = ~std::size_t{0};

std::string take_head(std::istream& bytes) {
  std::string head;
  for (std::size_t part = head_bytes / 16; bytes.good() && head.size() < head_bytes;) {
    const std::size_t taken = head.size();
    head.resize(taken + part);
    bytes.read(head.data() + taken, static_cast<std::streamsize>(part));
    head.resize(taken + static_cast<std::size_t>(bytes.gcount()));
  }
  return head;
}

bool is_blank(char c) { return c == ' ' || c == '\t'; }

std::string_view trimmed(std::string_view text) {
  if (!text.empty() && !is_blank(text.front()) && !is_blank(text.back())) return text;
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// Takes the fields off a record, one at a time.
class Fields {
 public:
  explicit Fields(std::string_view record) : rest_(record) {}

  /// What came next. Of a field, what stood in quotes is good until the next call.
  enum class Next : std::uint8_t { field, end, open_quote, text_after_quote };
  Next next(std::string_view& field) {
    if (done_) return Next::end;
    std::size_t first = 0;
    while (first < rest_.size() && is_blank(rest_[first])) ++first;
    if (first == rest_.size() || rest_[first] != '"') {
      const std::size_t comma = rest_.find(',');
      field = trimmed(rest_.substr(0, comma));
      return skip(comma);
    }
    unquoted_.clear();
    for (std::size_t at = first + 1;;) {
      const std::size_t quote = rest_.find('"', at);
      if (quote == std::string_view::npos) return Next::open_quote;
      unquoted_.append(rest_, at, quote - at);
      at = quote + 1;
      if (at < rest_.size() && rest_[at] == '"') {
        unquoted_ += '"';
        ++at;
        continue;
      }
      const std::size_t comma = rest_.find(',', at);
      const std::string_view after =
          comma == std::string_view::npos ? rest_.substr(at) : rest_.substr(at, comma - at);
      if (!trimmed(after).empty()) return Next::text_after_quote;
      field = unquoted_;
      return skip(comma);
    }
  }

 private:
  Next skip(std::size_t comma) {
    done_ = comma == std::string_view::npos;
    if (!done_) rest_.remove_prefix(comma + 1);
    return Next::field;
  }

  std::string_view rest_;
  std::string unquoted_;
  bool done_ = false;
};

/// Whether the quotes of a record are closed, over the lines that it may go on for.
class Quotes {
 public:
  /// After one more line of it.
  bool open_after(std::string_view line) {
    for (const char c : line) {
      switch (state_) {
        case State::start:
          if (c == '"')
            state_ = State::quoted;
          else if (c != ',' && !is_blank(c))
            state_ = State::plain;
          break;
        case State::plain:
          if (c == ',') state_ = State::start;
          break;
        case State::quoted:
          if (c == '"') state_ = State::closed;
          break;
        case State::closed:  // or one of two that stand for one
          if (c == '"')
            state_ = State::quoted;
          else if (c == ',')
            state_ = State::start;
          else
            state_ = State::plain;
          break;
      }
    }
    return state_ == State::quoted;
  }

 private:
  enum class State : std::uint8_t { start, plain, quoted, closed };
  State state_ = State::start;
};

}  // namespace

Error cannot_read(const std::istream& bytes, const std::string& name) {
  const auto* packed = dynamic_cast<const GzipStream*>(&bytes);
  if (packed != nullptr && !packed->damage().empty())
    return Error::bad_input(name + ": expected " + packed->damage());
  return Error::failed("cannot read '" + name + "'");
}

Result<TextInput> open_text(const std::string& path) {
  auto file = std::make_unique<std::ifstream>(path, std::ios::binary);
  if (!file->is_open())
    return Error::bad_input("cannot open '" + path +
                            "': " + std::generic_category().message(errno));
  std::error_code status;
  if (std::filesystem::is_directory(path, status))
    return Error::bad_input(path + ": expected a file, found a directory");
  return begin_text(std::move(file), path);
}

Result<TextInput> open_standard_input() {
  static bool taken = false;
  if (taken) return Error::bad_input("standard input ('-') can be read only once");
  taken = true;
  if (isatty(STDIN_FILENO) == 1)
    return Error::bad_input(
        "standard input: expected a file or a pipe, as in 'zcat t.gz | kvhaul ... -', found a "
        "terminal");
  return begin_text(std::make_unique<std::istream>(std::cin.rdbuf()), "standard input");
}

Result<TextInput> begin_text(std::unique_ptr<std::istream> bytes, std::string name) {
  TextInput input{std::move(bytes), std::move(name)};
  input.head = take_head(*input.bytes);
  if (!input.bytes->bad() && input.head.starts_with(gzip_magic)) {
    input.bytes = std::make_unique<GzipStream>(std::move(input.bytes), std::move(input.head));
    input.head = take_head(*input.bytes);
  }
  // What is there before the damage is still read, and where it is, said then.
  if (input.bytes->bad() && input.head.empty()) return cannot_read(*input.bytes, input.name);
  return input;
}

Result<std::string> read_all(TextInput& input, std::size_t bytes_max) {
  std::string text = std::move(input.head);
  std::istream& bytes = *input.bytes;
  for (std::string part(read_bytes, '\0'); bytes.good() && text.size() <= bytes_max;) {
    bytes.read(part.data(), static_cast<std::streamsize>(part.size()));
    text.append(part, 0, static_cast<std::size_t>(bytes.gcount()));
  }
  if (bytes.bad()) return cannot_read(bytes, input.name);
  if (text.size() > bytes_max)
    return Error::bad_input("'" + input.name + "' is longer than " + bytes_text(bytes_max));
  return text;
}

std::string_view line_of(std::string_view head, std::uint64_t number) {
  if (head.starts_with(byte_order_mark)) head.remove_prefix(byte_order_mark.size());
  for (; number > 1; --number) {
    const std::size_t newline = head.find('\n');
    if (newline == std::string_view::npos) return {};
    head.remove_prefix(newline + 1);
  }
  head = head.substr(0, head.find('\n'));
  if (head.ends_with('\r')) head.remove_suffix(1);
  return head;
}

std::vector<std::string> csv_fields(std::string_view line) {
  std::vector<std::string> all;
  Fields fields(line);
  for (std::string_view field; fields.next(field) == Fields::Next::field;) all.emplace_back(field);
  return all;
}

class TextFile::Impl {
 public:
  Impl(TextInput input, std::size_t columns)
      : input_(std::move(input)), expected_columns_(std::to_string(columns) + " columns") {
    if (input_.head.starts_with(byte_order_mark)) begin_ = byte_order_mark.size();
    buffer_ = std::move(input_.head);
    for (std::size_t i = 0; i < columns; ++i) place_of_.push_back(i);
    fields_.resize(columns);
    has_.resize(columns, true);
  }

  const std::string& name() const { return input_.name; }
  std::uint64_t line() const { return line_; }
  std::string_view line_text() const { return line_text_; }
  bool has(std::size_t column) const { return has_[column]; }
  std::string_view field(std::size_t column) const { return fields_[column]; }

  Result<bool> next_line(std::string_view& line) {
    line_text_ = {};  // the buffer may move
    Result<bool> more = read_line(line);
    if (!more || !*more) return more;
    line_ = lines_;
    line_text_ = line;
    return true;
  }

  Result<void> read_header(std::span<const Column> wanted) {
    std::vector<std::string> names;
    Result<bool> more =
        next_record([&](std::size_t, std::string_view name) { names.emplace_back(name); });
    if (!more) return more.error();
    if (!*more) return expected_not(name(), line_ + 1, "a header", "the end of the file");
    place_of_.assign(names.size(), no_column);
    fields_.assign(wanted.size(), {});
    has_.assign(wanted.size(), false);
    expected_columns_ = "as many columns as the header has";
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      if (wanted[i].name.empty()) continue;
      for (std::size_t place = 0; place < names.size(); ++place) {
        if (names[place] != wanted[i].name) continue;
        if (has_[i])
          return expected_not(name(), line_, "each column once",
                              in_quotes(names[place]) + " twice");
        has_[i] = true;
        place_of_[place] = i;
      }
      if (wanted[i].required && !has_[i])
        return expected_at(name(), line_, "a column " + in_quotes(wanted[i].name), line_text_);
    }
    return {};
  }

  Result<bool> next_row() {
    std::size_t count = 0;
    quoted_.clear();
    Result<bool> more = next_record([&](std::size_t place, std::string_view field) {
      count = place + 1;
      if (place >= place_of_.size() || place_of_[place] == no_column) return;
      if (!record_.empty()) field = quoted_.emplace_back(field);
      fields_[place_of_[place]] = field;
    });
    if (!more || !*more || count == place_of_.size()) return more;
    const std::string how_many = count < place_of_.size() ? "fewer" : "more";
    return expected_not(name(), line_, expected_columns_,
                        cut_ ? how_many + "; is the file cut?" : how_many);
  }

 private:
  /// One line from the file, checked, without its line end.
  Result<bool> read_line(std::string_view& line) {
    std::size_t newline = std::string::npos;
    for (std::size_t searched = begin_;;) {
      newline = buffer_.find('\n', searched);
      const std::size_t end = std::min(newline, buffer_.size());
      if (end - begin_ > trace_record_bytes_max)
        return expected_not(name(), lines_ + 1, "a line of text", "a line above 8 MiB");
      if (newline != std::string::npos || !input_.bytes->good()) break;
      buffer_.erase(0, begin_);
      begin_ = 0;
      searched = buffer_.size();
      buffer_.resize(searched + read_bytes);
      input_.bytes->read(buffer_.data() + searched, static_cast<std::streamsize>(read_bytes));
      buffer_.resize(searched + static_cast<std::size_t>(input_.bytes->gcount()));
    }
    const bool whole = newline != std::string::npos;
    if (!whole && input_.bytes->bad()) return cannot_read(*input_.bytes, name());
    if (!whole && begin_ == buffer_.size()) return false;
    line = std::string_view(buffer_).substr(begin_, whole ? newline - begin_ : newline);
    begin_ = whole ? newline + 1 : buffer_.size();
    ++lines_;
    cut_ = !whole;
    if (line.find('\0') != std::string_view::npos)
      return expected_not(name(), lines_, "a line of text", "a NUL byte");
    if (cut_ && input_.newline_required)
      return expected_not(name(), lines_, "a line of text",
                          "no newline at its end; is the file cut?");
    if (line.ends_with('\r')) line.remove_suffix(1);
    return true;
  }

  /// Gives the fields of one record to `take`, by their place.
  template <class Take>
  Result<bool> next_record(const Take& take) {
    std::string_view line;
    record_.clear();
    Result<bool> more = next_line(line);
    if (!more || !*more) return more;
    if (line.find('"') == std::string_view::npos) {
      split(line, take);
      return true;
    }
    record_ = line;
    line_text_ = {};
    const std::size_t first_line_bytes = record_.size();
    for (Quotes quotes; quotes.open_after(line);) {
      more = read_line(line);
      if (!more) return more;
      if (!*more)
        return expected_not(name(), line_, "a closing '\"' in this row", "the end of the file");
      record_.append("\n").append(line);
      if (record_.size() > trace_record_bytes_max)
        return expected_not(name(), line_, "a row of text",
                            "one above 8 MiB; does a '\"' close nowhere?");
    }
    line_text_ = std::string_view(record_).substr(0, first_line_bytes);
    if (split(record_, take)) return true;
    return expected_not(name(), line_, "a comma after a closing '\"'", "other text");
  }
  /// False: there is something behind a closing quote.
  template <class Take>
  static bool split(std::string_view record, const Take& take) {
    Fields fields(record);
    std::string_view field;
    for (std::size_t place = 0;; ++place) {
      const Fields::Next next = fields.next(field);
      if (next != Fields::Next::field) return next == Fields::Next::end;
      take(place, field);
    }
  }

  TextInput input_;
  std::string buffer_;  // of the file, read up to begin_
  std::size_t begin_ = 0;
  std::uint64_t lines_ = 0;     // read from the file
  std::uint64_t line_ = 0;      // where the record begins
  std::string_view line_text_;  // in buffer_ or record_
  std::string record_;          // where something in it is quoted, else empty
  bool cut_ = false;            // the line read last has no newline
  std::string expected_columns_;
  std::vector<std::size_t> place_of_;  // in fields_, of each column
  std::vector<std::string_view> fields_;
  std::deque<std::string> quoted_;  // what they view in a record with quotes
  std::vector<bool> has_;
};

TextFile::TextFile(TextInput input, std::size_t columns)
    : impl_(std::make_unique<Impl>(std::move(input), columns)) {}
TextFile::~TextFile() = default;
TextFile::TextFile(TextFile&&) noexcept = default;
TextFile& TextFile::operator=(TextFile&&) noexcept = default;

const std::string& TextFile::name() const { return impl_->name(); }
std::uint64_t TextFile::line() const { return impl_->line(); }
std::string_view TextFile::line_text() const { return impl_->line_text(); }
Result<bool> TextFile::next_line(std::string_view& line) { return impl_->next_line(line); }
Result<void> TextFile::read_header(std::span<const Column> wanted) {
  return impl_->read_header(wanted);
}
Result<bool> TextFile::next_row() { return impl_->next_row(); }
bool TextFile::has(std::size_t column) const { return impl_->has(column); }
std::string_view TextFile::field(std::size_t column) const { return impl_->field(column); }

}  // namespace kvhaul
