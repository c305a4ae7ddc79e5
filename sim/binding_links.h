// Which links of a run can ever hold a channel back.
#pragma once

#include <span>
#include <vector>

#include "core/backend.h"

namespace kvhaul::sim {

/// By link. A link that channels cross is left out when another one on the roads of all of them is
/// at least as narrow for each: what crosses the first crosses the second, and the second is full
/// no later. A NIC's PCIe port beside its wire, for example.
std::vector<bool> binding_links(const Cluster& cluster, std::span<const ChannelRequest> requests);

}  // namespace kvhaul::sim
