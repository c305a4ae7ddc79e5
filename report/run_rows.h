// Files of a run directory, as readers of them open them: what is wrong with one is an error
// (bad_input) that names it.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>

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

/// Opens a file of rows; its last line must be whole.
template <std::size_t columns>
Result<TextFile<columns>> open_rows(
    const std::string& path,
    const std::array<typename TextFile<columns>::Column, columns>& header) {
  std::error_code status;
  if (!std::filesystem::is_regular_file(path, status))
    return damaged(path, "a file of the run, found none");
  auto input = open_text(path);
  if (!input) return input.error();
  input->newline_required = true;
  TextFile<columns> file(std::move(*input));
  if (auto ok = file.read_header(header); !ok) return ok.error();
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
