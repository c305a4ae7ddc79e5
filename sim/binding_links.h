// Which links of a run can ever hold a channel back.
#pragma once

#include <span>
#include <vector>

#include "core/backend.h"

namespace kvhaul::sim {

/// Every link that a channel crosses, ascending.
std::vector<LinkId> used_links(std::span<const ChannelRequest> requests);

/// Those of them that can bind, ascending. A link is left out when another one on the roads of all
/// of its channels is at least as narrow for each of them: what crosses the first crosses the
/// second, and the second is full no later. A NIC's PCIe port beside its wire, for example.
std::vector<LinkId> binding_links(const Cluster& cluster, std::span<const ChannelRequest> requests);

}  // namespace kvhaul::sim
