// kvhaul trace sort and merge: rows in order of time, of one file or several.
#include "traces/trace_order.h"

#include "cli/trace_files.h"

namespace kvhaul::cli {
namespace po = boost::program_options;

CommandResult trace_sort(const Arguments& arguments) {
  using Text = std::string;
  Options options("trace sort", "FILE OUT [options]",
                  "Writes a trace with its requests in order of arrival, which all other commands\n"
                  "expect. Holds the whole trace in memory.");
  options.add()("in", po::value<Text>(), "the trace to read; - for standard input");
  options.positional("in", 1);
  declare_trace_reading(options);
  declare_trace_output(options);
  options.example("kvhaul trace sort log.csv sorted.csv", "a log in order of completion");
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  if (!options.maybe_text("in") || !options.maybe_text("out"))
    return Error::bad_input("kvhaul trace sort: expected a trace and a file to write; see --help");
  auto reading = read_trace_reading(options);
  if (!reading) return reading.error();
  auto reader = open_sorted(options.text("in"), *reading);
  if (!reader) return reader.error();
  return write_trace_output(options, **reader, options.text("out"), {options.text("in")});
}

CommandResult trace_merge(const Arguments& arguments) {
  Options options("trace merge", "FILE FILE... OUT [options]",
                  "Writes several traces as one, by arrival time. Each must be in order ('kvhaul\n"
                  "trace sort'). Files of one clock keep their distance in time. With --parts a\n"
                  "single FILE will do, which holds several traces one behind the other.");
  options.add()  //
      ("files", po::value<std::vector<std::string>>()->composing(),
       "the traces to read, one of which may be - for standard input, and then the file to "
       "write")  //
      ("each-from-start", po::bool_switch(),
       "every trace's first request is time 0, whatever its clock says")  //
      ("parts", po::bool_switch(),
       "a FILE may be several traces, as 'cat' makes it: another begins where a first line stands "
       "again or times go back by over a second; held in memory")  //
      ("same-ids", po::bool_switch(),
       "equal prefix ids and sessions of two files mean the same: parts of one trace");
  options.positional("files", -1);
  declare_trace_reading(options);
  declare_trace_output(options, false);
  options.example("kvhaul trace merge conv.csv code.csv both.csv",
                  "two services of one hour on one cluster");
  options.example("kvhaul trace merge part-1.jsonl.gz part-2.jsonl.gz whole.csv --same-ids",
                  "the parts of one trace");
  options.example("kvhaul trace merge monday.csv friday.csv both.csv --each-from-start",
                  "two days as if they were one");
  options.example("kvhaul trace merge --parts both.jsonl merged.csv",
                  "two files that 'cat' has put together");
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  std::vector<std::string> files = options.texts("files");
  const bool parts = options.flag("parts");
  if (files.size() < (parts ? 2 : 3))
    return Error::bad_input(std::string("kvhaul trace merge: expected at least ") +
                            (parts ? "one trace" : "two traces (or --parts and one)") +
                            " and a file to write; see --help");
  const std::string out = files.back();
  files.pop_back();
  auto reading = read_trace_reading(options);
  if (!reading) return reading.error();
  auto merged = open_merged(files, *reading,
                            {options.flag("each-from-start"), options.flag("same-ids"), parts});
  if (!merged) return merged.error();
  return write_trace_output(options, **merged, out, std::move(files));
}

}  // namespace kvhaul::cli
