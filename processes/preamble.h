// What a process says in clear before it proves that it knows the secret, and what the key of that
// proof is made of. Process 0 says nothing before it has the proof.
//
// The key of a connection is drawn from the secret of the run and from this line as it was sent:
// who changes a byte of it on the way gets no connection. So a proof holds for one version of
// kvhaul, one scenario and one rank, and process 0 knows which.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"

namespace kvhaul {

/// Of everything two processes say to each other.
inline constexpr std::uint32_t exchange_protocol = 2;

///   kvhaul-exchange PROTOCOL VERSION RANK RANKS SCENARIO
struct Preamble {
  std::uint32_t protocol = exchange_protocol;
  std::string version;  // of kvhaul
  std::uint32_t rank = 0;
  std::uint32_t ranks = 0;
  std::string scenario;  // scenario_tag(), or no_scenario
};
inline constexpr std::string_view no_scenario = "-";  // it could not be read
inline constexpr std::size_t preamble_bytes_max = 160;

/// With its line feed.
std::string preamble_line(const Preamble& preamble);
/// Without its line feed. Nothing when a stranger says it. Of another protocol only the number.
std::optional<Preamble> parse_preamble(std::string_view line);
/// Whether more bytes can still make a preamble of it.
bool may_be_preamble(std::string_view begun);

using ExchangeKey = std::array<unsigned char, 32>;
/// `line` with its line feed. By HKDF-SHA-256 (RFC 5869).
Result<ExchangeKey> exchange_key(std::string_view secret, std::string_view line);
/// Tells scenarios apart, and tells who does not know the secret nothing: 32 digits.
Result<std::string> scenario_tag(std::string_view secret, std::string_view scenario);

}  // namespace kvhaul
