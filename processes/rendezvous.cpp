#include "processes/rendezvous.h"

#include <algorithm>
#include <array>
#include <bitset>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <sys/random.h>

#include "processes/private_file.h"
#include "processes/socket.h"

namespace kvhaul {
namespace {

constexpr std::string_view file_magic = "kvhaul-rendezvous";
constexpr std::size_t secret_least = 32, secret_most = 128;
// Different characters. 32 random digits of 16 have fewer once in twenty million times.
constexpr std::size_t kinds_least = 8;

bool is_word(std::string_view text, std::size_t most) {
  return !text.empty() && text.size() <= most &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
}

std::optional<std::uint16_t> port_in(std::string_view text) {
  std::uint16_t value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || rest != text.data() + text.size() || value == 0) return std::nullopt;
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

bool is_address(const std::string& rendezvous) {
  const std::size_t colon = rendezvous.rfind(':');
  return colon != std::string::npos && colon > 0 && colon + 1 < rendezvous.size() &&
         rendezvous.find('/') == std::string::npos &&
         rendezvous.find_first_not_of("0123456789", colon + 1) == std::string::npos;
}

std::string rendezvous_text(const Rendezvous& rendezvous) {
  std::string text(file_magic);
  text += " 2\nhost " + rendezvous.host + "\nmachine " + rendezvous.machine + "\n";
  for (const std::string& address : rendezvous.addresses) text += "address " + address + "\n";
  return text + "port " + std::to_string(rendezvous.port) + "\nsecret " + rendezvous.secret +
         "\nend\n";
}

bool is_rendezvous(const std::string& text) {
  return text.starts_with(std::string(file_magic) + " ");
}

Result<Rendezvous> parse_rendezvous(std::string_view text, const std::string& name) {
  int number = 0;
  const auto wrong = [&](const std::string& expected) {
    return Error::bad_input(name + ":" + std::to_string(number) + ": expected " + expected +
                            "; this is no rendezvous file, or a damaged one");
  };
  if (text.size() > rendezvous_bytes_max)
    return Error::bad_input(name + ": expected a rendezvous file, found something larger");
  Rendezvous rendezvous;
  bool ended = false;
  while (!text.empty() && !ended) {
    ++number;
    if (text.find('\n') == std::string_view::npos) return wrong("a line feed at its end");
    std::string_view value = take_until(text, '\n');
    const std::string_view key = take_until(value, ' ');
    if (number == 1) {
      if (key != file_magic) return wrong("'kvhaul-rendezvous 2'");
      if (value != "2") return wrong("version 2 of the format, of this version of kvhaul");
    } else if (key == "host" && is_word(value, 255)) {
      rendezvous.host = value;
    } else if (key == "machine" && is_word(value, 128)) {
      rendezvous.machine = value;
    } else if (key == "address" && is_word(value, 64) && rendezvous.addresses.size() < 64) {
      rendezvous.addresses.emplace_back(value);
    } else if (key == "port" && port_in(value)) {
      rendezvous.port = *port_in(value);
    } else if (key == "secret" && check_secret(value, "")) {
      rendezvous.secret = value;
    } else if (key == "end" && value.empty()) {
      ended = true;
    } else {
      return wrong("host, machine, address, port, secret or end, with its value");
    }
  }
  ++number;
  if (!ended) return wrong("'end', found the end of the file");
  if (!text.empty()) return wrong("nothing behind 'end'");
  if (rendezvous.host.empty() || rendezvous.machine.empty() || rendezvous.addresses.empty() ||
      rendezvous.port == 0 || rendezvous.secret.empty())
    return Error::bad_input(name + ": expected a host, a machine, an address, a port and a secret");
  return rendezvous;
}

Result<std::optional<Rendezvous>> read_rendezvous(const std::string& path) {
  auto text = read_private_file(path, rendezvous_bytes_max);
  if (!text) return Error::bad_input("--rendezvous: " + text.error().message);
  if (!*text) return std::optional<Rendezvous>();
  auto parsed = parse_rendezvous(**text, path);
  if (!parsed) return Error::bad_input("--rendezvous: " + parsed.error().message);
  return std::optional(std::move(*parsed));
}

std::vector<std::string> addresses_from_here(const Rendezvous& rendezvous) {
  std::vector<std::string> addresses = rendezvous.addresses;
  // On one machine its own address, the last one, is the one that surely works.
  if (rendezvous.machine == machine_id()) {
    std::reverse(addresses.begin(), addresses.end());
    return addresses;
  }
  const std::vector<std::string> own = own_addresses();
  std::erase_if(addresses, [&](const std::string& address) {
    return is_loopback(address) || std::find(own.begin(), own.end(), address) != own.end();
  });
  return addresses;
}

Result<void> check_secret(std::string_view secret, const std::string& name) {
  std::bitset<256> seen;
  bool good = secret.size() >= secret_least && secret.size() <= secret_most;
  for (const char c : secret) {
    good = good && ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'));
    seen.set(static_cast<unsigned char>(c));
  }
  if (good && seen.count() >= kinds_least) return {};
  return Error::bad_input(name +
                          ": expected a random secret of 32 to 128 letters and digits, such as "
                          "'openssl rand -hex 16' prints");
}

Result<std::string> read_secret_file(const std::string& path) {
  const std::string name = "--secret: ";
  auto text = read_private_file(path, 4096);
  if (!text) return Error::bad_input(name + text.error().message);
  if (!*text) return Error::bad_input(name + path + " cannot be read: " + std::strerror(ENOENT));
  std::string secret = (*text)->substr(0, (*text)->find('\n'));
  if (secret.ends_with('\r')) secret.pop_back();
  if (auto ok = check_secret(secret, name + path); !ok) return ok.error();
  return secret;
}

Result<std::string> make_secret() {
  std::array<unsigned char, 16> bytes{};
  while (true) {
    if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
      return Error::failed(std::string("no random bytes from the kernel: ") + std::strerror(errno));
    std::string secret;
    for (const unsigned char byte : bytes) {
      constexpr std::string_view digits = "0123456789abcdef";
      secret += digits[byte >> 4];
      secret += digits[byte & 15];
    }
    if (check_secret(secret, "")) return secret;
  }
}

}  // namespace kvhaul
