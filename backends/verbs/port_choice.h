// Which port of which device, and which of its addresses: decisions without a device.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace kvhaul::verbs {

/// "mlx5_0", "mlx5_0:1", "mlx5_0:1:3": device, port, index into the port's table of GIDs.
struct PortName {
  std::string device;
  std::uint8_t port = 1;
  std::optional<std::uint32_t> gid_index;  // none: chosen

  std::string text() const { return device + ":" + std::to_string(port); }
  friend bool operator==(const PortName&, const PortName&) = default;
};
Result<PortName> parse_port_name(std::string_view text);

using Gid = std::array<std::uint8_t, 16>;

enum class GidKind : std::uint8_t { infiniband, roce_v1, roce_v2 };

struct GidEntry {
  std::uint32_t index = 0;
  GidKind kind = GidKind::roce_v2;
  Gid gid = {};
  std::string netdev;      // "eth0"; empty: not known
  bool netdev_up = false;  // as far as is known
};

/// "::ffff:192.168.70.1" as RoCE v2 has it for IPv4; else the 16 bytes in hexadecimal.
std::string gid_text(const Gid& gid);

/// The one to use on a RoCE port: version 2, which can be routed; of a network device that is up;
/// IPv4 before a global IPv6 address before a link-local one; then the smallest index. None: the
/// port has no address of version 2.
std::optional<GidEntry> choose_gid(std::span<const GidEntry> table);

}  // namespace kvhaul::verbs
