// kvhaul sweep: a grid over scenario values and options, one replay per point.
#include <algorithm>
#include <fcntl.h>
#include <filesystem>
#include <iostream>
#include <sys/file.h>
#include <thread>
#include <unistd.h>

#include "cli/child_runs.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/replay_run.h"
#include "cli/run_folder.h"
#include "cli/run_report.h"
#include "cli/sweep_folder.h"
#include "cli/sweep_grid.h"
#include "cli/sweep_page.h"
#include "cli/sweep_state.h"
#include "cli/sweep_table.h"
#include "cli/terminal.h"
#include "cli/trace_files.h"
#include "processes/mpi_exchange.h"
#include "traces/output_file.h"

namespace kvhaul::cli {
namespace po = boost::program_options;
namespace fs = std::filesystem;
namespace {

using Text = std::string;

// Options of replay that go to every point as they are; and those without a value.
constexpr const char* passed_on[] = {"format",  "block-tokens", "columns",   "backend", "limit",
                                     "speedup", "policy",       "streaming", "seed",    "time",
                                     "payload", "direction",    "faults"};
constexpr const char* passed_flags[] = {"spread-batches", "throttle", "why"};

Options declare() {
  Options options(
      "sweep", "--trace FILE --set KEY=V1,V2,... --out DIR [options]",
      "Replays a trace at every point of a grid: each --set gives a key and its values, and\n"
      "every combination is run, each in a process of its own. Keys are paths into the\n"
      "scenario, or @scenario, @policy, @speedup, @streaming, @backend. Prints a table and\n"
      "writes DIR/sweep.csv, .json, report.html and a run directory per point (docs/sweep.md).");
  options.add()                                                                  //
      ("trace,t", po::value<Text>(), "the request trace; - for standard input")  //
      ("scenario,s", po::value<Text>()->default_value("laptop"),
       "a scenario file, or the name of a shipped one")  //
      ("set", po::value<std::vector<Text>>()->composing(),
       "KEY=V1,V2,...: a key and its values; may be repeated")                            //
      ("out,o", po::value<Text>(), "the folder for the table and the runs")               //
      ("force", po::bool_switch(), "write over the sweep in a folder that is not empty")  //
      ("resume", po::bool_switch(),
       "go on with the sweep in that folder that was interrupted: only what is missing is run")  //
      ("jobs,j", po::value<Text>(),
       "replays at a time; else one per processor, "
       "one under mpirun and in real time")                                 //
      ("json", po::bool_switch(), "print sweep.json instead of the table")  //
      ("quiet,q", po::bool_switch(), "print nothing but errors");
  options.group("Of every replay");
  options.add()                                                                                  //
      ("backend,b", po::value<Text>(), "what moves the chunks ('kvhaul list backends')")         //
      ("policy,p", po::value<Text>(), "the scheduling policy ('kvhaul list policies')")          //
      ("streaming", po::value<Text>(), "request, chunk, layer or chunk_layer")                   //
      ("direction", po::value<Text>(), "push or pull")                                           //
      ("faults", po::value<Text>(), "a fault file to play")                                      //
      ("seed", po::value<Text>(), "of everything that is drawn")                                 //
      ("time", po::value<Text>(), "virtual or real")                                             //
      ("payload", po::value<Text>(), "none or real")                                             //
      ("throttle", po::bool_switch(), "real time: land no earlier than the links would let it")  //
      ("why", po::bool_switch(), "prove what limits each point, by a dozen reruns");
  options.group("The trace");
  options.add()                                                       //
      ("limit,n", po::value<Text>(), "only the first N requests")     //
      ("speedup", po::value<Text>(), "divide arrival times by this")  //
      ("spread-batches", po::bool_switch(), "spread requests of one timestamp");
  declare_trace_reading(options);
  options.positional("trace", 1);
  options.example(
      "kvhaul sweep -t conv.csv -s dgx-h100-pair --set cluster.node_types.dgx_h100.nics.count=1,2,"
      "4,8 -o nics",
      "how many NICs a node needs");
  options.example(
      "kvhaul sweep -t conv.csv -s dgx-h100-pair --set @policy=least_finish,round_robin --set "
      "@speedup=1,2,4 -o load",
      "policies under growing load");
  options.example("kvhaul sweep -t conv.csv --set ... -o load --resume",
                  "what is left of it, after an interrupt");
  options.example("mpirun -np 64 kvhaul sweep -t conv.csv --set ... -o /shared/dir",
                  "the grid spread over the ranks of an MPI job");
  return options;
}

/// Everything that can be checked before anything is made.
Result<Sweep> read(const Options& options, bool under_mpi) {
  for (const char* needed : {"trace", "out"})
    if (!options.maybe_text(needed))
      return Error::bad_input("kvhaul sweep: expected --" + std::string(needed) +
                              "; see 'kvhaul sweep --help'");
  auto keys = read_sweep_keys(options.texts("set"));
  if (!keys) return keys.error();
  if (keys->empty())
    return Error::bad_input(
        "kvhaul sweep: expected --set KEY=V1,V2,...; see 'kvhaul sweep --help'");
  for (const SweepKey& key : *keys)
    if (key.path.starts_with('@') && options.has(key.path.c_str() + 1))
      return Error::bad_input("kvhaul sweep: --" + key.path.substr(1) + " is swept over by --set " +
                              key.path);
  Sweep sweep;
  sweep.out = options.text("out");
  const bool from_pipe = options.text("trace") == "-";
  if (from_pipe && under_mpi)
    return Error::bad_input("--trace -: standard input reaches one rank only; expected a file");
  const std::string trace = from_pipe ? standard_input_file(sweep.out) : options.text("trace");
  SweepBase base{options.text("scenario"), {"--trace=" + trace}};
  for (const char* name : passed_on)
    if (const auto value = options.maybe_text(name))
      base.arguments.push_back("--" + std::string(name) + "=" + *value);
  for (const char* name : passed_flags)
    if (options.flag(name)) base.arguments.push_back("--" + std::string(name));

  sweep.force = options.flag("force");
  sweep.resume = options.flag("resume");
  sweep.trace = trace;
  sweep.faults = options.maybe_text("faults");
  auto points = make_sweep_points(*keys, base);
  if (!points) return points.error();
  auto request = read_replay_request(points->front().arguments);
  if (!request) return request.error();
  if (from_pipe)
    sweep.spooled = request->reading;
  else if (auto opened = open_trace(trace, request->reading); !opened)
    return opened.error();
  sweep.keys = std::move(*keys);
  sweep.points = std::move(*points);
  if (options.has("jobs")) {
    auto jobs = options.count("jobs", 1, 4096);
    if (!jobs) return jobs.error();
    sweep.jobs = *jobs;
  } else {
    // Runs in real time would take each other's processors away.
    const bool alone = under_mpi || std::any_of(sweep.points.begin(), sweep.points.end(),
                                                [](const SweepPoint& p) { return p.real_time; });
    sweep.jobs = alone ? 1 : std::max(1u, std::thread::hardware_concurrency());
  }
  return sweep;
}

/// The replays of a sweep that was killed end with it, but not at the same moment.
void wait_until_free(const std::string& folder) {
  const int opened = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (opened < 0) return;  // there is none
  for (int tries = 0; tries < 1000 && flock(opened, LOCK_EX | LOCK_NB) != 0; ++tries)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  close(opened);
}

/// The points of this rank: its number, and every so many after it.
Result<std::vector<SweepRow>> run_points(const Sweep& sweep, Exchange& ranks, bool quiet) {
  const SweepState state(sweep.out);
  std::vector<SweepRow> rows;
  std::vector<const SweepPoint*> mine;  // that are to be run
  for (std::size_t i = ranks.rank(); i < sweep.points.size(); i += ranks.size()) {
    const SweepPoint& point = sweep.points[i];
    if (sweep.resume) {
      if (auto row = state.done(point)) {
        rows.push_back(std::move(*row));
        continue;
      }
      wait_until_free(sweep.out + "/" + point.name);
    }
    if (!point.scenario_text.empty())
      if (auto ok = write_sweep_file(scenario_file(sweep.out, point), point.scenario_text); !ok) {
        rows.push_back(failed_row(i, ok.error().message));
        continue;
      }
    mine.push_back(&point);
  }
  ProgressBar bar(!quiet && ranks.rank() == 0);
  const std::size_t all = rows.size() + mine.size();
  auto ran = run_children(
      mine.size(), sweep.jobs,
      [&](std::size_t i) {
        Arguments arguments = {"replay", "--quiet", "--out=" + sweep.out + "/" + mine[i]->name};
        if (sweep.force || sweep.resume) arguments.push_back("--force");
        if (!mine[i]->scenario_text.empty())
          arguments.push_back("--scenario=" + scenario_file(sweep.out, *mine[i]));
        arguments.insert(arguments.end(), mine[i]->arguments.begin(), mine[i]->arguments.end());
        return arguments;
      },
      [&](std::size_t i, const ChildEnd& end) {
        rows.push_back(sweep_row(mine[i]->number, end, sweep.out + "/" + mine[i]->name));
        state.keep(*mine[i], rows.back());
        bar.show(static_cast<double>(rows.size()) / static_cast<double>(all),
                 std::to_string(rows.size()) + " of " + std::to_string(all) + " points" +
                     (ranks.size() > 1 ? " of this rank" : ""));
      });
  if (!ran) return ran.error();
  return rows;
}

/// The first error of any rank, on all of them; each must come here.
Result<void> agree(Exchange& ranks, const std::optional<Error>& mine) {
  const std::string text =
      mine ? std::to_string(static_cast<int>(mine->kind)) + mine->message : std::string();
  const auto all = all_gather(ranks, text);
  if (!all) return all.error();
  for (std::size_t rank = 0; rank < all->size(); ++rank) {
    const std::string& found = (*all)[rank];
    if (!found.empty())
      return Error{static_cast<ErrorKind>(found[0] - '0'),
                   (rank == 0 ? "" : "rank " + std::to_string(rank) + ": ") + found.substr(1)};
  }
  return {};
}

template <class T>
std::optional<Error> error_of(const Result<T>& result) {
  return result ? std::nullopt : std::optional(result.error());
}

/// What is said in the end, and the exit code.
int finish(const Options& options, const Sweep& sweep, const std::vector<SweepRow>& rows,
           const Json& json) {
  const std::string csv = sweep.out + "/sweep.csv";
  if (options.flag("json"))
    std::cout << json_text(json);
  else if (!options.flag("quiet"))
    std::cout << sweep_text(sweep.keys, sweep.points, rows) << "\nfiles in " << printable(sweep.out)
              << "/; the table with all figures is " << printable(csv) << ",\nits picture "
              << printable(sweep.out + "/" + report_file) << "\n";
  const auto failed = std::count_if(rows.begin(), rows.end(),
                                    [](const SweepRow& row) { return row.outcome != "ok"; });
  if (failed > 0)
    print_error(std::to_string(failed) + " of " + std::to_string(rows.size()) +
                " points did not end well; see " + csv);
  return failed > 0 ? 1 : 0;
}

/// --resume where nothing is left to do, but perhaps to clear up.
CommandResult say_again(const Options& options, const Sweep& sweep, const Json& json) {
  const auto rows = rows_of_whole_sweep(sweep, json);
  if (!rows) return rows.error();
  std::error_code status;
  if (fs::exists(sweep.out + "/" + unfinished_mark, status)) {
    auto folder = RunFolder::open(sweep.out, true, true, {}, {});
    if (!folder) return folder.error();
    if (auto ok = end_sweep(sweep, *rows, *folder); !ok) return ok.error();
  }
  return finish(options, sweep, *rows, json);
}

CommandResult run(const Options& options, const Arguments& arguments, Exchange& ranks) {
  auto sweep = read(options, started_by_mpi());
  const auto whole =
      sweep && sweep->resume ? whole_sweep(*sweep) : std::optional<Json>();  // before any writes
  if (auto ok = agree(ranks, error_of(sweep)); !ok) return ok.error();
  if (whole) return ranks.rank() == 0 ? say_again(options, *sweep, *whole) : CommandResult(0);
  auto begun = ranks.rank() == 0 ? begin_sweep(*sweep) : Result<SweepFolder>(SweepFolder());
  if (auto ok = agree(ranks, error_of(begun)); !ok) return ok.error();
  std::vector<SweepRow> rows;
  {
    const InterruptNotice interrupted("interrupted; " + sweep->out +
                                      " has no sweep.csv; the same command with --resume goes on");
    auto mine = run_points(*sweep, ranks, options.flag("quiet"));
    if (auto ok = agree(ranks, error_of(mine)); !ok) return ok.error();
    const auto all = all_gather(ranks, rows_text(*mine));
    if (!all) return all.error();
    for (const std::string& text : *all)
      for (SweepRow& row : rows_of(text)) rows.push_back(std::move(row));
  }
  if (ranks.rank() != 0) return 0;
  std::sort(rows.begin(), rows.end(),
            [](const SweepRow& a, const SweepRow& b) { return a.point < b.point; });
  check(rows.size() == sweep->points.size(), "a sweep has one row per point");
  if (auto ok =
          write_sweep_file(sweep->out + "/sweep.csv", sweep_csv(sweep->keys, sweep->points, rows));
      !ok)
    return ok.error();
  Arguments command = arguments;
  command.insert(command.begin(), "sweep");
  auto report = OutputFile::create(sweep->out + "/" + report_file, {.force = true, .inputs = {}});
  if (!report) return report.error();
  if (auto ok = write_sweep_report(std::move(*report), command_text(command) + " --out DIR",
                                   sweep->keys, sweep->points, rows);
      !ok)
    return ok.error();
  const Json json = result_json(*sweep, begun->identity, rows);
  if (auto ok = write_sweep_file(result_file(sweep->out), json_text(json)); !ok) return ok.error();
  if (auto ok = end_sweep(*sweep, rows, begun->folder); !ok) return ok.error();
  return finish(options, *sweep, rows, json);
}

}  // namespace

CommandResult run_sweep(const Arguments& arguments) {
  // A rank may have points to do for hours before it says a word.
  auto ranks = join_mpi("kvhaul sweep", never_ns, never_ns);
  if (!ranks) return ranks.error();
  Options options = declare();
  const auto go_on = options.parse(arguments);
  CommandResult result = !go_on   ? CommandResult(go_on.error())
                         : *go_on ? run(options, arguments, **ranks)
                                  : 0;
  // What went wrong anywhere is said once, and decides the exit code of the job.
  if ((*ranks)->rank() != 0) return 0;
  return result;
}

}  // namespace kvhaul::cli
