// The rendezvous file and the secret of a run. Both are read from strangers and damaged disks, and
// never crash. The secret stands in no error and no log.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace kvhaul {

/// True for HOST:PORT and [ADDRESS]:PORT; a file of such a name is meant with ./ in front.
bool is_address(const std::string& rendezvous);

/// Where process 0 can be reached. The file is readable for its owner only.
///
///   kvhaul-rendezvous 2
///   host node17
///   machine 6d1c...-4026531840      whose loopback addresses its are: machine_id()
///   address 10.0.0.17               one or more
///   port 40123
///   secret 0123...                  of the run
///   end
struct Rendezvous {
  std::string host;
  std::string machine;
  std::vector<std::string> addresses;  // numeric
  std::uint16_t port = 0;
  std::string secret;
};
inline constexpr std::size_t rendezvous_bytes_max = 1 << 16;
std::string rendezvous_text(const Rendezvous& rendezvous);
/// bad_input names file and line. `name` stands for the file.
Result<Rendezvous> parse_rendezvous(std::string_view text, const std::string& name);
/// Of any version, whole or not: what process 0 may replace.
bool is_rendezvous(const std::string& text);

/// The file of process 0; nothing while there is none. bad_input for what is no such file, or could
/// be somebody else's (read_private_file()).
Result<std::optional<Rendezvous>> read_rendezvous(const std::string& path);

/// Addresses of the file that may be those of process 0 as seen from here. Where its machine is
/// another, an address that leads to this one is left out: somebody else would listen there.
std::vector<std::string> addresses_from_here(const Rendezvous& rendezvous);

/// Who has a key drawn from it has the run, and may guess at home once he has seen one connection:
/// 32 to 128 letters and digits, not all the same few. `name` says whose it is in the error
/// (bad_input).
Result<void> check_secret(std::string_view secret, const std::string& name);
/// The first line of a file that only this user may read.
Result<std::string> read_secret_file(const std::string& path);
/// A new one from the kernel.
Result<std::string> make_secret();

}  // namespace kvhaul
