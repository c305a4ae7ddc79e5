// For readers of files, not for their users: lines and CSV rows of a text, through
// fast-cpp-csv-parser.
//
// That library needs guarding: it ends a line at a NUL byte, reads past its data where a long file
// lacks the final newline, and throws. All of that stays inside text_file.cpp.
#pragma once

#include <cstdint>
#include <istream>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/result.h"

namespace kvhaul {

/// Bytes to read and what errors call them.
struct TextInput {
  std::unique_ptr<std::istream> bytes;
  std::string name;
  std::string head = {};          // was taken from `bytes` already, and comes before the rest
  bool newline_required = false;  // a last line without one is an error: the file was cut
};
/// The error says why the file could not be opened.
Result<TextInput> open_text(const std::string& path);
/// The same over bytes that are already open, with their head taken: enough for the first line of
/// any CSV, and for the keys before the ids in JSON.
Result<TextInput> begin_text(std::unique_ptr<std::istream> bytes, std::string name);
/// Everything that is left, for files that are small by nature.
Result<std::string> read_all(std::istream& bytes, const std::string& name, std::size_t bytes_max);
/// Line `number` (from 1) of the bytes in `head`, without its line end and a byte order mark.
std::string_view line_of(std::string_view head, std::uint64_t number);

/// `columns` is how many columns a row has without a header, and how many a header may be asked
/// for. Those that readers need are instantiated in text_file.cpp.
template <std::size_t columns>
class TextFile {
 public:
  explicit TextFile(TextInput input);
  ~TextFile();
  TextFile(TextFile&&) noexcept;
  TextFile& operator=(TextFile&&) noexcept;

  const std::string& name() const;
  /// Of the line or row read last, from 1.
  std::uint64_t line() const;

  /// False at the end. The line is good until the next call.
  Result<bool> next_line(std::string_view& line);

  /// Reads the header; other columns may stand between these. Without this call, every row has
  /// exactly `columns` columns.
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
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvhaul
