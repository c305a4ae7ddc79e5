#include "backends/verbs/port_choice.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <tuple>

namespace kvhaul::verbs {
namespace {

bool is_ipv4(const Gid& gid) {
  return std::all_of(gid.begin(), gid.begin() + 10, [](auto b) { return b == 0; }) &&
         gid[10] == 0xff && gid[11] == 0xff;
}
bool is_link_local(const Gid& gid) { return gid[0] == 0xfe && (gid[1] & 0xc0) == 0x80; }

std::optional<std::uint32_t> number(std::string_view text, std::uint32_t most) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > most) return std::nullopt;
  return value;
}

}  // namespace

Result<PortName> parse_port_name(std::string_view text) {
  const Error wrong = Error::bad_input(
      "expected DEVICE, DEVICE:PORT or DEVICE:PORT:GID_INDEX, like "
      "mlx5_0:1; found '" +
      std::string(text) + "'");
  PortName name;
  const std::size_t colon = text.find(':');
  name.device = text.substr(0, colon);
  if (name.device.empty()) return wrong;
  if (colon == std::string_view::npos) return name;
  text.remove_prefix(colon + 1);
  const std::size_t second = text.find(':');
  const auto port = number(text.substr(0, second), 255);
  if (!port || *port == 0) return wrong;
  name.port = static_cast<std::uint8_t>(*port);
  if (second == std::string_view::npos) return name;
  name.gid_index = number(text.substr(second + 1), 255);
  if (!name.gid_index) return wrong;
  return name;
}

std::string gid_text(const Gid& gid) {
  char text[64];
  if (is_ipv4(gid)) {
    std::snprintf(text, sizeof text, "::ffff:%d.%d.%d.%d", gid[12], gid[13], gid[14], gid[15]);
    return text;
  }
  std::string out;
  for (std::size_t i = 0; i < 16; i += 2) {
    std::snprintf(text, sizeof text, "%s%02x%02x", i == 0 ? "" : ":", gid[i], gid[i + 1]);
    out += text;
  }
  return out;
}

std::optional<GidEntry> choose_gid(std::span<const GidEntry> table) {
  const auto rank = [](const GidEntry& entry) {
    const int scope = is_ipv4(entry.gid) ? 0 : is_link_local(entry.gid) ? 2 : 1;
    return std::tuple(!entry.netdev_up, scope, entry.index);
  };
  const GidEntry* best = nullptr;
  for (const GidEntry& entry : table)
    if (entry.kind == GidKind::roce_v2 && (best == nullptr || rank(entry) < rank(*best)))
      best = &entry;
  return best == nullptr ? std::nullopt : std::optional(*best);
}

}  // namespace kvhaul::verbs
