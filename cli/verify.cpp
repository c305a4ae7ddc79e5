// kvhaul verify: feeds a recorded event log back into the schedulers.
#include <iostream>

#include "cli/command.h"
#include "cli/json_text.h"
#include "cli/terminal.h"
#include "core/event_log.h"
#include "core/unit_text.h"

namespace kvhaul::cli {
namespace po = boost::program_options;

CommandResult run_verify(const Arguments& arguments) {
  Options options(
      "verify", "LOG [options]",
      "Feeds the events of a log that 'kvhaul replay --record' wrote into fresh schedulers\n"
      "and compares every decision with the recorded one, byte for byte. The log needs\n"
      "neither the trace, nor the scenario, nor the hardware it was recorded on.\n"
      "Exit code 0: identical. 1: a decision differs. 2: not a whole log.");
  options.add()                                                    //
      ("log", po::value<std::string>(), "the recorded event log")  //
      ("json", po::bool_switch(), "print JSON (docs/json.md)");
  options.positional("log", 1);
  options.example("kvhaul verify run.log", "says how many decisions were compared");
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  if (!options.maybe_text("log"))
    return Error::bad_input("kvhaul verify: expected a log file; see 'kvhaul verify --help'");
  auto report = verify_log(options.text("log"));
  if (!report) return report.error();
  if (options.flag("json"))
    std::cout << json_text(
        {{"schema", 1},
         {"log", options.text("log")},
         {"identical", report->identical},
         {"first_difference", report->identical ? Json() : Json(report->first_difference)},
         {"decisions", report->decisions},
         {"events", report->events},
         {"transfers", report->transfers},
         {"chunks", report->chunks},
         {"schedulers", report->schedulers},
         {"logs", report->logs}});
  if (!report->identical) {
    print_error(report->first_difference);
    return 1;
  }
  if (options.flag("json")) return 0;
  std::cout << "identical: " << report->decisions << " decisions on " << report->events
            << " events (" << report->transfers << " transfers, " << report->chunks << " chunks), "
            << counted(report->schedulers, "scheduler") << " in " << counted(report->logs, "log")
            << "\n";
  return 0;
}

}  // namespace kvhaul::cli
