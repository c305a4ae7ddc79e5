// kvhaul trace: describe, convert, cut, scale, sort, merge or generate request traces.
#include <charconv>
#include <iostream>

#include "cli/command.h"
#include "cli/terminal.h"
#include "cli/trace_files.h"
#include "core/unit_text.h"
#include "traces/generator.h"
#include "traces/servegen.h"
#include "traces/trace_filters.h"
#include "traces/trace_stats.h"

namespace kvhaul::cli {
namespace po = boost::program_options;
namespace {

using Text = std::string;

/// The options of every action that reads a trace.
void add_input(Options& options) {
  options.add()("in", po::value<Text>(), "the trace to read; - for standard input");
  options.positional("in", 1);
  declare_trace_reading(options);
}

Result<TraceReaderPtr> open_input(const Options& options) {
  if (!options.maybe_text("in"))
    return Error::bad_input("kvhaul trace: expected a trace file; see --help");
  auto reading = read_trace_reading(options);
  if (!reading) return reading.error();
  return open_trace(options.text("in"), *reading);
}

/// `inputs` are the files that the action reads.
CommandResult write_output(const Options& options, TraceReader& reader,
                           std::vector<std::string> inputs) {
  if (!options.maybe_text("out"))
    return Error::bad_input("kvhaul trace: expected a file to write; see --help");
  return write_trace_output(options, reader, options.text("out"), std::move(inputs));
}

Json tokens_json(const TokenStats& tokens) {
  return {
      {"mean", rounded(tokens.mean)}, {"p50", rounded(tokens.p50)}, {"p90", rounded(tokens.p90)},
      {"p99", rounded(tokens.p99)},   {"min", tokens.min},          {"max", tokens.max}};
}

Json described_json(const std::string& file, const TraceReader& reader, const TraceStats& stats) {
  const TraceInfo& info = reader.info();
  Json json = {{"schema", 1},
               {"trace", file},
               {"format", trace_format_name(info.format)},
               {"assumed", info.assumed.empty() ? Json() : Json(info.assumed)},
               {"counts", counts_json(reader.counts())},
               {"input_tokens", tokens_json(stats.input)},
               {"output_tokens", tokens_json(stats.output)},
               {"sessions", stats.sessions},
               {"session_requests_max", stats.turns_max}};
  json["arrivals"] = nullptr;
  if (info.has_arrivals)
    json["arrivals"] = {{"span_ms", static_cast<double>(stats.span_ns) / 1e6},
                        {"requests_per_s", rounded(stats.requests_per_s)},
                        {"gap_cv", rounded(stats.gap_cv)},
                        {"duplicate_arrivals", stats.duplicate_arrivals},
                        {"busiest_second_requests", stats.peak_1s},
                        {"busiest_ten_seconds_requests", stats.peak_10s}};
  json["prefixes"] = nullptr;
  if (stats.prefix)
    json["prefixes"] = {{"token_hit_share", rounded(stats.prefix->token_hits)},
                        {"block_hit_share", rounded(stats.prefix->block_hits)},
                        {"distinct_blocks", stats.prefix->distinct_blocks},
                        {"block_tokens", info.block_tokens}};
  return json;
}

CommandResult describe(const Arguments& arguments) {
  Options options(
      "trace describe", "FILE [options]",
      "Prints what a trace looks like: rates, lengths, bursts, shared prefixes, and what a\n"
      "reader would drop.");
  add_input(options);
  options.add()("json", po::bool_switch(), "print JSON (docs/json.md)");
  options.example("kvhaul trace describe conv.csv", "Azure's format is recognised");
  options.example(
      "kvhaul trace describe log.csv --columns arrival_ms=start,input=prompt,output=completion",
      "a CSV of one's own");
  options.example("zstd -dc trace.jsonl.zst | kvhaul trace describe - --format mooncake",
                  "standard input; gzip needs no help");
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  auto reader = open_input(options);
  if (!reader) return reader.error();
  auto stats = measure_trace(**reader);
  if (!stats) return stats.error();
  if (options.flag("json")) {
    std::cout << json_text(described_json(options.text("in"), **reader, *stats));
    return 0;
  }
  std::cout << options.text("in") << ": " << trace_format_name((*reader)->info().format) << ", "
            << describe_counts((*reader)->counts()) << "\n";
  if (!(*reader)->info().assumed.empty())
    std::cout << "assumed: " << (*reader)->info().assumed << "\n";
  if ((*reader)->info().has_arrivals) {
    std::cout << "span " << duration_text(stats->span_ns) << ", "
              << number_text(stats->requests_per_s, 4) << " requests/s; gaps: CV "
              << number_text(stats->gap_cv) << " (Poisson has 1), " << stats->duplicate_arrivals
              << " at the time of the one before\nbusiest second " << stats->peak_1s
              << ", busiest ten seconds " << stats->peak_10s << "\n";
  } else {
    std::cout << "no arrival times: lengths only\n";
  }
  TextTable table({"tokens", "mean", "p50", "p90", "p99", "min", "max"});
  for (const auto& [name, t] : {std::pair{"input", stats->input}, {"output", stats->output}})
    table.add({name, number_text(t.mean, 5), number_text(t.p50, 6), number_text(t.p90, 6),
               number_text(t.p99, 6), std::to_string(t.min), std::to_string(t.max)});
  std::cout << table.text();
  if (stats->prefix)
    std::cout << "shared prefixes: an unlimited cache would have "
              << number_text(100 * stats->prefix->token_hits) << "% of the input tokens ("
              << stats->prefix->distinct_blocks << " different blocks of "
              << (*reader)->info().block_tokens << " tokens)\n";
  if (stats->sessions > 0)
    std::cout << stats->sessions << " sessions, of up to " << stats->turns_max << " requests\n";
  return 0;
}

CommandResult convert(const Arguments& arguments) {
  Options options("trace convert", "FILE OUT [options]",
                  "Writes any trace in kvhaul's own format (docs/traces.md).");
  add_input(options);
  declare_trace_output(options);
  options.example("kvhaul trace convert conv.csv conv.kvhaul.csv", "exact to the nanosecond");
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  auto reader = open_input(options);
  if (!reader) return reader.error();
  return write_output(options, **reader, {options.text("in")});
}

CommandResult cut(const Arguments& arguments) {
  Options options("trace cut", "FILE OUT [options]",
                  "Writes the part of a trace that arrives in a stretch of time.");
  add_input(options);
  declare_trace_output(options);
  options.add()                                                                                  //
      ("from", po::value<Text>()->default_value("0 s"), "from this time on; it becomes time 0")  //
      ("to", po::value<Text>(), "up to this time; else to the end")                              //
      ("limit,n", po::value<Text>(), "at most N requests");
  options.example("kvhaul trace cut conv.csv ten-minutes.csv --from '10 min' --to '20 min'",
                  "ten minutes of it");
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  auto reader = open_input(options);
  if (!reader) return reader.error();
  auto from = parse_duration(options.text("from"));
  if (!from) return Error::bad_input("--from: " + from.error().message);
  TimeNs to = never_ns;
  if (options.has("to")) {
    auto parsed = parse_duration(options.text("to"));
    if (!parsed) return Error::bad_input("--to: " + parsed.error().message);
    to = *parsed;
  }
  auto part = cut_time(std::move(*reader), *from, to);
  if (!part) return part.error();
  if (options.has("limit")) {
    auto limit = options.count("limit", 1, ~std::uint64_t{0});
    if (!limit) return limit.error();
    part = limit_requests(std::move(*part), *limit);
  }
  return write_output(options, **part, {options.text("in")});
}

CommandResult scale(const Arguments& arguments) {
  Options options("trace scale", "FILE OUT [options]", "Writes a trace with other arrival times.");
  add_input(options);
  declare_trace_output(options);
  options.add()                                                                           //
      ("speedup", po::value<Text>()->default_value("1"), "divide arrival times by this")  //
      ("spread-batches", po::bool_switch(),
       "spread requests of one timestamp over the gap after it");
  options.example("kvhaul trace scale conv.csv double.csv --speedup 2", "twice the load");
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  auto reader = open_input(options);
  if (!reader) return reader.error();
  auto speedup = options.number("speedup", 1e-6, 1e9);
  if (!speedup) return speedup.error();
  TraceReaderPtr scaled = std::move(*reader);
  if (options.flag("spread-batches")) scaled = spread_batches(std::move(scaled));
  auto faster = speed_up(std::move(scaled), *speedup);
  if (!faster) return faster.error();
  return write_output(options, **faster, {options.text("in")});
}

/// "lognormal:1000:0.9:8000" and the like: a shape and its numbers.
Result<LengthModel> parse_length(const char* option, const std::string& text) {
  std::vector<std::string> parts{""};
  for (const char c : text) {
    if (c == ':')
      parts.emplace_back();
    else
      parts.back() += c;
  }
  const auto number = [](const std::string& part) {
    double value = 0;
    const char* end = part.data() + part.size();
    const auto [rest, status] = std::from_chars(part.data(), end, value);
    return status != std::errc() || rest != end || !(value >= 0) || value > 2147483647.0 ? -1.0
                                                                                         : value;
  };
  std::vector<double> numbers;
  bool good = true;
  for (std::size_t i = 1; i < parts.size(); ++i) {
    numbers.push_back(number(parts[i]));
    good = good && numbers.back() >= 0;
  }
  good = good && !numbers.empty() && numbers[0] >= 1;
  const auto tokens = [&](std::size_t i) { return static_cast<std::uint32_t>(numbers[i]); };
  if (good && parts[0] == "fixed" && numbers.size() == 1)
    return LengthModel(FixedLength{tokens(0)});
  if (good && parts[0] == "uniform" && numbers.size() == 2)
    return LengthModel(UniformLength{tokens(0), tokens(1)});
  if (good && parts[0] == "lognormal" && numbers.size() == 3)
    return LengthModel(LognormalLength{numbers[0], numbers[1], 1, tokens(2)});
  return Error::bad_input("--" + std::string(option) +
                          ": expected fixed:TOKENS, uniform:MIN:MAX or lognormal:MEDIAN:SIGMA:MAX, "
                          "all but SIGMA at least 1, found " +
                          in_quotes(text));
}

CommandResult generate(const Arguments& arguments) {
  Options options(
      "trace generate", "OUT [options]",
      "Writes a synthetic trace, from distributions or from ServeGen's fitted clients. The\n"
      "same options and seed give the same trace everywhere.");
  declare_trace_output(options);
  options.add()                                                                      //
      ("requests,n", po::value<Text>()->default_value("1000"), "how many requests")  //
      ("arrivals", po::value<Text>()->default_value("poisson"),
       "poisson, gamma, weibull or batches")                                  //
      ("rate", po::value<Text>()->default_value("5"), "requests per second")  //
      ("cv", po::value<Text>()->default_value("1"),
       "gamma, weibull: standard deviation / mean of the gaps")  //
      ("batch", po::value<Text>()->default_value("10"),
       "batches: requests in each; their gap follows from the rate")  //
      ("input", po::value<Text>()->default_value("lognormal:1000:0.9:8000"),
       "input tokens: fixed:N, uniform:MIN:MAX, lognormal:MEDIAN:SIGMA:MAX")  //
      ("output", po::value<Text>()->default_value("lognormal:130:0.9:1000"),
       "output tokens, likewise")  //
      ("shared", po::value<Text>()->default_value("0"),
       "share of requests with one of four system prompts, 0 to 1")  //
      ("shared-tokens", po::value<Text>()->default_value("512"),
       "tokens of each of those prompts")  //
      ("servegen", po::value<std::vector<Text>>()->composing(),
       "a ServeGen client, TRACE.csv:DATASET.json; may be repeated")  //
      ("seed", po::value<Text>()->default_value("1"), "of the random numbers");
  options.example("kvhaul trace generate chat.csv -n 200 --rate 5.5 --shared 0.4",
                  "chat-like, Poisson");
  options.example(
      "kvhaul trace generate burst.csv --arrivals gamma --cv 6 --input uniform:100:4000", "bursts");
  options.example(
      "kvhaul trace generate r1.csv --servegen chunk-35-trace.csv:chunk-35-dataset.json",
      "a fitted client");
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  auto seed = options.count("seed", 0, ~std::uint64_t{0});
  if (!seed) return seed.error();
  auto requests = options.count("requests", 1, std::uint64_t{1} << 40);
  if (!requests) return requests.error();

  const std::vector<std::string> clients = options.texts("servegen");
  if (!clients.empty()) {
    std::vector<TraceReaderPtr> readers;
    std::vector<std::string> inputs;
    for (std::size_t i = 0; i < clients.size(); ++i) {
      const std::size_t colon = clients[i].rfind(':');
      if (colon == std::string::npos)
        return Error::bad_input("--servegen: expected TRACE.csv:DATASET.json, found '" +
                                clients[i] + "'");
      inputs.push_back(clients[i].substr(0, colon));
      inputs.push_back(clients[i].substr(colon + 1));
      auto client = load_servegen_client(inputs[2 * i], inputs[2 * i + 1]);
      if (!client) return client.error();
      auto reader = generate_servegen(std::move(*client), {.seed = *seed + i});
      if (!reader) return reader.error();
      readers.push_back(std::move(*reader));
    }
    auto merged = merge_traces(std::move(readers));
    if (!merged) return merged.error();
    TraceReaderPtr all = options.has("requests") ? limit_requests(std::move(*merged), *requests)
                                                 : std::move(*merged);
    return write_output(options, *all, std::move(inputs));
  }

  GeneratorOptions generator;
  generator.seed = *seed;
  generator.requests = *requests;
  auto rate = options.number("rate", 1e-6, 1e9);
  if (!rate) return rate.error();
  auto cv = options.number("cv", 0.1, 50);
  if (!cv) return cv.error();
  auto batch = options.count("batch", 1, 1'000'000);
  if (!batch) return batch.error();
  const std::string arrivals = options.text("arrivals");
  const auto batch_size = static_cast<std::uint32_t>(*batch);
  if (arrivals == "poisson")
    generator.arrivals = PoissonArrivals{*rate};
  else if (arrivals == "gamma")
    generator.arrivals = GammaArrivals{*rate, *cv};
  else if (arrivals == "weibull")
    generator.arrivals = WeibullArrivals{*rate, *cv};
  else if (arrivals == "batches")
    generator.arrivals = BatchArrivals{
        static_cast<TimeNs>(static_cast<double>(batch_size) / *rate * 1e9), batch_size, batch_size};
  else
    return unknown_choice("--arrivals", arrivals,
                          std::vector<std::string>{"poisson", "gamma", "weibull", "batches"});
  auto input = parse_length("input", options.text("input"));
  if (!input) return input.error();
  auto output = parse_length("output", options.text("output"));
  if (!output) return output.error();
  generator.input = *input;
  generator.output = *output;
  auto shared = options.number("shared", 0, 1);
  if (!shared) return shared.error();
  auto shared_tokens = options.count("shared-tokens", 16, 1'000'000);
  if (!shared_tokens) return shared_tokens.error();
  if (*shared > 0) {
    SharedPrompts prompts;
    prompts.share = *shared;
    prompts.tokens = FixedLength{static_cast<std::uint32_t>(*shared_tokens)};
    generator.shared_prompts = prompts;
  }
  auto reader = generate_trace(std::move(generator));
  if (!reader) return reader.error();
  return write_output(options, **reader, {});
}

}  // namespace

CommandResult run_trace(const Arguments& arguments) {
  static constexpr std::pair<std::string_view, CommandResult (*)(const Arguments&)> actions[] = {
      {"describe", describe}, {"convert", convert},   {"cut", cut},          {"scale", scale},
      {"sort", trace_sort},   {"merge", trace_merge}, {"generate", generate}};
  if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h") {
    std::cout << "kvhaul trace ACTION [options]\n\n"
                 "  describe  what a trace looks like\n"
                 "  convert   any format into kvhaul's own\n"
                 "  cut       a stretch of time\n"
                 "  scale     other arrival times\n"
                 "  sort      requests in order of arrival\n"
                 "  merge     several traces as one\n"
                 "  generate  a synthetic trace\n\n"
                 "  kvhaul trace ACTION --help    its options, with examples\n";
    return arguments.empty() ? CommandResult(Error::bad_input("kvhaul trace: expected an action"))
                             : 0;
  }
  std::vector<std::string> names;
  for (const auto& [name, run] : actions) {
    if (name == arguments[0]) return run({arguments.begin() + 1, arguments.end()});
    names.emplace_back(name);
  }
  return unknown_choice("kvhaul trace", arguments[0], names);
}

}  // namespace kvhaul::cli
