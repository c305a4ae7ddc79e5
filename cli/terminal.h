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

/// Words in lines of at most 80 columns, the later ones indented.
std::string wrapped(const std::string& text, std::size_t indent);
/// Lines of text: those that are wider than that go on below.
std::string fitted(const std::string& text, std::size_t indent);

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

/// Where a long command is, on standard error. On a terminal it is one line that is drawn over,
/// from the first second on. Elsewhere, where `lines` are wanted, a line after one second, two,
/// four and so on, at most a minute apart.
class ProgressBar {
 public:
  explicit ProgressBar(bool wanted, bool lines = false);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// Whether show() would show anything now: asks the clock, so that nobody composes in vain.
  bool due() const;
  /// `share` from 0 to 1, or negative when it is not known how far there is to go.
  void show(double share, const std::string& what);

 private:
  using Clock = std::chrono::steady_clock;
  bool terminal_;
  bool wanted_;
  bool drawn_ = false;
  Clock::time_point start_;
  Clock::time_point next_;
};

}  // namespace kvhaul::cli
