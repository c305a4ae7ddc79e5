// What processes read of each other before they trust each other: the rendezvous file, and the
// first line on a connection. Both are read from strangers and damaged disks, and never crash.
//
// The secret of the run stands in both, and in no error and no log.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace kvhaul {

/// Where process 0 can be reached. The file is readable for its owner only.
///
///   kvhaul-rendezvous 1
///   host node17
///   address 10.0.0.17        one or more
///   port 40123
///   secret 0123...           of the run; 16 to 128 letters and digits
///   end
struct Rendezvous {
  std::string host;
  std::vector<std::string> addresses;  // numeric
  std::uint16_t port = 0;
  std::string secret;
};
std::string rendezvous_text(const Rendezvous& rendezvous);
/// bad_input names file and line. `name` stands for the file.
Result<Rendezvous> parse_rendezvous(std::string_view text, const std::string& name);

/// Fails (bad_input) for anything else than 16 to 128 letters and digits; `name` says whose it is.
Result<void> check_secret(std::string_view secret, const std::string& name);
/// A new one from the kernel.
Result<std::string> make_secret();

/// What a process says first to process 0, as one line:
///   kvhaul-exchange PROTOCOL VERSION RANK RANKS SECRET
struct Hello {
  std::uint32_t protocol = 0;
  std::string version;  // of kvhaul: what follows is not read by another one
  std::uint32_t rank = 0;
  std::uint32_t ranks = 0;
  std::string secret;
};
inline constexpr std::size_t hello_bytes_max = 256;
std::string hello_line(const Hello& hello);
/// Without its line feed. Fails when a stranger says it.
Result<Hello> parse_hello(std::string_view line);

/// Compares every byte, however early they differ.
bool same_secret(std::string_view a, std::string_view b);

}  // namespace kvhaul
