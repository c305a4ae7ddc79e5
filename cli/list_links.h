// kvhaul list links: what the roads are like, side by side.
#pragma once

#include <string>

namespace kvhaul::cli {

/// The table with its sources.
std::string links_table();

}  // namespace kvhaul::cli
