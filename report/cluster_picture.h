// A picture of some nodes of a cluster as SVG: host memories, PCIe switches, GPUs, NICs, NVLink and
// the fabric, and every link between them.
//
// A link is a line, one per direction, with the link's name in `data-link`, so that a report can
// colour it by its load. On the picture of a route the links that it crosses stand out.
#pragma once

#include <span>
#include <string>

#include "core/cluster.h"
#include "core/route.h"

namespace kvhaul::report {

/// For a page that brings its own style. `route` may be nothing.
std::string cluster_picture(const Cluster& cluster, std::span<const NodeId> nodes,
                            const Route* route);

/// A file of its own: the same with its style, a title, and lines of text under it.
std::string route_picture(const Cluster& cluster, const Route& route, const std::string& title,
                          std::span<const std::string> lines);

}  // namespace kvhaul::report
