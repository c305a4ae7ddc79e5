#include "cli/trace_files.h"

#include <iostream>

#include "traces/trace_writer.h"

namespace kvhaul::cli {
namespace po = boost::program_options;
namespace {

using Text = std::string;

}  // namespace

void declare_trace_reading(Options& options) {
  options.add()  //
      ("format", po::value<Text>(),
       "the trace's format; recognised when unambiguous ('kvhaul list formats')")  //
      ("block-tokens", po::value<Text>(),
       "tokens that a prefix id of the trace stands for, where not its format's")  //
      ("columns", po::value<Text>(),
       "arrival=NAME,input=NAME,output=NAME[,session=NAME]: the trace's columns or keys, where not "
       "its format's; arrival_ms=, arrival_us= and arrival_ns= say their unit");
}

Result<TraceReading> read_trace_reading(const Options& options) {
  TraceReading reading;
  if (const auto name = options.maybe_text("format")) {
    reading.format = find_trace_format(*name);
    std::vector<std::string> names;
    for (std::size_t i = 0; i < trace_format_count; ++i)
      names.emplace_back(trace_format_name(static_cast<TraceFormat>(i)));
    if (!reading.format) return unknown_choice("--format", *name, names);
  }
  if (options.has("block-tokens")) {
    auto tokens = options.count("block-tokens", 1, 1'048'576);
    if (!tokens) return tokens.error();
    reading.block_tokens = static_cast<std::uint32_t>(*tokens);
  }
  if (const auto columns = options.maybe_text("columns")) {
    if (columns->empty())
      return Error::bad_input("--columns: expected arrival=NAME,input=NAME,output=NAME, found ''");
    reading.columns = *columns;
  }
  return reading;
}

Json counts_json(const TraceCounts& counts) {
  return {{"rows", counts.rows},
          {"requests", counts.requests},
          {"zero_input", counts.zero_input},
          {"left_out", counts.left_out},
          {"zero_output", counts.zero_output},
          {"out_of_order", counts.out_of_order},
          {"odd_prefix", counts.odd_prefix},
          {"later_turns", counts.later_turns},
          {"further_parts", counts.further_parts},
          {"spread", counts.spread},
          {"clipped", counts.clipped}};
}

void declare_trace_output(Options& options, bool positional) {
  options.add()                                                        //
      ("force", po::bool_switch(), "write over a file that is there")  //
      ("json", po::bool_switch(), "print what was written as JSON (docs/json.md)");
  if (!positional) return;
  options.add()("out", po::value<Text>(), "the file to write");
  options.positional("out", 1);
}

CommandResult write_trace_output(const Options& options, TraceReader& reader,
                                 const std::string& out, std::vector<std::string> inputs) {
  for (std::string& input : inputs) input = input_file(input);
  const OutputRules rules{options.flag("force"), std::move(inputs)};
  if (auto wrote = write_trace(reader, out, rules); !wrote) return wrote.error();
  // Where the trace itself goes to standard output this would stand behind its rows.
  std::ostream& said = out.starts_with("/dev/") ? std::cerr : std::cout;
  if (options.flag("json")) {
    const std::string& assumed = reader.info().assumed;
    said << json_text({{"schema", 1},
                       {"out", out},
                       {"counts", counts_json(reader.counts())},
                       {"assumed", assumed.empty() ? Json() : Json(assumed)}});
    return 0;
  }
  said << out << ": " << describe_counts(reader.counts()) << "\n";
  if (!reader.info().assumed.empty()) said << "assumed: " << reader.info().assumed << "\n";
  return 0;
}

std::string input_file(const std::string& trace) { return trace == "-" ? "/dev/stdin" : trace; }

}  // namespace kvhaul::cli
