// What is generated from the options that --help shows: completion for bash and zsh, and the man
// page.
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"

namespace kvhaul::cli {

std::string bash_completion(const std::vector<CommandHelp>& commands);
std::string zsh_completion(const std::vector<CommandHelp>& commands);
/// kvhaul(1) as troff, of the man macros.
std::string man_page(const std::vector<CommandHelp>& commands);

/// What an option of that name takes, where that can be listed; else nothing, and files are
/// offered.
std::vector<std::string> option_values(const std::string& option);

}  // namespace kvhaul::cli
