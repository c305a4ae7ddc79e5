// Files of a run directory, as readers of them open them: what is wrong with one is an error
// (bad_input) that names it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.h"
#include "core/unit_text.h"
#include "traces/text_file.h"

namespace kvhaul::report {

/// Of summary.json; 262,144 links take 60 MB.
inline constexpr std::size_t summary_bytes_max = 256 * MiB;

/// `what` goes on after "expected".
inline Error damaged(const std::string& file, const std::string& what) {
  return Error::bad_input(file + ": expected " + what);
}

/// Opens a file of rows with these columns, among others; its last line must be whole.
inline Result<TextFile> open_rows(const std::string& path,
                                  std::initializer_list<std::string_view> columns) {
  std::error_code status;
  if (!std::filesystem::is_regular_file(path, status))
    return damaged(path, "a file of the run, found none");
  auto input = open_text(path);
  if (!input) return input.error();
  input->newline_required = true;
  TextFile file(std::move(*input));
  const std::vector<TextFile::Column> wanted(columns.begin(), columns.end());
  if (auto ok = file.read_header(wanted); !ok) return ok.error();
  return file;
}

/// `told`: what summary.json says; runs of an older kvhaul say nothing.
inline Result<void> check_rows(const std::string& file, std::uint64_t found,
                               const std::optional<double>& told) {
  if (!told || *told == static_cast<double>(found)) return {};
  return damaged(file, number_text(*told, 15) + " rows, which summary.json counts, found " +
                           std::to_string(found) + ": one of the two is of another run, or cut");
}

}  // namespace kvhaul::report
