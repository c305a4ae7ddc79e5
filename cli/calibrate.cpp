// kvhaul calibrate: measures the links of a scenario's routes through a backend, and writes the
// numbers into the scenario.
#include <ctime>
#include <iostream>

#include "calibration/calibration.h"
#include "cli/backends.h"
#include "cli/calibrate_figures.h"
#include "cli/command.h"
#include "cli/inputs.h"
#include "cli/json_text.h"
#include "cli/terminal.h"
#include "cli/version.h"
#include "core/unit_text.h"
#include "scenarios/scenario.h"
#include "traces/output_file.h"

namespace kvhaul::cli {
namespace po = boost::program_options;
namespace {

using Text = std::string;

Options declare() {
  Options options(
      "calibrate", "--scenario FILE [options]",
      "Measures what the routes of a scenario cost on this machine, through the backend that\n"
      "will move the chunks: rates, latency, half-bandwidth sizes, posting, scattered pieces,\n"
      "both directions at once. Prints a table; --out writes the scenario with these numbers\n"
      "(docs/calibrate.md).");
  options.add()                                                                           //
      ("scenario,s", po::value<Text>(), "a scenario file, or the name of a shipped one")  //
      ("backend,b", po::value<Text>()->default_value("emulated"),
       "what moves the chunks ('kvhaul list backends')")                                  //
      ("time", po::value<Text>(), "virtual or real; else what the scenario says")         //
      ("out,o", po::value<Text>(), "write the scenario with the measured numbers there")  //
      ("force", po::bool_switch(), "write over a file that is there")                     //
      ("repeats", po::value<Text>()->default_value("7"), "of every measurement")          //
      ("segment", po::value<Text>()->default_value("1 GiB"),
       "memory at each end of a route")  //
      ("gather", po::value<Text>()->default_value("scenario"),
       "methods for scattered pieces: those that the scenario lists, or all")        //
      ("json", po::bool_switch(), "print the figures as JSON instead of the table")  //
      ("quiet,q", po::bool_switch(), "print nothing but errors");
  declare_device_options(options);
  options.example("kvhaul calibrate -s pcie-pair",
                  "in virtual time the emulated links show the scenario's own numbers");
  options.example("kvhaul calibrate -s laptop --time real -o measured.yaml",
                  "what this computer's memory gives, written into a copy of the scenario");
  return options;
}

std::string utc_now() {
  char text[32];
  const std::time_t time = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&time, &parts);
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

/// What stands above the scenario: who measured these numbers, how, and how far they spread.
std::string header(const std::vector<CalibratedFigure>& figures, const Arguments& arguments,
                   const calibration::Calibration& calibration, std::uint64_t repeats) {
  std::string out = "# Numbers measured by kvhaul " + std::string(version) + ", " + utc_now() +
                    ", with\n#   kvhaul calibrate";
  for (const std::string& argument : arguments) out.append(" ").append(printable(argument));
  out += "\n# on: " + printable(calibration.backend) + "\n# Median of " + std::to_string(repeats) +
         " repeats (least to most):\n";
  for (const CalibratedFigure& f : figures)
    out += "#   " + f.name() + ": " + figure_text(f.unit, f.value.median) + " (" +
           figure_text(f.unit, f.value.least) + " to " + figure_text(f.unit, f.value.most) + ")\n";
  return out + "# What was there before:\n#\n";
}

std::string table_text(const std::vector<CalibratedFigure>& figures,
                       const calibration::Calibration& calibration, const Scenario& scenario,
                       std::uint64_t repeats) {
  std::string out =
      scenario.name + ": " + calibration.backend + "; " + std::to_string(repeats) + " repeats\n\n";
  TextTable table({"", "median", "least", "most", "scenario"});
  for (const CalibratedFigure& f : figures)
    table.add({f.name(), figure_text(f.unit, f.value.median), figure_text(f.unit, f.value.least),
               figure_text(f.unit, f.value.most), f.before.empty() ? "-" : f.before});
  out += table.text();
  for (const calibration::RouteFigures& route : calibration.routes) {
    out.append("\n").append(route_kind_name(route.route.kind)).append(" fits its times within ");
    out += number_text(100 * route.worst, 2) + "%";
    for (const calibration::GatherFigures& gather : route.gathers)
      out.append(", ")
          .append(gather_name(gather.method))
          .append(" within ")
          .append(number_text(100 * gather.worst, 2) + "%");
    out += "\n\n";
    TextTable sizes({"chunks of", "take, each", "least", "most", "the line says", "rate"});
    for (const auto& [bytes, ns] : route.streams) {
      const double line = (static_cast<double>(bytes) + route.half_bandwidth_bytes.median) /
                          route.bytes_per_s.median * 1e9;
      sizes.add({bytes_text(bytes), figure_text(FigureUnit::ns, ns.median),
                 figure_text(FigureUnit::ns, ns.least), figure_text(FigureUnit::ns, ns.most),
                 figure_text(FigureUnit::ns, line),
                 rate_text(static_cast<double>(bytes) / ns.median * 1e9)});
    }
    out += sizes.text();
    for (const calibration::GatherFigures& gather : route.gathers) {
      if (!gather.half_bandwidth_bytes) continue;
      out.append("\n");
      TextTable shapes({"by " + std::string(gather_name(gather.method)) + ", pieces of", "count",
                        "take, each chunk", "least", "most", "the line says", "rate"});
      for (const auto& [piece_bytes, pieces, ns] : gather.streams) {
        const double bytes = static_cast<double>(piece_bytes) * pieces;
        const double line = (bytes * gather.stretch->median + gather.half_bandwidth_bytes->median +
                             pieces * gather.piece_half_bandwidth_bytes->median) /
                            route.bytes_per_s.median * 1e9;
        shapes.add({bytes_text(piece_bytes), std::to_string(pieces),
                    figure_text(FigureUnit::ns, ns.median), figure_text(FigureUnit::ns, ns.least),
                    figure_text(FigureUnit::ns, ns.most), figure_text(FigureUnit::ns, line),
                    rate_text(bytes / ns.median * 1e9)});
      }
      out += shapes.text();
    }
    out += "\nA chunk of " + bytes_text(route.idle_chunk_bytes) + " alone, after\n\n";
    TextTable rests({"no traffic for", "takes", "least", "most"});
    for (const auto& [idle_ns, ns] : route.after_idle)
      rests.add({duration_text(idle_ns), figure_text(FigureUnit::ns, ns.median),
                 figure_text(FigureUnit::ns, ns.least), figure_text(FigureUnit::ns, ns.most)});
    out += rests.text();
  }
  return out;
}

Json figures_json(const std::vector<CalibratedFigure>& figures,
                  const calibration::Calibration& calibration, const Scenario& scenario,
                  std::uint64_t repeats) {
  static constexpr const char* units[] = {"bytes_per_s", "ns", "bytes", "ratio"};
  Json json;
  json["schema"] = 1;
  json["scenario"] = scenario.name;
  json["backend"] = calibration.backend;
  json["time"] = calibration.real_time ? "real" : "virtual";
  json["repeats"] = repeats;
  json["figures"] = Json::array();
  for (const CalibratedFigure& f : figures)
    json["figures"].push_back({{"key", f.key},
                               {"what", f.name()},
                               {"unit", units[static_cast<std::size_t>(f.unit)]},
                               {"median", rounded(f.value.median)},
                               {"least", rounded(f.value.least)},
                               {"most", rounded(f.value.most)},
                               {"scenario", f.before}});
  return json;
}

}  // namespace

CommandResult run_calibrate(const Arguments& arguments) {
  Options options = declare();
  auto go_on = options.parse(arguments);
  if (!go_on) return go_on.error();
  if (!*go_on) return 0;
  if (!options.maybe_text("scenario"))
    return Error::bad_input(
        "kvhaul calibrate: expected --scenario FILE; see 'kvhaul calibrate --help'");
  calibration::Settings settings;
  const auto repeats = options.count("repeats", 1, 1000);
  if (!repeats) return repeats.error();
  settings.repeats = static_cast<std::uint32_t>(*repeats);
  const auto segment = parse_bytes(options.text("segment"));
  if (!segment) return Error::bad_input("--segment: " + segment.error().message);
  if (*segment < MiB || *segment > 64 * GiB)
    return Error::bad_input("--segment: expected 1 MiB to 64 GiB");
  settings.segment_bytes = *segment;
  const std::string gather = options.text("gather");
  if (gather != "scenario" && gather != "all") {
    const std::vector<std::string> names = {"scenario", "all"};
    return unknown_choice("--gather", gather, names);
  }
  settings.all_gathers = gather == "all";
  const auto time = options.maybe_text("time");
  if (time && *time != "virtual" && *time != "real") {
    const std::vector<std::string> names = {"virtual", "real"};
    return unknown_choice("--time", *time, names);
  }
  const auto out = options.maybe_text("out");
  const auto entry = find_backend(options.text("backend"));
  if (!entry) return entry.error();
  auto scenario = load_scenario(options.text("scenario"));
  if (!scenario) return scenario.error();
  std::optional<OutputFile> file;
  if (out) {  // before anything is measured
    auto created = OutputFile::create(*out, {options.flag("force"), inputs_of(*scenario)});
    if (!created) return created.error();
    file = std::move(*created);
  }
  BackendOptions how;
  if (auto ok = read_device_options(options, how); !ok) return ok.error();
  if (auto ok = check_device_options(options.text("backend"), how); !ok) return ok.error();
  const BackendTime times = (*entry)->time;
  how.real_time =
      times == BackendTime::only_real || (times == BackendTime::both && scenario->real_time);
  how.throttle = times == BackendTime::both && scenario->throttle;
  if (time) how.real_time = *time == "real";
  if (how.real_time == (times == BackendTime::only_virtual) && times != BackendTime::both)
    return Error::bad_input("--time " + *time + ": backend " + std::string((*entry)->name) +
                            " has only " + (how.real_time ? "virtual" : "real") + " time");
  if (!how.real_time) how.throttle = false;  // virtual time always follows the links
  how.payload = how.real_time;
  auto backend = make_backend(options.text("backend"), how);
  if (!backend) return backend.error();

  const bool quiet = options.flag("quiet");
  std::optional<ProgressBar> bar(std::in_place, !quiet);
  settings.window_ns = scenario->scheduler.channel_window_ns;
  settings.on_progress = [&](double share, const std::string& what) { bar->show(share, what); };
  auto calibrated = calibration::calibrate(
      **backend, scenario->cluster, place_pairs(scenario->serving), scenario->routes, settings);
  bar.reset();
  if (!calibrated) {
    const Error& error = calibrated.error();
    if (error.kind != ErrorKind::bad_input) return error;
    return Error::bad_input(scenario->file + ": " + error.message);
  }
  const std::vector<CalibratedFigure> figures = calibrated_figures(*calibrated, *scenario);
  if (file) {
    const auto text = calibrated_text(*scenario, figures);
    if (!text) return text.error();
    file->text(header(figures, arguments, *calibrated, *repeats)).text(*text);
    if (auto ok = file->close(); !ok) return ok.error();
  }
  if (options.flag("json")) {
    std::cout << json_text(figures_json(figures, *calibrated, *scenario, *repeats));
  } else if (!quiet) {
    std::cout << table_text(figures, *calibrated, *scenario, *repeats);
    if (out) std::cout << "\nwritten to " << *out << "\n";
  }
  return 0;
}

}  // namespace kvhaul::cli
