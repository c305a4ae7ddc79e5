#include "processes/rendezvous.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <sys/random.h>

namespace kvhaul {
namespace {

constexpr std::string_view file_magic = "kvhaul-rendezvous";
constexpr std::string_view line_magic = "kvhaul-exchange";
constexpr std::size_t file_bytes_max = 1 << 16;
constexpr std::size_t secret_least = 16, secret_most = 128;

bool is_word(std::string_view text, std::size_t most) {
  return !text.empty() && text.size() <= most &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
}

template <class Number>
std::optional<Number> number_in(std::string_view text) {
  Number value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || rest != text.data() + text.size()) return std::nullopt;
  return value;
}

/// The part before the next `separator`, which goes with it.
std::string_view take_until(std::string_view& text, char separator) {
  const std::size_t end = std::min(text.find(separator), text.size());
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(std::min(text.size(), end + 1));
  return part;
}

}  // namespace

std::string rendezvous_text(const Rendezvous& rendezvous) {
  std::string text(file_magic);
  text += " 1\nhost " + rendezvous.host + "\n";
  for (const std::string& address : rendezvous.addresses) text += "address " + address + "\n";
  return text + "port " + std::to_string(rendezvous.port) + "\nsecret " + rendezvous.secret +
         "\nend\n";
}

Result<Rendezvous> parse_rendezvous(std::string_view text, const std::string& name) {
  int number = 0;
  const auto wrong = [&](const std::string& expected) {
    return Error::bad_input(name + ":" + std::to_string(number) + ": expected " + expected +
                            "; this is no rendezvous file, or a damaged one");
  };
  if (text.size() > file_bytes_max)
    return Error::bad_input(name + ": expected a rendezvous file, found something larger");
  Rendezvous rendezvous;
  bool ended = false;
  while (!text.empty() && !ended) {
    ++number;
    if (text.find('\n') == std::string_view::npos) return wrong("a line feed at its end");
    std::string_view value = take_until(text, '\n');
    const std::string_view key = take_until(value, ' ');
    if (number == 1) {
      if (key != file_magic) return wrong("'kvhaul-rendezvous 1'");
      if (value != "1") return wrong("version 1 of the format");
    } else if (key == "host" && is_word(value, 255)) {
      rendezvous.host = value;
    } else if (key == "address" && is_word(value, 64) && rendezvous.addresses.size() < 64) {
      rendezvous.addresses.emplace_back(value);
    } else if (key == "port" && number_in<std::uint16_t>(value).value_or(0) != 0) {
      rendezvous.port = *number_in<std::uint16_t>(value);
    } else if (key == "secret" && check_secret(value, name)) {
      rendezvous.secret = value;
    } else if (key == "end" && value.empty()) {
      ended = true;
    } else {
      return wrong("host, address, port, secret or end, with its value");
    }
  }
  ++number;
  if (!ended) return wrong("'end', found the end of the file");
  if (!text.empty()) return wrong("nothing behind 'end'");
  if (rendezvous.host.empty() || rendezvous.addresses.empty() || rendezvous.port == 0 ||
      rendezvous.secret.empty())
    return Error::bad_input(name + ": expected a host, an address, a port and a secret");
  return rendezvous;
}

Result<void> check_secret(std::string_view secret, const std::string& name) {
  if (secret.size() >= secret_least && secret.size() <= secret_most &&
      std::all_of(secret.begin(), secret.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
      }))
    return {};
  return Error::bad_input(name + ": expected a secret of 16 to 128 letters and digits");
}

Result<std::string> make_secret() {
  std::array<unsigned char, 16> bytes{};
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    return Error::failed(std::string("no random bytes from the kernel: ") + std::strerror(errno));
  std::string secret;
  for (const unsigned char byte : bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    secret += digits[byte >> 4];
    secret += digits[byte & 15];
  }
  return secret;
}

std::string hello_line(const Hello& hello) {
  return std::string(line_magic) + " " + std::to_string(hello.protocol) + " " + hello.version +
         " " + std::to_string(hello.rank) + " " + std::to_string(hello.ranks) + " " + hello.secret +
         "\n";
}

Result<Hello> parse_hello(std::string_view line) {
  const Error stranger = Error::bad_input("what came is not from a kvhaul");
  if (line.size() >= hello_bytes_max || take_until(line, ' ') != line_magic) return stranger;
  Hello hello;
  const auto protocol = number_in<std::uint32_t>(take_until(line, ' '));
  const std::string_view version = take_until(line, ' ');
  const auto rank = number_in<std::uint32_t>(take_until(line, ' '));
  const auto ranks = number_in<std::uint32_t>(take_until(line, ' '));
  if (!protocol || !is_word(version, 32) || !rank || !ranks || !check_secret(line, ""))
    return stranger;
  return Hello{*protocol, std::string(version), *rank, *ranks, std::string(line)};
}

bool same_secret(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]);
  return difference == 0;
}

}  // namespace kvhaul
