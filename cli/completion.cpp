// kvhaul completion and kvhaul man: what is generated from the options of all commands.
#include <iostream>

#include "cli/command.h"
#include "cli/shell_help.h"

namespace kvhaul::cli {
namespace po = boost::program_options;

CommandResult run_completion(const Arguments& arguments) {
  Options options("completion", "bash|zsh",
                  "Prints the completion of commands, options and their values for a shell.\n"
                  "'cmake --install' puts both where the shells look for them.");
  options.add()("shell", po::value<std::string>(), "bash or zsh");
  options.positional("shell", 1);
  options.example("source <(kvhaul completion bash)", "in this shell, or in ~/.bashrc");
  options.example("kvhaul completion zsh > ~/.zfunc/_kvhaul", "for zsh, with ~/.zfunc in fpath");
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  const std::string shell = options.maybe_text("shell").value_or("");
  if (shell == "bash")
    std::cout << bash_completion(all_help());
  else if (shell == "zsh")
    std::cout << zsh_completion(all_help());
  else if (shell.empty())
    return Error::bad_input("kvhaul completion: expected bash or zsh");
  else
    return unknown_choice("kvhaul completion", shell, std::vector<std::string>{"bash", "zsh"});
  return 0;
}

CommandResult run_man(const Arguments& arguments) {
  Options options("man", "", "Prints the man page, in the format of man(7).");
  options.example("kvhaul man | man -l -", "to read it without installing it");
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  std::cout << man_page(all_help());
  return 0;
}

}  // namespace kvhaul::cli
