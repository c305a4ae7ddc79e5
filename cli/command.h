// What every command shares: options with help and examples, and how errors end the program.
//
// A command parses its arguments, checks all that can be checked, then works. The exit code follows
// from the Error: 0 success, 1 ran but fell short, 2 bad usage or input, 3 this machine lacks it.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <boost/program_options.hpp>

#include "core/result.h"

namespace kvhaul::cli {

using Arguments = std::vector<std::string>;

/// Success with that exit code (0, or 1 when a check fell short), or an Error that says its own.
using CommandResult = Result<int>;

struct Command {
  std::string_view name;
  std::string_view summary;
  CommandResult (*run)(const Arguments& arguments);
  std::span<const std::string_view> actions = {};  // its first argument, where it has options by it
};

/// The commands in the order of `kvhaul --help`.
std::span<const Command> commands();

/// What --help of a command shows, as data.
struct CommandHelp {
  struct Option {
    std::string name;
    std::string letter;  // empty: it has none
    std::string text;
    bool takes_value = false;
    std::string group;  // the heading that it stands under
  };
  std::string name;  // "trace generate": with its action
  std::string usage, what;
  std::vector<Option> options;
  std::vector<std::pair<std::string, std::string>> examples;  // command line, and what it is for
};
/// Of all commands, in their order.
std::vector<CommandHelp> all_help();

/// Options of one command.
class Options {
 public:
  /// `usage` stands behind the command's name: "--trace FILE [options]".
  Options(std::string command, std::string usage, std::string what);
  Options(Options&&) = default;  // what options are added to moves along
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;

  /// To declare options: options.add()("limit", value<...>(), "...").
  boost::program_options::options_description_easy_init add() { return group_->add_options(); }
  /// Those that are added from here on stand under that heading, with those that are there already.
  /// The first one is "Options".
  void group(const std::string& heading);
  /// Arguments without a name, by position; each must be declared as an option, too.
  void positional(const char* name, int count) { positional_.add(name, count); }
  void example(std::string command_line, std::string what) {
    examples_.emplace_back(std::move(command_line), std::move(what));
  }

  /// False when --help was asked for and has been printed. Errors are bad_input.
  Result<bool> parse(const Arguments& arguments);

  bool has(const char* name) const {
    return values_.count(name) != 0 && !values_[name].defaulted();
  }
  std::string text(const char* name) const { return values_[name].as<std::string>(); }
  std::optional<std::string> maybe_text(const char* name) const {
    return values_.count(name) != 0 ? std::optional(text(name)) : std::nullopt;
  }
  std::vector<std::string> texts(const char* name) const;
  bool flag(const char* name) const { return values_.count(name) != 0 && values_[name].as<bool>(); }

  // Numbers are declared as strings, so that the errors are ours.
  Result<std::uint64_t> count(const char* name, std::uint64_t least, std::uint64_t most) const;
  Result<double> number(const char* name, double least, double most) const;

  void print_help() const;
  CommandHelp help() const;

 private:
  boost::program_options::options_description all() const;

  struct Group {
    std::string heading;
    boost::program_options::options_description options;
  };
  std::string command_, usage_, what_;
  std::deque<Group> groups_;  // whose options keep their places
  boost::program_options::options_description* group_ = nullptr;
  boost::program_options::positional_options_description positional_;
  boost::program_options::variables_map values_;
  std::vector<std::pair<std::string, std::string>> examples_;
};

/// "expected one of a, b, c, found 'x'" for an option, with the nearest name when there is one.
Error unknown_choice(std::string_view option, std::string_view found,
                     std::span<const std::string> names);

CommandResult run_replay(const Arguments& arguments);
CommandResult run_completion(const Arguments& arguments);
CommandResult run_compare(const Arguments& arguments);
CommandResult run_calibrate(const Arguments& arguments);
CommandResult run_man(const Arguments& arguments);
CommandResult run_report(const Arguments& arguments);
CommandResult run_route(const Arguments& arguments);
CommandResult run_scenario(const Arguments& arguments);
CommandResult run_sweep(const Arguments& arguments);
CommandResult run_topo(const Arguments& arguments);
CommandResult run_trace(const Arguments& arguments);
CommandResult run_verify(const Arguments& arguments);
CommandResult run_explain(const Arguments& arguments);
CommandResult run_log(const Arguments& arguments);
CommandResult run_list(const Arguments& arguments);
CommandResult run_hold(const Arguments& arguments);

}  // namespace kvhaul::cli
