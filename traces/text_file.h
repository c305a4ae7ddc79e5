// Internal to traces/: lines and CSV rows of a text file, through fast-cpp-csv-parser.
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
/// Line `number` (from 1) of the bytes in `head`, without its line end and a byte order mark.
std::string_view line_of(std::string_view head, std::uint64_t number);

class TextFile {
 public:
  static constexpr std::size_t columns_max = 6;

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
  /// columns_max columns.
  struct Column {
    std::string_view name;
    bool required = true;
  };
  Result<void> read_header(std::span<const Column> columns);
  /// False at the end. Fields have the order of `columns`, and are good until the next call.
  Result<bool> next_row();
  bool has(std::size_t column) const;  // whether the header has it
  std::string_view field(std::size_t column) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvhaul
