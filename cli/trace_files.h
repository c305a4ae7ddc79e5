// What every command that reads or writes a request trace says about its files.
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/json_text.h"
#include "traces/trace.h"

namespace kvhaul::cli {

/// --format, --block-tokens and --columns: what a trace does not say about itself.
void declare_trace_reading(Options& options);
Result<TraceReading> read_trace_reading(const Options& options);

/// What became of the rows of a trace, for --json.
Json counts_json(const TraceCounts& counts);

/// --force, --json, and with `positional` the file to write as the next argument without a name.
void declare_trace_output(Options& options, bool positional = true);
/// Writes the rest of `reader` to `out` and says how many rows those were. `inputs` are the files
/// that the command reads.
CommandResult write_trace_output(const Options& options, TraceReader& reader,
                                 const std::string& out, std::vector<std::string> inputs);

/// As a file that OutputRules knows: standard input may be one, too.
std::string input_file(const std::string& trace);

CommandResult trace_sort(const Arguments& arguments);
CommandResult trace_merge(const Arguments& arguments);

}  // namespace kvhaul::cli
