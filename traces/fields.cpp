#include "traces/fields.h"

#include <charconv>
#include <chrono>
#include <cmath>

#include "traces/trace.h"

namespace kvhaul {
namespace {

constexpr TimeNs time_max_ns = 9'000'000'000 * s_ns;  // below 2^63; year 2255 since 1970

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Takes parts off the front of a text. Once something did not fit, everything after it fails too.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : rest_(text) {}

  bool literal(char c) {
    ok_ = ok_ && rest_.starts_with(c);
    if (ok_) rest_.remove_prefix(1);
    return ok_;
  }
  int digits(std::size_t count) {
    int value = 0;
    for (std::size_t i = 0; i < count; ++i) {
      ok_ = ok_ && i < rest_.size() && is_digit(rest_[i]);
      if (!ok_) return 0;
      value = 10 * value + (rest_[i] - '0');
    }
    rest_.remove_prefix(count);
    return value;
  }
  std::string_view all_digits() {
    std::size_t count = 0;
    while (count < rest_.size() && is_digit(rest_[count])) ++count;
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    ok_ = ok_ && count > 0;
    return taken;
  }
  char peek() const { return rest_.empty() ? '\0' : rest_.front(); }
  bool ok() const { return ok_; }
  bool at_end() const { return ok_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

/// The digits after the point of a time in that unit, as nanoseconds; what is finer is rounded.
TimeNs fraction_ns(std::string_view digits, TimeNs unit_ns) {
  TimeNs ns = 0;
  std::size_t i = 0;
  for (; unit_ns > 1; unit_ns /= 10, ++i) ns = 10 * ns + (i < digits.size() ? digits[i] - '0' : 0);
  return ns + (digits.size() > i && digits[i] >= '5' ? 1 : 0);
}

template <class T>
std::optional<T> parse_all(std::string_view text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [rest, status] = std::from_chars(text.data(), end, value);
  if (status != std::errc() || rest != end) return std::nullopt;
  return value;
}

}  // namespace

std::optional<std::uint32_t> parse_tokens(std::string_view text) {
  const std::optional<std::uint32_t> tokens = parse_all<std::uint32_t>(text);
  return tokens && *tokens <= trace_tokens_max ? tokens : std::nullopt;
}

std::optional<std::uint64_t> parse_whole(std::string_view text) {
  return parse_all<std::uint64_t>(text);
}

std::optional<double> parse_number(std::string_view text) {
  const std::optional<double> number = parse_all<double>(text);
  return number && std::isfinite(*number) && *number >= 0 ? number : std::nullopt;
}

std::optional<TimeNs> parse_seconds(std::string_view text) { return parse_time(text, s_ns); }

std::optional<TimeNs> parse_time(std::string_view text, TimeNs unit_ns) {
  if (text.find_first_of("eE") != std::string_view::npos) {
    const std::optional<double> units = parse_number(text);
    const double ns = units.value_or(-1) * static_cast<double>(unit_ns);
    if (!(ns >= 0 && ns <= static_cast<double>(time_max_ns))) return std::nullopt;
    return std::llround(ns);
  }
  Cursor cursor(text);
  const std::optional<std::uint64_t> whole = parse_whole(cursor.all_digits());
  std::string_view fraction;
  if (cursor.peek() == '.') {
    cursor.literal('.');
    fraction = cursor.all_digits();
  }
  const auto whole_max = static_cast<std::uint64_t>(time_max_ns / unit_ns);
  if (!cursor.at_end() || !whole || *whole > whole_max) return std::nullopt;
  return static_cast<TimeNs>(*whole) * unit_ns + fraction_ns(fraction, unit_ns);
}

std::optional<TimeNs> parse_datetime(std::string_view text) {
  Cursor cursor(text);
  const int year = cursor.digits(4);
  cursor.literal('-');
  const int month = cursor.digits(2);
  cursor.literal('-');
  const int day = cursor.digits(2);
  cursor.literal(cursor.peek() == 'T' || cursor.peek() == 't' ? cursor.peek() : ' ');
  const int hour = cursor.digits(2);
  cursor.literal(':');
  const int minute = cursor.digits(2);
  cursor.literal(':');
  const int second = cursor.digits(2);
  std::string_view fraction;
  if (const char point = cursor.peek(); point == '.' || point == ',') {
    cursor.literal(point);
    fraction = cursor.all_digits();
  }
  int offset_min = 0;
  if (const char zone = cursor.peek(); zone == 'Z' || zone == 'z') {
    cursor.literal(zone);
  } else if (zone == '+' || zone == '-') {
    cursor.literal(zone);
    const int hours = cursor.digits(2);
    if (cursor.peek() == ':') cursor.literal(':');
    const int minutes = cursor.at_end() ? 0 : cursor.digits(2);
    if (hours > 23 || minutes > 59 || text.ends_with(':')) return std::nullopt;
    offset_min = (zone == '-' ? -1 : 1) * (60 * hours + minutes);
  }
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  const bool fits = cursor.at_end() && fraction.size() <= 9 && year >= 1970 && year <= 2200 &&
                    date.ok() && hour < 24 && minute < 60 && second < 60;
  if (!fits) return std::nullopt;
  const TimeNs days = std::chrono::sys_days(date).time_since_epoch().count();
  const TimeNs minutes = (days * 24 + hour) * 60 + minute - offset_min;
  return (minutes * 60 + second) * s_ns + fraction_ns(fraction, s_ns);
}

Error expected_at(std::string_view file, std::uint64_t line, std::string_view what,
                  std::string_view found) {
  return expected_not(file, line, what, in_quotes(found));
}

Error expected_not(std::string_view file, std::uint64_t line, std::string_view what,
                   std::string_view found) {
  std::string message(file);
  message.append(":").append(std::to_string(line)).append(": expected ").append(what);
  return Error::bad_input(message.append(", found ").append(found));
}

}  // namespace kvhaul
