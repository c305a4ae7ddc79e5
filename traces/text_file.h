// For readers of files, not for their users: the bytes of a text, packed or not, its lines, and the
// rows of a CSV (RFC 4180: fields in quotes may hold commas, line ends and doubled quotes).
#pragma once

#include <cstddef>
#include <cstdint>
#include <istream>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace kvhaul {

inline constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";

/// Bytes to read and what errors call them.
struct TextInput {
  std::unique_ptr<std::istream> bytes;
  std::string name;
  std::string head = {};          // was taken from `bytes` already, and comes before the rest
  bool newline_required = false;  // a last line without one is an error: the file was cut
};
/// A file with its head taken. The error says why it could not be opened.
Result<TextInput> open_text(const std::string& path);
/// Standard input likewise, once in the life of a program; not where that is a terminal.
Result<TextInput> open_standard_input();
/// The same over bytes that are already open. Gzip data is known by its first bytes, and unpacked
/// as it is read. The head is enough for the first line of any CSV, and for some of any JSON.
Result<TextInput> begin_text(std::unique_ptr<std::istream> bytes, std::string name);
/// Everything that is left, for files that are small by nature.
Result<std::string> read_all(TextInput& input, std::size_t bytes_max);
/// Why bytes that are bad() cannot be read on.
Error cannot_read(const std::istream& bytes, const std::string& name);
/// Line `number` (from 1) of the bytes in `head`, without its line end and a byte order mark.
std::string_view line_of(std::string_view head, std::uint64_t number);
/// The fields of a line of CSV, as far as quotes in it are closed.
std::vector<std::string> csv_fields(std::string_view line);

class TextFile {
 public:
  /// Without a header, every row has exactly `columns` columns.
  explicit TextFile(TextInput input, std::size_t columns = 0);
  ~TextFile();
  TextFile(TextFile&&) noexcept;
  TextFile& operator=(TextFile&&) noexcept;

  const std::string& name() const;
  /// Where the line or row read last begins, from 1.
  std::uint64_t line() const;
  /// That line, without its line end; good until the next call.
  std::string_view line_text() const;

  /// False at the end. The line is good until the next call.
  Result<bool> next_line(std::string_view& line);

  /// Reads the header; other columns may stand between these.
  struct Column {
    std::string_view name;
    bool required = true;
  };
  Result<void> read_header(std::span<const Column> wanted);
  /// False at the end. Fields have the order of `wanted`, and are good until the next call.
  Result<bool> next_row();
  bool has(std::size_t column) const;  // whether the header has it
  std::string_view field(std::size_t column) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvhaul
