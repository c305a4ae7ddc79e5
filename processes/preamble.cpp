#include "processes/preamble.h"

#include <algorithm>
#include <charconv>

namespace kvhaul {
namespace {

constexpr std::string_view magic = "kvhaul-exchange ";
constexpr std::size_t tag_digits = 32;

/// The word before the next blank, which goes with it.
std::string_view take_word(std::string_view& text) {
  const std::size_t end = std::min(text.find(' '), text.size());
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(std::min(text.size(), end + 1));
  return word;
}

/// Written as it would be here: no sign, no leading zero.
std::optional<std::uint32_t> number_in(std::string_view text) {
  std::uint32_t value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || text != std::to_string(value)) return std::nullopt;
  return value;
}

bool is_version(std::string_view text) {
  return !text.empty() && text.size() <= 32 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
}

bool is_scenario(std::string_view text) {
  return text == no_scenario ||
         (text.size() == tag_digits && std::all_of(text.begin(), text.end(), [](char c) {
            return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
          }));
}

}  // namespace

std::string preamble_line(const Preamble& preamble) {
  return std::string(magic) + std::to_string(preamble.protocol) + " " + preamble.version + " " +
         std::to_string(preamble.rank) + " " + std::to_string(preamble.ranks) + " " +
         preamble.scenario + "\n";
}

std::optional<Preamble> parse_preamble(std::string_view line) {
  if (line.size() >= preamble_bytes_max || !line.starts_with(magic)) return std::nullopt;
  line.remove_prefix(magic.size());
  const auto protocol = number_in(take_word(line));
  if (!protocol) return std::nullopt;
  Preamble preamble;
  preamble.protocol = *protocol;
  if (*protocol != exchange_protocol) return preamble;
  const std::string_view version = take_word(line);
  const auto rank = number_in(take_word(line)), ranks = number_in(take_word(line));
  if (!is_version(version) || !rank || !ranks || !is_scenario(line)) return std::nullopt;
  preamble.version = version;
  preamble.rank = *rank;
  preamble.ranks = *ranks;
  preamble.scenario = line;
  return preamble;
}

bool may_be_preamble(std::string_view begun) {
  const std::size_t common = std::min(begun.size(), magic.size());
  return begun.size() < preamble_bytes_max && begun.substr(0, common) == magic.substr(0, common);
}

}  // namespace kvhaul
