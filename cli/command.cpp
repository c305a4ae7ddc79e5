#include "cli/command.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iostream>

#include "core/unit_text.h"
#include "scenarios/yaml_reader.h"

namespace kvhaul::cli {
namespace po = boost::program_options;

namespace {
constexpr unsigned help_columns = 80;
// Where --help goes while all_help() asks every command for it.
thread_local std::vector<CommandHelp>* collected = nullptr;

constexpr std::string_view scenario_actions[] = {"show", "check", "diff"};
constexpr std::string_view trace_actions[] = {"describe", "convert", "cut",     "scale",
                                              "sort",     "merge",   "generate"};
}  // namespace

std::span<const Command> commands() {
  static constexpr Command all[] = {
      {"replay", "replay a request trace on a scenario: the run, its table and its files",
       run_replay},
      {"compare", "where runs differ and why: figures side by side, and transfer by transfer",
       run_compare},
      {"explain", "what single requests of a run waited for, and what held them", run_explain},
      {"sweep", "a grid over scenario values and options: many replays and their table", run_sweep},
      {"report", "write the report of a run directory anew", run_report},
      {"route", "all routes between two places, hop by hop, and why one is chosen", run_route},
      {"scenario", "show a scenario, check some, or say how two differ", run_scenario,
       scenario_actions},
      {"topo", "what this machine has (GPUs, NICs, NUMA hosts, links), as a scenario file",
       run_topo},
      {"calibrate", "measure what a scenario's routes cost here, and write it into the scenario",
       run_calibrate},
      {"trace", "describe, convert, cut, scale, sort, merge or generate request traces", run_trace,
       trace_actions},
      {"verify", "feed a recorded event log back and check that decisions are identical",
       run_verify},
      {"log", "print a recorded event log: each event and each decision", run_log},
      {"hold", "hold GPU memory for a replay in another process", run_hold},
      {"list", "scenarios, models, policies, backends and trace formats available here", run_list},
      {"completion", "completion of commands and options for bash and zsh", run_completion},
      {"man", "the man page", run_man},
  };
  return all;
}

Options::Options(std::string command, std::string usage, std::string what)
    : command_(std::move(command)), usage_(std::move(usage)), what_(std::move(what)) {
  group("Options");
  add()("help,h", po::bool_switch(), "this text");
}

void Options::group(const std::string& heading) {
  auto found = std::find_if(groups_.begin(), groups_.end(),
                            [&](const Group& group) { return group.heading == heading; });
  if (found == groups_.end()) {
    groups_.push_back({heading, po::options_description(heading, help_columns, help_columns / 2)});
    found = std::prev(groups_.end());
  }
  group_ = &found->options;
}

po::options_description Options::all() const {
  po::options_description all("", help_columns, help_columns / 2);
  for (const Group& group : groups_)
    if (!group.options.options().empty()) all.add(group.options);
  return all;
}

Result<bool> Options::parse(const Arguments& arguments) {
  for (const std::string& argument : arguments)
    if (argument == "--help" || argument == "-h") {
      if (collected != nullptr)
        collected->push_back(help());
      else
        print_help();
      return false;
    }
  const po::options_description declared = all();
  try {
    po::store(
        po::command_line_parser(arguments)
            .options(declared)
            .positional(positional_)
            .style(po::command_line_style::unix_style & ~po::command_line_style::allow_guessing)
            .run(),
        values_);
    po::notify(values_);
  } catch (const po::unknown_option& problem) {
    std::vector<std::string> names;
    for (const auto& option : declared.options()) names.push_back("--" + option->long_name());
    const std::string near = nearest_name(problem.get_option_name(), names);
    return Error::bad_input("kvhaul " + command_ + ": unknown option '" +
                            problem.get_option_name() + "'" +
                            (near.empty() ? "" : "; did you mean '" + near + "'?"));
  } catch (const po::error& problem) {
    return Error::bad_input("kvhaul " + command_ + ": " + problem.what() + "; see 'kvhaul " +
                            command_ + " --help'");
  }
  return true;
}

std::vector<std::string> Options::texts(const char* name) const {
  return values_.count(name) != 0 ? values_[name].as<std::vector<std::string>>()
                                  : std::vector<std::string>();
}

Result<std::uint64_t> Options::count(const char* name, std::uint64_t least,
                                     std::uint64_t most) const {
  const std::string found = text(name);
  std::uint64_t value = 0;
  const char* end = found.data() + found.size();
  const auto [rest, status] = std::from_chars(found.data(), end, value);
  if (status == std::errc() && rest == end && value >= least && value <= most) return value;
  return Error::bad_input("--" + std::string(name) + ": expected a whole number from " +
                          std::to_string(least) + " to " + std::to_string(most) + ", found " +
                          in_quotes(found));
}

Result<double> Options::number(const char* name, double least, double most) const {
  const std::string found = text(name);
  double value = 0;
  const char* end = found.data() + found.size();
  const auto [rest, status] = std::from_chars(found.data(), end, value);
  if (status == std::errc() && rest == end && std::isfinite(value) && value >= least &&
      value <= most)
    return value;
  return Error::bad_input("--" + std::string(name) + ": expected a number from " +
                          number_text(least) + " to " + number_text(most) + ", found " +
                          in_quotes(found));
}

void Options::print_help() const {
  std::cout << "kvhaul " << command_ << " " << usage_ << "\n\n" << what_ << "\n" << all();
  if (!examples_.empty()) std::cout << "\nExamples\n";
  for (const auto& [line, what] : examples_)
    std::cout << "  " << line << "\n      " << what << "\n";
  std::cout.flush();
}

CommandHelp Options::help() const {
  CommandHelp help{command_, usage_, what_, {}, examples_};
  for (const Group& group : groups_)
    for (const auto& option : group.options.options()) {
      std::string letter =
          option->canonical_display_name(po::command_line_style::allow_dash_for_short);
      letter = letter.starts_with("-") && !letter.starts_with("--") ? letter.substr(1) : "";
      help.options.push_back({option->long_name(), letter, option->description(),
                              option->semantic()->max_tokens() > 0, group.heading});
    }
  return help;
}

std::vector<CommandHelp> all_help() {
  std::vector<CommandHelp> all;
  collected = &all;
  for (const Command& command : commands()) {
    if (command.actions.empty()) {
      check(bool(command.run({"--help"})), "every command has help");
    }
    for (const std::string_view action : command.actions)
      check(bool(command.run({std::string(action), "--help"})), "every action has help");
  }
  collected = nullptr;
  return all;
}

Error unknown_choice(std::string_view option, std::string_view found,
                     std::span<const std::string> names) {
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  const std::string near = nearest_name(found, names);
  return Error::bad_input(std::string(option) + ": expected one of " + all + ", found " +
                          in_quotes(found) +
                          (near.empty() ? "" : "; did you mean '" + near + "'?"));
}

}  // namespace kvhaul::cli
