#include "cli/terminal.h"

#include <algorithm>
#include <cstdlib>
#include <unistd.h>

#include "core/unit_text.h"

namespace kvhaul::cli {
namespace {

bool colour_wanted(std::FILE* file) {
  const char* no_color = std::getenv("NO_COLOR");
  return is_terminal(file) && (no_color == nullptr || *no_color == '\0');
}

void print_line(const char* colour, const char* word, const std::string& message) {
  const bool coloured = colour_wanted(stderr);
  std::fprintf(stderr, "%skvhaul:%s%s %s\n", coloured ? colour : "", coloured ? "\033[0m" : "",
               word, printable(message).c_str());
}

/// Columns that the text takes, counting UTF-8 characters as one.
std::size_t width(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

}  // namespace

std::string printable(const std::string& text) {
  std::string out;
  for (const char c : text) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return out;
}

bool is_terminal(std::FILE* file) { return isatty(fileno(file)) == 1; }

std::string toned(Tone tone, const std::string& text) {
  if (!colour_wanted(stdout)) return text;
  return (tone == Tone::strong ? "\033[1m" : "\033[33m") + text + "\033[0m";
}

void print_error(const std::string& message) { print_line("\033[31m", "", message); }
void print_warning(const std::string& message) { print_line("\033[33m", " note:", message); }

constexpr std::size_t wrapped_columns_max = 80;

std::string wrapped(const std::string& text, std::size_t indent) {
  std::string out;
  const std::size_t first_word = std::min(text.find_first_not_of(' '), text.size());
  std::string line = text.substr(0, first_word);
  for (std::size_t at = first_word; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    at = end + 1;
    const bool begins = line.find_first_not_of(' ') == std::string::npos;
    if (!begins && line.size() + 1 + word.size() > wrapped_columns_max) {
      out += line + "\n";
      line = std::string(indent, ' ') + word;
    } else {
      line += (begins ? "" : " ") + word;
    }
  }
  return out + line + "\n";
}

std::string fitted(const std::string& text, std::size_t indent) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    out += width(line) > wrapped_columns_max ? wrapped(line, indent) : line + "\n";
  }
  return out;
}

std::string TextTable::text(unsigned indent) const {
  std::vector<std::size_t> widths;
  for (const auto& row : rows_)
    for (std::size_t c = 0; c < row.size(); ++c) {
      if (c >= widths.size()) widths.push_back(0);
      widths[c] = std::max(widths[c], width(row[c]));
    }
  std::string out;
  for (const auto& row : rows_) {
    std::string line(indent, ' ');
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string padding(widths[c] - width(row[c]), ' ');
      if (c > 0) line += "  ";
      line += c == 0 ? row[c] + padding : padding + row[c];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

ProgressBar::ProgressBar(bool wanted, bool lines)
    : terminal_(is_terminal(stderr)),
      wanted_(wanted && (terminal_ || lines)),
      start_(Clock::now()),
      next_(start_ + std::chrono::milliseconds(terminal_ ? 500 : 1000)) {}

ProgressBar::~ProgressBar() {
  if (drawn_ && terminal_) std::fputs("\r\033[K", stderr);
}

bool ProgressBar::due() const { return wanted_ && Clock::now() >= next_; }

void ProgressBar::show(double share, const std::string& what) {
  if (!due()) return;
  const Clock::time_point now = Clock::now();
  using std::chrono::milliseconds;
  const auto elapsed_ms = std::chrono::duration_cast<milliseconds>(now - start_);
  next_ = now + (terminal_ ? milliseconds(100) : std::min(elapsed_ms, milliseconds(60'000)));
  drawn_ = true;
  std::string line;
  if (share >= 0) {
    constexpr int bar_columns = 20;
    const int filled = static_cast<int>(std::clamp(share, 0.0, 1.0) * bar_columns);
    line.append("[").append(static_cast<std::size_t>(filled), '#');
    line.append(static_cast<std::size_t>(bar_columns - filled), '.').append("] ");
    line.append(number_text(100 * share, 3)).append("%  ");
    const double elapsed = std::chrono::duration<double>(now - start_).count();
    if (share > 0.01)
      line += duration_text(static_cast<TimeNs>(elapsed * (1 - share) / share * 1e9)) + " left  ";
  }
  std::fprintf(stderr, terminal_ ? "\r\033[K%s%s" : "%s%s\n", line.c_str(), what.c_str());
  std::fflush(stderr);
}

}  // namespace kvhaul::cli
