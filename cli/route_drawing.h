// A route drawn for a terminal, hop by hop, and whom it passes by.
#pragma once

#include <string>
#include <vector>

#include "core/cluster.h"
#include "core/route.h"

namespace kvhaul::cli {

/// "CPU and host memory bypassed", or the memories that the bytes cross on their way.
std::string cpu_text(const Cluster& cluster, const Route& route);

/// One line per hop with its rate, the time that so many bytes need on it alone and a bar as long
/// as that, between the devices that it joins. The narrowest hop says so. At most 80 columns.
///
///   [node0/gpu0]
///     |  node0/gpu0/pcie/out   55.1 GB/s   19.5 ms  ##########
///     |  node0/nic0/pcie/in    55.1 GB/s   19.5 ms  ##########
///   [node0/nic0] connectx-7
///
/// Behind a NIC stands what part it is, where the cluster says so.
std::vector<std::string> draw_route(const Cluster& cluster, const Route& route, Bytes bytes);

}  // namespace kvhaul::cli
