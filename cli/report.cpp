// kvhaul report: the report of a run directory, written anew.
#include <iostream>
#include <optional>

#include "cli/command.h"
#include "cli/inputs.h"
#include "cli/json_text.h"
#include "cli/limit_proof.h"
#include "cli/run_report.h"
#include "cli/terminal.h"

namespace kvhaul::cli {
namespace po = boost::program_options;
namespace {

Options declare() {
  Options options(
      "report", "RUN [options]",
      "Writes report.html of a run directory anew, from the other files in it: for runs\n"
      "of an older kvhaul, or after a change of the page (docs/report.md).");
  options.add()                                                                         //
      ("run", po::value<std::string>(), "a run directory")                              //
      ("out,o", po::value<std::string>(), "write it there instead of RUN/report.html")  //
      ("why", po::bool_switch(),
       "prove what limits it: again in virtual time, with a tenth more of one thing after the "
       "other; writes RUN/why.json, too")                       //
      ("json", po::bool_switch(), "print JSON (docs/json.md)")  //
      ("force", po::bool_switch(), "write over the file that --out names");
  options.positional("run", 1);
  options.example("kvhaul report runs/dgx", "writes runs/dgx/report.html");
  options.example("kvhaul report runs/dgx --why", "and proves what limits the run");
  return options;
}

}  // namespace

CommandResult run_report(const Arguments& arguments) {
  Options options = declare();
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  if (!options.maybe_text("run"))
    return Error::bad_input("kvhaul report: expected a run directory; see 'kvhaul report --help'");
  std::string directory = options.text("run");
  while (directory.size() > 1 && directory.ends_with('/')) directory.pop_back();
  std::optional<LimitProof> proof;
  if (options.flag("why")) {
    ProgressBar bar(true, true);
    auto proved = prove_limits(directory, progress_of(bar));
    if (!proved) return proved.error();
    proof = std::move(*proved);
  }
  auto data = read_report_data(directory);
  if (!data) return data.error();
  const std::string sentence = report::run_sentence(*data);
  // RUN/report.html is kvhaul's own, and there to be written anew.
  const std::string out = options.maybe_text("out").value_or(directory + "/" + report_file);
  const bool force = options.flag("force") || !options.maybe_text("out");
  if (auto wrote = replace_run_report(out, force, inputs_of_run(directory), *data); !wrote)
    return wrote.error();
  if (options.flag("json")) {
    std::cout << json_text(
        {{"schema", 1}, {"run", directory}, {"report", out}, {"sentence", sentence}});
    return 0;
  }
  std::cout << wrapped(printable(sentence), 0) << "\n";
  if (proof) std::cout << limit_proof_table(*proof) << "\n";
  std::cout << printable(out) << "\n";
  return 0;
}

}  // namespace kvhaul::cli
