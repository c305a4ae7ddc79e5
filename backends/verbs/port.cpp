#include "backends/verbs/port.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <net/if.h>

#include "backends/verbs/verbs.h"

namespace kvhaul::verbs {
namespace {

constexpr int gid_table_max = 1024;
constexpr int reads_max = 16;  // at a time on one queue pair

std::string error_text(int code) { return std::strerror(code); }

GidKind kind_of(std::uint32_t type) {
  if (type == IBV_GID_TYPE_ROCE_V2) return GidKind::roce_v2;
  return type == IBV_GID_TYPE_ROCE_V1 ? GidKind::roce_v1 : GidKind::infiniband;
}

std::vector<GidEntry> gid_table(const Port& port) {
  std::vector<ibv_gid_entry> raw(gid_table_max);
  const ssize_t count = ibv_query_gid_table(port.context.get(), raw.data(), raw.size(), 0);
  std::vector<GidEntry> table;
  for (ssize_t i = 0; i < count; ++i) {
    const ibv_gid_entry& entry = raw[static_cast<std::size_t>(i)];
    if (entry.port_num != port.name.port) continue;
    GidEntry read;
    read.index = entry.gid_index;
    read.kind = kind_of(entry.gid_type);
    std::copy_n(entry.gid.raw, 16, read.gid.begin());
    char netdev[IF_NAMESIZE] = "";
    if (entry.ndev_ifindex != 0 && if_indextoname(entry.ndev_ifindex, netdev) != nullptr) {
      read.netdev = netdev;
      std::ifstream state("/sys/class/net/" + read.netdev + "/operstate");
      std::string word;
      read.netdev_up = state >> word && word != "down";
    }
    table.push_back(std::move(read));
  }
  return table;
}

Result<void> choose_address(Port& port) {
  PortAddress& address = port.address;
  address.lid = port.attributes.lid;
  address.mtu = static_cast<std::uint8_t>(port.attributes.active_mtu);
  address.reads = static_cast<std::uint8_t>(std::clamp(port.device.max_qp_rd_atom, 1, reads_max));
  address.roce = port.attributes.link_layer == IBV_LINK_LAYER_ETHERNET;
  const std::vector<GidEntry> table = gid_table(port);
  std::optional<GidEntry> chosen;
  if (port.name.gid_index || !address.roce) {
    const std::uint32_t wanted = port.name.gid_index.value_or(0);
    const auto found = std::find_if(table.begin(), table.end(),
                                    [&](const GidEntry& entry) { return entry.index == wanted; });
    if (found != table.end()) chosen = *found;
    if (!chosen && address.roce)
      return Error::missing(port.name.text() + " has no GID " + std::to_string(wanted));
  } else {
    chosen = choose_gid(table);
    if (!chosen)
      return Error::missing(port.name.text() +
                            " has no RoCE v2 address: give its network device an IP address");
  }
  if (!chosen) return {};  // InfiniBand in one subnet needs none
  address.gid = chosen->gid;
  port.gid_index = chosen->index;
  port.netdev = chosen->netdev;
  return {};
}

}  // namespace

std::string Port::text() const {
  std::string out = name.text();
  if (address.roce) {
    out += " RoCE v2 " + gid_text(address.gid) + " (GID " + std::to_string(gid_index);
    out += netdev.empty() ? ")" : ", " + netdev + ")";
  } else {
    out += " InfiniBand LID " + std::to_string(address.lid);
  }
  return out + ", MTU " + std::to_string(mtu_bytes(address.mtu));
}

Result<ibv_pd*> Port::domain_of(NodeId peer) {
  if (peer == no_id) return domain.get();
  ProtectionDomain& of_peer = peer_domains[peer];
  if (!of_peer) of_peer.reset(ibv_alloc_pd(context.get()));
  if (!of_peer)
    return Error::missing(name.text() + ": ibv_alloc_pd, one for each peer: " + error_text(errno));
  return of_peer.get();
}

std::vector<std::string> device_names() {
  int count = 0;
  ibv_device** const list = ibv_get_device_list(&count);
  std::vector<std::string> names;
  for (int i = 0; i < count; ++i) names.emplace_back(ibv_get_device_name(list[i]));
  if (list != nullptr) ibv_free_device_list(list);
  // mlx5_10 behind mlx5_9.
  std::sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() < b.size() : a < b;
  });
  return names;
}

Result<std::unique_ptr<Port>> open_port(const PortName& name) {
  auto port = std::make_unique<Port>();
  port->name = name;
  int count = 0;
  ibv_device** const list = ibv_get_device_list(&count);
  for (int i = 0; i < count; ++i)
    if (name.device == ibv_get_device_name(list[i])) port->context.reset(ibv_open_device(list[i]));
  const int open_error = errno;
  if (list != nullptr) ibv_free_device_list(list);
  if (!port->context) {
    const std::vector<std::string> names = device_names();
    std::string there;
    for (const std::string& device : names) there += (there.empty() ? "" : ", ") + device;
    if (std::find(names.begin(), names.end(), name.device) != names.end())
      return Error::missing(name.device + " cannot be opened: " + error_text(open_error));
    return Error::missing("no RDMA device " + name.device + " here; there " +
                          (there.empty() ? "is none" : "is " + there));
  }
  ibv_context* const context = port->context.get();
  if (const int code = ibv_query_device(context, &port->device); code != 0)
    return Error::missing(name.device + ": ibv_query_device: " + error_text(code));
  if (ibv_query_port(context, name.port, &port->attributes) != 0)
    return Error::missing(name.device + " has no port " + std::to_string(name.port));
  if (port->attributes.state != IBV_PORT_ACTIVE)
    return Error::missing(name.text() + " is " + ibv_port_state_str(port->attributes.state) +
                          ", not PORT_ACTIVE");
  if (auto chosen = choose_address(*port); !chosen) return chosen.error();
  port->domain.reset(ibv_alloc_pd(context));
  if (!port->domain) return Error::missing(name.device + ": ibv_alloc_pd: " + error_text(errno));
  port->events.reset(ibv_create_comp_channel(context));
  if (!port->events)
    return Error::missing(name.device + ": ibv_create_comp_channel: " + error_text(errno));
  // Both are asked for events, and must not wait for them.
  for (const int file : {context->async_fd, port->events->fd})
    fcntl(file, F_SETFL, fcntl(file, F_GETFL) | O_NONBLOCK);
  return port;
}

Result<void> make_completion_queue(Port& port, std::uint32_t entries) {
  const int count = std::min(static_cast<int>(entries), port.device.max_cqe);
  port.completions.reset(ibv_create_cq(port.context.get(), count, nullptr, port.events.get(), 0));
  if (port.completions) return {};
  return Error::missing(port.name.text() + ": ibv_create_cq with " + std::to_string(count) +
                        " entries: " + error_text(errno));
}

ibv_ah_attr way_to(const Port& from, const PortAddress& to, std::uint8_t service_level,
                   std::uint8_t traffic_class) {
  ibv_ah_attr way = {};
  way.port_num = from.name.port;
  way.dlid = to.lid;
  way.sl = service_level;
  if (!to.roce) return way;
  way.is_global = 1;
  std::copy(to.gid.begin(), to.gid.end(), way.grh.dgid.raw);
  way.grh.sgid_index = static_cast<std::uint8_t>(from.gid_index);
  way.grh.hop_limit = 64;
  way.grh.traffic_class = traffic_class;
  return way;
}

}  // namespace kvhaul::verbs
