// What people see: tables, a progress bar, errors. Colour and the bar only on a terminal; NO_COLOR
// is honoured; nothing is said by colour alone.
#pragma once

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

namespace kvhaul::cli {

bool is_terminal(std::FILE* file);

/// Control characters, of a file's name or out of a damaged file, must not reach the terminal.
std::string printable(const std::string& text);

/// Text for standard output, set off where that is a terminal. What it says must be clear without.
enum class Tone { strong, warning };
std::string toned(Tone tone, const std::string& text);

/// "kvhaul: MESSAGE" on standard error.
void print_error(const std::string& message);
void print_warning(const std::string& message);

/// Columns padded to their widest cell; the first is left-aligned, the others right-aligned.
class TextTable {
 public:
  explicit TextTable(std::vector<std::string> header) : rows_{std::move(header)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  /// With that many spaces before every line.
  std::string text(unsigned indent = 0) const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

/// One line on standard error that is drawn over, from two seconds on.
class ProgressBar {
 public:
  explicit ProgressBar(bool wanted);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// `share` from 0 to 1, or negative when it is not known how far there is to go.
  void show(double share, const std::string& what);

 private:
  using Clock = std::chrono::steady_clock;
  bool wanted_;
  bool drawn_ = false;
  Clock::time_point start_;
  Clock::time_point last_;
};

}  // namespace kvhaul::cli
