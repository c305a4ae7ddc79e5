#include "traces/text_file.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>
#include <tuple>

#define CSV_IO_NO_THREAD  // the library would start a thread per file
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wstringop-truncation"  // in how the library copies a file name
#endif
#include <libfccp/csv.h>

#include "core/unit_text.h"
#include "traces/fields.h"

namespace kvhaul {
namespace {

constexpr const char* long_line = "a line above 8 MiB";

/// What the bytes given to the library so far had wrong with them.
struct Damage {
  std::uint64_t line = 0;      // the first damaged line, 0: none
  const char* found = "";      // there
  bool read_failed = false;    // the bytes end here because the disk said so
  bool newline_added = false;  // the file itself has none at its end
};

/// The library's view of the bytes: notes damage by line, and always ends in a newline.
class GuardedBytes final : public io::ByteSourceBase {
 public:
  GuardedBytes(TextInput& input, Damage& damage) : input_(input), damage_(damage) {}

  int read(char* buffer, int size) override {
    std::streamsize count = take_head(buffer, size);
    if (count < size && input_.bytes->good()) {
      input_.bytes->read(buffer + count, size - count);
      count += input_.bytes->gcount();
      damage_.read_failed = input_.bytes->bad();
    }
    if (count > 0) {
      look_over({buffer, static_cast<std::size_t>(count)});
      ends_in_newline_ = buffer[count - 1] == '\n';
    }
    if (count < size && !ends_in_newline_) {
      buffer[count++] = '\n';
      ends_in_newline_ = true;
      damage_.newline_added = true;
      if (input_.newline_required && damage_.line == 0)
        note("no newline at its end; is the file cut?");
    }
    return static_cast<int>(count);
  }

 private:
  std::streamsize take_head(char* buffer, int size) {
    const std::size_t count = input_.head.copy(buffer, static_cast<std::size_t>(size), head_taken_);
    head_taken_ += count;
    return static_cast<std::streamsize>(count);
  }

  void look_over(std::string_view bytes) {
    while (!bytes.empty() && damage_.line == 0) {
      const std::size_t newline = bytes.find('\n');
      const std::string_view part = bytes.substr(0, newline);
      line_bytes_ += part.size();
      if (part.find('\0') != std::string_view::npos) {
        note("a NUL byte");
      } else if (line_bytes_ > trace_record_bytes_max) {
        note(long_line);
      }
      if (newline == std::string_view::npos) return;
      bytes.remove_prefix(newline + 1);
      line_bytes_ = 0;
      ++line_;
    }
  }
  void note(const char* found) {
    damage_.line = line_;
    damage_.found = found;
  }

  TextInput& input_;
  Damage& damage_;
  std::size_t head_taken_ = 0;
  std::uint64_t line_ = 1;
  std::size_t line_bytes_ = 0;
  bool ends_in_newline_ = true;
};

}  // namespace

Result<TextInput> open_text(const std::string& path) {
  auto file = std::make_unique<std::ifstream>(path, std::ios::binary);
  if (!file->is_open())
    return Error::bad_input("cannot open '" + path +
                            "': " + std::generic_category().message(errno));
  std::error_code status;
  if (std::filesystem::is_directory(path, status))
    return Error::bad_input(path + ": expected a file, found a directory");
  return TextInput{std::move(file), path};
}

Result<TextInput> begin_text(std::unique_ptr<std::istream> bytes, std::string name) {
  TextInput input{std::move(bytes), std::move(name), std::string(std::size_t{64} * KiB, '\0')};
  input.bytes->read(input.head.data(), static_cast<std::streamsize>(input.head.size()));
  input.head.resize(static_cast<std::size_t>(input.bytes->gcount()));
  if (input.bytes->bad()) return Error::failed("cannot read '" + input.name + "'");
  return input;
}

Result<std::string> read_all(std::istream& bytes, const std::string& name, std::size_t bytes_max) {
  std::string text;
  for (std::string part(std::size_t{64} * KiB, '\0'); bytes.good();) {
    bytes.read(part.data(), static_cast<std::streamsize>(part.size()));
    text.append(part, 0, static_cast<std::size_t>(bytes.gcount()));
    if (text.size() > bytes_max)
      return Error::bad_input("'" + name + "' is longer than " + bytes_text(bytes_max));
  }
  if (bytes.bad()) return Error::failed("cannot read '" + name + "'");
  return text;
}

std::string_view line_of(std::string_view head, std::uint64_t number) {
  if (head.starts_with("\xef\xbb\xbf")) head.remove_prefix(3);
  for (; number > 1; --number) {
    const std::size_t newline = head.find('\n');
    if (newline == std::string_view::npos) return {};
    head.remove_prefix(newline + 1);
  }
  head = head.substr(0, head.find('\n'));
  if (head.ends_with('\r')) head.remove_suffix(1);
  return head;
}

template <std::size_t columns>
struct TextFile<columns>::Impl {
  explicit Impl(TextInput from)
      : input(std::move(from)), csv(input.name, std::make_unique<GuardedBytes>(input, damage)) {}

  TextInput input;
  Damage damage;
  io::CSVReader<columns> csv;
  std::string expected_columns = std::to_string(columns) + " columns";
  std::array<bool, columns> has{};
  std::array<char*, columns> fields{};  // null where the header lacks the column

  std::uint64_t line() const { return csv.get_file_line(); }

  /// Runs one call of the library: its exceptions and the damage of the line it read become values.
  template <class Call>
  Result<bool> guarded(const Call& call) {
    bool more = false;
    std::optional<Error> error;
    try {
      more = call();
    } catch (const io::error::too_few_columns&) {
      error = found_columns("fewer");
    } catch (const io::error::too_many_columns&) {
      error = found_columns("more");
    } catch (const io::error::duplicated_column_in_header& twice) {
      error = expected_not(input.name, line(), "each column once",
                           in_quotes(twice.column_name) + " twice");
    } catch (const io::error::header_missing&) {
      error = expected_not(input.name, line() + 1, "a header", "the end of the file");
    } catch (const io::error::line_length_limit_exceeded&) {
      error = expected_not(input.name, line(), "a line of text", long_line);
    }
    if (damage.line != 0 && line() == damage.line)
      return expected_not(input.name, line(), "a line of text", damage.found);
    if (error) return *error;
    if (!more && damage.read_failed) return Error::failed("cannot read '" + input.name + "'");
    return more;
  }

  Error found_columns(const char* how_many) const {
    return expected_not(
        input.name, line(), expected_columns,
        damage.newline_added ? std::string(how_many) + "; is the file cut?" : how_many);
  }
};

template <std::size_t columns>
TextFile<columns>::TextFile(TextInput input) : impl_(std::make_unique<Impl>(std::move(input))) {}
template <std::size_t columns>
TextFile<columns>::~TextFile() = default;
template <std::size_t columns>
TextFile<columns>::TextFile(TextFile&&) noexcept = default;
template <std::size_t columns>
TextFile<columns>& TextFile<columns>::operator=(TextFile&&) noexcept = default;

template <std::size_t columns>
const std::string& TextFile<columns>::name() const {
  return impl_->input.name;
}
template <std::size_t columns>
std::uint64_t TextFile<columns>::line() const {
  return impl_->line();
}

template <std::size_t columns>
Result<bool> TextFile<columns>::next_line(std::string_view& line) {
  return impl_->guarded([&] {
    const char* text = impl_->csv.next_line();
    line = text == nullptr ? std::string_view() : std::string_view(text);
    return text != nullptr;
  });
}

template <std::size_t columns>
Result<void> TextFile<columns>::read_header(std::span<const Column> wanted) {
  check(wanted.size() <= columns, "too many columns for this TextFile");
  // The library wants all names: the rest are ones that no header can hold.
  std::array<std::string, columns> names;
  for (std::size_t i = 0; i < columns; ++i)
    names[i] = i < wanted.size() ? wanted[i].name : std::string(i + 1, '\n');
  const Result<bool> read = impl_->guarded([&] {
    std::apply(
        [&](const auto&... name) {
          impl_->csv.read_header(io::ignore_extra_column | io::ignore_missing_column, name...);
        },
        names);
    return true;
  });
  if (!read) return read.error();
  impl_->expected_columns = "as many columns as the header has";
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    impl_->has[i] = impl_->csv.has_column(names[i]);
    if (wanted[i].required && !impl_->has[i])
      return expected_at(name(), line(), "a column '" + names[i] + "'",
                         line_of(impl_->input.head, line()));
  }
  return {};
}

template <std::size_t columns>
Result<bool> TextFile<columns>::next_row() {
  return impl_->guarded([&] {
    return std::apply([&](auto&... field) { return impl_->csv.read_row(field...); }, impl_->fields);
  });
}

template <std::size_t columns>
bool TextFile<columns>::has(std::size_t column) const {
  return impl_->has[column];
}

template <std::size_t columns>
std::string_view TextFile<columns>::field(std::size_t column) const {
  const char* text = impl_->fields[column];
  return text == nullptr ? std::string_view() : std::string_view(text);
}

template class TextFile<4>;  // requests of traces
template class TextFile<6>;  // ServeGen's windows
template class TextFile<7>;  // timing profiles

}  // namespace kvhaul
