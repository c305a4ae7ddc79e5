// kvhaul list links: what the roads are like, side by side.
#pragma once

#include <string>

#include "cli/json_text.h"

namespace kvhaul::cli {

/// The table with its sources.
std::string links_table();
/// The same for programs.
Json links_json();

}  // namespace kvhaul::cli
