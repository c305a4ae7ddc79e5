// kvhaul compare: where runs differ, and why.
#include <iostream>

#include "cli/command.h"
#include "cli/compare_report.h"
#include "cli/inputs.h"
#include "traces/output_file.h"

namespace kvhaul::cli {
namespace po = boost::program_options;
namespace {

using Text = std::string;

Options declare() {
  Options options("compare", "RUN RUN [RUN...] [options]",
                  "Puts run directories side by side: their figures, with the difference to the\n"
                  "first; the most used link of each; what made the time to first token another\n"
                  "one. Runs of the same requests are also compared transfer by transfer\n"
                  "(docs/compare.md).");
  options.add()                                                                               //
      ("run", po::value<std::vector<Text>>(), "a run directory; the first is compared with")  //
      ("json", po::bool_switch(), "print JSON instead of the tables")                         //
      ("csv", po::value<Text>(), "write the table of figures there, too")                     //
      ("report", po::value<Text>(), "write a report with charts there: one HTML file")        //
      ("force", po::bool_switch(), "write over files that are there");
  options.positional("run", -1);
  options.example("kvhaul compare runs/least_finish runs/round_robin", "what the policy changed");
  options.example("kvhaul compare runs/nvl72 runs/dgx --report nvl72-dgx.html",
                  "one file to look at and to send");
  options.example("kvhaul compare runs/measured runs/simulated --json",
                  "how far a simulation is from the run it stands for");
  return options;
}

/// The file that an option names, if it is given.
Result<std::optional<OutputFile>> create(const Options& options, const char* option,
                                         const OutputRules& rules) {
  const auto path = options.maybe_text(option);
  if (!path) return std::optional<OutputFile>();
  auto file = OutputFile::create(*path, rules);
  if (!file) return file.error();
  return std::optional(std::move(*file));
}

Result<std::vector<ComparedRun>> read(const std::vector<std::string>& directories) {
  std::vector<ComparedRun> runs;
  for (const std::string& directory : directories) {
    auto run = read_run_directory(directory);
    if (!run) return run.error();
    runs.push_back({std::move(*run), {}, {}});
  }
  for (std::size_t i = 1; i < runs.size(); ++i) {
    auto pairs = pair_transfers(runs[0].run, runs[i].run);
    if (!pairs) return pairs.error();
    runs[i].pairs = std::move(*pairs);
    runs[i].differences = run_differences(runs[0].run, runs[i].run);
  }
  return runs;
}

}  // namespace

CommandResult run_compare(const Arguments& arguments) {
  Options options = declare();
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  const std::vector<std::string> directories = options.texts("run");
  if (directories.size() < 2)
    return Error::bad_input(
        "kvhaul compare: expected two run directories or more; see 'kvhaul compare --help'");
  if (directories.size() > compared_runs_max)
    return Error::bad_input("kvhaul compare: expected at most " +
                            std::to_string(compared_runs_max) + " run directories, found " +
                            std::to_string(directories.size()));
  OutputRules rules{options.flag("force"), {}};
  for (const std::string& directory : directories)
    for (std::string& input : inputs_of_run(directory)) rules.inputs.push_back(std::move(input));
  auto csv = create(options, "csv", rules);
  if (!csv) return csv.error();
  auto report = create(options, "report", rules);
  if (!report) return report.error();
  if (*csv && *report && (*csv)->is_file() && (*csv)->place() == (*report)->place())
    return Error::bad_input("kvhaul compare: --csv and --report name one file, " + (*csv)->path());
  auto runs = read(directories);
  if (!runs) return runs.error();
  if (*csv) {
    (*csv)->text(compare_csv(*runs));
    if (auto closed = (*csv)->close(); !closed) return closed.error();
  }
  if (*report)
    if (auto wrote = write_compare_report(std::move(**report), *runs); !wrote) return wrote.error();
  std::cout << (options.flag("json") ? compare_json(*runs) : compare_text(*runs));
  return 0;
}

}  // namespace kvhaul::cli
